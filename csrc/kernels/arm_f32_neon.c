/* arm_f32_neon.c - the float kernels with NEON: GEMM, depthwise, pooling, rows.
 *
 * What is left at the end of a row goes through the same vectors by way of a copy, so that a value
 * does not depend on where it stands; exact operations leave it to the reference. */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "../q8.h"
#include "arm_math.h"
#include "arm_tile.h"

/* maxnm takes the number of a number and a quiet NaN: NaN gives low. */
Q8_BODY float32x4_t clamp_four(float32x4_t value, float low, float high)
{
    return vminnmq_f32(vmaxnmq_f32(value, vdupq_n_f32(low)), vdupq_n_f32(high));
}

/* Comparisons: they agree with the reference about NaN and the sign of zero, maxnm does not. */
Q8_BODY float32x4_t min_four(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

Q8_BODY float32x4_t max_four(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

/* ---- gemm: 8 rows by 8 columns ---- */

enum { MR = 8, NR = 8 };

/* One number of every row against the panel's next row. */
#define STEP(multiply_add, factor)                                                    \
    do {                                                                              \
        float32x4_t left = vld1q_f32(b), right = vld1q_f32(b + 4);                    \
        b += NR;                                                                      \
        Q8_KEEP_ORDER;                                                                \
        Q8_UNROLL                                                                     \
        for (size_t i = 0; i < rows; i++) {                                           \
            sums[2 * i] = multiply_add(sums[2 * i], left, factor);                    \
            sums[2 * i + 1] = multiply_add(sums[2 * i + 1], right, factor);           \
        }                                                                             \
        Q8_KEEP_ORDER;                                                                \
    } while (0)
#define LANE_0(sum, x, y) vfmaq_laneq_f32(sum, x, y, 0)
#define LANE_1(sum, x, y) vfmaq_laneq_f32(sum, x, y, 1)
#define LANE_2(sum, x, y) vfmaq_laneq_f32(sum, x, y, 2)
#define LANE_3(sum, x, y) vfmaq_laneq_f32(sum, x, y, 3)

Q8_BODY void store_tile(const q8_gemm_f32_job *job, size_t rows, float *c, size_t c_step,
                        const float32x4_t *sums)
{
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++) {
        vst1q_f32(c + i * c_step, clamp_four(sums[2 * i], job->low, job->high));
        vst1q_f32(c + i * c_step + 4, clamp_four(sums[2 * i + 1], job->low, job->high));
    }
}

Q8_BODY void tile_of(const q8_gemm_f32_job *job, size_t rows)
{
    size_t chosen[MR];
    choose_pointers(job->m, rows, chosen);
    float32x4_t sums[2 * MR], x[MR];
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++) {
        sums[2 * i] = vld1q_f32(job->bias);
        sums[2 * i + 1] = vld1q_f32(job->bias + 4);
    }
    const float *b = job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const float *a[MR];
        Q8_UNROLL
        for (size_t i = 0; i < rows; i++)
            a[i] = job->a[tap * job->a_step + chosen[i]];
        size_t p = 0;
        for (; p + 4 <= job->k; p += 4) {
            Q8_UNROLL
            for (size_t i = 0; i < rows; i++)
                x[i] = vld1q_f32(a[i] + p);
            Q8_KEEP_ORDER;
            STEP(LANE_0, x[i]);
            STEP(LANE_1, x[i]);
            STEP(LANE_2, x[i]);
            STEP(LANE_3, x[i]);
        }
        for (; p < job->k; p++)
            STEP(vfmaq_n_f32, a[i][p]);
    }
    if (job->m == rows && job->n == NR) {
        store_tile(job, rows, job->c, job->c_step, sums);
    } else {
        float buffer[MR * NR];
        store_tile(job, rows, buffer, NR, sums);
        copy_rows(job->c, job->c_step, job->m, job->n, buffer, sizeof *buffer);
    }
}

static void gemm_tile(const q8_gemm_f32_job *job)
{
    if (job->m > 4)
        tile_of(job, 8);
    else if (job->m > 2)
        tile_of(job, 4);
    else if (job->m > 1)
        tile_of(job, 2);
    else
        tile_of(job, 1);
}

/* ---- depthwise and pooling: pixels over channels, eight and then four at a time ---- */

enum { PIXELS = 4 }; /* that share the weights of a tap */

/* Where the block of `wide` channels at c must begin to end inside the picture. */
static inline size_t block_start(size_t c, size_t wide, size_t channels)
{
    return c + wide <= channels ? c : channels - wide;
}

