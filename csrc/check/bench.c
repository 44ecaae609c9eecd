/* bench.c - how fast the kernels are: one row per kernel, one column per instruction set.
 *
 * Data stays in the nearest cache: this measures kernels, not memory. Best of several tries, in
 * this thread's own time, so that a busy machine disturbs less. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../plan.h"
#include "check.h"

enum { DEPTH = 512, CHANNELS = 256, TAPS = 9, PIXELS = 16, LENGTH = 4096, MOST_ROWS = 64 };
enum { TRIES = 7, BYTES = 1 << 19, CODE_ROWS = BYTES / DEPTH };
#define SHORTEST_TRY 0.004 /* seconds */

/* Operands for every kernel: codes or floats, as large as the largest of them needs. */
static struct {
    _Alignas(64) uint8_t x[BYTES], b[BYTES], y[BYTES];
    _Alignas(64) float panel[DEPTH * 64];
    float values[LENGTH], other[LENGTH], results[BYTES / sizeof(float)];
    int32_t acc[LENGTH];
    float multiplier[LENGTH];
    const void *rows[PIXELS * TAPS + MOST_ROWS];
    const void *code_rows[TAPS * CODE_ROWS];
} data;

static void fill_data(void)
{
    check_seed(1, "bench");
    for (size_t i = 0; i < BYTES; i++) {
        data.x[i] = (uint8_t)check_random();
        data.b[i] = (uint8_t)check_random();
    }
    for (size_t i = 0; i < sizeof data.panel / sizeof *data.panel; i++)
        data.panel[i] = (float)check_uniform(-1, 1);
    for (size_t i = 0; i < LENGTH; i++) {
        data.values[i] = (float)check_uniform(-4, 4);
        data.other[i] = (float)check_uniform(0.5, 4);
        data.acc[i] = check_between(-20000, 20000);
        data.multiplier[i] = (float)check_uniform(0.001, 0.01);
    }
    for (size_t i = 0; i < sizeof data.rows / sizeof *data.rows; i++)
        data.rows[i] = data.x + i % MOST_ROWS * DEPTH * sizeof(float);
    for (size_t i = 0; i < sizeof data.code_rows / sizeof *data.code_rows; i++)
        data.code_rows[i] = data.x + i % CODE_ROWS * DEPTH;
    for (size_t i = 0; i < MOST_ROWS * DEPTH; i++)
        ((float *)(void *)data.x)[i] = (float)check_uniform(-1, 1);
}

/* ---- one function per row; each returns the operations it did ---- */

static double gemm(const q8_kernels *kernels, size_t taps, size_t k)
{
    const q8_gemm_table *table = kernels->gemm;
    q8_gemm_job job = {.m = table->most_rows, .n = table->nr, .taps = taps, .k = k,
                       .a = (const uint8_t *const *)data.code_rows, .a_step = table->most_rows,
                       .b = data.b,
                       .bias = data.acc, .multiplier = data.multiplier, .is_near = 1, .high = 255,
                       .c = data.y, .c_step = table->nr};
    table->tile(&job);
    return 2.0 * (double)(table->most_rows * table->nr * taps * k);
}

static double gemm_deep(const q8_kernels *kernels)
{
    return gemm(kernels, 1, DEPTH);
}

static double gemm_shallow(const q8_kernels *kernels)
{
    return gemm(kernels, 1, 40);
}

static double gemm_taps(const q8_kernels *kernels)
{
    return gemm(kernels, TAPS, 40);
}

static double depthwise(const q8_kernels *kernels)
{
    q8_depthwise_job job = {.pixels = PIXELS, .channels = CHANNELS, .taps = TAPS,
                            .x = (const uint8_t *const *)data.rows, .x_step = 3,
                            .w = (const int8_t *)data.b, .bias = data.acc,
                            .multiplier = data.multiplier, .high = 255, .y = data.y,
                            .y_step = CHANNELS};
    kernels->conv.depthwise(&job);
    return 2.0 * PIXELS * CHANNELS * TAPS;
}

static double depthwise_lines(const q8_kernels *kernels, size_t size, size_t stride)
{
    enum { LINES = 4 };
    q8_depthwise_lines_job job = {.lines = LINES, .pixels = PIXELS, .channels = CHANNELS,
                                  .kernel = size, .stride = stride,
                                  .x = (const uint8_t *const *)data.rows, .width = PIXELS * stride,
                                  .x_step = CHANNELS, .first = -1, .padding = data.y,
                                  .w = (const int8_t *)data.b, .bias = data.acc,
                                  .multiplier = data.multiplier, .is_small = 1, .high = 255,
                                  .y = data.y, .y_line = PIXELS * CHANNELS, .y_step = CHANNELS};
    kernels->conv.depthwise_lines(&job);
    return 2.0 * LINES * PIXELS * CHANNELS * (double)(size * size);
}

