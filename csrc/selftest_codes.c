/* selftest_codes.c - selftest of the kernels of codes and integers: byte for byte. */
#include <math.h>
#include <string.h>

#include "selftest.h"

typedef q8_selftest_session session;

static size_t below(session *s, size_t limit)
{
    return q8_selftest_random(s) % limit;
}

static void fill_integers(session *s, int32_t *values, size_t n, int bits)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (int32_t)q8_selftest_random(s) >> (32 - bits);
}

/* Multipliers as quantized models have them, down to almost none. */
static void fill_multipliers(session *s, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = ldexpf(1.0f + (float)below(s, 1 << 20) / (1 << 20), -1 - (int)below(s, 16));
}

/* ---- gemm ---- */

/* acc[i][j] by definition, then stored as the job wants it. */
static void reference_tile(const session *s, const q8_gemm_job *job, const int8_t *w,
                           const int32_t *bias, size_t k, void *out)
{
    for (size_t i = 0; i < job->m; i++)
        for (size_t j = 0; j < job->n; j++) {
            int32_t acc = bias[j];
            for (size_t tap = 0; tap < job->taps; tap++)
                for (size_t p = 0; p < k; p++)
                    acc += job->a[tap * job->a_step + i][p] * w[(j * job->taps + tap) * k + p];
            size_t at = i * job->c_step + j;
            if (job->multiplier)
                s->reference->vec.requantize(1, &acc, &job->multiplier[j], (uint8_t *)out + at,
                                             job->zero_point, job->low, job->high);
            else
                ((int32_t *)out)[at] = acc;
        }
}

static void check_gemm_case(session *s, size_t m, size_t n, size_t taps, size_t k,
                            bool stores_codes)
{
    const q8_gemm_table *gemm = s->tested->gemm;
    q8_selftest_space *space = s->space;
    size_t padded = q8_padded_k(gemm, k);
    int32_t bias[256], kernel_bias[256], sums[256] = {0};
    float multiplier[256];
    q8_selftest_fill_codes(s, space->a, m * taps * padded);
    q8_selftest_fill_codes(s, space->b, n * taps * k);
    fill_integers(s, bias, gemm->nr, 16);
    fill_multipliers(s, multiplier, gemm->nr);
    const int8_t *w = (const int8_t *)space->b;
    const q8_panel_weights weights = {.n = n, .taps = taps, .k = k, .w = w,
                                      .column_step = taps * k, .tap_step = k, .k_step = 1};
    uint16_t places[Q8_SELFTEST_PLACES];
    const bool has_places = below(s, 2) && q8_count_steps(gemm, &weights);
    if (has_places)
        q8_pack_places(gemm, &weights, places, space->panel, sums);
    else
        q8_pack_panel(gemm, &weights, space->panel, sums);
    for (size_t j = 0; j < gemm->nr; j++)
        kernel_bias[j] = bias[j] + (gemm->flips_a ? 128 * sums[j] : 0);
    for (size_t i = 0; i < m * taps; i++)
        space->pointers[i] = space->a + i * padded;
    q8_gemm_job job = {.m = m, .n = n, .taps = taps, .k = padded, .a_step = m,
                       .a = (const uint8_t *const *)(const void *)space->pointers,
                       .b = space->panel, .places = has_places ? places : NULL,
                       .bias = kernel_bias,
                       .multiplier = stores_codes ? multiplier : NULL,
                       .is_near = below(s, 2), .zero_point = 7, .low = 3, .high = 250,
                       .c = space->got, .c_step = n + 5};
    q8_selftest_clear(s);
    gemm->tile(&job);
    reference_tile(s, &job, w, bias, k, space->want);
    q8_selftest_same(s, "gemm", n);
}

static void check_gemm(session *s)
{
    const q8_gemm_table *gemm = s->tested->gemm;
    for (size_t m = 1; m <= gemm->mr; m++)
        for (size_t n = 1; n <= gemm->nr; n += 1 + below(s, 7)) {
            check_gemm_case(s, m, n, 1, 1 + below(s, 70), true);
            check_gemm_case(s, m, n, 9, 1 + below(s, 12), false);
        }
    check_gemm_case(s, gemm->mr, gemm->nr, 1, 150, true);
    check_gemm_case(s, gemm->most_rows, gemm->nr, 1, 192, true);
}

/* ---- conv ---- */

/* Pointers to pixels of space->a, any alignment, some shared. */
static const uint8_t *const *random_pixels(session *s, size_t count, size_t channels)
{
    q8_selftest_fill_codes(s, s->space->a, 4096);
    for (size_t i = 0; i < count; i++)
        s->space->pointers[i] = s->space->a + below(s, 4096 - channels);
    return (const uint8_t *const *)(const void *)s->space->pointers;
}

