/* attention.c - attention of codes.
 *
 *     k, v -> panels;  then block by block:  q -> scores (int32) -> softmax, codes -> y
 *
 * k's codes are packed 128 lower. What is left of k's zero point is the same for a whole row of
 * scores, which the softmax does not see; what is left of v's is corrected with the sums of the
 * softmax's codes, which its kernel returns. */
#include <math.h>
#include <string.h>

#include "attention.h"

typedef struct {
    q8_attention_shape shape;
    q8_output output;
    size_t k_bias_at, v_bias_at; /* of every panel, behind one another */
    size_t zero_points_at, multipliers_at, values_at, codes_at, row_sums_at, tile_at, ones_at;
} attention_state;

/* ---- adding ---- */

/* Most products of two differences of codes that an int32 holds. */
#define MOST_DEPTH (INT32_MAX / (255 * 255))

static int check_numbers(q8_plan *plan, const q8_attention *a, const q8_output *output)
{
    const int32_t codes[] = {a->q_zero_point, a->k_zero_point, a->v_zero_point, a->p_zero_point};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (q8_plan_check_code(plan, codes[i], "attention"))
            return plan->status;
    if (a->depth > MOST_DEPTH || a->columns > MOST_DEPTH)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "attention: a sum of %lld products may overflow",
                            (long long)(a->depth > a->columns ? a->depth : a->columns));
    if (!(a->p_scale > 0) || !isfinite(a->p_scale))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "attention: the softmax's scale is no scale");
    if (output->dtype == Q8_S32)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "attention: y is neither u8 nor f32");
    return q8_output_check(plan, output, "attention");
}

static size_t lay_out_scratch(const q8_gemm_table *gemm, attention_state *state)
{
    q8_attention_shape *shape = &state->shape;
    const size_t rows = (size_t)shape->block_rows, nr = gemm->nr;
    const size_t score_panels = (size_t)shape->score_panels;
    const size_t value_panels = (size_t)shape->value_panels;
    size_t total = 0;
    shape->k_at = q8_reserve(&total, score_panels * shape->score_panel_bytes);
    shape->v_at = q8_reserve(&total, value_panels * shape->value_panel_bytes);
    state->k_bias_at = q8_reserve(&total, score_panels * nr * sizeof(int32_t));
    state->v_bias_at = q8_reserve(&total, value_panels * nr * sizeof(int32_t));
    state->zero_points_at = q8_reserve(&total, nr * sizeof(int32_t));
    state->multipliers_at = q8_reserve(&total, nr * sizeof(float));
    shape->pointers_at = q8_reserve(&total, rows * sizeof(void *));
    shape->rows_at = q8_reserve(&total, rows * shape->row_bytes);
    shape->scores_at = q8_reserve(&total, rows * shape->score_row_bytes);
    state->values_at = q8_reserve(&total, (size_t)shape->a.columns * sizeof(float));
    state->codes_at = q8_reserve(&total, rows * shape->values.k);
    state->row_sums_at = q8_reserve(&total, rows * sizeof(int32_t));
    state->tile_at = q8_reserve(&total, q8_tile_bytes(gemm));
    const size_t longest =
        shape->scores.k > shape->values.k ? shape->scores.k : shape->values.k;
    state->ones_at = q8_reserve(&total, longest);
    return total;
}

static void run_attention(const q8_step *step, const q8_run *run, int64_t part);

static int add_codes(q8_plan *plan, const q8_attention *a)
{
    const q8_gemm_table *gemm = plan->kernels->gemm;
    if (q8_attention_check(plan, a, Q8_U8) != Q8_OK)
        return plan->status;
    attention_state state = {
        .shape = {.a = *a},
        .output = {.dtype = plan->tensors[a->y.tensor].dtype,
                   .zero_point = a->y_zero_point,
                   .low = a->y_low,
                   .high = a->y_high,
                   .float_low = -INFINITY,
                   .float_high = INFINITY},
    };
    if (check_numbers(plan, a, &state.output) != Q8_OK)
        return plan->status;
    q8_attention_cut(&state.shape, q8_tile_shape_of(gemm), 1);
    state.shape.score_panel_bytes = q8_panel_bytes(gemm, 1, (size_t)a->depth);
    state.shape.value_panel_bytes = q8_panel_bytes(gemm, 1, (size_t)a->columns);
    const size_t scratch_bytes = lay_out_scratch(gemm, &state);
    q8_step *step =
        q8_attention_append(plan, &state.shape, sizeof state, run_attention, gemm->name);
    if (!step)
        return plan->status;
    *(attention_state *)step->state = state;
    step->scratch_bytes = scratch_bytes;
    return Q8_OK;
}

