/* rows.c - float steps that walk whole rows: softmax and layer normalization over the last axis. */
#include "ops.h"

typedef struct {
    int x, y, scale, bias;
    int log_softmax;
    float epsilon;
    int64_t n, rows, per_part;
} rows_state;

static void run_softmax(const q8_step *step, const q8_run *run, int64_t part)
{
    const rows_state *state = step->state;
    const float *x = q8_read(run, q8_tensor_of(run, state->x));
    float *y = q8_write(run, q8_tensor_of(run, state->y));
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++)
        run->plan->kernels->f32.softmax((size_t)state->n, x + row * state->n, y + row * state->n,
                                        state->log_softmax);
}

static void run_layer_norm(const q8_step *step, const q8_run *run, int64_t part)
{
    const rows_state *state = step->state;
    const float *x = q8_read(run, q8_tensor_of(run, state->x));
    float *y = q8_write(run, q8_tensor_of(run, state->y));
    const float *scale = q8_read(run, q8_tensor_of(run, state->scale));
    const float *bias = state->bias < 0 ? NULL : q8_read(run, q8_tensor_of(run, state->bias));
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++)
        run->plan->kernels->f32.layer_norm((size_t)state->n, x + row * state->n, scale, bias,
                                           y + row * state->n, state->epsilon);
}

/* x and y as rows of their last axis; appends the step. NULL with the error set. */
static rows_state *append_rows(q8_plan *plan, int x, int y, const char *what,
                               void (*run)(const q8_step *, const q8_run *, int64_t))
{
    int64_t count = q8_plan_elementwise(plan, x, Q8_F32, y, Q8_F32, what);
    if (count < 0)
        return NULL;
    const q8_tensor *input = &plan->tensors[x];
    if (input->rank < 1) {
        q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: a scalar has no axis", what);
        return NULL;
    }
    rows_state state = {.x = x, .y = y, .bias = -1, .n = input->dims[input->rank - 1]};
    state.rows = count ? count / state.n : 0;
    int64_t least = count ? q8_ceil_divide(Q8_PART_ELEMENTS / 4, state.n) : 1;
    int64_t parts = q8_split(state.rows, least, &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run);
    if (!step)
        return NULL;
    *(rows_state *)step->state = state;
    q8_step_name(step, "%s f32 %s", what, plan->kernels->name);
    return step->state;
}

int q8_plan_add_softmax_f32(q8_plan *plan, int x, int y, int log_softmax)
{
    rows_state *state =
        append_rows(plan, x, y, log_softmax ? "log_softmax" : "softmax", run_softmax);
    if (!state)
        return plan->status;
    state->log_softmax = log_softmax != 0;
    return Q8_OK;
}

/* A row of n values that the step reads while it writes y. */
static int check_row(q8_plan *plan, int id, int64_t n, int y)
{
    const q8_tensor *row = q8_plan_operand(plan, id, Q8_F32, -1, "layer_norm");
    if (!row)
        return plan->status;
    if (row->count != n)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT,
                            "layer_norm: scale and bias must have %lld elements", (long long)n);
    return q8_plan_apart(plan, row, &plan->tensors[y], false, "layer_norm");
}

int q8_plan_add_layer_norm_f32(q8_plan *plan, int x, int scale, int bias, int y, float epsilon)
{
    rows_state *state = append_rows(plan, x, y, "layer_norm", run_layer_norm);
    if (!state || q8_plan_apart(plan, &plan->tensors[x], &plan->tensors[y], false, "layer_norm") ||
        check_row(plan, scale, state->n, y) || (bias != -1 && check_row(plan, bias, state->n, y)))
        return plan->status;
    state->scale = scale;
    state->bias = bias;
    state->epsilon = epsilon;
    return Q8_OK;
}
