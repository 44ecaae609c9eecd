/* x86_vec_avx2.c - whatever walks a row of codes, 8 codes at a time. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

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

Q8_TARGET_END

const q8_vec_table q8_vec_avx2 = {
    .quantize = quantize,
    .dequantize = dequantize,
    .requantize = requantize,
    .accumulators_to_f32 = accumulators_to_f32,
    .table = NULL,
    .interleave_3 = interleave_3,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .sum = sum,
    .lerp = lerp,
};

#endif
