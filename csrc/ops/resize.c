/* resize.c - separable interpolation of pictures.
 *
 * A row of the result is a blend of two rows of the picture that were stretched sideways first;
 * stretched rows are kept while the next row of the result needs them again. Eight-bit pictures
 * are blended as floats, in plain C without fused operations, and rounded once: the codes do not
 * depend on the instruction set. */
#include <math.h>
#include <string.h>

#include "ops.h"

typedef struct {
    int x, y;
    bool is_u8;
    int axes; /* along which it blends: 0 (nearest) to 2 */
    int64_t h, w, c, oh, ow;
    const int32_t *low_h, *high_h, *low_w, *high_w;
    const float *fraction_h, *fraction_w;
    int64_t rows, per_part;
} resize_state;

/* ---- along one axis at most ---- */

/* Each pixel of the result is one of the picture, or the blend of two. */
static void run_one_axis(const q8_step *step, const q8_run *run, int64_t part)
{
    const resize_state *state = step->state;
    const q8_kernels *kernels = run->plan->kernels;
    const size_t channels = (size_t)state->c, pixel = channels * (state->is_u8 ? 1 : 4);
    const uint8_t *x = q8_read(run, q8_tensor_of(run, state->x));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        const int64_t image = row / state->oh * state->h, out = row % state->oh;
        const uint8_t *low = x + (size_t)((image + state->low_h[out]) * state->w) * pixel;
        const uint8_t *high = x + (size_t)((image + state->high_h[out]) * state->w) * pixel;
        uint8_t *target = y + (size_t)(row * state->ow) * pixel;
        for (int64_t column = 0; column < state->ow; column++, target += pixel) {
            const bool is_sideways = state->fraction_w[column] != 0.0f;
            const float fraction =
                is_sideways ? state->fraction_w[column] : state->fraction_h[out];
            const uint8_t *a = low + (size_t)state->low_w[column] * pixel;
            const uint8_t *b = is_sideways ? low + (size_t)state->high_w[column] * pixel
                                           : high + (size_t)state->low_w[column] * pixel;
            if (fraction == 0.0f)
                memcpy(target, a, pixel);
            else if (state->is_u8)
                kernels->vec.lerp(channels, a, b, fraction, target);
            else
                kernels->f32.lerp(channels, (const float *)(const void *)a,
                                  (const float *)(const void *)b, fraction,
                                  (float *)(void *)target);
        }
    }
}

/* ---- along both ---- */

/* Scratch of one thread. */
typedef struct {
    float *source;         /* u8 only: a row of the picture as floats */
    float *stretched[2];   /* rows of the picture, as wide as the result */
    int64_t held[2];       /* which ones: image * h + row, or -1 */
    float *result;         /* u8 only: before rounding */
} row_cache;

/* y = a + (b - a) * fraction, the same bytes everywhere; eight at a time for the compiler. */
static void blend_exactly(size_t n, const float *restrict a, const float *restrict b,
                          float fraction, float *restrict y)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            y[i + j] = a[i + j] + (b[i + j] - a[i + j]) * fraction;
    for (; i < n; i++)
        y[i] = a[i] + (b[i] - a[i]) * fraction;
}

static void blend(const resize_state *state, const q8_kernels *kernels, int64_t n, const float *a,
                  const float *b, float fraction, float *y)
{
    if (fraction == 0.0f || a == b)
        memcpy(y, a, (size_t)n * sizeof *y);
    else if (state->is_u8)
        blend_exactly((size_t)n, a, b, fraction, y);
    else
        kernels->f32.lerp((size_t)n, a, b, fraction, y);
}

/* Stretches one row of the picture to the width of the result. */
static void stretch(const resize_state *state, const q8_kernels *kernels, const void *x,
                    int64_t row, const row_cache *cache, float *y)
{
    int64_t first = row * state->w * state->c;
    const float *source = (const float *)x + (state->is_u8 ? 0 : first);
    if (state->is_u8) {
        kernels->vec.dequantize((size_t)(state->w * state->c), (const uint8_t *)x + first,
                                cache->source, 1.0f, 0);
        source = cache->source;
    }
    for (int64_t column = 0; column < state->ow; column++)
        blend(state, kernels, state->c, source + state->low_w[column] * state->c,
              source + state->high_w[column] * state->c, state->fraction_w[column],
              y + column * state->c);
}

/* The stretched row, from the cache or put there in place of any but `other`. */
static const float *stretched_row(const resize_state *state, const q8_kernels *kernels,
                                  const void *x, int64_t row, int64_t other, row_cache *cache)
{
    for (int i = 0; i < 2; i++)
        if (cache->held[i] == row)
            return cache->stretched[i];
    int slot = cache->held[0] == other;
    stretch(state, kernels, x, row, cache, cache->stretched[slot]);
    cache->held[slot] = row;
    return cache->stretched[slot];
}

static row_cache cache_in(const resize_state *state, uint8_t *scratch)
{
    float *floats = (float *)(void *)scratch;
    int64_t wide = state->ow * state->c;
    return (row_cache){floats + 3 * wide, {floats, floats + wide}, {-1, -1}, floats + 2 * wide};
}

