/* x86_f32_avx512.c - float kernels with 512-bit vectors and FMA.
 *
 * 6 x 64: 24 of 32 registers accumulate, 4 hold a step of B, one a broadcast value of A. */
#include "kernels.h"

#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <math.h>

#include "../q8.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

#include "x86_lanes512.inc"
#include "lane_math.inc"

#define COLUMNS 4
#define EACH_COLUMN X86_EACH_4
#define EACH_COLUMN_IN_ROW X86_EACH_IN_ROW_4
#define KEEP X86_KEEP_512
#include "x86_f32_gemm.inc"
#include "x86_f32_conv.inc"
#include "lane_lines.inc"
#include "lane_curves.inc"
#include "lane_rows.inc"
#include "lane_finish.inc"

Q8_TARGET_END

const q8_f32_table q8_f32_avx512 = {
    .gemm_name = "avx512 6x64",
    .gemm_mr = ROWS,
    .gemm_nr = COLUMNS * LANES,
    .gemm_tile = tile,
    .depthwise = depthwise,
    .depthwise_lines = depthwise_lines,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .unary = unary,
    .finish = finish,
    .binary = binary,
    .softmax = softmax,
    .softmax_codes = softmax_codes,
    .layer_norm = layer_norm,
    .lerp = lerp,
    .sum = sum,
    .digits = digits,
};

#endif
