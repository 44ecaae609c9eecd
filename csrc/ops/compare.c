/* compare.c - which of two elements is less, or whether they are equal, a row at a time. */
#include "arithmetic.h"

#define EACH(expression)                                     \
    for (size_t i = 0; i < n; i++)                           \
        y[i] = a[a_moves ? i : 0] expression b[b_moves ? i : 0]; \
    break

#define COMPARISON(name, type)                                                                   \
    static void name(int op, size_t n, const void *left, bool a_moves, const void *right,        \
                     bool b_moves, void *result)                                                 \
    {                                                                                            \
        const type *a = left, *b = right;                                                        \
        uint8_t *y = result;                                                                     \
        switch ((q8_compare_op)op) {                                                             \
        case Q8_COMPARE_EQUAL: EACH(==);                                                         \
        case Q8_COMPARE_LESS: EACH(<);                                                           \
        case Q8_COMPARE_LESS_EQUAL: EACH(<=);                                                    \
        }                                                                                        \
    }

COMPARISON(of_u8, uint8_t)
COMPARISON(of_u16, uint16_t)
COMPARISON(of_u32, uint32_t)
COMPARISON(of_u64, uint64_t)
COMPARISON(of_s8, int8_t)
COMPARISON(of_s16, int16_t)
COMPARISON(of_s32, int32_t)
COMPARISON(of_s64, int64_t)
COMPARISON(of_f32, float)
COMPARISON(of_f64, double)

q8_arithmetic q8_comparison_of(q8_dtype dtype)
{
    static const q8_arithmetic known[] = {
        [Q8_U8] = of_u8,   [Q8_S8] = of_s8,   [Q8_S16] = of_s16, [Q8_U16] = of_u16,
        [Q8_S32] = of_s32, [Q8_U32] = of_u32, [Q8_S64] = of_s64, [Q8_U64] = of_u64,
        [Q8_F32] = of_f32, [Q8_F64] = of_f64, [Q8_BF16] = NULL};
    return known[dtype];
}
