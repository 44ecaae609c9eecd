/* x86_gemm_avx2.c - u8 x s8 GEMM without a dot-product instruction.
 *
 * vpmaddubsw would saturate at full range, so both sides are widened to 16 bits and multiplied by
 * vpmaddwd, which adds two products to an int32 exactly. The weights are widened when they are
 * packed (weight_bytes = 2); four codes of A are broadcast at once, and vpshufb widens two of them.
 * 6 x 16: 12 of 16 registers accumulate. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma")

/* Not __m256i, which is four int64: GCC would copy each accumulator between the two in the loop. */
typedef int32_t int32x8 __attribute__((vector_size(32)));

#include "x86_lanes256.inc"
#include "x86_gemm_store256.inc"

enum { ROWS = 6, COLUMNS = 2, PAIR_BYTES = COLUMNS * 32 };

/* sum += the pair of codes in left times the pairs of weights in right. The empty asm keeps GCC
 * from adding the products of two steps to each other first, which spills registers. */
X86_INLINE void multiply_pair(int32x8 sum[COLUMNS], __m256i left, const __m256i right[COLUMNS],
                              size_t columns)
{
#define ADD_PRODUCT(j)                                                          \
    do {                                                                        \
        __m256i product = _mm256_madd_epi16(left, right[j]);                    \
        sum[j] = (int32x8)_mm256_add_epi32((__m256i)sum[j], product);           \
        __asm__("" : "+x"(sum[j]));                                             \
    } while (0)
    X86_EACH_2(columns, ADD_PRODUCT);
#undef ADD_PRODUCT
}

/* Codes `at` and at + 1 of every row if pair is 0, at + 2 and at + 3 if it is 1. */
X86_INLINE void multiply_rows(int32x8 sum[ROWS][COLUMNS], const uint8_t *const *row, size_t at,
                              int pair, const char *b, size_t rows, size_t columns)
{
    const __m256i widen = _mm256_set1_epi32((int)(pair ? 0x80038002 : 0x80018000));
    __m256i right[COLUMNS];
#define LOAD_RIGHT(j) right[j] = _mm256_load_si256((const __m256i *)(b + j * 32))
#define ADD_ROW(i)                                                                        \
    do {                                                                                  \
        __m256i codes = _mm256_set1_epi32(*(const x86_unaligned_int32 *)(row[i] + at));   \
        multiply_pair(sum[i], _mm256_shuffle_epi8(codes, widen), right, columns);         \
    } while (0)
    X86_EACH_2(columns, LOAD_RIGHT);
    X86_EACH_6(rows, ADD_ROW);
#undef LOAD_RIGHT
#undef ADD_ROW
}

/* The last pair of a tap whose K is not a multiple of 4. */
X86_INLINE void multiply_two(int32x8 sum[ROWS][COLUMNS], const uint8_t *const *row, size_t at,
                             const char *b, size_t rows, size_t columns)
{
    __m256i right[COLUMNS];
#define LOAD_RIGHT(j) right[j] = _mm256_load_si256((const __m256i *)(b + j * 32))
#define ADD_ROW(i)                                                                 \
    do {                                                                           \
        __m256i pair = _mm256_set1_epi32(row[i][at] | row[i][at + 1] << 16);       \
        multiply_pair(sum[i], pair, right, columns);                               \
    } while (0)
    X86_EACH_2(columns, LOAD_RIGHT);
    X86_EACH_6(rows, ADD_ROW);
#undef LOAD_RIGHT
#undef ADD_ROW
}

X86_INLINE void multiply_panel(const q8_gemm_job *job, int32x8 sum[ROWS][COLUMNS], size_t rows,
                               size_t columns)
{
    const char *b = (const char *)job->b;
    const size_t k = job->k;
#define START(i, j) sum[i][j] = (int32x8)_mm256_loadu_si256((const __m256i *)(job->bias + j * 8))
#define START_ROW(i) X86_EACH_IN_ROW_2(columns, START, i)
    X86_EACH_6(rows, START_ROW);
#undef START
#undef START_ROW
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *row[ROWS];
        size_t at = 0;
#define ROW_OF_TAP(i) row[i] = job->a[tap * job->a_step + i]
        X86_EACH_6(rows, ROW_OF_TAP);
#undef ROW_OF_TAP
        for (; at + 4 <= k; at += 4) {
            multiply_rows(sum, row, at, 0, b, rows, columns);
            /* The codes are loaded again: there is no register to keep them. */
            __asm__ volatile("" ::: "memory");
            multiply_rows(sum, row, at, 1, b + PAIR_BYTES, rows, columns);
            b += 2 * PAIR_BYTES;
        }
        if (at < k) {
            multiply_two(sum, row, at, b, rows, columns);
            b += PAIR_BYTES;
        }
    }
}

#define TILE(rows, columns)                                       \
    static void tile_##rows##x##columns(const q8_gemm_job *job) \
    {                                                             \
        int32x8 acc[ROWS][COLUMNS];                               \
        multiply_panel(job, acc, rows, columns);                  \
        store_tile(job, acc, rows, columns);                      \
    }
#define TILE_ROW(rows) TILE(rows, 1) TILE(rows, 2)
TILE_ROW(1)
TILE_ROW(2)
TILE_ROW(3)
TILE_ROW(4)
TILE_ROW(5)
TILE_ROW(6)

static void tile(const q8_gemm_job *job)
{
#define ENTRY(rows) {tile_##rows##x1, tile_##rows##x2}
    static void (*const tiles[ROWS][COLUMNS])(const q8_gemm_job *) = {
        ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6)};
#undef ENTRY
    tiles[job->m - 1][(job->n - 1) / 8](job);
}

Q8_TARGET_END

const q8_gemm_table q8_gemm_avx2 = {
    .name = "avx2 6x16",
    .mr = ROWS,
    .nr = COLUMNS * 8,
    .kr = 2,
    .weight_bytes = 2,
    .flips_a = 0,
    .tile = tile,
};

#endif