Q8_BODY void depthwise_block(const q8_conv_f32_job *job, size_t p, size_t c, size_t pixels,
                             size_t fours)
{
    float32x4_t sums[PIXELS][2];
    Q8_UNROLL
    for (size_t i = 0; i < pixels; i++) {
        Q8_UNROLL
        for (size_t v = 0; v < fours; v++)
            sums[i][v] = vld1q_f32(job->bias + c + 4 * v);
    }
    const float *const *rows[PIXELS];
    Q8_UNROLL
    for (size_t i = 0; i < pixels; i++)
        rows[i] = job->x + (p + i) * job->x_step;
    for (size_t tap = 0; tap < job->taps; tap++) {
        float32x4_t w[2];
        Q8_UNROLL
        for (size_t v = 0; v < fours; v++)
            w[v] = vld1q_f32(job->w + tap * job->channels + c + 4 * v);
        Q8_UNROLL
        for (size_t i = 0; i < pixels; i++) {
            const float *x = rows[i][tap] + c;
            Q8_UNROLL
            for (size_t v = 0; v < fours; v++)
                sums[i][v] = vfmaq_f32(sums[i][v], vld1q_f32(x + 4 * v), w[v]);
        }
    }
    Q8_UNROLL
    for (size_t i = 0; i < pixels; i++) {
        Q8_UNROLL
        for (size_t v = 0; v < fours; v++)
            vst1q_f32(job->y + (p + i) * job->y_step + c + 4 * v,
                      clamp_four(sums[i][v], job->low, job->high));
    }
}

Q8_BODY void depthwise_pixels(const q8_conv_f32_job *job, size_t p, size_t pixels)
{
    size_t c = 0;
    for (; c + 8 <= job->channels; c += 8)
        depthwise_block(job, p, c, pixels, 2);
    for (; c < job->channels; c += 4)
        depthwise_block(job, p, block_start(c, 4, job->channels), pixels, 1);
}

static void depthwise(const q8_conv_f32_job *job)
{
    if (job->channels < 4) {
        q8_f32_scalar.depthwise(job);
        return;
    }
    size_t p = 0;
    for (; p + PIXELS <= job->pixels; p += PIXELS)
        depthwise_pixels(job, p, PIXELS);
    for (; p < job->pixels; p++)
        depthwise_pixels(job, p, 1);
}

static void max_pool(const q8_conv_f32_job *job)
{
    if (job->channels < 4) {
        q8_f32_scalar.max_pool(job);
        return;
    }
    for (size_t p = 0; p < job->pixels; p++) {
        const float *const *x = job->x + p * job->x_step;
        for (size_t c = 0; c < job->channels; c += 4) {
            size_t start = block_start(c, 4, job->channels);
            float32x4_t best = vdupq_n_f32(-INFINITY);
            for (size_t tap = 0; tap < job->taps; tap++)
                best = max_four(vld1q_f32(x[tap] + start), best);
            vst1q_f32(job->y + p * job->y_step + start, best);
        }
    }
}

static void average_pool(const q8_conv_f32_job *job)
{
    if (job->channels < 4) {
        q8_f32_scalar.average_pool(job);
        return;
    }
    for (size_t p = 0; p < job->pixels; p++) {
        const float *const *x = job->x + p * job->x_step;
        for (size_t c = 0; c < job->channels; c += 4) {
            size_t start = block_start(c, 4, job->channels);
            float32x4_t sum = vdupq_n_f32(0);
            for (size_t tap = 0; tap < job->taps; tap++)
                sum = vaddq_f32(sum, vld1q_f32(x[tap] + start));
            vst1q_f32(job->y + p * job->y_step + start, vmulq_n_f32(sum, job->multiplier[p]));
        }
    }
}

/* ---- unary ---- */

typedef float32x4_t (*unary_operation)(float32x4_t x, float alpha, float beta);

Q8_BODY float32x4_t sigmoid_four(float32x4_t x, float alpha, float beta)
{
    (void)alpha, (void)beta;
    float32x4_t one = vdupq_n_f32(1);
    return vdivq_f32(one, vaddq_f32(one, exp_four(vnegq_f32(x))));
}

Q8_BODY float32x4_t silu_four(float32x4_t x, float alpha, float beta)
{
    (void)alpha, (void)beta;
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), exp_four(vnegq_f32(x))));
}

Q8_BODY float32x4_t affine_four(float32x4_t x, float alpha, float beta)
{
    return vaddq_f32(vmulq_n_f32(x, alpha), vdupq_n_f32(beta));
}

