/* fuzz_products.c - random convolutions, pools and matrix products. */
#include <string.h>

#include "fuzz.h"

/* Kernel, stride, pads and dilation of one axis, and the size that the result has. */
typedef struct {
    int32_t kernel, stride, pad, pad_end, dilation;
    int64_t size;
} axis;

static axis random_axis(fuzz_case *c, int64_t size)
{
    axis a = {.kernel = fuzz_bend(c, 1 + (int32_t)fuzz_below(c, 5)),
              .stride = fuzz_bend(c, 1 + (int32_t)fuzz_below(c, 3)),
              .pad = fuzz_bend(c, (int32_t)fuzz_below(c, 3)),
              .pad_end = fuzz_bend(c, (int32_t)fuzz_below(c, 3)),
              .dilation = fuzz_bend(c, fuzz_chance(c, 4) ? 2 : 1)};
    int64_t room = size < INT32_MAX && size >= 0
                       ? size + a.pad + a.pad_end - ((int64_t)a.kernel - 1) * a.dilation - 1
                       : 0;
    a.size = fuzz_bend64(c, room < 0 || a.stride < 1 ? 1 : room / a.stride + 1);
    return a;
}

/* Of a result whose pads leave the size as it is, but for the stride. */
static int64_t same_size(int64_t size, int32_t stride)
{
    return size < 1 ? size : (size - 1) / stride + 1;
}

static void count_work(fuzz_case *c, axis h, axis w, int64_t depth, int y)
{
    c->work += (double)h.kernel * (double)w.kernel * (double)depth * (double)fuzz_count(c, y);
}

static void add_pool(fuzz_case *c)
{
    int64_t dims[4];
    int dtype = fuzz_chance(c, 2) ? Q8_F32 : Q8_U8;
    fuzz_shape(c, 4, dims);
    int x = fuzz_new(c, dtype, 4, dims);
    axis h = random_axis(c, dims[1]), w = random_axis(c, dims[2]);
    dims[1] = h.size;
    dims[2] = w.size;
    int y = fuzz_new(c, dtype, 4, dims);
    count_work(c, h, w, 1, y);
    q8_pool pool = {.x = fuzz_id(c, x), .y = fuzz_id(c, y),
                    .kind = fuzz_bend(c, (int32_t)fuzz_below(c, 2)),
                    .kernel_h = h.kernel, .kernel_w = w.kernel,
                    .stride_h = h.stride, .stride_w = w.stride,
                    .pad_top = h.pad, .pad_left = w.pad,
                    .pad_bottom = h.pad_end, .pad_right = w.pad_end,
                    .dilation_h = h.dilation, .dilation_w = w.dilation,
                    .count_include_pad = (int32_t)fuzz_below(c, 2),
                    .x_zero_point = fuzz_code(c), .y_zero_point = fuzz_code(c),
                    .y_low = fuzz_bend(c, 0), .y_high = fuzz_bend(c, 255),
                    .multiplier = fuzz_float(c)};
    q8_plan_add_pool(c->plan, &pool);
    if (dtype == Q8_F32)
        fuzz_maybe_finish(c, y);
    pool.y = fuzz_id(c, fuzz_new(c, Q8_S64, 4, dims));
    if (fuzz_chance(c, 4))
        q8_plan_add_max_pool_indices(c->plan, &pool, (int)fuzz_below(c, 2));
}

/* Weights of [OC, KH, KW, C / groups]; false if this program cannot provide them. */
static bool provide_weights(fuzz_case *c, int64_t outputs, axis h, axis w, int64_t depth,
                            size_t bytes, void **weights)
{
    double count = (double)outputs * (double)h.kernel * (double)w.kernel * (double)depth;
    bool is_sane = outputs > 0 && h.kernel > 0 && w.kernel > 0 && depth > 0;
    *weights = count < 1e6 ? fuzz_memory(c, is_sane ? (int64_t)count : 1, bytes) : NULL;
    return *weights != NULL;
}

/* Any bytes, or numbers below 1 as models have them. */
static float *random_multipliers(fuzz_case *c, int64_t count)
{
    float *multipliers = fuzz_memory(c, count, sizeof *multipliers);
    bool is_sane = fuzz_chance(c, 2);
    for (int64_t i = 0; multipliers && is_sane && i < count; i++)
        multipliers[i] = 1.0f / (float)(2 + i % 300);
    return multipliers;
}

