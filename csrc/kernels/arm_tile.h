/* arm_tile.h - what the GEMM tiles of neon, dotprod and i8mm share: where rows begin, and how
 * sums, bias included, become codes or leave as they are. */
#ifndef Q8_ARM_TILE_H
#define Q8_ARM_TILE_H

#include <string.h>

#include "arm_requant.h"
#include "kernels.h"

/* Rows of the tallest tile. */
enum { MAX_ROWS = 8 };

/* No load moves across it. GCC 12 otherwise gathers all loads of b at the top of the loop, more
 * than there are registers, and keeps sums in memory. */
#define Q8_KEEP_ORDER __asm__ volatile("" ::: "memory")

/* Which of a tap's pointers each row reads. A tile may compute more rows than it stores; those
 * read row m-1 again. */
Q8_BODY void choose_pointers(size_t m, size_t rows, size_t *chosen)
{
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++)
        chosen[i] = i < m ? i : m - 1;
}

/* What a tile at the edge stores of a buffer of full rows: m rows of n elements, n at most 8. */
static inline void copy_rows(void *c, size_t c_step, size_t m, size_t n, const void *rows,
                             size_t element_bytes)
{
    for (size_t i = 0; i < m; i++)
        memcpy((char *)c + i * c_step * element_bytes, (const char *)rows + 8 * i * element_bytes,
               n * element_bytes);
}

Q8_BODY void store_sums(int32_t *c, size_t step, size_t rows, const int32x4_t *sums)
{
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++) {
        vst1q_s32(c + i * step, sums[2 * i]);
        vst1q_s32(c + i * step + 4, sums[2 * i + 1]);
    }
}

Q8_BODY void store_code_rows(uint8_t *c, size_t step, size_t rows, const uint8x8_t *codes)
{
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++)
        vst1_u8(c + i * step, codes[i]);
}

/* Eight codes less their zero point, times a factor, added to sum[0] and sum[1]. */
Q8_BODY void add_scaled(float32x4_t sum[2], uint8x8_t codes, int32_t zero_point, float factor)
{
    int16x8_t wide = vreinterpretq_s16_u16(vmovl_u8(codes));
    wide = vsubq_s16(wide, vdupq_n_s16((int16_t)zero_point));
    float32x4_t left = vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
    float32x4_t right = vcvtq_f32_s32(vmovl_s16(vget_high_s16(wide)));
    sum[0] = vaddq_f32(sum[0], vmulq_n_f32(left, factor));
    sum[1] = vaddq_f32(sum[1], vmulq_n_f32(right, factor));
}

/* A job's codes become those of its sum, n of each row. Nothing changes when 0 is added first, but
 * for the sign of a 0. */
Q8_BODY void add_codes(const q8_gemm_job *job, size_t first, size_t rows, size_t n,
                       uint8x8_t *codes)
{
    const q8_binary_params *sum = job->sum;
    code_limits limits = limits_of(sum->zero_point, sum->low, sum->high);
    for (size_t i = 0; i < rows && i < job->m; i++) {
        const uint8_t *from = job->addend + i * job->addend_step + first;
        uint8_t addend[8] = {0};
        memcpy(addend, from, n);
        float32x4_t total[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
        add_scaled(total, codes[i], sum->a_zero_point, sum->a_multiplier);
        add_scaled(total, vld1_u8(addend), sum->b_zero_point, sum->b_multiplier);
        codes[i] = narrow_8(round_to_code(total[0], limits), round_to_code(total[1], limits));
    }
}

/* Columns first..first+7 of a tile; sums[2 * i] and sums[2 * i + 1] are row i's. */
Q8_BODY void store_8_columns(const q8_gemm_job *job, size_t first, size_t rows,
                             const int32x4_t *sums)
{
    size_t n = job->n - first < 8 ? job->n - first : 8;
    int is_full = job->m == rows && n == 8;
    if (job->multiplier == NULL) {
        int32_t *c = (int32_t *)job->c + first;
        if (is_full) {
            store_sums(c, job->c_step, rows, sums);
        } else {
            int32_t buffer[8 * MAX_ROWS];
            store_sums(buffer, 8, rows, sums);
            copy_rows(c, job->c_step, job->m, n, buffer, sizeof *c);
        }
        return;
    }
    code_limits limits = limits_of(job->zero_point, job->low, job->high);
    float32x4_t left = vld1q_f32(job->multiplier + first);
    float32x4_t right = vld1q_f32(job->multiplier + first + 4);
    uint8x8_t codes[MAX_ROWS];
    Q8_UNROLL
    for (size_t i = 0; i < rows; i++)
        codes[i] = narrow_8(requantize(sums[2 * i], left, limits),
                            requantize(sums[2 * i + 1], right, limits));
    if (job->sum)
        add_codes(job, first, rows, n, codes);
    uint8_t *c = (uint8_t *)job->c + first;
    if (is_full) {
        store_code_rows(c, job->c_step, rows, codes);
    } else {
        uint8_t buffer[8 * MAX_ROWS];
        store_code_rows(buffer, 8, rows, codes);
        copy_rows(c, job->c_step, job->m, n, buffer, sizeof *c);
    }
}

#endif