Q8_BODY float32x4_t hard_sigmoid_four(float32x4_t x, float alpha, float beta)
{
    return clamp_four(affine_four(x, alpha, beta), 0, 1);
}

Q8_BODY float32x4_t hard_swish_four(float32x4_t x, float alpha, float beta)
{
    (void)alpha, (void)beta;
    float32x4_t gate = vaddq_f32(vdivq_f32(x, vdupq_n_f32(6)), vdupq_n_f32(0.5f));
    return vmulq_f32(x, clamp_four(gate, 0, 1));
}

Q8_BODY float32x4_t leaky_relu_four(float32x4_t x, float alpha, float beta)
{
    (void)beta;
    return vbslq_f32(vcltzq_f32(x), vmulq_n_f32(x, alpha), x);
}

Q8_BODY float32x4_t elu_four(float32x4_t x, float alpha, float beta)
{
    (void)beta;
    return vbslq_f32(vcltzq_f32(x), vmulq_n_f32(expm1_four(x), alpha), x);
}

Q8_BODY float32x4_t gelu_four(float32x4_t x, float alpha, float beta)
{
    (void)alpha, (void)beta;
    float32x4_t gate = erf_four(vmulq_n_f32(x, 0.70710678f));
    return vmulq_f32(vmulq_n_f32(x, 0.5f), vaddq_f32(vdupq_n_f32(1), gate));
}

Q8_BODY float32x4_t gelu_tanh_four(float32x4_t x, float alpha, float beta)
{
    (void)alpha, (void)beta;
    float32x4_t cube = vmulq_f32(vmulq_f32(x, x), x);
    float32x4_t inner = vfmaq_n_f32(x, cube, 0.044715f);
    float32x4_t gate = tanh_four(vmulq_n_f32(inner, 0.7978845608f)); /* sqrt(2 / pi) */
    return vmulq_f32(vmulq_n_f32(x, 0.5f), vaddq_f32(vdupq_n_f32(1), gate));
}

/* An operation of x alone, given as an expression. */
#define PLAIN(name, expression)                                                   \
    Q8_BODY float32x4_t name(float32x4_t x, float alpha, float beta)              \
    {                                                                             \
        (void)alpha, (void)beta;                                                  \
        return expression;                                                        \
    }
PLAIN(tanh_plain, tanh_four(x))
PLAIN(exp_plain, exp_four(x))
PLAIN(erf_plain, erf_four(x))
PLAIN(sqrt_plain, vsqrtq_f32(x))
PLAIN(neg_plain, vnegq_f32(x))
PLAIN(abs_plain, vabsq_f32(x))
PLAIN(reciprocal_plain, vdivq_f32(vdupq_n_f32(1), x))
PLAIN(floor_plain, vrndmq_f32(x))
PLAIN(ceil_plain, vrndpq_f32(x))
PLAIN(round_plain, vrndnq_f32(x))

Q8_BODY void map(size_t n, const float *x, float *y, float alpha, float beta,
                 unary_operation operation)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, operation(vld1q_f32(x + i), alpha, beta));
    if (i < n) {
        float rest[4] = {0};
        memcpy(rest, x + i, (n - i) * sizeof *rest);
        vst1q_f32(rest, operation(vld1q_f32(rest), alpha, beta));
        memcpy(y + i, rest, (n - i) * sizeof *rest);
    }
}

