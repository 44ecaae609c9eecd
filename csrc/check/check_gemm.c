/* check_gemm.c - integer GEMM tiles against a naive product of the unpacked matrices.
 *
 * The reference never sees a panel, so packing, the scalar kernel and the flipping of `a` are
 * proved too. Rows of `a` end at unmapped pages, pointers of rows that the tile does not have
 * point into one. */
#include <stdlib.h>
#include <string.h>

#include "../kernels/requant.h"
#include "../plan.h"
#include "check.h"

typedef struct {
    size_t m, n, taps, k; /* k before padding */
    bool codes;           /* store codes, else accumulators */
} geometry;

/* The unpacked operands of one tile: what the reference computes from. */
typedef struct {
    const uint8_t **a;
    size_t a_step;
    const int8_t *w;
    size_t column_step, tap_step, k_step;
    bool is_unsigned;
} operands;

static int32_t weight_at(const operands *o, size_t tap, size_t p, size_t column)
{
    int32_t w = o->w[column * o->column_step + tap * o->tap_step + p * o->k_step];
    return o->is_unsigned ? (w & 255) - 128 : w;
}

static int32_t naive_product(const operands *o, geometry g, size_t row, size_t column)
{
    uint32_t sum = 0;
    for (size_t tap = 0; tap < g.taps; tap++)
        for (size_t p = 0; p < g.k; p++)
            sum += (uint32_t)(o->a[tap * o->a_step + row][p] * weight_at(o, tap, p, column));
    return (int32_t)sum;
}

/* Each row in a buffer of its own, some of them the same. */
static void draw_rows_anywhere(geometry g, size_t padded_k, size_t a_step, const uint8_t **rows)
{
    for (size_t tap = 0; tap < g.taps; tap++) {
        for (size_t i = 0; i < g.m; i++) {
            uint8_t *row = check_buffer("a row of a", padded_k, 1);
            check_fill_codes(row, padded_k);
            rows[tap * a_step + i] = check_one_in(10) ? rows[0] : row;
            if (tap == 0 && i == 0)
                rows[0] = row;
        }
    }
}

/* The rows of each tap in one buffer, at one distance from each other, but for a few. */
static void draw_even_rows(geometry g, size_t padded_k, size_t a_step, const uint8_t **rows)
{
    for (size_t tap = 0; tap < g.taps; tap++) {
        size_t step = check_one_in(2) ? padded_k : 1 + check_below(2 * (uint32_t)padded_k);
        size_t bytes = (g.m - 1) * step + padded_k;
        uint8_t *first = check_buffer("rows of a", bytes, 1);
        bool has_exceptions = check_one_in(4);
        check_fill_codes(first, bytes);
        for (size_t i = 0; i < g.m; i++)
            rows[tap * a_step + i] = first + (has_exceptions && check_one_in(20) ? 0 : i * step);
    }
}

enum { MOST_ROWS_ANYWHERE = 64 }; /* of all taps: so many buffers there are */

static const uint8_t **draw_rows(geometry g, size_t padded_k, size_t a_step)
{
    size_t count = (g.taps - 1) * a_step + g.m;
    const uint8_t **rows = check_buffer("a's pointers", count * sizeof *rows, sizeof *rows);
    for (size_t i = 0; i < count; i++)
        rows[i] = check_forbidden();
    if (g.taps * g.m > MOST_ROWS_ANYWHERE || check_one_in(3))
        draw_even_rows(g, padded_k, a_step, rows);
    else
        draw_rows_anywhere(g, padded_k, a_step, rows);
    return rows;
}

static operands draw_operands(const q8_gemm_table *table, geometry g)
{
    operands o = {.a_step = g.m + check_below(3), .is_unsigned = check_one_in(6)};
    o.a = draw_rows(g, q8_padded_k(table, g.k), o.a_step);
    int8_t *w = check_buffer("w", g.taps * g.k * g.n, 1);
    check_fill_weights(w, g.taps * g.k * g.n);
    o.w = w;
    bool columns_last = check_one_in(2);
    o.column_step = columns_last ? 1 : g.taps * g.k;
    o.k_step = columns_last ? g.n : 1;
    o.tap_step = columns_last ? g.k * g.n : g.k;
    return o;
}

/* ---- packing ---- */

