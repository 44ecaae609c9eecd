/* check_f32.c - float GEMM tiles, depthwise convolution and pooling.
 *
 * Compared with sums in double. Allowed: what any order of additions, fused or not, can be off
 * by: (terms + 2) * 2^-23 times the sum of the terms' absolute values. */
#include <math.h>

#include "check.h"

enum { MOST_ROWS = 40, WIDEST_VECTOR = 16 };
#define UNIT 1.1920928955078125e-07 /* 2^-23 */

static float *draw_floats(const char *name, size_t n)
{
    float *x = check_buffer(name, n * sizeof *x, sizeof *x);
    check_fill_floats(x, n, check_one_in(4) ? 1e4 : 1);
    return x;
}

static void draw_limits(float *low, float *high)
{
    static const float limits[][2] = {{-INFINITY, INFINITY}, {0, INFINITY}, {0, 6}, {-1, 0}};
    const float *limit = limits[check_below(4)];
    *low = limit[0];
    *high = limit[1];
}

/* A sum in double, together with what a float kernel may be off by. */
typedef struct {
    double value, absolute;
    size_t terms;
} exact_sum;

static void add_term(exact_sum *sum, double term)
{
    sum->value += term;
    sum->absolute += fabs(term);
    sum->terms++;
}

static void check_sum(exact_sum sum, double factor, float low, float high, float got, size_t index)
{
    double value = fmin(fmax(sum.value * factor, low), high);
    check_close(value, got, (double)(sum.terms + 2) * UNIT * sum.absolute * fabs(factor), index);
}

/* Everything between the rows of a result must still be CHECK_FILL. */
static void check_gap(const float *row, size_t used, size_t step)
{
    const uint8_t *bytes = (const uint8_t *)row;
    for (size_t i = used * sizeof *row; i < step * sizeof *row; i++) {
        if (bytes[i] == CHECK_FILL)
            continue;
        check_fail("wrote between the rows, %zu bytes behind one", i - used * sizeof *row);
        return;
    }
}

/* ---- gemm ---- */

typedef struct {
    size_t m, n, taps, k;
} tile_size;

static const float **draw_rows(tile_size g, size_t a_step)
{
    size_t count = (g.taps - 1) * a_step + g.m;
    const float **rows = check_buffer("a's pointers", count * sizeof *rows, sizeof *rows);
    for (size_t i = 0; i < count; i++)
        rows[i] = i % a_step < g.m ? draw_floats("a row of a", g.k) : check_forbidden();
    return rows;
}

static void run_tile(const q8_f32_table *f32, const q8_gemm_f32_job *job)
{
    CHECK_CALL(f32->gemm_tile(job));
}

static void compare_tile(const q8_f32_table *f32, const q8_gemm_f32_job *job)
{
    for (size_t i = 0; i < job->m; i++) {
        for (size_t j = 0; j < job->n; j++) {
            exact_sum sum = {0};
            add_term(&sum, job->bias[j]);
            for (size_t p = 0; p < job->taps * job->k; p++)
                add_term(&sum, (double)job->a[p / job->k * job->a_step + i][p % job->k] *
                                   job->b[p * f32->gemm_nr + j]);
            size_t at = i * job->c_step + j;
            check_sum(sum, 1, job->low, job->high, job->c[at], at);
        }
        if (i + 1 < job->m)
            check_gap(job->c + i * job->c_step, job->n, job->c_step);
    }
}

static void check_tile(const q8_f32_table *f32, tile_size g)
{
    check_case("m=%zu n=%zu taps=%zu k=%zu", g.m, g.n, g.taps, g.k);
    size_t depth = g.taps * g.k, nr = f32->gemm_nr;
    float *b = check_buffer("panel", depth * nr * sizeof *b, 64);
    check_fill_floats(b, depth * nr, 1);
    q8_gemm_f32_job job = {.m = g.m, .n = g.n, .taps = g.taps, .k = g.k, .b = b,
                           .a_step = g.m + check_below(3), .bias = draw_floats("bias", nr),
                           .c_step = g.n + (check_one_in(2) ? 0 : check_below(40))};
    job.a = draw_rows(g, job.a_step);
    draw_limits(&job.low, &job.high);
    job.c = check_buffer("c", ((g.m - 1) * job.c_step + g.n) * sizeof *job.c, sizeof *job.c);
    run_tile(f32, &job);
    compare_tile(f32, &job);
}

static size_t draw_size(size_t most)
{
    return 1 + check_below((uint32_t)most);
}

static void check_gemm_tile(const q8_f32_table *f32)
{
    size_t mr = f32->gemm_mr, nr = f32->gemm_nr;
    for (size_t k = 1; k <= 130; k++)
        check_tile(f32, (tile_size){k % 2 ? mr : draw_size(mr), k % 2 ? nr : draw_size(nr), 1, k});
    for (size_t m = 1; m <= mr; m++)
        for (size_t n = 1; n <= nr; n++)
            check_tile(f32, (tile_size){m, n, draw_size(3), draw_size(20)});
    for (int i = 0; i < 100; i++)
        check_tile(f32, (tile_size){draw_size(mr), draw_size(nr), draw_size(9), draw_size(70)});
}

