/* x86_vec_avx512.c - whatever walks a row of codes, 16 codes or more at a time. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

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

#include "x86_table512.inc"

/* One operand of an addition. A code under the exponent of 2^23 is the float 2^23 + code, so that
 * subtracting 2^23 + zero_point centres it, exactly. */
typedef struct {
    floats base, factor;
} addend;

X86_INLINE addend addend_of(int32_t zero_point, float multiplier)
{
    return (addend){all_floats(8388608.0f + (float)zero_point), all_floats(multiplier)};
}

/* Codes 4 * quarter .. + 3 of each 128 bits, times the factor. */
X86_INLINE floats scaled_quarter(__m512i codes, int quarter, const addend *operand)
{
    const __m512i exponent = _mm512_set1_epi32(0x4b000000);
    const __m512i order = _mm512_add_epi8(
        _mm512_broadcast_i32x4(_mm_setr_epi32(0, 1, 2, 3)), _mm512_set1_epi32(4 * quarter));
    __m512i bits = _mm512_mask_shuffle_epi8(exponent, 0x1111111111111111, codes, order);
    return (_mm512_castsi512_ps(bits) - operand->base) * operand->factor;
}

/* 64 sums as codes. The packs put the quarters of each 128 bits where they came from, and saturate
 * like a clamp. */
X86_INLINE __m512i add_codes(__m512i a, __m512i b, const addend operands[2], __m512i zero_point)
{
    __m512i code[4];
#define ADD_QUARTER(j)                                                                       \
    code[j] = _mm512_cvtps_epi32(scaled_quarter(a, j, operands) +                            \
                                 scaled_quarter(b, j, operands + 1))
    X86_EACH_4(4, ADD_QUARTER);
#undef ADD_QUARTER
    __m512i left = _mm512_adds_epi16(_mm512_packs_epi32(code[0], code[1]), zero_point);
    __m512i right = _mm512_adds_epi16(_mm512_packs_epi32(code[2], code[3]), zero_point);
    return _mm512_packus_epi16(left, right);
}

static void add_vectors(size_t n, const uint8_t *a, const uint8_t *b, uint8_t *y,
                        const q8_binary_params *params)
{
    const addend operands[2] = {addend_of(params->a_zero_point, params->a_multiplier),
                                addend_of(params->b_zero_point, params->b_multiplier)};
    const __m512i zero_point = _mm512_set1_epi16((int16_t)params->zero_point);
    const __m512i low = _mm512_set1_epi8((char)params->low);
    const __m512i high = _mm512_set1_epi8((char)params->high);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 here = n - i < 64 ? ((__mmask64)1 << (n - i)) - 1 : ~(__mmask64)0;
        __m512i sum = add_codes(_mm512_maskz_loadu_epi8(here, a + i),
                                _mm512_maskz_loadu_epi8(here, b + i), operands, zero_point);
        sum = _mm512_min_epu8(_mm512_max_epu8(sum, low), high);
        _mm512_mask_storeu_epi8(y + i, here, sum);
    }
}

static void add(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params)
{
    /* Below this no sum leaves the range of int32. */
    const float most = 4194304.0f;
    const int fits = fabsf(params->a_multiplier) < most && fabsf(params->b_multiplier) < most;
    if (n == 0)
        return;
    if (b_is_scalar)
        add_rows(n, a, b, 1, y, params);
    else if (fits)
        add_vectors(n, a, b, y, params);
    else
        add_rows(n, a, b, 0, y, params);
}

static __m256i eight_bins(const float *x, __m512d scale, __m512d least, __m512d most)
{
    __m512d place = _mm512_mul_pd(_mm512_cvtps_pd(_mm256_loadu_ps(x)), scale);
    place = _mm512_min_pd(_mm512_max_pd(place, least), most); /* of NaN the second one */
    return _mm512_cvt_roundpd_epi32(place, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

static void bins(size_t n, const float *x, double scale, int32_t half, int32_t *bins)
{
    const __m512d factor = _mm512_set1_pd(scale);
    const __m512d least = _mm512_set1_pd(-half), most = _mm512_set1_pd(half - 1);
    const __m256i middle = _mm256_set1_epi32(half);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t j = i; j < i + 16; j += 8) {
            __m256i found = eight_bins(x + j, factor, least, most);
            _mm256_storeu_si256((__m256i *)(void *)(bins + j), _mm256_add_epi32(found, middle));
        }
    q8_vec_scalar.bins(n - i, x + i, scale, half, bins + i);
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
    .quantize_scaled = quantize_scaled,
    .dequantize = dequantize,
    .requantize = requantize,
    .accumulators_to_f32 = accumulators_to_f32,
    .table = table,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .bins = bins,
    .sum = sum,
    .lerp = lerp,
};

#endif
