/* kernels.h - every kernel's contract, and the list of instruction sets.
 *
 * A kernel is the innermost loop of a step: it sees pointers and counts, never tensors. The
 * drivers in ops/ do tiling, padding and edges and call kernels through a table. Kernels come in
 * four families - gemm, conv, vec, f32 - one file per family and instruction set, each exporting
 * one const table. scalar_*.c is the reference: plain loops, never clever.
 *
 * Rules for all. Integer results equal the scalar kernel's byte for byte. Nothing outside the
 * stated bytes is read or written, ever. Counts may be 0 unless said otherwise. Any alignment
 * unless said otherwise. Codes are uint8 activations and int8 weights. int32 sums wrap modulo
 * 2^32 inside (compute in uint32_t where C would overflow); callers make sure that the final value
 * fits. "clamp code" is q8_round_to_code of requant.h; 0 <= low <= high <= 255, 0 <= zero_point
 * <= 255. Sizes are in elements. Letters: M rows of the result, N its columns, K the summed
 * length. No allocation, no global state. */
#ifndef Q8_KERNELS_H
#define Q8_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* What an eight-bit add, sub or mul needs; the formulas stand at q8_binary in q8.h. */
typedef struct {
    int32_t a_zero_point, b_zero_point;
    float a_multiplier, b_multiplier;   /* sub: b_multiplier negated by the caller */
    int32_t zero_point, low, high;
} q8_binary_params;

/* ---- gemm: u8 x s8 -> s32, direct and indirect ---- */

/* One tile: acc[i][j] = bias[j] + sum over tap, p of a[tap * a_step + i][p] * b(tap * k + p, j).
 * A direct product has taps = 1; a convolution has one pointer per output pixel and tap. */
typedef struct {
    size_t m;                  /* rows to store, 1..most_rows of the table */
    size_t n;                  /* columns to store, 1..nr of the table */
    size_t taps, k;            /* both >= 1; k is a multiple of the table's kr */
    const uint8_t *const *a;   /* taps * a_step pointers, k codes readable behind the first m of
                                  each tap; a[tap * a_step + i] for i >= m need not exist */
    size_t a_step;             /* pointers from one tap to the next, >= m */
    const uint16_t *wide;      /* NULL, or what the table's widen made of rows: row i, all its taps
                                  behind each other, at wide + i * wide_step. Then a is not read */
    size_t wide_step;
    const void *b;             /* one packed panel, as below; 64-byte aligned */
    const uint16_t *places;    /* NULL, or b is packed in places, as below; never with wide */
    const int32_t *bias;       /* nr values */
    const float *multiplier;   /* nr values: store codes. NULL: store the accumulators */
    int is_near;               /* 1: every |acc * multiplier| is known to be below 2^31 */
    int has_mantissas;         /* 1, for tables that take it: MANTISSA_BITS are added to bias, all
                                  sums are small (requant.h), codes have neither zero point nor
                                  limits but a byte's, and are not added to others */
    int32_t zero_point, low, high;
    void *c;                   /* uint8_t or int32_t, row i at c + i * c_step */
    size_t c_step;
    const q8_binary_params *sum; /* NULL, or each code is added to one of addend, as vec.add does
                                  it, and the sum's code is stored; multipliers within 2^20 */
    const uint8_t *addend;     /* row i at addend + i * addend_step, n codes; not in c */
    size_t addend_step;
    const void *next;          /* NULL, or what is wanted in the second cache soon, as many bytes as
                                  b has / fetch_jobs: may be fetched, is never read */
} q8_gemm_job;

/* Winograd's convolutions: 3x3 of stride 1, sixteen results from 36 pixels. F(4x4, 3x3) (Lavin and
 * Gray, Fast Algorithms for Convolutional Neural Networks, 2015) in integers, for kernels that
 * multiply 16-bit numbers: 36 products for 16 results, where windows take 144.
 *     V = B' X B, U = G W G', M = sum over channels of U * V by element, 576 Y = A' M A
 * G is the paper's, its rows times 4, -6, -6, 24, 24 and 1; A' makes up for that. All is exact modulo
 * 2^32, hence Y itself wherever it is in -2^25..2^25-1, whatever sums are in between: 576 is 9, which
 * has an inverse, times 64. */
