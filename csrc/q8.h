/* q8.h - the public C interface of the q8tool engine.
 *
 * A plan is a model compiled for one CPU: tensors at fixed places of one arena, constants and
 * packed weights owned by the plan, and a flat list of steps. Build it once, run it many times:
 *
 *     q8_plan_new -> q8_plan_tensor / q8_plan_constant -> q8_plan_add_* -> q8_plan_finish
 *     -> q8_plan_run (as often as wanted) -> q8_plan_free
 *
 * Conventions. Activations of eight-bit steps are always uint8 inside a plan (an int8 tensor is
 * stored as code + 128 with its zero point moved by 128); weights are always int8. Pictures are
 * NHWC. real = scale * (code - zero_point). Functions that can fail return 0 (or an id >= 0) or a
 * negative q8_status; the text is in q8_plan_error. Nothing prints, exits or aborts. Every size,
 * offset and attribute is checked when a step is added or the plan is finished, so that a hostile
 * plan gives an error and q8_plan_run touches nothing but the arena, the constants and the bound
 * tensors. All arrays that a descriptor points to are copied while the step is added.
 */
#ifndef Q8_H
#define Q8_H

#include <stdint.h>

/* cffi reads what stands between the two marks. */
/* ---- cffi: begin ---- */

typedef enum {
    Q8_OK = 0,
    Q8_ERROR_ARGUMENT = -1, /* a value, rank, type or id that the step does not take */
    Q8_ERROR_MEMORY = -2,   /* out of memory */
    Q8_ERROR_BOUNDS = -3,   /* something lies outside the arena or a tensor, or a size overflows */
    Q8_ERROR_STATE = -4,    /* called in the wrong order: add after finish, run before it */
    Q8_ERROR_ISA = -5       /* an instruction set that is unknown or that this CPU lacks */
} q8_status;

typedef enum {
    Q8_U8 = 0,
    Q8_S8 = 1,
    Q8_S32 = 2,
    Q8_F32 = 3,
    Q8_S64 = 4,
    /* movement, cast and arithmetic only; half floats no arithmetic */
    Q8_S16 = 5, Q8_U16 = 6, Q8_U32 = 7, Q8_U64 = 8, Q8_F64 = 9,
    Q8_F16 = 10, /* IEEE half */
    Q8_BF16 = 11 /* the upper half of an f32 */
} q8_dtype;

/* ---- instruction sets ---- */

/* Detects the CPU; honours the environment variable Q8_ISA, which can only lower the choice.
 * Call once before anything else; further calls do nothing. Q8_ERROR_ISA if Q8_ISA names a set
 * that is unknown or that the CPU lacks (the choice is then the best one). */
int q8_init(void);
int q8_isa_count(void);              /* instruction sets compiled in, worst first */
const char *q8_isa_name(int index);  /* "scalar", "avx2", ...; NULL outside 0..count-1 */
int q8_isa_available(int index);     /* 1 if this CPU runs it */
const char *q8_isa_active(void);     /* what a plan gets by default */
const char *q8_cpu_name(void);       /* the processor's own name, for reports */

/* ---- plans ---- */

typedef struct q8_plan q8_plan;

/* isa: a name of q8_isa_name, or NULL for the active one. NULL result: unknown set or no memory. */
q8_plan *q8_plan_new(const char *isa);
void q8_plan_free(q8_plan *plan);             /* NULL is fine */
const char *q8_plan_error(const q8_plan *plan); /* text of the last failure, "" if none */
const char *q8_plan_isa(const q8_plan *plan);

/* A tensor of the arena at byte offset arena_offset (a multiple of 64), or, with arena_offset -1,
 * a tensor that the caller binds at each run. rank 0..8. Returns its id (0, 1, 2, ...). */
int q8_plan_tensor(q8_plan *plan, int dtype, int rank, const int64_t *dims, int64_t arena_offset);
/* A constant, copied. Returns its id. */
int q8_plan_constant(q8_plan *plan, int dtype, int rank, const int64_t *dims, const void *data);

