/* conv.h - what both ways of an eight-bit convolution share: panels (conv.c) and channel by
 * channel (depthwise.c). */
#ifndef Q8_CONV_H
#define Q8_CONV_H

#include "product.h"

/* Operands and the numbers of each output channel. The arrays have one value per column of the
 * driver's choice: padded to whole panels, or simply per channel. */
typedef struct {
    int32_t x, y, x_scale_tensor, x_zero_point_tensor;
    int32_t x_zero_point;             /* 0 if known at run time only */
    q8_output output;
    int32_t *bias;                    /* without what the zero point of x adds at run time */
    int32_t *weight_sums;             /* of a column's weights */
    const int32_t *weight_zero_point; /* NULL: all 0 */
    bool has_one_zero_point;          /* of the weights, for all channels */
    const float *multiplier;          /* NULL for s32 */
    const float *float_bias;          /* NULL: none */
} q8_conv_numbers;

/* Checks what does not depend on the geometry. Arrays stay NULL. */
int q8_conv_numbers_start(q8_plan *plan, const q8_conv *conv, q8_dtype y_dtype,
                          q8_conv_numbers *numbers);
/* Copies the arrays in the order of a product's columns, or as they are for product NULL. */
int q8_conv_numbers_copy(q8_plan *plan, const q8_conv *conv, const q8_product *product,
                         int64_t channels, q8_conv_numbers *numbers);
/* bias += (flip - x_zero_point) * weight_sums */
void q8_conv_numbers_fold(q8_conv_numbers *numbers, int64_t columns, int32_t flip);

/* The numbers of one run: zero point and scale of x may be known only now. */
typedef struct {
    int32_t x_zero_point;
    float x_scale;
} q8_conv_now;
q8_conv_now q8_conv_now_of(const q8_run *run, const q8_conv_numbers *numbers);
/* n values from column `at` on; buffers hold n values each. */
const int32_t *q8_conv_bias(const q8_conv_numbers *numbers, q8_conv_now now, int64_t at, size_t n,
                            int32_t *buffer);
const float *q8_conv_multiplier(const q8_conv_numbers *numbers, q8_conv_now now, int64_t at,
                                size_t n, float *buffer);

/* depthwise.c: groups, C and OC are equal; everything has been checked. */
int q8_plan_add_depthwise(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                          q8_conv_numbers *numbers);

#endif