static double lines_3x3(const q8_kernels *kernels)
{
    return depthwise_lines(kernels, 3, 1);
}

static double lines_3x3_by_2(const q8_kernels *kernels)
{
    return depthwise_lines(kernels, 3, 2);
}

static double lines_5x5(const q8_kernels *kernels)
{
    return depthwise_lines(kernels, 5, 1);
}

static double lines_5x5_by_2(const q8_kernels *kernels)
{
    return depthwise_lines(kernels, 5, 2);
}

static q8_pool_job pool_job(void)
{
    return (q8_pool_job){.pixels = PIXELS, .channels = CHANNELS, .taps = TAPS,
                         .x = (const uint8_t *const *)data.rows, .x_step = 3,
                         .multiplier = data.multiplier, .high = 255, .y = data.y,
                         .y_step = CHANNELS};
}

static double max_pool(const q8_kernels *kernels)
{
    q8_pool_job job = pool_job();
    kernels->conv.max_pool(&job);
    return PIXELS * CHANNELS * TAPS;
}

static double average_pool(const q8_kernels *kernels)
{
    q8_pool_job job = pool_job();
    kernels->conv.average_pool(&job);
    return PIXELS * CHANNELS * TAPS;
}

static double quantize(const q8_kernels *kernels)
{
    kernels->vec.quantize(LENGTH, data.values, data.y, 0.03f, 128);
    return LENGTH;
}

static double dequantize(const q8_kernels *kernels)
{
    kernels->vec.dequantize(LENGTH, data.x, data.results, 0.03f, 128);
    return LENGTH;
}

static double requantize(const q8_kernels *kernels)
{
    kernels->vec.requantize(LENGTH, data.acc, data.multiplier, data.y, 128, 0, 255);
    return LENGTH;
}

static double accumulators_to_f32(const q8_kernels *kernels)
{
    const q8_floats_job job = {.rows = 1, .columns = LENGTH, .acc = data.acc,
                               .scale = data.multiplier, .bias = data.values,
                               .y = data.results, .low = 0, .high = 6};
    kernels->vec.accumulators_to_f32(&job);
    return LENGTH;
}

static double table(const q8_kernels *kernels)
{
    kernels->vec.table(1, LENGTH, data.x, data.y, 0, data.b);
    return LENGTH;
}

static const q8_binary_params binary_params = {100, 120, 0.5f, 0.3f, 128, 0, 255};

static double add(const q8_kernels *kernels)
{
    kernels->vec.add(LENGTH, data.x, data.b, 0, data.y, &binary_params);
    return LENGTH;
}

static double mul(const q8_kernels *kernels)
{
    kernels->vec.mul(LENGTH, data.x, data.b, 0, data.y, &binary_params);
    return LENGTH;
}

static double min_max(const q8_kernels *kernels)
{
    float low = 0, high = 0;
    kernels->vec.min_max(LENGTH, data.values, &low, &high);
    return LENGTH;
}

static double sum(const q8_kernels *kernels)
{
    kernels->vec.sum(LENGTH, data.x);
    return LENGTH;
}

static double lerp(const q8_kernels *kernels)
{
    kernels->vec.lerp(LENGTH, data.x, data.b, 0.3f, data.y);
    return LENGTH;
}

static double gemm_f32(const q8_kernels *kernels)
{
    const q8_f32_table *f32 = &kernels->f32;
    q8_gemm_f32_job job = {.m = f32->gemm_mr, .n = f32->gemm_nr, .taps = 1, .k = DEPTH,
                           .a = (const float *const *)data.rows, .a_step = f32->gemm_mr,
                           .b = data.panel, .bias = data.values, .high = 6,
                           .c = data.results, .c_step = f32->gemm_nr};
    f32->gemm_tile(&job);
    return 2.0 * (double)(f32->gemm_mr * f32->gemm_nr * DEPTH);
}

static double depthwise_f32(const q8_kernels *kernels)
{
    q8_conv_f32_job job = {.pixels = PIXELS, .channels = CHANNELS, .taps = TAPS,
                           .x = (const float *const *)data.rows, .x_step = 3, .w = data.values,
                           .bias = data.values, .high = 6, .y = data.results, .y_step = CHANNELS};
    kernels->f32.depthwise(&job);
    return 2.0 * PIXELS * CHANNELS * TAPS;
}

static double unary(const q8_kernels *kernels, q8_unary_op op)
{
    kernels->f32.unary(op, LENGTH, data.values, data.results, 0, 6);
    return LENGTH;
}

static double clamp_f32(const q8_kernels *kernels)
{
    return unary(kernels, Q8_UNARY_CLAMP);
}

