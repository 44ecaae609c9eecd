/* slide.c - pointers for kernels that go from pixel to pixel: depthwise convolution and pooling. */
#include "ops.h"

/* Enough to pay for a kernel call, few enough that pointers and accumulators stay in L1. */
#define MOST_PIXELS 64

q8_slide q8_slide_of(const q8_window *window)
{
    q8_slide slide = {.window = *window};
    const size_t kernel_h = (size_t)window->kernel_h, kernel_w = (size_t)window->kernel_w;
    if (window->dilation_w == 1 && window->stride_w <= window->kernel_w) {
        slide.line_columns = (window->ow - 1) * window->stride_w + window->kernel_w;
        slide.pixel_columns = window->stride_w;
        slide.more_columns = window->kernel_w - window->stride_w;
        slide.window.ow = slide.line_columns;
        slide.window.kernel_w = slide.window.stride_w = 1;
        slide.order = (q8_pointer_order){1, 0, kernel_h};
        slide.x_step = kernel_h * (size_t)window->stride_w;
    } else { /* nothing to share: a list per pixel */
        slide.line_columns = window->ow;
        slide.pixel_columns = 1;
        slide.order = (q8_pointer_order){1, kernel_h, kernel_h * kernel_w};
        slide.x_step = kernel_h * kernel_w;
    }
    slide.pixels = q8_least(window->ow, MOST_PIXELS);
    slide.pointer_bytes = (size_t)(slide.pixels * slide.pixel_columns + slide.more_columns) *
                          slide.order.pixel_step * sizeof(void *);
    return slide;
}

static int64_t line_pixels(const q8_slide *slide)
{
    return (slide->line_columns - slide->more_columns) / slide->pixel_columns;
}

void q8_slide_pointers(const q8_slide *slide, const q8_picture *picture, int64_t first,
                       int64_t count, const void **pointers)
{
    const int64_t line = first / line_pixels(slide), column = first % line_pixels(slide);
    q8_window_pointers(&slide->window, picture,
                       line * slide->line_columns + column * slide->pixel_columns,
                       count * slide->pixel_columns + slide->more_columns, slide->order,
                       pointers);
}

int64_t q8_slide_count(const q8_slide *slide, int64_t first, int64_t end)
{
    const int64_t left = line_pixels(slide) - first % line_pixels(slide);
    return q8_least(q8_least(left, end - first), slide->pixels);
}
