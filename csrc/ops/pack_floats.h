/* pack_floats.h - four columns of floats whose rows are neighbours, into rows whose columns are.
 *
 * For every CPU of an architecture: SSE2 and NEON are part of x86-64 and aarch64. */
#ifndef Q8_PACK_FLOATS_H
#define Q8_PACK_FLOATS_H

#include <stddef.h>

#define Q8_SQUARE 4

#if defined(__SSE2__) && !defined(Q8_SCALAR_ONLY)
#include <emmintrin.h>

/* to[row * to_step + column] = from[column * from_step + row] * factor */
static inline void q8_pack_square(const float *from, size_t from_step, float factor, float *to,
                                  size_t to_step)
{
    const __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_step);
    const __m128 c = _mm_loadu_ps(from + 2 * from_step), d = _mm_loadu_ps(from + 3 * from_step);
    const __m128 low_ab = _mm_unpacklo_ps(a, b), high_ab = _mm_unpackhi_ps(a, b);
    const __m128 low_cd = _mm_unpacklo_ps(c, d), high_cd = _mm_unpackhi_ps(c, d);
    const __m128 all = _mm_set1_ps(factor);
    _mm_storeu_ps(to, _mm_mul_ps(_mm_movelh_ps(low_ab, low_cd), all));
    _mm_storeu_ps(to + to_step, _mm_mul_ps(_mm_movehl_ps(low_cd, low_ab), all));
    _mm_storeu_ps(to + 2 * to_step, _mm_mul_ps(_mm_movelh_ps(high_ab, high_cd), all));
    _mm_storeu_ps(to + 3 * to_step, _mm_mul_ps(_mm_movehl_ps(high_cd, high_ab), all));
}

#elif defined(__aarch64__) && !defined(Q8_SCALAR_ONLY)
#include <arm_neon.h>

/* to[row * to_step + column] = from[column * from_step + row] * factor */
static inline void q8_pack_square(const float *from, size_t from_step, float factor, float *to,
                                  size_t to_step)
{
    const float32x4x2_t ac = vzipq_f32(vld1q_f32(from), vld1q_f32(from + 2 * from_step));
    const float32x4x2_t bd =
        vzipq_f32(vld1q_f32(from + from_step), vld1q_f32(from + 3 * from_step));
    const float32x4x2_t low = vzipq_f32(ac.val[0], bd.val[0]);
    const float32x4x2_t high = vzipq_f32(ac.val[1], bd.val[1]);
    vst1q_f32(to, vmulq_n_f32(low.val[0], factor));
    vst1q_f32(to + to_step, vmulq_n_f32(low.val[1], factor));
    vst1q_f32(to + 2 * to_step, vmulq_n_f32(high.val[0], factor));
    vst1q_f32(to + 3 * to_step, vmulq_n_f32(high.val[1], factor));
}

#else

/* to[row * to_step + column] = from[column * from_step + row] * factor */
static inline void q8_pack_square(const float *from, size_t from_step, float factor, float *to,
                                  size_t to_step)
{
    for (size_t row = 0; row < Q8_SQUARE; row++)
        for (size_t column = 0; column < Q8_SQUARE; column++)
            to[row * to_step + column] = from[column * from_step + row] * factor;
}

#endif

#endif