/* What x is multiplied with before a convolution: x becomes clamp(rint((x - x_zero_point) *
 * (gate - zero_point) * multiplier) + the convolution's x_zero_point, low, high), as a q8_binary
 * would have it. The kernel is 1 x 1, without stride, pads and groups. */
typedef struct {
    int32_t tensor;      /* u8 [N, 1, 1, C] */
    int32_t x_zero_point, zero_point, low, high;
    float multiplier;    /* between -1024 and 1024 */
} q8_gate;

/* What the codes of a convolution are added to: instead of each, the one is stored that an addition
 * (q8_binary) makes of it, as a, and of the tensor's, as b. Not for depthwise convolutions. */
typedef struct {
    int32_t tensor;      /* u8 of y's shape */
    int32_t a_zero_point, b_zero_point, y_zero_point, y_low, y_high;
    float a_multiplier, b_multiplier; /* between -2^20 and 2^20 */
} q8_addend;

/* Convolution of eight-bit codes; also every product with constant weights (1 x 1, H = 1).
 * acc = sum over taps and channels of (x - x_zero_point) * (w - weight_zero_point) + bias, int32,
 * exact; outside the picture x counts as x_zero_point. Pads at bottom and right follow from y. */
typedef struct {
    int32_t x;           /* u8 [N, H, W, C] */
    int32_t y;           /* u8, s32 or f32 [N, OH, OW, OC] */
    int32_t kernel_h, kernel_w, stride_h, stride_w;
    int32_t pad_top, pad_left, dilation_h, dilation_w;
    int32_t groups;      /* divides C and OC */
    const int8_t *weights;              /* [OC, kernel_h, kernel_w, C / groups] */
    int32_t weights_are_rows;           /* 1: [C, OC], for a 1 x 1 kernel and one group; or 0 */
    const int32_t *weight_zero_point;   /* NULL: all 0; else [OC], each -128..255 */
    const int32_t *bias;                /* NULL or [OC], in units of x_scale * w_scale */
    int32_t x_zero_point;               /* 0..255; ignored if x_zero_point_tensor >= 0 */
    /* y u8: code = clamp(rint(acc * multiplier[oc]) + y_zero_point, y_low, y_high) */
    const float *multiplier;            /* [OC]; for f32: the scale, below; unused for s32 */
    int32_t y_zero_point, y_low, y_high;
    /* y f32: value = clamp(float(acc) * (multiplier[oc] * x_scale) + float_bias[oc]), with
     * x_scale read from x_scale_tensor (or 1 if it is -1) */
    const float *float_bias;            /* NULL or [OC] */
    float float_low, float_high;        /* -inf, +inf: no clamp */
    int32_t x_scale_tensor;             /* -1, or f32 scalar known at run time (dynamic form) */
    int32_t x_zero_point_tensor;        /* -1, or u8 scalar known at run time */
    /* y u8 and x_scale_tensor: the code (of y_scale, y_zero_point, y_low, y_high) of the f32 value,
     * or one next to it, since float_bias may have been rounded; bias is NULL. */
    float y_scale;
    /* y f32: -1, or f32 of y's shape, added before the clamp */
    int32_t residual;
    const uint8_t *table; /* NULL, or for y u8 256 codes: at last each code becomes table[code] */
    const q8_gate *gate;  /* NULL, or what x is multiplied with */
    const q8_addend *addend; /* NULL, or what codes are added to, before the table */
} q8_conv;
int q8_plan_add_conv(q8_plan *plan, const q8_conv *conv);

/* Product of two tensors known at run time: a [B, M, K] u8 (B a batch), b [B or 1, K, N] u8,
 * acc = sum (a - a_zero_point) * (b - b_zero_point); y as in q8_conv, one multiplier for all. */
typedef struct {
    int32_t a, b, y;     /* y u8, s32 or f32 [B, M, N] */
    int32_t a_zero_point, b_zero_point;
    int32_t a_zero_point_tensor, b_zero_point_tensor; /* -1, or u8 scalars known at run time */
    float multiplier;
    int32_t y_zero_point, y_low, y_high;
    int32_t a_scale_tensor, b_scale_tensor; /* f32 y: -1, or f32 scalars multiplied in */
} q8_matmul;
int q8_plan_add_matmul(q8_plan *plan, const q8_matmul *matmul);

