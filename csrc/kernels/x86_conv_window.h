/* x86_conv_window.h - what depthwise kernels find out about a job before they start. */
#ifndef Q8_X86_CONV_WINDOW_H
#define Q8_X86_CONV_WINDOW_H

#include <string.h>

#include "kernels.h"

enum {
    MOST_PIXELS = 256, /* looked at together */
    MOST_GROUPS = 16   /* of four taps, whose weights a kernel keeps interleaved */
};

/* The next MOST_PIXELS pixels of the job, from `first` on. */
static inline q8_depthwise_job part_of_job(const q8_depthwise_job *job, size_t first)
{
    q8_depthwise_job part = *job;
    size_t rest = job->pixels - first;
    part.pixels = rest < MOST_PIXELS ? rest : MOST_PIXELS;
    part.x = job->x + first * job->x_step;
    part.y = (char *)job->y + first * job->y_step * (job->multiplier ? 1 : sizeof(int32_t));
    return part;
}

/* Bit p of slides: columns 0 and 1 of pixel p's 3 x 3 window are columns 1 and 2 of the window of
 * the pixel before, so that one column of three is new. Returns slides. */
static inline const uint64_t *find_slides(const q8_depthwise_job *job, uint64_t *slides)
{
    memset(slides, 0, MOST_PIXELS / 8);
    for (size_t p = 1; p < job->pixels; p++) {
        const uint8_t *const *x = job->x + p * job->x_step, *const *before = x - job->x_step;
        uint64_t is_slide = 1;
        for (size_t row = 0; row < 9; row += 3)
            is_slide &= (x[row] == before[row + 1]) & (x[row + 1] == before[row + 2]);
        slides[p / 64] |= is_slide << p % 64;
    }
    return slides;
}

#endif
