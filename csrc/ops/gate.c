/* gate.c - pixels times one code per channel, on their way into a 1 x 1 convolution: what stands
 * behind squeeze and excitation. */
#include <math.h>

#include "conv.h"

/* Far from what could leave the range of int32 with products of two codes. */
#define MOST_MULTIPLIER 1024.0f

int q8_gate_check(q8_plan *plan, const q8_conv *conv, const q8_window *window)
{
    const q8_gate *gate = conv->gate;
    const q8_window *w = window;
    const q8_tensor *tensor = q8_plan_operand(plan, gate->tensor, Q8_U8, 4, "conv: gate");
    if (!tensor)
        return plan->status;
    if (w->kernel_h != 1 || w->kernel_w != 1 || w->stride_h != 1 || w->stride_w != 1 ||
        w->h != w->oh || w->w != w->ow || w->pad_top || w->pad_left || conv->groups != 1 ||
        conv->x_zero_point_tensor >= 0)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: a gate wants plain products");
    if (tensor->dims[0] != w->n || tensor->dims[1] != 1 || tensor->dims[2] != 1 ||
        tensor->dims[3] != w->c)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: the gate is not [N, 1, 1, C]");
    if (!(fabsf(gate->multiplier) < MOST_MULTIPLIER))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: the gate's multiplier is too large");
    if (q8_plan_check_code(plan, gate->x_zero_point, "conv: gate") ||
        q8_plan_check_code(plan, gate->zero_point, "conv: gate") ||
        q8_plan_check_code(plan, conv->x_zero_point, "conv: gate") ||
        q8_plan_check_limits(plan, gate->low, gate->high, "conv: gate"))
        return plan->status;
    return q8_plan_apart(plan, tensor, &plan->tensors[conv->y], false, "conv: gate");
}

void q8_gate_rows(const q8_run *run, const q8_gate *gate, int32_t x_zero_point,
                  const q8_product *product, const q8_block *block, uint8_t *rows)
{
    const q8_window *w = &product->window;
    const int64_t pixels = w->h * w->w;
    const uint8_t *codes = q8_read(run, q8_tensor_of(run, gate->tensor));
    q8_gate_job job = {
        .channels = (size_t)w->c,
        .x_step = product->gathers ? product->k : (size_t)w->c,
        .y_step = product->k,
        .params = {.a_zero_point = gate->x_zero_point,
                   .b_zero_point = gate->zero_point,
                   .a_multiplier = gate->multiplier,
                   .zero_point = x_zero_point,
                   .low = gate->low,
                   .high = gate->high},
    };
    for (size_t at = 0; at < block->rows; at += job.rows) {
        const int64_t pixel = block->first + (int64_t)at, picture = pixel / pixels;
        job.rows = (size_t)q8_least((picture + 1) * pixels - pixel, (int64_t)(block->rows - at));
        job.gate = codes + picture * w->c;
        job.x = block->a[at];
        job.y = rows + at * job.y_step;
        run->plan->kernels->conv.gate(&job);
    }
    for (size_t row = 0; row < block->rows; row++)
        block->a[row] = rows + row * job.y_step;
}
