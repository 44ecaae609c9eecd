/* x86_conv_avx512.c - depthwise convolution and pooling of codes with vpdpbusd, 64 channels at a
 * time and 32 where no more are left. */
#include "kernels.h"
#include "requant.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "target.h"
#include "x86_conv_window.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

X86_INLINE __m512i load_64(const void *p, size_t count)
{
    return count == 64 ? _mm512_loadu_si512(p)
                       : _mm512_maskz_loadu_epi8(((__mmask64)1 << count) - 1, p);
}

X86_INLINE void store_64(void *p, __m512i v, size_t count)
{
    if (count == 64)
        _mm512_storeu_si512(p, v);
    else
        _mm512_mask_storeu_epi8(p, ((__mmask64)1 << count) - 1, v);
}

X86_INLINE __m512i zero_64(void) { return _mm512_setzero_si512(); }
X86_INLINE __m512i bytes_of_64(char x) { return _mm512_set1_epi8(x); }
X86_INLINE __m512i words_of_64(int16_t x) { return _mm512_set1_epi16(x); }
X86_INLINE __m512i ints_of_64(int32_t x) { return _mm512_set1_epi32(x); }
X86_INLINE __m512 floats_of_64(float x) { return _mm512_set1_ps(x); }
X86_INLINE __m512i low_8_64(__m512i a, __m512i b) { return _mm512_unpacklo_epi8(a, b); }
X86_INLINE __m512i high_8_64(__m512i a, __m512i b) { return _mm512_unpackhi_epi8(a, b); }
X86_INLINE __m512i low_16_64(__m512i a, __m512i b) { return _mm512_unpacklo_epi16(a, b); }
X86_INLINE __m512i high_16_64(__m512i a, __m512i b) { return _mm512_unpackhi_epi16(a, b); }
X86_INLINE __m512i maximum_64(__m512i a, __m512i b) { return _mm512_max_epu8(a, b); }
X86_INLINE __m512i minimum_64(__m512i a, __m512i b) { return _mm512_min_epu8(a, b); }
X86_INLINE __m512 difference_64(__m512i a, __m512i b)
{
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(a, b));
}
X86_INLINE __m512i gated_64(__m512i x, __m512 factor, __m512 added, __m512 multiplier)
{
    __m512 product = _mm512_fmadd_ps(_mm512_cvtepi32_ps(x), factor, added);
    return _mm512_cvtps_epi32(_mm512_mul_ps(product, multiplier));
}
X86_INLINE __m512i to_ints_64(__m512i sum, __m512 multiplier)
{
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier));
}
X86_INLINE __m512i mantissas_64(__m512i v)
{
    return _mm512_add_epi32(v, _mm512_set1_epi32(MANTISSA_BITS));
}
X86_INLINE __m512i small_to_ints_64(__m512i sum, __m512 multiplier, __m512 start)
{
    return _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_castsi512_ps(sum), multiplier, start));
}
X86_INLINE __m512i weights_of_64(__m512i v) { return v; }
X86_INLINE __m512i dot_64(__m512i sum, __m512i x, __m512i w)
{
    return _mm512_dpbusd_epi32(sum, x, w);
}

/* Only the upper limit needs a clamp in float: everything below the range of int32, and NaN,
 * converts to INT32_MIN, which the saturating packs take to 0 and max_epu8 to the low end. */
X86_INLINE __m512i to_codes_64(__m512i sum, __m512 multiplier, __m512 upper)
{
    __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), multiplier);
    return _mm512_cvtps_epi32(_mm512_min_ps(upper, value));
}

X86_INLINE __m512i pack_codes_64(const __m512i code[4], __m512i zero_point, __m512i low)
{
    __m512i left = _mm512_adds_epi16(_mm512_packs_epi32(code[0], code[1]), zero_point);
    __m512i right = _mm512_adds_epi16(_mm512_packs_epi32(code[2], code[3]), zero_point);
    return _mm512_max_epu8(_mm512_packus_epi16(left, right), low);
}

X86_INLINE __m512i pack_plain_64(const __m512i code[4])
{
    return _mm512_packus_epi16(_mm512_packs_epi32(code[0], code[1]),
                               _mm512_packs_epi32(code[2], code[3]));
}

/* Swaps the roles of vector and 128-bit slice: between the order of memory and that of sums. */
X86_INLINE void swap_slices(const __m512i v[4], __m512i to[4])
{
    __m512i low_01 = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
    __m512i high_01 = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    __m512i low_23 = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
    __m512i high_23 = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    to[0] = _mm512_shuffle_i32x4(low_01, low_23, 0x88);
    to[1] = _mm512_shuffle_i32x4(low_01, low_23, 0xdd);
    to[2] = _mm512_shuffle_i32x4(high_01, high_23, 0x88);
    to[3] = _mm512_shuffle_i32x4(high_01, high_23, 0xdd);
}