static void check_depthwise(session *s, size_t pixels, size_t channels, size_t taps)
{
    q8_selftest_space *space = s->space;
    static const int bits = 18;
    int32_t *bias = (int32_t *)(void *)space->b;
    float *multiplier = (float *)(void *)space->c;
    q8_selftest_fill_codes(s, space->panel, taps * channels);
    fill_integers(s, bias, channels, bits);
    fill_multipliers(s, multiplier, channels);
    q8_depthwise_job job = {.pixels = pixels, .channels = channels, .taps = taps,
                            .x = random_pixels(s, pixels * taps, channels), .x_step = taps,
                            .w = (const int8_t *)space->panel, .bias = bias,
                            .multiplier = below(s, 2) ? multiplier : NULL, .zero_point = 9,
                            .low = 2, .high = 251, .y = space->got, .y_step = channels + 3};
    q8_selftest_clear(s);
    s->tested->conv.depthwise(&job);
    job.y = space->want;
    s->reference->conv.depthwise(&job);
    q8_selftest_same(s, "depthwise", channels);
}

static void check_depthwise_lines(session *s, size_t channels, size_t size, size_t stride)
{
    q8_selftest_space *space = s->space;
    int32_t *bias = (int32_t *)(void *)space->b;
    float *multiplier = (float *)(void *)space->c;
    q8_selftest_fill_codes(s, space->panel, size * size * channels);
    fill_integers(s, bias, channels, 18);
    for (size_t c = 0; c < channels; c++)
        multiplier[c] = 0.9f / (float)(1 + below(s, 1000));
    const size_t lines = 1 + below(s, 3), pixels = 1 + below(s, 4);
    const size_t width = 1 + below(s, channels < 400 ? 8 : 2);
    const size_t rows = size + (lines - 1) * stride;
    q8_depthwise_lines_job job = {
        .lines = lines, .pixels = pixels, .channels = channels, .kernel = size, .stride = stride,
        .x = random_pixels(s, rows, width * channels), .width = width, .x_step = channels,
        .first = -(int64_t)below(s, 4), .padding = space->a, .w = (const int8_t *)space->panel,
        .bias = bias, .multiplier = multiplier, .zero_point = 9, .low = 2, .high = 251,
        .y = space->got, .y_line = pixels * channels + 5, .y_step = channels};
    space->pointers[below(s, rows)] = NULL;
    q8_selftest_clear(s);
    s->tested->conv.depthwise_lines(&job);
    job.y = space->want;
    s->reference->conv.depthwise_lines(&job);
    q8_selftest_same(s, "depthwise_lines", channels);
}

static void check_pools(session *s, size_t pixels, size_t channels, size_t taps)
{
    float multiplier[16];
    for (size_t i = 0; i < pixels; i++)
        multiplier[i] = 1.3f / (float)(1 + below(s, taps));
    q8_pool_job job = {.pixels = pixels, .channels = channels, .taps = taps,
                       .x = random_pixels(s, pixels * taps, channels), .x_step = taps,
                       .sum_offset = (int32_t)(taps * below(s, 256)), .multiplier = multiplier,
                       .zero_point = (int32_t)below(s, 256), .low = 1, .high = 254,
                       .y = s->space->got, .y_step = channels + 1};
    q8_pool_job wanted = job;
    wanted.y = s->space->want;
    q8_selftest_clear(s);
    s->tested->conv.max_pool(&job);
    s->reference->conv.max_pool(&wanted);
    q8_selftest_same(s, "max_pool", channels);
    q8_selftest_clear(s);
    s->tested->conv.average_pool(&job);
    s->reference->conv.average_pool(&wanted);
    q8_selftest_same(s, "average_pool", channels);
}

static void check_conv(session *s)
{
    for (int i = 0; i < 3 * q8_selftest_length_count; i++) {
        size_t channels = q8_selftest_lengths[i / 3], pixels = 1 + below(s, 9);
        check_depthwise(s, pixels, channels, 9);
        check_depthwise(s, pixels, channels, 1 + below(s, 30));
        check_depthwise_lines(s, channels, 3 + 2 * below(s, 2), 1 + below(s, 2));
        check_pools(s, pixels, channels, 9);
        check_pools(s, pixels, channels, 1 + below(s, 49));
    }
}

/* ---- vec ---- */