enum { Q8_WINOGRAD_TILE = 4, Q8_WINOGRAD_GRID = 6, Q8_WINOGRAD_PLACES = 36,
       Q8_WINOGRAD_COLUMNS = 16, Q8_WINOGRAD_CHANNELS = 16 };

/* m[tile][place][column] = sum over c < channels of v(place, tile, c) * u(place, c, column) */
typedef struct {
    size_t tiles, channels;
    const int16_t *v; /* (place, tile, c) at v + place * v_step + tile * channels + c */
    size_t v_step;
    const int16_t *u; /* [place][channels / 2][column][2], 64-byte aligned */
    int32_t *m;       /* 32-byte aligned */
} q8_winograd_product_job;

/* A tile's results, whole or cut to lines x pixels, end as those of a gemm tile. */
typedef struct {
    size_t lines, pixels;      /* 1..4 each */
    const int32_t *m;          /* [place][column] of one tile, 32-byte aligned */
    const q8_gemm_job *end;    /* n, bias and what stands behind it but next; row i is pixel i */
    size_t c_line, addend_line; /* elements from one line to the next */
} q8_winograd_output_job;

typedef struct {
    /* v[place * v_step + c] of the codes x[line * 6 + pixel][c], channels a multiple of 16 */
    void (*input)(const uint8_t *const *x, size_t channels, int16_t *v, size_t v_step);
    void (*product)(const q8_winograd_product_job *job);
    void (*output)(const q8_winograd_output_job *job);
} q8_winograd_table;

/* u of a product of n <= 16 columns, zero in the others, and the sum of each column's weights, from
 * w[column * column_step + (line * 3 + pixel) * channels + c]. u: 36 * channels * 16 elements. */
void q8_winograd_pack(size_t n, size_t channels, const int8_t *w, size_t column_step, int16_t *u,
                      int32_t *sums);

/* Floats of 16 columns of a product with taps = 1, and a function of them, as gemm's tile and f32's
 * finish make them, to the byte. Rows of y lie in lines that have gaps between them. */
typedef struct {
    size_t rows;               /* >= 1 */
    size_t k;                  /* >= 1, a multiple of the table's kr */
    const uint8_t *a;          /* row i at a + i * a_step, k codes */
    size_t a_step;
    const void *b;             /* the first of the columns, in a packed panel */
    ptrdiff_t ahead;           /* 0, or bytes from b to columns that are wanted soon: may be fetched */
    const int32_t *bias;       /* 16 values, as the next two */
    const float *scale, *float_bias; /* float_bias NULL: no addition */
    int op;                    /* -1: none but the limits; Q8_UNARY_SILU: without limits */
    float low, high;
    float *y;                  /* 16 floats of row i are those of place first + i: place p is at y +
                                  p / line_rows * line_step + p % line_rows * 16 */
    size_t first, line_rows, line_step;
} q8_gemm_lines_job;

