/* pool.c - maximum and average over windows of a picture, u8 and f32.
 *
 * Kernels see one pointer per pixel of the result and tap of the window, built here a stretch of a
 * row at a time. A tap outside the picture points, for an average, at a pixel of zeros (codes of
 * the zero point), and for a maximum at another tap inside; a window without any tap inside gives
 * the lowest value, or zero for an average. */
#include <math.h>
#include <string.h>

#include "ops.h"

#define POINTERS_PER_JOB 2048

typedef struct {
    q8_pool pool;
    q8_window window;
    bool is_u8;
    int64_t taps, pixels_per_job;
    int64_t rows, rows_per_part;          /* of all pictures of the result */
    int64_t channels_per_part, channel_parts;
    const uint8_t *outside;               /* c elements: what a tap outside the picture reads */
} pool_state;

/* ---- pointers ---- */

/* Taps of one axis that lie in low..high-1. */
static int64_t taps_between(int64_t first, int64_t taps, int64_t dilation, int64_t low,
                            int64_t high)
{
    int64_t count = 0;
    for (int64_t tap = 0; tap < taps; tap++) {
        int64_t at = first + tap * dilation;
        count += at >= low && at < high;
    }
    return count;
}

/* What an average at pixel (oh, ow) is divided by; 0 if nothing is to be counted. */
static int64_t counted(const pool_state *state, int64_t oh, int64_t ow)
{
    const q8_window *window = &state->window;
    const q8_pool *pool = &state->pool;
    int64_t top = oh * window->stride_h - window->pad_top;
    int64_t left = ow * window->stride_w - window->pad_left;
    bool pads = pool->count_include_pad;
    return taps_between(top, window->kernel_h, window->dilation_h, pads ? -window->pad_top : 0,
                        window->h + (pads ? pool->pad_bottom : 0)) *
           taps_between(left, window->kernel_w, window->dilation_w, pads ? -window->pad_left : 0,
                        window->w + (pads ? pool->pad_right : 0));
}

/* Fills in the pointers of one pixel; image points at its first channel of this part. */
static void point_taps(const pool_state *state, const uint8_t *image, const uint8_t *outside,
                       int64_t oh, int64_t ow, const uint8_t **taps)
{
    const q8_window *window = &state->window;
    size_t pixel = (size_t)window->c * (state->is_u8 ? 1 : 4);
    int64_t top = oh * window->stride_h - window->pad_top;
    int64_t left = ow * window->stride_w - window->pad_left;
    const uint8_t *inside = NULL;
    for (int64_t kh = 0; kh < window->kernel_h; kh++) {
        int64_t row = top + kh * window->dilation_h;
        for (int64_t kw = 0; kw < window->kernel_w; kw++) {
            int64_t column = left + kw * window->dilation_w;
            bool is_inside = row >= 0 && row < window->h && column >= 0 && column < window->w;
            const uint8_t *tap =
                is_inside ? image + (size_t)(row * window->w + column) * pixel : NULL;
            inside = is_inside ? tap : inside;
            taps[kh * window->kernel_w + kw] = tap;
        }
    }
    if (state->pool.kind == Q8_POOL_AVERAGE || !inside)
        inside = outside;
    for (int64_t tap = 0; tap < state->taps; tap++)
        taps[tap] = taps[tap] ? taps[tap] : inside;
}

/* ---- running ---- */

/* A stretch of one row of the result, some of its channels. */
typedef struct {
    size_t pixels, channels;
    const uint8_t *const *taps;
    const float *multiplier;
    uint8_t *y;
} stretch;

static void pool_u8(const pool_state *state, const q8_kernels *kernels, const stretch *here)
{
    const q8_pool *pool = &state->pool;
    q8_pool_job job = {
        .pixels = here->pixels,
        .channels = here->channels,
        .taps = (size_t)state->taps,
        .x = here->taps,
        .x_step = (size_t)state->taps,
        .sum_offset = (int32_t)state->taps * pool->x_zero_point,
        .multiplier = here->multiplier,
        .zero_point = pool->y_zero_point,
        .low = pool->y_low,
        .high = pool->y_high,
        .y = here->y,
        .y_step = (size_t)state->window.c,
    };
    (pool->kind == Q8_POOL_MAX ? kernels->conv.max_pool : kernels->conv.average_pool)(&job);
}