/* Rows of heads: element i of row r of a head of a batch lies at offset + batch * batch_stride +
 * head * head_stride + r * row_stride + i, in elements; row_stride is at least a row's length. */
typedef struct {
    int32_t tensor;
    int64_t offset, batch_stride, head_stride, row_stride;
} q8_heads;

/* Attention in one sweep over rows: y = softmax(q k^T * scale + mask) v for every head.
 * q, k, v u8: sums as in q8_matmul; the softmax is rounded to codes, clamp code of p / p_scale,
 * within one code of what softmax and quantize on their own give; y u8 or f32 as in q8_matmul.
 * q, k, v, y f32: everything in float, the numbers of codes count for nothing.
 * zero_hidden: a row whose softmax is NaN, as that of a row of the mask that is -inf throughout,
 * is a row of zeros; codes: only such rows of the mask. */
typedef struct {
    q8_heads q, k, v, y;
    int64_t batches, heads, rows, columns; /* rows of q and y; columns: rows of k and v */
    int64_t depth, value_depth;            /* a row of q and k; of v and y */
    q8_heads mask;       /* f32, tensor -1: none; a row has `columns`; any stride may be 0 */
    int32_t zero_hidden;
    float scale;         /* of codes: q's scale and k's are in it */
    int32_t q_zero_point, k_zero_point, v_zero_point, p_zero_point;
    float p_scale;
    float multiplier;    /* of the last sums: p_scale * v's scale, / y's scale if y is u8 */
    int32_t y_zero_point, y_low, y_high;
} q8_attention;
int q8_plan_add_attention(q8_plan *plan, const q8_attention *attention);

typedef enum { Q8_POOL_MAX = 0, Q8_POOL_AVERAGE = 1 } q8_pool_kind;
/* Pooling over windows of [N, H, W, C], u8 or f32 (x and y of the same type).
 * Maximum: y has x's scale. Average of u8: rint(sum(x - x_zero_point) * (multiplier / count)) +
 * y_zero_point, with multiplier = x_scale / y_scale. count_include_pad: count is the window's full
 * size, clipped to the padded picture as ONNX counts it (pad_bottom and pad_right are needed for
 * that); else the number of pixels inside the picture. */
typedef struct {
    int32_t x, y;
    int32_t kind;
    int32_t kernel_h, kernel_w, stride_h, stride_w;
    int32_t pad_top, pad_left, pad_bottom, pad_right, dilation_h, dilation_w;
    int32_t count_include_pad;
    int32_t x_zero_point, y_zero_point, y_low, y_high;
    float multiplier;
} q8_pool;
int q8_plan_add_pool(q8_plan *plan, const q8_pool *pool);

/* Where the maxima of windows over x (u8 or f32) lie, first ones of equal ones: indices s64
 * [N, OH, OW, C] = ((n * C + c) * H + h) * W + w, or, if column_major, ... * W + w) * H + h. The
 * numbers of codes in `pool` count for nothing. */
int q8_plan_add_max_pool_indices(q8_plan *plan, const q8_pool *pool, int column_major);

/* y = saturate(rint(x / scale) + zero_point); x f32, y u8, same number of elements. */
int q8_plan_add_quantize(q8_plan *plan, int x, int y, float scale, int zero_point);
/* The same of pictures of three channels, x [N, 3, H, W], y [N, H, W, 3]. */
int q8_plan_add_quantize_picture(q8_plan *plan, int x, int y, float scale, int zero_point);
/* y = (x - zero_point) * scale; x u8, y f32. */
int q8_plan_add_dequantize(q8_plan *plan, int x, int y, float scale, int zero_point);
/* The step added last also widens range (f32 [2]: -low and high, neither below 0) by all that it
 * writes to y (f32). For steps that write y whole: conv, conv_f32, pool, binary_f32, unary_f32,
 * layer_norm. */
int q8_plan_find_range(q8_plan *plan, int y, int range);
/* The step added last puts f(value), f a q8_unary_op, where it would put a value of y. For the same
 * steps; the range, asked for later, is then that of f. */
