/* finish.c - what a step does to its floats while they are in the cache: a function of each, and the
 * range of all. */
#include "ops.h"

/* The step added last, which must be one that writes y in a way that allows for more. */
static q8_step *last_step(q8_plan *plan, int y, const char *what)
{
    q8_step *last = plan->step_count ? &plan->steps[plan->step_count - 1] : NULL;
    if (last && last->ranged == y)
        return last;
    q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: the last step cannot do this to tensor %d", what, y);
    return NULL;
}

int q8_plan_find_range(q8_plan *plan, int y, int range)
{
    const char *what = "find_range";
    const q8_tensor *written = q8_plan_operand(plan, y, Q8_F32, -1, what);
    const q8_tensor *found = q8_plan_result(plan, range, Q8_F32, -1, what);
    if (!written || !found || q8_plan_apart(plan, written, found, false, what))
        return plan->status;
    if (found->count != 2)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: a range has two numbers", what);
    q8_step *last = last_step(plan, y, what);
    if (!last)
        return plan->status;
    last->range = range;
    return Q8_OK;
}

int q8_plan_then_unary(q8_plan *plan, int y, int op, float alpha, float beta)
{
    const char *what = "then_unary";
    if (!q8_plan_operand(plan, y, Q8_F32, -1, what))
        return plan->status;
    if (op < Q8_UNARY_CLAMP || op > Q8_UNARY_COS)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: no operation %d", what, op);
    q8_step *last = last_step(plan, y, what);
    if (!last)
        return plan->status;
    if (last->function >= 0 || last->range >= 0)
        return q8_plan_fail(plan, Q8_ERROR_STATE, "%s: the step does something already", what);
    last->function = op;
    last->alpha = alpha;
    last->beta = beta;
    return Q8_OK;
}

void q8_finish_floats(const q8_step *step, const q8_kernels *kernels, size_t rows, size_t columns,
                      float *y, size_t y_step, float found[2])
{
    if (step->function < 0 && step->range < 0)
        return;
    if (y_step == columns) {
        columns *= rows;
        rows = rows > 0;
    }
    for (size_t i = 0; i < rows; i++, y += y_step) {
        if (step->function >= 0)
            kernels->f32.unary(step->function, columns, y, y, step->alpha, step->beta);
        if (step->range >= 0)
            kernels->vec.min_max(columns, y, &found[0], &found[1]);
    }
}

void q8_finish_as(const q8_step *step, float found[2], q8_finish_job *job)
{
    job->op = step ? step->function : -1;
    if (step) {
        job->alpha = step->alpha;
        job->beta = step->beta;
        job->range = step->range >= 0 ? found : NULL;
    }
}

/* *end = max(*end, value), while others do the same. */
static void widen(float *end, float value)
{
    float seen;
    __atomic_load(end, &seen, __ATOMIC_RELAXED);
    while (value > seen)
        if (__atomic_compare_exchange(end, &seen, &value, true, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED))
            return;
}

void q8_widen_range(const q8_step *step, const q8_run *run, const float found[2])
{
    if (step->range < 0)
        return;
    float *range = q8_write(run, q8_tensor_of(run, step->range));
    widen(&range[0], -found[0]);
    widen(&range[1], found[1]);
}
