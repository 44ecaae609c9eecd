/* pool.c - maximum and average over windows of a picture, u8 and f32.
 *
 * Kernels see one pointer per pixel of the result and tap of the window. A tap outside the picture
 * points at a pixel that changes nothing: zeros for an average (codes of the zero point), the
 * lowest value for a maximum. A window without any tap inside gives just that. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "ops.h"

typedef struct {
    q8_pool pool;
    q8_window window;
    q8_slide slide;
    bool is_u8;
    int64_t taps;
    int64_t pixels, pixels_per_part;      /* of all pictures of the result */
    int64_t channels_per_part, channel_parts;
    size_t multiplier_at, outside_at;     /* in the scratch, behind the pointers */
} pool_state;

/* ---- what an average is divided by ---- */

/* The least tap of an axis that lies at `at` or behind it; taps if none does. */
static int64_t first_tap(int64_t start, int64_t taps, int64_t dilation, int64_t at)
{
    return at <= start ? 0 : q8_least(taps, q8_ceil_divide(at - start, dilation));
}

/* Taps of one axis that lie in low..high-1. */
static int64_t taps_between(int64_t start, int64_t taps, int64_t dilation, int64_t low,
                            int64_t high)
{
    return first_tap(start, taps, dilation, high) - first_tap(start, taps, dilation, low);
}

/* Pixels that count at pixel (oh, ow) of the result. */
static int64_t counted(const pool_state *state, int64_t oh, int64_t ow)
{
    const q8_window *window = &state->window;
    const q8_pool *pool = &state->pool;
    bool pads = pool->count_include_pad;
    int64_t top = oh * window->stride_h - window->pad_top;
    int64_t left = ow * window->stride_w - window->pad_left;
    return taps_between(top, window->kernel_h, window->dilation_h, pads ? -window->pad_top : 0,
                        window->h + (pads ? pool->pad_bottom : 0)) *
           taps_between(left, window->kernel_w, window->dilation_w, pads ? -window->pad_left : 0,
                        window->w + (pads ? pool->pad_right : 0));
}

static void fill_multipliers(const pool_state *state, int64_t first, int64_t count,
                             float *multiplier)
{
    int64_t row = first / state->window.ow % state->window.oh, column = first % state->window.ow;
    for (int64_t i = 0; i < count; i++) {
        int64_t pixels = counted(state, row, column + i);
        multiplier[i] = pixels ? state->pool.multiplier / (float)pixels : 0.0f;
    }
}

/* ---- running ---- */

/* What a tap outside the picture reads: zero of an average, the lowest value of a maximum. */
static const uint8_t *outside_pixel(const pool_state *state, size_t channels, uint8_t *pixel)
{
    const bool is_max = state->pool.kind == Q8_POOL_MAX;
    if (state->is_u8)
        return memset(pixel, is_max ? 0 : state->pool.x_zero_point, channels);
    for (size_t i = 0; i < channels; i++) /* onnxruntime has this value too, not -infinity */
        ((float *)(void *)pixel)[i] = is_max ? -FLT_MAX : 0.0f;
    return pixel;
}

/* A stretch of one row of the result, some of its channels. */
typedef struct {
    size_t pixels, channels;
    const void *const *taps;
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
        .x = (const uint8_t *const *)here->taps,
        .x_step = state->slide.x_step,
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
        .x = (const float *const *)here->taps,
        .x_step = state->slide.x_step,
        .multiplier = here->multiplier,
        .y = (float *)(void *)here->y,
        .y_step = (size_t)state->window.c,
    };
    (state->pool.kind == Q8_POOL_MAX ? kernels->f32.max_pool : kernels->f32.average_pool)(&job);
}

