/* pack_bytes.h - 16 bytes at a time of the order in which four neighbours in K stand together.
 *
 * For every CPU of an architecture: SSE2 and NEON are part of x86-64 and aarch64. */
#ifndef Q8_PACK_BYTES_H
#define Q8_PACK_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(Q8_SCALAR_ONLY)
#include <emmintrin.h>

#define Q8_HAVE_PACK_BYTES 1

static inline __m128i q8_load_flipped(const int8_t *w, int flip)
{
    return _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)w),
                         _mm_set1_epi8((char)flip));
}

static inline void q8_store_16(uint8_t *to, __m128i bytes)
{
    _mm_storeu_si128((__m128i *)(void *)to, bytes);
}

/* Four rows of K, 16 columns each: to[column][row]. */
static inline void q8_interleave_rows(const int8_t *w, size_t row_step, int flip, uint8_t *to)
{
    const __m128i a = q8_load_flipped(w, flip), b = q8_load_flipped(w + row_step, flip);
    const __m128i c = q8_load_flipped(w + 2 * row_step, flip);
    const __m128i d = q8_load_flipped(w + 3 * row_step, flip);
    const __m128i low_ab = _mm_unpacklo_epi8(a, b), high_ab = _mm_unpackhi_epi8(a, b);
    const __m128i low_cd = _mm_unpacklo_epi8(c, d), high_cd = _mm_unpackhi_epi8(c, d);
    q8_store_16(to, _mm_unpacklo_epi16(low_ab, low_cd));
    q8_store_16(to + 16, _mm_unpackhi_epi16(low_ab, low_cd));
    q8_store_16(to + 32, _mm_unpacklo_epi16(high_ab, high_cd));
    q8_store_16(to + 48, _mm_unpackhi_epi16(high_ab, high_cd));
}

/* Four columns, 16 neighbours in K each: four groups of [column][4], step_bytes apart. */
static inline void q8_interleave_columns(const int8_t *w, size_t column_step, int flip,
                                         uint8_t *to, size_t step_bytes)
{
    const __m128i a = q8_load_flipped(w, flip), b = q8_load_flipped(w + column_step, flip);
    const __m128i c = q8_load_flipped(w + 2 * column_step, flip);
    const __m128i d = q8_load_flipped(w + 3 * column_step, flip);
    const __m128i low_ab = _mm_unpacklo_epi32(a, b), high_ab = _mm_unpackhi_epi32(a, b);
    const __m128i low_cd = _mm_unpacklo_epi32(c, d), high_cd = _mm_unpackhi_epi32(c, d);
    q8_store_16(to, _mm_unpacklo_epi64(low_ab, low_cd));
    q8_store_16(to + step_bytes, _mm_unpackhi_epi64(low_ab, low_cd));
    q8_store_16(to + 2 * step_bytes, _mm_unpacklo_epi64(high_ab, high_cd));
    q8_store_16(to + 3 * step_bytes, _mm_unpackhi_epi64(high_ab, high_cd));
}

/* sums[column] of 16 columns: the sums of what stands in [step][column][4], step_bytes apart. */
static inline void q8_sum_fours(const uint8_t *from, size_t steps, size_t step_bytes, int32_t *sums)
{
    const __m128i ones = _mm_set1_epi16(1);
    __m128i sum[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(),
                      _mm_setzero_si128()};
    for (size_t step = 0; step < steps; step++, from += step_bytes)
        for (int i = 0; i < 4; i++) {
            const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(from + 16 * i));
            const __m128i even = _mm_srai_epi16(_mm_slli_epi16(bytes, 8), 8);
            const __m128i pairs = _mm_add_epi16(even, _mm_srai_epi16(bytes, 8));
            sum[i] = _mm_add_epi32(sum[i], _mm_madd_epi16(pairs, ones));
        }
    for (int i = 0; i < 4; i++)
        _mm_storeu_si128((__m128i *)(void *)(sums + 4 * i), sum[i]);
}

#elif defined(__aarch64__) && !defined(Q8_SCALAR_ONLY)
#include <arm_neon.h>

#define Q8_HAVE_PACK_BYTES 1

static inline uint8x16_t q8_load_flipped(const int8_t *w, int flip)
{
    return veorq_u8(vld1q_u8((const uint8_t *)w), vdupq_n_u8((uint8_t)flip));
}

/* Four rows of K, 16 columns each: to[column][row]. */
static inline void q8_interleave_rows(const int8_t *w, size_t row_step, int flip, uint8_t *to)
{
    const uint8x16x4_t rows = {
        {q8_load_flipped(w, flip), q8_load_flipped(w + row_step, flip),
         q8_load_flipped(w + 2 * row_step, flip), q8_load_flipped(w + 3 * row_step, flip)}};
    vst4q_u8(to, rows);
}

/* Four columns, 16 neighbours in K each: four groups of [column][4], step_bytes apart. */
static inline void q8_interleave_columns(const int8_t *w, size_t column_step, int flip,
                                         uint8_t *to, size_t step_bytes)
{
    uint32_t words[4][4];
    for (int column = 0; column < 4; column++)
        vst1q_u8((uint8_t *)words[column], q8_load_flipped(w + (size_t)column * column_step, flip));
    for (int step = 0; step < 4; step++)
        for (int column = 0; column < 4; column++)
            memcpy(to + (size_t)step * step_bytes + 4 * (size_t)column, &words[column][step], 4);
}

/* sums[column] of 16 columns: the sums of what stands in [step][column][4], step_bytes apart. */
static inline void q8_sum_fours(const uint8_t *from, size_t steps, size_t step_bytes, int32_t *sums)
{
    int32x4_t sum[4] = {vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)};
    for (size_t step = 0; step < steps; step++, from += step_bytes)
        for (int i = 0; i < 4; i++)
            sum[i] = vaddq_s32(
                sum[i], vpaddlq_s16(vpaddlq_s8(vld1q_s8((const int8_t *)from + 16 * i))));
    for (int i = 0; i < 4; i++)
        vst1q_s32(sums + 4 * i, sum[i]);
}

#else
#define Q8_HAVE_PACK_BYTES 0
#endif

#endif
