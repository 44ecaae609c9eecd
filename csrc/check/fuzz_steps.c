/* fuzz_steps.c - random steps of every kind but products. */
#include "fuzz.h"

static const int dtypes[] = {Q8_U8,  Q8_F32, Q8_S64, Q8_S32, Q8_S8,  Q8_S16,
                             Q8_U16, Q8_U32, Q8_U64, Q8_F64, Q8_F16, Q8_BF16};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

static int new_random(fuzz_case *c, int dtype)
{
    int64_t dims[FUZZ_MOST_RANK];
    int rank = (int)fuzz_below(c, fuzz_chance(c, 8) ? FUZZ_MOST_RANK + 1 : 5);
    fuzz_shape(c, rank, dims);
    return fuzz_new(c, dtype, rank, dims);
}

/* Mostly another tensor of the same shape, at times the tensor itself. */
static int result_for(fuzz_case *c, int dtype, int x)
{
    return fuzz_id(c, fuzz_chance(c, 8) ? x : fuzz_new_like(c, dtype, x));
}

/* ---- element by element ---- */

static void add_conversion(fuzz_case *c)
{
    bool to_codes = fuzz_chance(c, 2);
    int x = new_random(c, to_codes ? Q8_F32 : Q8_U8);
    int y = result_for(c, to_codes ? Q8_U8 : Q8_F32, x);
    if (to_codes)
        q8_plan_add_quantize(c->plan, fuzz_id(c, x), y, fuzz_float(c), fuzz_code(c));
    else
        q8_plan_add_dequantize(c->plan, fuzz_id(c, x), y, fuzz_float(c), fuzz_code(c));
}

static void add_quantize_picture(fuzz_case *c)
{
    int64_t dims[4], y_dims[4];
    fuzz_shape(c, 4, dims);
    dims[1] = fuzz_bend64(c, 3);
    for (int d = 0; d < 4; d++)
        y_dims[d] = dims[d == 0 ? 0 : d == 3 ? 1 : d + 1];
    int x = fuzz_new(c, Q8_F32, 4, dims), y = fuzz_new(c, Q8_U8, 4, y_dims);
    q8_plan_add_quantize_picture(c->plan, fuzz_id(c, x), fuzz_id(c, y), fuzz_float(c),
                                 fuzz_code(c));
}

static void add_dynamic_quantize(fuzz_case *c)
{
    int x = new_random(c, Q8_F32);
    int y = fuzz_new_like(c, Q8_U8, x);
    int scale = fuzz_new(c, Q8_F32, 0, NULL), zero_point = fuzz_new(c, Q8_U8, 0, NULL);
    const int64_t two = 2;
    int range = fuzz_chance(c, 2) ? fuzz_id(c, fuzz_new(c, Q8_F32, 1, &two)) : -1;
    int64_t dims[4];
    fuzz_shape(c, 4, dims);
    if (fuzz_chance(c, 3)) {
        x = fuzz_new(c, Q8_F32, 4, dims);
        y = fuzz_new_like(c, Q8_U8, x);
        dims[1] = dims[2] = 1;
    }
    int factor = fuzz_chance(c, 2) ? fuzz_id(c, fuzz_new(c, Q8_F32, 4, dims)) : -1;
    q8_plan_add_dynamic_quantize(c->plan, fuzz_id(c, x), range, factor, fuzz_id(c, y),
                                 fuzz_id(c, scale), fuzz_id(c, zero_point));
}

static void add_table(fuzz_case *c)
{
    int x = new_random(c, Q8_U8);
    q8_plan_add_table(c->plan, x, result_for(c, Q8_U8, x),
                      fuzz_chance(c, 32) ? NULL : fuzz_memory(c, 256, 1));
}

static void add_cast(fuzz_case *c)
{
    int x = new_random(c, dtypes[fuzz_below(c, DTYPES)]);
    q8_plan_add_cast(c->plan, x, result_for(c, dtypes[fuzz_below(c, DTYPES)], x));
}

static void add_unary(fuzz_case *c)
{
    int x = new_random(c, Q8_F32);
    q8_plan_add_unary_f32(c->plan, fuzz_bend(c, (int32_t)fuzz_below(c, 24)), x,
                          result_for(c, Q8_F32, x), fuzz_float(c), fuzz_float(c));
}

