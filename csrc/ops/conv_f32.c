/* conv_f32.c - float convolution, and every float product with constant weights. */
#include <string.h>

#include "depthwise.h"

/* ---- panels ---- */

typedef struct {
    q8_product product;
    int32_t x, y;
    float low, high;
    const float *panels, *bias, *padding; /* padding: a pixel of zeros */
    size_t panel_floats;
} conv_state;

typedef struct {
    const conv_state *state;
    const q8_run *run;
    const q8_step *step;
    float *y;
    float found[2]; /* range */
} context;

static void run_panel(void *given, const q8_block *block, int64_t panel)
{
    context *c = given;
    const conv_state *state = c->state;
    const q8_product *product = &state->product;
    const size_t y_step = (size_t)product->window.oc;
    const q8_panel_f32 job = {
        .kernels = c->run->plan->kernels,
        .product = product,
        .b = state->panels + (size_t)panel * state->panel_floats,
        .bias = state->bias + panel * product->columns,
        .columns = q8_panel_width(product, panel),
        .low = state->low,
        .high = state->high,
        .y = c->y + (size_t)block->first * y_step + (size_t)q8_panel_first(product, panel),
        .y_step = y_step,
    };
    q8_panel_f32_run(&job, block);
    q8_finish_floats(c->step, job.kernels, block->rows, job.columns, job.y, y_step, c->found);
}

static void run_conv(const q8_step *step, const q8_run *run, int64_t part)
{
    const conv_state *state = step->state;
    const q8_window *window = &state->product.window;
    context c = {state, run, step, q8_write(run, q8_tensor_of(run, state->y)), {0.0f, 0.0f}};
    const q8_product_walk walk = {
        .product = &state->product,
        .picture = {.x = q8_read(run, q8_tensor_of(run, state->x)),
                    .padding = (const uint8_t *)state->padding,
                    .pixel_bytes = (size_t)window->c * sizeof(float),
                    .channel_bytes =
                        (size_t)(window->c / state->product.groups) * sizeof(float)},
        .threads = run->threads,
        .scratch = run->scratch,
        .panel = run_panel,
        .context = &c,
    };
    q8_product_run(&walk, part);
    q8_widen_range(step, run, c.found);
}

static int pack_weights(q8_plan *plan, const q8_conv_f32 *conv, conv_state *state)
{
    const q8_product *product = &state->product;
    const size_t nr = (size_t)product->columns, depth = product->depth;
    const size_t panel_bytes = q8_panel_bytes_f32(nr, depth);
    float *panels = q8_plan_allocate(plan, product->panels, panel_bytes);
    float *bias = q8_plan_allocate(plan, product->panels * product->columns, sizeof(float));
    state->padding = q8_plan_allocate(plan, (int64_t)product->k, sizeof(float));
    if (plan->status)
        return plan->status;
    state->panels = panels;
    state->bias = bias;
    state->panel_floats = panel_bytes / sizeof(float);
    const bool are_rows = conv->weights_are_rows;
    const size_t row_step = are_rows ? (size_t)product->window.oc : 1;
    const size_t column_step = are_rows ? 1 : depth;
    for (int64_t panel = 0; panel < product->panels; panel++, bias += nr) {
        const size_t first = (size_t)q8_panel_first(product, panel);
        const size_t width = q8_panel_width(product, panel);
        q8_pack_panel_f32(nr, width, depth, conv->weights + first * column_step, row_step,
                          column_step, 1.0f,
                          panels + (size_t)panel * state->panel_floats);
        if (conv->bias)
            memcpy(bias, conv->bias + first, width * sizeof(float));
    }
    return Q8_OK;
}

static int64_t parts_for(const q8_step *step, int threads)
{
    return q8_product_parts(&((const conv_state *)step->state)->product, threads);
}

static int add_panels(q8_plan *plan, const q8_conv_f32 *conv, const q8_window *window)
{
    const q8_f32_table *f32 = &plan->kernels->f32;
    q8_step *step = q8_plan_append(plan, sizeof(conv_state), 1, run_conv);
    if (!step)
        return plan->status;
    conv_state *state = step->state;
    *state = (conv_state){
        .product = {.window = *window, .groups = conv->groups, .element_bytes = sizeof(float)},
        .x = conv->x,
        .y = conv->y,
        .low = conv->low,
        .high = conv->high,
    };
    q8_product_cut(&state->product,
                   (q8_tile_shape){f32->gemm_mr, f32->gemm_nr, 1, 16, false, f32->gemm_mr});
    step->parts_for = parts_for;
    step->macs = q8_product_macs(&state->product);
    step->ranged = conv->y;
    step->scratch_bytes = q8_product_scratch(&state->product);
    q8_product_name(step, window, conv->groups, f32->gemm_name);
    return pack_weights(plan, conv, state);
}

