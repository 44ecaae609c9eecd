/* quantize_picture.c - floats of a photo, plane after plane, to codes pixel after pixel: what stands
 * before a network's first convolution, in one pass. */
#include <math.h>

#include "ops.h"

enum { PLANES = 3, CHUNK = 1024 }; /* pixels at a time: their codes stay in the first cache */

typedef struct {
    int x, y;
    float scale;
    int32_t zero_point;
    int64_t pixels;            /* of a picture */
    int64_t chunks, per_part;  /* chunks of a picture; in a part, of all pictures */
} picture_state;

static void run_picture(const q8_step *step, const q8_run *run, int64_t part)
{
    const picture_state *state = step->state;
    const q8_vec_table *vec = &run->plan->kernels->vec;
    const q8_tensor *tensor = q8_tensor_of(run, state->x);
    const float *x = q8_read(run, tensor);
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    const q8_range range =
        q8_part_range(part, state->per_part, tensor->dims[0] * state->chunks);
    for (int64_t chunk = range.first; chunk < range.end; chunk++) {
        const int64_t picture = chunk / state->chunks;
        const int64_t first = chunk % state->chunks * CHUNK;
        const size_t count = (size_t)q8_least(CHUNK, state->pixels - first);
        for (int plane = 0; plane < PLANES; plane++)
            vec->quantize(count, x + (picture * PLANES + plane) * state->pixels + first,
                          run->scratch + plane * CHUNK, state->scale, state->zero_point);
        vec->interleave_3(count, run->scratch, CHUNK,
                          y + (size_t)(picture * state->pixels + first) * PLANES);
    }
}

int q8_plan_add_quantize_picture(q8_plan *plan, int x, int y, float scale, int zero_point)
{
    const char *what = "quantize_picture";
    const q8_tensor *input = q8_plan_operand(plan, x, Q8_F32, 4, what);
    const q8_tensor *output = q8_plan_result(plan, y, Q8_U8, 4, what);
    if (!input || !output || q8_plan_apart(plan, input, output, false, what))
        return plan->status;
    const int64_t *from = input->dims, *to = output->dims;
    if (from[1] != PLANES || to[3] != PLANES || from[0] != to[0] || from[2] != to[1] ||
        from[3] != to[2])
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: shapes are not [N, 3, H, W], [N, H, W, 3]",
                            what);
    if (!isfinite(scale))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: the scale is not finite", what);
    if (q8_plan_check_code(plan, zero_point, what))
        return plan->status;
    picture_state state = {.x = x, .y = y, .scale = scale, .zero_point = zero_point,
                           .pixels = input->count ? from[2] * from[3] : 0};
    state.chunks = q8_ceil_divide(state.pixels, CHUNK);
    const int64_t parts = q8_split(state.pixels ? from[0] * state.chunks : 0,
                                   q8_ceil_divide(Q8_PART_ELEMENTS, PLANES * CHUNK),
                                   &state.per_part);
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_picture);
    if (!step)
        return plan->status;
    *(picture_state *)step->state = state;
    step->scratch_bytes = PLANES * CHUNK;
    q8_step_name(step, "quantize picture %s", plan->kernels->name);
    return Q8_OK;
}