X86_INLINE void load_channels_64(const int32_t *p, size_t count, __m512i to[4])
{
    const uint64_t wanted = count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
    __m512i v[4];
    v[0] = _mm512_maskz_loadu_epi32((__mmask16)wanted, p);
    v[1] = _mm512_maskz_loadu_epi32((__mmask16)(wanted >> 16), p + 16);
    v[2] = _mm512_maskz_loadu_epi32((__mmask16)(wanted >> 32), p + 32);
    v[3] = _mm512_maskz_loadu_epi32((__mmask16)(wanted >> 48), p + 48);
    swap_slices(v, to);
}

X86_INLINE void store_channels_64(int32_t *p, const __m512i from[4], size_t count)
{
    const uint64_t wanted = count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
    __m512i v[4];
    swap_slices(from, v);
    _mm512_mask_storeu_epi32(p, (__mmask16)wanted, v[0]);
    _mm512_mask_storeu_epi32(p + 16, (__mmask16)(wanted >> 16), v[1]);
    _mm512_mask_storeu_epi32(p + 32, (__mmask16)(wanted >> 32), v[2]);
    _mm512_mask_storeu_epi32(p + 48, (__mmask16)(wanted >> 48), v[3]);
}

#define NAME(name) name##_64
#define VECTOR __m512i
#define BYTES 64
#define FLOATS __m512
#define WEIGHTS __m512i
#include "x86_conv.inc"

#include "x86_lanes256.inc"
#include "x86_bytes256.inc"

X86_INLINE __m256i load_32(const void *p, size_t count)
{
    if (count == 32)
        return _mm256_loadu_si256(p);
    return _mm256_maskz_loadu_epi8((__mmask32)(((uint64_t)1 << count) - 1), p);
}

X86_INLINE void store_32(void *p, __m256i v, size_t count)
{
    if (count == 32)
        _mm256_storeu_si256(p, v);
    else
        _mm256_mask_storeu_epi8(p, (__mmask32)(((uint64_t)1 << count) - 1), v);
}

X86_INLINE __m256i weights_of_32(__m256i v) { return v; }
X86_INLINE __m256i dot_32(__m256i sum, __m256i x, __m256i w)
{
    return _mm256_dpbusd_epi32(sum, x, w);
}

#define NAME(name) name##_32
#define VECTOR __m256i
#define BYTES 32
#define FLOATS __m256
#define WEIGHTS __m256i
#include "x86_conv.inc"

static void depthwise(const q8_depthwise_job *job)
{
    depthwise_window window;
    const depthwise_window *found = find_window(job, &window) ? &window : NULL;
    size_t c = 0;
    for (; c + 64 <= job->channels; c += 64)
        depthwise_group_64(job, found, c, 64);
    if (c + 32 < job->channels)
        depthwise_group_64(job, found, c, job->channels - c);
    else if (c < job->channels)
        depthwise_group_32(job, found, c, job->channels - c);
}

/* The last group overlaps the one before where that spares a group of few channels. */
static void depthwise_lines(const q8_depthwise_lines_job *job)
{
    const size_t channels = job->channels;
    size_t c = 0;
    for (; c + 64 <= channels; c += 64)
        lines_whole_64(job, c);
    const size_t left = channels - c;
    if (left > 32 && c)
        lines_whole_64(job, channels - 64);
    else if (left > 32)
        lines_part_64(job, c, left);
    else if (left && channels >= 32)
        lines_whole_32(job, channels - 32);
    else if (left)
        lines_part_32(job, c, left);
}

static void gate(const q8_gate_job *job)
{
    size_t c = 0;
    for (; c + 64 <= job->channels; c += 64)
        gate_group_64(job, c, 64);
    if (c + 32 < job->channels)
        gate_group_64(job, c, job->channels - c);
    else if (c < job->channels)
        gate_group_32(job, c, job->channels - c);
}

static void max_pool(const q8_pool_job *job)
{
    size_t c = 0;
    for (; c + 64 <= job->channels; c += 64)
        max_pool_group_64(job, c, 64);
    if (c < job->channels)
        max_pool_group_64(job, c, job->channels - c);
}

static void average_pool(const q8_pool_job *job)
{
    size_t c = 0;
    for (; c + 64 <= job->channels; c += 64)
        average_pool_group_64(job, c, 64);
    if (c < job->channels)
        average_pool_group_64(job, c, job->channels - c);
}

Q8_TARGET_END

const q8_conv_table q8_conv_avx512 = {
    .depthwise = depthwise,
    .depthwise_lines = depthwise_lines,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .gate = gate,
};

#endif
