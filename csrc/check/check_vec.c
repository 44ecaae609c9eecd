/* check_vec.c - the kernels that walk a row, against the scalar reference, byte for byte. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "check.h"

enum { WIDEST_VECTOR = 64, LONG_ROWS = 60 };

/* Calls one case for every length up to two vectors and a bit, and for some longer ones. */
static void for_lengths(const q8_vec_table *vec, void (*check)(const q8_vec_table *, size_t))
{
    for (int round = 0; round < 3; round++)
        for (size_t n = 0; n <= 2 * WIDEST_VECTOR + 1; n++)
            check(vec, n);
    for (int i = 0; i < LONG_ROWS; i++)
        check(vec, check_below(1000));
}

static uint8_t *draw_codes(const char *name, size_t n)
{
    uint8_t *x = check_buffer(name, n, 1);
    check_fill_codes(x, n);
    return x;
}

static float *float_row(const char *name, size_t n)
{
    return check_buffer(name, n * sizeof(float), sizeof(float));
}

/* ---- quantize, dequantize ---- */

static float draw_scale(void)
{
    static const float odd[] = {1.0f, 0.5f, 1e-38f, 1e-45f, FLT_MAX, 1.0f / 255, 0.1f};
    return check_one_in(3) ? odd[check_below(sizeof odd / sizeof *odd)]
                           : (float)exp2(check_uniform(-12, 4));
}

/* Ties, the ends of the range, and everything that is not a number to quantize. */
static void fill_quantizable(float *x, size_t n, float scale)
{
    static const float odd[] = {NAN,      INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 3e9f,
                                -3e9f,    1e-45f,   -0.0f,     0.0f,    -NAN,     2147483648.0f,
                                FLT_MIN, 65536.5f, -65536.5f};
    bool ordinary = check_one_in(3);
    for (size_t i = 0; i < n; i++) {
        float tie = ((float)check_between(-300, 300) + 0.5f) * scale;
        switch (ordinary ? 3 : check_below(4)) {
        case 0: x[i] = odd[check_below(sizeof odd / sizeof *odd)]; break;
        case 1: x[i] = tie; break;
        case 2: x[i] = nextafterf(tie, check_one_in(2) ? INFINITY : -INFINITY); break;
        default: x[i] = (float)check_uniform(-300, 300) * scale; break;
        }
    }
}

static void check_quantize(const q8_vec_table *vec, size_t n)
{
    float scale = draw_scale();
    int32_t zero_point = check_draw_zero_point();
    check_case("n=%zu scale=%a zero_point=%d", n, scale, zero_point);
    float *x = float_row("x", n);
    fill_quantizable(x, n, scale);
    uint8_t *want = check_buffer("want", n, 1), *got = check_buffer("y", n, 1);
    q8_vec_scalar.quantize(n, x, want, scale, zero_point);
    CHECK_CALL(vec->quantize(n, x, got, scale, zero_point));
    check_u8(want, got, n, n);
}

static void check_quantize_scaled(const q8_vec_table *vec, size_t n)
{
    const int32_t zero_point = check_draw_zero_point();
    const size_t rows = 1 + check_below(4);
    check_case("rows=%zu n=%zu zero_point=%d", rows, n, zero_point);
    float *x = float_row("x", rows * n), *factor = float_row("factor", n);
    fill_quantizable(x, rows * n, 1);
    for (size_t i = 0; i < n; i++)
        factor[i] = (float)check_uniform(-1, 1);
    for (size_t i = 0; i < rows * n; i++)
        x[i] = fabsf(x[i]) > 0x1p30f ? copysignf(0x1p30f, x[i]) : x[i];
    uint8_t *want = check_buffer("want", rows * n, 1), *got = check_buffer("y", rows * n, 1);
    q8_vec_scalar.quantize_scaled(rows, n, x, factor, want, zero_point);
    CHECK_CALL(vec->quantize_scaled(rows, n, x, factor, got, zero_point));
    check_u8(want, got, rows * n, rows * n);
}

static void check_dequantize(const q8_vec_table *vec, size_t n)
{
    float scale = draw_scale();
    int32_t zero_point = check_draw_zero_point();
    check_case("n=%zu scale=%a zero_point=%d", n, scale, zero_point);
    uint8_t *x = draw_codes("x", n);
    float *want = float_row("want", n), *got = float_row("y", n);
    q8_vec_scalar.dequantize(n, x, want, scale, zero_point);
    CHECK_CALL(vec->dequantize(n, x, got, scale, zero_point));
    check_f32(want, got, n, n);
}

/* ---- accumulators ---- */

