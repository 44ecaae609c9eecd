/* pack.c - weights in the order in which a GEMM kernel reads them: q8_gemm_table in kernels.h. */
#include <string.h>

#include "pack_bytes.h"
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

/* One tap of one column, whose weights stand k_step apart. `at` is where its first weight goes. */
static void pack_column(const q8_gemm_table *table, size_t k, const int8_t *w, size_t k_step,
                        int flip, uint8_t *at)
{
    const size_t kr = table->kr, step_bytes = table->nr * kr * (size_t)table->weight_bytes;
    for (size_t first = 0; first < k; first += kr, at += step_bytes) {
        size_t count = k - first < kr ? k - first : kr;
        for (size_t p = 0; p < count; p++) {
            int8_t value = flipped(w[(first + p) * k_step], flip);
            if (table->weight_bytes == 1)
                at[p] = (uint8_t)value;
            else
                ((int16_t *)(void *)at)[p] = value;
        }
    }
}

/* Rows of K whose weights are neighbours in w, as products of two run-time tensors pack them at
 * every run: 4 bytes of a column at a time. at: the first column's place for the first row. */
static void pack_four_rows(size_t kr, size_t n, const int8_t *w, size_t k_step, int flip,
                           uint8_t *at)
{
    const int8_t *w1 = w + k_step, *w2 = w1 + k_step, *w3 = w2 + k_step;
    for (size_t column = 0; column < n; column++, at += kr) {
        const uint8_t bytes[4] = {
            (uint8_t)flipped(w[column], flip), (uint8_t)flipped(w1[column], flip),
            (uint8_t)flipped(w2[column], flip), (uint8_t)flipped(w3[column], flip)};
        memcpy(at, bytes, 4);
    }
}

static void pack_two_rows(size_t kr, size_t n, const int8_t *w, size_t k_step, int flip,
                          uint8_t *at)
{
    const int8_t *w1 = w + k_step;
    for (size_t column = 0; column < n; column++, at += 2 * kr) {
        const int16_t pair[2] = {flipped(w[column], flip), flipped(w1[column], flip)};
        memcpy(at, pair, 4);
    }
}

#if Q8_HAVE_PACK_BYTES

/* Whole steps of K and whole sixteens of columns of rows whose columns are neighbours. */
static size_t pack_rows_fast(const q8_gemm_table *table, size_t columns, size_t k, const int8_t *w,
                             size_t k_step, int flip, uint8_t *panel)
{
    for (size_t row = 0; row < k / 4 * 4; row += 4)
        for (size_t column = 0; column < columns; column += 16)
            q8_interleave_rows(w + row * k_step + column, k_step, flip,
                               panel + row * table->nr + column * 4);
    return k / 4 * 4;
}

/* Of a column this much is read at once: the lines of the panel that it goes to stay near. */
#define LINE 64

/* Whole sixteens of K and whole fours of columns whose weights are neighbours. */
static size_t pack_columns_fast(const q8_gemm_table *table, size_t columns, size_t k,
                                const int8_t *w, size_t column_step, int flip, uint8_t *panel)
{
    const size_t step_bytes = table->nr * 4, whole = k / 16 * 16;
    for (size_t line = 0; line < whole; line += LINE) {
        const size_t end = line + LINE < whole ? line + LINE : whole;
        for (size_t column = 0; column < columns; column += 4)
            for (size_t first = line; first < end; first += 16)
                q8_interleave_columns(w + column * column_step + first, column_step, flip,
                                      panel + first / 4 * step_bytes + column * 4, step_bytes);
    }
    return whole;
}

#endif

/* All rows up to the last whole step of K; returns how many these are. */
static size_t pack_rows(const q8_gemm_table *table, size_t n, size_t k, const int8_t *w,
                        size_t k_step, int flip, uint8_t *panel)
{
    const size_t kr = table->kr, bytes = (size_t)table->weight_bytes, at_once = 4 / bytes;
    const size_t rows = kr % at_once == 0 ? k / kr * kr : 0;
    for (size_t row = 0; row < rows; row += at_once) {
        uint8_t *at = panel + (row / kr * kr * table->nr + row % kr) * bytes;
        if (bytes == 1)
            pack_four_rows(kr, n, w + row * k_step, k_step, flip, at);
        else
            pack_two_rows(kr, n, w + row * k_step, k_step, flip, at);
    }
    return rows;
}