static double exp_f32(const q8_kernels *kernels)
{
    return unary(kernels, Q8_UNARY_EXP);
}

static double sigmoid_f32(const q8_kernels *kernels)
{
    return unary(kernels, Q8_UNARY_SIGMOID);
}

static double gelu_f32(const q8_kernels *kernels)
{
    return unary(kernels, Q8_UNARY_GELU);
}

static double add_f32(const q8_kernels *kernels)
{
    kernels->f32.binary(Q8_ADD, LENGTH, data.values, 1, data.other, 1, data.results);
    return LENGTH;
}

static double softmax_f32(const q8_kernels *kernels)
{
    kernels->f32.softmax(LENGTH, data.values, data.results, 0);
    return LENGTH;
}

static double layer_norm_f32(const q8_kernels *kernels)
{
    kernels->f32.layer_norm(LENGTH, data.values, data.other, data.other, data.results, 1e-5f);
    return LENGTH;
}

static const struct {
    const char *name;
    double (*run)(const q8_kernels *kernels);
} rows[] = {
    {"gemm k=512", gemm_deep},
    {"gemm k=40", gemm_shallow},
    {"gemm 9 taps k=40", gemm_taps},
    {"depthwise 3x3", depthwise},
    {"lines 3x3", lines_3x3},
    {"lines 3x3/2", lines_3x3_by_2},
    {"lines 5x5", lines_5x5},
    {"lines 5x5/2", lines_5x5_by_2},
    {"max_pool 3x3", max_pool},
    {"average_pool 3x3", average_pool},
    {"quantize", quantize},
    {"dequantize", dequantize},
    {"requantize", requantize},
    {"accumulators_to_f32", accumulators_to_f32},
    {"table", table},
    {"add", add},
    {"mul", mul},
    {"min_max", min_max},
    {"sum", sum},
    {"lerp", lerp},
    {"f32 gemm k=512", gemm_f32},
    {"f32 depthwise 3x3", depthwise_f32},
    {"f32 clamp", clamp_f32},
    {"f32 exp", exp_f32},
    {"f32 sigmoid", sigmoid_f32},
    {"f32 gelu", gelu_f32},
    {"f32 add", add_f32},
    {"f32 softmax", softmax_f32},
    {"f32 layer_norm", layer_norm_f32},
};

/* ---- measuring ---- */

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double measure_gops(double (*run)(const q8_kernels *), const q8_kernels *kernels)
{
    long calls = 1;
    double best = 0;
    for (int attempt = 0; attempt < TRIES;) {
        double operations = 0, start = seconds();
        for (long i = 0; i < calls; i++)
            operations += run(kernels);
        double elapsed = seconds() - start;
        if (elapsed < SHORTEST_TRY) {
            calls *= 2;
            continue;
        }
        double gops = operations / elapsed * 1e-9;
        best = gops > best ? gops : best;
        attempt++;
    }
    return best;
}

/* One kernel on every set; gemm_gops receives the first row, for the shares of the peak. */
static void print_row(size_t row, double *gemm_gops)
{
    printf("%-20s", rows[row].name);
    double scalar = 0;
    for (int i = 0; i < q8_isa_count(); i++) {
        const q8_kernels *kernels = q8_kernels_at(i);
        if (!kernels)
            continue;
        double gops = measure_gops(rows[row].run, kernels);
        if (i == 0)
            scalar = gops;
        if (row == 0)
            gemm_gops[i] = gops;
        printf("%9.2f %5.1fx", gops, gops / scalar);
        fflush(stdout);
    }
    printf("\n");
}

static void print_peaks(const double *gemm_gops)
{
    printf("\nGEMM's share of the dot-product peak of one core (registers only):\n");
    for (int i = 0; i < q8_isa_count(); i++) {
        const q8_kernels *kernels = q8_kernels_at(i);
        double peak = kernels ? check_peak(kernels->name) : 0;
        if (peak > 0)
            printf("%-12s %9.1f of %9.1f GOP/s  %3.0f %%  (%s)\n", kernels->name, gemm_gops[i],
                   peak, 100 * gemm_gops[i] / peak, kernels->gemm->name);
    }
}

void check_bench(void)
{
    enum { MOST_SETS = 16 };
    double gemm_gops[MOST_SETS] = {0};
    fill_data();
    printf("%s, one core; numbers from an emulator mean nothing\n"
           "1e9 operations/s (gemm, depthwise: 2 per multiply-add; pools: taps; else elements), "
           "ratio to scalar\n%-20s", q8_cpu_name(), "");
    for (int i = 0; i < q8_isa_count() && i < MOST_SETS; i++)
        if (q8_kernels_at(i))
            printf("%16s", q8_isa_name(i));
    printf("\n");
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        print_row(row, gemm_gops);
    print_peaks(gemm_gops);
}
