/* arm_gemm_dotprod.c - GEMM with sdot (Armv8.2 dotprod): 8 rows by 8 columns, four codes a lane.
 *
 * sdot wants both sides signed, so the tile computes with a - 128 (flips_a). Eight columns rather
 * than twelve or sixteen: channel counts are multiples of eight, and a tile that is not full is
 * work thrown away. 16 sums, 8 rows of 16 codes and 2 vectors of b fill the registers. */
#include "kernels.h"

#if defined(__aarch64__) && Q8_HAVE_DOTPROD

#include <arm_neon.h>
#include <string.h>

#include "arm_tile.h"
#include "target.h"

enum { MR = 8, NR = 8, KR = 4 };

Q8_TARGET("arch=armv8.2-a+dotprod")

/* Four codes of every row i against the panel's next step. */
#define STEP(dot, ...)                                                            \
    do {                                                                          \
        int8x16_t left = vld1q_s8(b), right = vld1q_s8(b + 16);                   \
        b += NR * KR;                                                             \
        Q8_KEEP_ORDER;                                                            \
        Q8_UNROLL                                                                 \
        for (size_t i = 0; i < rows; i++) {                                       \
            sums[2 * i] = dot(sums[2 * i], left, __VA_ARGS__);                    \
            sums[2 * i + 1] = dot(sums[2 * i + 1], right, __VA_ARGS__);           \
        }                                                                         \
        Q8_KEEP_ORDER;                                                            \
    } while (0)

Q8_BODY int8x16_t sixteen_codes(const uint8_t *a)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a), vdupq_n_u8(128)));
}

Q8_BODY int8x8_t eight_codes(const uint8_t *a)
{
    return vreinterpret_s8_u8(veor_u8(vld1_u8(a), vdup_n_u8(128)));
}

/* In all lanes. */
Q8_BODY int8x16_t four_codes(const uint8_t *a)
{
    uint32_t codes;
    memcpy(&codes, a, sizeof codes);
    return vreinterpretq_s8_u32(vdupq_n_u32(codes ^ 0x80808080));
}

/* One tap; returns b behind it. */
Q8_BODY const int8_t *add_tap(size_t rows, size_t k, const uint8_t *const *a, const int8_t *b,
                              int32x4_t *sums)
{
    size_t p = 0;
    for (; p + 16 <= k; p += 16) {
        int8x16_t x[MR];
        Q8_UNROLL
        for (size_t i = 0; i < rows; i++)
            x[i] = sixteen_codes(a[i] + p);
        Q8_KEEP_ORDER;
        STEP(vdotq_laneq_s32, x[i], 0);
        STEP(vdotq_laneq_s32, x[i], 1);
        STEP(vdotq_laneq_s32, x[i], 2);
        STEP(vdotq_laneq_s32, x[i], 3);
    }
    if (p + 8 <= k) {
        int8x8_t x[MR];
        Q8_UNROLL
        for (size_t i = 0; i < rows; i++)
            x[i] = eight_codes(a[i] + p);
        STEP(vdotq_lane_s32, x[i], 0);
        STEP(vdotq_lane_s32, x[i], 1);
        p += 8;
    }
    if (p < k) {
        int8x16_t x[MR];
        Q8_UNROLL
        for (size_t i = 0; i < rows; i++)
            x[i] = four_codes(a[i] + p);
        STEP(vdotq_s32, x[i]);
    }
    return b;
}

Q8_BODY void tile_of(const q8_gemm_job *job, size_t rows)
{
    size_t chosen[MR];
    choose_pointers(job->m, rows, chosen);
    int32x4_t sums[2 * MR];
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++) {
        sums[2 * i] = vld1q_s32(job->bias);
        sums[2 * i + 1] = vld1q_s32(job->bias + 4);
    }
    const int8_t *b = job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *a[MR];
        Q8_UNROLL
        for (size_t i = 0; i < rows; i++)
            a[i] = job->a[tap * job->a_step + chosen[i]];
        b = add_tap(rows, job->k, a, b, sums);
    }
    store_8_columns(job, 0, rows, sums);
}

static void tile(const q8_gemm_job *job)
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

Q8_TARGET_END

const q8_gemm_table q8_gemm_dotprod = {
    .name = "dotprod 8x8",
    .mr = MR,
    .most_rows = MR,
    .nr = NR,
    .kr = KR,
    .weight_bytes = 1,
    .flips_a = 1,
    .tile = tile,
};

#endif