/* Weights of the columns `first` and up, rows `row` and up, one by one. */
static void pack_rest(const q8_gemm_table *table, size_t first, size_t n, size_t row, size_t k,
                      const int8_t *w, size_t column_step, size_t k_step, int flip,
                      uint8_t *panel)
{
    const size_t bytes = (size_t)table->weight_bytes;
    for (size_t column = first; row < k && column < n; column++)
        pack_column(table, k - row, w + column * column_step + row * k_step, k_step, flip,
                    panel + (row * table->nr + column * table->kr) * bytes);
}

static void pack_tap(const q8_gemm_table *table, size_t n, size_t k, const int8_t *w,
                     size_t column_step, size_t k_step, int flip, uint8_t *panel)
{
#if Q8_HAVE_PACK_BYTES
    if (table->weight_bytes == 1 && table->kr == 4 && (column_step == 1 || k_step == 1)) {
        const bool are_rows = column_step == 1;
        const size_t columns = are_rows ? n / 16 * 16 : n / 4 * 4;
        const size_t rows = are_rows
                                ? pack_rows_fast(table, columns, k, w, k_step, flip, panel)
                                : pack_columns_fast(table, columns, k, w, column_step, flip, panel);
        pack_rest(table, columns, n, 0, rows, w, column_step, k_step, flip, panel);
        pack_rest(table, 0, n, rows, k, w, column_step, k_step, flip, panel);
        return;
    }
#endif
    const size_t rows = column_step == 1 ? pack_rows(table, n, k, w, k_step, flip, panel) : 0;
    pack_rest(table, 0, n, rows, k, w, column_step, k_step, flip, panel);
}

/* What packing adds to the bits of weights: see flipped. */
static int flip_of(const q8_panel_weights *weights)
{
    return weights->is_unsigned ? 0x80 : 0;
}

static void add_sums(const q8_panel_weights *weights, const int8_t *w, int32_t *sums)
{
    const size_t n = weights->n, k = weights->k, k_step = weights->k_step;
    const int flip = flip_of(weights);
    if (weights->column_step == 1) {
        for (size_t row = 0; row < k; row++)
            for (size_t column = 0; column < n; column++)
                sums[column] += flipped(w[row * k_step + column], flip);
        return;
    }
    for (size_t column = 0; column < n; column++, w += weights->column_step) {
        int32_t sum = 0;
        for (size_t row = 0; row < k; row++)
            sum += flipped(w[row * k_step], flip);
        sums[column] += sum;
    }
}

static void column_sums(const q8_panel_weights *weights, int32_t *sums)
{
    memset(sums, 0, weights->n * sizeof *sums);
    for (size_t tap = 0; tap < weights->taps; tap++)
        add_sums(weights, weights->w + tap * weights->tap_step, sums);
}

void q8_sum_steps(const q8_gemm_table *table, const q8_panel_weights *weights, const uint8_t *panel,
                  size_t steps, int32_t *sums)
{
#if Q8_HAVE_PACK_BYTES
    const size_t n = weights->n;
    if (n == table->nr && n % 16 == 0) {
        for (size_t column = 0; column < n; column += 16)
            q8_sum_fours(panel + column * 4, steps, n * 4, sums + column);
        return;
    }
#endif
    (void)table;
    (void)panel;
    (void)steps;
    column_sums(weights, sums);
}

static void find_sums(const q8_gemm_table *table, const q8_panel_weights *weights,
                      const uint8_t *panel, int32_t *sums)
{
    const size_t steps = weights->taps * (q8_padded_k(table, weights->k) / 4);
    if (table->weight_bytes == 1 && table->kr == 4)
        q8_sum_steps(table, weights, panel, steps, sums);
    else
        column_sums(weights, sums);
}

void q8_pack_panel(const q8_gemm_table *table, const q8_panel_weights *weights, void *panel,
                   int32_t *sums)
{
    const size_t n = weights->n, taps = weights->taps, k = weights->k;
    const size_t tap_bytes =
        q8_padded_k(table, k) * table->nr * (size_t)table->weight_bytes;
    if (n < table->nr || k % table->kr || taps * tap_bytes % Q8_ALIGNMENT)
        memset(panel, 0, q8_panel_bytes(table, taps, k)); /* else all of it is written */
    for (size_t tap = 0; tap < taps; tap++)
        pack_tap(table, n, k, weights->w + tap * weights->tap_step, weights->column_step,
                 weights->k_step, flip_of(weights), (uint8_t *)panel + tap * tap_bytes);
    if (sums)
        find_sums(table, weights, panel, sums);
}
