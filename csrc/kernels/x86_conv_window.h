/* x86_conv_window.h - what the pixels of a depthwise job share. */
#ifndef Q8_X86_CONV_WINDOW_H
#define Q8_X86_CONV_WINDOW_H

#include <stdbool.h>

#include "kernels.h"

enum {
    MOST_GROUPS = 16, /* of four taps, whose weights a kernel keeps interleaved */
    RING_COLUMNS = 8
};

/* Pixel p sees columns p * stride .. p * stride + columns - 1, each of `rows` taps: the pointers of
 * column j start at job->x[j * rows]. */
typedef struct {
    size_t rows, columns, stride;
} depthwise_window;

static inline size_t rows_of_window(const q8_depthwise_job *job)
{
    switch (job->taps) {
    case 9: return 3;
    case 25: return 5;
    case 49: return 7;
    default: return job->x_step; /* right for stride 1 */
    }
}

/* Whether windows of the job are made of whole columns of its list of pointers, few enough for the
 * ring, with no column that no pixel sees. */
static inline bool find_window(const q8_depthwise_job *job, depthwise_window *window)
{
    const size_t rows = rows_of_window(job);
    if (rows == 0 || rows > 8 || job->taps % rows || job->x_step % rows)
        return false;
    *window = (depthwise_window){rows, job->taps / rows, job->x_step / rows};
    return window->columns <= RING_COLUMNS && window->stride <= window->columns &&
           window->columns * ((rows + 3) / 4) <= MOST_GROUPS;
}

/* Lines of the picture under a kernel, walked column by column. */
typedef struct {
    const uint8_t *at[5]; /* where the next column inside the picture lies in each line */
    size_t step[5];       /* to the one behind; 0 for a line of padding */
    const uint8_t *padding;
    int64_t column;       /* the next one; outside the picture where not in 0..width-1 */
    size_t width;
} depthwise_columns;

static inline depthwise_columns depthwise_columns_of(const q8_depthwise_lines_job *job,
                                                     size_t line, size_t rows, size_t channel)
{
    const size_t start = job->first > 0 ? (size_t)job->first * job->x_step : 0;
    depthwise_columns k = {.padding = job->padding + channel, .column = job->first,
                           .width = job->width};
    for (size_t row = 0; row < rows; row++) {
        const uint8_t *x = job->x[line + row];
        k.at[row] = x ? x + start + channel : k.padding;
        k.step[row] = x ? job->x_step : 0;
    }
    return k;
}

#endif
