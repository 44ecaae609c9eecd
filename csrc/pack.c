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

/* One tap of one column; returns its sum. `at` is where the column's first weight goes. */
static int32_t pack_column(const q8_gemm_table *table, size_t k, const int8_t *w, size_t k_step,
                           int flip, uint8_t *at)
{
    const size_t kr = table->kr, step_bytes = table->nr * kr * (size_t)table->weight_bytes;
    int32_t sum = 0;
    for (size_t first = 0; first < k; first += kr, at += step_bytes) {
        size_t count = k - first < kr ? k - first : kr;
        for (size_t p = 0; p < count; p++) {
            /* u8 - 128 has the bits of u8 ^ 128 read as s8. */
            int8_t value = (int8_t)((uint8_t)w[(first + p) * k_step] ^ flip);
            sum += value;
            if (table->weight_bytes == 1)
                at[p] = (uint8_t)value;
            else
                ((int16_t *)(void *)at)[p] = value;
        }
    }
    return sum;
}

void q8_pack_panel(const q8_gemm_table *table, size_t n, size_t taps, size_t k, const int8_t *w,
                   size_t column_step, size_t tap_step, size_t k_step, bool is_unsigned,
                   void *panel, int32_t *sums)
{
    const size_t weight_bytes = (size_t)table->weight_bytes;
    const size_t tap_bytes = q8_padded_k(table, k) * table->nr * weight_bytes;
    memset(panel, 0, q8_panel_bytes(table, taps, k));
    for (size_t column = 0; column < n; column++) {
        int32_t sum = 0;
        for (size_t tap = 0; tap < taps; tap++)
            sum += pack_column(table, k, w + column * column_step + tap * tap_step, k_step,
                               is_unsigned ? 0x80 : 0,
                               (uint8_t *)panel + tap * tap_bytes +
                                   column * table->kr * weight_bytes);
        if (sums)
            sums[column] = sum;
    }
}