int q8_plan_then_unary(q8_plan *plan, int y, int op, float alpha, float beta);
/* ONNX DynamicQuantizeLinear: x f32 -> y u8 of the same size, scale f32 scalar, zero_point u8
 * scalar. range: -1, or the range of x as q8_plan_find_range leaves it. factor: -1, or f32
 * [N, 1, 1, C] of x [N, H, W, C]: what is quantized, and has the range, is x * factor. */
int q8_plan_add_dynamic_quantize(q8_plan *plan, int x, int range, int factor, int y, int scale,
                                 int zero_point);
/* y[i] = table[x[i]]; x and y u8, 256 entries: requantize and every unary function. */
int q8_plan_add_table(q8_plan *plan, int x, int y, const uint8_t *table);

/* Q8_MIN and Q8_MAX give the second where one is NaN. */
typedef enum {
    Q8_ADD = 0, Q8_SUB = 1, Q8_MUL = 2, Q8_DIV = 3, Q8_MIN = 4, Q8_MAX = 5, Q8_POW = 6
} q8_binary_op;
/* The rest of a division, with the divisor's sign or the dividend's, and bits. */
typedef enum {
    Q8_MOD = 7, Q8_REST = 8, Q8_AND = 9, Q8_OR = 10, Q8_XOR = 11
} q8_integer_op;
/* Eight-bit add, sub, mul with numpy broadcasting (all ranks at most 8):
 * add, sub: clamp(rint((a - a_zero_point) * a_multiplier +- (b - b_zero_point) * b_multiplier)
 *           + y_zero_point), x_multiplier = x_scale / y_scale;
 * mul:      clamp(rint((a - a_zero_point) * (b - b_zero_point) * a_multiplier) + y_zero_point),
 *           a_multiplier = a_scale * b_scale / y_scale. */
typedef struct {
    int32_t op;          /* Q8_ADD, Q8_SUB, Q8_MUL */
    int32_t a, b, y;     /* u8 */
    int32_t a_zero_point, b_zero_point, y_zero_point, y_low, y_high;
    float a_multiplier, b_multiplier;
} q8_binary;
int q8_plan_add_binary(q8_plan *plan, const q8_binary *binary);

/* Data movement: y[y_offset + sum i_d * y_stride_d] = f(x[x_offset + sum i_d * x_stride_d]) for
 * every index i of dims; offsets and strides in elements, strides of any sign or 0, x and y of the
 * same type. f is table (u8 only) or, with table NULL, the identity. Serves Transpose, Concat,
 * Split, Slice, Pad, Expand, Tile, Reshape of a bound tensor. */
typedef struct {
    int32_t x, y;
    int32_t rank;
    const int64_t *dims;
    int64_t x_offset, y_offset;
    const int64_t *x_strides, *y_strides;
    const uint8_t *table;
} q8_copy;
int q8_plan_add_copy(q8_plan *plan, const q8_copy *copy);
/* Every element of y becomes *value (one element of y's type). */
int q8_plan_add_fill(q8_plan *plan, int y, const void *value);
/* y[o, i, n] = x[o, indices[i], n]: x viewed as [outer, axis, inner]; any type. indices: constant
 * in -axis..axis-1, or a tensor, s32 or s64; a run that finds another index there ends with
 * Q8_ERROR_BOUNDS. */
int q8_plan_add_gather_at(q8_plan *plan, int x, int indices, int y, int64_t outer, int64_t axis,
                          int64_t inner);
int q8_plan_add_gather(q8_plan *plan, int x, int y, int64_t outer, int64_t axis, int64_t inner,
                       int64_t count, const int64_t *indices);

/* Elements of x where `indices` (s32 or s64, of x's rank) say along an axis: y, of the indices' shape,
 * receives them; or, with updates (of that shape) other than -1, y is x with the updates there, as they
 * are (op -1) or combined with what is there (Q8_ADD, Q8_MUL, Q8_MIN, Q8_MAX). A run that finds an
 * index outside ends with Q8_ERROR_BOUNDS. */
int q8_plan_add_lookup_elements(q8_plan *plan, int x, int indices, int updates, int y, int axis,
                                int op);
