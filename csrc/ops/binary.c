/* binary.c - add, subtract, multiply and so on, of two tensors, with numpy broadcasting.
 *
 * The broadcast loops are cut into blocks of a few thousand elements of y, contiguous there. An
 * operand that is contiguous or constant over a block goes to the kernel as it is; any other is
 * gathered into scratch first, so that the kernel always walks long rows, however short the inner
 * dimension. */
#include <math.h>
#include <string.h>

#include "arithmetic.h"
#include "ops.h"

#define BLOCK 4096 /* elements: two operands gathered as floats take 32 KiB of scratch */

typedef enum { CONTIGUOUS, CONSTANT, GATHERED } operand_kind;

typedef struct {
    int op, y;
    int operands[2];
    operand_kind kinds[2];
    size_t bytes, y_bytes;       /* of an element of an operand, of y */
    q8_arithmetic arithmetic;    /* of neither codes nor f32, else NULL */
    q8_binary_params params;     /* codes only */
    int rank;
    int64_t dims[Q8_MAX_RANK];
    int64_t strides[2][Q8_MAX_RANK];
    int split;                   /* a block is some indices of this dimension and all behind it */
    int64_t tail;                /* elements behind one index of it */
    int64_t chunk, chunks;       /* indices in a block, blocks in the dimension */
    int64_t blocks, per_part;
} binary_state;

/* One block: where it starts and how many indices of the split dimension it has. */
typedef struct {
    int64_t start[2], y_start, indices;
} block;

static block block_at(const binary_state *state, int64_t number)
{
    q8_counter outer;
    q8_counter_start(&outer, state->split, state->dims, number / state->chunks);
    int64_t first = number % state->chunks * state->chunk;
    int64_t row = number / state->chunks * state->dims[state->split] + first;
    block found = {.y_start = row * state->tail,
                   .indices = q8_least(state->chunk, state->dims[state->split] - first)};
    for (int i = 0; i < 2; i++)
        found.start[i] = q8_counter_offset(&outer, state->strides[i]) +
                         first * state->strides[i][state->split];
    return found;
}

