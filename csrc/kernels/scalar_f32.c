/* scalar_f32.c - the reference for the float kernels: plain loops over libm.
 *
 * Sums whose length has no bound run in double, so that the reference is the better number. */
#include <math.h>

#include "../q8.h"
#include "requant.h"
#include "kernels.h"

enum { MR = 4, NR = 8 };

static float clamp(float value, float low, float high)
{
    value = value > low ? value : low; /* value first: NaN gives low, as in requant.h */
    return value < high ? value : high;
}

static void gemm_tile(const q8_gemm_f32_job *job)
{
    for (size_t i = 0; i < job->m; i++) {
        for (size_t j = 0; j < job->n; j++) {
            float sum = job->bias[j];
            for (size_t tap = 0; tap < job->taps; tap++)
                for (size_t p = 0; p < job->k; p++)
                    sum += job->a[tap * job->a_step + i][p] * job->b[(tap * job->k + p) * NR + j];
            job->c[i * job->c_step + j] = clamp(sum, job->low, job->high);
        }
    }
}

static void depthwise(const q8_conv_f32_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            float sum = job->bias[c];
            for (size_t tap = 0; tap < job->taps; tap++)
                sum += job->x[p * job->x_step + tap][c] * job->w[tap * job->channels + c];
            job->y[p * job->y_step + c] = clamp(sum, job->low, job->high);
        }
    }
}

static float lines_value(const q8_depthwise_lines_f32_job *job, const float *x, size_t c)
{
    const float *w = job->w + c;
    float sum = job->bias[c];
    for (size_t kw = 0; kw < job->kernel; kw++)
        for (size_t kh = 0; kh < job->kernel; kh++, w += job->w_step)
            sum += x[kh * job->x_line + kw * 16 + c] * *w;
    return clamp(sum, job->low, job->high);
}

static void depthwise_lines(const q8_depthwise_lines_f32_job *job)
{
    float *y = job->y;
    for (size_t l = 0; l < job->lines; l++)
        for (size_t p = 0; p < job->pixels; p++, y += 16)
            for (size_t c = 0; c < job->channels; c++)
                y[c] = lines_value(job, job->x + job->stride * (l * job->x_line + p * 16), c);
}

static void max_pool(const q8_conv_f32_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            float best = -INFINITY;
            for (size_t tap = 0; tap < job->taps; tap++) {
                float value = job->x[p * job->x_step + tap][c];
                best = value > best ? value : best;
            }
            job->y[p * job->y_step + c] = best;
        }
    }
}

static void average_pool(const q8_conv_f32_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            float sum = 0;
            for (size_t tap = 0; tap < job->taps; tap++)
                sum += job->x[p * job->x_step + tap][c];
            job->y[p * job->y_step + c] = sum * job->multiplier[p];
        }
    }
}

static float gelu_tanh(float x)
{
    const float root = 0.7978845608f; /* sqrt(2 / pi) */
    return 0.5f * x * (1 + tanhf(root * (x + 0.044715f * x * x * x)));
}

static float unary_value(q8_unary_op op, float x, float alpha, float beta)
{
    switch (op) {
    case Q8_UNARY_CLAMP: return clamp(x, alpha, beta);
    case Q8_UNARY_SIGMOID: return 1 / (1 + expf(-x));
    case Q8_UNARY_TANH: return tanhf(x);
    case Q8_UNARY_EXP: return expf(x);
    case Q8_UNARY_LOG: return logf(x);
    case Q8_UNARY_SQRT: return sqrtf(x);
    case Q8_UNARY_NEG: return -x;
    case Q8_UNARY_ABS: return fabsf(x);
    case Q8_UNARY_ERF: return erff(x);
    case Q8_UNARY_RECIPROCAL: return 1 / x;
    case Q8_UNARY_LEAKY_RELU: return x < 0 ? alpha * x : x;
    case Q8_UNARY_ELU: return x < 0 ? alpha * expm1f(x) : x;
    case Q8_UNARY_HARD_SIGMOID: return clamp(alpha * x + beta, 0, 1);
    case Q8_UNARY_HARD_SWISH: return x * clamp(x / 6 + 0.5f, 0, 1);
    case Q8_UNARY_SILU: return x / (1 + expf(-x));
    case Q8_UNARY_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case Q8_UNARY_GELU_TANH: return gelu_tanh(x);
    case Q8_UNARY_SOFTPLUS: return (x > 0 ? x : 0) + log1pf(expf(-fabsf(x)));
    case Q8_UNARY_FLOOR: return floorf(x);
    case Q8_UNARY_CEIL: return ceilf(x);
    case Q8_UNARY_ROUND: return rintf(x);
    case Q8_UNARY_AFFINE: return alpha * x + beta;
    case Q8_UNARY_SIN: return sinf(x);
    case Q8_UNARY_COS: return cosf(x);
    }
    return NAN;
}

