/* convert.c - between number types: quantize, dequantize, dynamic quantize, table, cast. */
#include <math.h>
#include <string.h>

#include "ops.h"

/* ---- quantize, dequantize, table ---- */

typedef struct {
    int x, y;
    float scale;
    int32_t zero_point;
    const uint8_t *table;
    int64_t per_part;
} convert_state;

static void run_quantize(const q8_step *step, const q8_run *run, int64_t part)
{
    const convert_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x);
    q8_range range = q8_part_range(part, state->per_part, x->count);
    const float *source = (const float *)q8_read(run, x) + range.first;
    uint8_t *target = (uint8_t *)q8_write(run, q8_tensor_of(run, state->y)) + range.first;
    run->plan->kernels->vec.quantize((size_t)(range.end - range.first), source, target,
                                     state->scale, state->zero_point);
}

static void run_dequantize(const q8_step *step, const q8_run *run, int64_t part)
{
    const convert_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x);
    q8_range range = q8_part_range(part, state->per_part, x->count);
    const uint8_t *source = (const uint8_t *)q8_read(run, x) + range.first;
    float *target = (float *)q8_write(run, q8_tensor_of(run, state->y)) + range.first;
    run->plan->kernels->vec.dequantize((size_t)(range.end - range.first), source, target,
                                       state->scale, state->zero_point);
}

static void run_table(const q8_step *step, const q8_run *run, int64_t part)
{
    const convert_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x);
    q8_range range = q8_part_range(part, state->per_part, x->count);
    const uint8_t *source = (const uint8_t *)q8_read(run, x) + range.first;
    uint8_t *target = (uint8_t *)q8_write(run, q8_tensor_of(run, state->y)) + range.first;
    run->plan->kernels->vec.table(1, (size_t)(range.end - range.first), source, target, 0,
                                  state->table);
}

/* Appends one step that walks the elements of x; NULL with the error set. */
static convert_state *append_convert(q8_plan *plan, int x, int y, int64_t count, const char *what,
                                     void (*run)(const q8_step *, const q8_run *, int64_t))
{
    int64_t per_part;
    int64_t parts = q8_split_elements(count, &per_part);
    q8_step *step = q8_plan_append(plan, sizeof(convert_state), parts, run);
    if (!step)
        return NULL;
    q8_step_name(step, "%s %s", what, plan->kernels->name);
    convert_state *state = step->state;
    *state = (convert_state){.x = x, .y = y, .per_part = per_part};
    return state;
}

static int add_scaled(q8_plan *plan, int x, int x_dtype, int y, int y_dtype, float scale,
                      int zero_point, const char *what,
                      void (*run)(const q8_step *, const q8_run *, int64_t))
{
    int64_t count = q8_plan_elementwise(plan, x, x_dtype, y, y_dtype, what);
    if (count < 0)
        return (int)count;
    if (!isfinite(scale))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: the scale is not finite", what);
    if (q8_plan_check_code(plan, zero_point, what))
        return plan->status;
    convert_state *state = append_convert(plan, x, y, count, what, run);
    if (!state)
        return plan->status;
    state->scale = scale;
    state->zero_point = zero_point;
    return Q8_OK;
}

int q8_plan_add_quantize(q8_plan *plan, int x, int y, float scale, int zero_point)
{
    return add_scaled(plan, x, Q8_F32, y, Q8_U8, scale, zero_point, "quantize", run_quantize);
}

int q8_plan_add_dequantize(q8_plan *plan, int x, int y, float scale, int zero_point)
{
    return add_scaled(plan, x, Q8_U8, y, Q8_F32, scale, zero_point, "dequantize", run_dequantize);
}

int q8_plan_add_table(q8_plan *plan, int x, int y, const uint8_t *table)
{
    int64_t count = q8_plan_elementwise(plan, x, Q8_U8, y, Q8_U8, "table");
    if (count < 0)
        return (int)count;
    if (!table)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "table: no table");
    uint8_t *copy = q8_plan_allocate(plan, 256, 1);
    convert_state *state = copy ? append_convert(plan, x, y, count, "table", run_table) : NULL;
    if (!state)
        return plan->status;
    for (int code = 0; code < 256; code++)
        copy[code] = table[code];
    state->table = copy;
    return Q8_OK;
}

/* ---- dynamic quantize: the range of each part, then scale, zero point and codes ---- */

/* Between it and its inverse scales have inverses, and so have these times any range. */
#define LEAST_SCALE 0x1p-80f
/* Channels that are whole vectors on every machine, four of which are stored together, and the most
 * that pixels are joined for it. */
enum { WHOLE_CHANNELS = 64, MOST_CHANNELS = 4096 };

typedef struct {
    float low, high;
} bounds;

typedef struct {
    int x, range, factor, y, scale, zero_point;
    bounds *partial; /* without a range: one per part of the first step, read by all of the second */
    int64_t parts, per_part;
} dynamic_state;

