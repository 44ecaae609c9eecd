/* pack.c - weights in the order in which a GEMM kernel reads them: q8_gemm_table in kernels.h. */
#include <string.h>

#include "plan.h"

size_t q8_padded_k(const q8_gemm_table *table, size_t k)
{
    return (k + table->kr - 1) / table->kr * table->kr;
}

size_t q8_panel_bytes(const q8_gemm_table *table, size_t taps, size_t k)
{
    size_t bytes = taps * q8_padded_k(table, k) * table->nr * (size_t)table->weight_bytes;
    return (bytes + Q8_ALIGNMENT - 1) / Q8_ALIGNMENT * Q8_ALIGNMENT;
}

/* u8 - 128 has the bits of u8 ^ 128 read as s8. */
static int8_t flipped(int8_t weight, int flip)
{
    return (int8_t)((uint8_t)weight ^ flip);
}

/* One tap of one column, whose weights stand k_step apart; returns its sum. `at` is where the
 * column's first weight goes. */
static int32_t pack_column(const q8_gemm_table *table, size_t k, const int8_t *w, size_t k_step,
                           int flip, uint8_t *at)
{
    const size_t kr = table->kr, step_bytes = table->nr * kr * (size_t)table->weight_bytes;
    int32_t sum = 0;
    for (size_t first = 0; first < k; first += kr, at += step_bytes) {
        size_t count = k - first < kr ? k - first : kr;
        for (size_t p = 0; p < count; p++) {
            int8_t value = flipped(w[(first + p) * k_step], flip);
            sum += value;
            if (table->weight_bytes == 1)
                at[p] = (uint8_t)value;
            else
                ((int16_t *)(void *)at)[p] = value;
        }
    }
    return sum;
}

/* Rows of K whose weights are neighbours in w, as products of two run-time tensors pack them at
 * every run: 4 bytes of a column at a time. at: the first column's place for the first row. */
static void pack_four_rows(size_t kr, size_t n, const int8_t *w, size_t k_step, int flip,
                           uint8_t *at, int32_t *sums)
{
    const int8_t *w1 = w + k_step, *w2 = w1 + k_step, *w3 = w2 + k_step;
    for (size_t column = 0; column < n; column++, at += kr) {
        const int8_t a = flipped(w[column], flip), b = flipped(w1[column], flip);
        const int8_t c = flipped(w2[column], flip), d = flipped(w3[column], flip);
        const uint8_t bytes[4] = {(uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d};
        memcpy(at, bytes, 4);
        sums[column] += a + b + c + d;
    }
}

static void pack_two_rows(size_t kr, size_t n, const int8_t *w, size_t k_step, int flip,
                          uint8_t *at, int32_t *sums)
{
    const int8_t *w1 = w + k_step;
    for (size_t column = 0; column < n; column++, at += 2 * kr) {
        const int16_t pair[2] = {flipped(w[column], flip), flipped(w1[column], flip)};
        memcpy(at, pair, 4);
        sums[column] += pair[0] + pair[1];
    }
}

/* All rows up to the last whole step of K; returns how many these are. */
static size_t pack_rows(const q8_gemm_table *table, size_t n, size_t k, const int8_t *w,
                        size_t k_step, int flip, uint8_t *panel, int32_t *sums)
{
    const size_t kr = table->kr, bytes = (size_t)table->weight_bytes, at_once = 4 / bytes;
    const size_t rows = kr % at_once == 0 ? k / kr * kr : 0;
    for (size_t row = 0; row < rows; row += at_once) {
        uint8_t *at = panel + (row / kr * kr * table->nr + row % kr) * bytes;
        if (bytes == 1)
            pack_four_rows(kr, n, w + row * k_step, k_step, flip, at, sums);
        else
            pack_two_rows(kr, n, w + row * k_step, k_step, flip, at, sums);
    }
    return rows;
}

static void pack_tap(const q8_gemm_table *table, size_t n, size_t k, const int8_t *w,
                     size_t column_step, size_t k_step, int flip, uint8_t *panel, int32_t *sums)
{
    const size_t bytes = (size_t)table->weight_bytes;
    const size_t rows =
        column_step == 1 ? pack_rows(table, n, k, w, k_step, flip, panel, sums) : 0;
    for (size_t column = 0; rows < k && column < n; column++)
        sums[column] += pack_column(table, k - rows, w + column * column_step + rows * k_step,
                                    k_step, flip,
                                    panel + (rows * table->nr + column * table->kr) * bytes);
}

void q8_pack_panel(const q8_gemm_table *table, size_t n, size_t taps, size_t k, const int8_t *w,
                   size_t column_step, size_t tap_step, size_t k_step, bool is_unsigned,
                   void *panel, int32_t *sums)
{
    const size_t tap_bytes =
        q8_padded_k(table, k) * table->nr * (size_t)table->weight_bytes;
    memset(panel, 0, q8_panel_bytes(table, taps, k));
    memset(sums, 0, n * sizeof *sums);
    for (size_t tap = 0; tap < taps; tap++)
        pack_tap(table, n, k, w + tap * tap_step, column_step, k_step, is_unsigned ? 0x80 : 0,
                 (uint8_t *)panel + tap * tap_bytes, sums);
}
