/* lookup.c - elements and blocks at places that indices of the run tell: GatherElements, GatherND and
 * what Scatter writes there.
 *
 * Every index is checked before anything is read or written there. What is scattered is written in
 * the order of the updates, by one part, since two of them may name one place. */
#include <string.h>

#include "arithmetic.h"

static const char OUTSIDE[] = "an index is outside its axis";

typedef struct {
    int x, indices, y, updates; /* updates: -1 where y is read */
    int op;                     /* of a scatter: -1 writes, else a q8_binary_op */
    q8_arithmetic combine;
    int axis, rank;             /* by element: the indices' axis and rank */
    int64_t x_strides[Q8_MAX_RANK];
    int64_t depth, sizes[Q8_MAX_RANK]; /* by block: indices of one place, and their axes */
    int64_t batches, places, block;    /* places per batch; elements of a block */
    int64_t count, per_part;           /* places in all */
} lookup_state;

/* Entry i of indices of s32 or s64, not negative; -1 if it lies outside an axis of `size`. */
static int64_t index_at(const q8_tensor *tensor, const void *indices, int64_t i, int64_t size)
{
    const int64_t index = tensor->dtype == Q8_S64 ? ((const int64_t *)indices)[i]
                                                  : ((const int32_t *)indices)[i];
    if (index < -size || index >= size)
        return -1;
    return index < 0 ? index + size : index;
}

/* The element of x that index number i names, whose own place the counter tells; -1: none. */
static int64_t element_at(const lookup_state *state, const q8_run *run, const void *indices,
                          const q8_counter *counter, int64_t i)
{
    const q8_tensor *tensor = q8_tensor_of(run, state->indices);
    const int64_t index = index_at(tensor, indices, i, state->sizes[0]);
    if (index < 0)
        return -1;
    return q8_counter_offset(counter, state->x_strides) +
           (index - counter->index[state->axis]) * state->x_strides[state->axis];
}

/* The block of x that place number i names; -1: none. */
static int64_t block_at(const lookup_state *state, const q8_run *run, const void *indices, int64_t i)
{
    const q8_tensor *tensor = q8_tensor_of(run, state->indices);
    int64_t block = i / state->places;
    for (int64_t d = 0; d < state->depth; d++) {
        const int64_t index = index_at(tensor, indices, i * state->depth + d, state->sizes[d]);
        if (index < 0)
            return -1;
        block = block * state->sizes[d] + index;
    }
    return block;
}

static void combine_f32(int op, size_t n, const void *left, bool a_moves, const void *right,
                        bool b_moves, void *result)
{
    const float *a = left, *b = right;
    float *y = result;
    for (size_t i = 0; i < n; i++) {
        const float p = a[a_moves ? i : 0], q = b[b_moves ? i : 0];
        switch (op) {
        case Q8_ADD: y[i] = p + q; break;
        case Q8_MUL: y[i] = p * q; break;
        case Q8_MIN: y[i] = p != p || p < q ? p : q; break;
        default: y[i] = p != p || p > q ? p : q; break;
        }
    }
}

/* Puts a block at another: as it is, or combined with what is there. */
static void put(const lookup_state *state, size_t bytes, const uint8_t *from, uint8_t *to)
{
    const size_t n = (size_t)state->block;
    if (state->combine)
        state->combine(state->op, n, to, true, from, true, to);
    else
        memcpy(to, from, n * bytes);
}

static void run_lookup(const q8_step *step, const q8_run *run, int64_t part)
{
    const lookup_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x), *at = q8_tensor_of(run, state->indices);
    const bool writes = state->updates >= 0, by_element = state->depth == 0;
    const size_t bytes = q8_element_bytes(x->dtype), step_bytes = (size_t)state->block * bytes;
    const void *indices = q8_read(run, at);
    const uint8_t *source = q8_read(run, x);
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    const uint8_t *updates = writes ? q8_read(run, q8_tensor_of(run, state->updates)) : NULL;
    q8_range range = q8_part_range(part, state->per_part, state->count);
    q8_counter counter = {0};
    if (writes && x->bytes)
        memcpy(y, source, (size_t)x->bytes);
    if (by_element && range.first < range.end)
        q8_counter_start(&counter, state->rank, at->dims, range.first);
    for (int64_t i = range.first; i < range.end; i++) {
        const int64_t place = by_element ? element_at(state, run, indices, &counter, i)
                                         : block_at(state, run, indices, i);
        if (place < 0) {
            q8_run_failed(run, OUTSIDE);
            return;
        }
        if (writes)
            put(state, bytes, updates + (size_t)i * step_bytes, y + (size_t)place * step_bytes);
        else
            memcpy(y + (size_t)i * step_bytes, source + (size_t)place * step_bytes, step_bytes);
        if (by_element)
            q8_counter_next(&counter);
    }
}

/* ---- building ---- */