/* An operand whose shape broadcasts to that of y. */
static int new_operand(fuzz_case *c, int dtype, int rank, const int64_t *dims)
{
    int64_t own[FUZZ_MOST_RANK];
    int dropped = rank && fuzz_chance(c, 4) ? (int)fuzz_below(c, (uint32_t)rank) : 0;
    for (int d = dropped; d < rank; d++)
        own[d - dropped] = fuzz_bend64(c, fuzz_chance(c, 3) ? 1 : dims[d]);
    return fuzz_id(c, fuzz_new(c, dtype, rank - dropped, own));
}

static void add_binary(fuzz_case *c)
{
    int64_t dims[FUZZ_MOST_RANK];
    bool is_f32 = fuzz_chance(c, 2);
    int rank = (int)fuzz_below(c, FUZZ_MOST_RANK + 1), dtype = is_f32 ? Q8_F32 : Q8_U8;
    fuzz_shape(c, rank, dims);
    int a = new_operand(c, dtype, rank, dims), b = new_operand(c, dtype, rank, dims);
    int y = fuzz_id(c, fuzz_chance(c, 8) ? a : fuzz_new(c, dtype, rank, dims));
    if (is_f32) {
        q8_plan_add_binary_f32(c->plan, fuzz_bend(c, (int32_t)fuzz_below(c, 7)), a, b, y);
        fuzz_maybe_finish(c, y);
        return;
    }
    q8_binary binary = {.op = fuzz_bend(c, (int32_t)fuzz_below(c, 3)), .a = a, .b = b, .y = y,
                        .a_zero_point = fuzz_code(c), .b_zero_point = fuzz_code(c),
                        .y_zero_point = fuzz_code(c), .y_low = fuzz_bend(c, 0),
                        .y_high = fuzz_bend(c, 255), .a_multiplier = fuzz_float(c),
                        .b_multiplier = fuzz_float(c)};
    q8_plan_add_binary(c->plan, &binary);
}

static void add_arithmetic(fuzz_case *c)
{
    int64_t dims[FUZZ_MOST_RANK];
    int rank = (int)fuzz_below(c, 5), dtype = dtypes[fuzz_below(c, DTYPES)];
    fuzz_shape(c, rank, dims);
    int a = new_operand(c, dtype, rank, dims), b = new_operand(c, dtype, rank, dims);
    int y = fuzz_id(c, fuzz_chance(c, 8) ? a : fuzz_new(c, dtype, rank, dims));
    q8_plan_add_arithmetic(c->plan, fuzz_bend(c, (int32_t)fuzz_below(c, 12)), a, b, y);
}

static void add_choice(fuzz_case *c)
{
    int64_t dims[FUZZ_MOST_RANK];
    int rank = (int)fuzz_below(c, FUZZ_MOST_RANK + 1), dtype = dtypes[fuzz_below(c, DTYPES)];
    fuzz_shape(c, rank, dims);
    int a = new_operand(c, dtype, rank, dims), b = new_operand(c, dtype, rank, dims);
    if (fuzz_chance(c, 2)) {
        int y = fuzz_id(c, fuzz_chance(c, 8) ? a : fuzz_new(c, Q8_U8, rank, dims));
        q8_plan_add_compare(c->plan, fuzz_bend(c, (int32_t)fuzz_below(c, 3)), a, b, y);
        return;
    }
    int y = fuzz_id(c, fuzz_chance(c, 8) ? a : fuzz_new(c, dtype, rank, dims));
    q8_plan_add_where(c->plan, new_operand(c, Q8_U8, rank, dims), a, b, y);
}

/* ---- movement ---- */

/* Row-major strides of dims taken in a random order. */
static void random_strides(fuzz_case *c, int rank, const int64_t *dims, int64_t *strides)
{
    bool is_done[FUZZ_MOST_RANK] = {false};
    int64_t stride = 1;
    for (int left = rank; left > 0; left--) {
        int d = left - 1;
        if (fuzz_chance(c, 3))
            d = (int)fuzz_below(c, (uint32_t)rank);
        while (is_done[d])
            d = (d + 1) % rank;
        is_done[d] = true;
        strides[d] = fuzz_bend64(c, stride);
        if (__builtin_mul_overflow(stride, dims[d], &stride))
            stride = 1;
    }
}

