/* arm_conv_neon.c - depthwise convolution and pooling with NEON.
 *
 * Channels go 16 at a time, then 8; a last block that is not full begins earlier and writes a few
 * codes twice. Pictures of fewer than 8 channels are the reference's. */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include "arm_requant.h"

/* Where the block of `wide` channels at c must begin to end inside the picture. */
static inline size_t block_start(size_t c, size_t wide, size_t channels)
{
    return c + wide <= channels ? c : channels - wide;
}

/* ---- depthwise ---- */

enum { PIXELS = 4 }; /* that share the weights of a tap */

/* 8 * eights codes or weights as 16-bit numbers; eights is 1 or 2. */
Q8_BODY void load_codes(const uint8_t *x, size_t eights, int16x8_t *wide)
{
    if (eights == 2) {
        uint8x16_t codes = vld1q_u8(x);
        wide[0] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes)));
        wide[1] = vreinterpretq_s16_u16(vmovl_high_u8(codes));
    } else {
        wide[0] = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(x)));
    }
}

Q8_BODY void load_weights(const int8_t *w, size_t eights, int16x8_t *wide)
{
    if (eights == 2) {
        int8x16_t weights = vld1q_s8(w);
        wide[0] = vmovl_s8(vget_low_s8(weights));
        wide[1] = vmovl_high_s8(weights);
    } else {
        wide[0] = vmovl_s8(vld1_s8(w));
    }
}

/* 8 * eights sums of every pixel, and as codes. */
Q8_BODY void store_sums(const q8_depthwise_job *job, int32_t *y, size_t pixels, size_t eights,
                        int32x4_t (*sums)[4])
{
    Q8_UNROLL
    for (size_t i = 0; i < pixels; i++) {
        Q8_UNROLL
        for (size_t v = 0; v < 2 * eights; v++)
            vst1q_s32(y + i * job->y_step + 4 * v, sums[i][v]);
    }
}

Q8_BODY void store_codes(const q8_depthwise_job *job, uint8_t *y, const float *multiplier,
                         size_t pixels, size_t eights, int32x4_t (*sums)[4])
{
    code_limits limits = limits_of(job->zero_point, job->low, job->high);
    Q8_UNROLL
    for (size_t j = 0; j < eights; j++) {
        float32x4_t left = vld1q_f32(multiplier + 8 * j);
        float32x4_t right = vld1q_f32(multiplier + 8 * j + 4);
        Q8_UNROLL
        for (size_t i = 0; i < pixels; i++)
            vst1_u8(y + i * job->y_step + 8 * j,
                    narrow_8(requantize(sums[i][2 * j], left, limits),
                             requantize(sums[i][2 * j + 1], right, limits)));
    }
}

Q8_BODY void depthwise_block(const q8_depthwise_job *job, size_t p, size_t c, size_t pixels,
                             size_t eights)
{
    int32x4_t sums[PIXELS][4];
    Q8_UNROLL
    for (size_t i = 0; i < pixels; i++) {
        Q8_UNROLL
        for (size_t v = 0; v < 2 * eights; v++)
            sums[i][v] = vld1q_s32(job->bias + c + 4 * v);
    }
    for (size_t tap = 0; tap < job->taps; tap++) {
        int16x8_t w[2], x[2];
        load_weights(job->w + tap * job->channels + c, eights, w);
        Q8_UNROLL
        for (size_t i = 0; i < pixels; i++) {
            load_codes(job->x[(p + i) * job->x_step + tap] + c, eights, x);
            Q8_UNROLL
            for (size_t j = 0; j < eights; j++) {
                sums[i][2 * j] =
                    vmlal_s16(sums[i][2 * j], vget_low_s16(x[j]), vget_low_s16(w[j]));
                sums[i][2 * j + 1] = vmlal_high_s16(sums[i][2 * j + 1], x[j], w[j]);
            }
        }
    }
    size_t at = p * job->y_step + c;
    if (job->multiplier)
        store_codes(job, (uint8_t *)job->y + at, job->multiplier + c, pixels, eights, sums);
    else
        store_sums(job, (int32_t *)job->y + at, pixels, eights, sums);
}

