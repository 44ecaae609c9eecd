/* check_winograd.c - Winograd's kernels, from pixels and packed weights to codes, against the sums
 * of windows that they stand for.
 *
 * The reference is the convolution itself; what is in between is checked by nothing but the result,
 * since all of it is exact. */
#include <string.h>

#include "../kernels/requant.h"
#include "check.h"

enum { GRID = Q8_WINOGRAD_GRID, TILE = Q8_WINOGRAD_TILE, PLACES = Q8_WINOGRAD_PLACES,
       COLUMNS = Q8_WINOGRAD_COLUMNS };
enum { MOST_CHANNELS = 96 }; /* of which no sum of 9 products leaves 2^25 */

typedef struct {
    size_t tiles, channels, n, lines, pixels;
    bool codes;
} geometry;

typedef struct {
    const uint8_t **x; /* [tiles][PLACES] */
    const int8_t *w;   /* [n][9][channels] */
    int32_t *m;
} operands;

static int32_t naive_sum(geometry g, const operands *o, size_t tile, size_t line, size_t pixel,
                         size_t column)
{
    int32_t sum = 0;
    for (size_t tap = 0; tap < 9; tap++) {
        const uint8_t *x = o->x[tile * PLACES + (line + tap / 3) * GRID + pixel + tap % 3];
        for (size_t c = 0; c < g.channels; c++)
            sum += x[c] * o->w[(column * 9 + tap) * g.channels + c];
    }
    return sum;
}

/* Windows overlap and padding is everywhere the same: few buffers serve many pixels. */
static const uint8_t **draw_pixels(geometry g)
{
    enum { BUFFERS = 40 };
    const uint8_t *buffers[BUFFERS];
    const uint8_t **x = check_buffer("x's pointers", g.tiles * PLACES * sizeof *x, sizeof *x);
    for (size_t i = 0; i < BUFFERS; i++) {
        uint8_t *codes = check_buffer("a pixel", g.channels, 1);
        check_fill_codes(codes, g.channels);
        buffers[i] = codes;
    }
    for (size_t i = 0; i < g.tiles * PLACES; i++)
        x[i] = i < BUFFERS ? buffers[i] : buffers[check_below(BUFFERS)];
    return x;
}

static void run_pack(geometry g, const operands *o, int16_t *u, int32_t *sums)
{
    CHECK_CALL(q8_winograd_pack(g.n, g.channels, o->w, 9 * g.channels, u, sums));
    for (size_t column = 0; column < g.n; column++) {
        int32_t want = 0;
        for (size_t i = 0; i < 9 * g.channels; i++)
            want += o->w[column * 9 * g.channels + i];
        if (want != sums[column])
            check_fail("sum of column %zu: want %d got %d", column, want, sums[column]);
    }
}

static void run_input(const q8_winograd_table *table, geometry g, const uint8_t *const *x,
                      int16_t *v, size_t v_step)
{
    CHECK_CALL(table->input(x, g.channels, v, v_step));
}

static void run_product(const q8_winograd_table *table, const q8_winograd_product_job *job)
{
    CHECK_CALL(table->product(job));
}

static void run_output(const q8_winograd_table *table, const q8_winograd_output_job *job)
{
    CHECK_CALL(table->output(job));
}

/* M of all tiles. */
static operands draw_products(const q8_winograd_table *table, geometry g)
{
    operands o = {.x = draw_pixels(g)};
    const size_t weights = g.n * 9 * g.channels, places = g.tiles * PLACES * COLUMNS;
    int8_t *w = check_buffer("w", weights, 1);
    check_fill_weights(w, weights);
    o.w = w;
    int16_t *u = check_buffer("u", PLACES * g.channels * COLUMNS * sizeof *u, 64);
    int32_t *sums = check_buffer("sums", g.n * sizeof *sums, sizeof *sums);
    run_pack(g, &o, u, sums);
    const size_t v_step = g.tiles * g.channels + (check_one_in(2) ? 0 : check_below(70));
    const size_t v_count = (PLACES - 1) * v_step + g.tiles * g.channels;
    int16_t *v = check_buffer("v", v_count * sizeof *v, sizeof *v);
    for (size_t tile = 0; tile < g.tiles; tile++)
        run_input(table, g, o.x + tile * PLACES, v + tile * g.channels, v_step);
    o.m = check_buffer("m", places * sizeof *o.m, 32);
    const q8_winograd_product_job job = {.tiles = g.tiles, .channels = g.channels, .v = v,
                                         .v_step = v_step, .u = u, .m = o.m};
    run_product(table, &job);
    return o;
}