static int32_t *draw_accumulators(size_t n, const float *multiplier)
{
    int32_t *acc = check_buffer("acc", n * sizeof *acc, sizeof *acc);
    for (size_t i = 0; i < n; i++)
        acc[i] = check_draw_accumulator(multiplier[i]);
    return acc;
}

static void check_requantize(const q8_vec_table *vec, size_t n)
{
    check_output out = check_draw_output();
    check_case("n=%zu zero_point=%d low=%d high=%d", n, out.zero_point, out.low, out.high);
    float *multiplier = float_row("multiplier", n);
    check_fill_multipliers(multiplier, n);
    int32_t *acc = draw_accumulators(n, multiplier);
    uint8_t *want = check_buffer("want", n, 1), *got = check_buffer("y", n, 1);
    q8_vec_scalar.requantize(n, acc, multiplier, want, out.zero_point, out.low, out.high);
    CHECK_CALL(vec->requantize(n, acc, multiplier, got, out.zero_point, out.low, out.high));
    check_u8(want, got, n, n);
}

static void check_accumulators_to_f32(const q8_vec_table *vec, size_t columns)
{
    static const float limits[][2] = {
        {-INFINITY, INFINITY}, {0, INFINITY}, {0, 6}, {-1, 0}, {2, 6}, {-FLT_MAX, FLT_MAX}};
    const float *limit = limits[check_below(sizeof limits / sizeof *limits)];
    const size_t rows = check_below(7), more = check_below(3), step = columns + more;
    const size_t n = rows ? (rows - 1) * step + columns : 0;
    q8_floats_job job = {.rows = rows, .columns = columns, .acc_step = step, .y_step = step,
                         .low = limit[0], .high = limit[1]};
    float *scale = float_row("scale", columns), *bias = float_row("bias", columns);
    float *residual = float_row("residual", n);
    float *want = float_row("want", n), *got = float_row("y", n);
    float want_range[2] = {-1, 1}, got_range[2] = {-1, 1};
    check_fill_multipliers(scale, columns);
    check_fill_floats(bias, columns, 10);
    check_fill_floats(residual, n, 10);
    float *scales = float_row("scales", n); /* what accumulators of all rows are drawn for */
    for (size_t i = 0; i < n; i++)
        scales[i] = i % step < columns ? scale[i % step] : 1.0f;
    job.acc = draw_accumulators(n, scales);
    job.scale = scale;
    job.bias = check_one_in(2) ? bias : NULL;
    job.residual = check_one_in(2) ? residual : NULL;
    check_case("%zu x %zu step=%zu bias=%d residual=%d low=%g high=%g", rows, columns, step,
               job.bias != NULL, job.residual != NULL, limit[0], limit[1]);
    memset(want, 0, n * sizeof *want);
    memset(got, 0, n * sizeof *got);
    job.y = want;
    job.range = want_range;
    q8_vec_scalar.accumulators_to_f32(&job);
    job.y = got;
    job.range = check_one_in(4) ? NULL : got_range;
    CHECK_CALL(vec->accumulators_to_f32(&job));
    check_f32(want, got, n, n);
    if (job.range && (want_range[0] != got_range[0] || want_range[1] != got_range[1]))
        check_fail("range %a..%a and not %a..%a", got_range[0], got_range[1], want_range[0],
                   want_range[1]);
}

/* ---- codes to codes ---- */

static void check_table(const q8_vec_table *vec, size_t n)
{
    bool in_place = check_one_in(2);
    const size_t rows = check_one_in(2) ? 1 : check_below(6), step = n + check_below(9);
    const size_t count = rows ? (rows - 1) * step + n : 0;
    check_case("rows=%zu n=%zu step=%zu%s", rows, n, step, in_place ? " in place" : "");
    uint8_t *x = draw_codes("x", count);
    uint8_t *table = check_buffer("table", 256, 1);
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)check_random();
    uint8_t *want = check_buffer("want", count, 1), *y = check_buffer("y", count, 1);
    for (size_t i = 0; i < count && in_place; i++)
        want[i] = x[i];
    q8_vec_scalar.table(rows, n, x, want, step, table);
    uint8_t *got = in_place ? x : y;
    CHECK_CALL(vec->table(rows, n, x, got, step, table));
    check_u8(want, got, count, step ? step : 1);
}

static void check_interleave_3(const q8_vec_table *vec, size_t n)
{
    const size_t step = n + check_below(9);
    check_case("n=%zu step=%zu", n, step);
    uint8_t *x = draw_codes("x", n ? 2 * step + n : 0);
    uint8_t *want = check_buffer("want", 3 * n, 1), *got = check_buffer("y", 3 * n, 1);
    q8_vec_scalar.interleave_3(n, x, step, want);
    CHECK_CALL(vec->interleave_3(n, x, step, got));
    check_u8(want, got, 3 * n, 3);
}

