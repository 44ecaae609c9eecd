/* product.h - rows of A times panels of B: what convolution and matmul, of codes and of floats,
 * have in common.
 *
 * A row of A is what one output pixel sees. The kernel gets it as one pointer per tap, or, where
 * the channels do not fill the kernel's steps of K or are few, as one copied row. Rows are cut
 * into blocks that fit the second cache together with a panel; a block's pointers are made once
 * and used for every panel. While a panel is used, the next one is fetched from memory. */
#ifndef Q8_PRODUCT_H
#define Q8_PRODUCT_H

#include "ops.h"

typedef struct {
    q8_window window;
    int64_t groups;
    size_t element_bytes, result_bytes; /* of A and B; of y, 0: the same */
    size_t depth;      /* elements that one output sums: kernel_h * kernel_w * c / groups */
    bool gathers;      /* rows are copied: taps is 1 and k the padded depth */
    bool has_lines;    /* a tap is a whole line of the kernel */
    bool copies_rows;  /* each part does: gathers, or what a driver makes of its rows */
    size_t taps, k;    /* as the kernel sees them */
    int64_t rows;
    int64_t tile_rows; /* mr */
    int64_t block_rows; /* at most, of one block */
    int64_t columns;   /* of a panel: nr */
    int64_t group_columns, group_panels, panels;
    int64_t worthwhile_parts; /* more would be too small to hand out */
    int64_t ns;               /* about, on one thread */
} q8_product;

/* What a kernel's tile looks like, and how fast it is. */
typedef struct {
    size_t mr, nr, kr;
    int macs_per_ns; /* rough: decides how small a part may be */
    bool wants_even_rows;
    size_t least_rows; /* of a block, if there are so many: a panel's way to the kernel is long */
} q8_tile_shape;
q8_tile_shape q8_tile_shape_of(const q8_gemm_table *gemm);

/* The geometry that q8_conv and q8_conv_f32 have in common. */
#define Q8_CONV_WINDOW(conv, x, y)                                                         \
    ((q8_window){(x)->dims[0], (x)->dims[1], (x)->dims[2], (x)->dims[3], (y)->dims[1],       \
                 (y)->dims[2], (y)->dims[3], (conv)->kernel_h, (conv)->kernel_w,             \
                 (conv)->stride_h, (conv)->stride_w, (conv)->pad_top, (conv)->pad_left,      \
                 (conv)->dilation_h, (conv)->dilation_w})
/* One tap, all of whose pixels are neighbours. */
bool q8_has_even_rows(const q8_window *window);
/* The window of a plain product of rows x k and k x columns. */
q8_window q8_matrix_window(int64_t rows, int64_t k, int64_t columns);

/* Checks a convolution's window, groups and overlap of x and y. */
int q8_conv_check(q8_plan *plan, const q8_window *window, int64_t groups, const q8_tensor *x,
                  const q8_tensor *y, const char *what);
/* "conv 3x3/2 dilated groups 4", "depthwise 3x3" or "gemm 64x256x1000", then the kernel. */
void q8_product_name(q8_step *step, const q8_window *window, int64_t groups, const char *kernel);

/* Fills everything from window, groups and element_bytes. */
void q8_product_cut(q8_product *product, q8_tile_shape shape);
/* How many parts there are for so many threads; one for one. */
int64_t q8_product_parts(const q8_product *product, int threads);
/* Bytes that q8_product_run needs of its scratch; a multiple of Q8_ALIGNMENT. */
size_t q8_product_scratch(const q8_product *product);
int64_t q8_product_macs(const q8_product *product);
/* The first column, of all outputs, of a panel, and how many it has. */
int64_t q8_panel_first(const q8_product *product, int64_t panel);
size_t q8_panel_width(const q8_product *product, int64_t panel);

/* Rows first..first+rows-1 of A, ready for the kernel. */
typedef struct {
    const void **a;
    size_t a_step;
    int64_t first;
    size_t rows;
} q8_block;

/* What a driver gives: where A is and what to do with a block. */
typedef struct {
    const q8_product *product;
    int threads;        /* for which the parts were counted */
    q8_picture picture; /* of group 0; the rest follows */
    uint8_t *scratch;
    void (*block)(void *context, const q8_block *block); /* NULL, or called before its panels */
    void (*panel)(void *context, const q8_block *block, int64_t panel);
    void *context;
} q8_product_walk;
void q8_product_run(const q8_product_walk *walk, int64_t part);
/* Makes rows first..first+rows-1 of one group ready, block_rows at most. */
q8_block q8_product_block(const q8_product_walk *walk, int64_t first, int64_t rows, int64_t group);
/* The panels of a part. */
q8_range q8_product_panels(const q8_product *product, int threads, int64_t part);
/* The end of the panels of the parts that its thread is to do. */
int64_t q8_product_last_panel(const q8_product *product, int threads, int64_t part);

/* Packed weights that tiles fetch into the second cache, a little each: first those of this part,
 * a panel ahead, then the beginning of the next step's. */
typedef struct {
    const uint8_t *seen, *end; /* this part's: the last panel fetched, and their end */
    bool repeats;              /* fetch them again for every block of rows */
    q8_bytes next;
} q8_ahead;
q8_ahead q8_ahead_of(const q8_product *product, const q8_run *run, const q8_step *step,
                     size_t panel_bytes, int64_t part);