static int32_t packed_weight(const q8_gemm_table *table, const void *panel, size_t k_index,
                             size_t column)
{
    size_t at = (k_index / table->kr * table->nr + column) * table->kr + k_index % table->kr;
    return table->weight_bytes == 2 ? ((const int16_t *)panel)[at] : ((const int8_t *)panel)[at];
}

static void check_panel(const q8_gemm_table *table, geometry g, const operands *o,
                        const void *panel)
{
    size_t padded = q8_padded_k(table, g.k);
    for (size_t tap = 0; tap < g.taps; tap++) {
        for (size_t p = 0; p < padded; p++) {
            for (size_t j = 0; j < table->nr; j++) {
                int32_t want = p < g.k && j < g.n ? weight_at(o, tap, p, j) : 0;
                int32_t got = packed_weight(table, panel, tap * padded + p, j);
                if (want == got)
                    continue;
                check_fail("panel at tap %zu, k %zu, column %zu: want %d got %d", tap, p, j, want,
                           got);
                return;
            }
        }
    }
}

static void check_sums(geometry g, const operands *o, const int32_t *sums)
{
    for (size_t j = 0; j < g.n; j++) {
        int32_t want = 0;
        for (size_t tap = 0; tap < g.taps; tap++)
            for (size_t p = 0; p < g.k; p++)
                want += weight_at(o, tap, p, j);
        if (want != sums[j])
            check_fail("sum of column %zu: want %d got %d", j, want, sums[j]);
    }
}

static q8_panel_weights weights_of(geometry g, const operands *o)
{
    return (q8_panel_weights){.n = g.n, .taps = g.taps, .k = g.k, .w = o->w,
                              .column_step = o->column_step, .tap_step = o->tap_step,
                              .k_step = o->k_step, .is_unsigned = o->is_unsigned};
}

static void *pack(const q8_gemm_table *table, geometry g, const operands *o, int32_t *sums)
{
    const q8_panel_weights weights = weights_of(g, o);
    void *panel = check_buffer("panel", q8_panel_bytes(table, g.taps, g.k), Q8_ALIGNMENT);
    CHECK_CALL(q8_pack_panel(table, &weights, panel, sums));
    check_panel(table, g, o, panel);
    check_sums(g, o, sums);
    return panel;
}

enum { MOST_PLACED_K = 4000 };

static bool are_near_each_other(const int8_t *four)
{
    const int first = four[0] + four[1], second = four[2] + four[3];
    return first <= 128 && first >= -128 && second <= 128 && second >= -128;
}

/* One tap of a panel in places: every weight once, no two too large for each other, no step beyond the
 * row. */
static void check_steps(const q8_gemm_table *table, geometry g, const operands *o, size_t tap,
                        const uint16_t *places, size_t steps, const int8_t *at)
{
    static int32_t row[MOST_PLACED_K + 4];
    for (size_t j = 0; j < table->nr; j++) {
        memset(row, 0, sizeof row);
        for (size_t i = 0; i < steps; i++) {
            const int8_t *four = at + (i * table->nr + j) * 4;
            if (places[i] + 4u > q8_padded_k(table, g.k) || !are_near_each_other(four)) {
                check_fail("step %zu of tap %zu at %u, column %zu", i, tap, places[i], j);
                return;
            }
            for (size_t p = 0; p < 4; p++)
                row[places[i] + p] += four[p];
        }
        for (size_t p = 0; p < g.k; p++)
            if (row[p] != (j < g.n ? weight_at(o, tap, p, j) : 0)) {
                check_fail("tap %zu, k %zu, column %zu: got %d", tap, p, j, row[p]);
                return;
            }
    }
}

/* The panel in places, if there are any for it. */
static void *pack_places(const q8_gemm_table *table, geometry g, const operands *o, int32_t *sums,
                         const uint16_t **places)
{
    const q8_panel_weights weights = weights_of(g, o);
    const size_t steps = q8_count_steps(table, &weights);
    *places = NULL;
    if (!steps || g.k > MOST_PLACED_K)
        return NULL;
    uint16_t *all = check_buffer("places", (g.taps + steps) * sizeof *all, sizeof *all);
    uint8_t *panel = check_buffer("placed", q8_placed_bytes(table, steps), Q8_ALIGNMENT);
    CHECK_CALL(q8_pack_places(table, &weights, all, panel, sums));
    check_sums(g, o, sums);
    *places = all;
    const int8_t *at = (const int8_t *)panel;
    for (size_t tap = 0; tap < g.taps; tap++) {
        const size_t count = *all++;
        check_steps(table, g, o, tap, all, count, at);
        all += count;
        at += count * table->nr * 4;
    }
    return panel;
}

