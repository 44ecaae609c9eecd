/* conv.c - eight-bit convolution, and every product with constant weights, over packed panels. */
#include <string.h>

#include "../kernels/requant.h"
#include "conv.h"

/* ---- adding ---- */

/* The most that |w - weight_zero_point| can be. */
static int64_t largest_weight(const q8_conv *conv, int64_t channels)
{
    int64_t largest = 0;
    for (int64_t c = 0; conv->weight_zero_point && c < channels; c++) {
        int64_t zero_point = conv->weight_zero_point[c];
        int64_t size = zero_point < 0 ? -zero_point : zero_point;
        largest = size > largest ? size : largest;
    }
    return largest + 128;
}

static int check_sums(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                      q8_conv_numbers *numbers)
{
    const int64_t depth = window->kernel_h * window->kernel_w * (window->c / conv->groups);
    const int64_t largest = 255 * largest_weight(conv, window->oc);
    if (depth > INT32_MAX / largest)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "conv: a sum of %lld products may overflow",
                            (long long)depth);
    numbers->depth = depth;
    numbers->largest_sum = depth * largest;
    return Q8_OK;
}

static q8_panel_weights weights_of(const q8_conv *conv, const q8_product *product, int64_t panel)
{
    const size_t k = product->gathers ? product->depth : product->k;
    const size_t column_step = conv->weights_are_rows ? 1 : product->depth;
    return (q8_panel_weights){
        .n = q8_panel_width(product, panel),
        .taps = product->taps,
        .k = k,
        .w = conv->weights + (size_t)q8_panel_first(product, panel) * column_step,
        .column_step = column_step,
        .tap_step = k,
        .k_step = conv->weights_are_rows ? (size_t)product->window.oc : 1,
    };
}

/* Places are worth it up to so many steps for every hundred of four codes: where rows share a panel's
 * weights, because a step takes three quarters of the time, and no row has to be widened, which costs as
 * much as some steps of one panel; where they do not, because a step is half as many bytes. */
enum { MOST_STEPS = 123, WIDENING_STEPS = 70, MOST_STEPS_OF_FEW_ROWS = 150 };

static bool are_worth_it(const q8_gemm_table *gemm, const q8_product *product, size_t steps)
{
    const size_t fours = product->taps * q8_padded_k(gemm, product->k) / 4;
    const size_t most = product->rows < (int64_t)gemm->least_rows
                            ? MOST_STEPS_OF_FEW_ROWS
                            : MOST_STEPS + WIDENING_STEPS / (size_t)product->group_panels;
    return steps * 100 <= (size_t)product->panels * fours * most;
}

/* The most steps in places of any panel, if places are the better way for all of them; else 0. */
static size_t most_steps(const q8_gemm_table *gemm, const q8_conv *conv, const q8_product *product)
{
    size_t most = 0, all = 0;
    for (int64_t panel = 0; gemm->mark_wide && panel < product->panels; panel++) {
        const q8_panel_weights weights = weights_of(conv, product, panel);
        const size_t steps = q8_count_steps(gemm, &weights);
        if (!steps)
            return 0;
        all += steps;
        most = steps > most ? steps : most;
    }
    return are_worth_it(gemm, product, all) ? most : 0;
}

static int pack_places(q8_plan *plan, const q8_conv *conv, size_t steps, q8_conv_state *state)
{
    const q8_gemm_table *gemm = plan->kernels->gemm;
    const q8_product *product = &state->product;
    state->panel_bytes = q8_placed_bytes(gemm, steps);
    state->place_step = product->taps + steps;
    uint8_t *panels = q8_plan_allocate(plan, product->panels, state->panel_bytes);
    uint16_t *places =
        q8_plan_allocate(plan, product->panels, state->place_step * sizeof *places);
    for (int64_t panel = 0; panels && places && panel < product->panels; panel++) {
        const q8_panel_weights weights = weights_of(conv, product, panel);
        q8_pack_places(gemm, &weights, places + (size_t)panel * state->place_step,
                       panels + (size_t)panel * state->panel_bytes,
                       state->numbers.weight_sums + panel * product->columns);
    }
    state->panels = panels;
    state->places = places;
    return plan->status;
}

