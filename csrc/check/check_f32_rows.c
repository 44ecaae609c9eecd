/* check_f32_rows.c - the float kernels that walk a row, against the same formulas in double.
 *
 * Bounds are kernels.h's: 4 ULP for unary functions (1e-6 for ERF, SILU and both GELU), 16 ULP + 1e-7
 * for softmax, equality for binary operators but POW. Where a formula cancels (AFFINE, LERP,
 * LAYER_NORM ...) the ULP is that of the greatest intermediate value. */
#include <float.h>
#include <math.h>

#include "../q8.h"
#include "check.h"

enum { WIDEST_VECTOR = 16 };
#define UNIT 1.1920928955078125e-07 /* 2^-23: one ULP of 1 */
#define TINY 1e-36 /* where exp(-x) overflows, 1 / (1 + exp(-x)) may be 0 */

static float *float_row(const char *name, size_t n)
{
    return check_buffer(name, n * sizeof(float), sizeof(float));
}

static float *draw_floats(const char *name, size_t n, double magnitude)
{
    float *x = float_row(name, n);
    check_fill_floats(x, n, magnitude);
    return x;
}

static size_t draw_length(int i)
{
    return i <= 4 * WIDEST_VECTOR + 1 ? (size_t)i : 1 + check_below(1000);
}

/* ---- unary ---- */

typedef struct {
    q8_unary_op op;
    const char *name;
    double magnitude;      /* of ordinary arguments */
    bool takes_infinities; /* and NaN: where the formula has a limit there */
    double ulps, absolute; /* what is allowed */
} unary_row;

static const unary_row unary_rows[] = {
    {Q8_UNARY_CLAMP, "clamp", 10, true, 0, 0},
    {Q8_UNARY_SIGMOID, "sigmoid", 100, true, 4, TINY},
    {Q8_UNARY_TANH, "tanh", 12, true, 4, TINY},
    {Q8_UNARY_EXP, "exp", 110, true, 4, TINY},
    {Q8_UNARY_LOG, "log", 1000, true, 4, TINY},
    {Q8_UNARY_SQRT, "sqrt", 1e6, true, 4, 0},
    {Q8_UNARY_NEG, "neg", 10, true, 0, 0},
    {Q8_UNARY_ABS, "abs", 10, true, 0, 0},
    {Q8_UNARY_ERF, "erf", 5, true, 0, 1e-6},
    {Q8_UNARY_RECIPROCAL, "reciprocal", 10, true, 4, TINY},
    {Q8_UNARY_LEAKY_RELU, "leaky_relu", 10, false, 4, TINY},
    {Q8_UNARY_ELU, "elu", 20, true, 4, TINY},
    {Q8_UNARY_HARD_SIGMOID, "hard_sigmoid", 8, false, 4, 0},
    {Q8_UNARY_HARD_SWISH, "hard_swish", 8, false, 4, 0},
    {Q8_UNARY_SILU, "silu", 100, false, 4, 1e-6},
    {Q8_UNARY_GELU, "gelu", 10, false, 4, 1e-6},
    {Q8_UNARY_GELU_TANH, "gelu_tanh", 10, false, 4, 1e-6},
    {Q8_UNARY_SOFTPLUS, "softplus", 100, true, 4, TINY},
    {Q8_UNARY_FLOOR, "floor", 100, true, 0, 0},
    {Q8_UNARY_CEIL, "ceil", 100, true, 0, 0},
    {Q8_UNARY_ROUND, "round", 100, true, 0, 0},
    {Q8_UNARY_AFFINE, "affine", 10, false, 4, 0},
    {Q8_UNARY_SIN, "sin", 1000, true, 4, TINY},
    {Q8_UNARY_COS, "cos", 1000, true, 4, TINY},
};

static double clamp(double x, double low, double high)
{
    x = low > x ? low : x; /* NaN stays */
    return high < x ? high : x;
}