/* The same of blocks: each row of indices names a place along as many axes of x, behind batch_rank
 * axes that both have; a block is what lies behind them. */
int q8_plan_add_lookup_blocks(q8_plan *plan, int x, int indices, int updates, int y,
                              int batch_rank, int op);
/* The k greatest or least elements along the axis of x (f32, f64, s32, s64, u8) viewed as [outer,
 * axis, inner], in order, equal ones as they come: values and indices (s64) [outer, k, inner]. */
int q8_plan_add_top(q8_plan *plan, int x, int values, int indices, int64_t outer, int64_t axis,
                    int64_t inner, int64_t k, int is_largest);
/* y, like x (f32, f64, s32, s64): sums along the axis of x viewed as [outer, axis, inner], of the
 * elements up to each, without it if is_exclusive, from the end if is_reverse. Integers wrap. */
int q8_plan_add_running_sum(q8_plan *plan, int x, int y, int64_t outer, int64_t axis,
                            int64_t inner, int is_exclusive, int is_reverse);

/* Separable interpolation of [N, H, W, C] -> [N, OH, OW, C], u8 or f32:
 * y(h, w) = lerp over h of lerp over w; row h reads rows low_h[h] and high_h[h] with weight
 * fraction_h[h] on the latter. Nearest: fraction 0. u8 rounds half to even, scale unchanged. */
typedef struct {
    int32_t x, y;
    const int32_t *low_h, *high_h, *low_w, *high_w;      /* [OH], [OH], [OW], [OW] */
    const float *fraction_h, *fraction_w;
} q8_resize;
int q8_plan_add_resize(q8_plan *plan, const q8_resize *resize);

/* Any interpolation along one axis: x f32 viewed as [outer, axis, inner], y f32 as [outer, count,
 * inner]: y[o, i, n] = offset[i] + sum over t of weights[i * taps + t] * x[o, indices[i * taps + t],
 * n]. */
typedef struct {
    int32_t x, y;
    int64_t outer, axis, inner, count, taps;
    const int32_t *indices;  /* [count, taps], 0..axis-1 */
    const float *weights;    /* [count, taps] */
    const float *offset;     /* NULL or [count] */
} q8_resample;
int q8_plan_add_resample(q8_plan *plan, const q8_resample *resample);

/* GridSample of pictures, all f32: x [N, C, H, W] and grid [N, h, w, 2], places as x and y in -1..1,
 * give y [N, C, h, w]: the nearest pixel, or a blend of the four around. -1 and 1 are the centres of
 * the outer pixels if is_aligned, else their outer edges. padding: what lies outside. */
enum { Q8_PAD_ZEROS = 0, Q8_PAD_BORDER = 1, Q8_PAD_REFLECTION = 2 };
int q8_plan_add_grid_sample(q8_plan *plan, int x, int grid, int y, int is_nearest, int padding,
                            int is_aligned);

/* ---- float steps ---- */

/* Float convolution; also every product with constant weights. Same geometry as q8_conv. */
typedef struct {
    int32_t x, y;        /* f32 [N, H, W, C], f32 [N, OH, OW, OC] */
    int32_t kernel_h, kernel_w, stride_h, stride_w;
    int32_t pad_top, pad_left, dilation_h, dilation_w;
    int32_t groups;
    const float *weights; /* [OC, kernel_h, kernel_w, C / groups] */
    int32_t weights_are_rows; /* 1: [C, OC], for a 1 x 1 kernel and one group; or 0 */
    const float *bias;    /* NULL or [OC] */
    float low, high;      /* clamp of the result; -inf, +inf: none */
} q8_conv_f32;
int q8_plan_add_conv_f32(q8_plan *plan, const q8_conv_f32 *conv);
/* The step added last, a q8_conv of one group with f32 y, without residual, keeps its y, which is
 * the x of this depthwise convolution of 3 x 3 or 5 x 5 taps and stride 1 or 2, to itself: lines of it
 * go through the depthwise convolution as soon as they are there. What is asked for later is done
 * with the depthwise convolution's y. */
