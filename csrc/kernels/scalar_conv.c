/* scalar_conv.c - the reference for depthwise convolution and pooling: plain loops. */
#include <stdbool.h>

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

/* What tap (kh, kw) of pixel (line, p) sees: `channels` codes. */
static const uint8_t *code_of_line(const q8_depthwise_lines_job *job, size_t line, size_t p,
                                   size_t kh, size_t kw)
{
    const uint8_t *row = job->x[line * job->stride + kh];
    int64_t column = job->first + (int64_t)(p * job->stride + kw);
    bool is_inside = row && column >= 0 && column < (int64_t)job->width;
    return is_inside ? row + (size_t)column * job->x_step : job->padding;
}

static void depthwise_lines(const q8_depthwise_lines_job *job)
{
    const size_t channels = job->channels, pixels = job->lines * job->pixels;
    for (size_t pixel = 0; pixel < pixels; pixel++) {
        size_t line = pixel / job->pixels, p = pixel % job->pixels;
        uint8_t *y = job->y + line * job->y_line + p * job->y_step;
        for (size_t c = 0; c < channels; c++) {
            uint32_t sum = (uint32_t)job->bias[c];
            for (size_t kw = 0; kw < job->kernel; kw++)
                for (size_t kh = 0; kh < job->kernel; kh++)
                    sum += (uint32_t)(code_of_line(job, line, p, kh, kw)[c] *
                                      job->w[(kw * job->kernel + kh) * channels + c]);
            y[c] = q8_requantize((int32_t)sum, job->multiplier[c], job->zero_point, job->low,
                                 job->high);
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

static void gate(const q8_gate_job *job)
{
    for (size_t p = 0; p < job->rows; p++)
        q8_vec_scalar.mul(job->channels, job->x + p * job->x_step, job->gate, 0,
                          job->y + p * job->y_step, &job->params);
}

const q8_conv_table q8_conv_scalar = {
    .depthwise = depthwise,
    .depthwise_lines = depthwise_lines,
    .max_pool = max_pool,
    .average_pool = average_pool,
    .gate = gate,
};
