/* x86_conv_avx2.c - depthwise convolution and pooling of codes, 32 channels at a time. */
#include "kernels.h"
#include "requant.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "target.h"
#include "x86_conv_window.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma")

#include "x86_lanes256.inc"
#include "x86_bytes256.inc"

X86_INLINE __m256i load_32(const void *p, size_t count)
{
    if (count == 32)
        return _mm256_loadu_si256(p);
    if (count % 4 == 0) /* as the channels of most networks are */
        return _mm256_maskload_epi32(p, first_lanes(count / 4));
    char bytes[32] = {0};
    memcpy(bytes, p, count);
    return _mm256_loadu_si256((const __m256i *)bytes);
}

X86_INLINE void store_32(void *p, __m256i v, size_t count)
{
    if (count == 32) {
        _mm256_storeu_si256(p, v);
        return;
    }
    __m128i bytes = _mm256_castsi256_si128(v);
    if (count >= 16) {
        _mm_storeu_si128(p, bytes);
        p = (char *)p + 16;
        bytes = _mm256_extracti128_si256(v, 1);
        count -= 16;
    }
    store_first_bytes(p, bytes, count);
}

/* The even and the odd bytes of a vector, widened: without a dot-product instruction, vpmaddwd
 * multiplies each half with the codes' half. */
typedef struct {
    __m256i even, odd;
} weights_32_bytes;

X86_INLINE weights_32_bytes weights_of_32(__m256i v)
{
    return (weights_32_bytes){_mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8),
                              _mm256_srai_epi16(v, 8)};
}

X86_INLINE __m256i dot_32(__m256i sum, __m256i x, weights_32_bytes w)
{
    __m256i even = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
    __m256i odd = _mm256_srli_epi16(x, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even, w.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(odd, w.odd));
}

#define NAME(name) name##_32
#define VECTOR __m256i
#define BYTES 32
#define FLOATS __m256
#define WEIGHTS weights_32_bytes
#define WIDENS_CODES
#include "x86_conv.inc"

static void depthwise(const q8_depthwise_job *job)
{
    depthwise_window window;
    const depthwise_window *found = find_window(job, &window) ? &window : NULL;
    size_t c = 0;
    for (; c + 32 <= job->channels; c += 32)
        depthwise_group_32(job, found, c, 32);
    if (c < job->channels)
        depthwise_group_32(job, found, c, job->channels - c);
}

enum { LEAST_PACKED = 4 };

/* Pixels begin .. end - 1 of a job. */
X86_INLINE q8_depthwise_lines_job some_pixels(const q8_depthwise_lines_job *job, int64_t begin,
                                              int64_t end)
{
    q8_depthwise_lines_job some = *job;
    some.first += begin;
    some.y += (size_t)begin * job->y_step;
    some.pixels = (size_t)(end - begin);
    return some;
}

/* 3x3 of stride 1 and 4, 8 or 16 channels: of pixels that are neighbours in memory a vector takes
 * as many as it holds, with all numbers repeated for each; only those at the edges go alone. False
 * if the job is none of these. */
static bool lines_packed(const q8_depthwise_lines_job *job)
{
    const size_t channels = job->channels;
    if (job->kernel != 3 || job->stride != 1 || channels < LEAST_PACKED || channels >= 32 ||
        32 % channels || job->x_step != channels || job->y_step != channels)
        return false;
    const int64_t width = (int64_t)job->width, pixels = (int64_t)job->pixels;
    const int64_t begin = job->first < 0 ? -job->first : 0;
    const int64_t last = width - 2 - job->first, end = last < pixels ? last : pixels;
    if (end - begin < (int64_t)(32 / channels))
        return false;
    int8_t w[9 * 32];
    int32_t bias[32];
    float multiplier[32];
    uint8_t padding[32];
    for (size_t i = 0; i < 32; i++) {
        for (size_t tap = 0; tap < 9; tap++)
            w[tap * 32 + i] = job->w[tap * channels + i % channels];
        bias[i] = job->bias[i % channels];
        multiplier[i] = job->multiplier[i % channels];
        padding[i] = job->padding[i % channels];
    }
    q8_depthwise_lines_job packed = some_pixels(job, begin, end);
    packed.channels = 32;
    packed.w = w;
    packed.bias = bias;
    packed.multiplier = multiplier;
    packed.padding = padding;
    lines_whole_32(&packed, 0);
    const q8_depthwise_lines_job left = some_pixels(job, 0, begin);
    const q8_depthwise_lines_job right = some_pixels(job, end, pixels);
    lines_part_32(&left, 0, channels);
    lines_part_32(&right, 0, channels);
    return true;
}

/* The last group overlaps the one before. */
static void depthwise_lines(const q8_depthwise_lines_job *job)
{
    const size_t channels = job->channels;
    size_t c = 0;
    if (lines_packed(job))
        return;
    for (; c + 32 <= channels; c += 32)
        lines_whole_32(job, c);
    if (c && c < channels)
        lines_whole_32(job, channels - 32);
    else if (c < channels)
        lines_part_32(job, c, channels);
}

static void gate(const q8_gate_job *job)
{
    size_t c = 0;
    for (; c + 32 <= job->channels; c += 32)
        gate_group_32(job, c, 32);
    if (c < job->channels)
        gate_group_32(job, c, job->channels - c);
}

static void max_pool(const q8_pool_job *job)
{
    size_t c = 0;
    for (; c + 32 <= job->channels; c += 32)
        max_pool_group_32(job, c, 32);
    if (c < job->channels)
        max_pool_group_32(job, c, job->channels - c);
}

static void average_pool(const q8_pool_job *job)
{
    size_t c = 0;
    for (; c + 32 <= job->channels; c += 32)
        average_pool_group_32(job, c, 32);
    if (c < job->channels)
        average_pool_group_32(job, c, job->channels - c);
}

Q8_TARGET_END

const q8_conv_table q8_conv_avx2 = {
    .depthwise = depthwise,
    .depthwise_lines = depthwise_lines,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .gate = gate,
};

#endif