/* At times one dimension goes backwards over the same elements, or stays where it is. */
static void turn_stride(fuzz_case *c, int rank, const int64_t *dims, int64_t *strides,
                        int64_t *offset)
{
    if (rank == 0 || !fuzz_chance(c, 4))
        return;
    int d = (int)fuzz_below(c, (uint32_t)rank);
    if (fuzz_chance(c, 4)) {
        strides[d] = 0;
    } else if (dims[d] > 0 && dims[d] < 1 << 20 && strides[d] > 0 && strides[d] < 1 << 20) {
        *offset += (dims[d] - 1) * strides[d];
        strides[d] = -strides[d];
    }
}

static void add_copy(fuzz_case *c)
{
    int64_t dims[FUZZ_MOST_RANK], x_strides[FUZZ_MOST_RANK], y_strides[FUZZ_MOST_RANK];
    int rank = (int)fuzz_below(c, FUZZ_MOST_RANK + 1), dtype = dtypes[fuzz_below(c, 3)];
    int64_t count = fuzz_shape(c, rank, dims);
    int64_t x_offset = fuzz_below(c, 9), y_offset = fuzz_below(c, 9);
    int64_t x_count = count + x_offset, y_count = count + y_offset;
    int x = fuzz_new(c, dtype, 1, &x_count), y = fuzz_new(c, dtype, 1, &y_count);
    random_strides(c, rank, dims, x_strides);
    random_strides(c, rank, dims, y_strides);
    turn_stride(c, rank, dims, x_strides, &x_offset);
    turn_stride(c, rank, dims, y_strides, &y_offset);
    q8_copy copy = {.x = fuzz_id(c, x), .y = fuzz_id(c, y), .rank = fuzz_chance(c, 64) ? -1 : rank,
                    .dims = dims, .x_offset = fuzz_bend64(c, x_offset),
                    .y_offset = fuzz_bend64(c, y_offset), .x_strides = x_strides,
                    .y_strides = y_strides,
                    .table = fuzz_chance(c, 4) ? fuzz_memory(c, 256, 1) : NULL};
    q8_plan_add_copy(c->plan, &copy);
}

static void add_fill(fuzz_case *c)
{
    int y = new_random(c, dtypes[fuzz_below(c, DTYPES)]);
    q8_plan_add_fill(c->plan, fuzz_id(c, y), fuzz_memory(c, 8, 1));
}

static void add_gather(fuzz_case *c)
{
    int64_t dims[3];
    fuzz_shape(c, 3, dims);
    int dtype = dtypes[fuzz_below(c, DTYPES)];
    int64_t count = fuzz_below(c, 20), y_dims[3] = {dims[0], count, dims[2]};
    int x = fuzz_new(c, dtype, 3, dims), y = fuzz_new(c, dtype, 3, y_dims);
    if (fuzz_chance(c, 3)) {
        int at = fuzz_new(c, fuzz_chance(c, 2) ? Q8_S32 : Q8_S64, 1, &count);
        q8_plan_add_gather_at(c->plan, fuzz_id(c, x), fuzz_id(c, at), fuzz_id(c, y),
                              fuzz_bend64(c, dims[0]), fuzz_bend64(c, dims[1]),
                              fuzz_bend64(c, dims[2]));
        return;
    }
    int64_t *indices = fuzz_memory(c, count, sizeof *indices);
    for (int64_t i = 0; indices && i < count; i++)
        indices[i] = fuzz_bend64(c, dims[1] > 0 ? fuzz_below(c, 200) % dims[1] : 0);
    q8_plan_add_gather(c->plan, fuzz_id(c, x), fuzz_id(c, y), fuzz_bend64(c, dims[0]),
                       fuzz_bend64(c, dims[1]), fuzz_bend64(c, dims[2]), count, indices);
}

