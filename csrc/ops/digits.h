/* digits.h - floats as two digits of eight bits, for products with int8 weights.
 *
 *     x = (high + low / 256) * unit,  high and low codes less 128, unit = the greatest |x| / 127
 *
 * Two rows of codes stand for one of floats; what is lost is far below what int8 weights have lost. */
#ifndef Q8_DIGITS_H
#define Q8_DIGITS_H

#include "ops.h"

/* Both digits of a row, and what a unit stands for. */
float q8_digits_of_row(const q8_kernels *kernels, size_t n, const float *x, uint8_t *high,
                       uint8_t *low);

/* y = (high + low / 256) * unit * scale + bias, of accumulators. */
typedef struct {
    size_t n;
    const int32_t *high, *low;
    float unit;
    const float *scale, *bias; /* [n]; bias NULL: none */
    float *room;               /* for n */
    float *y;
} q8_digits_job;
void q8_join_digits(const q8_kernels *kernels, const q8_digits_job *job);

#endif
