/* x86_gemm_avxvnni.c - u8 x s8 GEMM with vpdpbusd on 256 bits, in its VEX form: the CPUs that have
 * the dot product but not AVX-512.
 *
 * 6 x 16: 12 of 16 registers accumulate, 2 hold a step of B, one the four broadcast codes of A. */
#include "kernels.h"

#if defined(__x86_64__) && Q8_HAVE_AVXVNNI
#include <immintrin.h>

#include "requant.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma,avxvnni")

/* Not __m256i, which is four int64: GCC would copy each accumulator between the two types in the
 * loop. */
typedef int32_t int32x8 __attribute__((vector_size(32)));

#define JOB q8_gemm_job
#define VECTOR int32x8
#define ROWS 6
#define COLUMNS 2
#define EACH_ROW X86_EACH_6
#define COLUMN_LANES 8
#define EACH_COLUMN X86_EACH_2
#define EACH_COLUMN_IN_ROW X86_EACH_IN_ROW_2
#define START(p) ((int32x8)_mm256_loadu_si256((const __m256i *)(p)))
#define ZERO() ((int32x8)_mm256_setzero_si256())
#define ADD(x, y) ((int32x8)_mm256_add_epi32((__m256i)(x), (__m256i)(y)))
#define LOAD(p) ((int32x8)_mm256_load_si256((const __m256i *)(p)))
#define BROADCAST(p) ((int32x8)_mm256_set1_epi32(*(const x86_unaligned_int32 *)(p)))
#define MULTIPLY_ADD(sum, a, b) \
    ((int32x8)_mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b)))
#define KEEP X86_KEEP_256
#include "x86_gemm_tile.inc"
#include "x86_lanes256.inc"
#include "x86_gemm_store256.inc"

X86_INLINE void tile_body(const q8_gemm_job *job, size_t rows, size_t columns)
{
    int32x8 acc[ROWS][COLUMNS];
    multiply_panel(job, 0, (const char *)job->next, acc, rows, columns, rows * columns <= 2 ? 4 : rows * columns <= 6 ? 2 : 1);
    store_tile(job, acc, rows, columns);
}

#include "x86_gemm_tiles.inc"

Q8_TARGET_END

const q8_gemm_table q8_gemm_avxvnni = {
    .name = "avxvnni 6x16",
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
};

#endif