/* ---- windows ---- */

static const float **draw_pointers(const q8_conv_f32_job *job)
{
    size_t count = (job->pixels - 1) * job->x_step + job->taps;
    const float **x = check_buffer("x's pointers", count * sizeof *x, sizeof *x);
    size_t row_count = count < MOST_ROWS ? count : MOST_ROWS;
    for (size_t i = 0; i < count; i++)
        x[i] = i < row_count ? draw_floats("a row of x", job->channels)
                             : x[check_below((uint32_t)row_count)];
    for (size_t i = 0; i < count; i++)
        if (job->x_step > job->taps && i % job->x_step >= job->taps)
            x[i] = check_forbidden();
    return x;
}

static q8_conv_f32_job draw_job(size_t channels, size_t taps)
{
    q8_conv_f32_job job = {.pixels = 1 + check_below(6), .channels = channels, .taps = taps,
                           .x_step = check_below((uint32_t)taps + 2),
                           .y_step = channels + (check_one_in(2) ? 0 : check_below(20))};
    check_case("pixels=%zu channels=%zu taps=%zu x_step=%zu y_step=%zu", job.pixels, channels, taps,
               job.x_step, job.y_step);
    job.x = draw_pointers(&job);
    job.w = draw_floats("w", taps * channels);
    job.bias = draw_floats("bias", channels);
    job.multiplier = draw_floats("multiplier", job.pixels);
    draw_limits(&job.low, &job.high);
    size_t count = (job.pixels - 1) * job.y_step + channels;
    job.y = check_buffer("y", count * sizeof *job.y, sizeof *job.y);
    return job;
}

static float value_at(const q8_conv_f32_job *job, size_t p, size_t c, size_t tap)
{
    return job->x[p * job->x_step + tap][c];
}

static void compare_depthwise(const q8_conv_f32_job *job, size_t p, size_t c, size_t at)
{
    exact_sum sum = {0};
    add_term(&sum, job->bias[c]);
    for (size_t tap = 0; tap < job->taps; tap++)
        add_term(&sum, (double)value_at(job, p, c, tap) * job->w[tap * job->channels + c]);
    check_sum(sum, 1, job->low, job->high, job->y[at], at);
}

static void compare_max_pool(const q8_conv_f32_job *job, size_t p, size_t c, size_t at)
{
    float best = -INFINITY;
    for (size_t tap = 0; tap < job->taps; tap++)
        best = fmaxf(best, value_at(job, p, c, tap));
    check_close(best, job->y[at], 0, at);
}

static void compare_average_pool(const q8_conv_f32_job *job, size_t p, size_t c, size_t at)
{
    exact_sum sum = {0};
    for (size_t tap = 0; tap < job->taps; tap++)
        add_term(&sum, value_at(job, p, c, tap));
    check_sum(sum, job->multiplier[p], -INFINITY, INFINITY, job->y[at], at);
}

typedef void (*conv_fn)(const q8_conv_f32_job *);
typedef void (*compare_fn)(const q8_conv_f32_job *, size_t p, size_t c, size_t at);

static void run_conv(conv_fn kernel, const q8_conv_f32_job *job)
{
    CHECK_CALL(kernel(job));
}

static void check_job(conv_fn kernel, compare_fn compare, size_t channels, size_t taps)
{
    q8_conv_f32_job job = draw_job(channels, taps);
    run_conv(kernel, &job);
    for (size_t p = 0; p < job.pixels; p++) {
        for (size_t c = 0; c < channels; c++)
            compare(&job, p, c, p * job.y_step + c);
        if (p + 1 < job.pixels)
            check_gap(job.y + p * job.y_step, channels, job.y_step);
    }
}

static void check_windows(conv_fn kernel, compare_fn compare)
{
    for (int round = 0; round < 3; round++)
        for (size_t channels = 0; channels <= 4 * WIDEST_VECTOR + 1; channels++)
            check_job(kernel, compare, channels, round == 0 ? 9 : draw_size(20));
    for (size_t taps = 1; taps <= 64; taps++)
        check_job(kernel, compare, draw_size(70), taps);
}

void check_f32_conv(const q8_kernels *kernels, const q8_kernels *below)
{
    const q8_f32_table *f32 = &kernels->f32, *old = &below->f32;
    if (check_begin("f32.gemm_tile", f32->gemm_tile != old->gemm_tile))
        check_gemm_tile(f32);
    if (check_begin("f32.depthwise", f32->depthwise != old->depthwise))
        check_windows(f32->depthwise, compare_depthwise);
    if (check_begin("f32.max_pool", f32->max_pool != old->max_pool))
        check_windows(f32->max_pool, compare_max_pool);
    if (check_begin("f32.average_pool", f32->average_pool != old->average_pool))
        check_windows(f32->average_pool, compare_average_pool);
}
