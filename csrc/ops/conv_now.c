/* conv_now.c - the numbers of an eight-bit convolution whose x has its scale or its zero point at
 * run time: a small step before the convolution's own makes them once for all parts.
 *
 * Codes from sums: (acc + b) * m with m = x_scale * w_scale / y_scale and b the float bias in units
 * of x_scale * w_scale, so that the kernels see the same job as with everything constant. Rounding
 * b costs up to m / 2 codes; where that is too much in some channel, codes are made from floats. In
 * channels that training has left for dead, weights are nothing or next to it, and b may not fit:
 * there the code is as good as constant, and m may be another one. */
#include <math.h>
#include <string.h>

#include "conv.h"

/* The most codes that one accumulator may be worth if a bias is rounded to accumulators. */
#define COARSEST 1.0f
/* The most codes that a sum may be worth if it counts as nothing. */
#define NOTHING 0.125f

struct q8_conv_now {
    q8_conv_numbers *numbers;
    int32_t x_scale_tensor, x_zero_point_tensor;
    const int32_t *bias;     /* for zero point 0 */
    const float *scale;      /* of a float per accumulator and x_scale; NULL: multipliers are known */
    const float *code_scale; /* scale / y_scale; NULL: y is no code */
    const float *bias_steps; /* float_bias / scale; NULL: there is no float bias */
    float most_bias;         /* what may be added to the largest sum */
};

/* ---- adding ---- */

static void run(const q8_step *step, const q8_run *run, int64_t part);

int q8_conv_now_append(q8_plan *plan, const q8_conv *conv, q8_conv_now **now)
{
    *now = NULL;
    if (conv->x_scale_tensor < 0 && conv->x_zero_point_tensor < 0)
        return Q8_OK;
    q8_step *step = q8_plan_append(plan, sizeof(q8_conv_now), 1, run);
    if (!step)
        return plan->status;
    q8_step_name(step, "conv: numbers of the run");
    plan->keeps_numbers = true;
    *now = step->state;
    **now = (q8_conv_now){.x_scale_tensor = conv->x_scale_tensor,
                          .x_zero_point_tensor = conv->x_zero_point_tensor};
    return Q8_OK;
}

static void *copied(q8_plan *plan, const void *values, int64_t count)
{
    void *copy = q8_plan_allocate(plan, count, 4);
    return copy ? memcpy(copy, values, (size_t)count * 4) : NULL;
}

/* Columns that only fill a panel have scale and bias 0. */
static float steps_of(float bias, float scale)
{
    return bias == 0.0f ? 0.0f : bias / scale;
}

static int prepare_codes(q8_plan *plan, float y_scale, q8_conv_now *now)
{
    q8_conv_numbers *numbers = now->numbers;
    const int64_t count = numbers->columns;
    float *code_scale = q8_plan_allocate(plan, count, sizeof(float));
    float *steps = numbers->float_bias ? q8_plan_allocate(plan, count, sizeof(float)) : NULL;
    if (plan->status)
        return plan->status;
    for (int64_t i = 0; i < count; i++)
        code_scale[i] = now->scale[i] / y_scale;
    for (int64_t i = 0; steps && i < count; i++)
        steps[i] = steps_of(numbers->float_bias[i], now->scale[i]);
    now->code_scale = code_scale;
    now->bias_steps = steps;
    now->most_bias = (float)(INT32_MAX - numbers->largest_sum) * 0.99f;
    return Q8_OK;
}

int q8_conv_now_of(q8_plan *plan, const q8_conv *conv, q8_conv_now *now, q8_conv_numbers *numbers)
{
    if (!now)
        return Q8_OK;
    const int64_t count = numbers->columns;
    now->numbers = numbers;
    now->bias = copied(plan, numbers->bias, count);
    if (now->x_scale_tensor >= 0)
        now->scale = copied(plan, numbers->multiplier, count);
    if (plan->status || !now->scale || numbers->output.dtype != Q8_U8)
        return plan->status;
    return prepare_codes(plan, conv->y_scale, now);
}

/* ---- running ---- */

/* Bias and multiplier of a column whose sums count as nothing: the sums become a quarter of a code,
 * the bias stays. False if they do count, or if this does not fit either. */
