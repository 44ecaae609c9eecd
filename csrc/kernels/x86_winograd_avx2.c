/* x86_winograd_avx2.c - 3x3 convolutions of codes by Winograd's F(4x4, 3x3), in 16-bit integers.
 *
 * vpmaddwd multiplies 16-bit numbers anyway, so pixels may as well be transformed where they would be
 * widened: -12750 .. 17340 are the ends of what codes become, +-6272 of what weights do. Then 36
 * plain products, whose tile is that of x86_gemm_avx2.c but for the widening, and the results' own
 * transform, in which everything wraps. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "requant.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma")

typedef int32_t int32x8 __attribute__((vector_size(32)));

#include "x86_lanes256.inc"
#include "x86_gemm_store256.inc"

enum { GRID = Q8_WINOGRAD_GRID, TILE = Q8_WINOGRAD_TILE, PLACES = Q8_WINOGRAD_PLACES,
       COLUMNS = Q8_WINOGRAD_COLUMNS, CHANNELS = Q8_WINOGRAD_CHANNELS, ROWS = 6, PAIR_BYTES = 64 };

/* ---- pixels ---- */

#define ADD _mm256_add_epi16
#define SUBTRACT _mm256_sub_epi16

/* out = B' d, d being a line or a column of 16 channels:
 *     4 0 -5 0 1 0,  0 -4 -4 1 1 0,  0 4 -4 -1 1 0,  0 -2 -1 2 1 0,  0 2 -1 -2 1 0,  0 4 0 -5 0 1 */
X86_INLINE void transform_pixels(const __m256i d[GRID], __m256i out[GRID])
{
    const __m256i far = SUBTRACT(d[4], d[2]);
    const __m256i twice = _mm256_slli_epi16(SUBTRACT(d[3], d[1]), 1);
    const __m256i even = SUBTRACT(d[4], _mm256_slli_epi16(d[2], 2));
    const __m256i odd = SUBTRACT(d[3], _mm256_slli_epi16(d[1], 2));
    out[0] = ADD(_mm256_slli_epi16(SUBTRACT(d[0], d[2]), 2), far);
    out[1] = ADD(even, odd);
    out[2] = SUBTRACT(even, odd);
    out[3] = ADD(far, twice);
    out[4] = SUBTRACT(far, twice);
    out[5] = SUBTRACT(SUBTRACT(d[5], d[3]), _mm256_slli_epi16(twice, 1));
}

#undef ADD
#undef SUBTRACT

static void input(const uint8_t *const *x, size_t channels, int16_t *v, size_t v_step)
{
    for (size_t c = 0; c < channels; c += CHANNELS) {
        __m256i half[GRID][GRID], in[GRID], out[GRID];
        for (size_t column = 0; column < GRID; column++) {
#define LOAD(i)                                                                       \
    in[i] = _mm256_cvtepu8_epi16(                                                     \
        _mm_loadu_si128((const __m128i *)(x[(i) * GRID + column] + c)))
#define KEEP_HALF(i) half[i][column] = out[i]
            X86_EACH_6(GRID, LOAD);
            transform_pixels(in, out);
            X86_EACH_6(GRID, KEEP_HALF);
#undef LOAD
#undef KEEP_HALF
        }
        for (size_t line = 0; line < GRID; line++) {
            int16_t *to = v + line * GRID * v_step + c;
            transform_pixels(half[line], out);
#define STORE(i) _mm256_storeu_si256((__m256i *)(to + (i) * v_step), out[i])
            X86_EACH_6(GRID, STORE);
#undef STORE
        }
    }
}

/* ---- products ---- */

