/* x86_vec_avx2.c - whatever walks a row of codes, 8 codes at a time. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma")

#include "x86_lanes256.inc"
#include "x86_vec.inc"

static void add(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params)
{
    if (n == 0)
        return;
    if (b_is_scalar)
        add_rows(n, a, b, 1, y, params);
    else
        add_rows(n, a, b, 0, y, params);
}

static int32_t sum(size_t n, const uint8_t *x)
{
    __m256i total = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i codes = _mm256_loadu_si256((const __m256i *)(x + i));
        total = _mm256_add_epi64(total, _mm256_sad_epu8(codes, _mm256_setzero_si256()));
    }
    uint64_t lane[4];
    _mm256_storeu_si256((__m256i *)lane, total);
    uint64_t rest = lane[0] + lane[1] + lane[2] + lane[3];
    for (; i < n; i++)
        rest += x[i];
    return (int32_t)(uint32_t)rest;
}

/* Looking up a code: its lower half among 16 entries, each further bit between two such results. */
typedef struct {
    __m256i low_half, bit_4, bit_5, bit_6, bit_7; /* bits as the top bits of their bytes */
} look_up;

X86_INLINE __m256i among_16(const uint8_t *table, const look_up *x)
{
    const __m128i entries = _mm_loadu_si128((const __m128i *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), x->low_half);
}

X86_INLINE __m256i among_32(const uint8_t *table, const look_up *x)
{
    return _mm256_blendv_epi8(among_16(table, x), among_16(table + 16, x), x->bit_4);
}

X86_INLINE __m256i among_64(const uint8_t *table, const look_up *x)
{
    return _mm256_blendv_epi8(among_32(table, x), among_32(table + 32, x), x->bit_5);
}

X86_INLINE __m256i among_128(const uint8_t *table, const look_up *x)
{
    return _mm256_blendv_epi8(among_64(table, x), among_64(table + 64, x), x->bit_6);
}

X86_INLINE __m256i among_256(const uint8_t *table, __m256i codes)
{
    const look_up x = {_mm256_and_si256(codes, _mm256_set1_epi8(15)),
                       _mm256_slli_epi16(codes, 3), _mm256_slli_epi16(codes, 2),
                       _mm256_slli_epi16(codes, 1), codes};
    return _mm256_blendv_epi8(among_128(table, &x), among_128(table + 128, &x), x.bit_7);
}

/* Two times 16 codes. y may be x, and the two may overlap: both are read before one is written. */
X86_INLINE void look_up_halves(const uint8_t *table, const uint8_t *x, uint8_t *y, size_t other)
{
    const __m128i low = _mm_loadu_si128((const __m128i *)x);
    const __m128i high = _mm_loadu_si128((const __m128i *)(x + other));
    const __m256i codes = among_256(table, _mm256_set_m128i(high, low));
    _mm_storeu_si128((__m128i *)y, _mm256_castsi256_si128(codes));
    _mm_storeu_si128((__m128i *)(y + other), _mm256_extracti128_si256(codes, 1));
}

/* Rows are those of a tile, mostly: of 16 codes they go in pairs, of 24 by their two ends. */
static void table(size_t rows, size_t n, const uint8_t *x, uint8_t *y, size_t step,
                  const uint8_t *table)
{
    for (; n == 16 && rows >= 2; rows -= 2, x += 2 * step, y += 2 * step)
        look_up_halves(table, x, y, step);
    for (size_t row = 0; row < rows; row++, x += step, y += step) {
        size_t i = 0;
        for (; i + 32 <= n; i += 32) {
            __m256i codes = among_256(table, _mm256_loadu_si256((const __m256i *)(x + i)));
            _mm256_storeu_si256((__m256i *)(y + i), codes);
        }
        if (n - i >= 16) {
            look_up_halves(table, x + i, y + i, n - i - 16);
            i = n;
        }
        for (; i < n; i++)
            y[i] = table[x[i]];
    }
}

/* Three vectors of the result take their bytes from every plane: what shuffle[vector][plane] leaves
 * out is 0. */
static void interleave_3(size_t n, const uint8_t *x, size_t x_step, uint8_t *y)
{
    static const int8_t shuffle[3][3][16] = {
        {{0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5},
         {-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1},
         {-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1}},
        {{-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1},
         {5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10},
         {-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1}},
        {{-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1},
         {-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1},
         {10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15}},
    };
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m128i a = _mm_loadu_si128((const __m128i *)(x + i));
        const __m128i b = _mm_loadu_si128((const __m128i *)(x + x_step + i));
        const __m128i c = _mm_loadu_si128((const __m128i *)(x + 2 * x_step + i));
        for (size_t v = 0; v < 3; v++) {
            const __m128i *from = (const __m128i *)shuffle[v];
            __m128i mixed = _mm_or_si128(_mm_shuffle_epi8(a, _mm_loadu_si128(from)),
                                         _mm_shuffle_epi8(b, _mm_loadu_si128(from + 1)));
            mixed = _mm_or_si128(mixed, _mm_shuffle_epi8(c, _mm_loadu_si128(from + 2)));
            _mm_storeu_si128((__m128i *)(y + 3 * i + 16 * v), mixed);
        }
    }
    q8_vec_scalar.interleave_3(n - i, x + i, x_step, y + 3 * i);
}

static void bins(size_t n, const float *x, double scale, int32_t half, int32_t *bins)
{
    const __m256d factor = _mm256_set1_pd(scale);
    const __m256d least = _mm256_set1_pd(-half), most = _mm256_set1_pd(half - 1);
    const __m128i middle = _mm_set1_epi32(half);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        __m256d place = _mm256_mul_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i)), factor);
        place = _mm256_min_pd(_mm256_max_pd(place, least), most); /* of NaN the second one */
        __m128i found = _mm256_cvttpd_epi32(_mm256_floor_pd(place));
        _mm_storeu_si128((__m128i *)(void *)(bins + i), _mm_add_epi32(found, middle));
    }
    q8_vec_scalar.bins(n - i, x + i, scale, half, bins + i);
}

Q8_TARGET_END

const q8_vec_table q8_vec_avx2 = {
    .quantize = quantize,
    .quantize_scaled = quantize_scaled,
    .dequantize = dequantize,
    .requantize = requantize,
    .accumulators_to_f32 = accumulators_to_f32,
    .table = table,
    .interleave_3 = interleave_3,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .bins = bins,
    .sum = sum,
    .lerp = lerp,
};

#endif
