/* conv_numbers.c - bias, multipliers and zero points of an eight-bit convolution, per channel. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels/requant.h"
#include "conv.h"

static int check_residual(q8_plan *plan, const q8_conv *conv)
{
    const q8_tensor *y = &plan->tensors[conv->y];
    const q8_tensor *residual = q8_plan_operand(plan, conv->residual, Q8_F32, 4, "conv");
    if (!residual)
        return plan->status;
    if (y->dtype != Q8_F32 || memcmp(residual->dims, y->dims, 4 * sizeof *y->dims))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: the residual is not like y");
    return q8_plan_apart(plan, residual, y, false, "conv");
}

/* Far from what could leave the range of int32 with a sum of two codes. */
#define MOST_MULTIPLIER 0x1p20f

static int start_addend(q8_plan *plan, const q8_conv *conv, q8_conv_numbers *numbers)
{
    const q8_addend *addend = conv->addend;
    const q8_tensor *y = &plan->tensors[conv->y];
    const q8_tensor *tensor = q8_plan_operand(plan, addend->tensor, Q8_U8, 4, "conv: addend");
    if (!tensor)
        return plan->status;
    if (y->dtype != Q8_U8 || memcmp(tensor->dims, y->dims, 4 * sizeof *y->dims))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: the addend is not like y");
    if (!(fabsf(addend->a_multiplier) < MOST_MULTIPLIER) ||
        !(fabsf(addend->b_multiplier) < MOST_MULTIPLIER))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: an addend's multiplier is too large");
    if (q8_plan_check_code(plan, addend->a_zero_point, "conv: addend") ||
        q8_plan_check_code(plan, addend->b_zero_point, "conv: addend") ||
        q8_plan_check_code(plan, addend->y_zero_point, "conv: addend") ||
        q8_plan_check_limits(plan, addend->y_low, addend->y_high, "conv: addend") ||
        q8_plan_apart(plan, tensor, y, false, "conv: addend"))
        return plan->status;
    q8_binary_params *sum = q8_plan_allocate(plan, 1, sizeof *sum);
    if (!sum)
        return plan->status;
    *sum = (q8_binary_params){addend->a_zero_point, addend->b_zero_point, addend->a_multiplier,
                              addend->b_multiplier, addend->y_zero_point, addend->y_low,
                              addend->y_high};
    numbers->addend = addend->tensor;
    numbers->output.sum = sum;
    return Q8_OK;
}

int q8_conv_numbers_start(q8_plan *plan, const q8_conv *conv, q8_dtype y_dtype,
                          q8_conv_numbers *numbers)
{
    const bool is_dynamic = conv->x_zero_point_tensor >= 0;
    *numbers = (q8_conv_numbers){
        .x = conv->x,
        .y = conv->y,
        .residual = conv->residual < 0 ? -1 : conv->residual,
        .addend = -1,
        .x_zero_point = is_dynamic ? 0 : conv->x_zero_point,
        .output = {y_dtype, conv->y_zero_point, conv->y_low, conv->y_high, conv->y_scale,
                   conv->float_low, conv->float_high, conv->table, NULL},
    };
    if (is_dynamic && q8_plan_scalar(plan, conv->x_zero_point_tensor, Q8_U8, conv->y, "conv"))
        return plan->status;
    if (conv->x_scale_tensor >= 0) {
        if (y_dtype == Q8_S32 || (y_dtype == Q8_U8 && (conv->bias || !(conv->y_scale > 0.0f))))
            return q8_plan_fail(plan, Q8_ERROR_ARGUMENT,
                                "conv: a scale tensor does not go with y or bias");
        if (q8_plan_scalar(plan, conv->x_scale_tensor, Q8_F32, conv->y, "conv"))
            return plan->status;
    }
    if (conv->residual >= 0 && check_residual(plan, conv))
        return plan->status;
    if (conv->addend && start_addend(plan, conv, numbers))
        return plan->status;
    if (!conv->weights || (y_dtype != Q8_S32 && !conv->multiplier))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: no weights or no multiplier");
    if (conv->weights_are_rows && (conv->kernel_h != 1 || conv->kernel_w != 1 || conv->groups != 1))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: rows of weights of no plain product");
    q8_plan_check_code(plan, numbers->x_zero_point, "conv");
    if (q8_output_check(plan, &numbers->output, "conv") != Q8_OK || !conv->table)
        return plan->status;
    uint8_t *table = q8_plan_allocate(plan, 256, 1);
    numbers->output.table = table ? memcpy(table, conv->table, 256) : NULL;
    return plan->status;
}

