/* range.c - the range of what a step writes, found while it writes it. */
#include "ops.h"

int q8_plan_find_range(q8_plan *plan, int y, int range)
{
    const char *what = "find_range";
    const q8_tensor *written = q8_plan_operand(plan, y, Q8_F32, -1, what);
    const q8_tensor *found = q8_plan_result(plan, range, Q8_F32, -1, what);
    if (!written || !found || q8_plan_apart(plan, written, found, false, what))
        return plan->status;
    if (found->count != 2)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: a range has two numbers", what);
    q8_step *last = plan->step_count ? &plan->steps[plan->step_count - 1] : NULL;
    if (!last || last->ranged != y)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT,
                            "%s: the last step does not find the range of tensor %d", what, y);
    last->range = range;
    return Q8_OK;
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
