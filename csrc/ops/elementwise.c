/* elementwise.c - checks and splitting that many drivers share; see ops.h. */
#include "ops.h"

int64_t q8_split_elements(int64_t count, int64_t *per_part)
{
    int64_t blocks_per_part;
    int64_t parts = q8_split(q8_ceil_divide(count, 64), Q8_PART_ELEMENTS / 64, &blocks_per_part);
    *per_part = blocks_per_part * 64;
    return parts;
}

int q8_plan_apart(q8_plan *plan, const q8_tensor *x, const q8_tensor *y, bool in_place,
                  const char *what)
{
    if (x->arena_offset < 0 || y->arena_offset < 0 || x->constant || y->constant) {
        if (x == y && !in_place)
            return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: cannot work in place", what);
        return Q8_OK;
    }
    if (in_place && x->arena_offset == y->arena_offset && x->bytes == y->bytes)
        return Q8_OK;
    if (x->arena_offset < y->arena_offset ? y->arena_offset - x->arena_offset < x->bytes
                                          : x->arena_offset - y->arena_offset < y->bytes)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: input and output overlap", what);
    return Q8_OK;
}

int q8_plan_scalar(q8_plan *plan, int id, int dtype, int y, const char *what)
{
    const q8_tensor *scalar = q8_plan_operand(plan, id, dtype, -1, what);
    if (!scalar)
        return plan->status;
    if (scalar->count != 1)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: tensor %d is not a scalar", what, id);
    return q8_plan_apart(plan, scalar, &plan->tensors[y], false, what);
}

int64_t q8_plan_elementwise(q8_plan *plan, int x, int x_dtype, int y, int y_dtype,
                            const char *what)
{
    const q8_tensor *input = q8_plan_operand(plan, x, x_dtype, -1, what);
    const q8_tensor *output = q8_plan_result(plan, y, y_dtype, -1, what);
    if (!input || !output)
        return plan->status;
    if (input->count != output->count)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: input has %lld elements, output %lld",
                            what, (long long)input->count, (long long)output->count);
    if (q8_plan_apart(plan, input, output, input->bytes == output->bytes, what))
        return plan->status;
    return input->count;
}

int q8_plan_check_code(q8_plan *plan, int32_t zero_point, const char *what)
{
    if (zero_point < 0 || zero_point > 255)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: zero point %d is not 0..255", what,
                            (int)zero_point);
    return Q8_OK;
}

int q8_plan_check_limits(q8_plan *plan, int32_t low, int32_t high, const char *what)
{
    if (low < 0 || high > 255 || low > high)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: limits %d..%d are not within 0..255",
                            what, (int)low, (int)high);
    return Q8_OK;
}
