/* scalar_gemm.c - the reference for every integer GEMM kernel: plain loops, never clever. */
#include "kernels.h"
#include "requant.h"

enum { MR = 4, NR = 8, KR = 4 };

static int32_t accumulate(const q8_gemm_job *job, size_t row, size_t column)
{
    const int8_t *weights = job->b;
    uint32_t acc = (uint32_t)job->bias[column];
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *a = job->a[tap * job->a_step + row];
        for (size_t p = 0; p < job->k; p++) {
            size_t step = (tap * job->k + p) / KR;
            int32_t w = weights[(step * NR + column) * KR + p % KR];
            acc += (uint32_t)(a[p] * w);
        }
    }
    return (int32_t)acc;
}

static void tile(const q8_gemm_job *job)
{
    for (size_t i = 0; i < job->m; i++) {
        for (size_t j = 0; j < job->n; j++) {
            int32_t acc = accumulate(job, i, j);
            size_t at = i * job->c_step + j;
            if (!job->multiplier) {
                ((int32_t *)job->c)[at] = acc;
                continue;
            }
            uint8_t code = q8_requantize(acc, job->multiplier[j], job->zero_point, job->low,
                                         job->high);
            if (job->sum)
                code = q8_add_codes(code, job->addend[i * job->addend_step + j], job->sum);
            ((uint8_t *)job->c)[at] = code;
        }
    }
}

const q8_gemm_table q8_gemm_scalar = {
    .name = "scalar 4x8",
    .mr = MR,
    .most_rows = MR,
    .nr = NR,
    .kr = KR,
    .weight_bytes = 1,
    .flips_a = 0,
    .tile = tile,
};
