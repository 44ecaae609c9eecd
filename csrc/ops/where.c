/* where.c - elements of one tensor or of another, as a third says, with numpy broadcasting.
 *
 * A row is what lies behind all dimensions but the last of the joined loops; each operand goes
 * through it one by one or stays where it is. */
#include <string.h>

#include "ops.h"

enum { CONDITION, CHOSEN, OTHER, OPERANDS };

typedef struct {
    int operands[OPERANDS], y;
    int rank; /* >= 1 */
    int64_t dims[Q8_MAX_RANK], strides[OPERANDS][Q8_MAX_RANK];
    int64_t rows, per_part;
} where_state;

/* An operand that does not move is looked at once. */
#define ROW(type)                                                                                \
    do {                                                                                         \
        const type *a = (const type *)(const void *)from[CHOSEN];                                \
        const type *b = (const type *)(const void *)from[OTHER];                                 \
        type *to = (type *)(void *)y;                                                            \
        const int64_t a_step = steps[CHOSEN], b_step = steps[OTHER], c_step = steps[CONDITION];  \
        for (int64_t i = 0; i < n; i++) {                                                        \
            const type p = a[i * a_step], q = b[i * b_step];                                     \
            to[i] = c[i * c_step] ? p : q;                                                       \
        }                                                                                        \
    } while (0)

static void choose_row(size_t bytes, int64_t n, const uint8_t *const from[OPERANDS],
                       const int64_t steps[OPERANDS], uint8_t *y)
{
    const uint8_t *c = from[CONDITION];
    switch (bytes) {
    case 1: ROW(uint8_t); break;
    case 2: ROW(uint16_t); break;
    case 4: ROW(uint32_t); break;
    default: ROW(uint64_t); break;
    }
}

static void run_where(const q8_step *step, const q8_run *run, int64_t part)
{
    const where_state *state = step->state;
    const q8_tensor *result = q8_tensor_of(run, state->y);
    const size_t bytes = q8_element_bytes(result->dtype);
    uint8_t *y = q8_write(run, result);
    const int last = state->rank - 1;
    const int64_t n = state->dims[last];
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    q8_counter counter = {0};
    if (range.first < range.end) /* some dimension may be 0 */
        q8_counter_start(&counter, last, state->dims, range.first);
    for (int64_t row = range.first; row < range.end; row++, q8_counter_next(&counter)) {
        const uint8_t *from[OPERANDS];
        int64_t steps[OPERANDS];
        for (int i = 0; i < OPERANDS; i++) {
            const size_t size = i == CONDITION ? 1 : bytes;
            from[i] = (const uint8_t *)q8_read(run, q8_tensor_of(run, state->operands[i])) +
                      q8_counter_offset(&counter, state->strides[i]) * (int64_t)size;
            steps[i] = state->strides[i][last];
        }
        choose_row(bytes, n, from, steps, y + (size_t)(row * n) * bytes);
    }
}

/* ---- building ---- */

/* Elements from one index of dimension d of y to the next, as an operand sees it: 0 where it
 * repeats. row: elements of the operand behind d. False if its size fits neither. */
static bool stride_of(const q8_tensor *x, const q8_tensor *y, int d, int64_t row, int64_t *stride)
{
    const int own = d - (y->rank - x->rank);
    const int64_t size = own < 0 ? 1 : x->dims[own];
    *stride = size == 1 ? 0 : row;
    return size == 1 || size == y->dims[d];
}

/* Adds a dimension in front of the loops, or joins it to the first one. Loops are held last first. */
static void push_loop(where_state *state, int64_t size, const int64_t strides[OPERANDS])
{
    const int last = state->rank - 1;
    bool joins = last >= 0;
    for (int i = 0; joins && i < OPERANDS; i++)
        joins = strides[i] == state->strides[i][last] * state->dims[last];
    if (joins) {
        state->dims[last] *= size;
        return;
    }
    for (int i = 0; i < OPERANDS; i++)
        state->strides[i][state->rank] = strides[i];
    state->dims[state->rank++] = size;
}

static void reverse(int64_t *values, int count)
{
    for (int i = 0; i < count / 2; i++) {
        const int64_t kept = values[i];
        values[i] = values[count - 1 - i];
        values[count - 1 - i] = kept;
    }
}

static bool find_loops(const q8_plan *plan, where_state *state)
{
    const q8_tensor *y = &plan->tensors[state->y];
    int64_t rows[OPERANDS] = {1, 1, 1};
    for (int i = 0; i < OPERANDS; i++)
        if (plan->tensors[state->operands[i]].rank > y->rank)
            return false;
    for (int d = y->rank - 1; d >= 0; d--) {
        int64_t strides[OPERANDS];
        for (int i = 0; i < OPERANDS; i++) {
            const q8_tensor *operand = &plan->tensors[state->operands[i]];
            if (!stride_of(operand, y, d, rows[i], &strides[i]))
                return false;
            rows[i] *= strides[i] ? y->dims[d] : 1;
        }
        if (y->dims[d] != 1)
            push_loop(state, y->dims[d], strides);
    }
    if (state->rank == 0)
        state->dims[state->rank++] = 1;
    reverse(state->dims, state->rank);
    for (int i = 0; i < OPERANDS; i++)
        reverse(state->strides[i], state->rank);
    return true;
}

int q8_plan_add_where(q8_plan *plan, int condition, int a, int b, int y)
{
    where_state state = {.operands = {condition, a, b}, .y = y};
    const q8_tensor *result = q8_plan_result(plan, y, -1, -1, "where");
    if (!result)
        return plan->status;
    for (int i = 0; i < OPERANDS; i++) {
        const int dtype = i == CONDITION ? Q8_U8 : (int)result->dtype;
        const q8_tensor *operand = q8_plan_operand(plan, state.operands[i], dtype, -1, "where");
        if (!operand ||
            q8_plan_apart(plan, operand, result, operand->count == result->count, "where"))
            return plan->status;
    }
    if (!find_loops(plan, &state))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "where: shapes do not broadcast");
    const int64_t n = state.dims[state.rank - 1];
    state.rows = result->count ? result->count / n : 0;
    const int64_t parts =
        q8_split(state.rows, q8_ceil_divide(Q8_PART_ELEMENTS, n > 0 ? n : 1), &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_where);
    if (!step)
        return plan->status;
    *(where_state *)step->state = state;
    q8_step_name(step, "where %s", q8_dtype_name(plan->tensors[y].dtype));
    return Q8_OK;
}
