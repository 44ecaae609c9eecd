/* cast.c - between int32, float32, uint8 and int64.
 *
 * Floats lose their fraction; what int32 or int64 cannot hold becomes the nearest value that it
 * can, NaN becomes 0, and uint8 keeps the low eight bits of the integer, on every CPU alike. */
#include "ops.h"

typedef struct {
    int x, y;
    int64_t per_part;
} cast_state;

static int64_t integer_of(float value)
{
    if (value != value)
        return 0;
    if (value >= 9223372036854775808.0f)
        return INT64_MAX;
    return value <= -9223372036854775808.0f ? INT64_MIN : (int64_t)value;
}

static int32_t int32_of(int64_t value)
{
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

static void cast_from_f32(const float *x, void *y, q8_dtype dtype, q8_range range)
{
    for (int64_t i = range.first; i < range.end; i++) {
        if (dtype == Q8_U8)
            ((uint8_t *)y)[i] = (uint8_t)integer_of(x[i]);
        else if (dtype == Q8_S32)
            ((int32_t *)y)[i] = int32_of(integer_of(x[i]));
        else if (dtype == Q8_S64)
            ((int64_t *)y)[i] = integer_of(x[i]);
        else
            ((float *)y)[i] = x[i];
    }
}

static int64_t integer_at(const void *x, q8_dtype dtype, int64_t i)
{
    if (dtype == Q8_U8)
        return ((const uint8_t *)x)[i];
    return dtype == Q8_S32 ? ((const int32_t *)x)[i] : ((const int64_t *)x)[i];
}

static void cast_from_integer(const void *x, q8_dtype x_dtype, void *y, q8_dtype y_dtype,
                              q8_range range)
{
    for (int64_t i = range.first; i < range.end; i++) {
        int64_t value = integer_at(x, x_dtype, i);
        if (y_dtype == Q8_F32)
            ((float *)y)[i] = (float)value;
        else if (y_dtype == Q8_S32)
            ((uint32_t *)y)[i] = (uint32_t)value;
        else if (y_dtype == Q8_S64)
            ((int64_t *)y)[i] = value;
        else
            ((uint8_t *)y)[i] = (uint8_t)value;
    }
}

static void run_cast(const q8_step *step, const q8_run *run, int64_t part)
{
    const cast_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x);
    const q8_tensor *y = q8_tensor_of(run, state->y);
    q8_range range = q8_part_range(part, state->per_part, x->count);
    if (x->dtype == Q8_F32)
        cast_from_f32(q8_read(run, x), q8_write(run, y), y->dtype, range);
    else
        cast_from_integer(q8_read(run, x), x->dtype, q8_write(run, y), y->dtype, range);
}

int q8_plan_add_cast(q8_plan *plan, int x, int y)
{
    int64_t count = q8_plan_elementwise(plan, x, -1, y, -1, "cast");
    if (count < 0)
        return (int)count;
    if (plan->tensors[x].dtype == Q8_S8 || plan->tensors[y].dtype == Q8_S8)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "cast: int8 is not a type of activations");
    int64_t per_part;
    int64_t parts = q8_split_elements(count, &per_part);
    q8_step *step = q8_plan_append(plan, sizeof(cast_state), parts, run_cast);
    if (!step)
        return plan->status;
    *(cast_state *)step->state = (cast_state){x, y, per_part};
    q8_step_name(step, "cast");
    return Q8_OK;
}