/* A GEMM is chosen as a unit, because packing must match the kernel. */
typedef struct {
    const char *name;          /* for reports: "avx512vnni 6x64" */
    size_t mr, nr, kr;         /* tile rows and columns; k is padded to a multiple of kr */
    size_t most_rows;          /* that a job may have: a multiple of mr */
    size_t least_rows;         /* a job of fewer takes as long as one of so many */
    int weight_bytes;          /* bytes of one packed weight: 1, or 2 where the kernel wants s16 */
    size_t fetch_jobs;         /* full jobs that it takes to fetch a panel; 0: none does */
    int flips_a;               /* 1: the kernel computes with a - 128 (s8 x s8 instructions), and
                                  the caller has added 128 * sum of b's column to bias */
    int wants_even_rows;       /* 1: several taps, or rows that are not all at one distance from
                                  each other, are right but slow: better copy them first */
    int takes_mantissas;       /* 1: has_mantissas may be set, and spares conversions */
    void (*tile)(const q8_gemm_job *job);
    /* NULL, or what every job does to a row of count codes first, a multiple of kr: worth doing once
     * for some panels. */
    void (*widen)(const uint8_t *from, size_t count, uint16_t *to);
    /* NULL, or the kernel takes panels in places. Marks where the sum of two weights is more than it can
     * add: are_wide[i] |= first[i] + second[i] is not in -128..128. */
    void (*mark_wide)(const int8_t *first, const int8_t *second, size_t count, uint8_t *are_wide);
    const q8_winograd_table *winograd; /* NULL: windows are as fast; else nr is 16 */
    void (*lines)(const q8_gemm_lines_job *job); /* NULL: tile does it, and finish behind it */
    size_t lines_depth;        /* the most K with which lines is the faster way */
} q8_gemm_table;
/* Packed panel of nr columns (made by q8_pack_panel in pack.c for every table): for each kr-step
 * of K, for each of the nr columns, kr consecutive weights; missing columns and rows are 0.
 *     panel[(step * nr + column) * kr + p] = w(step * kr + p, column)
 * With several taps each tap's K is padded to a multiple of kr on its own.
 *
 * A panel in places (pack_places.c), for kernels that add the products of two codes and two weights in 16
 * bits, which saturate: for each tap steps of four codes, which begin anywhere in its row and may overlap.
 *     panel[(step * nr + column) * 4 + p] = w(place + p, column), or 0 if another step has that code
 * No weights at p = 0 and 1, or at 2 and 3, add up to more than 128 or less than -128. For each tap
 * `places` holds how many steps it has, at least one, and the place of each. */

/* ---- conv: depthwise and pooling, over pointers to pixels ---- */

/* acc[p][c] = bias[c] + sum over tap of x[p * x_step + tap][c] * w[tap * channels + c] */
typedef struct {
    size_t pixels, channels, taps;
    const uint8_t *const *x;   /* x[p * x_step + tap]: `channels` codes each */
    size_t x_step;             /* pointers from one output pixel to the next */
    const int8_t *w;
    const int32_t *bias;       /* [channels] */
    const float *multiplier;   /* [channels]: store codes. NULL: store the accumulators */
    int32_t zero_point, low, high;
    void *y;                   /* uint8_t or int32_t, pixel p at y + p * y_step */
    size_t y_step;
} q8_depthwise_job;

/* Codes of whole lines of a convolution with kernel x kernel taps and no dilation. Pixel (l, p) sees
 * columns first + p * stride .. of lines l * stride .. of x; what lies outside sees padding.
 * Faster than a q8_depthwise_job, because windows of neighbouring lines share pixels, too. */
typedef struct {
    size_t lines, pixels;        /* of y */
    size_t channels;
    size_t kernel, stride;       /* 3 or 5; 1 or 2 */
    const uint8_t *const *x;     /* kernel + (lines - 1) * stride lines: `width` pixels each, or
                                    NULL for a line of padding */
    size_t width;
    size_t x_step;               /* codes from one pixel of x to the next */
    int64_t first;               /* the first column that pixel 0 sees; < 0: padding */
    const uint8_t *padding;      /* `channels` codes */
    const int8_t *w;             /* w[(kw * kernel + kh) * channels + c] */
    const int32_t *bias;         /* [channels] */
    const float *multiplier;     /* [channels]; no |acc * multiplier| reaches 2^31 */
    int is_small;                /* 1: what requant.h says of small sums is known to hold */
    int32_t zero_point, low, high;
    uint8_t *y;                  /* pixel (l, p) at y + l * y_line + p * y_step */
    size_t y_line, y_step;
} q8_depthwise_lines_job;

/* Maximum: y[p][c] = max over tap of x. Average: y[p][c] = clamp code of
 * (sum over tap of x - sum_offset) * multiplier[p]. */
typedef struct {
    size_t pixels, channels, taps;  /* taps >= 1 */
    const uint8_t *const *x;        /* x[p * x_step + tap] */
    size_t x_step;
    int32_t sum_offset;             /* average only */
    const float *multiplier;        /* average only: [pixels] */
    int32_t zero_point, low, high;  /* average only */
    uint8_t *y;
    size_t y_step;
} q8_pool_job;

