/* scalar_vec.c - the reference for whatever walks a row of codes: plain loops. */
#include "kernels.h"
#include "requant.h"

static void quantize(size_t n, const float *x, uint8_t *y, float scale, int32_t zero_point)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (uint8_t)q8_round_to_code(x[i] / scale, zero_point, 0, 255);
}

static void quantize_scaled(size_t rows, size_t n, const float *x, const float *factor, uint8_t *y,
                            int32_t zero_point)
{
    for (size_t row = 0; row < rows; row++, x += n, y += n)
        for (size_t i = 0; i < n; i++)
            y[i] = (uint8_t)q8_round_to_code(x[i] * factor[i], zero_point, 0, 255);
}

static void dequantize(size_t n, const uint8_t *x, float *y, float scale, int32_t zero_point)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(x[i] - zero_point) * scale;
}

static void requantize(size_t n, const int32_t *acc, const float *multiplier, uint8_t *y,
                       int32_t zero_point, int32_t low, int32_t high)
{
    for (size_t i = 0; i < n; i++)
        y[i] = q8_requantize(acc[i], multiplier[i], zero_point, low, high);
}

static float float_of(const q8_floats_job *job, size_t i, size_t j)
{
    float value = (float)job->acc[i * job->acc_step + j] * job->scale[j];
    if (job->bias)
        value = value + job->bias[j];
    if (job->residual)
        value = value + job->residual[i * job->y_step + j];
    value = value > job->low ? value : job->low; /* value first: NaN gives low, as in requant.h */
    return value < job->high ? value : job->high;
}

static void accumulators_to_f32(const q8_floats_job *job)
{
    float range[2] = {0.0f, 0.0f};
    for (size_t i = 0; i < job->rows; i++) {
        for (size_t j = 0; j < job->columns; j++) {
            float value = float_of(job, i, j);
            job->y[i * job->y_step + j] = value;
            range[0] = value < range[0] ? value : range[0];
            range[1] = value > range[1] ? value : range[1];
        }
    }
    if (!job->range)
        return;
    job->range[0] = range[0] < job->range[0] ? range[0] : job->range[0];
    job->range[1] = range[1] > job->range[1] ? range[1] : job->range[1];
}

static void table(size_t rows, size_t n, const uint8_t *x, uint8_t *y, size_t step,
                  const uint8_t *table)
{
    for (size_t row = 0; row < rows; row++, x += step, y += step)
        for (size_t i = 0; i < n; i++)
            y[i] = table[x[i]];
}

static void interleave_3(size_t n, const uint8_t *x, size_t x_step, uint8_t *y)
{
    for (size_t i = 0; i < n; i++)
        for (size_t plane = 0; plane < 3; plane++)
            y[3 * i + plane] = x[plane * x_step + i];
}

static void add(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params)
{
    uint8_t first = n ? b[0] : 0; /* read before y is written: y may be b */
    for (size_t i = 0; i < n; i++) {
        uint8_t other = b_is_scalar ? first : b[i];
        y[i] = q8_add_codes(a[i], other, params);
    }
}

static void mul(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params)
{
    uint8_t first = n ? b[0] : 0; /* read before y is written: y may be b */
    for (size_t i = 0; i < n; i++) {
        uint8_t other = b_is_scalar ? first : b[i];
        int32_t product = (a[i] - params->a_zero_point) * (other - params->b_zero_point);
        y[i] = q8_requantize(product, params->a_multiplier, params->zero_point, params->low,
                             params->high);
    }
}

static void min_max(size_t n, const float *x, float *low, float *high)
{
    for (size_t i = 0; i < n; i++) {
        *low = x[i] < *low ? x[i] : *low;
        *high = x[i] > *high ? x[i] : *high;
    }
}

static void bins(size_t n, const float *x, double scale, int32_t half, int32_t *bins)
{
    for (size_t i = 0; i < n; i++) {
        double place = x[i] * scale;
        place = place > -half ? place : -half; /* NaN too */
        place = place < half - 1 ? place : half - 1;
        int32_t towards_zero = (int32_t)place;
        bins[i] = towards_zero - (place < towards_zero) + half;
    }
}

static int32_t sum(size_t n, const uint8_t *x)
{
    uint32_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += x[i];
    return (int32_t)total;
}

static void lerp(size_t n, const uint8_t *a, const uint8_t *b, float fraction, uint8_t *y)
{
    for (size_t i = 0; i < n; i++) {
        float value = (float)a[i] + (float)(b[i] - a[i]) * fraction;
        y[i] = (uint8_t)q8_round_to_code(value, 0, 0, 255);
    }
}

const q8_vec_table q8_vec_scalar = {
    .quantize = quantize,
    .quantize_scaled = quantize_scaled,
    .dequantize = dequantize,
    .requantize = requantize,
    .accumulators_to_f32 = accumulators_to_f32,
    .table = table,
    .interleave_3 = interleave_3,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .bins = bins,
    .sum = sum,
    .lerp = lerp,
};