static void add_lookup(fuzz_case *c)
{
    int64_t dims[FUZZ_MOST_RANK], at_dims[FUZZ_MOST_RANK];
    int rank = 1 + (int)fuzz_below(c, 4), dtype = dtypes[fuzz_below(c, DTYPES)];
    int axis = (int)fuzz_below(c, (uint32_t)rank), op = fuzz_bend(c, (int32_t)fuzz_below(c, 8) - 1);
    fuzz_shape(c, rank, dims);
    for (int d = 0; d < rank; d++)
        at_dims[d] = fuzz_bend64(c, d == axis ? fuzz_below(c, 9) : dims[d]);
    bool writes = fuzz_chance(c, 2);
    int x = fuzz_new(c, dtype, rank, dims);
    if (fuzz_chance(c, 2)) {
        int at = fuzz_new(c, fuzz_chance(c, 2) ? Q8_S32 : Q8_S64, rank, at_dims);
        int moved = fuzz_new(c, dtype, rank, at_dims);
        q8_plan_add_lookup_elements(
            c->plan, fuzz_id(c, x), fuzz_id(c, at), writes ? fuzz_id(c, moved) : -1,
            fuzz_id(c, writes ? fuzz_new_like(c, dtype, x) : moved), fuzz_bend(c, axis), op);
        return;
    }
    /* Places along the axes up to `axis`, none of them a batch, or the first one. */
    int batch = !writes && axis > 0 && fuzz_chance(c, 2);
    int64_t places[3] = {dims[0], fuzz_below(c, 9), axis + 1 - batch};
    int64_t moved_dims[FUZZ_MOST_RANK + 1] = {dims[0], places[1]};
    int moved_rank = batch + 1;
    moved_dims[batch] = places[1];
    for (int d = axis + 1; d < rank; d++)
        moved_dims[moved_rank++] = dims[d];
    int at = fuzz_new(c, fuzz_chance(c, 2) ? Q8_S32 : Q8_S64, 2 + batch, places + !batch);
    int moved = fuzz_new(c, dtype, moved_rank, moved_dims);
    q8_plan_add_lookup_blocks(c->plan, fuzz_id(c, x), fuzz_id(c, at),
                              writes ? fuzz_id(c, moved) : -1,
                              fuzz_id(c, writes ? fuzz_new_like(c, dtype, x) : moved),
                              fuzz_bend(c, batch), op);
}

static void add_top(fuzz_case *c)
{
    int64_t dims[3];
    int dtype = dtypes[fuzz_below(c, 4)];
    fuzz_shape(c, 3, dims);
    int64_t k = dims[1] > 0 ? fuzz_below(c, 200) % dims[1] : 0;
    int64_t y_dims[3] = {dims[0], fuzz_bend64(c, k), dims[2]};
    int x = fuzz_new(c, dtype, 3, dims), values = fuzz_new(c, dtype, 3, y_dims);
    q8_plan_add_top(c->plan, fuzz_id(c, x), fuzz_id(c, values),
                    fuzz_id(c, fuzz_new(c, Q8_S64, 3, y_dims)), fuzz_bend64(c, dims[0]),
                    fuzz_bend64(c, dims[1]), fuzz_bend64(c, dims[2]), fuzz_bend64(c, k),
                    (int)fuzz_below(c, 2));
}

static void add_running_sum(fuzz_case *c)
{
    int64_t dims[3];
    fuzz_shape(c, 3, dims);
    int dtype = dtypes[fuzz_below(c, 4)];
    int x = fuzz_new(c, dtype, 3, dims), y = fuzz_new_like(c, dtype, x);
    q8_plan_add_running_sum(c->plan, fuzz_id(c, x), fuzz_id(c, y), fuzz_bend64(c, dims[0]),
                            fuzz_bend64(c, dims[1]), fuzz_bend64(c, dims[2]),
                            (int)fuzz_below(c, 2), (int)fuzz_below(c, 2));
}

