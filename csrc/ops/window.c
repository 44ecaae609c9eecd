/* window.c - which input pixels an output pixel sees, as pointers or as copied rows. */
#include <string.h>

#include "ops.h"

/* Small enough that no product of an index, a step and a size leaves int64. */
#define MOST_EXTENT INT32_MAX
#define MOST_STEP (1 << 20)
#define MOST_TAPS (1 << 24)

static bool all_within(const int64_t *values, size_t count, int64_t low, int64_t high)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] < low || values[i] > high)
            return false;
    return true;
}

int q8_window_check(q8_plan *plan, const q8_window *window, const char *what)
{
    const q8_window *w = window;
    const int64_t extents[] = {w->n, w->h, w->w, w->c, w->oh, w->ow, w->oc};
    const int64_t steps[] = {w->kernel_h, w->kernel_w,   w->stride_h,
                             w->stride_w, w->dilation_h, w->dilation_w};
    const int64_t pads[] = {w->pad_top, w->pad_left};
    if (plan->status)
        return plan->status;
    if (!all_within(extents, sizeof extents / sizeof extents[0], 1, MOST_EXTENT))
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "%s: an empty or enormous tensor", what);
    if (!all_within(steps, sizeof steps / sizeof steps[0], 1, MOST_STEP) ||
        !all_within(pads, sizeof pads / sizeof pads[0], 0, MOST_STEP) ||
        w->kernel_h * w->kernel_w > MOST_TAPS)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS,
                            "%s: kernel, stride, dilation or padding out of range", what);
    return Q8_OK;
}

/* A stretch of output pixels in one line of one picture. */
typedef struct {
    int64_t n, oh, first, end; /* columns first..end-1 */
} stretch;

static stretch stretch_at(const q8_window *window, int64_t pixel, int64_t end)
{
    int64_t line = pixel / window->ow, first = pixel % window->ow;
    return (stretch){line / window->oh, line % window->oh, first,
                     q8_least(window->ow, first + end - pixel)};
}