static double exact_unary(q8_unary_op op, double x, double alpha, double beta)
{
    switch (op) {
    case Q8_UNARY_CLAMP: return clamp(x, alpha, beta);
    case Q8_UNARY_SIGMOID: return 1 / (1 + exp(-x));
    case Q8_UNARY_TANH: return tanh(x);
    case Q8_UNARY_EXP: return exp(x);
    case Q8_UNARY_LOG: return log(x);
    case Q8_UNARY_SQRT: return sqrt(x);
    case Q8_UNARY_NEG: return -x;
    case Q8_UNARY_ABS: return fabs(x);
    case Q8_UNARY_ERF: return erf(x);
    case Q8_UNARY_RECIPROCAL: return 1 / x;
    case Q8_UNARY_LEAKY_RELU: return x < 0 ? alpha * x : x;
    case Q8_UNARY_ELU: return x < 0 ? alpha * expm1(x) : x;
    case Q8_UNARY_HARD_SIGMOID: return clamp(alpha * x + beta, 0, 1);
    case Q8_UNARY_HARD_SWISH: return x * clamp(x / 6 + 0.5, 0, 1);
    case Q8_UNARY_SILU: return x / (1 + exp(-x));
    case Q8_UNARY_GELU: return 0.5 * x * erfc(-x * M_SQRT1_2);
    case Q8_UNARY_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Q8_UNARY_SOFTPLUS: return fmax(x, 0) + log1p(exp(-fabs(x))) + (isnan(x) ? x : 0);
    case Q8_UNARY_FLOOR: return floor(x);
    case Q8_UNARY_CEIL: return ceil(x);
    case Q8_UNARY_ROUND: return rint(x);
    case Q8_UNARY_AFFINE: return alpha * x + beta;
    case Q8_UNARY_SIN: return sin(x);
    case Q8_UNARY_COS: return cos(x);
    }
    return NAN;
}

/* The greatest value on the way to the result, whose ULP counts where the formula cancels. */
static double greatest_intermediate(q8_unary_op op, double exact, double x, double alpha,
                                    double beta)
{
    switch (op) {
    case Q8_UNARY_HARD_SIGMOID:
    case Q8_UNARY_AFFINE: return fabs(alpha * x) + fabs(beta);
    case Q8_UNARY_HARD_SWISH: return fabs(x) * (fabs(x) / 6 + 0.5);
    default: return fabs(exact);
    }
}

static void fill_arguments(const unary_row *row, float *x, size_t n)
{
    static const float odd[] = {0.0f,  -0.0f, 1.0f,   -1.0f,  0.5f,  1.5f,   2.5f, -0.5f,
                                1e-7f, -1e-7f, 88.7f, -88.7f, 1e-40f, 3.0f, -3.0f, 6.0f};
    static const float without_number[] = {INFINITY, -INFINITY, NAN, 1e30f, -1e30f};
    check_fill_floats(x, n, row->magnitude);
    for (size_t i = 0; i < n; i++) {
        if (check_one_in(8))
            x[i] = odd[check_below(sizeof odd / sizeof *odd)];
        if (row->takes_infinities && check_one_in(16))
            x[i] = without_number[check_below(5)];
    }
}

static void compare_unary(const unary_row *row, const float *x, const float *y, size_t n,
                          float alpha, float beta)
{
    for (size_t i = 0; i < n; i++) {
        double exact = exact_unary(row->op, x[i], alpha, beta);
        double size = greatest_intermediate(row->op, exact, x[i], alpha, beta);
        double allowed = isfinite(size) ? row->ulps * UNIT * size + row->absolute : 0;
        if (fabs(exact) > FLT_MAX) /* overflow, where a kernel may give up a little earlier */
            check_close(exact > 0 ? INFINITY : -INFINITY, y[i], 0, i);
        else
            check_close(exact, y[i], allowed, i);
    }
}