static void add_grid_sample(fuzz_case *c)
{
    int64_t dims[4], at_dims[4], y_dims[4];
    fuzz_shape(c, 4, dims);
    for (int d = 0; d < 4; d++)
        at_dims[d] = d == 0 ? dims[0] : d == 3 ? fuzz_bend64(c, 2) : fuzz_below(c, 12);
    y_dims[0] = dims[0], y_dims[1] = dims[1], y_dims[2] = at_dims[1], y_dims[3] = at_dims[2];
    int x = fuzz_new(c, Q8_F32, 4, dims), at = fuzz_new(c, Q8_F32, 4, at_dims);
    q8_plan_add_grid_sample(c->plan, fuzz_id(c, x), fuzz_id(c, at),
                            fuzz_id(c, fuzz_new(c, Q8_F32, 4, y_dims)), (int)fuzz_below(c, 2),
                            fuzz_bend(c, (int32_t)fuzz_below(c, 3)), (int)fuzz_below(c, 2));
}

/* Sources of one axis of a picture; NULL if there are too many. */
static int32_t *random_sources(fuzz_case *c, int64_t size, int64_t count)
{
    int32_t *sources = fuzz_memory(c, count, sizeof *sources);
    for (int64_t i = 0; sources && i < count; i++)
        sources[i] = fuzz_bend(c, size > 0 && size < INT32_MAX ? (int32_t)(i % size) : 0);
    return sources;
}

static float *random_fractions(fuzz_case *c, int64_t count)
{
    float *fractions = fuzz_memory(c, count, sizeof *fractions);
    bool is_nearest = fuzz_chance(c, 2);
    for (int64_t i = 0; fractions && i < count; i++)
        fractions[i] = fuzz_chance(c, 200) ? fuzz_float(c) : is_nearest ? 0.0f : 0.375f;
    return fractions;
}

static void add_resize(fuzz_case *c)
{
    int64_t dims[4];
    int dtype = fuzz_chance(c, 2) ? Q8_F32 : Q8_U8;
    fuzz_shape(c, 4, dims);
    int64_t y_dims[4] = {dims[0], fuzz_below(c, 20), fuzz_below(c, 20), fuzz_bend64(c, dims[3])};
    int x = fuzz_new(c, dtype, 4, dims), y = fuzz_new(c, dtype, 4, y_dims);
    q8_resize resize = {.x = x, .y = y, /* y's sizes are those of the arrays below */
                        .low_h = random_sources(c, dims[1], y_dims[1]),
                        .high_h = random_sources(c, dims[1], y_dims[1]),
                        .low_w = random_sources(c, dims[2], y_dims[2]),
                        .high_w = random_sources(c, dims[2], y_dims[2]),
                        .fraction_h = random_fractions(c, y_dims[1]),
                        .fraction_w = random_fractions(c, y_dims[2])};
    q8_plan_add_resize(c->plan, &resize);
}

static void add_resample(fuzz_case *c)
{
    int64_t dims[3], count = fuzz_below(c, 20), taps = fuzz_below(c, 6);
    fuzz_shape(c, 3, dims);
    int64_t y_dims[3] = {dims[0], count, dims[2]};
    q8_resample resample = {.x = fuzz_id(c, fuzz_new(c, Q8_F32, 3, dims)),
                            .y = fuzz_id(c, fuzz_new(c, Q8_F32, 3, y_dims)),
                            .outer = fuzz_bend64(c, dims[0]), .axis = fuzz_bend64(c, dims[1]),
                            .inner = fuzz_bend64(c, dims[2]), .count = count, .taps = taps,
                            .indices = random_sources(c, dims[1], count * taps),
                            .weights = random_fractions(c, count * taps),
                            .offset = fuzz_chance(c, 2) ? random_fractions(c, count) : NULL};
    q8_plan_add_resample(c->plan, fuzz_chance(c, 128) ? NULL : &resample);
}

/* ---- rows ---- */

static void add_softmax(fuzz_case *c)
{
    int x = new_random(c, Q8_F32);
    q8_plan_add_softmax_f32(c->plan, x, result_for(c, Q8_F32, x), (int)fuzz_below(c, 2));
}

