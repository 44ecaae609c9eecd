/* arm_requant.h - requant.h in four lanes: what every NEON kernel rounds and clamps with. */
#ifndef Q8_ARM_REQUANT_H
#define Q8_ARM_REQUANT_H

#include <arm_neon.h>
#include <stdint.h>

/* Loops over a fixed, small count that must leave nothing but registers behind. */
#if defined(__clang__)
#define Q8_UNROLL _Pragma("unroll")
#else
#define Q8_UNROLL _Pragma("GCC unroll 16")
#endif

/* A body that is compiled once per constant argument. */
#define Q8_BODY static inline __attribute__((always_inline))

typedef struct {
    float32x4_t lower, upper; /* codes less the zero point */
    int32x4_t zero_point;
} code_limits;

Q8_BODY code_limits limits_of(int32_t zero_point, int32_t low, int32_t high)
{
    code_limits limits = {
        vdupq_n_f32((float)(low - zero_point)),
        vdupq_n_f32((float)(high - zero_point)),
        vdupq_n_s32(zero_point),
    };
    return limits;
}

/* q8_round_to_code. maxnm takes the number of a number and a quiet NaN, and no arithmetic makes a
 * signalling one: value must be the result of an operation, not what memory held. */
Q8_BODY int32x4_t round_to_code(float32x4_t value, code_limits limits)
{
    value = vminnmq_f32(vmaxnmq_f32(value, limits.lower), limits.upper);
    return vaddq_s32(vcvtnq_s32_f32(value), limits.zero_point);
}

/* q8_requantize */
Q8_BODY int32x4_t requantize(int32x4_t acc, float32x4_t multiplier, code_limits limits)
{
    return round_to_code(vmulq_f32(vcvtq_f32_s32(acc), multiplier), limits);
}

/* Codes are within 0..255 already: the low bytes are the whole of them. */
Q8_BODY uint8x8_t narrow_8(int32x4_t a, int32x4_t b)
{
    return vmovn_u16(vuzp1q_u16(vreinterpretq_u16_s32(a), vreinterpretq_u16_s32(b)));
}

Q8_BODY uint8x16_t narrow_16(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d)
{
    uint16x8_t left = vuzp1q_u16(vreinterpretq_u16_s32(a), vreinterpretq_u16_s32(b));
    uint16x8_t right = vuzp1q_u16(vreinterpretq_u16_s32(c), vreinterpretq_u16_s32(d));
    return vuzp1q_u8(vreinterpretq_u8_u16(left), vreinterpretq_u8_u16(right));
}

#endif
