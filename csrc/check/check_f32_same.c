/* check_f32_same.c - float kernels against the portable ones, which compute the same to the last bit:
 * what an eight-bit model answers depends on no CPU. check_f32*.c know how good the numbers are. */
#include <math.h>
#include <string.h>

#include "../q8.h"
#include "check.h"

enum { GROUP = 16, MOST_COLUMNS = 64, MOST_ROWS = 8 };

typedef struct {
    float *own, *portable;
} two_results;

static two_results draw_results(size_t n)
{
    return (two_results){check_buffer("y", n * sizeof(float), sizeof(float)),
                         check_buffer("portable y", n * sizeof(float), sizeof(float))};
}

/* Apart, because CHECK_CALL's jump would put an inlined one's locals in doubt. */
__attribute__((noinline)) static float *draw(const char *name, size_t n, double magnitude)
{
    float *x = check_buffer(name, n * sizeof *x, sizeof *x);
    check_fill_floats(x, n, magnitude);
    return x;
}

/* The same bits, or NaN for NaN. */
static void compare(const char *what, const float *own, const float *portable, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(own + i, portable + i, sizeof *own) == 0 || (isnan(own[i]) && isnan(portable[i])))
            continue;
        check_fail("%s %zu: %a, portable %a", what, i, (double)own[i], (double)portable[i]);
        return;
    }
}

/* Columns of B as a panel of nr: those that are missing are 0. */
static float *panel_of(const float *b, size_t depth, size_t n, size_t nr)
{
    float *panel = check_buffer("panel", depth * nr * sizeof *panel, 64);
    memset(panel, 0, depth * nr * sizeof *panel);
    for (size_t p = 0; p < depth; p++)
        memcpy(panel + p * nr, b + p * n, n * sizeof *b);
    return panel;
}

static void same_tile(const q8_f32_table *f32)
{
    const size_t nr = f32->gemm_nr < q8_f32_scalar.gemm_nr ? f32->gemm_nr : q8_f32_scalar.gemm_nr;
    const size_t mr = f32->gemm_mr < q8_f32_scalar.gemm_mr ? f32->gemm_mr : q8_f32_scalar.gemm_mr;
    const size_t m = 1 + check_below((uint32_t)mr), n = 1 + check_below((uint32_t)nr);
    const size_t k = 1 + check_below(200), taps = 1 + check_below(3);
    check_case("m=%zu n=%zu taps=%zu k=%zu", m, n, taps, k);
    const float *b = draw("b", taps * k * n, 1), *a = draw("a", m * taps * k, 1);
    float *bias = draw("bias", MOST_COLUMNS, 1);
    const float *rows[MOST_ROWS * 3];
    for (size_t i = 0; i < m * taps; i++)
        rows[i] = a + i * k;
    const two_results y = draw_results(m * n);
    q8_gemm_f32_job job = {.m = m, .n = n, .taps = taps, .k = k, .a = rows, .a_step = m,
                           .b = panel_of(b, taps * k, n, f32->gemm_nr), .bias = bias, .low = -9,
                           .high = 9, .c = y.own, .c_step = n};
    CHECK_CALL(f32->gemm_tile(&job));
    job.b = panel_of(b, taps * k, n, q8_f32_scalar.gemm_nr);
    job.c = y.portable;
    CHECK_CALL(q8_f32_scalar.gemm_tile(&job));
    compare("c", y.own, y.portable, m * n);
}

typedef void (*window_kernel)(const q8_conv_f32_job *);

static void same_windows(window_kernel own, window_kernel portable)
{
    const size_t channels = 1 + check_below(70), taps = check_one_in(2) ? 9 : 1 + check_below(26);
    const size_t pixels = 1 + check_below(9);
    check_case("pixels=%zu channels=%zu taps=%zu", pixels, channels, taps);
    const float **x = check_buffer("x's pointers", pixels * taps * sizeof *x, sizeof *x);
    const float *pool = draw("x", 3 * channels, 5);
    for (size_t i = 0; i < pixels * taps; i++)
        x[i] = pool + check_below((uint32_t)(2 * channels + 1));
    const two_results y = draw_results(pixels * channels);
    q8_conv_f32_job job = {.pixels = pixels, .channels = channels, .taps = taps, .x = x,
                           .x_step = taps, .w = draw("w", taps * channels, 1),
                           .bias = draw("bias", channels, 1), .low = -6, .high = 6,
                           .multiplier = draw("multiplier", pixels, 1), .y = y.own,
                           .y_step = channels};
    CHECK_CALL(own(&job));
    job.y = y.portable;
    CHECK_CALL(portable(&job));
    compare("y", y.own, y.portable, pixels * channels);
}