/* Two channels of each row times a step of U. */
X86_INLINE void multiply_pair(int32x8 sum[ROWS][2], const int16_t *const row[ROWS], size_t at,
                              const char *u, size_t rows)
{
    __m256i right[2];
#define LOAD_RIGHT(j) X86_LOAD_256(right[j], u + (j) * 32)
#define ADD_PRODUCT(i, j) X86_ADD_PAIRS_256(sum[i][j], left, right[j])
#define ADD_ROW(i)                                                                            \
    do {                                                                                      \
        __m256i left = _mm256_set1_epi32(*(const x86_unaligned_int32 *)(row[i] + at));          \
        X86_EACH_IN_ROW_2(2, ADD_PRODUCT, i);                                                 \
    } while (0)
    X86_EACH_2(2, LOAD_RIGHT);
    X86_EACH_6(rows, ADD_ROW);
#undef LOAD_RIGHT
#undef ADD_PRODUCT
#undef ADD_ROW
}

/* Some tiles at one place. fetches: 1 fetches the panel of the next place, a line with each step. */
X86_INLINE void multiply_tiles(size_t channels, const int16_t *v, const char *u, int32_t *m,
                               size_t rows, int fetches)
{
    const int16_t *row[ROWS];
    int32x8 sum[ROWS][2];
    size_t at = 0;
#define START(i)                                                       \
    do {                                                               \
        row[i] = v + (i) * channels;                                   \
        sum[i][0] = sum[i][1] = (int32x8)_mm256_setzero_si256();       \
    } while (0)
    X86_EACH_6(rows, START);
#undef START
#define PAIR(i)                                                                   \
    do {                                                                          \
        if (fetches)                                                              \
            __builtin_prefetch(u + channels / 2 * PAIR_BYTES + (i) * PAIR_BYTES, 0, 2); \
        multiply_pair(sum, row, at + 2 * (i), u + (i) * PAIR_BYTES, rows);        \
    } while (0)
    for (; at < channels; at += 8, u += 4 * PAIR_BYTES)
        X86_EACH_4(4, PAIR);
#undef PAIR
#define STORE(i)                                                                            \
    do {                                                                                    \
        _mm256_store_si256((__m256i *)(m + (i) * PLACES * COLUMNS), (__m256i)sum[i][0]);      \
        _mm256_store_si256((__m256i *)(m + (i) * PLACES * COLUMNS + 8), (__m256i)sum[i][1]);  \
    } while (0)
    X86_EACH_6(rows, STORE);
#undef STORE
}

/* The last tiles of a block, fewer than ROWS. */
static void multiply_rest(size_t tiles, size_t channels, const int16_t *v, const char *u, int32_t *m)
{
    switch (tiles) {
    case 1: multiply_tiles(channels, v, u, m, 1, 0); break;
    case 2: multiply_tiles(channels, v, u, m, 2, 0); break;
    case 3: multiply_tiles(channels, v, u, m, 3, 0); break;
    case 4: multiply_tiles(channels, v, u, m, 4, 0); break;
    case 5: multiply_tiles(channels, v, u, m, 5, 0); break;
    default: break;
    }
}

static void product(const q8_winograd_product_job *job)
{
    const size_t channels = job->channels, whole = job->tiles / ROWS * ROWS;
    const char *u = (const char *)job->u;
    for (size_t place = 0; place < PLACES; place++, u += channels / 2 * PAIR_BYTES) {
        const int16_t *v = job->v + place * job->v_step;
        int32_t *m = job->m + place * COLUMNS;
        if (whole > 0)
            multiply_tiles(channels, v, u, m, ROWS, 1);
        for (size_t tile = ROWS; tile < whole; tile += ROWS)
            multiply_tiles(channels, v + tile * channels, u, m + tile * PLACES * COLUMNS, ROWS, 0);
        multiply_rest(job->tiles - whole, channels, v + whole * channels, u,
                      m + whole * PLACES * COLUMNS);
    }
}

/* ---- results ---- */

#define ADD _mm256_add_epi32
#define SUBTRACT _mm256_sub_epi32

/* out = 24 A' m, m being a line or a column of eight output channels:
 *     6 -4 -4 1 1 0,  0 -4 4 2 -2 0,  0 -4 -4 4 4 0,  0 -4 4 8 -8 24 */
