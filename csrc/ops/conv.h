/* conv.h - what both ways of an eight-bit convolution share: panels (conv.c) and channel by
 * channel (depthwise.c). */
#ifndef Q8_CONV_H
#define Q8_CONV_H

#include "product.h"

/* Operands and the numbers of each output channel. The arrays have one value per column of the
 * driver's choice: panels of nr columns, padded, or one panel of all channels. What depends on
 * x's scale or zero point may be known at run time only: then a step of its own writes it before
 * the convolution's step reads it. */
typedef struct {
    int32_t x, y, residual, addend; /* residual and addend: -1 for none */
    int32_t x_zero_point;
    q8_output output;
    int64_t columns;                  /* of all panels */
    int64_t depth, largest_sum;       /* products in an acc; what |acc| can be, without bias */
    const float *most_sum;            /* the same of each column; dynamic codes only */
    int32_t *bias;
    int32_t *weight_sums;             /* of a column's weights */
    const int32_t *weight_zero_point; /* NULL: all 0 */
    bool has_one_zero_point;          /* of the weights, for all channels */
    float *multiplier;                /* NULL for s32 */
    bool is_near;                     /* codes before their clamp are far inside int32 */
    bool is_small;                    /* sums are, as requant.h says */
    const float *float_bias;          /* NULL: none */
    uint8_t *padding;                 /* padding_bytes of x_zero_point */
    int64_t padding_bytes;
    bool over_floats;                 /* in this run codes are made from floats */
} q8_conv_numbers;

/* Checks what does not depend on the geometry. Arrays stay NULL. */
int q8_conv_numbers_start(q8_plan *plan, const q8_conv *conv, q8_dtype y_dtype,
                          q8_conv_numbers *numbers);
/* Copies the arrays in the order of a product's columns, or as they are for product NULL, and
 * makes room for padding_bytes of padding. */
int q8_conv_numbers_copy(q8_plan *plan, const q8_conv *conv, const q8_product *product,
                         int64_t channels, int64_t padding_bytes, q8_conv_numbers *numbers);
/* bias += (flip - x_zero_point) * weight_sums, fills the padding, and bounds. */
void q8_conv_numbers_fold(q8_conv_numbers *numbers, int32_t flip);
/* Finds is_near and is_small from bias, multiplier and largest_sum. */
void q8_conv_numbers_bound(q8_conv_numbers *numbers);

static inline const float *q8_conv_residual(const q8_run *run, const q8_conv_numbers *numbers)
{
    return numbers->residual < 0 ? NULL : q8_read(run, q8_tensor_of(run, numbers->residual));
}

static inline const uint8_t *q8_conv_addend(const q8_run *run, const q8_conv_numbers *numbers)
{
    return numbers->addend < 0 ? NULL : q8_read(run, q8_tensor_of(run, numbers->addend));
}

/* Appends, before the convolution's own step, the step that makes the numbers of a run; *now
 * stays NULL if everything is known. */
typedef struct q8_conv_now q8_conv_now;
int q8_conv_now_append(q8_plan *plan, const q8_conv *conv, q8_conv_now **now);
/* Tells it what to make; after the fold. */
int q8_conv_now_of(q8_plan *plan, const q8_conv *conv, q8_conv_now *now, q8_conv_numbers *numbers);

/* A convolution over panels. */
typedef struct {
    q8_product product;
    q8_conv_numbers numbers;
    const uint8_t *panels;
    size_t panel_bytes;
    const uint16_t *places; /* NULL, or the panels are in places: those of each, place_step apart */
    size_t place_step;
    bool is_gated, has_mantissas;
    bool widens;                       /* rows, once for all panels */
    q8_gate gate;
    size_t sums_at, tile_at, gated_at, wide_at; /* in the scratch */
} q8_conv_state;
/* The state of a step that conv.c made, NULL of any other. */
q8_conv_state *q8_conv_state_of(const q8_step *step);
/* Lets sums begin as mantissas where the kernel likes it and all that they become are plain codes. */
void q8_conv_begin_as_mantissas(const q8_gemm_table *gemm, q8_conv_state *state);
/* The picture that its product reads. */
q8_picture q8_conv_picture(const q8_conv_state *state, const q8_run *run);
/* What is the same for all blocks; y, y_step and what floats need are left to the caller. */
q8_panel q8_conv_panel(const q8_conv_state *state, const q8_run *run, int64_t panel);
/* The block's rows in 16 bits, in the scratch, for all panels; NULL if the kernel takes them as they are. */
const uint16_t *q8_conv_widened(const q8_conv_state *state, const q8_run *run, const q8_block *block);

/* gate.c */
int q8_gate_check(q8_plan *plan, const q8_conv *conv, const q8_window *window);
/* Writes a block's rows, gated, to `rows`, k codes each, and lets it point there. */
void q8_gate_rows(const q8_run *run, const q8_gate *gate, int32_t x_zero_point,
                  const q8_product *product, const q8_block *block, uint8_t *rows);

/* conv_winograd.c: whether this convolution is one that they suit, and its step. Everything has been
 * checked. */
bool q8_winograd_suits(const q8_plan *plan, const q8_conv *conv, const q8_window *window);
int q8_plan_add_winograd(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                         const q8_conv_numbers *numbers, q8_conv_now *now);

/* depthwise.c: groups, C and OC are equal; everything has been checked. */
int q8_plan_add_depthwise(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                          q8_conv_numbers *numbers, q8_conv_now *now);

#endif