/* Copies one value of 4 bytes per channel to where its column stands; NULL for NULL. */
static void *copy_numbers(q8_plan *plan, const q8_product *product, int64_t channels,
                          const void *values)
{
    const int64_t columns = product ? product->panels * product->columns : channels;
    uint8_t *copy = values ? q8_plan_allocate(plan, columns, 4) : NULL;
    if (!copy)
        return NULL;
    if (!product)
        return memcpy(copy, values, (size_t)channels * 4);
    for (int64_t panel = 0; panel < product->panels; panel++)
        memcpy(copy + (size_t)(panel * product->columns) * 4,
               (const uint8_t *)values + (size_t)q8_panel_first(product, panel) * 4,
               q8_panel_width(product, panel) * 4);
    return copy;
}

/* True if the weights of every channel have this zero point. */
static bool have_zero_point(const q8_conv *conv, int64_t channels, int32_t zero_point)
{
    for (int64_t c = 0; c < channels; c++)
        if (conv->weight_zero_point[c] != zero_point)
            return false;
    return true;
}

/* Per channel: 255 times the sum of its weights' sizes. */
static const float *most_sums(q8_plan *plan, const q8_conv *conv, int64_t channels, int64_t depth)
{
    const int64_t channel_step = conv->weights_are_rows ? 1 : depth;
    const int64_t k_step = conv->weights_are_rows ? channels : 1;
    float *sums = q8_plan_allocate(plan, channels, sizeof(float));
    for (int64_t c = 0; sums && c < channels; c++) {
        int64_t sum = 0;
        for (int64_t k = 0; k < depth; k++)
            sum += abs(conv->weights[c * channel_step + k * k_step]);
        sums[c] = 255.0f * (float)sum;
    }
    return sums;
}

int q8_conv_numbers_copy(q8_plan *plan, const q8_conv *conv, const q8_product *product,
                         int64_t channels, int64_t padding_bytes, q8_conv_numbers *numbers)
{
    const bool is_s32 = numbers->output.dtype == Q8_S32;
    const int64_t columns = product ? product->panels * product->columns : channels;
    numbers->columns = columns;
    numbers->bias = conv->bias ? copy_numbers(plan, product, channels, conv->bias)
                               : q8_plan_allocate(plan, columns, sizeof(int32_t));
    numbers->weight_sums = q8_plan_allocate(plan, columns, sizeof(int32_t));
    numbers->padding = q8_plan_allocate(plan, padding_bytes, 1);
    numbers->padding_bytes = padding_bytes;
    if (conv->weight_zero_point && !have_zero_point(conv, channels, 0)) {
        numbers->weight_zero_point =
            copy_numbers(plan, product, channels, conv->weight_zero_point);
        numbers->has_one_zero_point =
            have_zero_point(conv, channels, conv->weight_zero_point[0]);
    }
    numbers->multiplier =
        copy_numbers(plan, product, channels, is_s32 ? NULL : conv->multiplier);
    numbers->float_bias = copy_numbers(plan, product, channels, conv->float_bias);
    if (conv->x_scale_tensor >= 0 && numbers->output.dtype == Q8_U8)
        numbers->most_sum = copy_numbers(plan, product, channels,
                                         most_sums(plan, conv, channels, numbers->depth));
    return plan->status;
}

void q8_conv_numbers_bound(q8_conv_numbers *numbers)
{
    const double most = 1 << 30, sum = (double)numbers->largest_sum;
    numbers->is_near = numbers->is_small = numbers->multiplier != NULL;
    for (int64_t i = 0; numbers->is_near && i < numbers->columns; i++) {
        const double largest = sum + fabs((double)numbers->bias[i]);
        numbers->is_near = largest * fabs((double)numbers->multiplier[i]) < most;
        numbers->is_small =
            numbers->is_small && q8_are_small(largest, numbers->multiplier[i]);
    }
    numbers->is_small = numbers->is_small && numbers->is_near;
}

void q8_conv_numbers_fold(q8_conv_numbers *numbers, int32_t flip)
{
    const uint32_t factor = (uint32_t)flip - (uint32_t)numbers->x_zero_point;
    for (int64_t i = 0; i < numbers->columns; i++)
        numbers->bias[i] =
            (int32_t)((uint32_t)numbers->bias[i] + factor * (uint32_t)numbers->weight_sums[i]);
    memset(numbers->padding, numbers->x_zero_point, (size_t)numbers->padding_bytes);
    q8_conv_numbers_bound(numbers);
}
