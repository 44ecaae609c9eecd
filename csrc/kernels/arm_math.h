/* arm_math.h - exp, expm1, tanh and erf of four floats.
 *
 * Polynomials of exp and tanh: Cephes (Moshier), expf.c and tanhf.c. NaN stays NaN throughout:
 * vmaxq and vminq, unlike vmaxnmq, hand it on. */
#ifndef Q8_ARM_MATH_H
#define Q8_ARM_MATH_H

#include "arm_requant.h"

/* x = power * ln 2 + rest, |rest| <= ln 2 / 2; e^x - 1 = 2^power * (e^rest - 1) + 2^power - 1. */
typedef struct {
    float32x4_t tail;                   /* e^rest - 1 */
    float32x4_t half_scale, other_half; /* their product is 2^power, which alone may overflow */
} exp_parts;

/* 2^power for -126 <= power <= 127 */
Q8_BODY float32x4_t power_of_two(int32x4_t power)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(power, vdupq_n_s32(127)), 23));
}

Q8_BODY exp_parts split_exp(float32x4_t x)
{
    /* Beyond these e^x is 0 or infinite; between them 2^power is a product of two floats. */
    x = vminq_f32(vmaxq_f32(x, vdupq_n_f32(-105)), vdupq_n_f32(90));
    float32x4_t power = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(1.44269504f)));
    float32x4_t rest = vfmsq_f32(x, power, vdupq_n_f32(0x1.62e43p-1f)); /* ln 2 in two parts */
    rest = vfmsq_f32(rest, power, vdupq_n_f32(-0x1.05c61p-29f));
    float32x4_t sum = vdupq_n_f32(1.9875691500e-4f);
    sum = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), sum, rest);
    sum = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), sum, rest);
    sum = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), sum, rest);
    sum = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), sum, rest);
    sum = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), sum, rest);
    int32x4_t whole = vcvtq_s32_f32(power);
    int32x4_t half = vshrq_n_s32(whole, 1);
    exp_parts parts = {
        vfmaq_f32(rest, vmulq_f32(rest, rest), sum),
        power_of_two(half),
        power_of_two(vsubq_s32(whole, half)),
    };
    return parts;
}

/* Within 1 ULP. */
Q8_BODY float32x4_t exp_four(float32x4_t x)
{
    exp_parts parts = split_exp(x);
    float32x4_t value = vaddq_f32(parts.tail, vdupq_n_f32(1));
    return vmulq_f32(vmulq_f32(value, parts.half_scale), parts.other_half);
}

/* For x <= 0; within 1 ULP. */
Q8_BODY float32x4_t expm1_four(float32x4_t x)
{
    exp_parts parts = split_exp(x);
    float32x4_t scale = vmulq_f32(parts.half_scale, parts.other_half);
    return vfmaq_f32(vsubq_f32(scale, vdupq_n_f32(1)), parts.tail, scale);
}

Q8_BODY float32x4_t with_sign_of(float32x4_t magnitude, float32x4_t sign)
{
    return vbslq_f32(vdupq_n_u32(0x80000000), sign, magnitude);
}

/* A polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel. Within 2 ULP. */
Q8_BODY float32x4_t tanh_four(float32x4_t x)
{
    float32x4_t one = vdupq_n_f32(1), size = vabsq_f32(x), square = vmulq_f32(x, x);
    float32x4_t near = vdupq_n_f32(-5.70498872745e-3f);
    near = vfmaq_f32(vdupq_n_f32(2.06390887954e-2f), near, square);
    near = vfmaq_f32(vdupq_n_f32(-5.37397155531e-2f), near, square);
    near = vfmaq_f32(vdupq_n_f32(1.33314422036e-1f), near, square);
    near = vfmaq_f32(vdupq_n_f32(-3.33332819422e-1f), near, square);
    near = vfmaq_f32(x, vmulq_f32(near, square), x);
    float32x4_t power = exp_four(vaddq_f32(size, size));
    float32x4_t far = vsubq_f32(one, vdivq_f32(vdupq_n_f32(2), vaddq_f32(power, one)));
    float32x4_t value = vbslq_f32(vcltq_f32(size, vdupq_n_f32(0.625f)), near, far);
    return with_sign_of(value, x);
}

/* Abramowitz and Stegun 7.1.26: within 6e-7 of erf(x), rounding included. */
Q8_BODY float32x4_t erf_four(float32x4_t x)
{
    float32x4_t one = vdupq_n_f32(1), size = vabsq_f32(x);
    float32x4_t t = vdivq_f32(one, vfmaq_f32(one, size, vdupq_n_f32(0.3275911f)));
    float32x4_t sum = vdupq_n_f32(1.061405429f);
    sum = vfmaq_f32(vdupq_n_f32(-1.453152027f), sum, t);
    sum = vfmaq_f32(vdupq_n_f32(1.421413741f), sum, t);
    sum = vfmaq_f32(vdupq_n_f32(-0.284496736f), sum, t);
    sum = vfmaq_f32(vdupq_n_f32(0.254829592f), sum, t);
    float32x4_t power = exp_four(vnegq_f32(vmulq_f32(size, size)));
    return with_sign_of(vfmsq_f32(one, vmulq_f32(sum, t), power), x);
}

#endif
