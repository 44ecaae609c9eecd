/* x86_lines_avx512vnni.c - 16 columns of a product of codes that become floats, and a function of
 * these, without leaving their registers.
 *
 * Up to 16 rows at a time, a register each, beside six of a curve's coefficients: between product and
 * function nothing is stored. Rows lie behind one another both as codes and as floats, so that a job
 * may be long. The last rows are done together with some before them, once more, rather than alone. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "../q8.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

#include "x86_lanes512.inc"
#include "lane_curves.inc"

enum { MOST = 16, PANEL_STEP = 256 }; /* rows at a time; bytes of a step of K in a panel */

#define EACH_ROW(count, DO)                                                             \
    do {                                                                                \
        X86_EACH_8(count, DO);                                                          \
        if ((count) > 8) { DO(8); DO(9); }                                              \
        if ((count) > 10) { DO(10); DO(11); DO(12); DO(13); }                           \
        if ((count) > 14) { DO(14); DO(15); }                                           \
    } while (0)

typedef int32_t int32x16 __attribute__((vector_size(64)));

/* The sum stays in its register: see x86_gemm_avx512vnni.c. */
X86_INLINE int32x16 multiply_add(int32x16 sum, int32x16 a, int32x16 b)
{
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

/* sum[i] = bias + rows i of a times 16 columns. Four rows share a pointer: there are too few
 * registers for one each. */
X86_INLINE void multiply(const q8_gemm_lines_job *job, const uint8_t *a, int32x16 sum[MOST],
                         size_t rows)
{
    const size_t step = job->a_step;
    const uint8_t *row[MOST / 4] = {a, a + 4 * step, a + 8 * step, a + 12 * step};
    const char *b = job->b;
    const int32x16 bias = (int32x16)_mm512_loadu_si512(job->bias);
#define START(i) sum[i] = bias
    EACH_ROW(rows, START);
#undef START
    for (size_t at = 0; at < job->k; at += 4, b += PANEL_STEP) {
        int32x16 right = (int32x16)_mm512_loadu_si512(b);
        X86_KEEP_512(right);
        __builtin_prefetch(b + job->ahead, 0, 2);
#define ADD(i)                                                                          \
    sum[i] = multiply_add(sum[i],                                                       \
                          (int32x16)_mm512_set1_epi32(*(const x86_unaligned_int32 *)(   \
                              row[i / 4] + i % 4 * step + at)),                         \
                          right)
        EACH_ROW(rows, ADD);
#undef ADD
    }
}

/* As in a q8_finish_job. */
typedef struct {
    floats scale, bias, low, high;
    curve_registers silu;
} ending;

X86_INLINE floats ended(const ending *end, int32x16 sum, bool is_silu)
{
    const floats v = to_floats((ints)sum);
    if (is_silu)
        return along_rough_curve(&end->silu, fused(v, end->scale, end->bias));
    return minimum(maximum(v * end->scale + end->bias, end->low), end->high);
}

/* Where a row of floats goes: `column` of the line at y. */
typedef struct {
    float *line;
    size_t column;
} place;

X86_INLINE place place_of(const q8_gemm_lines_job *job, size_t row)
{
    const uint32_t at = (uint32_t)(job->first + row), length = (uint32_t)job->line_rows;
    return (place){job->y + at / length * job->line_step, at % length};
}

X86_INLINE place behind(const q8_gemm_lines_job *job, place at, size_t rows)
{
    at.column += rows;
    for (; at.column >= job->line_rows; at.column -= job->line_rows)
        at.line += job->line_step;
    return at;
}

/* Rows that do not all fit in their line. */
X86_APART void scatter(const q8_gemm_lines_job *job, place at, const float *rows, size_t count)
{
    for (size_t i = 0; i < count; i++, rows += LANES, at = behind(job, at, 1))
        _mm512_storeu_ps(at.line + at.column * LANES, _mm512_load_ps(rows));
}

X86_INLINE void block(const q8_gemm_lines_job *job, const ending *end, size_t first, place at,
                      size_t rows, bool is_silu)
{
    _Alignas(64) float waiting[MOST * LANES];
    const bool fits = at.column + rows <= job->line_rows;
    float *y = fits ? at.line + at.column * LANES : waiting;
    int32x16 sum[MOST];
    multiply(job, job->a + first * job->a_step, sum, rows);
#define STORE(i) _mm512_storeu_ps(y + i * LANES, ended(end, sum[i], is_silu))
    EACH_ROW(rows, STORE);
#undef STORE
    if (!fits)
        scatter(job, at, waiting, rows);
}

#define BLOCKS(name, count, is_silu)                                                    \
    static void name(const q8_gemm_lines_job *job, const ending *given)                 \
    {                                                                                   \
        const ending end = *given;                                                      \
        place at = place_of(job, 0);                                                    \
        size_t first = 0;                                                               \
        for (; first + (count) <= job->rows; first += (count)) {                        \
            block(job, &end, first, at, (count), is_silu);                              \
            at = behind(job, at, (count));                                              \
        }                                                                               \
        if (first < job->rows)                                                          \
            block(job, &end, job->rows - (count), place_of(job, job->rows - (count)),   \
                  (count), is_silu);                                                    \
    }
BLOCKS(blocks_1, 1, false)
BLOCKS(blocks_8, 8, false)
BLOCKS(blocks_10, 10, false)
BLOCKS(blocks_14, 14, false)
BLOCKS(blocks_16, 16, false)
BLOCKS(silu_1, 1, true)
BLOCKS(silu_8, 8, true)
BLOCKS(silu_10, 10, true)
BLOCKS(silu_14, 14, true)
BLOCKS(silu_16, 16, true)
#undef BLOCKS

static void lines(const q8_gemm_lines_job *job)
{
    static const size_t sizes[] = {1, 8, 10, 14, 16};
    static void (*const makers[2][5])(const q8_gemm_lines_job *, const ending *) = {
        {blocks_1, blocks_8, blocks_10, blocks_14, blocks_16},
        {silu_1, silu_8, silu_10, silu_14, silu_16}};
    const bool is_silu = job->op == Q8_UNARY_SILU;
    const ending end = {.scale = _mm512_loadu_ps(job->scale),
                        .bias = job->float_bias ? _mm512_loadu_ps(job->float_bias)
                                                : all_floats(-0.0f),
                        .low = all_floats(job->low),
                        .high = all_floats(job->high),
                        .silu = curve_of(&q8_rough_silu_curve)};
    size_t best = 0, least = SIZE_MAX;
    for (size_t i = 0; i < 5; i++) {
        const size_t done = (job->rows + sizes[i] - 1) / sizes[i] * sizes[i];
        if (job->rows >= sizes[i] && (sizes[i] > 1 ? done : 4 * done) <= least) {
            least = sizes[i] > 1 ? done : 4 * done;
            best = i;
        }
    }
    makers[is_silu][best](job, &end);
}

Q8_TARGET_END

void q8_lines_avx512vnni(const q8_gemm_lines_job *job)
{
    lines(job);
}

#endif
