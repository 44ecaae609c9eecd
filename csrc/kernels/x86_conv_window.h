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

#endif
