/* attention.h - attention over heads: what codes and floats share.
 *
 * A part is some rows of one head. It packs the head's k and v into panels of its own scratch, and
 * takes block after block of rows through both products; scores and softmax stay in the cache. */
#ifndef Q8_ATTENTION_H
#define Q8_ATTENTION_H

#include "product.h"

/* Shapes and how they are cut. Panels: of k its columns are k's rows, of v v's elements. */
typedef struct {
    q8_attention a;
    q8_product scores, values;       /* taps, k and rows only: what q8_panel_run reads */
    size_t nr; /* columns of a panel */
    int64_t score_panels, value_panels;
    size_t score_panel_bytes, value_panel_bytes;
    int64_t block_rows, row_parts, rows_per_part;
    /* places in the scratch */
    size_t k_at, v_at, pointers_at, rows_at, scores_at, row_bytes, score_row_bytes;
} q8_attention_shape;

/* Rows of one head that a part does, and where the head begins in each tensor, in elements. */
typedef struct {
    int64_t q, k, v, y, mask; /* q, y and mask at the first row */
    int64_t first, rows;
} q8_attention_part;

/* Checks everything but the numbers of codes. dtype: of q, k and v; y's may be another. */
int q8_attention_check(q8_plan *plan, const q8_attention *attention, q8_dtype dtype);
/* Cuts rows into blocks and parts; element_bytes of q. */
void q8_attention_cut(q8_attention_shape *shape, q8_tile_shape tile, size_t element_bytes);
/* Appends the step, its state beginning with the shape. */
q8_step *q8_attention_append(q8_plan *plan, const q8_attention_shape *shape, size_t state_bytes,
                             void (*run)(const q8_step *, const q8_run *, int64_t),
                             const char *kernel);
/* One of the parts that there are for so many threads. */
q8_attention_part q8_attention_part_of(const q8_attention_shape *shape, int threads, int64_t part);
/* The mask's row for a row of the part; NULL without a mask. */
const float *q8_attention_mask_row(const q8_attention_shape *shape, const q8_run *run,
                                   const q8_attention_part *part, int64_t row);
/* Pointers to rows of q, copied and padded with 0 to a whole step of K where they have none. */
q8_block q8_attention_rows(const q8_attention_shape *shape, const q8_run *run,
                           const q8_attention_part *part, int64_t first, int64_t rows,
                           size_t element_bytes);

int q8_attention_add_f32(q8_plan *plan, const q8_attention *attention); /* attention_f32.c */

#endif
