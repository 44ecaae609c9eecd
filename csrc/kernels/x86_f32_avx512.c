/* x86_f32_avx512.c - float kernels with 512-bit vectors and FMA.
 *
 * 6 x 64: 24 of 32 registers accumulate, 4 hold a step of B, one a broadcast value of A. */
#include "kernels.h"

#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <math.h>

#include "../q8.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

#include "x86_lanes512.inc"

#define JOB q8_gemm_f32_job
#define VECTOR floats
#define ROWS 6
#define COLUMNS 4
#define EACH_COLUMN X86_EACH_4
#define EACH_COLUMN_IN_ROW X86_EACH_IN_ROW_4
#define START(p) load_floats(p, LANES)
#define ZERO() all_floats(0)
#define ADD(x, y) ((x) + (y))
#define LOAD(p) _mm512_load_ps((const float *)(p))
#define BROADCAST(p) all_floats(*(const float *)(p))
#define MULTIPLY_ADD(sum, a, b) fused(a, b, sum)
#define KEEP(x) __asm__("" : "+v"(x))
#include "x86_gemm_tile.inc"
#undef START
#undef ZERO
#undef ADD
#undef LOAD
#undef BROADCAST
#undef MULTIPLY_ADD
#undef KEEP

#include "x86_f32_conv.inc"
#include "x86_math.inc"
#include "x86_f32_rows.inc"

X86_INLINE void store_row(const q8_gemm_f32_job *job, size_t i, const floats acc[COLUMNS],
                          size_t columns)
{
    const floats low = all_floats(job->low), high = all_floats(job->high);
    float *c = job->c + i * job->c_step;
    const size_t last = (columns - 1) * LANES;
#define STORE(j)                                                              \
    do {                                                                      \
        floats value = minimum(maximum(acc[j], low), high);                   \
        if (j * LANES < last || job->n == last + LANES)                       \
            store_floats(c + j * LANES, value, LANES);                        \
        else                                                                  \
            store_floats(c + j * LANES, value, job->n - last);                \
    } while (0)
    EACH_COLUMN(columns, STORE);
#undef STORE
}

X86_INLINE void tile_body(const q8_gemm_f32_job *job, size_t rows, size_t columns)
{
    floats acc[ROWS][COLUMNS];
    multiply_panel(job, acc, rows, columns, rows * columns <= 2 ? 4 : rows * columns <= 4 ? 2 : 1);
#define STORE_ROW(i) store_row(job, i, acc[i], columns)
    X86_EACH_6(rows, STORE_ROW);
#undef STORE_ROW
}

#define TILE(rows, columns)                                           \
    static void tile_##rows##x##columns(const q8_gemm_f32_job *job) \
    {                                                                 \
        tile_body(job, rows, columns);                                \
    }
#define TILE_ROW(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3) TILE(rows, 4)
TILE_ROW(1)
TILE_ROW(2)
TILE_ROW(3)
TILE_ROW(4)
TILE_ROW(5)
TILE_ROW(6)

static void gemm_tile(const q8_gemm_f32_job *job)
{
#define ENTRY(rows) {tile_##rows##x1, tile_##rows##x2, tile_##rows##x3, tile_##rows##x4}
    static void (*const tiles[ROWS][COLUMNS])(const q8_gemm_f32_job *) = {
        ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6)};
#undef ENTRY
    tiles[job->m - 1][(job->n - 1) / LANES](job);
}

Q8_TARGET_END

const q8_f32_table q8_f32_avx512 = {
    .gemm_name = "avx512 6x64",
    .gemm_mr = ROWS,
    .gemm_nr = 64,
    .gemm_tile = gemm_tile,
    .depthwise = depthwise,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .unary = unary,
    .binary = binary,
    .softmax = softmax,
    .layer_norm = layer_norm,
    .lerp = lerp,
    .sum = sum,
};

#endif