/* A tensor that holds one number known at run time, or -1. */
static int maybe_scalar(fuzz_case *c, int dtype)
{
    return fuzz_chance(c, 8) ? fuzz_id(c, fuzz_new(c, dtype, 0, NULL)) : -1;
}

/* A depthwise convolution that may follow the step that makes x of these dimensions. */
static void maybe_then_depthwise(fuzz_case *c, int x, const int64_t dims[4])
{
    if (!fuzz_chance(c, 2))
        return;
    const int32_t kernel = fuzz_bend(c, fuzz_chance(c, 2) ? 3 : 5);
    const int32_t stride = fuzz_bend(c, fuzz_chance(c, 2) ? 1 : 2), pad = kernel / 2;
    if (kernel < 1 || kernel > 9 || stride < 1 || dims[3] < 1 || dims[3] > 4096)
        return;
    int64_t y_dims[4] = {dims[0], same_size(dims[1], stride), same_size(dims[2], stride), dims[3]};
    const int y = fuzz_new(c, Q8_F32, 4, y_dims);
    const axis taps = {.kernel = kernel};
    count_work(c, taps, taps, 1, y);
    void *weights;
    if (!provide_weights(c, dims[3], taps, taps, 1, sizeof(float), &weights))
        return;
    q8_conv_f32 conv = {.x = fuzz_id(c, x), .y = fuzz_id(c, y), .kernel_h = kernel,
                        .kernel_w = kernel, .stride_h = stride, .stride_w = stride,
                        .pad_top = pad, .pad_left = pad, .dilation_h = 1, .dilation_w = 1,
                        .groups = (int32_t)dims[3], .weights = weights,
                        .bias = fuzz_chance(c, 2) ? fuzz_memory(c, dims[3], 4) : NULL,
                        .low = -fuzz_float(c), .high = fuzz_float(c)};
    q8_plan_then_depthwise(c->plan, fuzz_chance(c, 128) ? NULL : &conv);
    fuzz_maybe_finish(c, y);
    if (!fuzz_chance(c, 2))
        return;
    const int64_t channels[2] = {dims[0], dims[3]};
    int found[3];
    for (int i = 0; i < 3; i++)
        found[i] = fuzz_id(c, fuzz_new(c, Q8_F32, 2, channels));
    q8_plan_find_channels(c->plan, fuzz_id(c, y), found[0], found[1], found[2]);
}

/* Sizes of a convolution's operands, and what the program provides for it. */
typedef struct {
    axis h, w;
    int64_t dims[4], y_dims[4]; /* of x and y */
    int32_t groups;
    int x, y;
    void *weights;
} convolution;

/* A picture and windows on it: any, or what special paths are for: each channel for itself, or
 * plain products. */
static convolution random_convolution(fuzz_case *c)
{
    convolution v = {.groups = 1};
    fuzz_shape(c, 4, v.dims);
    v.h = random_axis(c, v.dims[1]);
    v.w = random_axis(c, v.dims[2]);
    const uint32_t kind = fuzz_below(c, 6);
    if (kind == 0) { /* pointwise */
        v.h = (axis){.kernel = 1, .stride = 1, .dilation = 1, .size = v.dims[1]};
        v.w = (axis){.kernel = 1, .stride = 1, .dilation = 1, .size = v.dims[2]};
    } else if (kind <= 2) { /* depthwise */
        v.groups = (int32_t)(v.dims[3] & 0xFFF);
    } else if (kind == 3 && v.dims[3] > 0 && v.dims[3] < 1000) {
        v.dims[3] *= v.groups = 2;
    }
    if (kind == 1) { /* of squares */
        v.h.kernel = v.w.kernel = fuzz_chance(c, 2) ? 3 : 5;
        v.h.stride = v.w.stride = fuzz_chance(c, 2) ? 1 : 2;
        v.h.dilation = v.w.dilation = 1;
        v.h.pad = v.w.pad = v.h.kernel / 2;
        v.h.size = same_size(v.dims[1], v.h.stride);
        v.w.size = same_size(v.dims[2], v.w.stride);
    }
    return v;
}