static void unary(int op, size_t n, const float *x, float *y, float alpha, float beta)
{
    switch ((q8_unary_op)op) {
    case Q8_UNARY_CLAMP: map(n, x, y, alpha, beta, clamp_four); return;
    case Q8_UNARY_SIGMOID: map(n, x, y, alpha, beta, sigmoid_four); return;
    case Q8_UNARY_TANH: map(n, x, y, alpha, beta, tanh_plain); return;
    case Q8_UNARY_EXP: map(n, x, y, alpha, beta, exp_plain); return;
    case Q8_UNARY_SQRT: map(n, x, y, alpha, beta, sqrt_plain); return;
    case Q8_UNARY_NEG: map(n, x, y, alpha, beta, neg_plain); return;
    case Q8_UNARY_ABS: map(n, x, y, alpha, beta, abs_plain); return;
    case Q8_UNARY_ERF: map(n, x, y, alpha, beta, erf_plain); return;
    case Q8_UNARY_RECIPROCAL: map(n, x, y, alpha, beta, reciprocal_plain); return;
    case Q8_UNARY_LEAKY_RELU: map(n, x, y, alpha, beta, leaky_relu_four); return;
    case Q8_UNARY_ELU: map(n, x, y, alpha, beta, elu_four); return;
    case Q8_UNARY_HARD_SIGMOID: map(n, x, y, alpha, beta, hard_sigmoid_four); return;
    case Q8_UNARY_HARD_SWISH: map(n, x, y, alpha, beta, hard_swish_four); return;
    case Q8_UNARY_SILU: map(n, x, y, alpha, beta, silu_four); return;
    case Q8_UNARY_GELU: map(n, x, y, alpha, beta, gelu_four); return;
    case Q8_UNARY_GELU_TANH: map(n, x, y, alpha, beta, gelu_tanh_four); return;
    case Q8_UNARY_FLOOR: map(n, x, y, alpha, beta, floor_plain); return;
    case Q8_UNARY_CEIL: map(n, x, y, alpha, beta, ceil_plain); return;
    case Q8_UNARY_ROUND: map(n, x, y, alpha, beta, round_plain); return;
    case Q8_UNARY_AFFINE: map(n, x, y, alpha, beta, affine_four); return;
    case Q8_UNARY_LOG:
    case Q8_UNARY_SIN:
    case Q8_UNARY_COS:
    case Q8_UNARY_SOFTPLUS: break; /* rare: libm, one by one */
    }
    q8_f32_scalar.unary(op, n, x, y, alpha, beta);
}

/* ---- binary ---- */

typedef float32x4_t (*binary_operation)(float32x4_t a, float32x4_t b);

Q8_BODY float32x4_t add_four(float32x4_t a, float32x4_t b)
{
    return vaddq_f32(a, b);
}

Q8_BODY float32x4_t sub_four(float32x4_t a, float32x4_t b)
{
    return vsubq_f32(a, b);
}

Q8_BODY float32x4_t mul_four(float32x4_t a, float32x4_t b)
{
    return vmulq_f32(a, b);
}

Q8_BODY float32x4_t div_four(float32x4_t a, float32x4_t b)
{
    return vdivq_f32(a, b);
}

/* The part of a row that is whole vectors. Returns its length. */
Q8_BODY size_t map_two(size_t n, const float *a, size_t a_step, const float *b, size_t b_step,
                       float *y, binary_operation operation)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, operation(vld1q_f32(a + i * a_step), vld1q_f32(b + i * b_step)));
    return i;
}

static void binary(int op, size_t n, const float *a, size_t a_step, const float *b, size_t b_step,
                   float *y)
{
    float a_copies[4], b_copies[4]; /* of a value for all, read before y is written */
    if (n > 0 && a_step == 0) {
        vst1q_f32(a_copies, vdupq_n_f32(*a));
        a = a_copies;
    }
    if (n > 0 && b_step == 0) {
        vst1q_f32(b_copies, vdupq_n_f32(*b));
        b = b_copies;
    }
    size_t i = 0;
    switch ((q8_binary_op)op) {
    case Q8_ADD: i = map_two(n, a, a_step, b, b_step, y, add_four); break;
    case Q8_SUB: i = map_two(n, a, a_step, b, b_step, y, sub_four); break;
    case Q8_MUL: i = map_two(n, a, a_step, b, b_step, y, mul_four); break;
    case Q8_DIV: i = map_two(n, a, a_step, b, b_step, y, div_four); break;
    case Q8_MIN: i = map_two(n, a, a_step, b, b_step, y, min_four); break;
    case Q8_MAX: i = map_two(n, a, a_step, b, b_step, y, max_four); break;
    case Q8_POW: break;
    }
    q8_f32_scalar.binary(op, n - i, a + i * a_step, a_step, b + i * b_step, b_step, y + i);
}

/* ---- rows that depend on all their values; sums run in double, as in the reference ---- */

Q8_BODY float64x2_t add_in_double(float64x2_t total, float32x4_t x)
{
    return vaddq_f64(vaddq_f64(total, vcvt_f64_f32(vget_low_f32(x))), vcvt_high_f64_f32(x));
}

static double sum_row(size_t n, const float *x)
{
    float64x2_t totals[2] = {vdupq_n_f64(0), vdupq_n_f64(0)};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        totals[0] = add_in_double(totals[0], vld1q_f32(x + i));
        totals[1] = add_in_double(totals[1], vld1q_f32(x + i + 4));
    }
    double total = vaddvq_f64(vaddq_f64(totals[0], totals[1]));
    for (; i < n; i++)
        total += x[i];
    return total;
}

