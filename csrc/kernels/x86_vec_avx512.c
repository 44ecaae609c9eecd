/* x86_vec_avx512.c - whatever walks a row of codes, 16 codes or more at a time. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

#include "x86_lanes512.inc"
#include "x86_vec.inc"

/* The words at index[i] % 128 of a table of 128 words in four vectors. */
X86_INLINE __m512i look_up_words(const __m512i table[4], __m512i index)
{
    __m512i low = _mm512_permutex2var_epi16(table[0], index, table[1]);
    __m512i high = _mm512_permutex2var_epi16(table[2], index, table[3]);
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(index, _mm512_set1_epi16(64)), low, high);
}

/* Without VBMI there is no shuffle of bytes across a vector, but one of words: word x / 2 of the
 * table holds entry x, in its upper half if x is odd. */
X86_INLINE __m512i look_up(const __m512i table[4], __m512i x)
{
    const __m512i low_byte = _mm512_set1_epi16(0xff), bit_3 = _mm512_set1_epi16(8);
    __m512i even = look_up_words(table, _mm512_srli_epi16(_mm512_and_si512(x, low_byte), 1));
    __m512i odd = look_up_words(table, _mm512_srli_epi16(x, 9));
    /* 8 * (x % 2): how far to shift the entry down, or for odd bytes up */
    __m512i even_shift = _mm512_and_si512(_mm512_slli_epi16(x, 3), bit_3);
    __m512i odd_shift = _mm512_andnot_si512(_mm512_srli_epi16(x, 5), bit_3);
    even = _mm512_srlv_epi16(even, even_shift);
    odd = _mm512_sllv_epi16(odd, odd_shift);
    return _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaa, even, odd);
}

static void table(size_t rows, size_t n, const uint8_t *x, uint8_t *y, size_t step,
                  const uint8_t *table)
{
    const __m512i words[4] = {_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64),
                              _mm512_loadu_si512(table + 128), _mm512_loadu_si512(table + 192)};
    for (size_t row = 0; row < rows; row++, x += step, y += step) {
        size_t i = 0;
        for (; i + 64 <= n; i += 64)
            _mm512_storeu_si512(y + i, look_up(words, _mm512_loadu_si512(x + i)));
        if (i < n) {
            __mmask64 rest = ((__mmask64)1 << (n - i)) - 1;
            __m512i codes = look_up(words, _mm512_maskz_loadu_epi8(rest, x + i));
            _mm512_mask_storeu_epi8(y + i, rest, codes);
        }
    }
}

static int32_t sum(size_t n, const uint8_t *x)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i total = zero;
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        total = _mm512_add_epi64(total, _mm512_sad_epu8(_mm512_loadu_si512(x + i), zero));
    __mmask64 rest = ((__mmask64)1 << (n - i)) - 1;
    total = _mm512_add_epi64(total, _mm512_sad_epu8(_mm512_maskz_loadu_epi8(rest, x + i), zero));
    return (int32_t)_mm512_reduce_add_epi64(total);
}

Q8_TARGET_END

const q8_vec_table q8_vec_avx512 = {
    .quantize = quantize,
    .dequantize = dequantize,
    .requantize = requantize,
    .accumulators_to_f32 = accumulators_to_f32,
    .table = table,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .sum = sum,
    .lerp = lerp,
};

#endif