/* A second stage for codes, whose addend lies as the result does. */
static void draw_sum(size_t bytes, q8_gemm_job *end)
{
    const check_output out = check_draw_output();
    q8_binary_params *sum = check_buffer("sum", sizeof *sum, sizeof(float));
    *sum = (q8_binary_params){.a_zero_point = check_between(0, 255),
                              .b_zero_point = check_between(0, 255),
                              .a_multiplier = (float)check_uniform(-2, 2),
                              .b_multiplier = (float)check_uniform(-2, 2),
                              .zero_point = out.zero_point, .low = out.low, .high = out.high};
    uint8_t *addend = check_buffer("addend", bytes, 1);
    check_fill_codes(addend, bytes);
    end->sum = sum;
    end->addend = addend;
}

/* What stands in the result's buffer afterwards. */
static void fill_want(geometry g, const operands *o, size_t tile, const q8_winograd_output_job *job,
                      void *want)
{
    const q8_gemm_job *end = job->end;
    for (size_t i = 0; i < g.lines * g.pixels * g.n; i++) {
        const size_t column = i % g.n, pixel = i / g.n % g.pixels, line = i / g.n / g.pixels;
        const size_t at = line * job->c_line + pixel * end->c_step + column;
        const int32_t acc = (int32_t)((uint32_t)naive_sum(g, o, tile, line, pixel, column) +
                                      (uint32_t)end->bias[column]);
        if (!g.codes) {
            ((int32_t *)want)[at] = acc;
            continue;
        }
        const uint8_t code = q8_requantize(acc, end->multiplier[column], end->zero_point, end->low,
                                           end->high);
        ((uint8_t *)want)[at] = end->sum ? q8_add_codes(code, end->addend[at], end->sum) : code;
    }
}

static void check_tile(const q8_winograd_table *table, geometry g, const operands *o, size_t tile)
{
    const check_output out = check_draw_output();
    int32_t *bias = check_buffer("bias", COLUMNS * sizeof *bias, sizeof *bias);
    float *multiplier = check_buffer("multiplier", COLUMNS * sizeof *multiplier, sizeof(float));
    check_fill_multipliers(multiplier, COLUMNS);
    check_fill_bias(bias, COLUMNS);
    for (size_t j = 0; j < g.n && !check_one_in(4); j++)
        bias[j] = (int32_t)((uint32_t)check_draw_accumulator(multiplier[j]) -
                            (uint32_t)naive_sum(g, o, tile, 0, 0, j));
    q8_gemm_job end = {.n = g.n, .bias = bias, .multiplier = g.codes ? multiplier : NULL,
                       .zero_point = out.zero_point, .low = out.low, .high = out.high,
                       .c_step = g.n + (check_one_in(2) ? 0 : check_below(40))};
    q8_winograd_output_job job = {.lines = g.lines, .pixels = g.pixels,
                                  .m = o->m + tile * PLACES * COLUMNS, .end = &end};
    job.c_line = job.addend_line = g.pixels * end.c_step + check_below(30);
    end.addend_step = end.c_step;
    const size_t element = g.codes ? 1 : sizeof(int32_t);
    const size_t count = (g.lines - 1) * job.c_line + (g.pixels - 1) * end.c_step + g.n;
    if (g.codes && check_one_in(3))
        draw_sum(count, &end);
    void *want = check_buffer("want", count * element, element);
    void *got = check_buffer("c", count * element, element);
    fill_want(g, o, tile, &job, want);
    end.c = got;
    run_output(table, &job);
    if (g.codes)
        check_u8(want, got, count, end.c_step);
    else
        check_s32(want, got, count, end.c_step);
}

static void check_geometry(const q8_winograd_table *table, geometry g)
{
    check_case("tiles=%zu channels=%zu n=%zu lines=%zu pixels=%zu %s", g.tiles, g.channels, g.n,
               g.lines, g.pixels, g.codes ? "codes" : "accumulators");
    const operands o = draw_products(table, g);
    check_tile(table, g, &o, g.tiles - 1);
    if (g.tiles > 1)
        check_tile(table, g, &o, check_below((uint32_t)g.tiles - 1));
}

void check_winograd(const q8_kernels *kernels, const q8_kernels *below)
{
    const q8_winograd_table *table = kernels->gemm->winograd;
    if (!check_begin("gemm.winograd", table && kernels->gemm != below->gemm))
        return;
    for (size_t i = 0; i < TILE * TILE * COLUMNS; i++) {
        const size_t channels = 16 * (1 + check_below(MOST_CHANNELS / 16));
        check_geometry(table, (geometry){1 + check_below(14), channels, 1 + i % COLUMNS,
                                         1 + i / COLUMNS % TILE, 1 + i / COLUMNS / TILE,
                                         check_one_in(2)});
    }
    for (size_t tiles = 1; tiles <= 14; tiles++) /* whole tiles, all sixteen columns */
        check_geometry(table, (geometry){tiles, MOST_CHANNELS, COLUMNS, TILE, TILE, tiles % 2});
}