static int pack_weights(q8_plan *plan, const q8_conv *conv, size_t steps, q8_conv_state *state)
{
    const q8_gemm_table *gemm = plan->kernels->gemm;
    const q8_product *product = &state->product;
    if (steps)
        return pack_places(plan, conv, steps, state);
    state->panel_bytes = q8_panel_bytes(gemm, product->taps, product->k);
    uint8_t *panels = q8_plan_allocate(plan, product->panels, state->panel_bytes);
    for (int64_t panel = 0; panels && panel < product->panels; panel++) {
        const q8_panel_weights weights = weights_of(conv, product, panel);
        q8_pack_panel(gemm, &weights, panels + (size_t)panel * state->panel_bytes,
                      state->numbers.weight_sums + panel * product->columns);
    }
    state->panels = panels;
    return plan->status;
}

/* Rows of this many codes at most are widened once for all panels: blocks of longer ones would leave
 * the second cache. */
#define MOST_WIDENED 2048

static bool widens(const q8_gemm_table *gemm, const q8_product *product)
{
    return gemm->widen && product->taps * product->k <= MOST_WIDENED && product->group_panels > 1;
}

static size_t lay_out_scratch(const q8_kernels *kernels, q8_conv_state *state)
{
    const q8_product *product = &state->product;
    size_t total = q8_product_scratch(product);
    state->sums_at = q8_reserve(&total, (size_t)product->block_rows * sizeof(int32_t));
    state->tile_at = q8_reserve(&total, q8_tile_bytes(kernels->gemm));
    if (state->is_gated)
        state->gated_at = q8_reserve(&total, (size_t)product->block_rows * product->k);
    if (state->widens)
        state->wide_at =
            q8_reserve(&total, (size_t)product->block_rows * product->taps * product->k *
                                   sizeof(uint16_t));
    return total;
}

void q8_conv_begin_as_mantissas(const q8_gemm_table *gemm, q8_conv_state *state)
{
    q8_conv_numbers *numbers = &state->numbers;
    const q8_output *output = &numbers->output;
    if (!gemm->takes_mantissas || output->dtype != Q8_U8 || !numbers->is_small || output->sum ||
        numbers->weight_zero_point || output->zero_point || output->low || output->high != 255)
        return;
    for (int64_t i = 0; i < numbers->columns; i++)
        numbers->bias[i] = (int32_t)((uint32_t)numbers->bias[i] + MANTISSA_BITS);
    state->has_mantissas = true;
}

static void run(const q8_step *step, const q8_run *run, int64_t part);

static int64_t parts_for(const q8_step *step, int threads)
{
    return q8_product_parts(&((const q8_conv_state *)step->state)->product, threads);
}

static int add_panels(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                      const q8_conv_numbers *numbers, q8_conv_now *now)
{
    const q8_gemm_table *gemm = plan->kernels->gemm;
    q8_step *step = q8_plan_append(plan, sizeof(q8_conv_state), 1, run);
    if (!step)
        return plan->status;
    q8_conv_state *state = step->state;
    state->numbers = *numbers;
    state->is_gated = conv->gate != NULL;
    if (conv->gate)
        state->gate = *conv->gate;
    state->product = (q8_product){.window = *window, .groups = conv->groups, .element_bytes = 1,
                                  .result_bytes = q8_element_bytes(numbers->output.dtype)};
    q8_product *product = &state->product;
    q8_product_cut(product, q8_tile_shape_of(gemm));
    product->copies_rows = product->gathers || state->is_gated;
    const size_t steps = most_steps(gemm, conv, product);
    state->widens = !steps && widens(gemm, product);
    step->parts_for = parts_for;
    step->macs = q8_product_macs(product);
    step->ranged = numbers->output.dtype == Q8_F32 ? conv->y : -1;
    step->scratch_bytes = lay_out_scratch(plan->kernels, state);
    q8_product_name(step, window, conv->groups, gemm->name);
    if (q8_conv_numbers_copy(plan, conv, product, window->oc, (int64_t)product->k,
                             &state->numbers) != Q8_OK ||
        pack_weights(plan, conv, steps, state) != Q8_OK)
        return plan->status;
    step->weights = (q8_bytes){state->panels, (size_t)product->panels * state->panel_bytes};
    q8_conv_numbers_fold(&state->numbers, gemm->flips_a ? 128 : 0);
    if (!now)
        q8_conv_begin_as_mantissas(gemm, state);
    return q8_conv_now_of(plan, conv, now, &state->numbers);
}

