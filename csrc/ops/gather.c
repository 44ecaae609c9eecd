/* gather.c - rows picked by indices, and filling with one value. */
#include <string.h>

#include "ops.h"

/* ---- gather ---- */

typedef struct {
    int x, y, at;           /* at: the tensor of indices, or -1 */
    int64_t axis, count, rows, per_part;
    size_t row_bytes;
    const int64_t *indices; /* constant ones */
} gather_state;

/* The index of entry i, not negative; -1 if it lies outside the axis. */
static int64_t index_now(const gather_state *state, const q8_run *run, int64_t i)
{
    if (state->at < 0)
        return state->indices[i];
    const q8_tensor *tensor = q8_tensor_of(run, state->at);
    const void *indices = q8_read(run, tensor);
    const int64_t index = tensor->dtype == Q8_S64 ? ((const int64_t *)indices)[i]
                                                  : ((const int32_t *)indices)[i];
    if (index < -state->axis || index >= state->axis)
        return -1;
    return index < 0 ? index + state->axis : index;
}

static void run_gather(const q8_step *step, const q8_run *run, int64_t part)
{
    const gather_state *state = step->state;
    const uint8_t *x = q8_read(run, q8_tensor_of(run, state->x));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        const int64_t index = index_now(state, run, row % state->count);
        if (index < 0) {
            q8_run_failed(run, "an index is outside its axis");
            return;
        }
        int64_t from = row / state->count * state->axis + index;
        memcpy(y + (size_t)row * state->row_bytes, x + (size_t)from * state->row_bytes,
               state->row_bytes);
    }
}

/* The indices, none negative; NULL with the error set. */
static const int64_t *checked_indices(q8_plan *plan, int64_t axis, int64_t count,
                                      const int64_t *indices)
{
    int64_t *copy = q8_plan_allocate(plan, count, sizeof *copy);
    if (!copy)
        return NULL;
    for (int64_t i = 0; i < count; i++) {
        if (indices[i] < -axis || indices[i] >= axis) {
            q8_plan_fail(plan, Q8_ERROR_BOUNDS, "gather: index %lld is outside an axis of %lld",
                         (long long)indices[i], (long long)axis);
            return NULL;
        }
        copy[i] = indices[i] < 0 ? indices[i] + axis : indices[i];
    }
    return copy;
}

/* Checks what both forms have in common; rows is left 0 where nothing is to be picked. */
static int check_gather(q8_plan *plan, gather_state *state, int64_t outer, int64_t inner)
{
    const q8_tensor *input = q8_plan_operand(plan, state->x, -1, -1, "gather");
    const q8_tensor *output = q8_plan_result(plan, state->y, -1, -1, "gather");
    int64_t rows, x_count, y_count;
    if (!input || !output || q8_plan_apart(plan, input, output, false, "gather"))
        return plan->status;
    if (input->dtype != output->dtype)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "gather: types differ");
    if (!q8_multiply(outer, state->axis, &x_count) || !q8_multiply(x_count, inner, &x_count) ||
        !q8_multiply(outer, state->count, &rows) || !q8_multiply(rows, inner, &y_count) ||
        x_count != input->count || y_count != output->count)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "gather: sizes do not fit the tensors");
    state->row_bytes = (size_t)inner * q8_element_bytes(input->dtype);
    state->rows = y_count ? rows : 0;
    return Q8_OK;
}

static int append_gather(q8_plan *plan, gather_state *state, int64_t inner)
{
    int64_t parts = 1;
    if (state->rows > 0)
        parts = q8_split(state->rows, q8_ceil_divide(Q8_PART_ELEMENTS, inner), &state->per_part);
    q8_step *step = q8_plan_append(plan, sizeof *state, parts, run_gather);
    if (!step)
        return plan->status;
    *(gather_state *)step->state = *state;
    q8_step_name(step, "gather");
    return Q8_OK;
}

int q8_plan_add_gather(q8_plan *plan, int x, int y, int64_t outer, int64_t axis, int64_t inner,
                       int64_t count, const int64_t *indices)
{
    gather_state state = {.x = x, .y = y, .at = -1, .axis = axis, .count = count};
    if (check_gather(plan, &state, outer, inner))
        return plan->status;
    if (count > 0 && !indices)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "gather: no indices");
    if (state.rows > 0) {
        state.indices = checked_indices(plan, axis, count, indices);
        if (!state.indices)
            return plan->status;
    }
    return append_gather(plan, &state, inner);
}

int q8_plan_add_gather_at(q8_plan *plan, int x, int indices, int y, int64_t outer, int64_t axis,
                          int64_t inner)
{
    const q8_tensor *at = q8_plan_operand(plan, indices, -1, -1, "gather");
    if (!at)
        return plan->status;
    if (at->dtype != Q8_S32 && at->dtype != Q8_S64)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "gather: indices are neither s32 nor s64");
    gather_state state = {.x = x, .y = y, .at = indices, .axis = axis, .count = at->count};
    if (check_gather(plan, &state, outer, inner) ||
        q8_plan_apart(plan, at, &plan->tensors[y], false, "gather"))
        return plan->status;
    return append_gather(plan, &state, inner);
}

/* ---- fill ---- */

#define PATTERN 512

typedef struct {
    int y;
    size_t bytes;
    uint8_t pattern[PATTERN]; /* the value again and again */
    int64_t per_part;
} fill_state;

static void run_fill(const q8_step *step, const q8_run *run, int64_t part)
{
    const fill_state *state = step->state;
    const q8_tensor *tensor = q8_tensor_of(run, state->y);
    uint8_t *y = q8_write(run, tensor);
    q8_range range = q8_part_range(part, state->per_part, tensor->count);
    size_t at = (size_t)range.first * state->bytes, end = (size_t)range.end * state->bytes;
    for (size_t bytes; at < end; at += bytes) {
        bytes = end - at < PATTERN ? end - at : PATTERN;
        memcpy(y + at, state->pattern, bytes);
    }
}

int q8_plan_add_fill(q8_plan *plan, int y, const void *value)
{
    const q8_tensor *output = q8_plan_result(plan, y, -1, -1, "fill");
    if (!output)
        return plan->status;
    if (!value)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "fill: no value");
    fill_state state = {.y = y, .bytes = q8_element_bytes(output->dtype)};
    for (size_t at = 0; at < PATTERN; at += state.bytes)
        memcpy(state.pattern + at, value, state.bytes);
    int64_t parts = q8_split_elements(output->count, &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_fill);
    if (!step)
        return plan->status;
    *(fill_state *)step->state = state;
    q8_step_name(step, "fill");
    return Q8_OK;
}