Q8_BODY void depthwise_pixels(const q8_depthwise_job *job, size_t p, size_t pixels)
{
    size_t c = 0;
    for (; c + 16 <= job->channels; c += 16)
        depthwise_block(job, p, c, pixels, 2);
    for (; c < job->channels; c += 8)
        depthwise_block(job, p, block_start(c, 8, job->channels), pixels, 1);
}

static void depthwise(const q8_depthwise_job *job)
{
    if (job->channels < 8) {
        q8_conv_scalar.depthwise(job);
        return;
    }
    size_t p = 0;
    for (; p + PIXELS <= job->pixels; p += PIXELS)
        depthwise_pixels(job, p, PIXELS);
    if (p + 2 <= job->pixels) {
        depthwise_pixels(job, p, 2);
        p += 2;
    }
    if (p < job->pixels)
        depthwise_pixels(job, p, 1);
}

/* ---- pooling ---- */

static void max_pool(const q8_pool_job *job)
{
    if (job->channels < 8) {
        q8_conv_scalar.max_pool(job);
        return;
    }
    for (size_t p = 0; p < job->pixels; p++) {
        const uint8_t *const *x = job->x + p * job->x_step;
        uint8_t *y = job->y + p * job->y_step;
        size_t c = 0;
        for (; c + 16 <= job->channels; c += 16) {
            uint8x16_t best = vdupq_n_u8(0);
            for (size_t tap = 0; tap < job->taps; tap++)
                best = vmaxq_u8(best, vld1q_u8(x[tap] + c));
            vst1q_u8(y + c, best);
        }
        for (; c < job->channels; c += 8) {
            size_t start = block_start(c, 8, job->channels);
            uint8x8_t best = vdup_n_u8(0);
            for (size_t tap = 0; tap < job->taps; tap++)
                best = vmax_u8(best, vld1_u8(x[tap] + start));
            vst1_u8(y + start, best);
        }
    }
}

/* Sums of eight channels over all taps. 16 bits hold 257 codes. */
Q8_BODY void sum_taps(const uint8_t *const *x, size_t taps, size_t c, uint32x4_t *sums)
{
    sums[0] = vdupq_n_u32(0);
    sums[1] = vdupq_n_u32(0);
    for (size_t first = 0; first < taps; first += 256) {
        size_t end = taps - first > 256 ? first + 256 : taps;
        uint16x8_t part = vdupq_n_u16(0);
        for (size_t tap = first; tap < end; tap++)
            part = vaddw_u8(part, vld1_u8(x[tap] + c));
        sums[0] = vaddw_u16(sums[0], vget_low_u16(part));
        sums[1] = vaddw_high_u16(sums[1], part);
    }
}

static void average_pool(const q8_pool_job *job)
{
    if (job->channels < 8) {
        q8_conv_scalar.average_pool(job);
        return;
    }
    code_limits limits = limits_of(job->zero_point, job->low, job->high);
    uint32x4_t offset = vdupq_n_u32((uint32_t)job->sum_offset);
    for (size_t p = 0; p < job->pixels; p++) {
        float32x4_t multiplier = vdupq_n_f32(job->multiplier[p]);
        for (size_t c = 0; c < job->channels; c += 8) {
            size_t start = block_start(c, 8, job->channels);
            uint32x4_t sums[2];
            sum_taps(job->x + p * job->x_step, job->taps, start, sums);
            int32x4_t left = vreinterpretq_s32_u32(vsubq_u32(sums[0], offset));
            int32x4_t right = vreinterpretq_s32_u32(vsubq_u32(sums[1], offset));
            vst1_u8(job->y + p * job->y_step + start,
                    narrow_8(requantize(left, multiplier, limits),
                             requantize(right, multiplier, limits)));
        }
    }
}

static void gate(const q8_gate_job *job)
{
    for (size_t p = 0; p < job->rows; p++)
        q8_vec_neon.mul(job->channels, job->x + p * job->x_step, job->gate, 0,
                        job->y + p * job->y_step, &job->params);
}

const q8_conv_table q8_conv_neon = {
    .depthwise = depthwise,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .gate = gate,
};

#endif
