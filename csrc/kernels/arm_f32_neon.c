/* arm_f32_neon.c - the float kernels with NEON: GEMM, depthwise and pooling of its own, rows in the
 * terms that all instruction sets share. */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "../q8.h"
#include "arm_tile.h"
#include "lanes.h"

/* maxnm takes the number of a number and a quiet NaN: NaN gives low. */
/* NaN stays NaN. */
Q8_BODY float32x4_t clamp_four(float32x4_t value, float low, float high)
{
    return vminq_f32(vmaxq_f32(value, vdupq_n_f32(low)), vdupq_n_f32(high));
}

/* A comparison agrees with the reference about NaN and the sign of zero, maxnm does not. */
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

#define LANES_OF_NEON
#include "lanes128.inc"
#include "lane_math.inc"
#include "lane_lines.inc"
#include "lane_curves.inc"
#include "lane_rows.inc"
#include "lane_finish.inc"

const q8_f32_table q8_f32_neon = {
    .gemm_name = "neon 8x8",
    .gemm_mr = MR,
    .gemm_nr = NR,
    .gemm_tile = gemm_tile,
    .depthwise = depthwise,
    .depthwise_lines = depthwise_lines,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .unary = unary,
    .finish = finish,
    .binary = binary,
    .softmax = softmax,
    .softmax_codes = softmax_codes,
    .layer_norm = layer_norm,
    .lerp = lerp,
    .sum = sum,
    .digits = digits,
};

#endif
