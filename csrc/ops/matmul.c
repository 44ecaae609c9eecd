/* matmul.c - product of two tensors of codes that are both known at run time only.
 *
 * b's codes are uint8; packing turns them into int8 by subtracting 128, and its zero point with
 * them. What then is left of that zero point is corrected with the sums of a's rows. */
#include <math.h>

#include "matmul.h"

typedef struct {
    q8_matmul_shape shape;
    int64_t sums_at; /* of each packed column, reserved */
} pack_state;

typedef struct {
    q8_matmul_shape shape;
    q8_output output;
    int64_t sums_at;
    int32_t a_zero_point, b_zero_point, a_zero_point_tensor, b_zero_point_tensor;
    int32_t a_scale_tensor, b_scale_tensor;
    float multiplier;
    size_t numbers_at, row_sums_at, tile_at; /* in the scratch */
} matmul_state;

/* ---- adding ---- */

/* Most products of two differences of codes that an int32 holds. */
#define MOST_DEPTH (INT32_MAX / (255 * 255))

static int check_numbers(q8_plan *plan, const q8_matmul *matmul, const q8_output *output)
{
    const int32_t codes[] = {matmul->a_zero_point_tensor, matmul->b_zero_point_tensor};
    const int32_t scales[] = {matmul->a_scale_tensor, matmul->b_scale_tensor};
    for (int i = 0; i < 2; i++) {
        if (codes[i] >= 0 && q8_plan_scalar(plan, codes[i], Q8_U8, matmul->y, "matmul"))
            return plan->status;
        if (scales[i] < 0)
            continue;
        if (output->dtype != Q8_F32)
            return q8_plan_fail(plan, Q8_ERROR_ARGUMENT,
                                "matmul: a scale tensor needs floats in y");
        if (q8_plan_scalar(plan, scales[i], Q8_F32, matmul->y, "matmul"))
            return plan->status;
    }
    if (codes[0] < 0)
        q8_plan_check_code(plan, matmul->a_zero_point, "matmul");
    if (codes[1] < 0)
        q8_plan_check_code(plan, matmul->b_zero_point, "matmul");
    return q8_output_check(plan, output, "matmul");
}

static size_t lay_out_scratch(const q8_gemm_table *gemm, matmul_state *state)
{
    const q8_product *product = &state->shape.product;
    size_t total = q8_product_scratch(product);
    state->numbers_at = q8_reserve(&total, 3 * gemm->nr * sizeof(int32_t));
    state->row_sums_at = q8_reserve(&total, (size_t)product->block_rows * sizeof(int32_t));
    state->tile_at = q8_reserve(&total, q8_tile_bytes(gemm));
    return total;
}

static void run_pack(const q8_step *step, const q8_run *run, int64_t part);
static void run_product(const q8_step *step, const q8_run *run, int64_t part);

static int append(q8_plan *plan, const q8_matmul *matmul, q8_matmul_shape *shape,
                  const q8_output *output)
{
    const q8_gemm_table *gemm = plan->kernels->gemm;
    const q8_product *product = &shape->product;
    const int64_t panels = shape->batches * product->panels;
    shape->panel_bytes = q8_panel_bytes(gemm, 1, product->depth);
    shape->panels_at = q8_plan_reserve(plan, panels, shape->panel_bytes);
    const int64_t sums_at =
        q8_plan_reserve(plan, panels * product->columns, sizeof(int32_t));
    q8_step *pack = q8_matmul_append_pack(plan, shape, sizeof(pack_state), run_pack);
    if (!pack)
        return plan->status;
    ((pack_state *)pack->state)->sums_at = sums_at;
    q8_step *step =
        q8_matmul_append_product(plan, shape, sizeof(matmul_state), run_product, gemm->name);
    if (!step)
        return plan->status;
    matmul_state *state = step->state;
    state->output = *output;
    state->sums_at = sums_at;
    state->a_zero_point = matmul->a_zero_point;
    state->b_zero_point = matmul->b_zero_point;
    state->a_zero_point_tensor = matmul->a_zero_point_tensor;
    state->b_zero_point_tensor = matmul->b_zero_point_tensor;
    state->a_scale_tensor = matmul->a_scale_tensor;
    state->b_scale_tensor = matmul->b_scale_tensor;
    state->multiplier = matmul->multiplier;
    step->scratch_bytes = lay_out_scratch(gemm, state);
    return Q8_OK;
}

int q8_plan_add_matmul(q8_plan *plan, const q8_matmul *matmul)
{
    if (!matmul)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "matmul: no descriptor");
    const q8_gemm_table *gemm = plan->kernels->gemm;
    const q8_tensor *a = q8_plan_operand(plan, matmul->a, Q8_U8, 3, "matmul");
    const q8_tensor *b = q8_plan_operand(plan, matmul->b, Q8_U8, 3, "matmul");
    const q8_tensor *y = q8_plan_result(plan, matmul->y, -1, 3, "matmul");
    if (!a || !b || !y)
        return plan->status;
    const q8_output output = {.dtype = y->dtype,
                              .zero_point = matmul->y_zero_point,
                              .low = matmul->y_low,
                              .high = matmul->y_high,
                              .scale = 1.0f,
                              .float_low = -INFINITY,
                              .float_high = INFINITY};
    q8_matmul_shape shape = {.a = matmul->a, .b = matmul->b, .y = matmul->y};
    const q8_tile_shape tile = q8_tile_shape_of(gemm);
    if (check_numbers(plan, matmul, &output) != Q8_OK ||
        q8_matmul_shape_of(plan, a, b, y, tile, "matmul", &shape) != Q8_OK)
        return plan->status;
    if (shape.product.depth > MOST_DEPTH)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "matmul: a sum of %lld products may overflow",
                            (long long)shape.product.depth);
    return append(plan, matmul, &shape, &output);
}