/* ---- the tile ---- */

/* Multipliers, and a bias that brings row `row` of each column to an accumulator worth testing. */
static void draw_output_stage(const q8_gemm_table *table, geometry g, bool is_below_one,
                              const int32_t *products, int32_t *bias, float *multiplier)
{
    check_fill_multipliers(multiplier, table->nr);
    if (is_below_one)
        for (size_t j = 0; j < table->nr; j++)
            multiplier[j] = fabsf(multiplier[j]) < 1 ? multiplier[j] : 0.99999994f;
    check_fill_bias(bias, table->nr);
    if (check_one_in(4))
        return;
    size_t row = check_below((uint32_t)g.m);
    for (size_t j = 0; j < g.n; j++)
        bias[j] = (int32_t)((uint32_t)check_draw_accumulator(multiplier[j]) -
                            (uint32_t)products[row * g.n + j]);
}

/* Whether a kernel may be told that the products are near. */
static bool are_near(geometry g, const int32_t *products, const int32_t *bias,
                     const float *multiplier)
{
    for (size_t i = 0; i < g.m; i++)
        for (size_t j = 0; j < g.n; j++) {
            int32_t acc = (int32_t)((uint32_t)products[i * g.n + j] + (uint32_t)bias[j]);
            if (!(fabsf((float)acc * multiplier[j]) < 0x1p31f))
                return false;
        }
    return true;
}

/* A second stage for the codes of a job, with an addend whose end is the end of its memory. */
static void draw_sum(geometry g, q8_gemm_job *job)
{
    q8_binary_params *sum = check_buffer("sum", sizeof *sum, sizeof(float));
    const check_output out = check_draw_output();
    const float largest = check_one_in(8) ? 0x1p19f : 2.0f;
    *sum = (q8_binary_params){
        .a_zero_point = check_between(0, 255), .b_zero_point = check_between(0, 255),
        .a_multiplier = (float)check_uniform(-largest, largest),
        .b_multiplier = check_one_in(8) ? 0.5f : (float)check_uniform(-largest, largest),
        .zero_point = out.zero_point, .low = out.low, .high = out.high};
    if (check_one_in(2)) {
        sum->b_zero_point = sum->zero_point = sum->low = 0;
        sum->high = 255;
    }
    job->addend_step = g.n + (check_one_in(2) ? 0 : check_below(70));
    const size_t bytes = (g.m - 1) * job->addend_step + g.n;
    uint8_t *addend = check_buffer("addend", bytes, 1);
    check_fill_codes(addend, bytes);
    job->sum = sum;
    job->addend = addend;
}

static uint8_t wanted_code(const q8_gemm_job *job, int32_t acc, size_t row, size_t column)
{
    const uint8_t code = q8_requantize(acc, job->multiplier[column], job->zero_point, job->low,
                                       job->high);
    return job->sum ? q8_add_codes(code, job->addend[row * job->addend_step + column], job->sum)
                    : code;
}

/* Multipliers that go with small sums, and whether the sums are. */
static bool draw_small(geometry g, const int32_t *products, const int32_t *bias,
                       float *multiplier)
{
    const float least = check_one_in(2) ? 0.0f : 0x1p-15f;
    bool are_small = true;
    for (size_t j = 0; j < g.n; j++)
        multiplier[j] = (float)check_uniform(least, check_one_in(4) ? 1 : 0.01);
    for (size_t i = 0; i < g.m; i++)
        for (size_t j = 0; j < g.n; j++) {
            int32_t acc = (int32_t)((uint32_t)products[i * g.n + j] + (uint32_t)bias[j]);
            are_small = are_small && q8_are_small(fabs((double)acc), multiplier[j]);
        }
    return are_small;
}

