/* check_gemm_lines.c - floats of a product in lines against what a tile of the same table and finish
 * make of its rows, byte for byte: both are proved elsewhere. */
#include <math.h>
#include <string.h>

#include "../plan.h"
#include "../q8.h"
#include "check.h"

enum { GROUP = 16 }; /* columns of a job */

/* The accumulators of one row. */
static void sums_of_row(const q8_gemm_table *table, const q8_gemm_lines_job *job, const void *panel,
                        const int32_t *bias, size_t row, int32_t *sums)
{
    const uint8_t *a = job->a + row * job->a_step;
    const q8_gemm_job tile = {.m = 1, .n = table->nr, .taps = 1, .k = job->k, .a = &a, .a_step = 1,
                              .b = panel, .bias = bias, .c = sums, .c_step = table->nr};
    table->tile(&tile);
}

/* y as it should be, what lies between lines untouched. */
static void fill_want(const q8_kernels *kernels, const q8_gemm_lines_job *job, const void *panel,
                      const int32_t *bias, size_t column, float *want)
{
    int32_t sums[256];
    for (size_t i = 0; i < job->rows; i++) {
        const size_t place = job->first + i;
        sums_of_row(kernels->gemm, job, panel, bias, i, sums);
        q8_finish_job finish = {.rows = 1, .columns = GROUP, .acc = sums + column,
                                .scale = job->scale, .bias = job->float_bias, .x_step = GROUP,
                                .y = want + place / job->line_rows * job->line_step +
                                     place % job->line_rows * GROUP,
                                .y_step = GROUP, .y_group = GROUP, .op = job->op, .low = job->low,
                                .high = job->high};
        kernels->f32.finish(&finish);
    }
}

static void draw_ends(q8_gemm_lines_job *job)
{
    float *scale = check_buffer("scale", GROUP * sizeof *scale, sizeof *scale);
    float *bias = check_buffer("float bias", GROUP * sizeof *bias, sizeof *bias);
    for (size_t i = 0; i < GROUP; i++)
        scale[i] = (float)check_uniform(0, 0.01);
    check_fill_floats(bias, GROUP, 3);
    job->scale = scale;
    job->float_bias = check_one_in(4) ? NULL : bias;
    job->op = check_one_in(2) ? Q8_UNARY_SILU : -1;
    const bool has_limits = job->op < 0 && check_one_in(2);
    job->low = has_limits ? 0 : -INFINITY;
    job->high = has_limits ? 6 : INFINITY;
}

static void check_case_of(const q8_kernels *kernels, size_t rows)
{
    const q8_gemm_table *table = kernels->gemm;
    const size_t k = table->kr * (1 + check_below(check_one_in(8) ? 60 : 12));
    q8_gemm_lines_job job = {.rows = rows, .k = k, .a_step = k + check_below(3),
                             .line_rows = 1 + check_below(40)};
    job.first = check_below((uint32_t)job.line_rows);
    job.line_step = (job.line_rows + check_below(3)) * GROUP;
    check_case("rows=%zu k=%zu line_rows=%zu first=%zu", rows, k, job.line_rows, job.first);
    const size_t a_bytes = (rows - 1) * job.a_step + k, panel_bytes = q8_panel_bytes(table, 1, k);
    uint8_t *a = check_buffer("a", a_bytes, 1);
    int8_t *panel = check_buffer("panel", panel_bytes, Q8_ALIGNMENT);
    int32_t *bias = check_buffer("bias", table->nr * sizeof *bias, sizeof *bias);
    check_fill_codes(a, a_bytes);
    check_fill_weights(panel, panel_bytes);
    check_fill_bias(bias, table->nr);
    const size_t column = check_below((uint32_t)(table->nr / GROUP)) * GROUP;
    job.a = a;
    job.b = panel + column * table->kr * (size_t)table->weight_bytes;
    job.ahead = check_one_in(2) ? 0 : 4096; /* off the buffer: fetched at most */
    job.bias = bias + column;
    draw_ends(&job);
    const size_t last = job.first + rows - 1;
    const size_t count = last / job.line_rows * job.line_step + (last % job.line_rows + 1) * GROUP;
    float *want = check_buffer("want", count * sizeof *want, sizeof *want);
    float *got = check_buffer("y", count * sizeof *got, sizeof *got);
    fill_want(kernels, &job, panel, bias, column, want);
    job.y = got;
    CHECK_CALL(table->lines(&job));
    check_f32(want, got, count, GROUP);
}

void check_gemm_lines(const q8_kernels *kernels, const q8_kernels *below)
{
    const bool is_new = kernels->gemm->lines && (!below->gemm || kernels->gemm != below->gemm);
    if (!check_begin("gemm.lines", is_new))
        return;
    for (int round = 0; round < 8; round++)
        for (size_t rows = 1; rows <= 70; rows++)
            check_case_of(kernels, rows);
}