static void check_conversions(session *s, size_t n)
{
    q8_selftest_space *space = s->space;
    const q8_vec_table *tested = &s->tested->vec, *reference = &s->reference->vec;
    float *values = (float *)(void *)space->a;
    float scale = 0.01f + (float)below(s, 1000) / 500.0f;
    int32_t zero_point = (int32_t)below(s, 256);
    q8_selftest_fill_floats(s, values, n, 600.0f * scale);
    q8_selftest_clear(s);
    tested->quantize(n, values, space->got, scale, zero_point);
    reference->quantize(n, values, space->want, scale, zero_point);
    q8_selftest_same(s, "quantize", n);
    q8_selftest_fill_codes(s, space->b, n);
    q8_selftest_clear(s);
    tested->dequantize(n, space->b, (float *)(void *)space->got, scale, zero_point);
    reference->dequantize(n, space->b, (float *)(void *)space->want, scale, zero_point);
    q8_selftest_same(s, "dequantize", n);
    float low[2] = {1.0f, 1.0f}, high[2] = {-1.0f, -1.0f};
    tested->min_max(n, values, &low[0], &high[0]);
    reference->min_max(n, values, &low[1], &high[1]);
    q8_selftest_clear(s);
    memcpy(space->got, (float[]){low[0] + 0.0f, high[0] + 0.0f}, 8);
    memcpy(space->want, (float[]){low[1] + 0.0f, high[1] + 0.0f}, 8);
    q8_selftest_same(s, "min_max", n);
}

static void check_accumulators(session *s, size_t n)
{
    q8_selftest_space *space = s->space;
    const q8_vec_table *tested = &s->tested->vec, *reference = &s->reference->vec;
    int32_t *acc = (int32_t *)(void *)space->a;
    float *multiplier = (float *)(void *)space->b, *bias = (float *)(void *)space->c;
    fill_integers(s, acc, n, 8 + (int)below(s, 25));
    fill_multipliers(s, multiplier, n);
    q8_selftest_fill_floats(s, bias, n, 100.0f);
    q8_selftest_clear(s);
    tested->requantize(n, acc, multiplier, space->got, 11, 0, 255);
    reference->requantize(n, acc, multiplier, space->want, 11, 0, 255);
    q8_selftest_same(s, "requantize", n);
    q8_floats_job job = {.rows = 1, .columns = n, .acc = acc, .scale = multiplier,
                         .bias = below(s, 2) ? bias : NULL, .low = -50.0f, .high = INFINITY,
                         .y = (float *)(void *)space->got};
    q8_selftest_clear(s);
    tested->accumulators_to_f32(&job);
    job.y = (float *)(void *)space->want;
    reference->accumulators_to_f32(&job);
    q8_selftest_same(s, "accumulators_to_f32", n);
}

static void check_pairs(session *s, size_t n)
{
    q8_selftest_space *space = s->space;
    const q8_vec_table *tested = &s->tested->vec, *reference = &s->reference->vec;
    int is_scalar = (int)below(s, 2);
    q8_binary_params params = {(int32_t)below(s, 256), (int32_t)below(s, 256), 0.75f,
                               (float)below(s, 100) / 40.0f - 1.0f, (int32_t)below(s, 256), 4, 252};
    q8_selftest_fill_codes(s, space->a, n);
    q8_selftest_fill_codes(s, space->b, n + 1);
    q8_selftest_clear(s);
    tested->add(n, space->a, space->b, is_scalar, space->got, &params);
    reference->add(n, space->a, space->b, is_scalar, space->want, &params);
    q8_selftest_same(s, "add", n);
    params.a_multiplier = 0.003f;
    q8_selftest_clear(s);
    tested->mul(n, space->a, space->b, is_scalar, space->got, &params);
    reference->mul(n, space->a, space->b, is_scalar, space->want, &params);
    q8_selftest_same(s, "mul", n);
    float fraction = (float)below(s, 9) / 8.0f;
    q8_selftest_clear(s);
    tested->lerp(n, space->a, space->b, fraction, space->got);
    reference->lerp(n, space->a, space->b, fraction, space->want);
    q8_selftest_same(s, "lerp", n);
}

static void check_table_and_sum(session *s, size_t n)
{
    q8_selftest_space *space = s->space;
    q8_selftest_fill_codes(s, space->a, n);
    q8_selftest_fill_codes(s, space->b, 256);
    q8_selftest_clear(s);
    s->tested->vec.table(1, n, space->a, space->got, 0, space->b);
    s->reference->vec.table(1, n, space->a, space->want, 0, space->b);
    q8_selftest_same(s, "table", n);
    q8_selftest_clear(s);
    s->tested->vec.interleave_3(n, space->a, n + 1, space->got);
    s->reference->vec.interleave_3(n, space->a, n + 1, space->want);
    q8_selftest_same(s, "interleave_3", n);
    int32_t got = s->tested->vec.sum(n, space->a), want = s->reference->vec.sum(n, space->a);
    q8_selftest_clear(s);
    memcpy(space->got, &got, sizeof got);
    memcpy(space->want, &want, sizeof want);
    q8_selftest_same(s, "sum", n);
}

void q8_selftest_codes(session *s)
{
    check_gemm(s);
    check_conv(s);
    for (int round = 0; round < 6; round++)
        for (int i = 0; i < q8_selftest_length_count; i++) {
            check_conversions(s, q8_selftest_lengths[i]);
            check_accumulators(s, q8_selftest_lengths[i]);
            check_pairs(s, q8_selftest_lengths[i]);
            check_table_and_sum(s, q8_selftest_lengths[i]);
        }
}