/* ---- depthwise ---- */

typedef struct {
    q8_depthwise shape;
    int32_t x, y;
    float low, high;
    const float *weights, *bias, *padding;
} depthwise_state;

static void run_depthwise(const q8_step *step, const q8_run *run, int64_t part)
{
    const depthwise_state *state = step->state;
    const q8_depthwise *shape = &state->shape;
    const size_t channels = (size_t)shape->channels;
    const void **pointers = (const void **)(void *)run->scratch;
    const q8_picture picture = {.x = q8_read(run, q8_tensor_of(run, state->x)),
                                .padding = (const uint8_t *)state->padding,
                                .pixel_bytes = channels * sizeof(float)};
    float *y = q8_write(run, q8_tensor_of(run, state->y));
    q8_conv_f32_job job = {
        .channels = channels,
        .taps = (size_t)shape->taps,
        .x = (const float *const *)(const void *)pointers,
        .x_step = shape->slide.x_step,
        .w = state->weights,
        .bias = state->bias,
        .low = state->low,
        .high = state->high,
        .y_step = channels,
    };
    float found[2] = {0.0f, 0.0f};
    const q8_range range = q8_part_range(part, shape->pixels_per_part, shape->pixels);
    for (int64_t first = range.first, count; first < range.end; first += count) {
        count = q8_slide_count(&shape->slide, first, range.end);
        q8_slide_pointers(&shape->slide, &picture, first, count, pointers);
        job.pixels = (size_t)count;
        job.y = y + (size_t)first * channels;
        run->plan->kernels->f32.depthwise(&job);
        q8_finish_floats(step, run->plan->kernels, job.pixels, channels, job.y, channels, found);
    }
    q8_widen_range(step, run, found);
}

static int add_depthwise(q8_plan *plan, const q8_conv_f32 *conv, const q8_window *window)
{
    q8_depthwise shape;
    q8_step *step =
        q8_depthwise_append(plan, window, sizeof(depthwise_state), run_depthwise, &shape);
    float *weights = q8_plan_allocate(plan, shape.taps * window->c, sizeof(float));
    float *bias = q8_plan_allocate(plan, window->c, sizeof(float));
    const float *padding = q8_plan_allocate(plan, window->c, sizeof(float));
    if (!step || !weights || !bias || !padding)
        return plan->status;
    q8_depthwise_weights(window, sizeof(float), conv->weights, weights);
    if (conv->bias)
        memcpy(bias, conv->bias, (size_t)window->c * sizeof(float));
    *(depthwise_state *)step->state = (depthwise_state){
        .shape = shape,
        .x = conv->x,
        .y = conv->y,
        .low = conv->low,
        .high = conv->high,
        .weights = weights,
        .bias = bias,
        .padding = padding,
    };
    step->scratch_bytes = shape.slide.pointer_bytes;
    step->ranged = conv->y;
    return Q8_OK;
}

int q8_plan_add_conv_f32(q8_plan *plan, const q8_conv_f32 *conv)
{
    if (!conv)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: no descriptor");
    const q8_tensor *x = q8_plan_operand(plan, conv->x, Q8_F32, 4, "conv");
    const q8_tensor *y = q8_plan_result(plan, conv->y, Q8_F32, 4, "conv");
    if (!x || !y)
        return plan->status;
    const q8_window window = Q8_CONV_WINDOW(conv, x, y);
    if (q8_conv_check(plan, &window, conv->groups, x, y, "conv") != Q8_OK)
        return plan->status;
    if (!conv->weights)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: no weights");
    if (conv->weights_are_rows && (conv->kernel_h != 1 || conv->kernel_w != 1 || conv->groups != 1))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: rows of weights of no plain product");
    if (conv->groups > 1 && conv->groups == window.c && conv->groups == window.oc)
        return add_depthwise(plan, conv, &window);
    return add_panels(plan, conv, &window);
}