/* Writes n copies of one element. */
static void repeat(uint8_t *target, const uint8_t *source, int64_t n, size_t bytes)
{
    if (bytes == 1) {
        memset(target, *source, (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        if (bytes == 4)
            memcpy(target + (size_t)i * 4, source, 4);
        else
            memcpy(target + (size_t)i * bytes, source, bytes);
}

/* Lays a block of operand i out as y's block lies. */
static void gather(const binary_state *state, int i, const uint8_t *source, int64_t indices,
                   uint8_t *target)
{
    int last = state->rank - 1;
    int outer_rank = last - state->split;
    const int64_t *strides = state->strides[i] + state->split;
    int64_t dims[Q8_MAX_RANK], rows = 1;
    memcpy(dims, state->dims + state->split, (size_t)(outer_rank + 1) * sizeof *dims);
    dims[0] = indices;
    for (int d = 0; d < outer_rank; d++)
        rows *= dims[d];
    int64_t n = dims[outer_rank];
    q8_counter counter;
    q8_counter_start(&counter, outer_rank, dims, 0);
    for (int64_t row = 0; row < rows; row++, q8_counter_next(&counter)) {
        const uint8_t *from = source + q8_counter_offset(&counter, strides) * (int64_t)state->bytes;
        if (strides[outer_rank])
            memcpy(target, from, (size_t)n * state->bytes);
        else
            repeat(target, from, n, state->bytes);
        target += (size_t)n * state->bytes;
    }
}

static void run_kernel(const binary_state *state, const q8_kernels *kernels, size_t n,
                       const uint8_t *const operands[2], uint8_t *y)
{
    bool b_is_scalar = state->kinds[1] == CONSTANT;
    if (state->arithmetic)
        state->arithmetic(state->op, n, operands[0], state->kinds[0] != CONSTANT, operands[1],
                          !b_is_scalar, y);
    else if (state->bytes == 4)
        kernels->f32.binary(state->op, n, (const float *)(const void *)operands[0],
                            state->kinds[0] != CONSTANT, (const float *)(const void *)operands[1],
                            !b_is_scalar, (float *)(void *)y);
    else if (state->op == Q8_MUL)
        kernels->vec.mul(n, operands[0], operands[1], b_is_scalar, y, &state->params);
    else
        kernels->vec.add(n, operands[0], operands[1], b_is_scalar, y, &state->params);
}

static void run_binary(const q8_step *step, const q8_run *run, int64_t part)
{
    const binary_state *state = step->state;
    const uint8_t *sources[2];
    int64_t gathered_start[2] = {-1, -1}, gathered_indices[2] = {0, 0};
    float found[2] = {0.0f, 0.0f};
    for (int i = 0; i < 2; i++)
        sources[i] = q8_read(run, q8_tensor_of(run, state->operands[i]));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    q8_range range = q8_part_range(part, state->per_part, state->blocks);
    for (int64_t number = range.first; number < range.end; number++) {
        block here = block_at(state, number);
        const uint8_t *operands[2];
        for (int i = 0; i < 2; i++) {
            operands[i] = sources[i] + here.start[i] * (int64_t)state->bytes;
            if (state->kinds[i] != GATHERED)
                continue;
            uint8_t *scratch = run->scratch + (size_t)i * BLOCK * state->bytes;
            if (gathered_start[i] != here.start[i] || gathered_indices[i] != here.indices)
                gather(state, i, operands[i], here.indices, scratch);
            gathered_start[i] = here.start[i];
            gathered_indices[i] = here.indices;
            operands[i] = scratch;
        }
        const size_t n = (size_t)(here.indices * state->tail);
        uint8_t *target = y + here.y_start * (int64_t)state->y_bytes;
        run_kernel(state, run->plan->kernels, n, operands, target);
        q8_finish_floats(step, run->plan->kernels, 1, n, (float *)(void *)target, n, found);
    }
    q8_widen_range(step, run, found);
}

/* ---- building ---- */

static void choose_blocks(binary_state *state)
{
    state->split = state->rank - 1;
    state->tail = 1;
    while (state->split > 0 && state->tail * state->dims[state->split] <= BLOCK / 2)
        state->tail *= state->dims[state->split--];
    state->chunk = q8_least(BLOCK / state->tail, state->dims[state->split]);
    state->chunks = q8_ceil_divide(state->dims[state->split], state->chunk);
    state->blocks = state->chunks;
    for (int d = 0; d < state->split; d++)
        state->blocks *= state->dims[d];
}

/* How operand i lies within a block. */
static operand_kind kind_of(const binary_state *state, int i)
{
    bool constant = true, contiguous = true;
    int64_t row = 1;
    for (int d = state->rank - 1; d >= state->split; d--) {
        constant &= state->strides[i][d] == 0;
        contiguous &= state->strides[i][d] == row;
        row *= state->dims[d];
    }
    return constant ? CONSTANT : contiguous ? CONTIGUOUS : GATHERED;
}

static void swap_operands(binary_state *state)
{
    q8_binary_params *params = &state->params;
    int64_t strides[Q8_MAX_RANK];
    memcpy(strides, state->strides[0], sizeof strides);
    memcpy(state->strides[0], state->strides[1], sizeof strides);
    memcpy(state->strides[1], strides, sizeof strides);
    int operand = state->operands[0];
    state->operands[0] = state->operands[1];
    state->operands[1] = operand;
    operand_kind kind = state->kinds[0];
    state->kinds[0] = state->kinds[1];
    state->kinds[1] = kind;
    int32_t zero_point = params->a_zero_point;
    params->a_zero_point = params->b_zero_point;
    params->b_zero_point = zero_point;
    if (state->op == Q8_MUL)
        return;
    float multiplier = params->a_multiplier;
    params->a_multiplier = params->b_multiplier;
    params->b_multiplier = multiplier;
}

/* The eight-bit kernels take b as one code, never a; add, sub (b negated) and mul commute. */
static void order_operands(binary_state *state)
{
    if (state->bytes != 1 || state->arithmetic || state->kinds[0] != CONSTANT)
        return;
    if (state->kinds[1] != CONSTANT)
        swap_operands(state);
    else
        state->kinds[0] = GATHERED;
}

static int append_binary(q8_plan *plan, binary_state *state, const q8_broadcast *loops,
                         const char *name)
{
    state->rank = loops->rank;
    memcpy(state->dims, loops->dims, sizeof state->dims);
    memcpy(state->strides[0], loops->a_strides, sizeof loops->a_strides);
    memcpy(state->strides[1], loops->b_strides, sizeof loops->b_strides);
    int64_t parts = 1;
    if (plan->tensors[state->y].count > 0) {
        choose_blocks(state);
        state->kinds[0] = kind_of(state, 0);
        state->kinds[1] = kind_of(state, 1);
        order_operands(state);
        int64_t per_block = state->chunk * state->tail;
        parts = q8_split(state->blocks, q8_ceil_divide(Q8_PART_ELEMENTS, per_block),
                         &state->per_part);
    }
    q8_step *step = q8_plan_append(plan, sizeof *state, parts, run_binary);
    if (!step)
        return plan->status;
    step->scratch_bytes = 2 * BLOCK * state->bytes;
    const bool is_f32 = state->bytes == 4 && !state->arithmetic;
    step->ranged = is_f32 ? state->y : -1;
    *(binary_state *)step->state = *state;
    if (state->arithmetic)
        q8_step_name(step, "%s %s", name,
                     q8_dtype_name(plan->tensors[state->operands[0]].dtype));
    else
        q8_step_name(step, "%s %s %s", name, is_f32 ? "f32" : "u8", plan->kernels->name);
    return Q8_OK;
}

/* Operands of one type whose shapes broadcast to y's, and that y does not destroy while read. */
static int check_operands(q8_plan *plan, int a, int b, int dtype, int y, int y_dtype,
                          q8_broadcast *loops)
{
    const q8_tensor *left = q8_plan_operand(plan, a, dtype, -1, "binary");
    const q8_tensor *right = q8_plan_operand(plan, b, dtype, -1, "binary");
    const q8_tensor *result = q8_plan_result(plan, y, y_dtype, -1, "binary");
    if (!left || !right || !result)
        return plan->status;
    if (!q8_broadcast_of(left, right, result, loops))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "binary: shapes do not broadcast");
    if (q8_plan_apart(plan, left, result, left->count == result->count, "binary") ||
        q8_plan_apart(plan, right, result, right->count == result->count, "binary"))
        return plan->status;
    return Q8_OK;
}

int q8_plan_add_binary(q8_plan *plan, const q8_binary *binary)
{
    q8_broadcast loops;
    if (!binary)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "binary: no descriptor");
    if (binary->op < Q8_ADD || binary->op > Q8_MUL)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "binary: no eight-bit operation %d",
                            (int)binary->op);
    if (!isfinite(binary->a_multiplier) ||
        (binary->op != Q8_MUL && !isfinite(binary->b_multiplier)))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "binary: a multiplier is not finite");
    if (q8_plan_check_code(plan, binary->a_zero_point, "binary") ||
        q8_plan_check_code(plan, binary->b_zero_point, "binary") ||
        q8_plan_check_code(plan, binary->y_zero_point, "binary") ||
        q8_plan_check_limits(plan, binary->y_low, binary->y_high, "binary") ||
        check_operands(plan, binary->a, binary->b, Q8_U8, binary->y, Q8_U8, &loops))
        return plan->status;
    float b_multiplier = binary->op == Q8_SUB ? -binary->b_multiplier : binary->b_multiplier;
    binary_state state = {
        .op = binary->op,
        .operands = {binary->a, binary->b},
        .y = binary->y,
        .bytes = 1,
        .y_bytes = 1,
        .params = {binary->a_zero_point, binary->b_zero_point, binary->a_multiplier, b_multiplier,
                   binary->y_zero_point, binary->y_low, binary->y_high},
    };
    static const char *const names[] = {"add", "sub", "mul"};
    return append_binary(plan, &state, &loops, names[binary->op]);
}