int q8_plan_add_attention(q8_plan *plan, const q8_attention *attention)
{
    if (!attention)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "attention: no descriptor");
    const q8_tensor *q = q8_plan_operand(plan, attention->q.tensor, -1, -1, "attention");
    if (!q)
        return plan->status;
    return q->dtype == Q8_F32 ? q8_attention_add_f32(plan, attention)
                              : add_codes(plan, attention);
}

/* ---- running ---- */

static int32_t *numbers_at(const q8_run *run, size_t at)
{
    return (int32_t *)(void *)(run->scratch + at);
}

/* Sums of packed columns become what the kernel begins with. */
static void make_bias(const q8_gemm_table *gemm, int32_t zero_point, size_t count, int32_t *sums)
{
    const uint32_t factor = (gemm->flips_a ? 128u : 0u) - (uint32_t)zero_point;
    for (size_t i = 0; i < count; i++)
        sums[i] = (int32_t)(factor * (uint32_t)sums[i]);
}

/* k: a column of a panel is a row of k. */
static void pack_k(const attention_state *state, const q8_run *run, int64_t at)
{
    const q8_gemm_table *gemm = run->plan->kernels->gemm;
    const q8_attention_shape *shape = &state->shape;
    const q8_attention *a = &shape->a;
    const int8_t *k = (const int8_t *)q8_read(run, q8_tensor_of(run, a->k.tensor)) + at;
    int32_t *bias = numbers_at(run, state->k_bias_at);
    uint8_t *ones = run->scratch + state->ones_at;
    for (int64_t panel = 0; panel < shape->score_panels; panel++) {
        const int64_t first = panel * (int64_t)gemm->nr;
        const size_t columns = (size_t)q8_least((int64_t)gemm->nr, a->columns - first);
        uint8_t *to = run->scratch + shape->k_at + (size_t)panel * shape->score_panel_bytes;
        const q8_panel_weights weights = {.n = columns, .taps = 1, .k = (size_t)a->depth,
                                          .w = k + first * a->k.row_stride,
                                          .column_step = (size_t)a->k.row_stride, .k_step = 1,
                                          .is_unsigned = true};
        q8_pack_panel(gemm, &weights, to, NULL);
        q8_panel_sums(run->plan->kernels, to, columns, shape->scores.k, ones, bias + first);
        make_bias(gemm, a->q_zero_point, columns, bias + first);
    }
}

static void pack_v(const attention_state *state, const q8_run *run, int64_t at)
{
    const q8_gemm_table *gemm = run->plan->kernels->gemm;
    const q8_attention_shape *shape = &state->shape;
    const q8_attention *a = &shape->a;
    const int8_t *v = (const int8_t *)q8_read(run, q8_tensor_of(run, a->v.tensor)) + at;
    int32_t *bias = numbers_at(run, state->v_bias_at);
    uint8_t *ones = run->scratch + state->ones_at;
    for (int64_t panel = 0; panel < shape->value_panels; panel++) {
        const int64_t first = panel * (int64_t)gemm->nr;
        const size_t columns = (size_t)q8_least((int64_t)gemm->nr, a->value_depth - first);
        uint8_t *to = run->scratch + shape->v_at + (size_t)panel * shape->value_panel_bytes;
        const q8_panel_weights weights = {.n = columns, .taps = 1, .k = (size_t)a->columns,
                                          .w = v + first, .column_step = 1,
                                          .k_step = (size_t)a->v.row_stride, .is_unsigned = true};
        q8_pack_panel(gemm, &weights, to, NULL);
        q8_panel_sums(run->plan->kernels, to, columns, shape->values.k, ones, bias + first);
        make_bias(gemm, a->p_zero_point, columns, bias + first);
    }
}

/* Rows of q times k, as sums. */
static void run_scores(const attention_state *state, const q8_run *run, const q8_block *block)
{
    static const q8_output sums = {.dtype = Q8_S32};
    const q8_attention_shape *shape = &state->shape;
    const size_t nr = shape->nr;
    int32_t *bias = numbers_at(run, state->k_bias_at);
    int32_t *scores = numbers_at(run, shape->scores_at);
    for (int64_t panel = 0; panel < shape->score_panels; panel++) {
        const int64_t first = panel * (int64_t)nr;
        const q8_panel job = {
            .kernels = run->plan->kernels,
            .product = &shape->scores,
            .output = &sums,
            .b = run->scratch + shape->k_at + (size_t)panel * shape->score_panel_bytes,
            .columns = (size_t)q8_least((int64_t)nr, shape->a.columns - first),
            .bias = bias + first,
            .y = scores + first,
            .y_step = shape->score_row_bytes / sizeof(int32_t),
        };
        q8_panel_run(&job, block);
    }
}

