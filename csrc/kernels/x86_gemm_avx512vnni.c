/* x86_gemm_avx512vnni.c - u8 x s8 GEMM with vpdpbusd on 512 bits.
 *
 * 6 x 64: 24 of 32 registers accumulate, 4 hold a step of B, one the four broadcast codes of A.
 * vpdpbusd adds four products to an int32 without a saturating intermediate, so it is exact. A
 * panel with fewer columns than 64 loads and multiplies only the vectors that hold some. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>

#include "requant.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

#include "x86_gemm_store512.inc"

/* vpdpbusd that stays where it is written: moved about by the compiler, sums change their registers
 * in the loop, which costs a tenth of it. */
X86_INLINE int32x16 multiply_add(int32x16 sum, int32x16 a, int32x16 b)
{
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

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
#define MULTIPLY_ADD(sum, a, b) multiply_add(sum, a, b)
#define KEEP X86_KEEP_512
#include "x86_gemm_tile.inc"

X86_INLINE void tile_body(const q8_gemm_job *job, size_t rows, size_t columns)
{
    int32x16 acc[ROWS][COLUMNS];
    size_t sets = rows * columns <= 4 ? 4 : rows * columns <= 12 ? 2 : 1;
    multiply_panel(job, acc, rows, columns, sets);
    const ending end = ending_of(job);
    const size_t at_once = ROWS_AT_ONCE(columns), groups = (rows + at_once - 1) / at_once;
#define STORE(i, kind)                                                                     \
    store_codes(&end, i * at_once, acc + i * at_once,                                      \
                rows - i * at_once < at_once ? rows - i * at_once : at_once, columns, kind)
#define STORE_PLAIN_CODES(i) STORE(i, PLAIN_CODES)
#define STORE_MANTISSAS(i) STORE(i, MANTISSAS)
#define STORE_CODES(i) STORE(i, CODES)
#define STORE_FAR_CODES(i) STORE(i, FAR_CODES)
#define STORE_PLAIN_SUMS(i) STORE(i, PLAIN_SUMS)
#define STORE_SUMS_OF_CODES(i) STORE(i, SUMS_OF_CODES)
#define STORE_SUMS(i) store_sums(&end, i, acc[i], columns)
    if (end.kind == MANTISSAS)
        X86_EACH_6(groups, STORE_MANTISSAS);
    else if (end.kind == PLAIN_CODES)
        X86_EACH_6(groups, STORE_PLAIN_CODES);
    else if (end.kind == CODES)
        X86_EACH_6(groups, STORE_CODES);
    else if (end.kind == PLAIN_SUMS)
        X86_EACH_6(groups, STORE_PLAIN_SUMS);
    else if (end.kind == SUMS_OF_CODES)
        X86_EACH_6(groups, STORE_SUMS_OF_CODES);
    else if (end.kind == SUMS)
        X86_EACH_6(rows, STORE_SUMS);
    else
        X86_EACH_6(groups, STORE_FAR_CODES);
#undef STORE
#undef STORE_PLAIN_CODES
#undef STORE_MANTISSAS
#undef STORE_CODES
#undef STORE_FAR_CODES
#undef STORE_PLAIN_SUMS
#undef STORE_SUMS_OF_CODES
#undef STORE_SUMS
}

#include "x86_gemm_tiles.inc"

Q8_TARGET_END

const q8_gemm_table q8_gemm_avx512vnni = {
    .name = "avx512vnni 6x64",
    .mr = ROWS,
    .most_rows = ROWS,
    .least_rows = 3,
    .nr = COLUMNS * COLUMN_LANES,
    .kr = 4,
    .weight_bytes = 1,
    .fetch_jobs = FETCH_JOBS,
    .flips_a = 0,
    .takes_mantissas = 1,
    .tile = tile,
    .lines = q8_lines_avx512vnni,
    .lines_depth = SIZE_MAX,
};

#endif
