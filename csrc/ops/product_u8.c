/* product_u8.c - the rows of a block in one panel of int8 weights, and what becomes of the
 * accumulators.
 *
 * Codes and accumulators leave the kernel as they are to stay; only floats and weights with a zero
 * point take the way over a small tile of int32:
 *     sum (a - za) (w - zw) = [sum a w - za sum w] - zw sum (a - za)
 * where the bracket is what the kernel computes, za sum w being part of its bias. */
#include <string.h>

#include "product.h"

int q8_output_check(q8_plan *plan, const q8_output *output, const char *what)
{
    if (output->dtype != Q8_U8 && output->dtype != Q8_S32 && output->dtype != Q8_F32)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: result of type %d", what,
                            (int)output->dtype);
    /* of every type: kernels subtract them before they know whether they are wanted */
    q8_plan_check_code(plan, output->zero_point, what);
    return q8_plan_check_limits(plan, output->low, output->high, what);
}

void q8_row_sums(const q8_kernels *kernels, const q8_product *product, const q8_block *block,
                 int32_t zero_point, int32_t *sums)
{
    const size_t length = product->gathers ? product->depth : product->k;
    for (size_t i = 0; i < block->rows; i++) {
        uint32_t sum = 0u - (uint32_t)zero_point * (uint32_t)product->depth;
        for (size_t tap = 0; tap < product->taps; tap++)
            sum += (uint32_t)kernels->vec.sum(length, block->a[tap * block->a_step + i]);
        sums[i] = (int32_t)sum;
    }
}

enum { CHUNK = 8 }; /* divides every nr; a constant count, of which compilers make vectors */

/* acc -= weight_zero_point * row_sum. Chunks run over the columns' end, inside the tile. */
static void correct_row(const q8_panel *panel, uint32_t row_sum, int32_t *restrict acc)
{
    const int32_t *restrict zero_points = panel->weight_zero_point;
    const uint32_t product = (uint32_t)zero_points[0] * row_sum;
    for (size_t first = 0; first < panel->columns; first += CHUNK, acc += CHUNK) {
        if (panel->has_one_zero_point)
            for (size_t i = 0; i < CHUNK; i++)
                acc[i] = (int32_t)((uint32_t)acc[i] - product);
        else
            for (size_t i = 0; i < CHUNK; i++)
                acc[i] = (int32_t)((uint32_t)acc[i] - (uint32_t)zero_points[first + i] * row_sum);
    }
}

void q8_store_accumulators(const q8_kernels *kernels, const q8_output *output, size_t n,
                           const int32_t *acc, const float *multiplier, const float *float_bias,
                           void *y, size_t at)
{
    if (output->dtype == Q8_U8)
        kernels->vec.requantize(n, acc, multiplier, (uint8_t *)y + at, output->zero_point,
                                output->low, output->high);
    else if (output->dtype == Q8_F32)
        kernels->vec.accumulator_to_f32(n, acc, multiplier, float_bias, (float *)y + at,
                                        output->float_low, output->float_high);
    else
        memcpy((int32_t *)y + at, acc, n * sizeof *acc);
}

static void store_tile(const q8_panel *panel, size_t first, size_t rows)
{
    const size_t nr = panel->kernels->gemm->nr;
    for (size_t i = 0; i < rows; i++) {
        int32_t *acc = panel->tile + i * nr;
        if (panel->weight_zero_point)
            correct_row(panel, (uint32_t)panel->row_sums[first + i], acc);
        q8_store_accumulators(panel->kernels, panel->output, panel->columns, acc,
                              panel->multiplier, panel->float_bias, panel->y,
                              (first + i) * panel->y_step);
    }
}

void q8_panel_run(const q8_panel *panel, const q8_block *block)
{
    const q8_gemm_table *gemm = panel->kernels->gemm;
    const q8_output *output = panel->output;
    const bool is_final = output->dtype != Q8_F32 && !panel->weight_zero_point;
    const size_t element_bytes = q8_element_bytes(output->dtype);
    q8_gemm_job job = {
        .n = panel->columns,
        .taps = panel->product->taps,
        .k = panel->product->k,
        .a_step = block->a_step,
        .b = panel->b,
        .bias = panel->bias,
        .multiplier = is_final && output->dtype == Q8_U8 ? panel->multiplier : NULL,
        .zero_point = output->zero_point,
        .low = output->low,
        .high = output->high,
        .c_step = is_final ? panel->y_step : gemm->nr,
    };
    for (size_t first = 0; first < block->rows; first += gemm->mr) {
        job.m = block->rows - first < gemm->mr ? block->rows - first : gemm->mr;
        job.a = (const uint8_t *const *)(const void *)(block->a + first);
        job.c = is_final ? (uint8_t *)panel->y + first * panel->y_step * element_bytes
                         : (uint8_t *)panel->tile;
        gemm->tile(&job);
        if (!is_final)
            store_tile(panel, first, job.m);
    }
}