static void add_layer_norm(fuzz_case *c)
{
    int64_t dims[2];
    fuzz_shape(c, 2, dims);
    int x = fuzz_new(c, Q8_F32, 2, dims), y = fuzz_new(c, Q8_F32, 2, dims);
    int scale = fuzz_new(c, Q8_F32, 1, dims + 1);
    int bias = fuzz_chance(c, 2) ? fuzz_new(c, Q8_F32, 1, dims + 1) : -1;
    int codes = fuzz_chance(c, 2) ? fuzz_new(c, Q8_U8, 2, dims) : -1;
    q8_layer_norm norm = {.x = fuzz_id(c, x), .scale = fuzz_id(c, scale),
                          .bias = fuzz_id(c, bias), .y = fuzz_chance(c, 3) ? -1 : fuzz_id(c, y),
                          .codes = fuzz_id(c, codes), .epsilon = fuzz_float(c),
                          .code_scale = fuzz_float(c), .code_zero_point = fuzz_code(c)};
    q8_plan_add_layer_norm(c->plan, fuzz_chance(c, 128) ? NULL : &norm);
}

static void add_reduction(fuzz_case *c)
{
    int64_t dims[3];
    bool is_argmax = fuzz_chance(c, 2);
    fuzz_shape(c, 3, dims);
    if (fuzz_chance(c, 3))
        dims[2] = 1;
    int64_t y_dims[2] = {dims[0], dims[2]};
    int x = fuzz_new(c, is_argmax && fuzz_chance(c, 2) ? Q8_U8 : Q8_F32, 3, dims);
    int y = fuzz_new(c, is_argmax ? Q8_S64 : Q8_F32, 2, y_dims);
    int64_t outer = fuzz_bend64(c, dims[0]), axis = fuzz_bend64(c, dims[1]);
    int64_t inner = fuzz_bend64(c, dims[2]);
    if (is_argmax)
        q8_plan_add_argmax(c->plan, fuzz_id(c, x), fuzz_id(c, y), outer, axis, inner,
                           (int)fuzz_below(c, 2));
    else
        q8_plan_add_reduce_f32(c->plan, fuzz_bend(c, (int32_t)fuzz_below(c, 5)), fuzz_id(c, x),
                               fuzz_id(c, y), outer, axis, inner);
}

static void add_histogram(fuzz_case *c)
{
    int64_t dims[2], rows[2] = {1 + fuzz_below(c, 4), 3 - fuzz_chance(c, 64)};
    const int64_t bins = Q8_HISTOGRAM_BINS - fuzz_chance(c, 64);
    fuzz_shape(c, 2, dims);
    int x = fuzz_new(c, Q8_F32, 2, dims), ends = fuzz_new(c, Q8_F32, 2, rows);
    if (!fuzz_chance(c, 8))
        q8_plan_add_ends(c->plan, fuzz_id(c, x), fuzz_id(c, ends));
    q8_plan_add_histogram(c->plan, fuzz_id(c, x), fuzz_id(c, ends),
                          fuzz_id(c, fuzz_new(c, Q8_S64, 1, &bins)));
}

void fuzz_maybe_finish(fuzz_case *c, int y)
{
    const int64_t two = 2;
    if (fuzz_chance(c, 3))
        q8_plan_then_unary(c->plan, fuzz_id(c, y), fuzz_bend(c, (int32_t)fuzz_below(c, 24)),
                           fuzz_float(c), fuzz_float(c));
    if (fuzz_chance(c, 3))
        q8_plan_find_range(c->plan, fuzz_id(c, y), fuzz_id(c, fuzz_new(c, Q8_F32, 1, &two)));
}

void fuzz_add_step(fuzz_case *c)
{
    static void (*const steps[])(fuzz_case *) = {
        add_conversion, add_quantize_picture, add_dynamic_quantize, add_table,  add_cast,
        add_unary,      add_binary,           add_binary,           add_copy,   add_copy,
        add_fill,       add_gather,           add_resize,           add_softmax,
        add_arithmetic, add_resample,         add_choice,           add_choice,
        add_lookup,     add_lookup,           add_top,              add_running_sum,
        add_grid_sample,
        add_layer_norm, add_reduction,        add_histogram};
    if (c->tensor_count <= FUZZ_MOST_TENSORS - 8)
        steps[fuzz_below(c, sizeof steps / sizeof steps[0])](c);
}
