/* arithmetic.c - sums, products, quotients, rests and bits of integers and doubles, a row at a time.
 *
 * Integers wrap around: the work is done in an unsigned type of at least 32 bits, in which that is
 * defined. Quotients are cut towards 0; division by 0 gives 0, and the least number by -1 itself,
 * as wrapping around has it. A rest by 0 or -1 is 0. */
#include "arithmetic.h"

#define EACH(type, expression)                             \
    for (size_t i = 0; i < n; i++) {                       \
        const type p = a[a_moves ? i : 0];                 \
        const type q = b[b_moves ? i : 0];                 \
        y[i] = (type)(expression);                         \
    }                                                      \
    break

/* quotient, rest, modulo: of p and q, where q is not 0. */
#define INTEGERS(name, type, wide, quotient, rest, modulo)                                       \
    static void name(int op, size_t n, const void *left, bool a_moves, const void *right,        \
                     bool b_moves, void *result)                                                 \
    {                                                                                            \
        const type *a = left, *b = right;                                                        \
        type *y = result;                                                                        \
        switch (op) {                                                                            \
        case Q8_ADD: EACH(type, (wide)p + (wide)q);                                              \
        case Q8_SUB: EACH(type, (wide)p - (wide)q);                                              \
        case Q8_MUL: EACH(type, (wide)p * (wide)q);                                              \
        case Q8_DIV: EACH(type, q ? (quotient) : 0);                                             \
        case Q8_MIN: EACH(type, p < q ? p : q);                                                  \
        case Q8_MAX: EACH(type, p > q ? p : q);                                                  \
        case Q8_MOD: EACH(type, q ? (modulo) : 0);                                               \
        case Q8_REST: EACH(type, q ? (rest) : 0);                                                \
        case Q8_AND: EACH(type, p & q);                                                          \
        case Q8_OR: EACH(type, p | q);                                                           \
        case Q8_XOR: EACH(type, p ^ q);                                                          \
        default: break; /* refused when a step is added */                                       \
        }                                                                                        \
    }

/* The least number by -1 has no quotient that fits, and the rest is 0. */
#define REST(p, q) ((q) == -1 ? 0 : (p) % (q))
/* A rest with the divisor's sign. */
#define MODULO(p, q) \
    (REST(p, q) != 0 && (REST(p, q) < 0) != ((q) < 0) ? REST(p, q) + (q) : REST(p, q))

INTEGERS(of_u8, uint8_t, uint32_t, p / q, p % q, p % q)
INTEGERS(of_u16, uint16_t, uint32_t, p / q, p % q, p % q)
INTEGERS(of_u32, uint32_t, uint32_t, p / q, p % q, p % q)
INTEGERS(of_u64, uint64_t, uint64_t, p / q, p % q, p % q)
INTEGERS(of_s8, int8_t, uint32_t, p / q, REST(p, q), MODULO(p, q))
INTEGERS(of_s16, int16_t, uint32_t, p / q, REST(p, q), MODULO(p, q))
INTEGERS(of_s32, int32_t, uint32_t, q == -1 ? (int32_t)(0u - (uint32_t)p) : p / q, REST(p, q),
         MODULO(p, q))
INTEGERS(of_s64, int64_t, uint64_t, q == -1 ? (int64_t)(0u - (uint64_t)p) : p / q, REST(p, q),
         MODULO(p, q))

static void of_f64(int op, size_t n, const void *left, bool a_moves, const void *right,
                   bool b_moves, void *result)
{
    const double *a = left, *b = right;
    double *y = result;
    switch (op) {
    case Q8_ADD: EACH(double, p + q);
    case Q8_SUB: EACH(double, p - q);
    case Q8_MUL: EACH(double, p * q);
    case Q8_DIV: EACH(double, p / q);
    case Q8_MIN: EACH(double, p != p || p < q ? p : q);
    case Q8_MAX: EACH(double, p != p || p > q ? p : q);
    default: break;
    }
}

q8_arithmetic q8_arithmetic_of(q8_dtype dtype)
{
    static const q8_arithmetic known[] = {
        [Q8_U8] = of_u8,   [Q8_S8] = of_s8,   [Q8_S16] = of_s16, [Q8_U16] = of_u16,
        [Q8_S32] = of_s32, [Q8_U32] = of_u32, [Q8_S64] = of_s64, [Q8_U64] = of_u64,
        [Q8_F64] = of_f64, [Q8_BF16] = NULL};
    return known[dtype];
}
