/* selftest_f32.c - selftest of the float kernels: within the bounds that kernels.h states, with
 * room for the reference's own rounding. */
#include <math.h>
#include <string.h>

#include "selftest.h"

typedef q8_selftest_session session;

static const float epsilon = 1.1920929e-7f;

static size_t below(session *s, size_t limit)
{
    return q8_selftest_random(s) % limit;
}

static float *floats(uint8_t *bytes)
{
    return (float *)(void *)bytes;
}

/* ---- sums of products ---- */

static void reference_tile(const q8_gemm_f32_job *job, size_t nr, float *c)
{
    for (size_t i = 0; i < job->m; i++)
        for (size_t j = 0; j < job->n; j++) {
            double acc = job->bias[j];
            for (size_t tap = 0; tap < job->taps; tap++)
                for (size_t p = 0; p < job->k; p++)
                    acc += (double)job->a[tap * job->a_step + i][p] *
                           (double)job->b[(tap * job->k + p) * nr + j];
            c[i * job->n + j] = fminf(fmaxf((float)acc, job->low), job->high);
        }
}

static void check_gemm(session *s, size_t m, size_t n, size_t taps, size_t k)
{
    q8_selftest_space *space = s->space;
    size_t nr = s->tested->f32.gemm_nr;
    float bias[256];
    q8_selftest_fill_floats(s, floats(space->a), m * taps * k, 1.0f);
    q8_selftest_fill_floats(s, floats(space->panel), nr * taps * k, 1.0f);
    q8_selftest_fill_floats(s, bias, nr, 1.0f);
    for (size_t i = 0; i < m * taps; i++)
        space->pointers[i] = floats(space->a) + i * k;
    q8_gemm_f32_job job = {.m = m, .n = n, .taps = taps, .k = k, .a_step = m,
                           .a = (const float *const *)(const void *)space->pointers,
                           .b = floats(space->panel), .bias = bias, .low = -2.0f,
                           .high = INFINITY, .c = floats(space->got), .c_step = n};
    q8_selftest_clear(s);
    s->tested->f32.gemm_tile(&job);
    reference_tile(&job, nr, floats(space->want));
    q8_selftest_close(s, "gemm f32", m * n, (float)(taps * k + 4) * epsilon, 2 * epsilon);
}

static void check_windows(session *s, size_t pixels, size_t channels, size_t taps)
{
    q8_selftest_space *space = s->space;
    float multiplier[16];
    q8_selftest_fill_floats(s, floats(space->a), 4096, 1.0f);
    q8_selftest_fill_floats(s, floats(space->b), taps * channels, 1.0f);
    q8_selftest_fill_floats(s, floats(space->c), channels, 1.0f);
    q8_selftest_fill_floats(s, multiplier, pixels, 1.0f);
    for (size_t i = 0; i < pixels * taps; i++)
        space->pointers[i] = floats(space->a) + below(s, 4096 - channels);
    q8_conv_f32_job job = {.pixels = pixels, .channels = channels, .taps = taps,
                           .x = (const float *const *)(const void *)space->pointers,
                           .x_step = taps, .w = floats(space->b), .bias = floats(space->c),
                           .multiplier = multiplier, .low = -INFINITY, .high = 2.0f,
                           .y = floats(space->got), .y_step = channels};
    q8_conv_f32_job wanted = job;
    wanted.y = floats(space->want);
    const q8_f32_table *tested = &s->tested->f32, *reference = &s->reference->f32;
    float allowed = 2.0f * (float)(taps + 2) * epsilon;
    q8_selftest_clear(s);
    tested->depthwise(&job);
    reference->depthwise(&wanted);
    q8_selftest_close(s, "depthwise f32", pixels * channels, allowed, epsilon);
    q8_selftest_clear(s);
    tested->max_pool(&job);
    reference->max_pool(&wanted);
    q8_selftest_same(s, "max_pool f32", channels);
    q8_selftest_clear(s);
    tested->average_pool(&job);
    reference->average_pool(&wanted);
    q8_selftest_close(s, "average_pool f32", pixels * channels, allowed, epsilon);
}

/* ---- element by element ---- */