int q8_plan_add_conv(q8_plan *plan, const q8_conv *conv)
{
    q8_conv_numbers numbers;
    q8_conv_now *now;
    if (!conv)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: no descriptor");
    const q8_tensor *x = q8_plan_operand(plan, conv->x, Q8_U8, 4, "conv");
    const q8_tensor *y = q8_plan_result(plan, conv->y, -1, 4, "conv");
    if (!x || !y)
        return plan->status;
    const q8_window window = Q8_CONV_WINDOW(conv, x, y);
    if (q8_conv_check(plan, &window, conv->groups, x, y, "conv") != Q8_OK ||
        q8_conv_numbers_start(plan, conv, y->dtype, &numbers) != Q8_OK ||
        check_sums(plan, conv, &window, &numbers) != Q8_OK ||
        q8_conv_now_append(plan, conv, &now) != Q8_OK)
        return plan->status;
    if (conv->gate && q8_gate_check(plan, conv, &window) != Q8_OK)
        return plan->status;
    if (conv->groups > 1 && conv->groups == window.c && conv->groups == window.oc)
        return conv->addend
                   ? q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "conv: an addend of a depthwise one")
                   : q8_plan_add_depthwise(plan, conv, &window, &numbers, now);
    return q8_winograd_suits(plan, conv, &window)
               ? q8_plan_add_winograd(plan, conv, &window, &numbers, now)
               : add_panels(plan, conv, &window, &numbers, now);
}

/* ---- running ---- */

q8_conv_state *q8_conv_state_of(const q8_step *step)
{
    return step->run == run ? step->state : NULL;
}

q8_picture q8_conv_picture(const q8_conv_state *state, const q8_run *run)
{
    const q8_conv_numbers *numbers = &state->numbers;
    const q8_window *window = &state->product.window;
    return (q8_picture){
        .x = q8_read(run, q8_tensor_of(run, numbers->x)),
        .padding = numbers->padding,
        .padding_byte = (uint8_t)numbers->x_zero_point,
        .pixel_bytes = (size_t)window->c,
        .channel_bytes = (size_t)(window->c / state->product.groups),
    };
}

q8_panel q8_conv_panel(const q8_conv_state *state, const q8_run *run, int64_t panel)
{
    const q8_product *product = &state->product;
    const q8_conv_numbers *numbers = &state->numbers;
    const int64_t at = panel * product->columns;
    return (q8_panel){
        .kernels = run->plan->kernels,
        .product = product,
        .output = &numbers->output,
        .b = state->panels + (size_t)panel * state->panel_bytes,
        .places = state->places ? state->places + (size_t)panel * state->place_step : NULL,
        .columns = q8_panel_width(product, panel),
        .bias = numbers->bias + at,
        .multiplier = numbers->multiplier ? numbers->multiplier + at : NULL,
        .is_near = numbers->is_near,
        .has_mantissas = state->has_mantissas,
        .float_bias = numbers->float_bias ? numbers->float_bias + at : NULL,
        .weight_zero_point = numbers->weight_zero_point ? numbers->weight_zero_point + at : NULL,
        .has_one_zero_point = numbers->has_one_zero_point,
        .over_floats = numbers->over_floats,
        .tile = (int32_t *)(run->scratch + state->tile_at),
        .panel_bytes = state->panel_bytes,
    };
}

