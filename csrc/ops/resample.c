/* resample.c - any interpolation along one axis: each result is a weighted sum of a few entries.
 *
 * Serves what resize.c does not: cubic and antialiased weights, volumes, results beyond the
 * picture. Pictures take one step per axis. */
#include "ops.h"

typedef struct {
    q8_resample resample; /* with arrays of the plan's own */
    int64_t rows, per_part;
} resample_state;

static void add_times(size_t n, const float *restrict x, float weight, float *restrict y)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i] * weight;
}

static void run_resample(const q8_step *step, const q8_run *run, int64_t part)
{
    const resample_state *state = step->state;
    const q8_resample *job = &state->resample;
    const float *x = q8_read(run, q8_tensor_of(run, job->x));
    float *y = q8_write(run, q8_tensor_of(run, job->y));
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        const int64_t entry = row % job->count;
        const float *source = x + row / job->count * job->axis * job->inner;
        float *target = y + row * job->inner;
        for (int64_t i = 0; i < job->inner; i++)
            target[i] = job->offset ? job->offset[entry] : 0.0f;
        for (int64_t tap = entry * job->taps; tap < (entry + 1) * job->taps; tap++)
            if (job->weights[tap] != 0.0f)
                add_times((size_t)job->inner, source + job->indices[tap] * job->inner,
                          job->weights[tap], target);
    }
}

/* The arrays as the plan's own, indices checked; a negative status if refused. */
static int copy_arrays(q8_plan *plan, q8_resample *job)
{
    int64_t entries;
    if (!q8_multiply(job->count, job->taps, &entries))
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "resample: too many taps");
    if ((entries && (!job->indices || !job->weights)))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "resample: an array is missing");
    int32_t *indices = q8_plan_allocate(plan, entries, sizeof *indices);
    float *weights = q8_plan_allocate(plan, entries, sizeof *weights);
    float *offset = job->offset ? q8_plan_allocate(plan, job->count, sizeof *offset) : NULL;
    if (!indices || !weights || (job->offset && !offset))
        return plan->status;
    for (int64_t i = 0; i < entries; i++) {
        if (job->indices[i] < 0 || job->indices[i] >= job->axis)
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "resample: a source lies outside");
        indices[i] = job->indices[i];
        weights[i] = job->weights[i];
    }
    for (int64_t i = 0; offset && i < job->count; i++)
        offset[i] = job->offset[i];
    job->indices = indices;
    job->weights = weights;
    job->offset = offset;
    return Q8_OK;
}

int q8_plan_add_resample(q8_plan *plan, const q8_resample *resample)
{
    if (!resample)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "resample: no descriptor");
    const q8_tensor *x = q8_plan_operand(plan, resample->x, Q8_F32, -1, "resample");
    const q8_tensor *y = q8_plan_result(plan, resample->y, Q8_F32, -1, "resample");
    resample_state state = {.resample = *resample};
    int64_t x_count, y_count;
    if (!x || !y || q8_plan_apart(plan, x, y, false, "resample"))
        return plan->status;
    if (!q8_multiply(resample->outer, resample->axis, &x_count) ||
        !q8_multiply(x_count, resample->inner, &x_count) || x_count != x->count ||
        !q8_multiply(resample->outer, resample->count, &state.rows) ||
        !q8_multiply(state.rows, resample->inner, &y_count) || y_count != y->count)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "resample: sizes do not fit the tensors");
    if (copy_arrays(plan, &state.resample))
        return plan->status;
    if (!y_count)
        state.rows = 0;
    const int64_t least =
        y_count ? q8_ceil_divide(Q8_PART_ELEMENTS, resample->inner) : 1;
    const int64_t parts = q8_split(state.rows, least, &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_resample);
    if (!step)
        return plan->status;
    *(resample_state *)step->state = state;
    q8_step_name(step, "resample %lld taps f32", (long long)resample->taps);
    return Q8_OK;
}