static const char *const operation_names[] = {"add", "sub", "mul", "div", "min", "max", "pow",
                                               "mod", "rest", "and", "or", "xor"};

int q8_plan_add_binary_f32(q8_plan *plan, int op, int a, int b, int y)
{
    q8_broadcast loops;
    if (op < Q8_ADD || op > Q8_POW)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "binary: no operation %d", op);
    if (check_operands(plan, a, b, Q8_F32, y, Q8_F32, &loops))
        return plan->status;
    binary_state state = {.op = op, .operands = {a, b}, .y = y, .bytes = 4, .y_bytes = 4};
    return append_binary(plan, &state, &loops, operation_names[op]);
}

int q8_plan_add_arithmetic(q8_plan *plan, int op, int a, int b, int y)
{
    q8_broadcast loops;
    if (op < Q8_ADD || op > Q8_XOR || op == Q8_POW)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "arithmetic: no operation %d", op);
    const q8_tensor *result = q8_plan_result(plan, y, -1, -1, "arithmetic");
    if (!result || check_operands(plan, a, b, (int)result->dtype, y, (int)result->dtype, &loops))
        return plan->status;
    const size_t bytes = q8_element_bytes(result->dtype);
    binary_state state = {.op = op, .operands = {a, b}, .y = y, .bytes = bytes, .y_bytes = bytes,
                          .arithmetic = q8_arithmetic_of(result->dtype)};
    if (!state.arithmetic || (result->dtype == Q8_F64 && op > Q8_MAX))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "arithmetic: %s not of %s",
                            operation_names[op], q8_dtype_name(result->dtype));
    return append_binary(plan, &state, &loops, operation_names[op]);
}

int q8_plan_add_compare(q8_plan *plan, int op, int a, int b, int y)
{
    static const char *const names[] = {"equal", "less", "less_equal"};
    q8_broadcast loops;
    if (op < Q8_COMPARE_EQUAL || op > Q8_COMPARE_LESS_EQUAL)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "compare: no operation %d", op);
    const q8_tensor *left = q8_plan_operand(plan, a, -1, -1, "compare");
    if (!left || check_operands(plan, a, b, (int)left->dtype, y, Q8_U8, &loops))
        return plan->status;
    binary_state state = {.op = op, .operands = {a, b}, .y = y,
                          .bytes = q8_element_bytes(left->dtype), .y_bytes = 1,
                          .arithmetic = q8_comparison_of(left->dtype)};
    if (!state.arithmetic)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "compare: not of %s",
                            q8_dtype_name(left->dtype));
    return append_binary(plan, &state, &loops, names[op]);
}
