/* arithmetic.h - rows of integers and doubles (ops/arithmetic.c), for the driver in binary.c. */
#ifndef Q8_ARITHMETIC_H
#define Q8_ARITHMETIC_H

#include "ops.h"

/* y[i] = a[i] op b[i]; an operand that does not move is one element for all. */
typedef void (*q8_arithmetic)(int op, size_t n, const void *a, bool a_moves, const void *b,
                              bool b_moves, void *y);

/* NULL for a type that has none. */
q8_arithmetic q8_arithmetic_of(q8_dtype dtype);
/* y is u8, and op a q8_compare_op (ops/compare.c); NULL likewise. */
q8_arithmetic q8_comparison_of(q8_dtype dtype);

#endif
