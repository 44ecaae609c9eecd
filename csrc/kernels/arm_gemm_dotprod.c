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

/* Four codes of every row against the panel's next step. */
#define STEP(lane)                                                            \
    do {                                                                      \
        int8x16_t left = vld1q_s8(b), right = vld1q_s8(b + 16);               \
        b += NR * KR;                                                         \
        Q8_UNROLL                                                             \
        for (size_t i = 0; i < rows; i++) {                                   \
            sums[2 * i] = vdotq_laneq_s32(sums[2 * i], left, x[i], lane);     \
            sums[2 * i + 1] = vdotq_laneq_s32(sums[2 * i + 1], right, x[i], lane); \
        }                                                                     \
        Q8_KEEP_ORDER;                                                        \
    } while (0)

Q8_BODY int8x16_t four_codes(const uint8_t *a)
{
    uint32_t codes;
    memcpy(&codes, a, sizeof codes);
    return vreinterpretq_s8_u32(veorq_u32(vdupq_n_u32(codes), vdupq_n_u32(0x80808080)));
}

Q8_BODY void tile_of(const q8_gemm_job *job, size_t rows)
{
    int32x4_t sums[2 * MR];
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++) {
        sums[2 * i] = vld1q_s32(job->bias);
        sums[2 * i + 1] = vld1q_s32(job->bias + 4);
    }
    const int8_t *b = job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *a[MR];
        int8x16_t x[MR];
        rows_of_tap(job, tap, rows, a);
        size_t p = 0;
        for (; p + 16 <= job->k; p += 16) {
            Q8_UNROLL
            for (size_t i = 0; i < rows; i++)
                x[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(a[i] + p), vdupq_n_u8(128)));
            Q8_KEEP_ORDER;
            STEP(0);
            STEP(1);
            STEP(2);
            STEP(3);
        }
        for (; p < job->k; p += KR) {
            Q8_UNROLL
            for (size_t i = 0; i < rows; i++)
                x[i] = four_codes(a[i] + p);
            STEP(0);
        }
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
    .nr = NR,
    .kr = KR,
    .weight_bytes = 1,
    .flips_a = 1,
    .tile = tile,
};

#endif