static void check_unary_row(const q8_f32_table *f32, const unary_row *row, size_t n)
{
    bool in_place = check_one_in(3);
    float alpha = (float)check_uniform(-1, 1), beta = (float)check_uniform(0, 2);
    if (row->op == Q8_UNARY_CLAMP && check_one_in(2))
        alpha = 0, beta = check_one_in(2) ? 6 : INFINITY;
    check_case("%s n=%zu alpha=%a beta=%a%s", row->name, n, alpha, beta,
               in_place ? " in place" : "");
    float *x = float_row("x", n), *got = float_row("y", n), *arguments = float_row("kept", n);
    fill_arguments(row, arguments, n);
    for (size_t i = 0; i < n; i++)
        x[i] = arguments[i];
    float *y = in_place ? x : got;
    CHECK_CALL(f32->unary(row->op, n, x, y, alpha, beta));
    compare_unary(row, arguments, y, n, alpha, beta);
}

static void check_unary(const q8_f32_table *f32)
{
    for (size_t r = 0; r < sizeof unary_rows / sizeof *unary_rows; r++)
        for (int i = 0; i < 100; i++)
            check_unary_row(f32, &unary_rows[r], draw_length(i));
}

/* ---- binary ---- */

static double exact_binary(q8_binary_op op, float a, float b)
{
    switch (op) {
    case Q8_ADD: return a + b; /* in float, as the kernel does */
    case Q8_SUB: return a - b;
    case Q8_MUL: return a * b;
    case Q8_DIV: return a / b;
    case Q8_MIN: return a < b ? a : b;
    case Q8_MAX: return a > b ? a : b;
    case Q8_POW: return powf(a, b);
    }
    return NAN;
}

static void check_binary_case(const q8_f32_table *f32, q8_binary_op op, size_t n)
{
    size_t a_step = check_below(4) ? 1 : 0, b_step = check_below(4) ? 1 : 0;
    uint32_t place = check_below(4); /* 0: y is a; 1: y is b */
    check_case("op=%d n=%zu a_step=%zu b_step=%zu place=%u", (int)op, n, a_step, b_step, place);
    float *a = draw_floats("a", a_step || !n ? n : 1, 10);
    float *b = draw_floats("b", b_step || !n ? n : 1, 10);
    float *want = float_row("want", n), *y = float_row("y", n);
    for (size_t i = 0; i < n; i++)
        want[i] = (float)exact_binary(op, a[i * a_step], b[i * b_step]);
    float *got = place == 0 && a_step ? a : place == 1 && b_step ? b : y;
    CHECK_CALL(f32->binary(op, n, a, a_step, b, b_step, got));
    for (size_t i = 0; i < n; i++)
        check_close(want[i], got[i], op == Q8_POW ? 4 * UNIT * fabsf(want[i]) : 0, i);
}

static void check_binary(const q8_f32_table *f32)
{
    for (int op = Q8_ADD; op <= Q8_POW; op++)
        for (int i = 0; i < 150; i++)
            check_binary_case(f32, (q8_binary_op)op, draw_length(i));
}

/* ---- rows that depend on all their values ---- */

static void fill_logits(float *x, size_t n)
{
    check_fill_floats(x, n, check_one_in(3) ? 90 : 10);
    for (size_t i = 1; i < n; i++) /* masks, as attention writes them */
        if (check_one_in(20))
            x[i] = check_one_in(2) ? -INFINITY : -FLT_MAX;
}

static void check_softmax_case(const q8_f32_table *f32, size_t n, int is_log)
{
    bool in_place = check_one_in(3);
    check_case("n=%zu log=%d%s", n, is_log, in_place ? " in place" : "");
    float *x = float_row("x", n), *other = float_row("y", n), *kept = float_row("kept", n);
    fill_logits(kept, n);
    double greatest = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = kept[i];
        greatest = fmax(greatest, kept[i]);
    }
    for (size_t i = 0; i < n; i++)
        sum += exp(kept[i] - greatest);
    float *y = in_place ? x : other;
    CHECK_CALL(f32->softmax(n, x, y, is_log));
    for (size_t i = 0; i < n; i++) {
        double shifted = kept[i] - greatest;
        double exact = is_log ? shifted - log(sum) : exp(shifted) / sum;
        check_close(exact, y[i], isfinite(exact) ? 16 * UNIT * fabs(exact) + 1e-7 : 0, i);
    }
}

