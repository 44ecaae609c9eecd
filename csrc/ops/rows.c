/* rows.c - float steps that walk whole rows: softmax and layer normalization over the last axis. */
#include <math.h>

#include "ops.h"

typedef struct {
    int x, y;
    int log_softmax;
    int64_t n, rows, per_part;
} rows_state;

/* ---- softmax ---- */

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

/* A tensor as rows of its last axis. */
static rows_state rows_of(const q8_tensor *x)
{
    rows_state state = {.n = x->dims[x->rank - 1]};
    state.rows = x->count ? x->count / state.n : 0;
    return state;
}

static int64_t parts_of(rows_state *state)
{
    const int64_t least = state->rows ? q8_ceil_divide(Q8_PART_ELEMENTS / 4, state->n) : 1;
    return q8_split(state->rows, least, &state->per_part);
}

int q8_plan_add_softmax_f32(q8_plan *plan, int x, int y, int log_softmax)
{
    const char *what = log_softmax ? "log_softmax" : "softmax";
    if (q8_plan_elementwise(plan, x, Q8_F32, y, Q8_F32, what) < 0)
        return plan->status;
    if (plan->tensors[x].rank < 1)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: a scalar has no axis", what);
    rows_state state = rows_of(&plan->tensors[x]);
    state.x = x;
    state.y = y;
    state.log_softmax = log_softmax != 0;
    const int64_t parts = parts_of(&state);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_softmax);
    if (!step)
        return plan->status;
    *(rows_state *)step->state = state;
    q8_step_name(step, "%s f32 %s", what, plan->kernels->name);
    return Q8_OK;
}

/* ---- layer normalization ---- */

typedef struct {
    rows_state rows;
    q8_layer_norm norm;
} norm_state;

/* A row of floats that is not wanted itself stays in the scratch. */
static void run_layer_norm(const q8_step *step, const q8_run *run, int64_t part)
{
    const norm_state *state = step->state;
    const q8_layer_norm *norm = &state->norm;
    const q8_kernels *kernels = run->plan->kernels;
    const int64_t n = state->rows.n;
    const float *x = q8_read(run, q8_tensor_of(run, norm->x));
    const float *scale = q8_read(run, q8_tensor_of(run, norm->scale));
    const float *bias = norm->bias < 0 ? NULL : q8_read(run, q8_tensor_of(run, norm->bias));
    float *y = norm->y < 0 ? NULL : q8_write(run, q8_tensor_of(run, norm->y));
    uint8_t *codes = norm->codes < 0 ? NULL : q8_write(run, q8_tensor_of(run, norm->codes));
    float found[2] = {0.0f, 0.0f};
    const q8_range range = q8_part_range(part, state->rows.per_part, state->rows.rows);
    for (int64_t row = range.first; row < range.end; row++) {
        float *values = y ? y + row * n : (float *)(void *)run->scratch;
        kernels->f32.layer_norm((size_t)n, x + row * n, scale, bias, values, norm->epsilon);
        if (codes)
            kernels->vec.quantize((size_t)n, values, codes + row * n, norm->code_scale,
                                  norm->code_zero_point);
        q8_finish_floats(step, kernels, 1, (size_t)n, values, (size_t)n, found);
    }
    q8_widen_range(step, run, found);
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

/* One of the results. */
static int check_result(q8_plan *plan, const q8_layer_norm *norm, int id, int dtype)
{
    if (id == -1)
        return Q8_OK;
    if (q8_plan_elementwise(plan, norm->x, Q8_F32, id, dtype, "layer_norm") < 0)
        return plan->status;
    const q8_tensor *x = &plan->tensors[norm->x];
    if (x->rank < 1)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "layer_norm: a scalar has no axis");
    const int64_t n = x->dims[x->rank - 1];
    if (q8_plan_apart(plan, x, &plan->tensors[id], false, "layer_norm") ||
        check_row(plan, norm->scale, n, id) ||
        (norm->bias != -1 && check_row(plan, norm->bias, n, id)))
        return plan->status;
    return Q8_OK;
}

static int check_norm(q8_plan *plan, const q8_layer_norm *norm)
{
    if (check_result(plan, norm, norm->y, Q8_F32) || check_result(plan, norm, norm->codes, Q8_U8))
        return plan->status;
    if (norm->codes == -1)
        return norm->y != -1 ? Q8_OK
                             : q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "layer_norm: no result");
    if (!isfinite(norm->code_scale))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "layer_norm: the scale is not finite");
    if (norm->y != -1 && q8_plan_apart(plan, &plan->tensors[norm->y], &plan->tensors[norm->codes],
                                       false, "layer_norm"))
        return plan->status;
    return q8_plan_check_code(plan, norm->code_zero_point, "layer_norm");
}

int q8_plan_add_layer_norm(q8_plan *plan, const q8_layer_norm *norm)
{
    if (!norm)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "layer_norm: no descriptor");
    if (check_norm(plan, norm) != Q8_OK)
        return plan->status;
    norm_state state = {.rows = rows_of(&plan->tensors[norm->x]), .norm = *norm};
    int64_t parts = parts_of(&state.rows);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_layer_norm);
    if (!step)
        return plan->status;
    *(norm_state *)step->state = state;
    step->ranged = norm->y;
    if (norm->y < 0)
        q8_reserve(&step->scratch_bytes, (size_t)state.rows.n * sizeof(float));
    q8_step_name(step, "layer_norm f32%s %s", norm->codes < 0 ? "" : " to codes",
                 plan->kernels->name);
    return Q8_OK;
}
