/* check_f32_lines.c - what floats go through between a product and where they stay: lines of a
 * depthwise convolution, and rows on their way to y. */
#include <math.h>
#include <string.h>

#include "../q8.h"
#include "check.h"

enum { GROUP = 16 };
#define UNIT 1.1920928955078125e-07 /* 2^-23: one ULP of 1 */

static float *draw_floats(const char *name, size_t n, double magnitude)
{
    float *x = check_buffer(name, n * sizeof *x, sizeof *x);
    check_fill_floats(x, n, magnitude);
    return x;
}

static float *empty_floats(const char *name, size_t n)
{
    return check_buffer(name, n * sizeof(float), sizeof(float));
}

/* ---- depthwise_lines ---- */

static void compare_window(const q8_depthwise_lines_f32_job *job, size_t line, size_t at, size_t c,
                           float got, size_t index)
{
    double sum = job->bias[c], size = fabs(sum);
    for (size_t tap = 0; tap < job->kernel * job->kernel; tap++) {
        const size_t kh = tap % job->kernel, kw = tap / job->kernel;
        const double term =
            (double)job->x[line + kh][at + kw * GROUP + c] * job->w[tap * job->w_step + c];
        sum += term;
        size += fabs(term);
    }
    const double allowed = (double)(job->kernel * job->kernel + 2) * UNIT * size;
    check_close(fmin(fmax(sum, job->low), job->high), got, allowed, index);
}

static void check_lines_case(const q8_f32_table *f32, size_t channels)
{
    q8_depthwise_lines_f32_job job = {
        .lines = 1 + check_below(4), .pixels = 1 + check_below(9), .channels = channels,
        .kernel = check_one_in(2) ? 3 : 5, .stride = 1 + check_below(2),
        .w_step = channels + check_below(5), .low = check_one_in(2) ? 0 : -INFINITY,
        .high = check_one_in(2) ? 1 : INFINITY};
    const size_t seen = (job.pixels - 1) * job.stride + job.kernel;
    const size_t seen_lines = (job.lines - 1) * job.stride + job.kernel;
    check_case("lines=%zu pixels=%zu channels=%zu kernel=%zu stride=%zu", job.lines, job.pixels,
               channels, job.kernel, job.stride);
    const float **x = check_buffer("lines", seen_lines * sizeof *x, sizeof *x);
    for (size_t l = 0; l < seen_lines; l++)
        x[l] = draw_floats("x", (seen - 1) * GROUP + channels, 3);
    job.x = x;
    job.w = draw_floats("w", (job.kernel * job.kernel - 1) * job.w_step + channels, 1);
    job.bias = draw_floats("bias", channels, 1);
    job.y = empty_floats("y", (job.lines * job.pixels - 1) * GROUP + channels);
    job.next = job.y;
    job.next_step = GROUP * sizeof *job.y;
    CHECK_CALL(f32->depthwise_lines(&job));
    for (size_t i = 0; i < job.lines * job.pixels; i++) {
        const size_t l = i / job.pixels, p = i % job.pixels;
        for (size_t c = 0; c < channels; c++)
            compare_window(&job, l * job.stride, p * job.stride * GROUP, c, job.y[i * GROUP + c],
                           i * GROUP + c);
    }
}

static void check_lines(const q8_f32_table *f32)
{
    for (int round = 0; round < 12; round++)
        for (size_t channels = 1; channels <= GROUP; channels++)
            check_lines_case(f32, channels);
}

/* ---- finish ---- */

typedef struct {
    float range[2];
    float *least, *greatest, *sums;
} finds;

static q8_finish_job draw_finish(size_t columns)
{
    static const int ops[] = {-1, Q8_UNARY_SILU, Q8_UNARY_GELU, Q8_UNARY_GELU_TANH,
                              Q8_UNARY_HARD_SWISH, Q8_UNARY_LEAKY_RELU, Q8_UNARY_ELU,
                              Q8_UNARY_TANH};
    q8_finish_job job = {.rows = 1 + check_below(9), .columns = columns,
                         .x_step = columns + check_below(20),
                         .op = ops[check_below(sizeof ops / sizeof *ops)], .alpha = 0.1f,
                         .y_step = GROUP + check_below(20), .y_group = GROUP};
    if (check_one_in(2))
        job.y_group = job.rows * job.y_step + check_below(40);
    else
        job.y_step += columns;
    if (columns < GROUP && check_one_in(3))
        job.y_step = columns;
    const bool of_acc = check_one_in(2);
    check_case("rows=%zu columns=%zu op=%d acc=%d y_step=%zu y_group=%zu", job.rows, columns,
               job.op, of_acc, job.y_step, job.y_group);
    const size_t count = (job.rows - 1) * job.x_step + columns;
    if (!of_acc) {
        job.x = draw_floats("x", count, 10);
        return job;
    }
    int32_t *acc = check_buffer("acc", count * sizeof *acc, sizeof *acc);
    for (size_t i = 0; i < count; i++)
        acc[i] = (int32_t)check_below(20000) - 10000;
    job.acc = acc;
    job.low = check_one_in(2) ? 0 : -INFINITY;
    job.high = check_one_in(2) ? 1 : INFINITY;
    job.scale = draw_floats("scale", columns, 1e-3);
    job.bias = check_one_in(2) ? draw_floats("bias", columns, 1) : NULL;
    return job;
}