/* How many pixels have whole vectors of channels together. */
static size_t repeats_of(size_t channels)
{
    size_t repeats = 1;
    while (repeats * channels % WHOLE_CHANNELS)
        repeats *= 2;
    return repeats * channels <= MOST_CHANNELS ? repeats : 1;
}

static void run_find_range(const q8_step *step, const q8_run *run, int64_t part)
{
    const dynamic_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x);
    q8_range range = q8_part_range(part, state->per_part, x->count);
    const float *source = (const float *)q8_read(run, x) + range.first;
    bounds found = {0.0f, 0.0f};
    run->plan->kernels->vec.min_max((size_t)(range.end - range.first), source, &found.low,
                                    &found.high);
    state->partial[part] = found;
}

/* The same code as onnxruntime's for every range, including one so narrow that the scale
 * underflows to 0 (the quotient is then infinite or NaN, and both give 255). */
static uint8_t zero_point_of(float low, float scale)
{
    float wanted = 0.0f - low / scale;
    float below = wanted < 255.0f ? wanted : 255.0f;
    return (uint8_t)rintf(below > 0.0f ? below : 0.0f);
}

static bounds bounds_of(const dynamic_state *state, const q8_run *run)
{
    bounds all = {0.0f, 0.0f};
    if (state->range >= 0) {
        const float *range = q8_read(run, q8_tensor_of(run, state->range));
        return (bounds){-range[0], range[1]};
    }
    for (int64_t i = 0; i < state->parts; i++) {
        all.low = fminf(all.low, state->partial[i].low);
        all.high = fmaxf(all.high, state->partial[i].high);
    }
    return all;
}

/* Codes of a pixel's products, where a scale is so far from 1 that its inverse may not be a number. */
static void quantize_products(const q8_kernels *kernels, size_t n, const float *x,
                              const float *factor, uint8_t *y, float scale, uint8_t zero_point)
{
    float products[256];
    for (size_t done = 0, count; done < n; done += count) {
        count = n - done < 256 ? n - done : 256;
        kernels->f32.binary(Q8_MUL, count, x + done, 1, factor + done, 1, products);
        kernels->vec.quantize(count, products, y + done, scale, zero_point);
    }
}

/* Pixels of one picture. Factors per code, repeated until so many channels are whole vectors, so that
 * rows need not be pixels. */
static void quantize_pixels(const dynamic_state *state, const q8_run *run, size_t pixels,
                            const float *x, const float *factor, uint8_t *y, float scale,
                            uint8_t zero_point)
{
    const q8_kernels *kernels = run->plan->kernels;
    const size_t channels = (size_t)q8_tensor_of(run, state->x)->dims[3];
    if (!(scale >= LEAST_SCALE && scale <= 1.0f / LEAST_SCALE)) {
        for (size_t i = 0; i < pixels; i++, x += channels, y += channels)
            quantize_products(kernels, channels, x, factor, y, scale, zero_point);
        return;
    }
    float *factors = (float *)(void *)run->scratch;
    const size_t repeats = repeats_of(channels), together = repeats * channels;
    kernels->f32.binary(Q8_DIV, channels, factor, 1, &scale, 0, factors);
    for (size_t i = 1; i < repeats; i++)
        memcpy(factors + i * channels, factors, channels * sizeof *factors);
    const size_t rows = pixels / repeats, done = rows * together;
    kernels->vec.quantize_scaled(rows, together, x, factors, y, zero_point);
    kernels->vec.quantize_scaled(1, pixels * channels - done, x + done, factors, y + done,
                                 zero_point);
}

/* Parts are pixels, each picture of which has factors of its own. */
static void quantize_scaled(const dynamic_state *state, const q8_run *run, int64_t part,
                            float scale, uint8_t zero_point)
{
    const q8_tensor *x = q8_tensor_of(run, state->x);
    const int64_t channels = x->dims[3], pixels = x->dims[1] * x->dims[2];
    const float *factors = q8_read(run, q8_tensor_of(run, state->factor));
    const float *source = q8_read(run, x);
    uint8_t *target = q8_write(run, q8_tensor_of(run, state->y));
    const q8_range range = q8_part_range(part, state->per_part, x->dims[0] * pixels);
    for (int64_t first = range.first, end; first < range.end; first = end) {
        const int64_t picture = first / pixels, at = first * channels;
        end = q8_least((picture + 1) * pixels, range.end);
        quantize_pixels(state, run, (size_t)(end - first), source + at,
                        factors + picture * channels, target + at, scale, zero_point);
    }
}

static void run_dynamic_quantize(const q8_step *step, const q8_run *run, int64_t part)
{
    const dynamic_state *state = step->state;
    const bounds all = bounds_of(state, run);
    float scale = all.high == all.low ? 1.0f : (all.high - all.low) / 255.0f;
    uint8_t zero_point = zero_point_of(all.low, scale);
    if (part == 0) {
        *(float *)q8_write(run, q8_tensor_of(run, state->scale)) = scale;
        *(uint8_t *)q8_write(run, q8_tensor_of(run, state->zero_point)) = zero_point;
    }
    const q8_tensor *x = q8_tensor_of(run, state->x);
    part = q8_part_from_end(part, state->parts, run->threads);
    if (state->factor >= 0) {
        quantize_scaled(state, run, part, scale, zero_point);
        return;
    }
    q8_range range = q8_part_range(part, state->per_part, x->count);
    const float *source = (const float *)q8_read(run, x) + range.first;
    uint8_t *target = (uint8_t *)q8_write(run, q8_tensor_of(run, state->y)) + range.first;
    run->plan->kernels->vec.quantize((size_t)(range.end - range.first), source, target, scale,
                                     zero_point);
}

