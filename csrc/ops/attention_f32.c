/* attention_f32.c - attention of floats: the same sweep as attention.c, nothing rounded. */
#include <math.h>
#include <string.h>

#include "attention.h"

typedef struct {
    q8_attention_shape shape;
    const float *no_bias; /* a panel's width of zeros */
} attention_state;

static void run_attention(const q8_step *step, const q8_run *run, int64_t part);

static size_t lay_out_scratch(q8_attention_shape *shape)
{
    const size_t rows = (size_t)shape->block_rows;
    size_t total = 0;
    shape->k_at = q8_reserve(&total, (size_t)shape->score_panels * shape->score_panel_bytes);
    shape->v_at = q8_reserve(&total, (size_t)shape->value_panels * shape->value_panel_bytes);
    shape->pointers_at = q8_reserve(&total, rows * sizeof(void *));
    shape->scores_at = q8_reserve(&total, rows * shape->score_row_bytes);
    return total;
}

int q8_attention_add_f32(q8_plan *plan, const q8_attention *a)
{
    const q8_f32_table *f32 = &plan->kernels->f32;
    if (!q8_plan_result(plan, a->y.tensor, Q8_F32, -1, "attention") ||
        q8_attention_check(plan, a, Q8_F32) != Q8_OK)
        return plan->status;
    attention_state state = {.shape = {.a = *a}};
    q8_attention_shape *shape = &state.shape;
    const q8_tile_shape tile = {f32->gemm_mr, f32->gemm_nr, 1, 16, false, f32->gemm_mr};
    q8_attention_cut(shape, tile, sizeof(float));
    shape->score_panel_bytes = q8_panel_bytes_f32(f32->gemm_nr, (size_t)a->depth);
    shape->value_panel_bytes = q8_panel_bytes_f32(f32->gemm_nr, (size_t)a->columns);
    state.no_bias = q8_plan_allocate(plan, (int64_t)f32->gemm_nr, sizeof(float));
    const size_t scratch_bytes = lay_out_scratch(shape);
    q8_step *step =
        q8_attention_append(plan, shape, sizeof state, run_attention, f32->gemm_name);
    if (!step)
        return plan->status;
    *(attention_state *)step->state = state;
    step->scratch_bytes = scratch_bytes;
    return Q8_OK;
}

static const float *floats_of(const q8_run *run, const q8_heads *heads, int64_t at)
{
    return (const float *)q8_read(run, q8_tensor_of(run, heads->tensor)) + at;
}

static void pack(const q8_attention_shape *shape, const q8_run *run, const q8_attention_part *part)
{
    const q8_attention *a = &shape->a;
    const int64_t nr = (int64_t)shape->nr;
    const float *k = floats_of(run, &a->k, part->k), *v = floats_of(run, &a->v, part->v);
    for (int64_t panel = 0; panel < shape->score_panels; panel++) {
        uint8_t *to = run->scratch + shape->k_at + (size_t)panel * shape->score_panel_bytes;
        q8_pack_panel_f32((size_t)nr, (size_t)q8_least(nr, a->columns - panel * nr),
                          (size_t)a->depth, k + panel * nr * a->k.row_stride, 1,
                          (size_t)a->k.row_stride, a->scale, (float *)(void *)to);
    }
    for (int64_t panel = 0; panel < shape->value_panels; panel++) {
        uint8_t *to = run->scratch + shape->v_at + (size_t)panel * shape->value_panel_bytes;
        q8_pack_panel_f32((size_t)nr, (size_t)q8_least(nr, a->value_depth - panel * nr),
                          (size_t)a->columns, v + panel * nr, (size_t)a->v.row_stride, 1, 1.0f,
                          (float *)(void *)to);
    }
}

/* Rows times `panels` panels of `width` columns in all. */
static void multiply(const attention_state *state, const q8_run *run, const q8_product *product,
                     const q8_block *block, const uint8_t *panels, size_t panel_bytes,
                     int64_t width, float *y, size_t y_step)
{
    const int64_t nr = (int64_t)state->shape.nr;
    for (int64_t first = 0; first < width; first += nr, panels += panel_bytes) {
        const q8_panel_f32 job = {
            .kernels = run->plan->kernels,
            .product = product,
            .b = (const float *)(const void *)panels,
            .bias = state->no_bias,
            .columns = (size_t)q8_least(nr, width - first),
            .low = -INFINITY,
            .high = INFINITY,
            .y = y + first,
            .y_step = y_step,
        };
        q8_panel_f32_run(&job, block);
    }
}

/* Scores become probabilities where they stand. */
static q8_block run_softmax(const q8_attention_shape *shape, const q8_run *run,
                            const q8_attention_part *part, int64_t first, int64_t rows)
{
    const q8_f32_table *f32 = &run->plan->kernels->f32;
    const size_t columns = (size_t)shape->a.columns;
    const void **pointers = (const void **)(void *)(run->scratch + shape->pointers_at);
    uint8_t *at = run->scratch + shape->scores_at;
    for (int64_t i = 0; i < rows; i++, at += shape->score_row_bytes) {
        float *row = (float *)(void *)at;
        const float *mask = q8_attention_mask_row(shape, run, part, first + i);
        if (mask)
            f32->binary(Q8_ADD, columns, row, 1, mask, 1, row);
        f32->softmax(columns, row, row, 0);
        if (shape->a.zero_hidden && isnan(row[0])) /* one NaN among the scores: NaN throughout */
            memset(row, 0, columns * sizeof *row);
        pointers[i] = row;
    }
    return (q8_block){pointers, (size_t)rows, first, (size_t)rows};
}

static void run_attention(const q8_step *step, const q8_run *run, int64_t number)
{
    const attention_state *state = step->state;
    const q8_attention_shape *shape = &state->shape;
    const q8_attention *a = &shape->a;
    const q8_attention_part part = q8_attention_part_of(shape, run->threads, number);
    float *y = (float *)q8_write(run, q8_tensor_of(run, a->y.tensor)) + part.y;
    pack(shape, run, &part);
    for (int64_t first = 0; first < part.rows; first += shape->block_rows) {
        const int64_t rows = q8_least(shape->block_rows, part.rows - first);
        const q8_block scored = q8_attention_rows(shape, run, &part, first, rows, sizeof(float));
        multiply(state, run, &shape->scores, &scored, run->scratch + shape->k_at,
                 shape->score_panel_bytes, a->columns,
                 (float *)(void *)(run->scratch + shape->scores_at),
                 shape->score_row_bytes / sizeof(float));
        const q8_block summed = run_softmax(shape, run, &part, first, rows);
        multiply(state, run, &shape->values, &summed, run->scratch + shape->v_at,
                 shape->value_panel_bytes, a->value_depth, y + first * a->y.row_stride,
                 (size_t)a->y.row_stride);
    }
}
