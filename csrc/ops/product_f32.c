/* product_f32.c - the rows of a block in one panel of floats. */
#include <string.h>

#include "pack_floats.h"
#include "product.h"

size_t q8_panel_bytes_f32(size_t nr, size_t depth)
{
    size_t total = 0;
    q8_reserve(&total, nr * depth * sizeof(float));
    return total;
}

enum { NEIGHBOURS = 8 }; /* so many columns, far from each other, are read side by side */

static void pack_columns(size_t nr, size_t n, size_t depth, const float *w, size_t row_step,
                         size_t column_step, float alpha, float *restrict panel)
{
    for (size_t row = 0; row < depth; row++, panel += nr, w += row_step)
        for (size_t column = 0; column < n; column++)
            panel[column] = w[column * column_step] * alpha;
}

/* Whole squares of so many columns and rows. */
static void pack_squares(size_t nr, size_t columns, size_t rows, const float *w, size_t column_step,
                         float alpha, float *panel)
{
    for (size_t column = 0; column < columns; column += Q8_SQUARE)
        for (size_t row = 0; row < rows; row += Q8_SQUARE)
            q8_pack_square(w + column * column_step + row, column_step, alpha,
                           panel + row * nr + column, nr);
}

void q8_pack_panel_f32(size_t nr, size_t n, size_t depth, const float *w, size_t row_step,
                       size_t column_step, float alpha, float *panel)
{
    const bool is_copy = column_step == 1 && alpha == 1.0f;
    const bool has_squares = !is_copy && row_step == 1 && depth % Q8_SQUARE == 0;
    const size_t squared = has_squares ? n / Q8_SQUARE * Q8_SQUARE : 0;
    pack_squares(nr, squared, depth, w, column_step, alpha, panel);
    for (size_t column = squared; !is_copy && column < n; column += NEIGHBOURS)
        pack_columns(nr, n - column < NEIGHBOURS ? n - column : NEIGHBOURS, depth,
                     w + column * column_step, row_step, column_step, alpha, panel + column);
    for (size_t row = 0; row < depth; row++, panel += nr, w += row_step) {
        if (is_copy)
            memcpy(panel, w, n * sizeof *w);
        memset(panel + n, 0, (nr - n) * sizeof *panel);
    }
}

void q8_panel_f32_run(const q8_panel_f32 *panel, const q8_block *block)
{
    const q8_f32_table *f32 = &panel->kernels->f32;
    q8_gemm_f32_job job = {
        .n = panel->columns,
        .taps = panel->product->taps,
        .k = panel->product->k,
        .a_step = block->a_step,
        .b = panel->b,
        .bias = panel->bias,
        .low = panel->low,
        .high = panel->high,
        .c_step = panel->y_step,
    };
    for (size_t first = 0; first < block->rows; first += f32->gemm_mr) {
        job.m = block->rows - first < f32->gemm_mr ? block->rows - first : f32->gemm_mr;
        job.a = (const float *const *)(const void *)(block->a + first);
        job.c = panel->y + first * panel->y_step;
        f32->gemm_tile(&job);
    }
}
