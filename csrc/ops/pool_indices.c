/* pool_indices.c - where the maxima of a pooling lie, for MaxUnpool and its kin.
 *
 * Plain loops: networks that ask for it are rare, and the values themselves come from pool.c. */
#include "ops.h"

typedef struct {
    int x, y;
    bool is_u8, is_column_major;
    q8_window window;
    int64_t rows, per_part; /* lines of the result */
} indices_state;

/* One channel of a window: its picture, and the first tap's row and column in it. */
typedef struct {
    int64_t image, top, left, channel;
} place;

/* The place h * W + w (or w * H + h) of the greatest value in a window, the first of equal ones. */
static int64_t greatest(const indices_state *state, const void *x, place at)
{
    const q8_window *window = &state->window;
    int64_t found = -1;
    float best = 0.0f;
    for (int64_t i = 0; i < window->kernel_h * window->kernel_w; i++) {
        const int64_t h = at.top + i / window->kernel_w * window->dilation_h;
        const int64_t w = at.left + i % window->kernel_w * window->dilation_w;
        if (h < 0 || h >= window->h || w < 0 || w >= window->w)
            continue;
        const int64_t element = ((at.image * window->h + h) * window->w + w) * window->c +
                                at.channel;
        const float value = state->is_u8 ? (float)((const uint8_t *)x)[element]
                                         : ((const float *)x)[element];
        if (found >= 0 && !(value > best))
            continue;
        best = value;
        found = state->is_column_major ? w * window->h + h : h * window->w + w;
    }
    return found < 0 ? 0 : found;
}

static void run_indices(const q8_step *step, const q8_run *run, int64_t part)
{
    const indices_state *state = step->state;
    const q8_window *window = &state->window;
    const void *x = q8_read(run, q8_tensor_of(run, state->x));
    int64_t *y = q8_write(run, q8_tensor_of(run, state->y));
    q8_range range = q8_part_range(part, state->per_part, state->rows);
    for (int64_t row = range.first; row < range.end; row++) {
        const int64_t image = row / window->oh;
        const int64_t top = row % window->oh * window->stride_h - window->pad_top;
        for (int64_t column = 0; column < window->ow; column++) {
            const int64_t left = column * window->stride_w - window->pad_left;
            int64_t *target = y + (row * window->ow + column) * window->c;
            for (int64_t channel = 0; channel < window->c; channel++)
                target[channel] =
                    (image * window->c + channel) * window->h * window->w +
                    greatest(state, x, (place){image, top, left, channel});
        }
    }
}

int q8_plan_add_max_pool_indices(q8_plan *plan, const q8_pool *pool, int column_major)
{
    if (!pool)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool indices: no descriptor");
    const q8_tensor *x = q8_plan_operand(plan, pool->x, -1, 4, "pool indices");
    const q8_tensor *y = q8_plan_result(plan, pool->y, Q8_S64, 4, "pool indices");
    if (!x || !y || q8_plan_apart(plan, x, y, false, "pool indices"))
        return plan->status;
    if (x->dtype != Q8_U8 && x->dtype != Q8_F32)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool indices: x is neither u8 nor f32");
    if (x->dims[0] != y->dims[0] || x->dims[3] != y->dims[3])
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "pool indices: N or C differs");
    indices_state state = {.x = pool->x, .y = pool->y, .is_u8 = x->dtype == Q8_U8,
                           .is_column_major = column_major != 0};
    state.window = q8_window_of_pool(pool, x, y);
    if (q8_window_check(plan, &state.window, "pool indices"))
        return plan->status;
    if (state.window.kernel_h * state.window.kernel_w > INT32_MAX / 255)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "pool indices: the window is too large");
    state.rows = y->count ? y->dims[0] * y->dims[1] : 0;
    const int64_t least =
        y->count ? q8_ceil_divide(Q8_PART_ELEMENTS, y->dims[2] * y->dims[3]) : 1;
    const int64_t parts = q8_split(state.rows, least, &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_indices);
    if (!step)
        return plan->status;
    *(indices_state *)step->state = state;
    q8_step_name(step, "max_pool_indices %dx%d", (int)pool->kernel_h, (int)pool->kernel_w);
    return Q8_OK;
}