/* Pixels times one code per channel, as vec.mul does: y[p][c] = clamp code of
 * (float)((x[p][c] - az) * (gate[c] - bz)) * am. y and x do not overlap. */
typedef struct {
    size_t rows, channels;
    const uint8_t *x;          /* row p at x + p * x_step */
    size_t x_step;
    const uint8_t *gate;       /* [channels] */
    q8_binary_params params;   /* a_multiplier between -1024 and 1024 */
    uint8_t *y;
    size_t y_step;
} q8_gate_job;

typedef struct {
    void (*depthwise)(const q8_depthwise_job *job);
    void (*depthwise_lines)(const q8_depthwise_lines_job *job);
    void (*max_pool)(const q8_pool_job *job);
    void (*average_pool)(const q8_pool_job *job);
    void (*gate)(const q8_gate_job *job);
} q8_conv_table;

/* ---- vec: whatever walks a row ---- */

/* Floats of accumulators, row by row:
 * y[i][j] = min(max((float)acc[i][j] * scale[j] + bias[j] + residual[i][j], low), high), each
 * product and sum rounded separately. */
typedef struct {
    size_t rows, columns;
    const int32_t *acc;
    size_t acc_step;
    const float *scale;
    const float *bias;     /* NULL: no addition */
    const float *residual; /* NULL: no addition; rows lie as y's */
    float *y;              /* may be residual */
    size_t y_step;
    float low, high;
    float *range;          /* NULL, or [2], which contains 0: widened to hold every y */
} q8_floats_job;

typedef struct {
    /* y = clamp code of x / scale, limits 0..255. Division, as the standard says. */
    void (*quantize)(size_t n, const float *x, uint8_t *y, float scale, int32_t zero_point);
    /* y = clamp code of x * factor, of pixels with one factor per channel: x and y [rows][n], factor
     * [n]. No product reaches 2^31. */
    void (*quantize_scaled)(size_t rows, size_t n, const float *x, const float *factor, uint8_t *y,
                            int32_t zero_point);
    /* y = (float)(x - zero_point) * scale */
    void (*dequantize)(size_t n, const uint8_t *x, float *y, float scale, int32_t zero_point);
    /* y[i] = clamp code of acc[i] * multiplier[i] */
    void (*requantize)(size_t n, const int32_t *acc, const float *multiplier, uint8_t *y,
                       int32_t zero_point, int32_t low, int32_t high);
    /* Exact: same bytes on every instruction set, but for the sign of a zero in range. */
    void (*accumulators_to_f32)(const q8_floats_job *job);
    /* y[i] = table[x[i]], in rows of n codes that begin `step` codes apart; y may be x */
    void (*table)(size_t rows, size_t n, const uint8_t *x, uint8_t *y, size_t step,
                  const uint8_t *table);
    /* y[3 * i + plane] = x[plane * x_step + i]: three planes of n codes, pixel by pixel */
    void (*interleave_3)(size_t n, const uint8_t *x, size_t x_step, uint8_t *y);
    /* y may be a or b. b_is_scalar: b is one code, used for all. Two products, then their sum:
     * clamp code of (float)(a - az) * am + (float)(b - bz) * bm */
    void (*add)(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params);
    /* clamp code of (float)((a - az) * (b - bz)) * am */
    void (*mul)(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params);
    /* Widens *low and *high to hold every x; NaN is passed over. */
    void (*min_max)(size_t n, const float *x, float *low, float *high);
    /* bins[i] = floor of x[i] * scale, at least -half and at most half - 1, plus half; NaN counts as
     * the least. In double precision, where a power of two as scale rounds nothing. */
    void (*bins)(size_t n, const float *x, double scale, int32_t half, int32_t *bins);
    /* Sum of the codes, for zero-point corrections. */
    int32_t (*sum)(size_t n, const uint8_t *x);
    /* Linear interpolation of two rows: y = clamp code(0..255, zero point 0) of
     * a + (b - a) * fraction, in float, product and sum rounded separately. */
    void (*lerp)(size_t n, const uint8_t *a, const uint8_t *b, float fraction, uint8_t *y);
} q8_vec_table;