/* ---- running ---- */

static void run_pack(const q8_step *step, const q8_run *run, int64_t part)
{
    const pack_state *state = step->state;
    const q8_matmul_shape *shape = &state->shape;
    const q8_product *product = &shape->product;
    const uint8_t *b = q8_read(run, q8_tensor_of(run, shape->b));
    uint8_t *panels = q8_reserved(run, shape->panels_at);
    int32_t *sums = q8_reserved(run, state->sums_at);
    const q8_panel_weights weights = {
        .n = q8_panel_width(product, part % product->panels), .taps = 1, .k = product->depth,
        .w = (const int8_t *)b + q8_matmul_b_at(shape, part), .column_step = 1,
        .k_step = (size_t)product->window.oc, .is_unsigned = true};
    q8_pack_panel(run->plan->kernels->gemm, &weights, panels + (size_t)part * shape->panel_bytes,
                  sums + part * product->columns);
}

typedef struct {
    const matmul_state *state;
    const q8_run *run;
    int64_t batch;
    int32_t a_zero_point, b_zero_point; /* b's less 128, like its packed codes */
    float multiplier;
    int32_t *row_sums;
} context;

static int32_t code_now(const q8_run *run, int32_t tensor, int32_t code)
{
    return tensor < 0 ? code : *(const uint8_t *)q8_read(run, q8_tensor_of(run, tensor));
}

static float scale_now(const q8_run *run, int32_t tensor)
{
    return tensor < 0 ? 1.0f : *(const float *)q8_read(run, q8_tensor_of(run, tensor));
}

static void sum_rows(void *given, const q8_block *block)
{
    const context *c = given;
    q8_row_sums(c->run->plan->kernels, &c->state->shape.product, block, c->a_zero_point,
                c->row_sums);
}

static void run_panel(void *given, const q8_block *block, int64_t panel)
{
    const context *c = given;
    const matmul_state *state = c->state;
    const q8_product *product = &state->shape.product;
    const q8_gemm_table *gemm = c->run->plan->kernels->gemm;
    const int64_t at = c->batch * product->panels + panel;
    const uint8_t *panels = q8_reserved(c->run, state->shape.panels_at);
    const int32_t *all_sums = q8_reserved(c->run, state->sums_at);
    const int32_t *sums = all_sums + at * product->columns;
    const uint32_t factor = (gemm->flips_a ? 128u : 0u) - (uint32_t)c->a_zero_point;
    int32_t *bias = (int32_t *)(void *)(c->run->scratch + state->numbers_at);
    int32_t *zero_points = bias + gemm->nr;
    float *multipliers = (float *)(void *)(zero_points + gemm->nr);
    for (size_t j = 0; j < gemm->nr; j++) {
        bias[j] = (int32_t)(factor * (uint32_t)sums[j]);
        zero_points[j] = c->b_zero_point;
        multipliers[j] = c->multiplier;
    }
    uint8_t *y = q8_write(c->run, q8_tensor_of(c->run, state->shape.y));
    const q8_panel job = {
        .kernels = c->run->plan->kernels,
        .product = product,
        .output = &state->output,
        .b = panels + (size_t)at * state->shape.panel_bytes,
        .columns = q8_panel_width(product, panel),
        .bias = bias,
        .multiplier = multipliers,
        .is_near = fabsf(c->multiplier) < 1.0f,
        .weight_zero_point = c->b_zero_point ? zero_points : NULL,
        .has_one_zero_point = true,
        .row_sums = c->row_sums,
        .y = y + q8_matmul_y_at(&state->shape, c->batch, block, panel) *
                     q8_element_bytes(state->output.dtype),
        .y_step = (size_t)product->window.oc,
        .tile = (int32_t *)(void *)(c->run->scratch + state->tile_at),
    };
    q8_panel_run(&job, block);
}

static void run_product(const q8_step *step, const q8_run *run, int64_t part)
{
    const matmul_state *state = step->state;
    context c = {
        .state = state,
        .run = run,
        .batch = part / q8_product_parts(&state->shape.product, run->threads),
        .a_zero_point = code_now(run, state->a_zero_point_tensor, state->a_zero_point),
        .b_zero_point = code_now(run, state->b_zero_point_tensor, state->b_zero_point) - 128,
        .multiplier = state->multiplier * (scale_now(run, state->a_scale_tensor) *
                                           scale_now(run, state->b_scale_tensor)),
        .row_sums = (int32_t *)(void *)(run->scratch + state->row_sums_at),
    };
    q8_matmul_walk(&state->shape, run, part, 0, c.b_zero_point ? sum_rows : NULL, run_panel, &c);
}
