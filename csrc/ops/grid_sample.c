/* grid_sample.c - pictures at places between their pixels that the run tells.
 *
 * Plain C without fused operations in the order of the standard: the same bytes on every
 * instruction set. Places go through all channels in blocks, so that what a place means is worked
 * out once. */
#include <math.h>

#include "ops.h"

enum { BLOCK = 64, TAPS = 4 };

typedef struct {
    int x, grid, y;
    bool is_nearest, is_aligned;
    int padding;
    int64_t channels, h, w, places;
    int64_t blocks; /* per picture */
    int64_t rows, per_part;
} grid_sample_state;

/* The pixels that each place of a block is made of, -1 outside, and their shares. */
typedef struct {
    int64_t pixel[TAPS][BLOCK];
    float share[TAPS][BLOCK];
} grid_block;

/* -1..1 as a position of pixels: the centres of the outer ones, or their outer edges. */
static float position(float coordinate, int64_t size, bool is_aligned)
{
    const float length = (float)size;
    return is_aligned ? (coordinate + 1.0f) / 2.0f * (length - 1.0f)
                      : ((coordinate + 1.0f) * length - 1.0f) / 2.0f;
}

/* The position moved into the picture, where the padding says so. */
static float inside(const grid_sample_state *state, float at, int64_t size)
{
    const float last = (float)size - 1.0f;
    if (state->padding == Q8_PAD_BORDER)
        return at > 0.0f ? (at < last ? at : last) : 0.0f;
    if (state->padding != Q8_PAD_REFLECTION)
        return at;
    const float low = state->is_aligned ? 0.0f : -0.5f;
    const float length = state->is_aligned ? last : last + 1.0f;
    if (length <= 0.0f)
        return 0.0f;
    const float turned = fmodf(fabsf(at - low), 2.0f * length);
    return low + (turned < length ? turned : 2.0f * length - turned);
}

/* The pixel at a whole position, -1 outside; what rounding pushed out by one is the nearest. */
static int64_t pixel_at(const grid_sample_state *state, float at, int64_t size)
{
    if (at >= 0.0f && at < (float)size)
        return (int64_t)at < size ? (int64_t)at : size - 1;
    if (state->padding == Q8_PAD_ZEROS)
        return -1;
    return at > 0.0f ? size - 1 : 0;
}

static void set_tap(const grid_sample_state *state, grid_block *block, int tap, int64_t i,
                    float row, float column, float share)
{
    const int64_t r = pixel_at(state, row, state->h), c = pixel_at(state, column, state->w);
    block->pixel[tap][i] = r < 0 || c < 0 ? -1 : r * state->w + c;
    block->share[tap][i] = share;
}

static void find_places(const grid_sample_state *state, const float *grid, int64_t count,
                        grid_block *block)
{
    for (int64_t i = 0; i < count; i++) {
        float column = position(grid[2 * i], state->w, state->is_aligned);
        float row = position(grid[2 * i + 1], state->h, state->is_aligned);
        if (state->is_nearest) {
            column = inside(state, rintf(column), state->w);
            row = inside(state, rintf(row), state->h);
            set_tap(state, block, 0, i, rintf(row), rintf(column), 1.0f);
            continue;
        }
        column = inside(state, column, state->w);
        row = inside(state, row, state->h);
        const float left = floorf(column), top = floorf(row);
        const float dx = column - left, dy = row - top;
        set_tap(state, block, 0, i, top, left, (1.0f - dy) * (1.0f - dx));
        set_tap(state, block, 1, i, top, left + 1.0f, (1.0f - dy) * dx);
        set_tap(state, block, 2, i, top + 1.0f, left, dy * (1.0f - dx));
        set_tap(state, block, 3, i, top + 1.0f, left + 1.0f, dy * dx);
    }
}

static void sample_channel(const grid_block *block, int taps, const float *x, int64_t count,
                           float *y)
{
    for (int64_t i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int tap = 0; tap < taps; tap++) {
            const int64_t pixel = block->pixel[tap][i];
            sum += (pixel < 0 ? 0.0f : x[pixel]) * block->share[tap][i];
        }
        y[i] = sum;
    }
}

static void run_grid_sample(const q8_step *step, const q8_run *run, int64_t part)
{
    const grid_sample_state *state = step->state;
    const float *x = q8_read(run, q8_tensor_of(run, state->x));
    const float *grid = q8_read(run, q8_tensor_of(run, state->grid));
    float *y = q8_write(run, q8_tensor_of(run, state->y));
    const int64_t pixels = state->h * state->w;
    grid_block block;
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        const int64_t picture = row / state->blocks, first = row % state->blocks * BLOCK;
        const int64_t left = state->places - first, count = left < BLOCK ? left : BLOCK;
        find_places(state, grid + (picture * state->places + first) * 2, count, &block);
        for (int64_t channel = 0; channel < state->channels; channel++) {
            const int64_t plane = picture * state->channels + channel;
            sample_channel(&block, state->is_nearest ? 1 : TAPS, x + plane * pixels, count,
                           y + plane * state->places + first);
        }
    }
}

/* Refuses tensors that do not belong together. */
static int check_shapes(q8_plan *plan, const q8_tensor *x, const q8_tensor *grid,
                        const q8_tensor *y)
{
    const int64_t *from = x->dims, *at = grid->dims, *to = y->dims;
    if (at[0] != from[0] || at[3] != 2 || to[0] != from[0] || to[1] != from[1] ||
        to[2] != at[1] || to[3] != at[2] || !from[2] || !from[3])
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "grid_sample: shapes do not fit");
    return Q8_OK;
}

int q8_plan_add_grid_sample(q8_plan *plan, int x, int grid, int y, int is_nearest, int padding,
                            int is_aligned)
{
    const q8_tensor *from = q8_plan_operand(plan, x, Q8_F32, 4, "grid_sample");
    const q8_tensor *at = from ? q8_plan_operand(plan, grid, Q8_F32, 4, "grid_sample") : NULL;
    const q8_tensor *to = at ? q8_plan_result(plan, y, Q8_F32, 4, "grid_sample") : NULL;
    if (!to || check_shapes(plan, from, at, to) ||
        q8_plan_apart(plan, from, to, false, "grid_sample") ||
        q8_plan_apart(plan, at, to, false, "grid_sample"))
        return plan->status;
    if (padding < Q8_PAD_ZEROS || padding > Q8_PAD_REFLECTION)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "grid_sample: padding %d is none", padding);
    grid_sample_state state = {.x = x, .grid = grid, .y = y, .is_nearest = is_nearest != 0,
                               .is_aligned = is_aligned != 0, .padding = padding,
                               .channels = from->dims[1], .h = from->dims[2], .w = from->dims[3],
                               .places = to->count ? to->dims[2] * to->dims[3] : 0};
    state.blocks = q8_ceil_divide(state.places, BLOCK);
    state.rows = to->count ? from->dims[0] * state.blocks : 0;
    const int64_t channels = state.channels > 0 ? state.channels : 1;
    const int64_t parts = q8_split(
        state.rows, q8_ceil_divide(Q8_PART_ELEMENTS, BLOCK * channels), &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_grid_sample);
    if (!step)
        return plan->status;
    *(grid_sample_state *)step->state = state;
    q8_step_name(step, "grid_sample %s", is_nearest ? "nearest" : "linear");
    return Q8_OK;
}