static void run_both_axes(const q8_step *step, const q8_run *run, int64_t part)
{
    const resize_state *state = step->state;
    const q8_kernels *kernels = run->plan->kernels;
    const void *x = q8_read(run, q8_tensor_of(run, state->x));
    void *y = q8_write(run, q8_tensor_of(run, state->y));
    int64_t wide = state->ow * state->c;
    row_cache cache = cache_in(state, run->scratch);
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        int64_t image = row / state->oh * state->h, out = row % state->oh;
        int64_t low = image + state->low_h[out], high = image + state->high_h[out];
        float fraction = state->fraction_h[out];
        if (fraction == 0.0f)
            high = low;
        const float *upper = stretched_row(state, kernels, x, low, high, &cache);
        const float *lower = stretched_row(state, kernels, x, high, low, &cache);
        if (!state->is_u8) {
            blend(state, kernels, wide, upper, lower, fraction, (float *)y + row * wide);
            continue;
        }
        blend(state, kernels, wide, upper, lower, fraction, cache.result);
        kernels->vec.quantize((size_t)wide, cache.result, (uint8_t *)y + row * wide, 1.0f, 0);
    }
}

/* ---- adding ---- */

/* Copies and checks the sources of one dimension: both rows inside, fraction within 0..1. */
static int copy_sources(q8_plan *plan, int64_t size, int64_t count, const int32_t **low,
                        const int32_t **high, const float **fraction)
{
    if (count > 0 && (!*low || !*high || !*fraction))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "resize: an array is missing");
    int32_t *own_low = q8_plan_allocate(plan, count, sizeof *own_low);
    int32_t *own_high = q8_plan_allocate(plan, count, sizeof *own_high);
    float *own_fraction = q8_plan_allocate(plan, count, sizeof *own_fraction);
    if (!own_low || !own_high || !own_fraction)
        return plan->status;
    for (int64_t i = 0; i < count; i++) {
        if ((*low)[i] < 0 || (*low)[i] >= size || (*high)[i] < 0 || (*high)[i] >= size)
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "resize: a source lies outside");
        if (!((*fraction)[i] >= 0.0f && (*fraction)[i] <= 1.0f))
            return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "resize: a fraction is not 0..1");
        own_low[i] = (*low)[i];
        own_high[i] = (*high)[i];
        own_fraction[i] = (*fraction)[i];
    }
    *low = own_low;
    *high = own_high;
    *fraction = own_fraction;
    return Q8_OK;
}

/* True if any of an axis' pixels needs two of the picture. */
static bool blends(int64_t count, const float *fraction)
{
    for (int64_t i = 0; i < count; i++)
        if (fraction[i] != 0.0f)
            return true;
    return false;
}

/* The state of a checked descriptor; a negative status if it is refused. */
static int prepare(q8_plan *plan, const q8_resize *resize, resize_state *state)
{
    const q8_tensor *x = q8_plan_operand(plan, resize->x, -1, 4, "resize");
    const q8_tensor *y = q8_plan_result(plan, resize->y, -1, 4, "resize");
    if (!x || !y || q8_plan_apart(plan, x, y, false, "resize"))
        return plan->status;
    if (x->dtype != y->dtype || (x->dtype != Q8_U8 && x->dtype != Q8_F32))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "resize: x and y must be both u8 or both f32");
    if (x->dims[0] != y->dims[0] || x->dims[3] != y->dims[3])
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "resize: N or C differs");
    *state = (resize_state){
        .x = resize->x, .y = resize->y, .is_u8 = x->dtype == Q8_U8,
        .h = x->dims[1], .w = x->dims[2], .c = x->dims[3], .oh = y->dims[1], .ow = y->dims[2],
        .low_h = resize->low_h, .high_h = resize->high_h, .fraction_h = resize->fraction_h,
        .low_w = resize->low_w, .high_w = resize->high_w, .fraction_w = resize->fraction_w,
        .rows = y->count ? y->dims[0] * y->dims[1] : 0,
    };
    if (copy_sources(plan, state->h, state->oh, &state->low_h, &state->high_h,
                     &state->fraction_h) ||
        copy_sources(plan, state->w, state->ow, &state->low_w, &state->high_w, &state->fraction_w))
        return plan->status;
    state->axes = blends(state->oh, state->fraction_h) + blends(state->ow, state->fraction_w);
    return Q8_OK;
}

int q8_plan_add_resize(q8_plan *plan, const q8_resize *resize)
{
    resize_state state;
    if (!resize)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "resize: no descriptor");
    if (prepare(plan, resize, &state))
        return plan->status;
    int64_t wide = state.rows ? state.ow * state.c : 0;
    int64_t least = wide ? q8_ceil_divide(Q8_PART_ELEMENTS, wide) : 1;
    int64_t parts = q8_split(state.rows, least, &state.per_part);
    q8_step *step =
        q8_plan_append(plan, sizeof state, parts, state.axes == 2 ? run_both_axes : run_one_axis);
    if (!step)
        return plan->status;
    if (state.axes == 2 && wide)
        step->scratch_bytes =
            (size_t)(3 * wide + (state.is_u8 ? state.w * state.c : 0)) * sizeof(float);
    *(resize_state *)step->state = state;
    q8_step_name(step, "resize %s %s %s", state.axes ? "linear" : "nearest",
                 state.is_u8 ? "u8" : "f32", plan->kernels->name);
    return Q8_OK;
}
