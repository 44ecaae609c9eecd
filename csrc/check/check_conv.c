/* check_conv.c - depthwise convolution and pooling of codes against the scalar reference. */
#include <math.h>

#include "../kernels/requant.h"
#include "check.h"

enum { MOST_ROWS = 40, WIDEST_VECTOR = 64 };

typedef struct {
    size_t pixels, channels, taps, x_step, y_step;
} geometry;

/* Pointers for all pixels and taps, into few rows of `channels` codes that end at unmapped
 * pages: as in a real convolution, most rows are seen by several pixels. */
static const uint8_t **draw_pointers(geometry g)
{
    size_t count = g.pixels ? (g.pixels - 1) * g.x_step + g.taps : 0;
    const uint8_t **x = check_buffer("x's pointers", count * sizeof *x, sizeof *x);
    const uint8_t *rows[MOST_ROWS];
    size_t row_count = count < MOST_ROWS ? count : MOST_ROWS;
    for (size_t i = 0; i < row_count; i++) {
        uint8_t *row = check_buffer("a row of x", g.channels, 1);
        check_fill_codes(row, g.channels);
        rows[i] = row;
    }
    for (size_t i = 0; i < count; i++)
        x[i] = i < row_count ? rows[i] : rows[check_below((uint32_t)row_count)];
    for (size_t i = 0; i < count; i++) /* between the pixels: nobody may look */
        if (g.x_step > g.taps && i % g.x_step >= g.taps)
            x[i] = check_forbidden();
    return x;
}

static geometry draw_geometry(size_t channels, size_t most_taps)
{
    geometry g = {.pixels = 1 + check_below(6), .channels = channels};
    g.taps = 1 + check_below((uint32_t)most_taps);
    if (check_one_in(3))
        g.taps = 9;
    g.x_step = check_below((uint32_t)g.taps + 2); /* overlapping windows, or gaps */
    g.y_step = channels + (check_one_in(2) ? 0 : check_below(20));
    return g;
}

/* Windows as a plan lays them out: column by column, neighbours sharing columns. */
static geometry draw_window(size_t rows, size_t columns)
{
    geometry g = draw_geometry(1 + check_below(2 * WIDEST_VECTOR), 1);
    g.pixels = check_below(20);
    g.taps = rows * columns;
    g.x_step = rows * (1 + check_below((uint32_t)columns + 1));
    return g;
}

static size_t output_count(geometry g)
{
    return g.pixels ? (g.pixels - 1) * g.y_step + g.channels : 0;
}

/* ---- depthwise ---- */

static int32_t product_sum(const q8_depthwise_job *job, size_t channel)
{
    int32_t sum = 0;
    for (size_t tap = 0; tap < job->taps; tap++)
        sum += job->x[tap][channel] * job->w[tap * job->channels + channel];
    return sum;
}

/* Brings the first pixel of every channel to an accumulator worth testing. */
static void aim_bias(const q8_depthwise_job *job, const float *multiplier, int32_t *bias)
{
    for (size_t c = 0; c < job->channels && job->pixels; c++)
        bias[c] = (int32_t)((uint32_t)check_draw_accumulator(multiplier[c]) -
                            (uint32_t)product_sum(job, c));
}

static void run_depthwise(void (*kernel)(const q8_depthwise_job *), const q8_depthwise_job *job)
{
    CHECK_CALL(kernel(job));
}