static void fill_want(geometry g, const q8_gemm_job *job, const int32_t *products, void *want)
{
    for (size_t i = 0; i < g.m; i++) {
        for (size_t j = 0; j < g.n; j++) {
            size_t at = i * job->c_step + j;
            int32_t acc = (int32_t)((uint32_t)products[i * g.n + j] + (uint32_t)job->bias[j]);
            if (g.codes)
                ((uint8_t *)want)[at] = wanted_code(job, acc, i, j);
            else
                ((int32_t *)want)[at] = acc;
        }
    }
}

/* The bias that the kernel sees: see flips_a. */
static int32_t *kernel_bias(const q8_gemm_table *table, geometry g, const int32_t *bias,
                            const int32_t *sums)
{
    int32_t *out = check_buffer("bias", table->nr * sizeof *out, sizeof *out);
    memcpy(out, bias, table->nr * sizeof *out);
    if (table->flips_a)
        for (size_t j = 0; j < g.n; j++)
            out[j] = (int32_t)((uint32_t)out[j] + 128 * (uint32_t)sums[j]);
    return out;
}

/* Rows widened beforehand, as drivers do for some panels. */
static void widen_rows(const q8_gemm_table *table, q8_gemm_job *job)
{
    const size_t depth = job->taps * job->k;
    job->wide_step = depth + check_below(40);
    const size_t count = (job->m - 1) * job->wide_step + depth;
    uint16_t *wide = check_buffer("wide", count * sizeof *wide, sizeof *wide);
    for (size_t i = 0; i < job->m; i++)
        for (size_t tap = 0; tap < job->taps; tap++)
            CHECK_CALL(table->widen(job->a[tap * job->a_step + i], job->k,
                                    wide + i * job->wide_step + tap * job->k));
    job->wide = wide;
    job->a = NULL;
}

static void run_tile(const q8_gemm_table *table, const q8_gemm_job *job)
{
    CHECK_CALL(table->tile(job));
}

static void check_tile(const q8_gemm_table *table, geometry g)
{
    check_case("m=%zu n=%zu taps=%zu k=%zu %s", g.m, g.n, g.taps, g.k,
               g.codes ? "codes" : "accumulators");
    operands o = draw_operands(table, g);
    int32_t *sums = check_buffer("sums", g.n * sizeof *sums, sizeof *sums);
    const uint16_t *places = NULL;
    void *panel = check_one_in(2) ? pack_places(table, g, &o, sums, &places) : NULL;
    panel = panel ? panel : pack(table, g, &o, sums);

    int32_t *products = check_buffer("products", g.m * g.n * sizeof *products, sizeof *products);
    for (size_t i = 0; i < g.m; i++)
        for (size_t j = 0; j < g.n; j++)
            products[i * g.n + j] = naive_product(&o, g, i, j);

    int32_t *bias = check_buffer("true bias", table->nr * sizeof *bias, sizeof *bias);
    float *multiplier = check_buffer("multiplier", table->nr * sizeof *multiplier, sizeof(float));
    draw_output_stage(table, g, check_one_in(2), products, bias, multiplier);
    const bool is_near = are_near(g, products, bias, multiplier) && !check_one_in(8);
    const bool is_plain = is_near && check_one_in(2);
    const bool is_small = g.codes && is_plain && table->takes_mantissas &&
                          draw_small(g, products, bias, multiplier);
    const check_output out = is_plain ? (check_output){0, 0, 255} : check_draw_output();
    size_t c_step = g.n + (check_one_in(2) ? 0 : check_below(70));
    size_t count = (g.m - 1) * c_step + g.n;
    size_t element = g.codes ? 1 : sizeof(int32_t);
    void *want = check_buffer("want", count * element, element);
    void *got = check_buffer("c", count * element, element);

    /* The hint leads off the buffer: a kernel that reads it instead of fetching it dies. */
    q8_gemm_job job = {.m = g.m, .n = g.n, .taps = g.taps, .k = q8_padded_k(table, g.k),
                       .a = o.a, .a_step = o.a_step, .b = panel, .places = places, .bias = bias,
                       .multiplier = g.codes ? multiplier : NULL, .is_near = is_near,
                       .zero_point = out.zero_point,
                       .low = out.low, .high = out.high, .c = got, .c_step = c_step,
                       .next = check_one_in(2) ? NULL : (const char *)got + count * element};
    if (g.codes && !is_small && check_one_in(3))
        draw_sum(g, &job);
    fill_want(g, &job, products, want);
    int32_t *started = kernel_bias(table, g, bias, sums);
    job.bias = started;
    job.has_mantissas = is_small;
    for (size_t j = 0; is_small && j < table->nr; j++)
        started[j] = (int32_t)((uint32_t)started[j] + MANTISSA_BITS);
    if (table->widen && !places && check_one_in(2))
        widen_rows(table, &job);
    run_tile(table, &job);
    if (g.codes)
        check_u8(want, got, count, c_step);
    else
        check_s32(want, got, count, c_step);
}