static void run_pool(const q8_step *step, const q8_run *run, int64_t part)
{
    const pool_state *state = step->state;
    const q8_range pixels =
        q8_part_range(part / state->channel_parts, state->pixels_per_part, state->pixels);
    const q8_range channels =
        q8_part_range(part % state->channel_parts, state->channels_per_part, state->window.c);
    const size_t bytes = state->is_u8 ? 1 : 4, first_byte = (size_t)channels.first * bytes;
    const size_t pixel_bytes = (size_t)state->window.c * bytes;
    const uint8_t *x = q8_read(run, q8_tensor_of(run, state->pool.x));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->pool.y));
    const size_t wanted = (size_t)(channels.end - channels.first);
    const q8_picture picture = {
        .x = x + first_byte,
        .padding = outside_pixel(state, wanted, run->scratch + state->outside_at),
        .pixel_bytes = pixel_bytes,
    };
    const void **taps = (const void **)(void *)run->scratch;
    float *multiplier = (float *)(void *)(run->scratch + state->multiplier_at);
    float found[2] = {0.0f, 0.0f};
    for (int64_t first = pixels.first, count; first < pixels.end; first += count) {
        count = q8_slide_count(&state->slide, first, pixels.end);
        q8_slide_pointers(&state->slide, &picture, first, count, taps);
        if (state->pool.kind == Q8_POOL_AVERAGE)
            fill_multipliers(state, first, count, multiplier);
        stretch here = {(size_t)count, wanted, taps, multiplier,
                        y + (size_t)first * pixel_bytes + first_byte};
        if (state->is_u8)
            pool_u8(state, run->plan->kernels, &here);
        else
            pool_f32(state, run->plan->kernels, &here);
        q8_finish_floats(step, run->plan->kernels, here.pixels, here.channels,
                         (float *)(void *)here.y, (size_t)state->window.c, found);
    }
    q8_widen_range(step, run, found);
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
    if (!state->is_u8)
        return Q8_OK;
    if (pool->kind == Q8_POOL_AVERAGE && !isfinite(pool->multiplier))
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
    state->window = q8_window_of_pool(pool, x, y);
    if (q8_window_check(plan, &state->window, "pool"))
        return plan->status;
    state->taps = state->window.kernel_h * state->window.kernel_w;
    if (!state->is_u8)
        state->pool.multiplier = 1.0f;
    return check_numbers(plan, state);
}

/* Pixels go to different parts; where there are few, as in global pooling, so do channels. */
static int64_t choose_parts(pool_state *state)
{
    const q8_window *window = &state->window;
    const int64_t pixel_work = window->c * state->taps; /* elements that one pixel reads */
    state->pixels = window->n * window->oh * window->ow;
    state->channels_per_part = window->c;
    state->channel_parts = 1;
    int64_t parts = q8_split(state->pixels, q8_ceil_divide(Q8_PART_ELEMENTS, pixel_work),
                             &state->pixels_per_part);
    if (state->pixels >= 8 || pixel_work < 2 * Q8_PART_ELEMENTS)
        return parts;
    int64_t blocks_per_part;
    state->channel_parts =
        q8_split(q8_ceil_divide(window->c, 64),
                 q8_ceil_divide(Q8_PART_ELEMENTS, 64 * state->taps), &blocks_per_part);
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
    state.slide = q8_slide_of(&state.window);
    int64_t parts = choose_parts(&state);
    size_t scratch_bytes = 0;
    q8_reserve(&scratch_bytes, state.slide.pointer_bytes);
    state.multiplier_at = q8_reserve(&scratch_bytes, (size_t)state.slide.pixels * sizeof(float));
    state.outside_at = q8_reserve(
        &scratch_bytes, (size_t)state.channels_per_part * (state.is_u8 ? 1 : sizeof(float)));
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_pool);
    if (!step)
        return plan->status;
    step->scratch_bytes = scratch_bytes;
    step->ranged = state.is_u8 ? -1 : pool->y;
    *(pool_state *)step->state = state;
    q8_step_name(step, "%s_pool %dx%d/%d %s %s", pool->kind == Q8_POOL_MAX ? "max" : "average",
                 (int)pool->kernel_h, (int)pool->kernel_w, (int)pool->stride_h,
                 state.is_u8 ? "u8" : "f32", plan->kernels->name);
    return Q8_OK;
}