static float sum(size_t n, const float *x)
{
    return (float)sum_row(n, x);
}

static float greatest_of(size_t n, const float *x)
{
    float32x4_t best = vdupq_n_f32(x[0]);
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        best = vmaxnmq_f32(best, vld1q_f32(x + i));
    float greatest = vmaxnmvq_f32(best);
    for (; i < n; i++)
        greatest = x[i] > greatest ? x[i] : greatest;
    return greatest;
}

/* The sum of e^(x - greatest); the terms themselves go to y unless it is NULL. */
static double sum_exp(size_t n, const float *x, float greatest, float *y)
{
    float32x4_t shift = vdupq_n_f32(greatest);
    float64x2_t total = vdupq_n_f64(0);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t term = exp_four(vsubq_f32(vld1q_f32(x + i), shift));
        total = add_in_double(total, term);
        if (y)
            vst1q_f32(y + i, term);
    }
    if (i < n) {
        float rest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
        memcpy(rest, x + i, (n - i) * sizeof *rest);
        float32x4_t term = exp_four(vsubq_f32(vld1q_f32(rest), shift));
        total = add_in_double(total, term);
        vst1q_f32(rest, term);
        if (y)
            memcpy(y + i, rest, (n - i) * sizeof *rest);
    }
    return vaddvq_f64(total);
}

static void softmax(size_t n, const float *x, float *y, int log_softmax)
{
    float greatest = greatest_of(n, x);
    double total = sum_exp(n, x, greatest, log_softmax ? NULL : y);
    if (log_softmax) {
        float log_sum = (float)log(total);
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] - greatest - log_sum;
    } else {
        map(n, y, y, (float)(1 / total), 0, affine_four);
    }
}

/* The sum of (x - mean)^2. */
static double sum_squares(size_t n, const float *x, double mean)
{
    float64x2_t shift = vdupq_n_f64(mean), totals[2] = {vdupq_n_f64(0), vdupq_n_f64(0)};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t value = vld1q_f32(x + i);
        float64x2_t low = vsubq_f64(vcvt_f64_f32(vget_low_f32(value)), shift);
        float64x2_t high = vsubq_f64(vcvt_high_f64_f32(value), shift);
        totals[0] = vfmaq_f64(totals[0], low, low);
        totals[1] = vfmaq_f64(totals[1], high, high);
    }
    double total = vaddvq_f64(vaddq_f64(totals[0], totals[1]));
    for (; i < n; i++)
        total += (x[i] - mean) * (x[i] - mean);
    return total;
}

static void layer_norm(size_t n, const float *x, const float *scale, const float *bias, float *y,
                       float epsilon)
{
    double mean = sum_row(n, x) / (double)n;
    float factor = (float)(1 / sqrt(sum_squares(n, x, mean) / (double)n + epsilon));
    float64x2_t shift = vdupq_n_f64(mean);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t value = vld1q_f32(x + i);
        float64x2_t low = vsubq_f64(vcvt_f64_f32(vget_low_f32(value)), shift);
        float64x2_t high = vsubq_f64(vcvt_high_f64_f32(value), shift);
        value = vcvt_high_f32_f64(vcvt_f32_f64(low), high);
        value = vmulq_f32(vmulq_n_f32(value, factor), vld1q_f32(scale + i));
        vst1q_f32(y + i, bias ? vaddq_f32(value, vld1q_f32(bias + i)) : value);
    }
    for (; i < n; i++)
        y[i] = (float)(x[i] - mean) * factor * scale[i] + (bias ? bias[i] : 0);
}

static void lerp(size_t n, const float *a, const float *b, float fraction, float *y)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t start = vld1q_f32(a + i);
        float32x4_t change = vmulq_n_f32(vsubq_f32(vld1q_f32(b + i), start), fraction);
        vst1q_f32(y + i, vaddq_f32(start, change));
    }
    q8_f32_scalar.lerp(n - i, a + i, b + i, fraction, y + i);
}

#include "finish_rows.inc"

const q8_f32_table q8_f32_neon = {
    .gemm_name = "neon 8x8",
    .gemm_mr = MR,
    .gemm_nr = NR,
    .gemm_tile = gemm_tile,
    .depthwise = depthwise,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .unary = unary,
    .finish = finish_rows,
    .binary = binary,
    .softmax = softmax,
    .layer_norm = layer_norm,
    .lerp = lerp,
    .sum = sum,
};

#endif