X86_INLINE void transform_results(const __m256i m[GRID], __m256i out[TILE])
{
    const __m256i near = _mm256_slli_epi32(ADD(m[1], m[2]), 2);
    const __m256i near_odd = _mm256_slli_epi32(SUBTRACT(m[1], m[2]), 2);
    const __m256i far = ADD(m[3], m[4]);
    const __m256i far_odd = _mm256_slli_epi32(SUBTRACT(m[3], m[4]), 1);
    const __m256i first = _mm256_slli_epi32(ADD(m[0], _mm256_slli_epi32(m[0], 1)), 1);
    const __m256i last = _mm256_slli_epi32(ADD(m[5], _mm256_slli_epi32(m[5], 1)), 3);
    out[0] = ADD(SUBTRACT(first, near), far);
    out[1] = SUBTRACT(far_odd, near_odd);
    out[2] = SUBTRACT(_mm256_slli_epi32(far, 2), near);
    out[3] = ADD(SUBTRACT(_mm256_slli_epi32(far_odd, 2), near_odd), last);
}

/* y of 576 y modulo 2^32 */
X86_INLINE __m256i divide_by_576(__m256i x)
{
    const __m256i inverse_of_9 = _mm256_set1_epi32(0x38e38e39);
    return _mm256_srai_epi32(_mm256_mullo_epi32(x, inverse_of_9), 6);
}

/* 16 columns of a line's pixels. */
X86_INLINE void finish_line(const __m256i half[GRID][2], const int32_t *bias, int32x8 acc[ROWS][2])
{
    for (size_t j = 0; j < 2; j++) {
        const __m256i start = _mm256_loadu_si256((const __m256i *)(bias + j * 8));
        __m256i in[GRID], out[TILE];
#define LOAD(i) in[i] = half[i][j]
#define FINISH(i) acc[i][j] = (int32x8)ADD(divide_by_576(out[i]), start)
        X86_EACH_6(GRID, LOAD);
        transform_results(in, out);
        X86_EACH_4(TILE, FINISH);
#undef LOAD
#undef FINISH
    }
}

#undef ADD
#undef SUBTRACT

static void output(const q8_winograd_output_job *job)
{
    const size_t element = job->end->multiplier ? 1 : sizeof(int32_t);
    __m256i half[TILE][GRID][2];
    q8_gemm_job end = *job->end;
    int32x8 acc[ROWS][2];
    for (size_t column = 0; column < GRID; column++)
        for (size_t j = 0; j < 2; j++) {
            const int32_t *m = job->m + column * COLUMNS + j * 8;
            __m256i in[GRID], out[TILE];
#define LOAD(i) in[i] = _mm256_load_si256((const __m256i *)(m + (i) * GRID * COLUMNS))
#define KEEP_HALF(i) half[i][column][j] = out[i]
            X86_EACH_6(GRID, LOAD);
            transform_results(in, out);
            X86_EACH_4(TILE, KEEP_HALF);
#undef LOAD
#undef KEEP_HALF
        }
    for (size_t line = 0; line < job->lines; line++) {
        finish_line((const __m256i(*)[2])half[line], end.bias, acc);
        end.c = (uint8_t *)job->end->c + line * job->c_line * element;
        end.addend = job->end->addend ? job->end->addend + line * job->addend_line : NULL;
        if (job->pixels == TILE)
            store_tile(&end, acc, TILE, 2);
        for (size_t i = 0; job->pixels < TILE && i < job->pixels; i++) {
            store_tile(&end, acc + i, 1, 2);
            end.c = (uint8_t *)end.c + end.c_step * element;
            end.addend = end.addend ? end.addend + end.addend_step : NULL;
        }
    }
}

Q8_TARGET_END

const q8_winograd_table q8_winograd_avx2 = {.input = input, .product = product, .output = output};

#endif