/* Tensors and weights; false if this program cannot provide them. */
static bool provide_operands(fuzz_case *c, convolution *v, int type, int result)
{
    const int64_t *dims = v->dims;
    const int64_t depth =
        v->groups > 0 && dims[3] >= 0 && dims[3] < INT32_MAX ? dims[3] / v->groups : 1;
    const int64_t per_group = 1 + fuzz_below(c, v->groups <= 4 ? 40 : fuzz_chance(c, 2) ? 3 : 1);
    const int64_t y_dims[4] = {dims[0], v->h.size, v->w.size,
                               fuzz_bend64(c, v->groups * per_group)};
    memcpy(v->y_dims, y_dims, sizeof y_dims);
    v->x = fuzz_new(c, type, 4, dims);
    v->y = fuzz_new(c, result, 4, y_dims);
    count_work(c, v->h, v->w, depth, v->y);
    return provide_weights(c, y_dims[3], v->h, v->w, depth, type == Q8_F32 ? 4 : 1, &v->weights);
}

/* Whether the weights of a plain product are to be taken for rows: they are as many. */
static int32_t are_rows(fuzz_case *c, const convolution *v)
{
    return v->h.kernel == 1 && v->w.kernel == 1 && v->groups == 1 && fuzz_chance(c, 2);
}

static void add_conv_f32(fuzz_case *c)
{
    convolution v = random_convolution(c);
    if (!provide_operands(c, &v, Q8_F32, Q8_F32))
        return;
    /* ids, C, OC and groups belong to the weights that were provided: they stay as they are */
    q8_conv_f32 conv = {.x = v.x, .y = v.y, .kernel_h = v.h.kernel, .kernel_w = v.w.kernel,
                        .stride_h = v.h.stride, .stride_w = v.w.stride, .pad_top = v.h.pad,
                        .pad_left = v.w.pad, .dilation_h = v.h.dilation,
                        .dilation_w = v.w.dilation, .groups = v.groups, .weights = v.weights,
                        .weights_are_rows = are_rows(c, &v),
                        .bias = fuzz_chance(c, 2) ? fuzz_memory(c, v.y_dims[3], 4) : NULL,
                        .low = -fuzz_float(c), .high = fuzz_float(c)};
    q8_plan_add_conv_f32(c->plan, fuzz_chance(c, 128) ? NULL : &conv);
    fuzz_maybe_finish(c, v.y);
}

/* What a convolution of codes may have on top: most combinations are refused, so one at a time is
 * the rule. */
static void add_extras(fuzz_case *c, const convolution *v, q8_conv *conv, q8_gate *gate,
                       q8_addend *addend)
{
    const int64_t outputs = v->y_dims[3], gate_dims[4] = {v->dims[0], 1, 1, v->dims[3]};
    const uint32_t chosen = fuzz_below(c, 12);
    const bool has_all = chosen == 11;
    if (has_all || chosen == 0)
        conv->weight_zero_point = fuzz_memory(c, outputs, 4);
    int32_t *zero_points = (int32_t *)(uintptr_t)conv->weight_zero_point;
    for (int64_t i = 0; zero_points && i < outputs; i++)
        zero_points[i] = fuzz_bend(c, (int32_t)(i % 384) - 128);
    if (has_all || chosen == 1)
        conv->x_scale_tensor = fuzz_id(c, fuzz_new(c, Q8_F32, 0, NULL));
    if (has_all || chosen == 1 || chosen == 2)
        conv->x_zero_point_tensor = fuzz_id(c, fuzz_new(c, Q8_U8, 0, NULL));
    if (has_all || chosen == 3)
        conv->residual = fuzz_id(c, fuzz_new(c, Q8_F32, 4, v->y_dims));
    if (has_all || chosen == 4)
        conv->table = fuzz_memory(c, 256, 1);
    if (has_all || chosen == 5 || (chosen > 7 && v->h.kernel == 1)) {
        *gate = (q8_gate){.tensor = fuzz_id(c, fuzz_new(c, Q8_U8, 4, gate_dims)),
                          .x_zero_point = fuzz_code(c), .zero_point = fuzz_code(c),
                          .low = fuzz_bend(c, 0), .high = fuzz_bend(c, 255),
                          .multiplier = fuzz_float(c)};
        conv->gate = gate;
    }
    if (has_all || chosen == 6 || chosen == 7) {
        *addend = (q8_addend){.tensor = fuzz_id(c, fuzz_new(c, Q8_U8, 4, v->y_dims)),
                              .a_zero_point = fuzz_code(c), .b_zero_point = fuzz_code(c),
                              .y_zero_point = fuzz_code(c), .y_low = fuzz_bend(c, 0),
                              .y_high = fuzz_bend(c, 255), .a_multiplier = fuzz_float(c),
                              .b_multiplier = fuzz_float(c)};
        conv->addend = addend;
    }
}