/* Types, and that nothing that is written is read elsewhere. */
static int check_tensors(q8_plan *plan, const lookup_state *state)
{
    const q8_tensor *x = q8_plan_operand(plan, state->x, -1, -1, "lookup");
    const q8_tensor *at = q8_plan_operand(plan, state->indices, -1, -1, "lookup");
    const q8_tensor *y = q8_plan_result(plan, state->y, -1, -1, "lookup");
    if (!x || !at || !y)
        return plan->status;
    if (at->dtype != Q8_S32 && at->dtype != Q8_S64)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "lookup: indices are neither s32 nor s64");
    if (x->dtype != y->dtype)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "lookup: types differ");
    if (q8_plan_apart(plan, x, y, false, "lookup") || q8_plan_apart(plan, at, y, false, "lookup"))
        return plan->status;
    if (state->updates < 0)
        return Q8_OK;
    const q8_tensor *updates = q8_plan_operand(plan, state->updates, (int)x->dtype, -1, "lookup");
    if (!updates || q8_plan_apart(plan, updates, y, false, "lookup"))
        return plan->status;
    if (y->count != x->count)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "lookup: sizes do not fit the tensors");
    return Q8_OK;
}

static int append_lookup(q8_plan *plan, lookup_state *state, const char *name)
{
    int64_t elements, parts = 1;
    const q8_tensor *moved = &plan->tensors[state->updates >= 0 ? state->updates : state->y];
    if (!q8_multiply(state->count, state->block, &elements) || elements != moved->count)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "lookup: sizes do not fit the tensors");
    state->count = elements ? state->count : 0;
    state->per_part = state->count;
    if (state->updates < 0)
        parts = q8_split(state->count,
                         q8_ceil_divide(Q8_PART_ELEMENTS / 4, state->block ? state->block : 1),
                         &state->per_part);
    else if (state->op >= 0) {
        const q8_dtype dtype = plan->tensors[state->x].dtype;
        state->combine = dtype == Q8_F32 ? combine_f32 : q8_arithmetic_of(dtype);
        if (!state->combine || (state->op != Q8_ADD && state->op != Q8_MUL &&
                                state->op != Q8_MIN && state->op != Q8_MAX))
            return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "lookup: no operation %d of %s",
                                state->op, q8_dtype_name(dtype));
    }
    q8_step *step = q8_plan_append(plan, sizeof *state, parts, run_lookup);
    if (!step)
        return plan->status;
    *(lookup_state *)step->state = *state;
    q8_step_name(step, "%s", name);
    return Q8_OK;
}

int q8_plan_add_lookup_elements(q8_plan *plan, int x, int indices, int updates, int y, int axis,
                                int op)
{
    lookup_state state = {.x = x, .indices = indices, .updates = updates, .y = y, .op = op,
                          .axis = axis, .block = 1};
    if (check_tensors(plan, &state))
        return plan->status;
    const q8_tensor *input = &plan->tensors[x], *at = &plan->tensors[indices];
    state.rank = at->rank;
    if (at->rank != input->rank || axis < 0 || axis >= at->rank)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "lookup: ranks differ, or no axis %d", axis);
    int64_t stride = 1;
    for (int d = input->rank - 1; d >= 0; d--) {
        state.x_strides[d] = stride;
        stride *= input->dims[d];
        if (d != axis && at->dims[d] > input->dims[d])
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "lookup: indices are longer than x");
    }
    state.sizes[0] = input->dims[axis];
    state.count = at->count;
    return append_lookup(plan, &state, updates < 0 ? "gather_elements" : "scatter_elements");
}

int q8_plan_add_lookup_blocks(q8_plan *plan, int x, int indices, int updates, int y,
                              int batch_rank, int op)
{
    lookup_state state = {.x = x, .indices = indices, .updates = updates, .y = y, .op = op,
                          .batches = 1, .places = 1, .block = 1};
    if (check_tensors(plan, &state))
        return plan->status;
    const q8_tensor *input = &plan->tensors[x], *at = &plan->tensors[indices];
    state.depth = at->rank ? at->dims[at->rank - 1] : 0;
    if (batch_rank < 0 || batch_rank >= at->rank || state.depth < 1 ||
        state.depth > input->rank - batch_rank || (updates >= 0 && batch_rank))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "lookup: indices do not fit x");
    for (int d = 0; d < batch_rank; d++) {
        state.batches *= at->dims[d];
        if (at->dims[d] != input->dims[d])
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "lookup: batches differ");
    }
    for (int d = batch_rank; d < at->rank - 1; d++)
        state.places *= at->dims[d];
    for (int d = batch_rank; d < input->rank; d++)
        if (d - batch_rank < state.depth)
            state.sizes[d - batch_rank] = input->dims[d];
        else
            state.block *= input->dims[d];
    state.count = state.batches * state.places;
    return append_lookup(plan, &state, updates < 0 ? "gather_nd" : "scatter_nd");
}
