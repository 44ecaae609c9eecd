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

q8_window q8_window_of_pool(const q8_pool *pool, const q8_tensor *x, const q8_tensor *y)
{
    return (q8_window){
        .n = x->dims[0], .h = x->dims[1], .w = x->dims[2], .c = x->dims[3],
        .oh = y->dims[1], .ow = y->dims[2], .oc = y->dims[3],
        .kernel_h = pool->kernel_h, .kernel_w = pool->kernel_w,
        .stride_h = pool->stride_h, .stride_w = pool->stride_w,
        .pad_top = pool->pad_top, .pad_left = pool->pad_left,
        .dilation_h = pool->dilation_h, .dilation_w = pool->dilation_w,
    };
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
    if (stride == 1 || offset <= 0) /* spares the division where it nearly always is needless */
        return offset <= 0 ? 0 : offset;
    return (offset + stride - 1) / stride;
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
    if (step == 1) /* the usual case, for compilers to unroll */
        for (; ow < high; ow++, pointers++, at += advance)
            *pointers = line + at;
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

/* Output pixels are input pixels, in the same order. */
static bool is_pointwise(const q8_window *w)
{
    return w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 &&
           !w->pad_top && !w->pad_left && w->oh == w->h && w->ow == w->w;
}

void q8_window_pointers(const q8_window *window, const q8_picture *picture, int64_t first,
                        int64_t count, q8_pointer_order order, const void **pointers)
{
    if (is_pointwise(window)) {
        const uint8_t *x = picture->x + (size_t)first * picture->pixel_bytes;
        for (int64_t i = 0; i < count; i++, x += picture->pixel_bytes, pointers += order.pixel_step)
            *pointers = x;
        return;
    }
    for (int64_t pixel = first, end = first + count; pixel < end;) {
        stretch s = stretch_at(window, pixel, end);
        point_stretch(window, picture, &s, order, pointers + (size_t)(pixel - first) *
                                                                 order.pixel_step);
        pixel += s.end - s.first;
    }
}

/* Longer pieces are worth a call. */
#define MOST_INLINE 256

/* count copies of a few bytes each, a kernel's line or a pixel. memcpy would be called for every
 * one; two overlapping moves of a fixed size cost less than the call. */
static void copy_pieces(size_t count, size_t bytes, const uint8_t *from, size_t from_step,
                        uint8_t *to, size_t to_step)
{
#define TWO_MOVES(size)                                                        \
    for (size_t i = 0; i < count; i++, from += from_step, to += to_step) {     \
        uint8_t head[size], tail[size];                                        \
        memcpy(head, from, size);                                              \
        memcpy(tail, from + bytes - (size), size);                             \
        memcpy(to, head, size);                                                \
        memcpy(to + bytes - (size), tail, size);                               \
    }
    if (bytes > MOST_INLINE) {
        for (size_t i = 0; i < count; i++, from += from_step, to += to_step)
            memcpy(to, from, bytes);
    } else if (bytes >= 64) {
        for (size_t i = 0; i < count; i++, from += from_step, to += to_step) {
            for (size_t at = 0; at + 64 <= bytes; at += 64)
                memcpy(to + at, from + at, 64);
            memcpy(to + bytes - 64, from + bytes - 64, 64);
        }
    } else if (bytes >= 32) {
        TWO_MOVES(32)
    } else if (bytes >= 16) {
        TWO_MOVES(16)
    } else if (bytes >= 8) {
        TWO_MOVES(8)
    } else if (bytes >= 4) {
        TWO_MOVES(4)
    } else {
        for (size_t i = 0; i < count; i++, from += from_step, to += to_step)
            for (size_t j = 0; j < bytes; j++)
                to[j] = from[j];
    }
#undef TWO_MOVES
}

static void fill_pieces(size_t count, size_t bytes, uint8_t value, uint8_t *to, size_t to_step)
{
    for (size_t i = 0; i < count; i++, to += to_step)
        memset(to, value, bytes);
}

/* Where the copied rows of a stretch go, and the picture's line that it reads. */
typedef struct {
    const q8_window *window;
    const q8_picture *picture;
    const stretch *s;
    const uint8_t *line; /* its pixel 0 */
    size_t row_bytes;
} gathering;

/* `width` neighbouring taps from kw on, for output columns first..end-1 that see all of them. */
static void gather_inside(const gathering *g, int64_t kw, int64_t width, int64_t first,
                          int64_t end, uint8_t *rows)
{
    const q8_window *w = g->window;
    const size_t pixel_bytes = g->picture->pixel_bytes;
    const int64_t iw = first * w->stride_w - w->pad_left + kw * w->dilation_w;
    if (first < end)
        copy_pieces((size_t)(end - first), (size_t)width * g->picture->channel_bytes,
                    g->line + (size_t)iw * pixel_bytes, (size_t)w->stride_w * pixel_bytes,
                    rows + (size_t)(first - g->s->first) * g->row_bytes, g->row_bytes);
}

/* One tap of all columns. */
static void gather_tap(const gathering *g, int64_t kw, uint8_t *rows)
{
    const q8_window *w = g->window;
    const stretch *s = g->s;
    const size_t bytes = g->picture->channel_bytes;
    const uint8_t padding = g->picture->padding_byte;
    const int64_t offset = w->pad_left - kw * w->dilation_w;
    const int64_t low = within(first_at_least(offset, w->stride_w), s->first, s->end);
    const int64_t high = within(first_at_least(w->w + offset, w->stride_w), low, s->end);
    fill_pieces((size_t)(low - s->first), bytes, padding, rows, g->row_bytes);
    gather_inside(g, kw, 1, low, high, rows);
    fill_pieces((size_t)(s->end - high), bytes, padding,
                rows + (size_t)(high - s->first) * g->row_bytes, g->row_bytes);
}

/* A kernel's line for output column ow, pixel by pixel. line: pixel 0 of the picture's line. */
static void copy_edge(const q8_window *w, const q8_picture *picture, const uint8_t *line,
                      int64_t ow, uint8_t *to)
{
    const size_t bytes = picture->channel_bytes;
    int64_t iw = ow * w->stride_w - w->pad_left;
    for (int64_t kw = 0; kw < w->kernel_w; kw++, iw++, to += bytes) {
        if (iw >= 0 && iw < w->w)
            memcpy(to, line + (size_t)iw * bytes, bytes);
        else
            memset(to, picture->padding_byte, bytes);
    }
}

/* The same for columns first..end-1 at the left or right edge. */
static void gather_edge(const gathering *g, int64_t first, int64_t end, uint8_t *rows)
{
    for (int64_t ow = first; ow < end; ow++)
        copy_edge(g->window, g->picture, g->line, ow,
                  rows + (size_t)(ow - g->s->first) * g->row_bytes);
}

/* The output columns of a stretch whose kernel lines lie inside the picture. */
static q8_range inner_columns(const q8_window *w, const stretch *s)
{
    const int64_t low = within(first_at_least(w->pad_left, w->stride_w), s->first, s->end);
    const int64_t high = within(
        first_at_least(w->w + w->pad_left - w->kernel_w + 1, w->stride_w), low, s->end);
    return (q8_range){low, high};
}

/* All taps of a kernel's line whose pixels are neighbours: at once where they are inside. */
static void gather_line(const gathering *g, uint8_t *rows)
{
    const q8_range inner = inner_columns(g->window, g->s);
    gather_edge(g, g->s->first, inner.first, rows);
    gather_inside(g, 0, g->window->kernel_w, inner.first, inner.end, rows);
    gather_edge(g, inner.end, g->s->end, rows);
}

static void gather_stretch(const q8_window *window, const q8_picture *picture, const stretch *s,
                           size_t row_bytes, uint8_t *rows)
{
    const size_t channel_bytes = picture->channel_bytes, count = (size_t)(s->end - s->first);
    const size_t line_bytes = (size_t)window->kernel_w * channel_bytes;
    uint8_t *to = rows;
    for (int64_t kh = 0; kh < window->kernel_h; kh++, to += line_bytes) {
        const int64_t ih = s->oh * window->stride_h - window->pad_top + kh * window->dilation_h;
        if (ih < 0 || ih >= window->h) {
            fill_pieces(count, line_bytes, picture->padding_byte, to, row_bytes);
            continue;
        }
        const int64_t line = (s->n * window->h + ih) * window->w;
        const gathering g = {window, picture, s, picture->x + (size_t)line * picture->pixel_bytes,
                             row_bytes};
        if (window->dilation_w == 1 && channel_bytes == picture->pixel_bytes)
            gather_line(&g, to);
        else
            for (int64_t kw = 0; kw < window->kernel_w; kw++)
                gather_tap(&g, kw, to + (size_t)kw * channel_bytes);
    }
}

void q8_window_gather(const q8_window *window, const q8_picture *picture, int64_t first,
                      int64_t count, size_t row_bytes, uint8_t *rows)
{
    for (int64_t pixel = first, end = first + count; pixel < end;) {
        stretch s = stretch_at(window, pixel, end);
        gather_stretch(window, picture, &s, row_bytes, rows + (size_t)(pixel - first) * row_bytes);
        pixel += s.end - s.first;
    }
}

/* One line of the kernel for a stretch; returns where the next copy may go. line: pixel 0 of the
 * picture's line, NULL outside of it. */
static uint8_t *point_line(const q8_window *w, const q8_picture *picture, const stretch *s,
                           const uint8_t *line, uint8_t *copies, const void **pointers)
{
    const size_t line_bytes = (size_t)w->kernel_w * picture->channel_bytes;
    const size_t advance = (size_t)w->stride_w * picture->pixel_bytes;
    const q8_range inner = inner_columns(w, s);
    int64_t ow = s->first;
    if (!line) {
        for (; ow < s->end; ow++)
            *pointers++ = picture->padding;
        return copies;
    }
    for (; ow < inner.first; ow++, copies += line_bytes) {
        copy_edge(w, picture, line, ow, copies);
        *pointers++ = copies;
    }
    const int64_t iw = ow < inner.end ? ow * w->stride_w - w->pad_left : 0;
    const uint8_t *at = line + (size_t)iw * picture->pixel_bytes;
    for (; ow < inner.end; ow++, at += advance)
        *pointers++ = at;
    for (; ow < s->end; ow++, copies += line_bytes) {
        copy_edge(w, picture, line, ow, copies);
        *pointers++ = copies;
    }
    return copies;
}

void q8_window_lines(const q8_window *window, const q8_picture *picture, int64_t first,
                     int64_t count, size_t step, uint8_t *copies, const void **pointers)
{
    const q8_window *w = window;
    for (int64_t pixel = first, end = first + count; pixel < end;) {
        const stretch s = stretch_at(w, pixel, end);
        for (int64_t kh = 0; kh < w->kernel_h; kh++) {
            const int64_t ih = s.oh * w->stride_h - w->pad_top + kh * w->dilation_h;
            const uint8_t *line = NULL;
            if (ih >= 0 && ih < w->h)
                line = picture->x + (size_t)((s.n * w->h + ih) * w->w) * picture->pixel_bytes;
            copies = point_line(w, picture, &s, line, copies,
                                pointers + (size_t)(pixel - first) + (size_t)kh * step);
        }
        pixel += s.end - s.first;
    }
}