static void pool_f32(const pool_state *state, const q8_kernels *kernels, const stretch *here)
{
    q8_conv_f32_job job = {
        .pixels = here->pixels,
        .channels = here->channels,
        .taps = (size_t)state->taps,
        .x = (const float *const *)(const void *)here->taps,
        .x_step = (size_t)state->taps,
        .multiplier = here->multiplier,
        .y = (float *)(void *)here->y,
        .y_step = (size_t)state->window.c,
    };
    (state->pool.kind == Q8_POOL_MAX ? kernels->f32.max_pool : kernels->f32.average_pool)(&job);
}

static void pool_row(const pool_state *state, const q8_run *run, int64_t row, q8_range channels)
{
    const q8_window *window = &state->window;
    size_t bytes = state->is_u8 ? 1 : 4, first = (size_t)channels.first * bytes;
    int64_t image = row / window->oh, oh = row % window->oh;
    const uint8_t *x = q8_read(run, q8_tensor_of(run, state->pool.x));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->pool.y));
    x += (size_t)(image * window->h * window->w * window->c) * bytes + first;
    y += (size_t)(row * window->ow * window->c) * bytes + first;
    const uint8_t **taps = (const uint8_t **)(void *)run->scratch;
    float *multiplier = (float *)(void *)(taps + state->pixels_per_job * state->taps);
    for (int64_t start = 0; start < window->ow; start += state->pixels_per_job) {
        int64_t pixels = q8_least(state->pixels_per_job, window->ow - start);
        for (int64_t i = 0; i < pixels; i++) {
            point_taps(state, x, state->outside + first, oh, start + i, taps + i * state->taps);
            if (state->pool.kind == Q8_POOL_MAX)
                continue;
            int64_t count = counted(state, oh, start + i);
            multiplier[i] = count ? state->pool.multiplier / (float)count : 0.0f;
        }
        stretch here = {(size_t)pixels, (size_t)(channels.end - channels.first), taps, multiplier,
                        y + (size_t)(start * window->c) * bytes};
        if (state->is_u8)
            pool_u8(state, run->plan->kernels, &here);
        else
            pool_f32(state, run->plan->kernels, &here);
    }
}

static void run_pool(const q8_step *step, const q8_run *run, int64_t part)
{
    const pool_state *state = step->state;
    q8_range rows =
        q8_part_range(part / state->channel_parts, state->rows_per_part, state->rows);
    q8_range channels = q8_part_range(part % state->channel_parts, state->channels_per_part,
                                      state->window.c);
    for (int64_t row = rows.first; row < rows.end; row++)
        pool_row(state, run, row, channels);
}

/* ---- adding ---- */

static int check_numbers(q8_plan *plan, const pool_state *state)
{
    const q8_pool *pool = &state->pool;
    if (pool->kind != Q8_POOL_MAX && pool->kind != Q8_POOL_AVERAGE)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool: no kind %d", (int)pool->kind);
    if (pool->pad_bottom < 0 || pool->pad_right < 0)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool: a pad is negative");
    if (state->taps > INT32_MAX / 255)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "pool: the window is too large");
    if (!state->is_u8 || pool->kind == Q8_POOL_MAX)
        return Q8_OK;
    if (!isfinite(pool->multiplier))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool: the multiplier is not finite");
    if (q8_plan_check_code(plan, pool->x_zero_point, "pool") ||
        q8_plan_check_code(plan, pool->y_zero_point, "pool") ||
        q8_plan_check_limits(plan, pool->y_low, pool->y_high, "pool"))
        return plan->status;
    return Q8_OK;
}