/* ---- panels of codes (product_u8.c) ---- */

/* How accumulators become results; the formulas stand at q8_conv. */
typedef struct {
    q8_dtype dtype; /* of y: u8, s32 or f32 */
    int32_t zero_point, low, high;
    float scale; /* of codes that are made from floats */
    float float_low, float_high;
    const uint8_t *table; /* of codes: what each becomes at last; NULL: itself */
    const q8_binary_params *sum; /* of codes: how each is added to another before; NULL: it is not */
} q8_output;

/* Rows lie in lines of a picture that have gaps between them. */
typedef struct {
    int64_t rows;    /* of a line */
    int64_t first;   /* where in its line the block's first row is */
    size_t step;     /* elements from one line to the next */
    size_t group;    /* and from 16 columns to the next 16 */
} q8_lines;

typedef struct {
    const q8_kernels *kernels;
    const q8_product *product;
    const q8_output *output;
    const void *b;
    const uint16_t *places;           /* as in q8_gemm_job */
    const uint16_t *wide;             /* NULL, or the block's rows widened, without gaps */
    size_t columns;
    const int32_t *bias;              /* nr values, like the arrays below */
    const float *multiplier;          /* NULL for s32 */
    bool is_near;                     /* no |accumulator * multiplier| reaches 2^31 */
    bool has_mantissas;               /* see q8_gemm_job */
    const float *float_bias;          /* NULL: none */
    const int32_t *weight_zero_point; /* NULL: all 0 */
    bool has_one_zero_point;          /* the same for all columns */
    bool over_floats;                 /* u8: codes of the floats, multiplier as for floats */
    const float *residual;            /* NULL, or added before the clamp of floats; lies as y */
    const uint8_t *addend;            /* with a sum of codes only; lies as y */
    const q8_step *step;              /* NULL, or what else to do with floats, and */
    float *range;                     /* NULL, or [2]: widened by them, as in q8_floats_job */
    const int32_t *row_sums;          /* of a - zero point; with weight_zero_point only */
    void *y;                          /* the block's first row in this panel */
    size_t y_step;                    /* elements */
    const q8_lines *lines;            /* NULL, or where rows of floats go: y begins their line */
    int32_t *tile;                    /* room for q8_tile_bytes */
    size_t panel_bytes;
    q8_ahead *ahead;                  /* NULL: b and its like are in the cache anyway */
} q8_panel;
/* Bytes of the tile where sums wait for what becomes of them. */
size_t q8_tile_bytes(const q8_gemm_table *gemm);
/* Whether the kernel itself makes what is to stay, or sums that wait in the tile. */
bool q8_panel_is_final(const q8_panel *panel);
/* What all jobs of a panel have in common. */
q8_gemm_job q8_panel_job(const q8_panel *panel);
/* Rows of sums in the tile become rows first.. of y. */
void q8_panel_store(const q8_panel *panel, size_t first, size_t rows);
/* Computes the rows of a block in one panel. */
void q8_panel_run(const q8_panel *panel, const q8_block *block);
/* sums[i] = sum over row i of a - zero_point. */
void q8_row_sums(const q8_kernels *kernels, const q8_product *product, const q8_block *block,
                 int32_t zero_point, int32_t *sums);
/* Rows of n codes, `step` apart, become what the output's table makes of them. */
void q8_output_table(const q8_kernels *kernels, const q8_output *output, size_t rows, size_t n,
                     uint8_t *y, size_t step);
/* sums[j] = sum of column j of a packed panel of k rows. ones: room for a row of k codes. */
void q8_panel_sums(const q8_kernels *kernels, const void *panel, size_t n, size_t k, uint8_t *ones,
                   int32_t *sums);
int q8_output_check(q8_plan *plan, const q8_output *output, const char *what);

/* Accumulators [rows][columns] on their way to y. */
typedef struct {
    size_t rows, columns;
    const int32_t *acc;
    size_t acc_step;
    const float *multiplier, *float_bias; /* [columns], NULL as in q8_panel */
    bool over_floats;
    const float *residual;                /* NULL: none */
    const uint8_t *addend;                /* as in q8_panel */
    void *y;
    size_t y_step;                        /* elements */
    float *range;                         /* NULL, or [2]: see q8_floats_job */
} q8_sums;
void q8_store_sums(const q8_kernels *kernels, const q8_output *output, const q8_sums *sums);

/* ---- panels of floats (product_f32.c) ---- */

typedef struct {
    const q8_kernels *kernels;
    const q8_product *product;
    const float *b, *bias; /* bias: nr values */
    size_t columns;
    float low, high;
    float *y;
    size_t y_step;
} q8_panel_f32;
void q8_panel_f32_run(const q8_panel_f32 *panel, const q8_block *block);
/* Bytes of a panel of depth rows and nr columns, rounded up to Q8_ALIGNMENT. */
size_t q8_panel_bytes_f32(size_t nr, size_t depth);
/* Packs n columns of w(row, column) = w[row * row_step + column * column_step],
 * times alpha, rows 0..depth-1, into one panel of nr columns. */
void q8_pack_panel_f32(size_t nr, size_t n, size_t depth, const float *w, size_t row_step,
                       size_t column_step, float alpha, float *panel);

#endif
