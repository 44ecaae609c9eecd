/* x86_f32_avx2.c - float kernels with 256-bit vectors and FMA.
 *
 * 6 x 16: 12 of 16 registers accumulate, 2 hold a step of B, one a broadcast value of A. */
#include "kernels.h"

#if defined(__x86_64__)
#include <float.h>
#include <immintrin.h>
#include <math.h>

#include "../q8.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma")

#include "x86_lanes256.inc"
#include "lane_math.inc"

#define COLUMNS 2
#define EACH_COLUMN X86_EACH_2
#define EACH_COLUMN_IN_ROW X86_EACH_IN_ROW_2
#define KEEP X86_KEEP_256
#include "x86_f32_gemm.inc"
#include "x86_f32_conv.inc"
#include "lane_lines.inc"
#include "lane_curves.inc"
#include "lane_rows.inc"
#include "lane_finish.inc"

Q8_TARGET_END

const q8_f32_table q8_f32_avx2 = {
    .gemm_name = "avx2 6x16",
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