static void add_conv(fuzz_case *c)
{
    static const int results[] = {Q8_U8, Q8_U8, Q8_S32, Q8_F32};
    convolution v = random_convolution(c);
    if (!provide_operands(c, &v, Q8_U8, results[fuzz_below(c, 4)]))
        return;
    q8_gate gate;
    q8_addend addend;
    q8_conv conv = {.x = v.x, .y = v.y, .kernel_h = v.h.kernel, .kernel_w = v.w.kernel,
                    .stride_h = v.h.stride, .stride_w = v.w.stride, .pad_top = v.h.pad,
                    .pad_left = v.w.pad, .dilation_h = v.h.dilation, .dilation_w = v.w.dilation,
                    .groups = v.groups, .weights = v.weights,
                    .weights_are_rows = are_rows(c, &v),
                    .bias = fuzz_chance(c, 2) ? fuzz_memory(c, v.y_dims[3], 4) : NULL,
                    .x_zero_point = fuzz_code(c), .multiplier = random_multipliers(c, v.y_dims[3]),
                    .y_zero_point = fuzz_code(c), .y_low = fuzz_bend(c, 0),
                    .y_high = fuzz_bend(c, 255),
                    .float_bias = fuzz_chance(c, 2) ? fuzz_memory(c, v.y_dims[3], 4) : NULL,
                    .float_low = -fuzz_float(c), .float_high = fuzz_float(c),
                    .x_scale_tensor = -1, .x_zero_point_tensor = -1, .y_scale = fuzz_float(c),
                    .residual = -1};
    if (fuzz_chance(c, 2))
        add_extras(c, &v, &conv, &gate, &addend);
    q8_plan_add_conv(c->plan, fuzz_chance(c, 128) ? NULL : &conv);
    if (v.y < 0 || c->tensors[v.y].dtype != Q8_F32)
        return;
    fuzz_maybe_finish(c, v.y);
    maybe_then_depthwise(c, v.y, v.y_dims);
}

static void add_matmul(fuzz_case *c, bool is_f32)
{
    static const int results[] = {Q8_U8, Q8_S32, Q8_F32};
    int64_t dims[4];
    fuzz_shape(c, 4, dims); /* batch, M, K, N */
    int64_t a_dims[3] = {dims[0], dims[1], dims[2]};
    int64_t b_dims[3] = {fuzz_chance(c, 2) ? 1 : dims[0], dims[2], dims[3]};
    int64_t y_dims[3] = {dims[0], dims[1], fuzz_bend64(c, dims[3])};
    int type = is_f32 ? Q8_F32 : Q8_U8;
    int a = fuzz_new(c, type, 3, a_dims), b = fuzz_new(c, type, 3, b_dims);
    int y = fuzz_new(c, is_f32 ? Q8_F32 : results[fuzz_below(c, 3)], 3, y_dims);
    c->work += (double)fuzz_count(c, a) * (double)dims[3];
    if (is_f32) {
        q8_plan_add_matmul_f32(c->plan, fuzz_id(c, a), fuzz_id(c, b), fuzz_id(c, y),
                               fuzz_float(c));
        return;
    }
    q8_matmul matmul = {.a = fuzz_id(c, a), .b = fuzz_id(c, b), .y = fuzz_id(c, y),
                        .a_zero_point = fuzz_code(c), .b_zero_point = fuzz_code(c),
                        .a_zero_point_tensor = maybe_scalar(c, Q8_U8),
                        .b_zero_point_tensor = maybe_scalar(c, Q8_U8),
                        .multiplier = fuzz_float(c), .y_zero_point = fuzz_code(c),
                        .y_low = fuzz_bend(c, 0), .y_high = fuzz_bend(c, 255),
                        .a_scale_tensor = maybe_scalar(c, Q8_F32),
                        .b_scale_tensor = maybe_scalar(c, Q8_F32)};
    q8_plan_add_matmul(c->plan, fuzz_chance(c, 128) ? NULL : &matmul);
}