static void same_lines(const q8_f32_table *f32)
{
    q8_depthwise_lines_f32_job job = {
        .lines = 1 + check_below(4), .pixels = 1 + check_below(9),
        .channels = 1 + check_below(GROUP), .kernel = check_one_in(2) ? 3 : 5,
        .stride = 1 + check_below(2), .w_step = GROUP,
        .low = check_one_in(2) ? 0 : -INFINITY, .high = INFINITY};
    check_case("lines=%zu pixels=%zu channels=%zu kernel=%zu stride=%zu", job.lines, job.pixels,
               job.channels, job.kernel, job.stride);
    const size_t seen = (job.pixels - 1) * job.stride + job.kernel;
    const size_t seen_lines = (job.lines - 1) * job.stride + job.kernel;
    const float **x = check_buffer("lines", seen_lines * sizeof *x, sizeof *x);
    for (size_t l = 0; l < seen_lines; l++)
        x[l] = draw("x", seen * GROUP, 3);
    job.x = x;
    job.w = draw("w", job.kernel * job.kernel * GROUP, 1);
    job.bias = draw("bias", GROUP, 1);
    const size_t pixels = job.lines * job.pixels;
    const two_results y = draw_results(pixels * GROUP);
    job.y = y.own;
    job.next = y.own;
    job.next_step = GROUP * sizeof *job.y;
    CHECK_CALL(f32->depthwise_lines(&job));
    job.y = y.portable;
    CHECK_CALL(q8_f32_scalar.depthwise_lines(&job));
    for (size_t i = 0; i < pixels; i++)
        compare("y", y.own + i * GROUP, y.portable + i * GROUP, job.channels);
}

static void same_unary(const q8_f32_table *f32, q8_unary_op op)
{
    const size_t n = 1 + check_below(80);
    const double magnitude = check_one_in(4) ? 200 : check_one_in(4) ? 1e-3 : 12;
    check_case("op=%d n=%zu magnitude=%g", (int)op, n, magnitude);
    const float *x = draw("x", n, magnitude);
    const two_results y = draw_results(n);
    CHECK_CALL(f32->unary((int)op, n, x, y.own, 0.3f, 0.6f));
    CHECK_CALL(q8_f32_scalar.unary((int)op, n, x, y.portable, 0.3f, 0.6f));
    compare("y", y.own, y.portable, n);
}

/* Of accumulators or of floats, with the sums of every channel. */
static void same_finish(const q8_f32_table *f32, int op)
{
    const size_t columns = 1 + check_below(GROUP), rows = 1 + check_below(9);
    check_case("op=%d rows=%zu columns=%zu", op, rows, columns);
    int32_t *acc = check_buffer("acc", rows * GROUP * sizeof *acc, sizeof *acc);
    for (size_t i = 0; i < rows * GROUP; i++)
        acc[i] = check_between(-10000, 10000);
    const float *x = draw("x", rows * GROUP, 8), *scale = draw("scale", GROUP, 1e-3);
    const float *bias = draw("bias", GROUP, 1);
    const bool of_acc = check_one_in(2);
    const two_results y = draw_results(rows * GROUP), finds = draw_results(3 * GROUP);
    memset(finds.own, 0, 3 * GROUP * sizeof(float));
    memset(finds.portable, 0, 3 * GROUP * sizeof(float));
    q8_finish_job job = {.rows = rows, .columns = columns, .x = of_acc ? NULL : x,
                         .acc = of_acc ? acc : NULL, .scale = scale, .bias = bias,
                         .x_step = GROUP, .y = y.own, .y_step = GROUP, .y_group = GROUP, .op = op,
                         .alpha = 0.1f, .least = finds.own, .greatest = finds.own + GROUP,
                         .sums = finds.own + 2 * GROUP};
    CHECK_CALL(f32->finish(&job));
    job.y = y.portable;
    job.least = finds.portable;
    job.greatest = finds.portable + GROUP;
    job.sums = finds.portable + 2 * GROUP;
    CHECK_CALL(q8_f32_scalar.finish(&job));
    for (size_t i = 0; i < rows; i++)
        compare("y", y.own + i * GROUP, y.portable + i * GROUP, columns);
    for (size_t i = 0; i < 3; i++)
        compare("finds", finds.own + i * GROUP, finds.portable + i * GROUP, columns);
}