static void check_depthwise_job(void (*kernel)(const q8_depthwise_job *), geometry g, bool codes)
{
    check_case("pixels=%zu channels=%zu taps=%zu x_step=%zu y_step=%zu %s", g.pixels, g.channels,
               g.taps, g.x_step, g.y_step, codes ? "codes" : "accumulators");
    q8_depthwise_job job = {.pixels = g.pixels, .channels = g.channels, .taps = g.taps,
                            .x = draw_pointers(g), .x_step = g.x_step, .y_step = g.y_step};
    int8_t *w = check_buffer("w", g.taps * g.channels, 1);
    check_fill_weights(w, g.taps * g.channels);
    int32_t *bias = check_buffer("bias", g.channels * sizeof *bias, sizeof *bias);
    check_fill_bias(bias, g.channels);
    float *multiplier = check_buffer("multiplier", g.channels * sizeof(float), sizeof(float));
    check_fill_multipliers(multiplier, g.channels);
    check_output out = check_draw_output();
    job.w = w;
    job.bias = bias;
    job.multiplier = codes ? multiplier : NULL;
    job.zero_point = out.zero_point;
    job.low = out.low;
    job.high = out.high;
    if (!check_one_in(4))
        aim_bias(&job, multiplier, bias);

    size_t count = output_count(g);
    size_t element = codes ? 1 : sizeof(int32_t);
    void *want = check_buffer("want", count * element, element);
    void *got = check_buffer("y", count * element, element);
    job.y = want;
    q8_conv_scalar.depthwise(&job);
    job.y = got;
    run_depthwise(kernel, &job);
    if (codes)
        check_u8(want, got, count, g.y_step);
    else
        check_s32(want, got, count, g.y_step);
}

static void check_depthwise(void (*kernel)(const q8_depthwise_job *))
{
    for (size_t rows = 1; rows <= 9; rows++)
        for (size_t columns = 1; columns <= 9; columns++)
            for (int round = 0; round < 3; round++)
                check_depthwise_job(kernel, draw_window(rows, columns), check_one_in(2));
    for (size_t channels = 0; channels <= 2 * WIDEST_VECTOR + 1; channels++)
        for (int codes = 0; codes < 2; codes++)
            check_depthwise_job(kernel, draw_geometry(channels, 27), codes);
    for (size_t taps = 0; taps <= 50; taps++) {
        geometry g = draw_geometry(1 + check_below(70), 1);
        g.taps = taps;
        check_depthwise_job(kernel, g, check_one_in(2));
        g.pixels = check_below(20);
        check_depthwise_job(kernel, g, check_one_in(2));
    }
}

/* ---- depthwise lines ---- */

static void run_lines(void (*kernel)(const q8_depthwise_lines_job *),
                      const q8_depthwise_lines_job *job)
{
    CHECK_CALL(kernel(job));
}

/* Lines of x, each in a buffer of its own that ends with its last pixel; some are padding. */
static const uint8_t **draw_lines(size_t count, size_t bytes)
{
    const uint8_t **x = check_buffer("x's lines", count * sizeof *x, sizeof *x);
    for (size_t i = 0; i < count; i++) {
        x[i] = NULL;
        if (check_one_in(5))
            continue;
        uint8_t *line = check_buffer("a line of x", bytes, 1);
        check_fill_codes(line, bytes);
        x[i] = line;
    }
    return x;
}

/* Sums and multipliers as requant.h wants them of small sums, up to the ends of what it says, and
 * most often codes without zero point and limits: kernels have a shorter end for those. */
static void draw_small_sums(q8_depthwise_lines_job *job, int32_t *bias, float *multiplier)
{
    const double products = (double)(job->kernel * job->kernel) * 255 * 128;
    const bool is_shallow = check_one_in(2);
    const int32_t most = (int32_t)((is_shallow ? 0x1p23 : 0x1p26) - products) - 1;
    job->is_small = 1;
    if (!check_one_in(4)) {
        job->zero_point = job->low = 0;
        job->high = 255;
    }
    for (size_t c = 0; c < job->channels; c++) {
        multiplier[c] = (float)exp2(check_uniform(is_shallow ? -30 : -15, 0));
        if (check_one_in(8))
            multiplier[c] = is_shallow && check_one_in(2) ? 0.0f : check_one_in(2) ? 1.0f : 0x1p-15f;
        bias[c] = check_one_in(4) ? (check_one_in(2) ? most : -most)
                  : check_one_in(2) ? check_draw_accumulator(multiplier[c]) % most
                                    : check_between(-most, most);
        if (!q8_are_small(products + fabs((double)bias[c]), multiplier[c]))
            check_fail("bias %d and multiplier %g are not small", (int)bias[c],
                       (double)multiplier[c]);
    }
}