static int64_t within(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* The least output column whose tap at offset (pad - kw * dilation) lies at column >= 0. */
static int64_t first_at_least(int64_t offset, int64_t stride)
{
    return offset <= 0 ? 0 : (offset + stride - 1) / stride;
}

/* One tap for a stretch in which its line lies inside the picture. line: pixel 0 of that line. */
static void point_along(const q8_window *window, const q8_picture *picture, const stretch *s,
                        const uint8_t *line, int64_t kw, size_t step, const void **pointers)
{
    const int64_t offset = window->pad_left - kw * window->dilation_w;
    const int64_t low = within(first_at_least(offset, window->stride_w), s->first, s->end);
    const int64_t high =
        within(first_at_least(window->w + offset, window->stride_w), low, s->end);
    const size_t advance = (size_t)window->stride_w * picture->pixel_bytes;
    int64_t ow = s->first;
    for (; ow < low; ow++, pointers += step)
        *pointers = picture->padding;
    size_t at = ow < high ? (size_t)(ow * window->stride_w - offset) * picture->pixel_bytes : 0;
    for (; ow < high; ow++, pointers += step, at += advance)
        *pointers = line + at;
    for (; ow < s->end; ow++, pointers += step)
        *pointers = picture->padding;
}

static void point_stretch(const q8_window *window, const q8_picture *picture, const stretch *s,
                          q8_pointer_order order, const void **pointers)
{
    for (int64_t kh = 0; kh < window->kernel_h; kh++) {
        const int64_t ih = s->oh * window->stride_h - window->pad_top + kh * window->dilation_h;
        const bool is_inside = ih >= 0 && ih < window->h;
        const int64_t line = is_inside ? (s->n * window->h + ih) * window->w : 0;
        for (int64_t kw = 0; kw < window->kernel_w; kw++) {
            const void **at = pointers + (size_t)kh * order.kernel_h_step +
                              (size_t)kw * order.kernel_w_step;
            if (is_inside)
                point_along(window, picture, s, picture->x + (size_t)line * picture->pixel_bytes,
                            kw, order.pixel_step, at);
            else
                for (int64_t ow = s->first; ow < s->end; ow++, at += order.pixel_step)
                    *at = picture->padding;
        }
    }
}

void q8_window_pointers(const q8_window *window, const q8_picture *picture, int64_t first,
                        int64_t count, q8_pointer_order order, const void **pointers)
{
    for (int64_t pixel = first, end = first + count; pixel < end;) {
        stretch s = stretch_at(window, pixel, end);
        point_stretch(window, picture, &s, order, pointers + (size_t)(pixel - first) *
                                                                 order.pixel_step);
        pixel += s.end - s.first;
    }
}

/* memcpy for the dozen bytes of a pixel or two, where a call would cost more than the copy: two
 * overlapping moves of a fixed size. */
static inline void copy_short(uint8_t *to, const uint8_t *from, size_t bytes)
{
#define TWO_MOVES(size)                                         \
    do {                                                        \
        uint8_t head[size], tail[size];                         \
        memcpy(head, from, size);                               \
        memcpy(tail, from + bytes - size, size);                \
        memcpy(to, head, size);                                 \
        memcpy(to + bytes - size, tail, size);                  \
    } while (0)
    if (bytes > 32)
        memcpy(to, from, bytes);
    else if (bytes >= 16)
        TWO_MOVES(16);
    else if (bytes >= 8)
        TWO_MOVES(8);
    else if (bytes >= 4)
        TWO_MOVES(4);
    else
        for (size_t i = 0; i < bytes; i++)
            to[i] = from[i];
#undef TWO_MOVES
}

/* The taps of one line of the kernel. line: pixel 0 of the picture's line, NULL outside. */
static void gather_line(const q8_window *window, const q8_picture *picture, int64_t ow,
                        const uint8_t *line, uint8_t *to)
{
    const size_t bytes = picture->channel_bytes;
    const int64_t left = ow * window->stride_w - window->pad_left;
    if (!line) {
        memset(to, picture->padding_byte, (size_t)window->kernel_w * bytes);
        return;
    }
    if (window->dilation_w == 1 && bytes == picture->pixel_bytes) {
        const int64_t first = within(-left, 0, window->kernel_w);
        const int64_t end = within(window->w - left, first, window->kernel_w);
        memset(to, picture->padding_byte, (size_t)first * bytes);
        copy_short(to + (size_t)first * bytes, line + (left + first) * (int64_t)bytes,
                   (size_t)(end - first) * bytes);
        memset(to + (size_t)end * bytes, picture->padding_byte,
               (size_t)(window->kernel_w - end) * bytes);
        return;
    }
    for (int64_t kw = 0; kw < window->kernel_w; kw++, to += bytes) {
        const int64_t iw = left + kw * window->dilation_w;
        if (iw >= 0 && iw < window->w)
            copy_short(to, line + (size_t)iw * picture->pixel_bytes, bytes);
        else
            memset(to, picture->padding_byte, bytes);
    }
}

static void gather_pixel(const q8_window *window, const q8_picture *picture, int64_t pixel,
                         size_t row_bytes, uint8_t *row)
{
    const stretch s = stretch_at(window, pixel, pixel + 1);
    const size_t line_bytes = (size_t)window->kernel_w * picture->channel_bytes;
    uint8_t *to = row;
    for (int64_t kh = 0; kh < window->kernel_h; kh++, to += line_bytes) {
        const int64_t ih = s.oh * window->stride_h - window->pad_top + kh * window->dilation_h;
        const uint8_t *line = NULL;
        if (ih >= 0 && ih < window->h)
            line = picture->x +
                   (size_t)((s.n * window->h + ih) * window->w) * picture->pixel_bytes;
        gather_line(window, picture, s.first, line, to);
    }
    memset(to, picture->padding_byte, row_bytes - (size_t)(to - row));
}

void q8_window_gather(const q8_window *window, const q8_picture *picture, int64_t first,
                      int64_t count, size_t row_bytes, uint8_t *rows)
{
    for (int64_t i = 0; i < count; i++)
        gather_pixel(window, picture, first + i, row_bytes, rows + (size_t)i * row_bytes);
}