/* The state of a checked descriptor but for how it is split; a negative status if refused. */
static int prepare(q8_plan *plan, const q8_pool *pool, pool_state *state)
{
    const q8_tensor *x = q8_plan_operand(plan, pool->x, -1, 4, "pool");
    const q8_tensor *y = q8_plan_result(plan, pool->y, -1, 4, "pool");
    if (!x || !y || q8_plan_apart(plan, x, y, false, "pool"))
        return plan->status;
    if (x->dtype != y->dtype || (x->dtype != Q8_U8 && x->dtype != Q8_F32))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool: x and y must be both u8 or both f32");
    if (x->dims[0] != y->dims[0] || x->dims[3] != y->dims[3])
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool: N or C differs");
    *state = (pool_state){.pool = *pool, .is_u8 = x->dtype == Q8_U8};
    state->window = (q8_window){
        .n = x->dims[0], .h = x->dims[1], .w = x->dims[2], .c = x->dims[3],
        .oh = y->dims[1], .ow = y->dims[2], .oc = y->dims[3],
        .kernel_h = pool->kernel_h, .kernel_w = pool->kernel_w,
        .stride_h = pool->stride_h, .stride_w = pool->stride_w,
        .pad_top = pool->pad_top, .pad_left = pool->pad_left,
        .dilation_h = pool->dilation_h, .dilation_w = pool->dilation_w,
    };
    if (q8_window_check(plan, &state->window, "pool"))
        return plan->status;
    if (!q8_multiply(pool->kernel_h, pool->kernel_w, &state->taps))
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "pool: the window is too large");
    if (!state->is_u8)
        state->pool.multiplier = 1.0f;
    return check_numbers(plan, state);
}

/* The pixel that taps outside read: zero of an average, the lowest value of a maximum. */
static const uint8_t *outside_pixel(q8_plan *plan, const pool_state *state)
{
    bool is_max = state->pool.kind == Q8_POOL_MAX;
    uint8_t *pixel = q8_plan_allocate(plan, state->window.c, state->is_u8 ? 1 : 4);
    if (pixel && state->is_u8)
        memset(pixel, is_max ? 0 : state->pool.x_zero_point, (size_t)state->window.c);
    else if (pixel && is_max)
        for (int64_t i = 0; i < state->window.c; i++)
            ((float *)(void *)pixel)[i] = -INFINITY;
    return pixel;
}

/* Rows go to different parts; where there are few, as in global pooling, so do channels. */
static int64_t choose_parts(pool_state *state)
{
    const q8_window *window = &state->window;
    bool is_empty = window->n * window->oh == 0 || window->ow * window->c == 0;
    state->rows = is_empty ? 0 : window->n * window->oh;
    state->channels_per_part = window->c;
    state->channel_parts = 1;
    double row_work = (double)window->ow * (double)window->c * (double)state->taps;
    int64_t least = 1 + (int64_t)(Q8_PART_ELEMENTS / (row_work + 1.0));
    int64_t parts = q8_split(state->rows, least, &state->rows_per_part);
    if (is_empty || state->rows >= 8 || row_work < 2.0 * Q8_PART_ELEMENTS)
        return parts;
    int64_t blocks_per_part;
    int64_t blocks = q8_ceil_divide(window->c, 64);
    int64_t least_blocks = 1 + (int64_t)((double)blocks * Q8_PART_ELEMENTS / row_work);
    state->channel_parts = q8_split(blocks, least_blocks, &blocks_per_part);
    state->channels_per_part = blocks_per_part * 64;
    return parts * state->channel_parts;
}

int q8_plan_add_pool(q8_plan *plan, const q8_pool *pool)
{
    pool_state state;
    if (!pool)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool: no descriptor");
    if (prepare(plan, pool, &state))
        return plan->status;
    state.outside = outside_pixel(plan, &state);
    if (!state.outside)
        return plan->status;
    int64_t parts = choose_parts(&state);
    int64_t fitting = POINTERS_PER_JOB / state.taps;
    state.pixels_per_job = q8_least(fitting > 1 ? fitting : 1, state.window.ow);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_pool);
    if (!step)
        return plan->status;
    step->scratch_bytes = (size_t)state.pixels_per_job *
                          ((size_t)state.taps * sizeof(void *) + sizeof(float));
    *(pool_state *)step->state = state;
    q8_step_name(step, "%s_pool %dx%d/%d %s %s", pool->kind == Q8_POOL_MAX ? "max" : "average",
                 (int)pool->kernel_h, (int)pool->kernel_w, (int)pool->stride_h,
                 state.is_u8 ? "u8" : "f32", plan->kernels->name);
    return Q8_OK;
}
