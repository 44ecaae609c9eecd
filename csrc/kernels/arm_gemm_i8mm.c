/* arm_gemm_i8mm.c - GEMM with usmmla (Armv8.6 i8mm): 8 rows by 8 columns, eight codes a step.
 *
 * usmmla multiplies two rows of eight unsigned codes with two columns of eight signed weights and
 * adds to a 2 x 2 block, so nothing needs flipping. A panel with kr = 8 has two columns in each 16
 * bytes; pairs of rows are brought together by zips. */
#include "kernels.h"

#if defined(__aarch64__) && Q8_HAVE_DOTPROD

#include <arm_neon.h>

#include "arm_tile.h"
#include "target.h"

enum { MR = 8, NR = 8, KR = 8, BLOCKS = NR / 2 };

Q8_TARGET("arch=armv8.2-a+i8mm+dotprod")

/* Eight codes of every pair of rows against the panel's next step. */
Q8_BODY void step(size_t pairs, const uint8x16_t *x, const int8_t *b, int32x4_t (*blocks)[BLOCKS])
{
    Q8_UNROLL
    for (size_t j = 0; j < BLOCKS; j++) {
        int8x16_t columns = vld1q_s8(b + 16 * j);
        Q8_UNROLL
        for (size_t i = 0; i < pairs; i++)
            blocks[i][j] = vusmmlaq_s32(blocks[i][j], x[i], columns);
    }
    Q8_KEEP_ORDER;
}

/* One tap; returns b behind it. */
Q8_BODY const int8_t *add_tap(size_t pairs, size_t k, const uint8_t *const *a, const int8_t *b,
                              int32x4_t (*blocks)[BLOCKS])
{
    uint8x16_t first[MR / 2], second[MR / 2];
    size_t p = 0;
    for (; p + 16 <= k; p += 16) {
        Q8_UNROLL
        for (size_t i = 0; i < pairs; i++) {
            uint64x2_t upper = vreinterpretq_u64_u8(vld1q_u8(a[2 * i] + p));
            uint64x2_t lower = vreinterpretq_u64_u8(vld1q_u8(a[2 * i + 1] + p));
            first[i] = vreinterpretq_u8_u64(vzip1q_u64(upper, lower));
            second[i] = vreinterpretq_u8_u64(vzip2q_u64(upper, lower));
        }
        Q8_KEEP_ORDER;
        step(pairs, first, b, blocks);
        step(pairs, second, b + NR * KR, blocks);
        b += 2 * NR * KR;
    }
    if (p < k) {
        Q8_UNROLL
        for (size_t i = 0; i < pairs; i++)
            first[i] = vcombine_u8(vld1_u8(a[2 * i] + p), vld1_u8(a[2 * i + 1] + p));
        step(pairs, first, b, blocks);
        b += NR * KR;
    }
    return b;
}

Q8_BODY void tile_of(const q8_gemm_job *job, size_t pairs)
{
    size_t chosen[MR];
    choose_pointers(job->m, 2 * pairs, chosen);
    int32x4_t blocks[MR / 2][BLOCKS];
    Q8_UNROLL
    for (size_t j = 0; j < BLOCKS; j++) {
        int32x2_t bias = vld1_s32(job->bias + 2 * j);
        Q8_UNROLL
        for (size_t i = 0; i < pairs; i++)
            blocks[i][j] = vcombine_s32(bias, bias);
    }
    const int8_t *b = job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *a[MR];
        Q8_UNROLL
        for (size_t i = 0; i < 2 * pairs; i++)
            a[i] = job->a[tap * job->a_step + chosen[i]];
        b = add_tap(pairs, job->k, a, b, blocks);
    }

    int32x4_t sums[2 * MR];
    Q8_UNROLL
    for (size_t i = 0; i < pairs; i++) {
        Q8_UNROLL
        for (size_t j = 0; j < 2; j++) {
            int64x2_t left = vreinterpretq_s64_s32(blocks[i][2 * j]);
            int64x2_t right = vreinterpretq_s64_s32(blocks[i][2 * j + 1]);
            sums[4 * i + j] = vreinterpretq_s32_s64(vzip1q_s64(left, right));
            sums[4 * i + 2 + j] = vreinterpretq_s32_s64(vzip2q_s64(left, right));
        }
    }
    store_8_columns(job, 0, 2 * pairs, sums);
}

static void tile(const q8_gemm_job *job)
{
    if (job->m > 4)
        tile_of(job, 4);
    else if (job->m > 2)
        tile_of(job, 2);
    else
        tile_of(job, 1);
}

Q8_TARGET_END

const q8_gemm_table q8_gemm_i8mm = {
    .name = "i8mm 8x8",
    .mr = MR,
    .most_rows = MR,
    .nr = NR,
    .kr = KR,
    .weight_bytes = 1,
    .flips_a = 0,
    .tile = tile,
};

#endif