typedef void (*binary_fn)(size_t, const uint8_t *, const uint8_t *, int, uint8_t *,
                          const q8_binary_params *);

static float draw_binary_multiplier(void)
{
    static const float exact[] = {1.0f, 0.5f, 0.25f, 1.0f / 64, 1.0f / 256, -0.5f, 1e30f};
    return check_one_in(2) ? exact[check_below(sizeof exact / sizeof *exact)]
                           : (float)(exp2(check_uniform(-10, 2)) * (check_one_in(4) ? -1 : 1));
}

static void check_binary(binary_fn kernel, binary_fn reference, size_t n)
{
    check_output out = check_draw_output();
    q8_binary_params params = {check_draw_zero_point(), check_draw_zero_point(),
                               draw_binary_multiplier(), draw_binary_multiplier(),
                               out.zero_point, out.low, out.high};
    int b_is_scalar = check_one_in(3);
    uint32_t place = check_below(4); /* 0: y is a; 1: y is b */
    check_case("n=%zu zero_points=%d,%d,%d multipliers=%a,%a low=%d high=%d%s%s", n,
               params.a_zero_point, params.b_zero_point, params.zero_point, params.a_multiplier,
               params.b_multiplier, params.low, params.high, b_is_scalar ? " b is one code" : "",
               place == 0 ? " in a's place" : place == 1 ? " in b's place" : "");
    uint8_t *a = draw_codes("a", n), *b = draw_codes("b", b_is_scalar && n ? 1 : n);
    uint8_t *want = check_buffer("want", n, 1), *y = check_buffer("y", n, 1);
    reference(n, a, b, b_is_scalar, want, &params);
    uint8_t *got = place == 0 ? a : place == 1 && !b_is_scalar ? b : y;
    CHECK_CALL(kernel(n, a, b, b_is_scalar, got, &params));
    check_u8(want, got, n, n);
}

static void check_add(const q8_vec_table *vec, size_t n)
{
    check_binary(vec->add, q8_vec_scalar.add, n);
}

static void check_mul(const q8_vec_table *vec, size_t n)
{
    check_binary(vec->mul, q8_vec_scalar.mul, n);
}

static void check_lerp(const q8_vec_table *vec, size_t n)
{
    static const float exact[] = {0.0f, 0.5f, 0.25f, 1.0f, 0.75f};
    float fraction = check_one_in(2) ? exact[check_below(5)] : (float)check_uniform(0, 1);
    check_case("n=%zu fraction=%a", n, fraction);
    uint8_t *a = draw_codes("a", n), *b = draw_codes("b", n);
    uint8_t *want = check_buffer("want", n, 1), *got = check_buffer("y", n, 1);
    q8_vec_scalar.lerp(n, a, b, fraction, want);
    CHECK_CALL(vec->lerp(n, a, b, fraction, got));
    check_u8(want, got, n, n);
}

/* ---- reductions ---- */

static void check_min_max(const q8_vec_table *vec, size_t n)
{
    check_case("n=%zu", n);
    float *x = float_row("x", n);
    check_fill_floats(x, n, check_one_in(4) ? FLT_MAX : 100);
    for (size_t i = 0; i < n; i++)
        if (check_one_in(10))
            x[i] = check_one_in(4) ? (check_one_in(2) ? INFINITY : -INFINITY) : NAN;
    bool is_fresh = check_one_in(3);
    float low = is_fresh ? INFINITY : -(float)check_below(50);
    float high = is_fresh ? -INFINITY : (float)check_below(50);
    float *want = float_row("want", 2), *got = float_row("low and high", 2);
    want[0] = got[0] = low;
    want[1] = got[1] = high;
    q8_vec_scalar.min_max(n, x, &want[0], &want[1]);
    CHECK_CALL(vec->min_max(n, x, &got[0], &got[1]));
    if (want[0] != got[0] || want[1] != got[1]) /* as numbers: zeros of either sign are equal */
        check_fail("want %g..%g got %g..%g", want[0], want[1], got[0], got[1]);
}