/* ---- f32: float kernels; within ULP bounds of the truth, the same bytes on every instruction set:
 * products add along K in one chain of fused additions, sums of a row per lane of 16 ---- */

typedef struct {
    size_t m, n, taps, k;      /* as q8_gemm_job, kr = 1 */
    const float *const *a;
    size_t a_step;
    const float *b;            /* panel[(tap * k + p) * nr + column], 64-byte aligned */
    const float *bias;         /* nr values */
    float low, high;
    float *c;
    size_t c_step;
    const void *next;          /* as q8_gemm_job */
} q8_gemm_f32_job;

typedef struct {
    size_t pixels, channels, taps;
    const float *const *x;
    size_t x_step;
    const float *w;            /* [taps][channels]; depthwise only */
    const float *bias;         /* [channels]; depthwise only */
    const float *multiplier;   /* [pixels]; average only: y = sum * multiplier[p] */
    float low, high;           /* depthwise only */
    float *y;
    size_t y_step;
} q8_conv_f32_job;

/* Rows of floats on their way to where they stay: y[i][j] = f(x[i][j]), or, of accumulators,
 * f((float)acc[i][j] * scale[j] + bias[j]), product and sum rounded separately where f is nothing,
 * else perhaps once. */
typedef struct {
    size_t rows, columns;
    const float *x;            /* NULL: acc */
    const int32_t *acc;
    const float *scale, *bias; /* of acc; bias NULL: no addition */
    size_t x_step;             /* of x or acc */
    float *y;                  /* is neither x nor acc */
    size_t y_step;
    size_t y_group;            /* elements from a row's 16 columns to its next 16 */
    int op;                    /* f: -1 nothing, or q8_unary_op of q8.h with alpha and beta */
    float low, high;           /* limits of the floats of acc where f is nothing */
    float alpha, beta;
    float *range;              /* NULL, or [2], which contains 0: widened to hold every y */
    float *least, *greatest;   /* [columns], with sums only: contain 0, widened likewise */
    float *sums;               /* NULL, or [columns]: every y is added */
} q8_finish_job;

/* Whole lines of a depthwise convolution of up to 16 channels, kernel x kernel taps, from lines that
 * have their padding. Pixels are 16 elements apart; lines of y lie one behind the other.
 * y(l, p)[c] = bias[c] + sum over kw, kh of x(l * stride + kh, p * stride + kw)[c] *
 * w[(kw * kernel + kh) * w_step + c]. */
typedef struct {
    size_t lines, pixels, channels;
    size_t kernel, stride;     /* 3 or 5; 1 or 2 */
    const float *const *x;     /* kernel + (lines - 1) * stride lines: (l, p) at x[l] + p * 16 */
    const float *w;
    size_t w_step;
    const float *bias;         /* [channels] */
    float low, high;
    float *y;
    const void *next;          /* where y's pixels go from there, next_step bytes apart: fetched */
    size_t next_step;
} q8_depthwise_lines_f32_job;