static float argument_of(const q8_finish_job *job, size_t i, size_t c)
{
    if (job->x)
        return job->x[i * job->x_step + c];
    const float product = (float)job->acc[i * job->x_step + c] * job->scale[c];
    const float x = job->bias ? product + job->bias[c] : product;
    return job->op < 0 ? fminf(fmaxf(x, job->low), job->high) : x;
}

static double exact_function(const q8_finish_job *job, double x)
{
    switch (job->op) {
    case Q8_UNARY_SILU: return x / (1 + exp(-x));
    case Q8_UNARY_GELU: return 0.5 * x * erfc(-x * M_SQRT1_2);
    case Q8_UNARY_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Q8_UNARY_HARD_SWISH: return x * fmin(fmax(x / 6 + 0.5, 0), 1);
    case Q8_UNARY_LEAKY_RELU: return x < 0 ? (double)job->alpha * x : x;
    case Q8_UNARY_ELU: return x < 0 ? (double)job->alpha * expm1(x) : x;
    case Q8_UNARY_TANH: return tanh(x);
    default: return x;
    }
}

/* Of the values that are there: what is found must be theirs to the bit, sums within rounding. */
static void compare_finish(const q8_finish_job *job, const finds *before)
{
    float range[2] = {before->range[0], before->range[1]};
    const bool is_rough = job->op == Q8_UNARY_SILU || job->op == Q8_UNARY_GELU ||
                          job->op == Q8_UNARY_GELU_TANH;
    const double tolerance = is_rough ? 1e-4 : 1e-6;
    for (size_t c = 0; c < job->columns; c++) {
        float least = before->least[c], greatest = before->greatest[c];
        double sum = before->sums[c], size = fabs(sum);
        for (size_t i = 0; i < job->rows; i++) {
            const size_t at = i * job->y_step + c / GROUP * job->y_group + c % GROUP;
            const float x = argument_of(job, i, c), y = job->y[at];
            const double exact = exact_function(job, x);
            const double allowed = tolerance + 6 * UNIT * (fabs(x) + fabs(exact));
            check_close(exact, y, job->op < 0 ? 0 : allowed, at);
            least = fminf(least, y);
            greatest = fmaxf(greatest, y);
            sum += y;
            size += fabsf(y);
        }
        if (job->sums) {
            check_close(least, job->least[c], 0, c);
            check_close(greatest, job->greatest[c], 0, c);
            check_close(sum, job->sums[c], (double)(job->rows + 1) * UNIT * size, c);
        }
        range[0] = fminf(range[0], least);
        range[1] = fmaxf(range[1], greatest);
    }
    for (int end = 0; job->range && end < 2; end++)
        check_close(range[end], job->range[end], 0, (size_t)end);
}

static void check_finish_case(const q8_f32_table *f32, size_t columns)
{
    q8_finish_job job = draw_finish(columns);
    const size_t groups = (columns - 1) / GROUP, rest = columns - groups * GROUP;
    const size_t last = groups * job.y_group + rest;
    job.y = empty_floats("y", (job.rows - 1) * job.y_step +
                                  (groups && job.y_group < GROUP ? columns : last));
    finds before = {{-1, 1}, empty_floats("least before", columns),
                    empty_floats("greatest before", columns), empty_floats("sums before", columns)};
    memset(before.least, 0, columns * sizeof(float));
    memset(before.greatest, 0, columns * sizeof(float));
    memset(before.sums, 0, columns * sizeof(float));
    float range[2] = {-1, 1};
    job.range = check_one_in(2) ? range : NULL;
    if (check_one_in(2)) {
        job.least = draw_floats("least", columns, 0);
        job.greatest = draw_floats("greatest", columns, 0);
        job.sums = draw_floats("sums", columns, 0);
        memset(job.least, 0, columns * sizeof(float));
        memset(job.greatest, 0, columns * sizeof(float));
        memset(job.sums, 0, columns * sizeof(float));
    }
    CHECK_CALL(f32->finish(&job));
    compare_finish(&job, &before);
}

static void check_finish(const q8_f32_table *f32)
{
    for (int round = 0; round < 12; round++)
        for (size_t columns = 1; columns <= 4 * GROUP + 3; columns++)
            check_finish_case(f32, columns);
}

void check_f32_lines(const q8_kernels *kernels, const q8_kernels *below)
{
    const q8_f32_table *f32 = &kernels->f32, *old = &below->f32;
    if (check_begin("f32.depthwise_lines", f32->depthwise_lines != old->depthwise_lines))
        check_lines(f32);
    if (check_begin("f32.finish", f32->finish != old->finish))
        check_finish(f32);
}
