/* x86_gemm_avx512vnni.c - u8 x s8 GEMM with vpdpbusd on 512 bits.
 *
 * 6 x 64: 24 of 32 registers accumulate, 4 hold a step of B, one the four broadcast codes of A.
 * vpdpbusd adds four products to an int32 without a saturating intermediate, so it is exact. A
 * panel with fewer columns than 64 loads and multiplies only the vectors that hold some. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

/* Not __m512i, which is eight int64: GCC would copy each accumulator between the two types in the
 * loop. */
typedef int32_t int32x16 __attribute__((vector_size(64)));

#define JOB q8_gemm_job
#define VECTOR int32x16
#define ROWS 6
#define COLUMNS 4
#define COLUMN_LANES 16
#define EACH_COLUMN X86_EACH_4
#define EACH_COLUMN_IN_ROW X86_EACH_IN_ROW_4
#define START(p) ((int32x16)_mm512_loadu_si512(p))
#define ZERO() ((int32x16)_mm512_setzero_si512())
#define ADD(x, y) ((int32x16)_mm512_add_epi32((__m512i)(x), (__m512i)(y)))
#define LOAD(p) ((int32x16)_mm512_load_si512(p))
#define BROADCAST(p) ((int32x16)_mm512_set1_epi32(*(const x86_unaligned_int32 *)(p)))
#define MULTIPLY_ADD(sum, a, b) \
    ((int32x16)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b)))
#define KEEP X86_KEEP_512
#include "x86_gemm_tile.inc"

X86_INLINE __mmask64 first_bytes(size_t count)
{
    return count >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << count) - 1;
}

/* What all rows need at their end, read once: for all the compiler knows, storing a row of codes
 * may change the job. */
typedef struct {
    void *c;
    size_t c_step;
    __mmask64 stored;
    const float *multiplier;
    __m512 upper;
    __m512i zero_point, low, order;
} ending;

X86_INLINE ending ending_of(const q8_gemm_job *job)
{
    return (ending){
        .c = job->c,
        .c_step = job->c_step,
        .stored = first_bytes(job->n),
        .multiplier = job->multiplier,
        .upper = _mm512_set1_ps((float)(job->high - job->zero_point)),
        .zero_point = _mm512_set1_epi16((int16_t)job->zero_point),
        .low = _mm512_set1_epi8((char)job->low),
        .order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
    };
}

/* One row of codes. Only the upper limit needs a clamp in float: everything below the range of
 * int32, and NaN, converts to INT32_MIN, which the saturating packs take to 0 and max_epu8 to the
 * low end. */
X86_INLINE void store_codes(const ending *end, size_t i, const int32x16 acc[COLUMNS],
                            size_t columns)
{
    __m512i zero = _mm512_setzero_si512();
    __m512i code[COLUMNS] = {zero, zero, zero, zero};
#define TO_CODE(j)                                                                        \
    do {                                                                                  \
        __m512 multiplier = _mm512_loadu_ps(end->multiplier + j * 16);                    \
        __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)acc[j]), multiplier);    \
        code[j] = _mm512_cvtps_epi32(_mm512_min_ps(end->upper, value));                   \
    } while (0)
    X86_EACH_4(columns, TO_CODE);
#undef TO_CODE
    __m512i left = _mm512_adds_epi16(_mm512_packs_epi32(code[0], code[1]), end->zero_point);
    __m512i right = _mm512_adds_epi16(_mm512_packs_epi32(code[2], code[3]), end->zero_point);
    __m512i bytes = _mm512_max_epu8(_mm512_packus_epi16(left, right), end->low);
    _mm512_mask_storeu_epi8((uint8_t *)end->c + i * end->c_step, end->stored,
                            _mm512_permutexvar_epi32(end->order, bytes));
}

/* One row of accumulators. */
X86_INLINE void store_sums(const ending *end, size_t i, const int32x16 acc[COLUMNS],
                           size_t columns)
{
    int32_t *c = (int32_t *)end->c + i * end->c_step;
#define STORE(j) \
    _mm512_mask_storeu_epi32(c + j * 16, (__mmask16)(end->stored >> j * 16), (__m512i)acc[j])
    X86_EACH_4(columns, STORE);
#undef STORE
}

X86_INLINE void tile_body(const q8_gemm_job *job, size_t rows, size_t columns)
{
    int32x16 acc[ROWS][COLUMNS];
    size_t sets = rows * columns <= 4 ? 4 : rows * columns <= 12 ? 2 : 1;
    multiply_panel(job, acc, rows, columns, sets);
    const ending end = ending_of(job);
#define STORE_CODES(i) store_codes(&end, i, acc[i], columns)
#define STORE_SUMS(i) store_sums(&end, i, acc[i], columns)
    if (end.multiplier)
        X86_EACH_6(rows, STORE_CODES);
    else
        X86_EACH_6(rows, STORE_SUMS);
#undef STORE_CODES
#undef STORE_SUMS
}

#include "x86_gemm_tiles.inc"

Q8_TARGET_END

const q8_gemm_table q8_gemm_avx512vnni = {
    .name = "avx512vnni 6x64",
    .mr = ROWS,
    .nr = COLUMNS * COLUMN_LANES,
    .kr = 4,
    .weight_bytes = 1,
    .flips_a = 0,
    .tile = tile,
};

#endif
