/* matmul_shape.c - checks and walks of products of two run-time tensors, of any type. */
#include "matmul.h"

int q8_matmul_shape_of(q8_plan *plan, const q8_tensor *a, const q8_tensor *b, const q8_tensor *y,
                       q8_tile_shape tile, const char *what, q8_matmul_shape *shape)
{
    const int64_t batch = a->dims[0], m = a->dims[1], k = a->dims[2], n = b->dims[2];
    int64_t rows = m;
    if (b->dims[1] != k || (b->dims[0] != batch && b->dims[0] != 1) || y->dims[0] != batch ||
        y->dims[1] != m || y->dims[2] != n)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT,
                            "%s: shapes do not fit: %lldx%lldx%lld and %lldx%lldx%lld", what,
                            (long long)batch, (long long)m, (long long)k, (long long)b->dims[0],
                            (long long)b->dims[1], (long long)n);
    if (b->dims[0] == 1 && !q8_multiply(batch, m, &rows))
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "%s: too many rows", what);
    const q8_window window = q8_matrix_window(rows, k, n);
    if (batch < 1)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "%s: an empty batch", what);
    if (q8_conv_check(plan, &window, 1, a, y, what) != Q8_OK ||
        q8_plan_apart(plan, b, y, false, what) != Q8_OK)
        return plan->status;
    shape->batches = b->dims[0];
    shape->product = (q8_product){.window = window, .groups = 1,
                                  .element_bytes = q8_element_bytes(a->dtype)};
    q8_product_cut(&shape->product, tile);
    return Q8_OK;
}

q8_step *q8_matmul_append_pack(q8_plan *plan, const q8_matmul_shape *shape, size_t state_bytes,
                               void (*run)(const q8_step *, const q8_run *, int64_t))
{
    q8_step *step =
        q8_plan_append(plan, state_bytes, shape->batches * shape->product.panels, run);
    if (!step)
        return NULL;
    *(q8_matmul_shape *)step->state = *shape;
    q8_step_name(step, "pack %lldx%lldx%lld", (long long)shape->batches,
                 (long long)shape->product.depth, (long long)shape->product.window.oc);
    return step;
}

static int64_t parts_for(const q8_step *step, int threads)
{
    const q8_matmul_shape *shape = step->state;
    return shape->batches * q8_product_parts(&shape->product, threads);
}

q8_step *q8_matmul_append_product(q8_plan *plan, const q8_matmul_shape *shape, size_t state_bytes,
                                  void (*run)(const q8_step *, const q8_run *, int64_t),
                                  const char *kernel)
{
    const q8_product *product = &shape->product;
    q8_step *step = q8_plan_append(plan, state_bytes, 1, run);
    if (!step)
        return NULL;
    step->parts_for = parts_for;
    *(q8_matmul_shape *)step->state = *shape;
    if (!q8_multiply(q8_product_macs(product), shape->batches, &step->macs))
        step->macs = INT64_MAX;
    q8_step_name(step, "matmul %lldx%lldx%lldx%lld %s", (long long)shape->batches,
                 (long long)product->rows, (long long)product->depth,
                 (long long)product->window.oc, kernel);
    return step;
}

size_t q8_matmul_b_at(const q8_matmul_shape *shape, int64_t part)
{
    const q8_product *product = &shape->product;
    const int64_t batch = part / product->panels, panel = part % product->panels;
    return (size_t)(batch * (int64_t)product->depth * product->window.oc +
                    q8_panel_first(product, panel));
}

size_t q8_matmul_y_at(const q8_matmul_shape *shape, int64_t batch, const q8_block *block,
                      int64_t panel)
{
    const q8_product *product = &shape->product;
    return (size_t)((batch * product->rows + block->first) * product->window.oc +
                    q8_panel_first(product, panel));
}

void q8_matmul_walk(const q8_matmul_shape *shape, const q8_run *run, int64_t part,
                    uint8_t padding_byte, void (*block)(void *, const q8_block *),
                    void (*panel)(void *, const q8_block *, int64_t), void *context)
{
    const q8_product *product = &shape->product;
    const int64_t parts = q8_product_parts(product, run->threads), batch = part / parts;
    const size_t row_bytes = product->depth * product->element_bytes;
    const uint8_t *a = q8_read(run, q8_tensor_of(run, shape->a));
    const q8_product_walk walk = {
        .product = product,
        .threads = run->threads,
        .picture = {.x = a + (size_t)(batch * product->rows) * row_bytes,
                    .padding_byte = padding_byte,
                    .pixel_bytes = row_bytes,
                    .channel_bytes = row_bytes},
        .scratch = run->scratch,
        .block = block,
        .panel = panel,
        .context = context,
    };
    q8_product_run(&walk, part % parts);
}
