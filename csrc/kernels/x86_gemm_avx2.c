/* x86_gemm_avx2.c - u8 x s8 GEMM without a dot-product instruction.
 *
 * vpmaddubsw would saturate at full range, so both sides are widened to 16 bits and multiplied by
 * vpmaddwd, which adds two products to an int32 exactly. Weights are widened when they are packed
 * (weight_bytes = 2), codes into a small buffer from which pairs are then broadcast.
 * 6 x 16: 12 of 16 registers accumulate, 2 hold a step of B. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "requant.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma")

/* Not __m256i, which is four int64: GCC would copy each accumulator between the two types in the
 * loop. */
typedef int32_t int32x8 __attribute__((vector_size(32)));

#include "x86_lanes256.inc"
#include "x86_gemm_store256.inc"

#define JOB q8_gemm_job
#define ROWS 6
#define COLUMNS 2
#define COLUMN_LANES 8
enum { PAIR_BYTES = COLUMNS * 32, WIDE_CODES = 256, LINE_BYTES = 64 };
/* A full tile fetches a line with every so many pairs; a small one would wait for what it fetches. */
enum { PAIRS_OF_A_LINE = 2, FETCH_JOBS = PAIRS_OF_A_LINE * PAIR_BYTES / LINE_BYTES };
enum { LEAST_FETCHING_ROWS = 3 };

/* count codes, a multiple of 2, to 16 bits. */
X86_INLINE void widen_codes(const uint8_t *from, size_t count, uint16_t *to)
{
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m128i codes = _mm_loadu_si128((const __m128i *)(from + i));
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_cvtepu8_epi16(codes));
    }
    if (i + 8 <= count) {
        __m128i codes = _mm_loadl_epi64((const __m128i *)(from + i));
        _mm_storeu_si128((__m128i *)(to + i), _mm_cvtepu8_epi16(codes));
        i += 8;
    }
    /* pairs are read as they are written: what is put together from smaller stores has to wait */
    if (i + 4 <= count) {
        __m128i codes = _mm_cvtsi32_si128(*(const x86_unaligned_int32 *)(from + i));
        _mm_storel_epi64((__m128i *)(to + i), _mm_cvtepu8_epi16(codes));
        i += 4;
    }
    if (i < count)
        *(x86_unaligned_int32 *)(to + i) = from[i] | from[i + 1] << 16;
}

/* The next two codes of each row times a step of B. */
X86_INLINE void multiply_pair(int32x8 sum[ROWS][COLUMNS], const uint16_t *wide, size_t wide_step,
                              const char *b, size_t rows, size_t columns)
{
    __m256i right[COLUMNS];
#define LOAD_RIGHT(j) X86_LOAD_256(right[j], b + (j) * 32)
#define ADD_PRODUCT(i, j) X86_ADD_PAIRS_256(sum[i][j], left, right[j])
#define ADD_ROW(i)                                                                        \
    do {                                                                                  \
        const uint16_t *pair = wide + (i) * wide_step;                                    \
        __m256i left = _mm256_set1_epi32(*(const x86_unaligned_int32 *)pair);             \
        X86_EACH_IN_ROW_2(columns, ADD_PRODUCT, i);                                       \
    } while (0)
    X86_EACH_2(columns, LOAD_RIGHT);
    X86_EACH_6(rows, ADD_ROW);
#undef LOAD_RIGHT
#undef ADD_PRODUCT
#undef ADD_ROW
}

/* Rows of some codes times as many steps of B. fetches: a line of next with every turn. */
X86_INLINE void multiply_wide(int32x8 sum[ROWS][COLUMNS], const uint16_t *wide, size_t wide_step,
                              size_t count, const char *b, const char *next, size_t rows,
                              size_t columns, int fetches)
{
    const uint16_t *end = wide + count;
    for (; fetches && wide + 4 <= end; wide += 4, b += 2 * PAIR_BYTES, next += LINE_BYTES) {
        __builtin_prefetch(next, 0, 2);
        multiply_pair(sum, wide, wide_step, b, rows, columns);
        multiply_pair(sum, wide + 2, wide_step, b + PAIR_BYTES, rows, columns);
    }
    for (; wide < end; wide += 2, b += PAIR_BYTES)
        multiply_pair(sum, wide, wide_step, b, rows, columns);
}

X86_INLINE void multiply_taps(const q8_gemm_job *job, int32x8 sum[ROWS][COLUMNS], size_t rows,
                              size_t columns, int fetches)
{
    const char *next = (const char *)job->next;
    uint16_t wide[ROWS][WIDE_CODES];
    const char *b = (const char *)job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *const *row = job->a + tap * job->a_step;
        for (size_t first = 0; first < job->k; first += WIDE_CODES) {
            const size_t rest = job->k - first, count = rest < WIDE_CODES ? rest : WIDE_CODES;
            for (size_t i = 0; i < rows; i++)
                widen_codes(row[i] + first, count, wide[i]);
            multiply_wide(sum, wide[0], WIDE_CODES, count, b, next, rows, columns, fetches);
            b += count / 2 * PAIR_BYTES;
            if (fetches)
                next += count / 4 * LINE_BYTES;
        }
    }
}

X86_INLINE void multiply_panel(const q8_gemm_job *job, int32x8 sum[ROWS][COLUMNS], size_t rows,
                               size_t columns)
{
#define START(i, j) sum[i][j] = (int32x8)_mm256_loadu_si256((const __m256i *)(job->bias + j * 8))
#define START_ROW(i) X86_EACH_IN_ROW_2(columns, START, i)
    X86_EACH_6(rows, START_ROW);
#undef START
#undef START_ROW
    const int fetches = rows >= LEAST_FETCHING_ROWS && job->next;
    const size_t depth = job->taps * job->k;
    if (job->wide && fetches)
        multiply_wide(sum, job->wide, job->wide_step, depth, job->b, job->next, rows, columns, 1);
    else if (job->wide)
        multiply_wide(sum, job->wide, job->wide_step, depth, job->b, NULL, rows, columns, 0);
    else if (fetches)
        multiply_taps(job, sum, rows, columns, 1);
    else
        multiply_taps(job, sum, rows, columns, 0);
}

X86_INLINE void tile_body(const q8_gemm_job *job, size_t rows, size_t columns)
{
    int32x8 acc[ROWS][COLUMNS];
    multiply_panel(job, acc, rows, columns);
    store_tile(job, acc, rows, columns);
}

#include "x86_gemm_tiles.inc"

static void widen(const uint8_t *from, size_t count, uint16_t *to)
{
    widen_codes(from, count, to);
}

Q8_TARGET_END

const q8_gemm_table q8_gemm_avx2 = {
    .name = "avx2 6x16",
    .mr = ROWS,
    .most_rows = ROWS,
    .least_rows = 3,
    .nr = COLUMNS * COLUMN_LANES,
    .kr = 2,
    .weight_bytes = 2,
    .fetch_jobs = FETCH_JOBS,
    .flips_a = 0,
    .takes_mantissas = 1,
    .tile = tile,
    .widen = widen,
    .winograd = &q8_winograd_avx2,
};

#endif