static void check_softmax(const q8_f32_table *f32)
{
    for (int i = 1; i < 200; i++) {
        check_softmax_case(f32, draw_length(i), 0);
        check_softmax_case(f32, draw_length(i), 1);
    }
}

/* The codes of a row of attention, within what kernels.h allows before rounding. */
static void check_softmax_codes_case(const q8_f32_table *f32, size_t n)
{
    const bool has_mask = check_one_in(2);
    const int32_t zero_point = check_one_in(3) ? (int32_t)check_below(256) : 0;
    const float scale = 1.0f / (float)(1 + check_below(2000));
    check_case("n=%zu mask=%d zero_point=%d scale=%g", n, has_mask, (int)zero_point, scale);
    int32_t *acc = check_buffer("acc", n * sizeof *acc, sizeof *acc);
    float *values = float_row("values", n), *mask = draw_floats("mask", n, 3);
    uint8_t *y = check_buffer("y", n, 1);
    double greatest = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) {
        acc[i] = (int32_t)check_below(60000) - 30000;
        if (check_one_in(20))
            mask[i] = check_one_in(2) ? -INFINITY : -10000;
    }
    mask[check_below((uint32_t)n)] = 0.5f;
    for (size_t i = 0; i < n; i++)
        greatest = fmax(greatest, acc[i] * 1e-4 + (has_mask ? mask[i] : 0));
    for (size_t i = 0; i < n; i++)
        sum += exp(acc[i] * 1e-4 + (has_mask ? mask[i] : 0) - greatest);
    int32_t total = 0, codes = 0;
    CHECK_CALL(total = f32->softmax_codes(n, acc, 1e-4f, has_mask ? mask : NULL, values, scale,
                                          zero_point, y));
    for (size_t i = 0; i < n; i++) {
        double exact = exp(acc[i] * 1e-4 + (has_mask ? mask[i] : 0) - greatest) / sum / scale;
        exact = fmin(exact + zero_point, 255);
        check_close(exact, y[i], 0.5 + 1e-4 * (1 + exact), i);
        codes += y[i];
    }
    check_close(codes, (float)total, 0, n);
}

static void check_softmax_codes(const q8_f32_table *f32)
{
    for (int i = 1; i < 200; i++)
        check_softmax_codes_case(f32, draw_length(i));
}

/* Allowed: 40 ULP of what the terms would be if the mean were 0. */
static void compare_layer_norm(const float *x, const float *scale, const float *bias,
                               const float *y, size_t n, float epsilon)
{
    double sum = 0, squares = 0, greatest = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        greatest = fmax(greatest, fabsf(x[i]));
    }
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    double factor = 1 / sqrt(squares / (double)n + epsilon);
    for (size_t i = 0; i < n; i++) {
        double offset = bias ? bias[i] : 0;
        double exact = (x[i] - mean) * factor * scale[i] + offset;
        check_close(exact, y[i],
                    40 * UNIT * (greatest * factor * fabsf(scale[i]) + fabs(offset)), i);
    }
}

static void check_layer_norm_case(const q8_f32_table *f32, size_t n)
{
    bool has_bias = check_one_in(2);
    float epsilon = check_one_in(2) ? 1e-5f : 1e-3f;
    check_case("n=%zu bias=%d epsilon=%g", n, has_bias, epsilon);
    float *x = draw_floats("x", n, 4), *y = float_row("y", n);
    float *scale = draw_floats("scale", n, 2), *bias = draw_floats("bias", n, 2);
    float offset = check_one_in(3) ? (float)check_uniform(-30, 30) : 0;
    for (size_t i = 0; i < n; i++)
        x[i] += offset;
    const float *given = has_bias ? bias : NULL;
    CHECK_CALL(f32->layer_norm(n, x, scale, given, y, epsilon));
    compare_layer_norm(x, scale, given, y, n, epsilon);
}