typedef struct {
    const char *gemm_name;
    size_t gemm_mr, gemm_nr;   /* chosen as a unit with gemm_tile: NULL inherits all four */
    void (*gemm_tile)(const q8_gemm_f32_job *job);
    void (*depthwise)(const q8_conv_f32_job *job);
    void (*depthwise_lines)(const q8_depthwise_lines_f32_job *job);
    void (*max_pool)(const q8_conv_f32_job *job);
    void (*average_pool)(const q8_conv_f32_job *job);
    /* op: q8_unary_op of q8.h; y may be x. Bounds: 4 ULP, ERF, SILU and both GELU
     * 1e-6 absolute. */
    void (*unary)(int op, size_t n, const float *x, float *y, float alpha, float beta);
    /* Within unary's bounds, but SILU and both GELU 1e-4: what comes from codes is no better. */
    void (*finish)(const q8_finish_job *job);
    /* op: q8_binary_op; a_step and b_step 0 (one value for all) or 1; y may be a or b. Exact but
     * for POW. */
    void (*binary)(int op, size_t n, const float *a, size_t a_step, const float *b, size_t b_step,
                   float *y);
    /* One row, n >= 1; y may be x. 16 ULP + 1e-7. */
    void (*softmax)(size_t n, const float *x, float *y, int log_softmax);
    /* One row of attention, n >= 1: with s[i] = (float)acc[i] * multiplier + mask[i] (mask NULL: 0)
     * the codes y[i] = clamp code (0..255) of softmax(s)[i] / scale, before rounding within
     * 1e-4 of it and of 1 code. values: room for n. Returns the sum of the codes. */
    int32_t (*softmax_codes)(size_t n, const int32_t *acc, float multiplier, const float *mask,
                             float *values, float scale, int32_t zero_point, uint8_t *y);
    /* One row, n >= 1; bias may be NULL. */
    void (*layer_norm)(size_t n, const float *x, const float *scale, const float *bias, float *y,
                       float epsilon);
    /* Linear interpolation of two rows: y = a + (b - a) * fraction */
    void (*lerp)(size_t n, const float *a, const float *b, float fraction, float *y);
    /* sum of a row */
    float (*sum)(size_t n, const float *x);
    /* Two digits of x * factor, cut to -127..127: it is nearly high - 128 + (low - 128) / 256, off by
     * less than 1 / 256. The same codes everywhere; those of NaN are those of -127. */
    void (*digits)(size_t n, const float *x, float factor, uint8_t *high, uint8_t *low);
} q8_f32_table;

/* ---- the instruction sets ---- */

/* Bits that cpu.c finds. AVX2 stands for AVX2 and FMA with ymm saved by the system, AVX512VNNI for
 * AVX-512 F, BW, DQ, VL and VNNI with zmm saved, AVX512VBMI for VBMI beside them, AMX for tiles of
 * int8 with the system's leave. */
enum {
    Q8_CPU_AVX2 = 1 << 0,
    Q8_CPU_AVXVNNI = 1 << 1,
    Q8_CPU_AVX512VNNI = 1 << 2,
    Q8_CPU_NEON = 1 << 3,
    Q8_CPU_DOTPROD = 1 << 4,
    Q8_CPU_I8MM = 1 << 5,
    Q8_CPU_AMX = 1 << 6,
    Q8_CPU_AVX512VBMI = 1 << 7
};

/* X(name, need, gemm, conv, vec, f32), worst first. The last four name const tables (q8_ is pasted
 * before), or are none_*: inherit from the nearest row above that this CPU has. An entry that is
 * NULL inside a conv, vec or f32 table inherits likewise. This list makes declarations, dispatch
 * and checkq8. With -DQ8_SCALAR_ONLY the reference stands alone: what an unknown CPU gets. */
#if defined(Q8_SCALAR_ONLY)
#define Q8_ISA_LIST(X) X(scalar, 0, gemm_scalar, conv_scalar, vec_scalar, f32_scalar)
#elif defined(__x86_64__)
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define Q8_HAVE_AVXVNNI 1
#define Q8_HAVE_AMX 1
#define Q8_ISA_LIST_AVXVNNI(X) \
    X(avxvnni, Q8_CPU_AVX2 | Q8_CPU_AVXVNNI, gemm_avxvnni, none_conv, none_vec, none_f32)
#define Q8_ISA_LIST_AMX(X)                                                                \
    X(amx, Q8_CPU_AVX2 | Q8_CPU_AVX512VNNI | Q8_CPU_AMX, gemm_amx, none_conv, none_vec,     \
      none_f32)