static void check_lines_job(void (*kernel)(const q8_depthwise_lines_job *), size_t channels,
                            size_t size, size_t stride)
{
    const bool is_dense = check_one_in(2); /* as pictures are: kernels may take several pixels */
    q8_depthwise_lines_job job = {.lines = 1 + check_below(5), .pixels = check_below(12),
                                  .channels = channels, .kernel = size, .stride = stride,
                                  .width = check_below(20),
                                  .x_step = channels + (is_dense ? 0 : check_below(9)),
                                  .first = check_between(-6, 6),
                                  .y_step = channels + (is_dense ? 0 : check_below(9))};
    job.y_line = job.pixels * job.y_step + check_below(9);
    check_case("lines=%zu pixels=%zu channels=%zu kernel=%zu stride=%zu width=%zu first=%d",
               job.lines, job.pixels, channels, size, stride, job.width, (int)job.first);
    job.x = draw_lines(size + (job.lines - 1) * stride,
                       job.width ? (job.width - 1) * job.x_step + channels : 0);
    uint8_t *padding = check_buffer("padding", channels, 1);
    check_fill_codes(padding, channels);
    job.padding = padding;
    int8_t *w = check_buffer("w", size * size * channels, 1);
    check_fill_weights(w, size * size * channels);
    job.w = w;
    int32_t *bias = check_buffer("bias", channels * sizeof *bias, sizeof *bias);
    check_fill_bias(bias, channels);
    job.bias = bias;
    float *multiplier = check_buffer("multiplier", channels * sizeof(float), sizeof(float));
    check_fill_multipliers(multiplier, channels);
    for (size_t c = 0; c < channels; c++) /* others, or NaN: not allowed */
        multiplier[c] = fabsf(multiplier[c]) < 1 ? multiplier[c] : nextafterf(1, 0);
    const bool is_steep = check_one_in(3); /* small sums, large multipliers */
    for (size_t c = 0; c < channels && is_steep; c++) {
        multiplier[c] *= 300;
        bias[c] %= 1 << 20;
    }
    job.multiplier = multiplier;
    check_output out = check_draw_output();
    job.zero_point = out.zero_point;
    job.low = out.low;
    job.high = out.high;
    for (size_t c = 0; c < channels && !is_steep && check_one_in(2); c++)
        bias[c] = check_draw_accumulator(multiplier[c]);
    if (check_one_in(3))
        draw_small_sums(&job, bias, multiplier);

    size_t count = (job.lines - 1) * job.y_line +
                   (job.pixels ? (job.pixels - 1) * job.y_step + channels : 0);
    uint8_t *want = check_buffer("want", count, 1), *got = check_buffer("y", count, 1);
    job.y = want;
    q8_conv_scalar.depthwise_lines(&job);
    job.y = got;
    run_lines(kernel, &job);
    check_u8(want, got, count, job.y_step ? job.y_step : 1);
}

static void check_lines(void (*kernel)(const q8_depthwise_lines_job *))
{
    for (size_t channels = 1; channels <= 3 * WIDEST_VECTOR + 1; channels++)
        for (size_t size = 3; size <= 5; size += 2)
            for (size_t stride = 1; stride <= 2; stride++)
                for (int round = 0; round < 3; round++)
                    check_lines_job(kernel, channels, size, stride);
    for (int round = 0; round < 300; round++) /* so few that vectors hold several pixels */
        check_lines_job(kernel, (size_t)4 << check_below(4), 3, 1);
}

/* ---- gates ---- */

static void check_gate_job(void (*kernel)(const q8_gate_job *), size_t channels)
{
    check_output out = check_draw_output();
    q8_gate_job job = {.rows = check_below(6), .channels = channels,
                       .x_step = channels + check_below(9), .y_step = channels + check_below(9),
                       .params = {.a_zero_point = check_draw_zero_point(),
                                  .b_zero_point = check_draw_zero_point(),
                                  .a_multiplier = (float)exp2(check_uniform(-16, 9.9)),
                                  .zero_point = out.zero_point, .low = out.low,
                                  .high = out.high}};
    check_case("rows=%zu channels=%zu x_step=%zu y_step=%zu", job.rows, channels, job.x_step,
               job.y_step);
    if (check_one_in(3)) /* ties */
        job.params.a_multiplier = check_one_in(2) ? 0.5f : -1.0f / 64;
    const size_t x_count = job.rows ? (job.rows - 1) * job.x_step + channels : 0;
    const size_t count = job.rows ? (job.rows - 1) * job.y_step + channels : 0;
    uint8_t *x = check_buffer("x", x_count, 1), *gate = check_buffer("gate", channels, 1);
    uint8_t *want = check_buffer("want", count, 1), *got = check_buffer("y", count, 1);
    check_fill_codes(x, x_count);
    check_fill_codes(gate, channels);
    job.x = x;
    job.gate = gate;
    job.y = want;
    q8_conv_scalar.gate(&job);
    job.y = got;
    CHECK_CALL(kernel(&job));
    check_u8(want, got, count, job.y_step);
}