static void unary(int op, size_t n, const float *x, float *y, float alpha, float beta)
{
    for (size_t i = 0; i < n; i++)
        y[i] = unary_value((q8_unary_op)op, x[i], alpha, beta);
}

#include "finish_rows.inc"

static float binary_value(q8_binary_op op, float a, float b)
{
    switch (op) {
    case Q8_ADD: return a + b;
    case Q8_SUB: return a - b;
    case Q8_MUL: return a * b;
    case Q8_DIV: return a / b;
    case Q8_MIN: return a < b ? a : b;
    case Q8_MAX: return a > b ? a : b;
    case Q8_POW: return powf(a, b);
    }
    return NAN;
}

static void binary(int op, size_t n, const float *a, size_t a_step, const float *b, size_t b_step,
                   float *y)
{
    float a0 = n ? a[0] : 0; /* read before y is written: y may be a or b */
    float b0 = n ? b[0] : 0;
    for (size_t i = 0; i < n; i++)
        y[i] = binary_value((q8_binary_op)op, a_step ? a[i] : a0, b_step ? b[i] : b0);
}

static void softmax(size_t n, const float *x, float *y, int log_softmax)
{
    float greatest = x[0];
    for (size_t i = 1; i < n; i++)
        greatest = x[i] > greatest ? x[i] : greatest;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += expf(x[i] - greatest);
    float log_sum = (float)log(sum);
    for (size_t i = 0; i < n; i++) {
        float shifted = x[i] - greatest;
        y[i] = log_softmax ? shifted - log_sum : (float)(expf(shifted) / sum);
    }
}

static int32_t softmax_codes(size_t n, const int32_t *acc, float multiplier, const float *mask,
                             float *values, float scale, int32_t zero_point, uint8_t *y)
{
    int32_t total = 0;
    for (size_t i = 0; i < n; i++)
        values[i] = (float)acc[i] * multiplier + (mask ? mask[i] : 0);
    softmax(n, values, values, 0);
    for (size_t i = 0; i < n; i++) {
        y[i] = (uint8_t)q8_round_to_code(values[i] / scale, zero_point, 0, 255);
        total += y[i];
    }
    return total;
}

static void layer_norm(size_t n, const float *x, const float *scale, const float *bias, float *y,
                       float epsilon)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    double mean = sum / (double)n;
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    float factor = (float)(1 / sqrt(squares / (double)n + epsilon));
    for (size_t i = 0; i < n; i++)
        y[i] = (float)(x[i] - mean) * factor * scale[i] + (bias ? bias[i] : 0);
}

static void lerp(size_t n, const float *a, const float *b, float fraction, float *y)
{
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + (b[i] - a[i]) * fraction;
}

static float sum(size_t n, const float *x)
{
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += x[i];
    return (float)total;
}

const q8_f32_table q8_f32_scalar = {
    .gemm_name = "scalar 4x8",
    .gemm_mr = MR,
    .gemm_nr = NR,
    .gemm_tile = gemm_tile,
    .depthwise = depthwise,
    .depthwise_lines = depthwise_lines,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .unary = unary,
    .finish = finish_rows,
    .binary = binary,
    .softmax = softmax,
    .softmax_codes = softmax_codes,
    .layer_norm = layer_norm,
    .lerp = lerp,
    .sum = sum,
};