static size_t draw_size(size_t most)
{
    return 1 + check_below((uint32_t)most);
}

static void check_table(const q8_gemm_table *table)
{
    if (table->most_rows < table->mr || table->most_rows % table->mr)
        check_fail("%zu rows are no multiple of %zu", table->most_rows, table->mr);
    for (size_t k = 1; k <= 130; k++)
        check_tile(table, (geometry){draw_size(table->mr), draw_size(table->nr), 1, k, k % 2});
    for (size_t steps = 1; steps <= 130; steps++) { /* the full tile: the main loop */
        size_t k = steps * table->kr - check_below((uint32_t)table->kr);
        check_tile(table, (geometry){table->mr, table->nr, 1, k, steps % 2});
    }
    for (size_t m = 1; m <= table->mr; m++)
        for (size_t n = 1; n <= table->nr; n++)
            check_tile(table, (geometry){m, n, draw_size(3), draw_size(20), check_one_in(2)});
    for (size_t m = 1; m <= table->most_rows; m++)
        check_tile(table, (geometry){m, draw_size(table->nr), draw_size(3), draw_size(200),
                                     check_one_in(2)});
    for (int i = 0; i < 10; i++) /* kernels may take K in parts */
        check_tile(table, (geometry){draw_size(table->most_rows), draw_size(table->nr), 1,
                                     draw_size(4000), check_one_in(2)});
    for (int i = 0; i < 200; i++)
        check_tile(table, (geometry){draw_size(table->mr), draw_size(table->nr), draw_size(9),
                                     draw_size(check_one_in(8) ? 600 : 70), check_one_in(2)});
}

void check_gemm(const q8_kernels *kernels, const q8_kernels *below)
{
    if (check_begin("gemm.tile", kernels->gemm != below->gemm))
        check_table(kernels->gemm);
}

/* ---- odd tiles ---- */

/* scalar_gemm.c's loop for any tile shape, weight size and flip. */
static void odd_tile(const q8_gemm_table *table, const q8_gemm_job *job)
{
    int32_t flip = table->flips_a ? 128 : 0;
    for (size_t i = 0; i < job->m; i++) {
        for (size_t j = 0; j < job->n; j++) {
            uint32_t acc = (uint32_t)job->bias[j];
            for (size_t p = 0; p < job->taps * job->k; p++) {
                int32_t a = job->a[p / job->k * job->a_step + i][p % job->k] - flip;
                acc += (uint32_t)(a * packed_weight(table, job->b, p, j));
            }
            size_t at = i * job->c_step + j;
            if (job->multiplier)
                ((uint8_t *)job->c)[at] = wanted_code(job, (int32_t)acc, i, j);
            else
                ((int32_t *)job->c)[at] = (int32_t)acc;
        }
    }
}

static void tile_3x5x2(const q8_gemm_job *job);
static const q8_gemm_table odd_3x5x2 = {"odd 3x5x2", 3, 5, 2, 3, 1, 1,
                                        0, 0, 0, 0, tile_3x5x2, NULL, NULL, NULL, NULL, 0};
static void tile_3x5x2(const q8_gemm_job *job)
{
    odd_tile(&odd_3x5x2, job);
}

static void tile_2x3x5(const q8_gemm_job *job);
static const q8_gemm_table odd_2x3x5 = {"odd 2x3x5 flipped", 2, 3, 5, 2, 1, 2,
                                        0, 1, 0, 0, tile_2x3x5, NULL, NULL, NULL, NULL, 0};
static void tile_2x3x5(const q8_gemm_job *job)
{
    odd_tile(&odd_2x3x5, job);
}

void check_odd_gemm(void)
{
    if (check_begin("gemm.tile_3x5x2", true))
        check_table(&odd_3x5x2);
    if (check_begin("gemm.tile_2x3x5_s16_flipped", true))
        check_table(&odd_2x3x5);
}
