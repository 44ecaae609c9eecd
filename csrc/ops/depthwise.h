/* depthwise.h - what depthwise convolution of codes and of floats share. */
#ifndef Q8_DEPTHWISE_H
#define Q8_DEPTHWISE_H

#include "product.h"

/* One or two microseconds of work with the best kernels. */
#define Q8_DEPTHWISE_PART_MACS (128 * 1024)

typedef struct {
    q8_slide slide;
    int64_t channels, taps, pixels, pixels_per_part;
} q8_depthwise;

/* Appends a step of state_bytes; its caller has checked the window. */
q8_step *q8_depthwise_append(q8_plan *plan, const q8_window *window, size_t state_bytes,
                             void (*run)(const q8_step *, const q8_run *, int64_t),
                             q8_depthwise *depthwise);
/* Weights of element_bytes, [channel][kh][kw], into [tap][channel] in a slide's order of taps. */
void q8_depthwise_weights(const q8_window *window, size_t element_bytes, const void *weights,
                          void *packed);

#endif