static void check_gate(void (*kernel)(const q8_gate_job *))
{
    for (size_t channels = 1; channels <= 2 * WIDEST_VECTOR + 1; channels++)
        for (int round = 0; round < 6; round++)
            check_gate_job(kernel, channels);
}

/* ---- pooling ---- */

static void run_pool(void (*kernel)(const q8_pool_job *), const q8_pool_job *job)
{
    CHECK_CALL(kernel(job));
}

static void check_pool_job(void (*kernel)(const q8_pool_job *),
                           void (*reference)(const q8_pool_job *), geometry g)
{
    check_case("pixels=%zu channels=%zu taps=%zu x_step=%zu y_step=%zu", g.pixels, g.channels,
               g.taps, g.x_step, g.y_step);
    check_output out = check_draw_output();
    float *multiplier = check_buffer("multiplier", g.pixels * sizeof(float), sizeof(float));
    check_fill_multipliers(multiplier, g.pixels);
    if (check_one_in(2)) /* as a plan makes them */
        for (size_t p = 0; p < g.pixels; p++)
            multiplier[p] = (float)exp2(check_uniform(-1, 1)) / (float)g.taps;
    q8_pool_job job = {.pixels = g.pixels, .channels = g.channels, .taps = g.taps,
                       .x = draw_pointers(g), .x_step = g.x_step, .y_step = g.y_step,
                       .sum_offset = (int32_t)g.taps * check_draw_zero_point(),
                       .multiplier = multiplier, .zero_point = out.zero_point, .low = out.low,
                       .high = out.high};
    size_t count = output_count(g);
    uint8_t *want = check_buffer("want", count, 1);
    uint8_t *got = check_buffer("y", count, 1);
    job.y = want;
    reference(&job);
    job.y = got;
    run_pool(kernel, &job);
    check_u8(want, got, count, g.y_step);
}

static void check_pool(void (*kernel)(const q8_pool_job *), void (*reference)(const q8_pool_job *))
{
    for (size_t rows = 1; rows <= 9; rows++)
        for (size_t columns = 1; columns <= 9; columns++)
            check_pool_job(kernel, reference, draw_window(rows, columns));
    for (size_t channels = 0; channels <= 2 * WIDEST_VECTOR + 1; channels++)
        for (int i = 0; i < 2; i++)
            check_pool_job(kernel, reference, draw_geometry(channels, 27));
    for (size_t taps = 1; taps <= 64; taps++) {
        geometry g = draw_geometry(1 + check_below(70), 1);
        g.taps = taps;
        check_pool_job(kernel, reference, g);
    }
    /* a whole picture: the sum passes 16 bits */
    for (size_t taps = 240; taps <= 900; taps += 55) {
        geometry g = {1 + check_below(2), 1 + check_below(70), taps, taps, 80};
        check_pool_job(kernel, reference, g);
    }
}

void check_conv(const q8_kernels *kernels, const q8_kernels *below)
{
    const q8_conv_table *conv = &kernels->conv, *old = &below->conv;
    if (check_begin("conv.depthwise", conv->depthwise != old->depthwise))
        check_depthwise(conv->depthwise);
    if (check_begin("conv.depthwise_lines", conv->depthwise_lines != old->depthwise_lines))
        check_lines(conv->depthwise_lines);
    if (check_begin("conv.gate", conv->gate != old->gate))
        check_gate(conv->gate);
    if (check_begin("conv.max_pool", conv->max_pool != old->max_pool))
        check_pool(conv->max_pool, q8_conv_scalar.max_pool);
    if (check_begin("conv.average_pool", conv->average_pool != old->average_pool))
        check_pool(conv->average_pool, q8_conv_scalar.average_pool);
}