int q8_plan_then_depthwise(q8_plan *plan, const q8_conv_f32 *depthwise);
/* That step also leaves what it finds of each channel of a picture of y, f32 [N, C] each: the least
 * and the greatest value, or 0, and the sum. */
int q8_plan_find_channels(q8_plan *plan, int y, int least, int greatest, int sums);
/* y = a @ b * alpha: a f32 [B, M, K], b f32 [B or 1, K, N], y f32 [B, M, N]. */
int q8_plan_add_matmul_f32(q8_plan *plan, int a, int b, int y, float alpha);

typedef enum {
    Q8_UNARY_CLAMP = 0,       /* min(max(x, alpha), beta), NaN stays: Relu, Clip */
    Q8_UNARY_SIGMOID = 1, Q8_UNARY_TANH = 2, Q8_UNARY_EXP = 3, Q8_UNARY_LOG = 4,
    Q8_UNARY_SQRT = 5, Q8_UNARY_NEG = 6, Q8_UNARY_ABS = 7, Q8_UNARY_ERF = 8,
    Q8_UNARY_RECIPROCAL = 9, Q8_UNARY_LEAKY_RELU = 10, /* alpha: slope below 0 */
    Q8_UNARY_ELU = 11,        /* alpha */
    Q8_UNARY_HARD_SIGMOID = 12, /* max(0, min(1, alpha * x + beta)) */
    Q8_UNARY_HARD_SWISH = 13, Q8_UNARY_SILU = 14, Q8_UNARY_GELU = 15, /* erf form */
    Q8_UNARY_GELU_TANH = 16, Q8_UNARY_SOFTPLUS = 17, Q8_UNARY_FLOOR = 18, Q8_UNARY_CEIL = 19,
    Q8_UNARY_ROUND = 20,      /* half to even */
    Q8_UNARY_AFFINE = 21,     /* alpha * x + beta */
    Q8_UNARY_SIN = 22, Q8_UNARY_COS = 23
} q8_unary_op;
int q8_plan_add_unary_f32(q8_plan *plan, int op, int x, int y, float alpha, float beta);
/* Rows of floats as two digits of 8 bits each: row r of x, f32 [R, K], is nearly (y[2r] - 128 +
 * (y[2r + 1] - 128) / 256) * units[r]; y u8 [2 * R, K], units f32 [R]. */
int q8_plan_add_digits(q8_plan *plan, int x, int y, int units);
/* y[r] = (x[2r] + x[2r + 1] / 256) * units[r] * scale + bias, of what became of such rows in a
 * product: x s32 [2 * R, N], y f32 [R, N], scale [N], bias NULL or [N]. */
int q8_plan_add_joined_digits(q8_plan *plan, int x, int units, int y, const float *scale,
                              const float *bias);
/* LSTM, GRU and RNN behind the product x W^T of all time steps. G gates: i o f c, or z r h, or one.
 * Formulas are those of the ONNX standard; clip limits what the functions of gates get. A sequence
 * reads its own entries, backwards in a direction that is turned; beyond its end y is 0 and the
 * states stay. T steps, B sequences, D directions, H hidden units; [T, B] and [D, B] are [B, T] and
 * [B, D] if batch_first, and T, D, B then B, T, D. */