static bool hides_all(const float *mask, size_t columns)
{
    size_t i = 0;
    while (i < columns && mask[i] == -INFINITY)
        i++;
    return i == columns;
}

/* Scores become the softmax's codes; returns them as rows of the second product. */
static q8_block run_softmax(const attention_state *state, const q8_run *run,
                            const q8_attention_part *part, int64_t first, int64_t rows)
{
    const q8_attention_shape *shape = &state->shape;
    const q8_attention *a = &shape->a;
    const size_t columns = (size_t)a->columns;
    const void **pointers = (const void **)(void *)(run->scratch + shape->pointers_at);
    float *values = (float *)(void *)(run->scratch + state->values_at);
    int32_t *row_sums = numbers_at(run, state->row_sums_at);
    for (int64_t i = 0; i < rows; i++) {
        uint8_t *codes = run->scratch + state->codes_at + (size_t)i * shape->values.k;
        const float *mask = q8_attention_mask_row(shape, run, part, first + i);
        memset(codes + columns, 0, shape->values.k - columns);
        pointers[i] = codes;
        row_sums[i] = 0;
        if (a->zero_hidden && mask && hides_all(mask, columns)) {
            memset(codes, a->p_zero_point, columns);
            continue;
        }
        const int32_t sum = run->plan->kernels->f32.softmax_codes(
            columns, numbers_at(run, shape->scores_at + (size_t)i * shape->score_row_bytes),
            a->scale, mask, values, a->p_scale, a->p_zero_point, codes);
        row_sums[i] = sum - a->p_zero_point * (int32_t)columns;
    }
    return (q8_block){pointers, (size_t)rows, first, (size_t)rows};
}

static void run_values(const attention_state *state, const q8_run *run,
                       const q8_attention_part *part, const q8_block *block)
{
    const q8_attention_shape *shape = &state->shape;
    const q8_heads *place = &shape->a.y;
    const size_t nr = shape->nr;
    uint8_t *y = q8_write(run, q8_tensor_of(run, place->tensor));
    const size_t at = (size_t)(part->y + block->first * place->row_stride);
    for (int64_t panel = 0; panel < shape->value_panels; panel++) {
        const int64_t first = panel * (int64_t)nr;
        const q8_panel job = {
            .kernels = run->plan->kernels,
            .product = &shape->values,
            .output = &state->output,
            .b = run->scratch + shape->v_at + (size_t)panel * shape->value_panel_bytes,
            .columns = (size_t)q8_least((int64_t)nr, shape->a.value_depth - first),
            .bias = numbers_at(run, state->v_bias_at) + first,
            .multiplier = (const float *)numbers_at(run, state->multipliers_at),
            .weight_zero_point =
                shape->a.v_zero_point == 128 ? NULL : numbers_at(run, state->zero_points_at),
            .has_one_zero_point = true,
            .row_sums = numbers_at(run, state->row_sums_at),
            .y = y + (at + (size_t)first) * q8_element_bytes(state->output.dtype),
            .y_step = (size_t)place->row_stride,
            .tile = numbers_at(run, state->tile_at),
        };
        q8_panel_run(&job, block);
    }
}

static void run_attention(const q8_step *step, const q8_run *run, int64_t number)
{
    const attention_state *state = step->state;
    const q8_attention_shape *shape = &state->shape;
    const q8_attention_part part = q8_attention_part_of(shape, run->threads, number);
    int32_t *zero_points = numbers_at(run, state->zero_points_at);
    float *multipliers = (float *)(void *)(run->scratch + state->multipliers_at);
    for (size_t j = 0; j < shape->nr; j++) {
        zero_points[j] = shape->a.v_zero_point - 128;
        multipliers[j] = shape->a.multiplier;
    }
    pack_k(state, run, part.k);
    pack_v(state, run, part.v);
    for (int64_t first = 0; first < part.rows; first += shape->block_rows) {
        const int64_t rows = q8_least(shape->block_rows, part.rows - first);
        const q8_block scored = q8_attention_rows(shape, run, &part, first, rows, 1);
        run_scores(state, run, &scored);
        const q8_block summed = run_softmax(state, run, &part, first, rows);
        run_values(state, run, &part, &summed);
    }
}
