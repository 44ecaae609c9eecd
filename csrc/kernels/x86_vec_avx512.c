/* x86_vec_avx512.c - whatever walks a row of codes, 16 codes or more at a time. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

#include "x86_lanes512.inc"
#include "x86_vec.inc"

Q8_TARGET_END

const q8_vec_table q8_vec_avx512 = {
    .quantize = quantize,
    .dequantize = dequantize,
    .requantize = requantize,
    .accumulator_to_f32 = accumulator_to_f32,
    .table = NULL,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .sum = NULL,
    .lerp = lerp,
};

#endif