static void check_bins(const q8_vec_table *vec, size_t n)
{
    const int32_t half = 1 << check_below(11);
    const double scale = ldexp(1, (int)check_below(300) - 150);
    check_case("n=%zu scale=%a half=%d", n, scale, half);
    float *x = float_row("x", n);
    check_fill_floats(x, n, check_one_in(3) ? FLT_MAX : (float)(1.5 * half / scale));
    for (size_t i = 0; i < n; i++)
        if (check_one_in(10))
            x[i] = check_one_in(4) ? (check_one_in(2) ? INFINITY : -INFINITY) : NAN;
        else if (check_one_in(5)) /* edges of bins, zeros of either sign */
            x[i] = (float)(((int)check_below(2 * (unsigned)half) - half) / scale) * -1.0f;
    int32_t *want = check_buffer("want", n * sizeof *want, sizeof *want);
    int32_t *got = check_buffer("bins", n * sizeof *got, sizeof *got);
    q8_vec_scalar.bins(n, x, scale, half, want);
    CHECK_CALL(vec->bins(n, x, scale, half, got));
    for (size_t i = 0; i < n; i++)
        if (want[i] != got[i]) {
            check_fail("x[%zu]=%a: want %d got %d", i, (double)x[i], want[i], got[i]);
            return;
        }
}

static int32_t call_sum(const q8_vec_table *vec, size_t n, const uint8_t *x)
{
    volatile int32_t total = 0;
    CHECK_CALL(total = vec->sum(n, x));
    return total;
}

static void check_sum(const q8_vec_table *vec, size_t n)
{
    check_case("n=%zu", n);
    uint8_t *x = draw_codes("x", n);
    int32_t want = q8_vec_scalar.sum(n, x), got = call_sum(vec, n, x);
    if (want != got)
        check_fail("want %d got %d", want, got);
}

static void check_long_sum(const q8_vec_table *vec)
{
    for (size_t n = 1000; n < 1000000; n = n * 3 + 1) {
        check_case("n=%zu all 255", n);
        uint8_t *x = check_buffer("x", n, 1);
        memset(x, 255, n);
        int32_t got = call_sum(vec, n, x);
        if (got != (int32_t)(255 * n))
            check_fail("want %zu got %d", 255 * n, got);
    }
}

/* ---- the reference itself, by hand ---- */

/* docs/numerics.md: half to even first, then the zero point, then the limits. */
static void check_known_answers(void)
{
    check_case("hand-computed");
    static const float x[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 300, -300, NAN, INFINITY, -0.0f};
    static const uint8_t quantized[] = {1, 3, 3, 1, 0, 255, 0, 0, 255, 1};
    uint8_t y[10];
    q8_vec_scalar.quantize(10, x, y, 1.0f, 1);
    check_u8(quantized, y, 10, 10);
    static const int32_t acc[] = {1, 3, 5, -1, -3, INT32_MAX, INT32_MIN, 0, 201, 203};
    static const float half[] = {.5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f};
    static const uint8_t requantized[] = {3, 5, 5, 3, 2, 100, 2, 3, 100, 100};
    q8_vec_scalar.requantize(10, acc, half, y, 3, 2, 100);
    check_u8(requantized, y, 10, 10);
}

void check_vec(const q8_kernels *kernels, const q8_kernels *below)
{
    const q8_vec_table *vec = &kernels->vec, *old = &below->vec;
    if (check_begin("vec.known_answers", vec->quantize == q8_vec_scalar.quantize &&
                                             old->quantize != vec->quantize))
        check_known_answers();
    if (check_begin("vec.quantize", vec->quantize != old->quantize))
        for_lengths(vec, check_quantize);
    if (check_begin("vec.quantize_scaled", vec->quantize_scaled != old->quantize_scaled))
        for_lengths(vec, check_quantize_scaled);
    if (check_begin("vec.dequantize", vec->dequantize != old->dequantize))
        for_lengths(vec, check_dequantize);
    if (check_begin("vec.requantize", vec->requantize != old->requantize))
        for_lengths(vec, check_requantize);
    if (check_begin("vec.accumulators_to_f32",
                    vec->accumulators_to_f32 != old->accumulators_to_f32))
        for_lengths(vec, check_accumulators_to_f32);
    if (check_begin("vec.table", vec->table != old->table))
        for_lengths(vec, check_table);
    if (check_begin("vec.interleave_3", vec->interleave_3 != old->interleave_3))
        for_lengths(vec, check_interleave_3);
    if (check_begin("vec.add", vec->add != old->add))
        for_lengths(vec, check_add);
    if (check_begin("vec.mul", vec->mul != old->mul))
        for_lengths(vec, check_mul);
    if (check_begin("vec.min_max", vec->min_max != old->min_max))
        for_lengths(vec, check_min_max);
    if (check_begin("vec.bins", vec->bins != old->bins))
        for_lengths(vec, check_bins);
    if (check_begin("vec.lerp", vec->lerp != old->lerp))
        for_lengths(vec, check_lerp);
    if (check_begin("vec.sum", vec->sum != old->sum)) {
        for_lengths(vec, check_sum);
        check_long_sum(vec);
    }
}
