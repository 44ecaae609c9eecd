/* requant.h - the one rounding rule, used by the scalar kernels and by every tail loop.
 *
 * code = clamp(rint(value) + zero_point, low, high): round half to even, then add the zero point,
 * then saturate (docs/numerics.md). The clamp happens in float before the conversion, because a
 * float out of the integer's range converts to different integers on x86 and Arm. Written with the
 * value first, a NaN gives the low end, as x86 maxps and NEON vmaxnm do when told so. */
#ifndef Q8_REQUANT_H
#define Q8_REQUANT_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels.h"

/* value in code units without the zero point; low and high are codes, low <= high, both within
 * +-2^16 of zero_point so that their difference to it is exact in float. */
static inline int32_t q8_round_to_code(float value, int32_t zero_point, int32_t low, int32_t high)
{
    float lower = (float)(low - zero_point);
    float upper = (float)(high - zero_point);
    value = value > lower ? value : lower;
    value = value < upper ? value : upper;
    return (int32_t)rintf(value) + zero_point;
}

static inline uint8_t q8_requantize(int32_t acc, float multiplier, int32_t zero_point, int32_t low,
                                    int32_t high)
{
    return (uint8_t)q8_round_to_code((float)acc * multiplier, zero_point, low, high);
}

/* Small sums. The bits of a float of 2^23 and above, below 2^24, count its distance from 2^23: an
 * accumulator that begins at bias + MANTISSA_BITS is, as a float, 2^23 + acc for every acc in
 * 0..2^23-1, and fma(that, multiplier, -2^23 * multiplier) is (float)acc * multiplier, rounded once,
 * since the product with 2^23 is exact. Below 0 the result is negative, above 2^23 it is no smaller
 * than the truth: where there is neither zero point nor limit but those of a byte, all that is
 * needed is that the truth is then above 255 and the result fits int32. Hence sums are small if
 *     every |acc| < 2^26, every multiplier is in 0..1, and
 *     every |acc| < 2^23 or every multiplier >= 2^-15. */
#define MANTISSA_BITS 0x4b000000
#define MANTISSA_START 0x1p23f

static inline bool q8_are_small(double largest, float multiplier)
{
    return largest < 0x1p26 && multiplier >= 0.0f && multiplier <= 1.0f &&
           (largest < 0x1p23 || multiplier >= 0x1p-15f);
}

/* The code of a sum of two codes: two products, then their sum, each rounded. */
static inline uint8_t q8_add_codes(int32_t a, int32_t b, const q8_binary_params *params)
{
    float left = (float)(a - params->a_zero_point) * params->a_multiplier;
    float right = (float)(b - params->b_zero_point) * params->b_multiplier;
    return (uint8_t)q8_round_to_code(left + right, params->zero_point, params->low, params->high);
}

#endif
