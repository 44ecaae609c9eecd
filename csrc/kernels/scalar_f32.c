/* scalar_f32.c - the reference for the float kernels, in portable C: what the others compute to the
 * last bit. Products are added as fused instructions do, which a CPU without them takes long for. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "../q8.h"
#include "kernels.h"
#include "lanes.h"

enum { MR = 4, NR = 8 };

/* NaN stays NaN. */
static float clamp(float value, float low, float high)
{
    value = low > value ? low : value;
    return high < value ? high : value;
}

static void gemm_tile(const q8_gemm_f32_job *job)
{
    for (size_t i = 0; i < job->m; i++) {
        for (size_t j = 0; j < job->n; j++) {
            float sum = job->bias[j];
            for (size_t tap = 0; tap < job->taps; tap++)
                for (size_t p = 0; p < job->k; p++)
                    sum = fmaf(job->a[tap * job->a_step + i][p],
                               job->b[(tap * job->k + p) * NR + j], sum);
            job->c[i * job->c_step + j] = clamp(sum, job->low, job->high);
        }
    }
}

static void depthwise(const q8_conv_f32_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            float sum = job->bias[c];
            for (size_t tap = 0; tap < job->taps; tap++)
                sum = fmaf(job->x[p * job->x_step + tap][c], job->w[tap * job->channels + c], sum);
            job->y[p * job->y_step + c] = clamp(sum, job->low, job->high);
        }
    }
}

static void max_pool(const q8_conv_f32_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            float best = -INFINITY;
            for (size_t tap = 0; tap < job->taps; tap++) {
                float value = job->x[p * job->x_step + tap][c];
                best = value > best ? value : best;
            }
            job->y[p * job->y_step + c] = best;
        }
    }
}

static void average_pool(const q8_conv_f32_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            float sum = 0;
            for (size_t tap = 0; tap < job->taps; tap++)
                sum += job->x[p * job->x_step + tap][c];
            job->y[p * job->y_step + c] = sum * job->multiplier[p];
        }
    }
}

#include "lanes128.inc"
#include "lane_math.inc"
#include "lane_lines.inc"
#include "lane_curves.inc"
#include "lane_rows.inc"
#include "lane_finish.inc"

const q8_f32_table q8_f32_scalar = {
    .gemm_name = "scalar 4x8",
    .gemm_mr = MR,
    .gemm_nr = NR,
    .gemm_tile = gemm_tile,
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