/* Rows of the block from `first` on of which each begins where the one before it ends. */
static size_t neighbours(const q8_block *block, size_t first, size_t row_bytes)
{
    size_t end = first + 1;
    while (end < block->rows && block->a[end] == block->a[end - 1] + row_bytes)
        end++;
    return end - first;
}

const uint16_t *q8_conv_widened(const q8_conv_state *state, const q8_run *run, const q8_block *block)
{
    const q8_product *product = &state->product;
    if (!state->widens)
        return NULL;
    uint16_t *rows = (uint16_t *)(void *)(run->scratch + state->wide_at), *wide = rows;
    for (size_t i = 0, count; i < block->rows; i += count) {
        count = product->taps == 1 ? neighbours(block, i, product->k) : 1;
        for (size_t tap = 0; tap < product->taps; tap++, wide += count * product->k)
            run->plan->kernels->gemm->widen(block->a[tap * block->a_step + i], count * product->k,
                                            wide);
    }
    return rows;
}

typedef struct {
    const q8_conv_state *state;
    const q8_run *run;
    uint8_t *y;
    const float *residual; /* NULL: none */
    const uint8_t *addend; /* NULL: none */
    const q8_step *step;
    float *range;
    int32_t *row_sums;
    const uint16_t *wide;  /* of the block, or NULL */
    q8_ahead ahead;
} context;

static void prepare_rows(void *given, const q8_block *block)
{
    context *c = given;
    const q8_conv_state *state = c->state;
    if (state->is_gated)
        q8_gate_rows(c->run, &state->gate, state->numbers.x_zero_point, &state->product, block,
                     c->run->scratch + state->gated_at);
    if (state->numbers.weight_zero_point)
        q8_row_sums(c->run->plan->kernels, &state->product, block, state->numbers.x_zero_point,
                    c->row_sums);
    c->wide = q8_conv_widened(state, c->run, block);
}

static void run_panel(void *given, const q8_block *block, int64_t panel)
{
    context *c = given;
    const q8_conv_state *state = c->state;
    const q8_product *product = &state->product;
    const size_t y_step = (size_t)product->window.oc;
    const size_t y_at = (size_t)block->first * y_step + (size_t)q8_panel_first(product, panel);
    q8_panel job = q8_conv_panel(state, c->run, panel);
    job.row_sums = c->row_sums;
    job.wide = c->wide;
    job.residual = c->residual ? c->residual + y_at : NULL;
    job.addend = c->addend ? c->addend + y_at : NULL;
    job.step = c->step;
    job.range = c->range;
    job.y = c->y + y_at * q8_element_bytes(state->numbers.output.dtype);
    job.y_step = y_step;
    job.ahead = &c->ahead;
    q8_panel_run(&job, block);
}

static void run(const q8_step *step, const q8_run *run, int64_t part)
{
    const q8_conv_state *state = step->state;
    const q8_conv_numbers *numbers = &state->numbers;
    float found[2] = {0.0f, 0.0f};
    context c = {
        .state = state,
        .run = run,
        .y = q8_write(run, q8_tensor_of(run, numbers->y)),
        .residual = q8_conv_residual(run, numbers),
        .addend = q8_conv_addend(run, numbers),
        .step = step,
        .range = found,
        .row_sums = (int32_t *)(run->scratch + state->sums_at),
        .ahead = q8_ahead_of(&state->product, run, step, state->panel_bytes, part),
    };
    const q8_product_walk walk = {
        .product = &state->product,
        .threads = run->threads,
        .picture = q8_conv_picture(state, run),
        .scratch = run->scratch,
        .block = prepare_rows,
        .panel = run_panel,
        .context = &c,
    };
    q8_product_run(&walk, part);
    q8_widen_range(step, run, found);
}