static void same_softmax(const q8_f32_table *f32, int is_log)
{
    const size_t n = 1 + check_below(300);
    check_case("n=%zu log=%d", n, is_log);
    const float *x = draw("x", n, check_one_in(3) ? 100 : 4);
    const two_results y = draw_results(n);
    CHECK_CALL(f32->softmax(n, x, y.own, is_log));
    CHECK_CALL(q8_f32_scalar.softmax(n, x, y.portable, is_log));
    compare("y", y.own, y.portable, n);
}

static void same_softmax_codes(const q8_f32_table *f32)
{
    const size_t n = 1 + check_below(300);
    const int32_t zero_point = check_one_in(2) ? (int32_t)check_below(256) : 0;
    const float scale = 1.0f / (float)(1 + check_below(2000));
    check_case("n=%zu zero_point=%d scale=%g", n, (int)zero_point, scale);
    int32_t *acc = check_buffer("acc", n * sizeof *acc, sizeof *acc);
    for (size_t i = 0; i < n; i++)
        acc[i] = check_between(-30000, 30000);
    const float *mask = check_one_in(2) ? draw("mask", n, 3) : NULL;
    float *values = draw("values", n, 0);
    uint8_t *own = check_buffer("y", n, 1), *portable = check_buffer("portable y", n, 1);
    int32_t sums[2] = {0, 0};
    CHECK_CALL(sums[0] = f32->softmax_codes(n, acc, 1e-4f, mask, values, scale, zero_point, own));
    CHECK_CALL(sums[1] = q8_f32_scalar.softmax_codes(n, acc, 1e-4f, mask, values, scale, zero_point,
                                                     portable));
    check_u8(portable, own, n, n);
    check_s32(sums + 1, sums, 1, 1);
}

static void same_rows(const q8_f32_table *f32)
{
    const size_t n = 1 + check_below(300);
    check_case("n=%zu", n);
    const float *x = draw("x", n, check_one_in(3) ? 1000 : 1), *other = draw("other", n, 1);
    const float *bias = check_one_in(2) ? draw("bias", n, 1) : NULL;
    const two_results y = draw_results(n);
    CHECK_CALL(f32->layer_norm(n, x, other, bias, y.own, 1e-5f));
    CHECK_CALL(q8_f32_scalar.layer_norm(n, x, other, bias, y.portable, 1e-5f));
    compare("layer_norm", y.own, y.portable, n);
    CHECK_CALL(f32->lerp(n, x, other, 0.3f, y.own));
    CHECK_CALL(q8_f32_scalar.lerp(n, x, other, 0.3f, y.portable));
    compare("lerp", y.own, y.portable, n);
    CHECK_CALL(y.own[0] = f32->sum(n, x));
    CHECK_CALL(y.portable[0] = q8_f32_scalar.sum(n, x));
    compare("sum", y.own, y.portable, 1);
}

static void same_digits(const q8_f32_table *f32)
{
    const size_t n = 1 + check_below(300);
    check_case("n=%zu", n);
    float *x = draw("x", n, check_one_in(3) ? 1000 : 1);
    if (check_one_in(4))
        x[check_below((uint32_t)n)] = check_one_in(2) ? NAN : INFINITY;
    uint8_t *own = check_buffer("digits", 2 * n, 1), *portable = check_buffer("portable", 2 * n, 1);
    CHECK_CALL(f32->digits(n, x, 100.3f, own, own + n));
    CHECK_CALL(q8_f32_scalar.digits(n, x, 100.3f, portable, portable + n));
    check_u8(portable, own, 2 * n, 2 * n);
}

static void same_in_all(const q8_f32_table *f32)
{
    static const int finished[] = {-1, Q8_UNARY_SILU, Q8_UNARY_GELU, Q8_UNARY_GELU_TANH,
                                   Q8_UNARY_HARD_SWISH, Q8_UNARY_LEAKY_RELU, Q8_UNARY_ELU,
                                   Q8_UNARY_TANH};
    for (int round = 0; round < 40; round++) {
        same_tile(f32);
        same_windows(f32->depthwise, q8_f32_scalar.depthwise);
        same_windows(f32->average_pool, q8_f32_scalar.average_pool);
        same_lines(f32);
        for (int op = Q8_UNARY_CLAMP; op <= Q8_UNARY_COS; op++)
            same_unary(f32, (q8_unary_op)op);
        for (size_t i = 0; i < sizeof finished / sizeof *finished; i++)
            same_finish(f32, finished[i]);
        same_softmax(f32, 0);
        same_softmax(f32, 1);
        same_softmax_codes(f32);
        same_rows(f32);
        same_digits(f32);
    }
}

void check_f32_same(const q8_kernels *kernels, const q8_kernels *below)
{
    if (check_begin("f32, as the portable ones", kernels->f32.unary != below->f32.unary))
        same_in_all(&kernels->f32);
}
