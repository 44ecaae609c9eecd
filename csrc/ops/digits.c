/* digits.c - rows of floats become two rows of codes each, and their products floats again. */
#include <math.h>
#include <string.h>

#include "digits.h"

float q8_digits_of_row(const q8_kernels *kernels, size_t n, const float *x, uint8_t *high,
                       uint8_t *low)
{
    float least = 0.0f, greatest = 0.0f;
    kernels->vec.min_max(n, x, &least, &greatest);
    const float most = -least > greatest ? -least : greatest;
    kernels->f32.digits(n, x, most > 0.0f ? 127.0f / most : 0.0f, high, low);
    return most / 127.0f;
}

void q8_join_digits(const q8_kernels *kernels, const q8_digits_job *job)
{
    const float part = 1.0f / 256;
    q8_floats_job floats = {.rows = 1, .columns = job->n, .acc = job->high, .scale = job->room,
                            .bias = job->bias, .y = job->y, .low = -INFINITY, .high = INFINITY};
    kernels->f32.binary(Q8_MUL, job->n, job->scale, 1, &job->unit, 0, job->room);
    kernels->vec.accumulators_to_f32(&floats);
    kernels->f32.binary(Q8_MUL, job->n, job->room, 1, &part, 0, job->room);
    floats.acc = job->low;
    floats.bias = NULL;
    floats.residual = job->y;
    kernels->vec.accumulators_to_f32(&floats);
}

typedef struct {
    int32_t x, y, units;
    int64_t rows, columns, per_part;
    const float *scale, *bias; /* of products only */
} digits_state;

/* ---- to codes ---- */

static void run_digits(const q8_step *step, const q8_run *run, int64_t part)
{
    const digits_state *state = step->state;
    const size_t n = (size_t)state->columns;
    const float *x = q8_read(run, q8_tensor_of(run, state->x));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    float *units = q8_write(run, q8_tensor_of(run, state->units));
    const q8_range rows = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = rows.first; row < rows.end; row++) {
        uint8_t *codes = y + 2 * (size_t)row * n;
        units[row] = q8_digits_of_row(run->plan->kernels, n, x + (size_t)row * n, codes, codes + n);
    }
}

/* Appends a step over rows; floats [rows][columns], codes or accumulators twice as many. */
static q8_step *append(q8_plan *plan, digits_state state, const char *name,
                       void (*run)(const q8_step *, const q8_run *, int64_t))
{
    const int64_t least = q8_ceil_divide(Q8_PART_ELEMENTS, state.columns);
    const int64_t parts = q8_split(state.rows, least, &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run);
    if (!step)
        return NULL;
    *(digits_state *)step->state = state;
    q8_step_name(step, "%s %lldx%lld %s", name, (long long)state.rows, (long long)state.columns,
                 plan->kernels->name);
    return step;
}

/* Rows and columns from tensors [rows, columns] and [2 * rows, columns], and a unit per row. */
static int find_sizes(q8_plan *plan, const q8_tensor *floats, const q8_tensor *twice,
                      const q8_tensor *units, digits_state *state)
{
    state->rows = floats->dims[0];
    state->columns = floats->dims[1];
    if (floats->count < 1 || twice->dims[1] != state->columns ||
        twice->dims[0] != 2 * state->rows || units->count != state->rows)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "digits: shapes do not fit");
    return Q8_OK;
}

int q8_plan_add_digits(q8_plan *plan, int x, int y, int units)
{
    digits_state state = {.x = x, .y = y, .units = units};
    const q8_tensor *floats = q8_plan_operand(plan, x, Q8_F32, 2, "digits");
    const q8_tensor *codes = q8_plan_result(plan, y, Q8_U8, 2, "digits");
    const q8_tensor *found = q8_plan_result(plan, units, Q8_F32, -1, "digits");
    if (!floats || !codes || !found || q8_plan_apart(plan, floats, codes, false, "digits") ||
        q8_plan_apart(plan, floats, found, false, "digits") ||
        q8_plan_apart(plan, codes, found, false, "digits") ||
        find_sizes(plan, floats, codes, found, &state) != Q8_OK)
        return plan->status;
    append(plan, state, "digits", run_digits);
    return plan->status;
}

/* ---- from products ---- */

static void run_joined(const q8_step *step, const q8_run *run, int64_t part)
{
    const digits_state *state = step->state;
    const size_t n = (size_t)state->columns;
    const int32_t *x = q8_read(run, q8_tensor_of(run, state->x));
    const float *units = q8_read(run, q8_tensor_of(run, state->units));
    float *y = q8_write(run, q8_tensor_of(run, state->y));
    const q8_range rows = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = rows.first; row < rows.end; row++) {
        const int32_t *high = x + 2 * (size_t)row * n;
        const q8_digits_job job = {.n = n, .high = high, .low = high + n, .unit = units[row],
                                   .scale = state->scale, .bias = state->bias,
                                   .room = (float *)(void *)run->scratch,
                                   .y = y + (size_t)row * n};
        q8_join_digits(run->plan->kernels, &job);
    }
}

int q8_plan_add_joined_digits(q8_plan *plan, int x, int units, int y, const float *scale,
                              const float *bias)
{
    digits_state state = {.x = x, .y = y, .units = units};
    const q8_tensor *sums = q8_plan_operand(plan, x, Q8_S32, 2, "digits");
    const q8_tensor *found = q8_plan_operand(plan, units, Q8_F32, -1, "digits");
    const q8_tensor *floats = q8_plan_result(plan, y, Q8_F32, 2, "digits");
    if (!sums || !found || !floats || q8_plan_apart(plan, sums, floats, false, "digits") ||
        q8_plan_apart(plan, found, floats, false, "digits") ||
        find_sizes(plan, floats, sums, found, &state) != Q8_OK)
        return plan->status;
    if (!scale)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "digits: no scales");
    const size_t bytes = (size_t)state.columns * sizeof(float);
    float *scales = q8_plan_allocate(plan, state.columns, sizeof(float));
    float *biases = bias ? q8_plan_allocate(plan, state.columns, sizeof(float)) : NULL;
    q8_step *step = append(plan, state, "join digits", run_joined);
    if (!step)
        return plan->status;
    ((digits_state *)step->state)->scale = memcpy(scales, scale, bytes);
    if (bias)
        ((digits_state *)step->state)->bias = memcpy(biases, bias, bytes);
    step->scratch_bytes = bytes;
    return Q8_OK;
}