typedef enum { Q8_CELL_LSTM = 0, Q8_CELL_GRU = 1, Q8_CELL_RNN = 2 } q8_cell;
typedef struct {
    int32_t cell;
    int32_t x;                   /* f32 [T, B, D, G * H]: x W^T + bias */
    int32_t initial_h, initial_c; /* -1: 0; else f32 [D, B, H]; c of LSTM only */
    int32_t lengths;             /* -1: T; else s32 [B], of which a run refuses what is not 0..T */
    int32_t y, y_h, y_c;         /* -1, or f32 [T, D, B, H] and the last states [D, B, H] */
    int32_t batch_first;         /* 0 or 1 */
    int32_t is_turned;           /* 1: direction 0 reads backwards; direction 1 always does */
    const float *weights;        /* R [D, G * H, H]; or NULL, and */
    const int8_t *codes;         /* R / scales, [D, G * H, H]: products are then those of integers, h */
    const float *scales;         /* in two digits of 8 bits; [D, G * H] */
    const float *reset_bias;     /* NULL, or of GRU [D, H]: (h R^T + reset_bias) * r is what is added
                                    to x; else (h * r) R^T */
    const float *peepholes;      /* NULL, or of LSTM [D, 3 * H], i o f */
    int32_t input_forget;        /* LSTM, 1: f = 1 - i */
    const int32_t *functions;    /* q8_unary_op [D, F]: F = 3, 2, 1 of LSTM, GRU, RNN */
    const float *alpha, *beta;   /* theirs */
    float clip;                  /* > 0; INFINITY: none */
} q8_recurrent;
int q8_plan_add_recurrent(q8_plan *plan, const q8_recurrent *recurrent);
/* y = a op b with numpy broadcasting, every q8_binary_op, f32. */
int q8_plan_add_binary_f32(q8_plan *plan, int op, int a, int b, int y);
/* The same of every type but f32, f16 and bf16, and not pow, but of integers every q8_integer_op:
 * integers wrap around, their quotients are cut towards 0, quotients and rests are 0 for a divisor of
 * 0; f64 as C has it, min and max of a NaN are NaN. */
int q8_plan_add_arithmetic(q8_plan *plan, int op, int a, int b, int y);
typedef enum {
    Q8_COMPARE_EQUAL = 0, Q8_COMPARE_LESS = 1, Q8_COMPARE_LESS_EQUAL = 2
} q8_compare_op;
/* y (u8) = 1 where a op b holds, else 0, with numpy broadcasting; a and b of one type, not f16 or
 * bf16. */
int q8_plan_add_compare(q8_plan *plan, int op, int a, int b, int y);
/* y = a where condition (u8) is not 0, else b, with numpy broadcasting; a, b and y of one type. */
int q8_plan_add_where(q8_plan *plan, int condition, int a, int b, int y);
/* Softmax (log_softmax 0 or 1) over the last axis of f32 x. */
int q8_plan_add_softmax_f32(q8_plan *plan, int x, int y, int log_softmax);
/* Over the last axis of x: y = (x - mean) / sqrt(variance + epsilon) * scale + bias, and codes =
 * saturate(rint(y / code_scale) + code_zero_point). */
typedef struct {
    int32_t x, scale;        /* f32; scale and bias have the axis' length */
    int32_t bias;            /* -1: none */
    int32_t y, codes;        /* f32 and u8 of x's size; one of them may be -1 */
    float epsilon, code_scale;
    int32_t code_zero_point;
} q8_layer_norm;
int q8_plan_add_layer_norm(q8_plan *plan, const q8_layer_norm *norm);
typedef enum {
    Q8_REDUCE_SUM = 0, Q8_REDUCE_MEAN = 1, Q8_REDUCE_MAX = 2, Q8_REDUCE_MIN = 3,
    Q8_REDUCE_SUM_SQUARE = 4
} q8_reduce_op;
/* x viewed as [outer, axis, inner] -> y of outer * inner elements; f32. */
int q8_plan_add_reduce_f32(q8_plan *plan, int op, int x, int y, int64_t outer, int64_t axis,
                           int64_t inner);
/* Index of the first (last if last_index) greatest element over the axis; x f32 or u8 viewed as
 * [outer, axis, inner], y s64. */
int q8_plan_add_argmax(q8_plan *plan, int x, int y, int64_t outer, int64_t axis, int64_t inner,
                       int last_index);
/* ends (f32, [rows, 3]): of a stretch of x (f32) each the lowest and highest value, NaN passed over,
 * and the sum, for NaN. Of a row without any: infinity, -infinity and 0. */
int q8_plan_add_ends(q8_plan *plan, int x, int ends);
/* counts (s64, [Q8_HISTOGRAM_BINS]): how many values of x (f32) lie in bin b, which reaches from
 * (b - bins / 2) * width to (b + 1 - bins / 2) * width. width: the smallest power of two with which
 * the largest magnitude is within the bins. ends: of x, in rows. Where all are 0, or one is not
 * finite, finite values are in bin bins / 2. A value beyond the bins is in the last one on its side;
 * what is no number then is in the first. Of more than Q8_HISTOGRAM_VALUES, at least so many are
 * counted, spread over all: the same ones every time. */
