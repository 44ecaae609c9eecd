/* matmul_f32.c - product of two float tensors that are both known at run time only. */
#include <math.h>

#include "matmul.h"

typedef struct {
    q8_matmul_shape shape;
    float alpha;
} pack_state;

typedef struct {
    q8_matmul_shape shape;
    const float *no_bias; /* a panel's width of zeros */
} product_state;

static void run_pack(const q8_step *step, const q8_run *run, int64_t part)
{
    const pack_state *state = step->state;
    const q8_matmul_shape *shape = &state->shape;
    const q8_product *product = &shape->product;
    const float *b = q8_read(run, q8_tensor_of(run, shape->b));
    uint8_t *panels = q8_reserved(run, shape->panels_at);
    q8_pack_panel_f32((size_t)product->columns,
                      q8_panel_width(product, part % product->panels), product->depth,
                      b + q8_matmul_b_at(shape, part), (size_t)product->window.oc, 1,
                      state->alpha,
                      (float *)(void *)(panels + (size_t)part * shape->panel_bytes));
}

typedef struct {
    const product_state *state;
    const q8_run *run;
    int64_t batch;
} context;

static void run_panel(void *given, const q8_block *block, int64_t panel)
{
    const context *c = given;
    const q8_matmul_shape *shape = &c->state->shape;
    const q8_product *product = &shape->product;
    const uint8_t *panels = q8_reserved(c->run, shape->panels_at);
    const size_t at = (size_t)(c->batch * product->panels + panel) * shape->panel_bytes;
    float *y = q8_write(c->run, q8_tensor_of(c->run, shape->y));
    const q8_panel_f32 job = {
        .kernels = c->run->plan->kernels,
        .product = product,
        .b = (const float *)(const void *)(panels + at),
        .bias = c->state->no_bias,
        .columns = q8_panel_width(product, panel),
        .low = -INFINITY,
        .high = INFINITY,
        .y = y + q8_matmul_y_at(shape, c->batch, block, panel),
        .y_step = (size_t)product->window.oc,
    };
    q8_panel_f32_run(&job, block);
}

static void run_product(const q8_step *step, const q8_run *run, int64_t part)
{
    const product_state *state = step->state;
    context c = {state, run, part / q8_product_parts(&state->shape.product, run->threads)};
    q8_matmul_walk(&state->shape, run, part, 0, NULL, run_panel, &c);
}

int q8_plan_add_matmul_f32(q8_plan *plan, int a, int b, int y, float alpha)
{
    const q8_f32_table *f32 = &plan->kernels->f32;
    const q8_tensor *left = q8_plan_operand(plan, a, Q8_F32, 3, "matmul");
    const q8_tensor *right = q8_plan_operand(plan, b, Q8_F32, 3, "matmul");
    const q8_tensor *result = q8_plan_result(plan, y, Q8_F32, 3, "matmul");
    if (!left || !right || !result)
        return plan->status;
    q8_matmul_shape shape = {.a = a, .b = b, .y = y};
    const q8_tile_shape tile = {f32->gemm_mr, f32->gemm_nr, 1, 16, false, f32->gemm_mr};
    if (q8_matmul_shape_of(plan, left, right, result, tile, "matmul", &shape) != Q8_OK)
        return plan->status;
    const q8_product *product = &shape.product;
    shape.panel_bytes = q8_panel_bytes_f32(f32->gemm_nr, product->depth);
    shape.panels_at =
        q8_plan_reserve(plan, shape.batches * product->panels, shape.panel_bytes);
    const float *no_bias = q8_plan_allocate(plan, product->columns, sizeof(float));
    q8_step *pack = q8_matmul_append_pack(plan, &shape, sizeof(pack_state), run_pack);
    if (!pack)
        return plan->status;
    ((pack_state *)pack->state)->alpha = alpha;
    q8_step *step = q8_matmul_append_product(plan, &shape, sizeof(product_state), run_product,
                                             f32->gemm_name);
    if (!step)
        return plan->status;
    ((product_state *)step->state)->no_bias = no_bias;
    step->scratch_bytes = q8_product_scratch(product);
    return Q8_OK;
}
