/* x86_inline.h - what the x86 kernels need of the compiler: bodies that are always inlined, so
 * that sizes passed as constants become constants, and loops unrolled before anything else. */
#ifndef Q8_X86_INLINE_H
#define Q8_X86_INLINE_H

#include <stdint.h>

#include "lanes.h"

#define X86_INLINE LANE_INLINE

/* Bodies that are not worth a copy in each of their callers. */
#define X86_APART static __attribute__((noinline))

/* Wants a vector in a register: else GCC turns a vector used by several rows into a memory operand
 * of each, and loads become the limit; or adds products to each other before adding them to a sum,
 * and runs out of registers. */
#define X86_KEEP_256(x) __asm__("" : "+x"(x))
#define X86_KEEP_512(x) __asm__("" : "+v"(x))

#define X86_LOAD_256(to, from)                              \
    do {                                                    \
        to = _mm256_load_si256((const __m256i *)(from));    \
        X86_KEEP_256(to);                                   \
    } while (0)
/* Adds the products of 16 pairs of 16-bit integers, two to each of 8 sums. */
#define X86_ADD_PAIRS_256(sum, left, right)                               \
    do {                                                                  \
        __m256i product = _mm256_madd_epi16(left, right);                 \
        sum = (int32x8)_mm256_add_epi32((__m256i)(sum), product);         \
        X86_KEEP_256(sum);                                                \
    } while (0)

/* DO(0) .. DO(count - 1), for a constant count up to the number in the name. GCC unrolls loops
 * after it has decided which arrays live in registers, so an array of accumulators that a loop
 * indexes stays in memory; an array indexed by constants does not. */
#define X86_EACH_2(count, DO)   \
    do {                        \
        if ((count) > 0) DO(0); \
        if ((count) > 1) DO(1); \
    } while (0)
#define X86_EACH_4(count, DO)   \
    do {                        \
        if ((count) > 0) DO(0); \
        if ((count) > 1) DO(1); \
        if ((count) > 2) DO(2); \
        if ((count) > 3) DO(3); \
    } while (0)
#define X86_EACH_6(count, DO)   \
    do {                        \
        if ((count) > 0) DO(0); \
        if ((count) > 1) DO(1); \
        if ((count) > 2) DO(2); \
        if ((count) > 3) DO(3); \
        if ((count) > 4) DO(4); \
        if ((count) > 5) DO(5); \
    } while (0)
#define X86_EACH_8(count, DO)   \
    do {                        \
        X86_EACH_6(count, DO);  \
        if ((count) > 6) DO(6); \
        if ((count) > 7) DO(7); \
    } while (0)
#define X86_EACH_12(count, DO)     \
    do {                           \
        X86_EACH_8(count, DO);     \
        if ((count) > 8) DO(8);    \
        if ((count) > 9) DO(9);    \
        if ((count) > 10) DO(10);  \
        if ((count) > 11) DO(11);  \
    } while (0)
/* The same with a fixed first argument, to be used inside the DO of another. */
#define X86_EACH_IN_ROW_2(count, DO, i) \
    do {                                \
        if ((count) > 0) DO(i, 0);      \
        if ((count) > 1) DO(i, 1);      \
    } while (0)
#define X86_EACH_IN_ROW_4(count, DO, i) \
    do {                                \
        if ((count) > 0) DO(i, 0);      \
        if ((count) > 1) DO(i, 1);      \
        if ((count) > 2) DO(i, 2);      \
        if ((count) > 3) DO(i, 3);      \
    } while (0)

typedef int32_t x86_unaligned_int32 __attribute__((aligned(1), may_alias));

#endif