enum { Q8_HISTOGRAM_BINS = 2048, Q8_HISTOGRAM_VALUES = 16384 };
int q8_plan_add_histogram(q8_plan *plan, int x, int ends, int counts);
/* Between any two types; x and y of the same size. Integers keep their low bits, as in C. A float
 * loses its fraction; what s32, s64 or u64 cannot hold becomes the nearest that it can, NaN 0, and
 * the other integers get the low bits of the s64. Floats are rounded to nearest even, integers to
 * half floats by way of f32, f64 to bf16 likewise. */
int q8_plan_add_cast(q8_plan *plan, int x, int y);

/* Checks everything that is left, allocates the arena. No step or tensor can be added after. */
int q8_plan_finish(q8_plan *plan, int64_t arena_bytes);

/* Runs all steps. bound: one pointer per bound tensor (arena_offset -1), in the order of their
 * ids; one that the plan writes must not overlap another, which only the caller can know.
 * bound_bytes: their sizes, which must match. threads >= 1, the caller's included.
 * step_ns: NULL, or one value per step that receives its time in nanoseconds.
 * stop: NULL, or a flag that another thread may set: the run then ends before the next step with
 * Q8_ERROR_STATE. One run at a time per plan; different plans may run at the same time. */
int q8_plan_run(q8_plan *plan, int bound_count, void *const *bound, const int64_t *bound_bytes,
                int threads, int64_t *step_ns, const volatile int *stop);

/* A finished plan that shares steps and constants with another and has an arena of its own: both may
 * run at the same time. It goes before the other one does. NULL if there is no memory, and where a
 * step keeps numbers of the run outside the arena. */
q8_plan *q8_plan_twin(const q8_plan *plan);

int q8_plan_step_count(const q8_plan *plan);
/* What the step runs: "conv 3x3/2 avx512vnni 6x64", for explain. NULL outside 0..count-1. */
const char *q8_plan_step_name(const q8_plan *plan, int step);
/* Multiply-adds of the step, for explain's share of the peak; 0 where that means nothing. */
int64_t q8_plan_step_macs(const q8_plan *plan, int step);
/* Bytes held by the plan: constants, packed weights, arena and scratch. */
int64_t q8_plan_bytes(const q8_plan *plan);
/* Bytes that a twin takes: of what a run writes. */
int64_t q8_plan_arena_bytes(const q8_plan *plan);

/* Greedy non-maximum suppression of one class, outside of plans. */
typedef struct {
    const float *boxes;      /* [count, 4]: y, x of two corners; is_centered: x, y, width, height */
    const float *scores;     /* [count] */
    int64_t count, limit;    /* limit: keep no more */
    int32_t is_centered;
    float overlap, lowest;   /* what kept boxes may share, of both; scores must be above lowest */
    int64_t *kept;           /* [least of count and limit]: boxes that stay, best first */
    void *workspace;         /* q8_suppress_bytes(count) at workspace_bytes, 8-byte aligned */
    int64_t workspace_bytes;
    /* set by q8_suppress; next is -1 before the first call */
    int64_t next, candidates, kept_count;
} q8_suppression;
/* Returns Q8_OK when done, 1 to be called again with the same job, or a negative status. */
int q8_suppress(q8_suppression *job);
int64_t q8_suppress_bytes(int64_t count);

/* Tests every kernel of instruction set isa against the scalar reference on random and extreme
 * values. Returns the number of comparisons made, or a negative status; a mismatch is described
 * in text (at most text_bytes, zero-terminated) and returned as Q8_ERROR_STATE. */
int64_t q8_selftest(const char *isa, uint64_t seed, char *text, int64_t text_bytes);
/* Peak of this instruction set's GEMM kernel on this core in 1e9 operations (2 per multiply-add)
 * per second, measured for about milliseconds. */
double q8_selftest_gops(const char *isa, int milliseconds);

/* ---- cffi: end ---- */

#endif
