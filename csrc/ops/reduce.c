/* reduce.c - sums, means and extremes over one axis of [outer, axis, inner], and argmax.
 *
 * Parts are pieces of outer x inner, never of the axis, so that a result does not depend on the
 * number of threads. */
#include <math.h>
#include <string.h>

#include "ops.h"

#define PIECE 1024 /* floats along inner: a piece, its squares and its sums fit the first cache */

typedef struct {
    int op, x, y;
    int last_index;
    int64_t outer, axis, inner;
    int64_t pieces;              /* of inner */
    int64_t units, per_part;     /* a unit is one piece of one outer index */
} reduce_state;

/* One unit: n neighbours along inner, reduced over the axis. */
typedef struct {
    int64_t first, x, n;         /* element of y, element of x, length */
} unit;

static unit unit_at(const reduce_state *state, int64_t number)
{
    int64_t outer = number / state->pieces;
    int64_t within = number % state->pieces * PIECE;
    return (unit){outer * state->inner + within, outer * state->axis * state->inner + within,
                  q8_least(PIECE, state->inner - within)};
}

/* ---- sums, means, extremes ---- */

/* Over a contiguous axis. */
static float reduce_row(const q8_kernels *kernels, int op, const float *x, int64_t n,
                        float *scratch)
{
    const q8_f32_table *f32 = &kernels->f32;
    if (op == Q8_REDUCE_SUM || op == Q8_REDUCE_MEAN)
        return f32->sum((size_t)n, x);
    if (op == Q8_REDUCE_SUM_SQUARE) {
        float total = 0.0f;
        for (int64_t i = 0; i < n; i += PIECE) {
            size_t here = (size_t)q8_least(PIECE, n - i);
            f32->binary(Q8_MUL, here, x + i, 1, x + i, 1, scratch);
            total += f32->sum(here, scratch);
        }
        return total;
    }
    float low = x[0], high = x[0];
    kernels->vec.min_max((size_t)n, x, &low, &high);
    return op == Q8_REDUCE_MAX ? high : low;
}

/* Over an axis with neighbours: row after row into y. */
static void reduce_rows(const q8_f32_table *f32, const reduce_state *state, const float *x,
                        size_t n, float *y, float *scratch)
{
    static const int combine[] = {Q8_ADD, Q8_ADD, Q8_MAX, Q8_MIN, Q8_ADD};
    for (int64_t row = 0; row < state->axis; row++, x += state->inner) {
        const float *values = x;
        if (state->op == Q8_REDUCE_SUM_SQUARE) {
            f32->binary(Q8_MUL, n, x, 1, x, 1, scratch);
            values = scratch;
        }
        if (row == 0)
            memcpy(y, values, n * sizeof *y);
        else
            f32->binary(combine[state->op], n, y, 1, values, 1, y);
    }
}

static void run_reduce(const q8_step *step, const q8_run *run, int64_t part)
{
    const reduce_state *state = step->state;
    const q8_f32_table *f32 = &run->plan->kernels->f32;
    const float *x = q8_read(run, q8_tensor_of(run, state->x));
    float *y = q8_write(run, q8_tensor_of(run, state->y));
    float *scratch = (float *)(void *)run->scratch;
    float length = (float)state->axis;
    q8_range range = q8_part_range(part, state->per_part, state->units);
    for (int64_t number = range.first; number < range.end; number++) {
        unit here = unit_at(state, number);
        float *target = y + here.first;
        if (state->inner == 1)
            *target = reduce_row(run->plan->kernels, state->op, x + here.x, state->axis, scratch);
        else
            reduce_rows(f32, state, x + here.x, (size_t)here.n, target, scratch);
        if (state->op == Q8_REDUCE_MEAN)
            f32->binary(Q8_DIV, (size_t)here.n, target, 1, &length, 0, target);
    }
}

/* ---- argmax ---- */

static int64_t argmax_row_f32(const float *x, int64_t n, bool last_index)
{
    int64_t best = 0;
    float greatest = x[0];
    for (int64_t i = 1; i < n; i++) {
        bool is_better = last_index ? x[i] >= greatest : x[i] > greatest;
        best = is_better ? i : best;
        greatest = is_better ? x[i] : greatest;
    }
    return best;
}

static int64_t argmax_row_u8(const uint8_t *x, int64_t n, bool last_index)
{
    uint8_t greatest = 0;
    for (int64_t i = 0; i < n; i++)
        greatest = x[i] > greatest ? x[i] : greatest;
    if (!last_index)
        return (const uint8_t *)memchr(x, greatest, (size_t)n) - x;
    int64_t last = n - 1; /* no memrchr: macOS has none */
    while (x[last] != greatest)
        last--;
    return last;
}