#else
#define Q8_HAVE_AVXVNNI 0
#define Q8_HAVE_AMX 0
#define Q8_ISA_LIST_AVXVNNI(X)
#define Q8_ISA_LIST_AMX(X)
#endif
#define Q8_ISA_LIST(X)                                                                  \
    X(scalar, 0, gemm_scalar, conv_scalar, vec_scalar, f32_scalar)                      \
    X(avx2, Q8_CPU_AVX2, gemm_avx2, conv_avx2, vec_avx2, f32_avx2)                      \
    Q8_ISA_LIST_AVXVNNI(X)                                                              \
    X(avx512vnni, Q8_CPU_AVX2 | Q8_CPU_AVX512VNNI, gemm_avx512vnni, conv_avx512, vec_avx512, \
      f32_avx512)                                                                       \
    X(avx512vbmi, Q8_CPU_AVX2 | Q8_CPU_AVX512VNNI | Q8_CPU_AVX512VBMI, gemm_avx512vnni,      \
      none_conv, vec_avx512vbmi, none_f32) \
    Q8_ISA_LIST_AMX(X)
#elif defined(__aarch64__)
/* clang before 16 hides vdotq_s32 and vusmmlaq_s32 behind build flags. */
#if defined(__clang__) ? __clang_major__ >= 16 : __GNUC__ >= 10
#define Q8_HAVE_DOTPROD 1
#define Q8_ISA_LIST_DOTPROD(X)                                                  \
    X(dotprod, Q8_CPU_NEON | Q8_CPU_DOTPROD, gemm_dotprod, none_conv, none_vec, none_f32)    \
    X(i8mm, Q8_CPU_NEON | Q8_CPU_DOTPROD | Q8_CPU_I8MM, gemm_i8mm, none_conv, none_vec, none_f32)
#else
#define Q8_HAVE_DOTPROD 0
#define Q8_ISA_LIST_DOTPROD(X)
#endif
#define Q8_ISA_LIST(X)                                                  \
    X(scalar, 0, gemm_scalar, conv_scalar, vec_scalar, f32_scalar)      \
    X(neon, Q8_CPU_NEON, gemm_neon, conv_neon, vec_neon, f32_neon)      \
    Q8_ISA_LIST_DOTPROD(X)
#else
#define Q8_ISA_LIST(X) X(scalar, 0, gemm_scalar, conv_scalar, vec_scalar, f32_scalar)
#endif

extern const q8_conv_table q8_none_conv; /* all NULL; dispatch.c */
extern const q8_vec_table q8_none_vec;
extern const q8_f32_table q8_none_f32;
extern const q8_gemm_table q8_gemm_scalar;
extern const q8_conv_table q8_conv_scalar;
extern const q8_vec_table q8_vec_scalar;
extern const q8_f32_table q8_f32_scalar;
#if defined(__x86_64__)
extern const q8_winograd_table q8_winograd_avx2;
void q8_lines_avx512vnni(const q8_gemm_lines_job *job); /* of all tables packed for 512 bits */
extern const q8_gemm_table q8_gemm_avx2, q8_gemm_avxvnni, q8_gemm_avx512vnni, q8_gemm_amx;
extern const q8_conv_table q8_conv_avx2, q8_conv_avx512;
extern const q8_vec_table q8_vec_avx2, q8_vec_avx512, q8_vec_avx512vbmi;
extern const q8_f32_table q8_f32_avx2, q8_f32_avx512;
#elif defined(__aarch64__)
extern const q8_gemm_table q8_gemm_neon, q8_gemm_dotprod, q8_gemm_i8mm;
extern const q8_conv_table q8_conv_neon;
extern const q8_vec_table q8_vec_neon;
extern const q8_f32_table q8_f32_neon;
#endif

/* One instruction set with everything inherited filled in: what a plan holds. */
typedef struct {
    const char *name;
    unsigned need;
    const q8_gemm_table *gemm;
    q8_conv_table conv;
    q8_vec_table vec;
    q8_f32_table f32;
} q8_kernels;

/* dispatch.c. index 0..q8_isa_count()-1; NULL if the CPU lacks it. */
const q8_kernels *q8_kernels_at(int index);
const q8_kernels *q8_kernels_named(const char *name); /* NULL name: the active one */

/* cpu.c */
unsigned q8_cpu_flags(void);
void q8_cpu_describe(char *text, size_t bytes); /* the processor's own name, zero-terminated */

#endif
