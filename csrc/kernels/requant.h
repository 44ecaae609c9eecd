/* requant.h - the one rounding rule, used by the scalar kernels and by every tail loop.
 *
 * code = clamp(rint(value) + zero_point, low, high): round half to even, then add the zero point,
 * then saturate (docs/numerics.md). The clamp happens in float before the conversion, because a
 * float out of the integer's range converts to different integers on x86 and Arm. Written with the
 * value first, a NaN gives the low end, as x86 maxps and NEON vmaxnm do when told so. */
#ifndef Q8_REQUANT_H
#define Q8_REQUANT_H

#include <math.h>
#include <stdint.h>

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

#endif