/* Neighbours along inner side by side; y holds the best rows so far. */
static void argmax_rows(const reduce_state *state, const void *x, q8_dtype dtype, unit here,
                        int64_t *y)
{
    const float *floats = (const float *)x + (dtype == Q8_F32 ? here.x : 0);
    const uint8_t *codes = (const uint8_t *)x + (dtype == Q8_U8 ? here.x : 0);
    memset(y, 0, (size_t)here.n * sizeof *y);
    for (int64_t row = 1; row < state->axis; row++)
        for (int64_t i = 0; i < here.n; i++) {
            int64_t at = row * state->inner + i, best = y[i] * state->inner + i;
            bool is_better = dtype == Q8_F32
                                 ? floats[at] > floats[best] ||
                                       (state->last_index && floats[at] == floats[best])
                                 : codes[at] + state->last_index > codes[best];
            y[i] = is_better ? row : y[i];
        }
}

static void run_argmax(const q8_step *step, const q8_run *run, int64_t part)
{
    const reduce_state *state = step->state;
    const q8_tensor *tensor = q8_tensor_of(run, state->x);
    const void *x = q8_read(run, tensor);
    int64_t *y = q8_write(run, q8_tensor_of(run, state->y));
    q8_range range = q8_part_range(part, state->per_part, state->units);
    for (int64_t number = range.first; number < range.end; number++) {
        unit here = unit_at(state, number);
        if (state->inner > 1)
            argmax_rows(state, x, tensor->dtype, here, y + here.first);
        else if (tensor->dtype == Q8_F32)
            y[here.first] = argmax_row_f32((const float *)x + here.x, state->axis,
                                           state->last_index);
        else
            y[here.first] = argmax_row_u8((const uint8_t *)x + here.x, state->axis,
                                          state->last_index);
    }
}

/* ---- adding ---- */

/* Checks the view of x and y and appends the step. NULL with the error set. */
static q8_step *append_reduce(q8_plan *plan, reduce_state state, const char *what,
                              void (*run)(const q8_step *, const q8_run *, int64_t))
{
    const q8_tensor *x = &plan->tensors[state.x], *y = &plan->tensors[state.y];
    int64_t count, x_count;
    if (!q8_multiply(state.outer, state.inner, &count) ||
        !q8_multiply(count, state.axis, &x_count) || count != y->count || x_count != x->count) {
        q8_plan_fail(plan, Q8_ERROR_BOUNDS, "%s: sizes do not fit the tensors", what);
        return NULL;
    }
    if (state.axis < 1) {
        q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: nothing along the axis", what);
        return NULL;
    }
    if (q8_plan_apart(plan, x, y, false, what))
        return NULL;
    state.pieces = count ? q8_ceil_divide(state.inner, PIECE) : 1;
    state.units = count ? state.outer * state.pieces : 0;
    int64_t per_unit = state.axis * (count ? q8_least(PIECE, state.inner) : 1);
    int64_t parts =
        q8_split(state.units, q8_ceil_divide(Q8_PART_ELEMENTS, per_unit), &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run);
    if (step)
        *(reduce_state *)step->state = state;
    return step;
}

int q8_plan_add_reduce_f32(q8_plan *plan, int op, int x, int y, int64_t outer, int64_t axis,
                           int64_t inner)
{
    if (!q8_plan_operand(plan, x, Q8_F32, -1, "reduce") ||
        !q8_plan_result(plan, y, Q8_F32, -1, "reduce"))
        return plan->status;
    if (op < Q8_REDUCE_SUM || op > Q8_REDUCE_SUM_SQUARE)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "reduce: no operation %d", op);
    reduce_state state = {.op = op, .x = x, .y = y, .outer = outer, .axis = axis, .inner = inner};
    q8_step *step = append_reduce(plan, state, "reduce", run_reduce);
    if (!step)
        return plan->status;
    step->scratch_bytes = PIECE * sizeof(float);
    static const char *const names[] = {"sum", "mean", "max", "min", "sum_square"};
    q8_step_name(step, "reduce_%s f32 %s", names[op], plan->kernels->name);
    return Q8_OK;
}

int q8_plan_add_argmax(q8_plan *plan, int x, int y, int64_t outer, int64_t axis, int64_t inner,
                       int last_index)
{
    const q8_tensor *input = q8_plan_operand(plan, x, -1, -1, "argmax");
    if (!input || !q8_plan_result(plan, y, Q8_S64, -1, "argmax"))
        return plan->status;
    if (input->dtype != Q8_F32 && input->dtype != Q8_U8)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "argmax: x is neither f32 nor u8");
    reduce_state state = {.x = x, .y = y, .outer = outer, .axis = axis, .inner = inner};
    state.last_index = last_index != 0;
    q8_step *step = append_reduce(plan, state, "argmax", run_argmax);
    if (!step)
        return plan->status;
    q8_step_name(step, "argmax %s", input->dtype == Q8_F32 ? "f32" : "u8");
    return Q8_OK;
}
