/* lanes.h - what the bodies for any width of vectors need of the compiler.
 *
 * A lanes file (x86_lanes512.inc, x86_lanes256.inc, lanes128.inc) gives vectors of LANES floats and
 * what can be done with them; lane_math.inc, lane_rows.inc and lane_finish.inc are written in these
 * terms alone. Every instruction set therefore does the same operations in the same order, and gets
 * the same bytes: sums over a row are kept per lane of a unit of 16, however wide a vector is. */
#ifndef Q8_LANES_H
#define Q8_LANES_H

#ifdef Q8_BODIES_ONCE /* with a sanitizer's checks in each copy, a file takes minutes to compile */
#define LANE_INLINE static inline __attribute__((unused))
#else
#define LANE_INLINE static inline __attribute__((always_inline))
#endif

/* BLOCK(i, count) for i = 0, LANES, ... below n: count is LANES, at the end less. */
#define EACH_BLOCK(n, BLOCK)                 \
    do {                                     \
        size_t i = 0;                        \
        for (; i + LANES <= (n); i += LANES) \
            BLOCK(i, (size_t)LANES);         \
        if (i < (n))                         \
            BLOCK(i, (n) - i);               \
    } while (0)

/* A unit of 16 floats is one, two or four vectors. */
enum { UNIT = 16, MOST_VECTORS = 4 };
#define UNIT_VECTORS (UNIT / LANES)

/* DO(v) for every vector of a unit. */
#define EACH_OF_UNIT(DO)                \
    do {                                \
        DO(0);                          \
        if (UNIT_VECTORS > 1) DO(1);    \
        if (UNIT_VECTORS > 2) DO(2);    \
        if (UNIT_VECTORS > 3) DO(3);    \
    } while (0)

/* BLOCK(i, v, count) as EACH_BLOCK from `first` on, a unit's vectors after each other; v is the
 * place in its unit, a constant. */
#define EACH_UNIT(first, n, BLOCK)                                                       \
    do {                                                                                 \
        size_t unit = (first);                                                           \
        for (; unit + UNIT <= (n); unit += UNIT) {                                       \
            BLOCK(unit, 0, (size_t)LANES);                                               \
            if (UNIT_VECTORS > 1) BLOCK(unit + LANES, 1, (size_t)LANES);                 \
            if (UNIT_VECTORS > 2) BLOCK(unit + 2 * LANES, 2, (size_t)LANES);             \
            if (UNIT_VECTORS > 3) BLOCK(unit + 3 * LANES, 3, (size_t)LANES);             \
        }                                                                                \
        const size_t rest = (n) - unit;                                                  \
        if (rest > 0) BLOCK(unit, 0, LANES_OF(rest));                                    \
        if (rest > LANES) BLOCK(unit + LANES, 1, LANES_OF(rest - LANES));                \
        if (rest > 2 * LANES) BLOCK(unit + 2 * LANES, 2, LANES_OF(rest - 2 * LANES));    \
        if (rest > 3 * LANES) BLOCK(unit + 3 * LANES, 3, LANES_OF(rest - 3 * LANES));    \
    } while (0)
#define LANES_OF(count) ((count) < LANES ? (count) : (size_t)LANES)

#endif
