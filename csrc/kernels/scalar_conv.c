/* scalar_conv.c - the reference for depthwise convolution and pooling: plain loops. */
#include "kernels.h"
#include "requant.h"

static void depthwise(const q8_depthwise_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            uint32_t sum = (uint32_t)job->bias[c];
            for (size_t tap = 0; tap < job->taps; tap++)
                sum += (uint32_t)(job->x[p * job->x_step + tap][c] *
                                  job->w[tap * job->channels + c]);
            int32_t acc = (int32_t)sum;
            size_t at = p * job->y_step + c;
            if (job->multiplier)
                ((uint8_t *)job->y)[at] = q8_requantize(acc, job->multiplier[c], job->zero_point,
                                                        job->low, job->high);
            else
                ((int32_t *)job->y)[at] = acc;
        }
    }
}

static void max_pool(const q8_pool_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            uint8_t best = 0;
            for (size_t tap = 0; tap < job->taps; tap++) {
                uint8_t code = job->x[p * job->x_step + tap][c];
                best = code > best ? code : best;
            }
            job->y[p * job->y_step + c] = best;
        }
    }
}

static void average_pool(const q8_pool_job *job)
{
    for (size_t p = 0; p < job->pixels; p++) {
        for (size_t c = 0; c < job->channels; c++) {
            uint32_t sum = 0;
            for (size_t tap = 0; tap < job->taps; tap++)
                sum += job->x[p * job->x_step + tap][c];
            int32_t acc = (int32_t)(sum - (uint32_t)job->sum_offset);
            job->y[p * job->y_step + c] =
                q8_requantize(acc, job->multiplier[p], job->zero_point, job->low, job->high);
        }
    }
}

const q8_conv_table q8_conv_scalar = {
    .depthwise = depthwise,
    .max_pool = max_pool,
    .average_pool = average_pool,
};