static bool set_constant(const q8_conv_now *now, int64_t i)
{
    q8_conv_numbers *numbers = now->numbers;
    const q8_output *output = &numbers->output;
    const float most_sum = numbers->most_sum[i];
    const float low = (float)(output->low - output->zero_point - 1);
    const float high = (float)(output->high - output->zero_point + 1);
    float code = numbers->float_bias[i] / output->scale;
    code = code > low ? code : low;
    code = code < high ? code : high;
    const float quarters = 4.0f * (most_sum + 1.0f), wanted = code * quarters;
    if (numbers->weight_zero_point || !(fabsf(wanted) <= now->most_bias) ||
        !(most_sum * numbers->multiplier[i] <= NOTHING))
        return false;
    numbers->bias[i] = (int32_t)((uint32_t)numbers->bias[i] + (uint32_t)(int32_t)wanted);
    numbers->multiplier[i] = 1.0f / quarters;
    return true;
}

/* Adds the biases in units of the accumulators; false if that is too coarse somewhere. */
static bool add_biases(const q8_conv_now *now, float x_scale)
{
    q8_conv_numbers *numbers = now->numbers;
    const float most = now->most_bias, inverse = 1.0f / x_scale;
    for (int64_t i = 0; i < numbers->columns; i++) {
        const float wanted = now->bias_steps[i] * inverse;
        if (fabsf(wanted) <= most && numbers->multiplier[i] <= COARSEST) {
            const int32_t rounded = (int32_t)(wanted + (wanted < 0.0f ? -0.5f : 0.5f));
            numbers->bias[i] = (int32_t)((uint32_t)numbers->bias[i] + (uint32_t)rounded);
        } else if (!set_constant(now, i)) {
            return false;
        }
    }
    return true;
}

enum { CHUNK = 8 }; /* a constant count, of which compilers make vectors */

static void set_biases(const q8_conv_now *now, uint32_t zero_point)
{
    const int64_t count = now->numbers->columns;
    const int32_t *restrict start = now->bias, *restrict sums = now->numbers->weight_sums;
    int32_t *restrict bias = now->numbers->bias;
    int64_t i = 0;
    for (; i + CHUNK <= count; i += CHUNK)
        for (int j = 0; j < CHUNK; j++)
            bias[i + j] = (int32_t)((uint32_t)start[i + j] - zero_point * (uint32_t)sums[i + j]);
    for (; i < count; i++)
        bias[i] = (int32_t)((uint32_t)start[i] - zero_point * (uint32_t)sums[i]);
}

static void set_multipliers(const q8_conv_numbers *numbers, const float *restrict scale,
                            float x_scale)
{
    float *restrict multiplier = numbers->multiplier;
    int64_t i = 0;
    for (; i + CHUNK <= numbers->columns; i += CHUNK)
        for (int j = 0; j < CHUNK; j++)
            multiplier[i + j] = scale[i + j] * x_scale;
    for (; i < numbers->columns; i++)
        multiplier[i] = scale[i] * x_scale;
}

static void run(const q8_step *step, const q8_run *run, int64_t part)
{
    const q8_conv_now *now = step->state;
    q8_conv_numbers *numbers = now->numbers;
    uint32_t zero_point = 0;
    float x_scale = 1.0f;
    (void)part;
    if (now->x_zero_point_tensor >= 0) {
        zero_point = *(const uint8_t *)q8_read(run, q8_tensor_of(run, now->x_zero_point_tensor));
        numbers->x_zero_point = (int32_t)zero_point;
        memset(numbers->padding, (int)zero_point, (size_t)numbers->padding_bytes);
    }
    if (now->x_scale_tensor >= 0)
        x_scale = *(const float *)q8_read(run, q8_tensor_of(run, now->x_scale_tensor));
    set_biases(now, zero_point);
    if (now->scale)
        set_multipliers(numbers, now->code_scale ? now->code_scale : now->scale, x_scale);
    numbers->over_floats = now->bias_steps && !add_biases(now, x_scale);
    if (numbers->over_floats) {
        set_biases(now, zero_point);
        set_multipliers(numbers, now->scale, x_scale);
    }
    if (numbers->output.dtype == Q8_U8)
        q8_conv_numbers_bound(numbers);
}
