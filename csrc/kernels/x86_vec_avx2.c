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

Q8_TARGET_END

const q8_vec_table q8_vec_avx2 = {
    .quantize = quantize,
    .dequantize = dequantize,
    .requantize = requantize,
    .accumulators_to_f32 = accumulators_to_f32,
    .table = NULL,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .sum = sum,
    .lerp = lerp,
};

#endif