static void check_unary(session *s, int op, size_t n)
{
    q8_selftest_space *space = s->space;
    float *x = floats(space->a);
    q8_selftest_fill_floats(s, x, n, op == Q8_UNARY_EXP ? 85.0f : 20.0f);
    bool is_positive = op == Q8_UNARY_LOG || op == Q8_UNARY_SQRT || op == Q8_UNARY_RECIPROCAL;
    for (size_t i = 0; i < n && is_positive; i++)
        x[i] = fabsf(x[i]) + 1e-3f;
    bool is_coarse = op == Q8_UNARY_ERF || op == Q8_UNARY_SILU || op == Q8_UNARY_GELU ||
                     op == Q8_UNARY_GELU_TANH;
    float absolute = is_coarse ? 4e-6f : 1e-30f;
    if (op == Q8_UNARY_AFFINE || op == Q8_UNARY_HARD_SIGMOID || op == Q8_UNARY_HARD_SWISH)
        absolute = 16 * epsilon; /* a sum near zero */
    q8_selftest_clear(s);
    s->tested->f32.unary(op, n, x, floats(space->got), -0.75f, 1.5f);
    s->reference->f32.unary(op, n, x, floats(space->want), -0.75f, 1.5f);
    q8_selftest_close(s, "unary f32", n, absolute, 9 * epsilon);
}

static void check_binary(session *s, int op, size_t n)
{
    q8_selftest_space *space = s->space;
    float *a = floats(space->a), *b = floats(space->b);
    size_t a_step = below(s, 3) > 0, b_step = below(s, 3) > 0;
    q8_selftest_fill_floats(s, a, n + 1, 9.0f);
    q8_selftest_fill_floats(s, b, n + 1, 5.0f);
    for (size_t i = 0; i <= n && op == Q8_POW; i++)
        a[i] = fabsf(a[i]) + 0.1f;
    q8_selftest_clear(s);
    s->tested->f32.binary(op, n, a, a_step, b, b_step, floats(space->got));
    s->reference->f32.binary(op, n, a, a_step, b, b_step, floats(space->want));
    q8_selftest_close(s, "binary f32", n, 0.0f, op == Q8_POW ? 64 * epsilon : 0.0f);
}

static void check_lerp_and_sum(session *s, size_t n)
{
    q8_selftest_space *space = s->space;
    float *a = floats(space->a), *b = floats(space->b);
    q8_selftest_fill_floats(s, a, n, 9.0f);
    q8_selftest_fill_floats(s, b, n, 9.0f);
    q8_selftest_clear(s);
    s->tested->f32.lerp(n, a, b, 0.3f, floats(space->got));
    s->reference->f32.lerp(n, a, b, 0.3f, floats(space->want));
    q8_selftest_close(s, "lerp f32", n, 40 * epsilon, 0.0f);
    q8_selftest_clear(s);
    *floats(space->got) = s->tested->f32.sum(n, a);
    *floats(space->want) = s->reference->f32.sum(n, a);
    q8_selftest_close(s, "sum f32", 1, 9.0f * (float)n * epsilon, 0.0f);
}

/* ---- rows ---- */

static void check_rows(session *s, size_t n)
{
    q8_selftest_space *space = s->space;
    float *x = floats(space->a), *scale = floats(space->b), *bias = floats(space->c);
    q8_selftest_fill_floats(s, x, n, 10.0f);
    q8_selftest_fill_floats(s, scale, n, 2.0f);
    q8_selftest_fill_floats(s, bias, n, 2.0f);
    for (int log_softmax = 0; log_softmax < 2; log_softmax++) {
        q8_selftest_clear(s);
        s->tested->f32.softmax(n, x, floats(space->got), log_softmax);
        s->reference->f32.softmax(n, x, floats(space->want), log_softmax);
        q8_selftest_close(s, "softmax", n, 1e-6f, 32 * epsilon);
    }
    x[0] += 3.0f; /* no row of equal values, whose variance is nothing but rounding */
    const float *added = below(s, 2) ? bias : NULL;
    q8_selftest_clear(s);
    s->tested->f32.layer_norm(n, x, scale, added, floats(space->got), 1e-3f);
    s->reference->f32.layer_norm(n, x, scale, added, floats(space->want), 1e-3f);
    q8_selftest_close(s, "layer_norm", n, 1e-4f, 1e-5f);
}

void q8_selftest_f32(session *s)
{
    const q8_f32_table *tested = &s->tested->f32;
    for (size_t m = 1; m <= tested->gemm_mr; m++)
        for (size_t n = 1; n <= tested->gemm_nr; n++)
            check_gemm(s, m, n, 1 + below(s, 5), 1 + below(s, 20));
    for (int i = 0; i < 3 * q8_selftest_length_count; i++) {
        size_t n = q8_selftest_lengths[i / 3];
        check_windows(s, 1 + below(s, 8), n, 1 + below(s, 12));
        for (int op = Q8_UNARY_CLAMP; op <= Q8_UNARY_COS; op++)
            check_unary(s, op, n);
        for (int op = Q8_ADD; op <= Q8_POW; op++)
            check_binary(s, op, n);
        check_lerp_and_sum(s, n);
        if (n > 0)
            check_rows(s, n);
    }
}