/* Rows of heads, dense in the order batch, row, head or batch, head, row. */
static q8_heads random_heads(fuzz_case *c, int dtype, int64_t batches, int64_t heads, int64_t rows,
                             int64_t length)
{
    const bool is_split = fuzz_chance(c, 2); /* each row holds all heads */
    const int64_t offset = fuzz_chance(c, 4) ? (int64_t)fuzz_below(c, 9) : 0;
    const int64_t dims[5] = {batches, heads, rows, length, 1};
    int64_t count = 1;
    for (int d = 0; d < 4; d++)
        if (__builtin_mul_overflow(count, dims[d], &count))
            count = -1;
    count = count < 0 || count > INT64_MAX / 2 ? count : count + offset;
    return (q8_heads){
        .tensor = fuzz_id(c, fuzz_new(c, dtype, 1, &count)),
        .offset = fuzz_bend64(c, offset),
        .batch_stride = fuzz_bend64(c, (int64_t)((uint64_t)heads * (uint64_t)rows *
                                                 (uint64_t)length)),
        .head_stride = fuzz_bend64(c, (int64_t)((is_split ? 1u : (uint64_t)rows) *
                                                (uint64_t)length)),
        .row_stride = fuzz_bend64(c, (int64_t)((is_split ? (uint64_t)heads : 1u) *
                                               (uint64_t)length)),
    };
}

static void add_attention(fuzz_case *c)
{
    int64_t dims[4];
    fuzz_shape(c, 4, dims); /* batches, heads, rows, columns */
    const int64_t depth = 1 + fuzz_below(c, 90), value_depth = 1 + fuzz_below(c, 90);
    const int type = fuzz_chance(c, 3) ? Q8_F32 : Q8_U8;
    const int result = type == Q8_U8 && fuzz_chance(c, 2) ? Q8_U8 : Q8_F32;
    q8_attention attention = {
        .q = random_heads(c, type, dims[0], dims[1], dims[2], depth),
        .k = random_heads(c, type, dims[0], dims[1], dims[3], depth),
        .v = random_heads(c, type, dims[0], dims[1], dims[3], value_depth),
        .y = random_heads(c, result, dims[0], dims[1], dims[2], value_depth),
        .mask = {.tensor = -1},
        .batches = fuzz_bend64(c, dims[0]), .heads = fuzz_bend64(c, dims[1]),
        .rows = fuzz_bend64(c, dims[2]), .columns = fuzz_bend64(c, dims[3]),
        .depth = fuzz_bend64(c, depth), .value_depth = fuzz_bend64(c, value_depth),
        .scale = fuzz_float(c), .q_zero_point = fuzz_code(c), .k_zero_point = fuzz_code(c),
        .v_zero_point = fuzz_code(c), .p_zero_point = fuzz_code(c), .p_scale = fuzz_float(c),
        .multiplier = fuzz_float(c), .y_zero_point = fuzz_code(c), .y_low = fuzz_bend(c, 0),
        .y_high = fuzz_bend(c, 255), .zero_hidden = fuzz_chance(c, 3)};
    if (fuzz_chance(c, 2))
        attention.mask = random_heads(c, Q8_F32, dims[0], dims[1], dims[2], dims[3]);
    if (fuzz_chance(c, 3))
        attention.mask.head_stride = attention.mask.row_stride = 0;
    c->work += 2.0 * (double)dims[0] * (double)dims[1] * (double)dims[2] * (double)dims[3] * 90;
    q8_plan_add_attention(c->plan, fuzz_chance(c, 128) ? NULL : &attention);
}

void fuzz_add_product(fuzz_case *c)
{
    if (c->tensor_count > FUZZ_MOST_TENSORS - 8)
        return;
    uint32_t chosen = fuzz_below(c, 9);
    if (chosen < 2)
        add_pool(c);
    else if (chosen > 6)
        add_attention(c);
    else if (chosen == 4)
        add_conv_f32(c);
    else if (chosen < 4)
        add_conv(c);
    else
        add_matmul(c, chosen == 6);
}