static void check_layer_norm(const q8_f32_table *f32)
{
    for (int i = 1; i < 200; i++)
        check_layer_norm_case(f32, draw_length(i));
}

static void check_lerp_case(const q8_f32_table *f32, size_t n, float fraction)
{
    check_case("n=%zu fraction=%a", n, fraction);
    float *a = draw_floats("a", n, 300), *b = draw_floats("b", n, 300), *y = float_row("y", n);
    CHECK_CALL(f32->lerp(n, a, b, fraction, y));
    for (size_t i = 0; i < n; i++)
        check_close(a[i] + ((double)b[i] - a[i]) * fraction, y[i],
                    4 * UNIT * ((double)fabsf(a[i]) + fabsf(b[i])), i);
}

static void check_lerp(const q8_f32_table *f32)
{
    for (int i = 0; i < 150; i++)
        check_lerp_case(f32, draw_length(i),
                        i % 3 ? (float)check_uniform(0, 1) : (float)check_below(2));
}

static float call_sum(const q8_f32_table *f32, size_t n, const float *x)
{
    volatile float total = 0;
    CHECK_CALL(total = f32->sum(n, x));
    return total;
}

static void check_sum(const q8_f32_table *f32)
{
    for (int length = 0; length < 200; length++) {
        size_t n = draw_length(length);
        check_case("n=%zu", n);
        float *x = draw_floats("x", n, 100);
        double exact = 0, absolute = 0;
        for (size_t i = 0; i < n; i++) {
            exact += x[i];
            absolute += fabsf(x[i]);
        }
        check_close(exact, call_sum(f32, n, x), (double)n * UNIT * absolute, 0);
    }
}

/* ---- digits ---- */

static void check_digits_case(const q8_f32_table *f32, size_t n)
{
    const double size = check_one_in(2) ? 1 : 300;
    check_case("n=%zu size=%g", n, size);
    float *x = draw_floats("x", n, size);
    const float factor = (float)(127 / size);
    for (size_t i = 0; i < n; i++)
        if (check_one_in(8))
            x[i] = (float)check_between(-300, 300) / (2 * factor); /* halfway, or beyond */
    uint8_t *high = check_buffer("high", n, 1), *low = check_buffer("low", n, 1);
    CHECK_CALL(f32->digits(n, x, factor, high, low));
    for (size_t i = 0; i < n; i++) {
        const double exact = clamp((double)(x[i] * factor), -127, 127);
        check_close(exact, (float)(high[i] - 128 + (low[i] - 128) / 256.0), 1.0 / 256, i);
    }
}

static void check_digits(const q8_f32_table *f32)
{
    for (int i = 0; i < 200; i++)
        check_digits_case(f32, draw_length(i));
}

void check_f32_rows(const q8_kernels *kernels, const q8_kernels *below)
{
    const q8_f32_table *f32 = &kernels->f32, *old = &below->f32;
    if (check_begin("f32.unary", f32->unary != old->unary))
        check_unary(f32);
    if (check_begin("f32.binary", f32->binary != old->binary))
        check_binary(f32);
    if (check_begin("f32.softmax", f32->softmax != old->softmax))
        check_softmax(f32);
    if (check_begin("f32.softmax_codes", f32->softmax_codes != old->softmax_codes))
        check_softmax_codes(f32);
    if (check_begin("f32.layer_norm", f32->layer_norm != old->layer_norm))
        check_layer_norm(f32);
    if (check_begin("f32.lerp", f32->lerp != old->lerp))
        check_lerp(f32);
    if (check_begin("f32.sum", f32->sum != old->sum))
        check_sum(f32);
    if (check_begin("f32.digits", f32->digits != old->digits))
        check_digits(f32);
}
