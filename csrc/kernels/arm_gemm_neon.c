/* arm_gemm_neon.c - GEMM for every aarch64: 4 rows by 16 columns, two codes a lane.
 *
 * smull makes eight 16-bit products of signed bytes and sadalp adds them in pairs to four sums:
 * on the cores this is for (Cortex-A53 to A73) the two go to different pipes, eight multiply-adds
 * a cycle where 16-bit smlal gives four. Both sides are signed, so the tile computes with a - 128
 * (flips_a); each product fits 16 bits, and no two are added before sadalp has widened them. */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

#include "arm_tile.h"

enum { MR = 4, NR = 16, KR = 2 };

/* Two codes of a row, in all lanes, against eight columns. */
Q8_BODY void add_products(int32x4_t *left, int32x4_t *right, int8x16_t codes, int8x16_t weights)
{
    *left = vpadalq_s16(*left, vmull_s8(vget_low_s8(weights), vget_low_s8(codes)));
    *right = vpadalq_s16(*right, vmull_high_s8(weights, codes));
}

/* Two codes of every row i, in all lanes, against the panel's next step; eights: of the columns,
 * 1 or 2. */
#define STEP(two_codes)                                                             \
    do {                                                                            \
        int8x16_t weights[2];                                                       \
        Q8_UNROLL                                                                   \
        for (size_t j = 0; j < eights; j++)                                         \
            weights[j] = vld1q_s8(b + 16 * j);                                      \
        b += NR * KR;                                                               \
        Q8_UNROLL                                                                   \
        for (size_t i = 0; i < rows; i++) {                                         \
            int8x16_t codes = vreinterpretq_s8_u16(two_codes);                      \
            Q8_UNROLL                                                               \
            for (size_t j = 0; j < eights; j++)                                     \
                add_products(&sums[j][2 * i], &sums[j][2 * i + 1], codes, weights[j]); \
        }                                                                           \
        Q8_KEEP_ORDER;                                                              \
    } while (0)

Q8_BODY uint16x8_t load_two_codes(const uint8_t *a)
{
    uint16_t codes;
    memcpy(&codes, a, sizeof codes);
    return veorq_u16(vdupq_n_u16(codes), vdupq_n_u16(0x8080));
}

Q8_BODY void tile_of(const q8_gemm_job *job, size_t rows, size_t eights)
{
    size_t chosen[MR];
    choose_pointers(job->m, rows, chosen);
    int32x4_t sums[2][2 * MR];
    Q8_UNROLL
    for (size_t j = 0; j < eights; j++) {
        Q8_UNROLL
        for (size_t i = 0; i < rows; i++) {
            sums[j][2 * i] = vld1q_s32(job->bias + 8 * j);
            sums[j][2 * i + 1] = vld1q_s32(job->bias + 8 * j + 4);
        }
    }
    const int8_t *b = job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *a[MR];
        uint16x8_t x[MR];
        Q8_UNROLL
        for (size_t i = 0; i < rows; i++)
            a[i] = job->a[tap * job->a_step + chosen[i]];
        size_t p = 0;
        for (; p + 16 <= job->k; p += 16) {
            Q8_UNROLL
            for (size_t i = 0; i < rows; i++)
                x[i] = vreinterpretq_u16_u8(veorq_u8(vld1q_u8(a[i] + p), vdupq_n_u8(128)));
            Q8_KEEP_ORDER;
            STEP(vdupq_laneq_u16(x[i], 0));
            STEP(vdupq_laneq_u16(x[i], 1));
            STEP(vdupq_laneq_u16(x[i], 2));
            STEP(vdupq_laneq_u16(x[i], 3));
            STEP(vdupq_laneq_u16(x[i], 4));
            STEP(vdupq_laneq_u16(x[i], 5));
            STEP(vdupq_laneq_u16(x[i], 6));
            STEP(vdupq_laneq_u16(x[i], 7));
        }
        for (; p < job->k; p += KR)
            STEP(load_two_codes(a[i] + p));
    }
    Q8_UNROLL
    for (size_t j = 0; j < eights; j++)
        store_8_columns(job, 8 * j, rows, sums[j]);
}

static void tile(const q8_gemm_job *job)
{
    if (job->m > 1) {
        if (job->n > 8)
            tile_of(job, 4, 2);
        else
            tile_of(job, 4, 1);
    } else {
        if (job->n > 8)
            tile_of(job, 1, 2);
        else
            tile_of(job, 1, 1);
    }
}

const q8_gemm_table q8_gemm_neon = {
    .name = "neon 4x16",
    .mr = MR,
    .most_rows = MR,
    .nr = NR,
    .kr = KR,
    .weight_bytes = 1,
    .flips_a = 1,
    .tile = tile,
};

#endif