/* A one-element result that shares no memory with x and y. */
static int check_scalar(q8_plan *plan, int id, int dtype, int x, int y)
{
    const char *what = "dynamic_quantize";
    const q8_tensor *scalar = q8_plan_result(plan, id, dtype, -1, what);
    if (!scalar)
        return plan->status;
    if (scalar->count != 1)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: scale and zero point are scalars", what);
    if (q8_plan_apart(plan, &plan->tensors[x], scalar, false, what) ||
        q8_plan_apart(plan, &plan->tensors[y], scalar, false, what))
        return plan->status;
    return Q8_OK;
}

static int append_find_range(q8_plan *plan, dynamic_state *state)
{
    state->partial = q8_plan_allocate_kept(plan, state->parts, sizeof(bounds));
    q8_step *find = q8_plan_append(plan, sizeof *state, state->parts, run_find_range);
    if (!find)
        return plan->status;
    q8_step_name(find, "dynamic_quantize: range %s", plan->kernels->name);
    *(dynamic_state *)find->state = *state;
    return Q8_OK;
}

/* Part 0 writes the results that are scalars while others still read the range. */
static int check_range(q8_plan *plan, int range, int y, int scale, int zero_point)
{
    const q8_tensor *given = q8_plan_operand(plan, range, Q8_F32, -1, "dynamic_quantize");
    if (!given)
        return plan->status;
    if (given->count != 2)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "dynamic_quantize: a range has two numbers");
    const int results[] = {y, scale, zero_point};
    for (int i = 0; i < 3; i++)
        if (q8_plan_apart(plan, given, &plan->tensors[results[i]], false, "dynamic_quantize"))
            return plan->status;
    return Q8_OK;
}

/* One factor for each channel of each picture, where the range of the products is known. */
static int check_factor(q8_plan *plan, int x, int range, int factor, int y)
{
    const char *what = "dynamic_quantize";
    const q8_tensor *pixels = q8_plan_operand(plan, x, Q8_F32, 4, what);
    const q8_tensor *given = q8_plan_operand(plan, factor, Q8_F32, 4, what);
    if (!pixels || !given || q8_plan_apart(plan, given, &plan->tensors[y], false, what))
        return plan->status;
    if (range < 0 || given->dims[0] != pixels->dims[0] || given->dims[1] != 1 ||
        given->dims[2] != 1 || given->dims[3] != pixels->dims[3] || !pixels->count)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT,
                            "%s: no range, or factors that are not [N, 1, 1, C]", what);
    return Q8_OK;
}

static int64_t split_pixels(const q8_tensor *x, int64_t *per_part)
{
    const int64_t channels = x->dims[3];
    return q8_split(x->count / channels, q8_ceil_divide(Q8_PART_ELEMENTS, channels), per_part);
}

int q8_plan_add_dynamic_quantize(q8_plan *plan, int x, int range, int factor, int y, int scale,
                                 int zero_point)
{
    const char *what = "dynamic_quantize";
    int64_t count = q8_plan_elementwise(plan, x, Q8_F32, y, Q8_U8, what);
    if (count < 0)
        return (int)count;
    if (check_scalar(plan, scale, Q8_F32, x, y) || check_scalar(plan, zero_point, Q8_U8, x, y) ||
        q8_plan_apart(plan, &plan->tensors[scale], &plan->tensors[zero_point], false, what) ||
        (range >= 0 && check_range(plan, range, y, scale, zero_point)) ||
        (factor >= 0 && check_factor(plan, x, range, factor, y)))
        return plan->status;
    dynamic_state state = {.x = x, .range = range < 0 ? -1 : range, .y = y, .scale = scale,
                           .factor = factor < 0 ? -1 : factor, .zero_point = zero_point};
    if (factor < 0)
        state.parts = q8_split_elements(count, &state.per_part);
    else
        state.parts = split_pixels(&plan->tensors[x], &state.per_part);
    if (range < 0 && append_find_range(plan, &state))
        return plan->status;
    q8_step *quantize = q8_plan_append(plan, sizeof state, state.parts, run_dynamic_quantize);
    if (!quantize)
        return plan->status;
    if (factor >= 0) {
        const size_t channels = (size_t)plan->tensors[x].dims[3];
        q8_reserve(&quantize->scratch_bytes, repeats_of(channels) * channels * sizeof(float));
    }
    q8_step_name(quantize, "dynamic_quantize: codes %s", plan->kernels->name);
    *(dynamic_state *)quantize->state = state;
    return Q8_OK;
}
