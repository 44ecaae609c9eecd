/* target.h - the instruction set of a stretch of code, stated in the file and not in build flags.
 *
 *     Q8_TARGET("avx2,fma")
 *     static void kernel(...) { ... }
 *     Q8_TARGET_END
 *
 * Include all headers before the region: only functions defined inside it get the instructions. */
#ifndef Q8_TARGET_H
#define Q8_TARGET_H

#define Q8_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define Q8_TARGET(isa) \
    Q8_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define Q8_TARGET_END Q8_PRAGMA(clang attribute pop)
#else
#define Q8_TARGET(isa) Q8_PRAGMA(GCC push_options) Q8_PRAGMA(GCC target(isa))
#define Q8_TARGET_END Q8_PRAGMA(GCC pop_options)
#endif

#endif
