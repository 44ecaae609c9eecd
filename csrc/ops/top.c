/* top.c - the k greatest or least elements along an axis, in order, and where they lie.
 *
 * The best so far are a heap whose root is the worst of them, so that most elements cost one look;
 * at the end the heap is taken apart, worst first. Of equal elements the earlier one is better. */
#include "ops.h"

typedef struct {
    int x, values, indices;
    bool is_largest;
    int64_t axis, inner, k;
    int64_t rows, per_part;
} top_state;

/* Rows of one type: element i of row r of an outer index lies at x[i * inner]. NaN is greater than
 * every number. goes(p, q): p comes before q if they differ. */
#define TOP(name, type, less)                                                                    \
    static inline bool name##_before(const type *x, int64_t inner, bool is_largest, int64_t i,   \
                                     int64_t j)                                                  \
    {                                                                                            \
        const type p = x[i * inner], q = x[j * inner];                                           \
        if (is_largest ? less(q, p) : less(p, q))                                                \
            return true;                                                                         \
        return (is_largest ? !less(p, q) : !less(q, p)) && i < j;                                \
    }                                                                                            \
    static void name##_sink(const top_state *s, const type *x, int64_t *heap, int64_t size)      \
    {                                                                                            \
        const int64_t moved = heap[0];                                                           \
        int64_t at = 0;                                                                          \
        for (int64_t child = 1; child < size; child = 2 * at + 1) {                              \
            if (child + 1 < size &&                                                              \
                name##_before(x, s->inner, s->is_largest, heap[child], heap[child + 1]))         \
                child++;                                                                         \
            if (!name##_before(x, s->inner, s->is_largest, moved, heap[child]))                  \
                break;                                                                           \
            heap[at] = heap[child];                                                              \
            at = child;                                                                          \
        }                                                                                        \
        heap[at] = moved;                                                                        \
    }                                                                                            \
    static void name##_raise(const top_state *s, const type *x, int64_t *heap, int64_t at)       \
    {                                                                                            \
        const int64_t moved = heap[at];                                                          \
        while (at > 0 && name##_before(x, s->inner, s->is_largest, heap[(at - 1) / 2], moved)) { \
            heap[at] = heap[(at - 1) / 2];                                                       \
            at = (at - 1) / 2;                                                                   \
        }                                                                                        \
        heap[at] = moved;                                                                        \
    }                                                                                            \
    static void name(const top_state *s, const void *row, void *values, int64_t *indices,        \
                     int64_t *heap)                                                              \
    {                                                                                            \
        const type *x = row;                                                                     \
        type *y = values;                                                                        \
        for (int64_t i = 0; i < s->axis; i++)                                                    \
            if (i < s->k) {                                                                      \
                heap[i] = i;                                                                     \
                name##_raise(s, x, heap, i);                                                     \
            } else if (name##_before(x, s->inner, s->is_largest, i, heap[0])) {                  \
                heap[0] = i;                                                                     \
                name##_sink(s, x, heap, s->k);                                                   \
            }                                                                                    \
        for (int64_t size = s->k; size > 0; size--) {                                            \
            const int64_t worst = heap[0];                                                       \
            indices[(size - 1) * s->inner] = worst;                                              \
            y[(size - 1) * s->inner] = x[worst * s->inner];                                      \
            heap[0] = heap[size - 1];                                                            \
            name##_sink(s, x, heap, size - 1);                                                   \
        }                                                                                        \
    }

#define LESS(p, q) ((p) < (q))
#define LESS_FLOAT(p, q) ((p) < (q) || ((p) == (p) && (q) != (q)))
TOP(top_f32, float, LESS_FLOAT)
TOP(top_f64, double, LESS_FLOAT)
TOP(top_s32, int32_t, LESS)
TOP(top_s64, int64_t, LESS)
TOP(top_u8, uint8_t, LESS)

static void run_top(const q8_step *step, const q8_run *run, int64_t part)
{
    const top_state *state = step->state;
    const q8_tensor *tensor = q8_tensor_of(run, state->x);
    const uint8_t *x = q8_read(run, tensor);
    uint8_t *values = q8_write(run, q8_tensor_of(run, state->values));
    int64_t *indices = q8_write(run, q8_tensor_of(run, state->indices));
    int64_t *heap = (int64_t *)(void *)run->scratch;
    const int64_t bytes = (int64_t)q8_element_bytes(tensor->dtype);
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        const int64_t outer = row / state->inner, within = row % state->inner;
        const int64_t to = outer * state->k * state->inner + within;
        const uint8_t *from = x + (outer * state->axis * state->inner + within) * bytes;
        switch (tensor->dtype) {
        case Q8_F32: top_f32(state, from, values + to * bytes, indices + to, heap); break;
        case Q8_F64: top_f64(state, from, values + to * bytes, indices + to, heap); break;
        case Q8_S32: top_s32(state, from, values + to * bytes, indices + to, heap); break;
        case Q8_S64: top_s64(state, from, values + to * bytes, indices + to, heap); break;
        default: top_u8(state, from, values + to * bytes, indices + to, heap); break;
        }
    }
}

/* Types, sizes, and that nothing overlaps; sets rows. */
static int check_top(q8_plan *plan, top_state *state, int64_t outer)
{
    const q8_tensor *x = q8_plan_operand(plan, state->x, -1, -1, "top");
    if (!x)
        return plan->status;
    const q8_tensor *values = q8_plan_result(plan, state->values, (int)x->dtype, -1, "top");
    const q8_tensor *indices = q8_plan_result(plan, state->indices, Q8_S64, -1, "top");
    int64_t x_count, y_count;
    if (!values || !indices || q8_plan_apart(plan, x, values, false, "top") ||
        q8_plan_apart(plan, x, indices, false, "top") ||
        q8_plan_apart(plan, values, indices, false, "top"))
        return plan->status;
    if (x->dtype != Q8_F32 && x->dtype != Q8_F64 && x->dtype != Q8_S32 && x->dtype != Q8_S64 &&
        x->dtype != Q8_U8)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "top: not of %s", q8_dtype_name(x->dtype));
    if (!q8_multiply(outer, state->inner, &state->rows) ||
        !q8_multiply(state->rows, state->axis, &x_count) ||
        !q8_multiply(state->rows, state->k, &y_count) || x_count != x->count ||
        y_count != values->count || y_count != indices->count || state->k > state->axis)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "top: sizes do not fit the tensors");
    state->rows = y_count ? state->rows : 0;
    return Q8_OK;
}

int q8_plan_add_top(q8_plan *plan, int x, int values, int indices, int64_t outer, int64_t axis,
                    int64_t inner, int64_t k, int is_largest)
{
    top_state state = {.x = x, .values = values, .indices = indices, .axis = axis, .inner = inner,
                       .k = k, .is_largest = is_largest != 0};
    if (check_top(plan, &state, outer))
        return plan->status;
    const int64_t parts = q8_split(
        state.rows, q8_ceil_divide(Q8_PART_ELEMENTS / 4, axis > 0 ? axis : 1), &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_top);
    if (!step)
        return plan->status;
    step->scratch_bytes = state.rows ? (size_t)k * sizeof(int64_t) : 0;
    *(top_state *)step->state = state;
    q8_step_name(step, "top %s", q8_dtype_name(plan->tensors[x].dtype));
    return Q8_OK;
}
