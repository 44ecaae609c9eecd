/* running_sum.c - sums along an axis up to each element. */
#include "ops.h"

typedef struct {
    int x, y;
    bool is_exclusive, is_reverse;
    int64_t axis, inner;
    int64_t rows, per_part;
} running_sum_state;

/* One row, its elements `step` apart, from the one that is summed first. Integers wrap. */
#define RUNNING_SUM(name, type, sum_type)                                                        \
    static void name(int64_t count, int64_t step, bool is_exclusive, const void *row, void *sums) \
    {                                                                                            \
        const type *x = row;                                                                     \
        type *y = sums;                                                                          \
        sum_type sum = 0;                                                                        \
        for (int64_t i = 0; i < count; i++) {                                                    \
            const sum_type next = (sum_type)(sum + (sum_type)x[i * step]);                       \
            y[i * step] = (type)(is_exclusive ? sum : next);                                     \
            sum = next;                                                                          \
        }                                                                                        \
    }

RUNNING_SUM(sum_f32, float, float)
RUNNING_SUM(sum_f64, double, double)
RUNNING_SUM(sum_s32, int32_t, uint32_t)
RUNNING_SUM(sum_s64, int64_t, uint64_t)

static void run_running_sum(const q8_step *step, const q8_run *run, int64_t part)
{
    const running_sum_state *state = step->state;
    const q8_tensor *tensor = q8_tensor_of(run, state->x);
    const uint8_t *x = q8_read(run, tensor);
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    const int64_t count = state->axis, inner = state->inner;
    const int64_t first = state->is_reverse ? (count - 1) * inner : 0;
    const int64_t stride = state->is_reverse ? -inner : inner;
    const bool is_exclusive = state->is_exclusive;
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        const int64_t place = (row / inner * count * inner + row % inner + first) *
                              (int64_t)q8_element_bytes(tensor->dtype);
        switch (tensor->dtype) {
        case Q8_F32: sum_f32(count, stride, is_exclusive, x + place, y + place); break;
        case Q8_F64: sum_f64(count, stride, is_exclusive, x + place, y + place); break;
        case Q8_S32: sum_s32(count, stride, is_exclusive, x + place, y + place); break;
        default: sum_s64(count, stride, is_exclusive, x + place, y + place); break;
        }
    }
}

int q8_plan_add_running_sum(q8_plan *plan, int x, int y, int64_t outer, int64_t axis,
                            int64_t inner, int is_exclusive, int is_reverse)
{
    running_sum_state state = {.x = x, .y = y, .is_exclusive = is_exclusive != 0,
                               .is_reverse = is_reverse != 0, .axis = axis, .inner = inner};
    const q8_tensor *from = q8_plan_operand(plan, x, -1, -1, "running_sum");
    if (!from)
        return plan->status;
    const q8_tensor *to = q8_plan_result(plan, y, (int)from->dtype, -1, "running_sum");
    if (!to || q8_plan_apart(plan, from, to, false, "running_sum"))
        return plan->status;
    if (from->dtype != Q8_F32 && from->dtype != Q8_F64 && from->dtype != Q8_S32 &&
        from->dtype != Q8_S64)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "running_sum: not of %s",
                            q8_dtype_name(from->dtype));
    int64_t elements;
    if (!q8_multiply(outer, inner, &state.rows) || !q8_multiply(state.rows, axis, &elements) ||
        elements != from->count || elements != to->count)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "running_sum: sizes do not fit the tensors");
    state.rows = elements ? state.rows : 0;
    const int64_t parts = q8_split(
        state.rows, q8_ceil_divide(Q8_PART_ELEMENTS, axis > 0 ? axis : 1), &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_running_sum);
    if (!step)
        return plan->status;
    *(running_sum_state *)step->state = state;
    q8_step_name(step, "running_sum %s", q8_dtype_name(from->dtype));
    return Q8_OK;
}
