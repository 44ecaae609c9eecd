/* depthwise.c - eight-bit convolution of each channel with a kernel of its own. */
#include <string.h>

#include "conv.h"
#include "depthwise.h"

/* ---- what floats share ---- */

q8_step *q8_depthwise_append(q8_plan *plan, const q8_window *window, size_t state_bytes,
                             void (*run)(const q8_step *, const q8_run *, int64_t),
                             q8_depthwise *depthwise)
{
    const int64_t taps = window->kernel_h * window->kernel_w;
    *depthwise = (q8_depthwise){
        .slide = q8_slide_of(window),
        .channels = window->c,
        .taps = taps,
        .pixels = window->n * window->oh * window->ow,
    };
    const int64_t parts = q8_split(
        depthwise->pixels, q8_ceil_divide(Q8_DEPTHWISE_PART_MACS, taps * window->c),
        &depthwise->pixels_per_part);
    q8_step *step = q8_plan_append(plan, state_bytes, parts, run);
    if (!step)
        return NULL;
    if (!q8_multiply(depthwise->pixels * window->c, taps, &step->macs))
        step->macs = INT64_MAX;
    q8_product_name(step, window, window->c, plan->kernels->name);
    return step;
}

void q8_depthwise_weights(const q8_window *window, size_t element_bytes, const void *weights,
                          void *packed)
{
    const uint8_t *from = weights;
    const size_t channels = (size_t)window->c, kernel_h = (size_t)window->kernel_h;
    for (size_t c = 0; c < channels; c++)
        for (size_t kh = 0; kh < kernel_h; kh++)
            for (size_t kw = 0; kw < (size_t)window->kernel_w; kw++, from += element_bytes)
                memcpy((uint8_t *)packed + ((kw * kernel_h + kh) * channels + c) * element_bytes,
                       from, element_bytes);
}

/* ---- adding ---- */

typedef struct {
    q8_depthwise shape;
    q8_conv_numbers numbers;
    const int8_t *weights;
    const int8_t *ones;     /* NULL unless a weight has a zero point: gives the sums of x */
    size_t sums_bias_at, sums_at, acc_at; /* in the scratch */
} depthwise_state;

static int make_weights(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                        depthwise_state *state)
{
    const int64_t channels = window->c, count = state->shape.taps * channels;
    int8_t *weights = q8_plan_allocate(plan, count, 1);
    int8_t *ones = state->numbers.weight_zero_point ? q8_plan_allocate(plan, count, 1) : NULL;
    if (plan->status)
        return plan->status;
    q8_depthwise_weights(window, 1, conv->weights, weights);
    for (int64_t i = 0; i < count; i++)
        state->numbers.weight_sums[i % channels] += weights[i];
    if (ones)
        memset(ones, 1, (size_t)count);
    state->weights = weights;
    state->ones = ones;
    return Q8_OK;
}

static size_t lay_out_scratch(depthwise_state *state)
{
    size_t total = 0;
    const size_t channels = (size_t)state->shape.channels;
    const size_t pixels = (size_t)state->shape.slide.pixels;
    q8_reserve(&total, state->shape.slide.pointer_bytes);
    if (state->ones) {
        state->sums_bias_at = q8_reserve(&total, channels * sizeof(int32_t));
        state->sums_at = q8_reserve(&total, pixels * channels * sizeof(int32_t));
    }
    if (state->ones || state->numbers.most_sum || state->numbers.output.dtype == Q8_F32)
        state->acc_at = q8_reserve(&total, pixels * channels * sizeof(int32_t));
    return total;
}

static void run(const q8_step *step, const q8_run *run, int64_t part);

int q8_plan_add_depthwise(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                          q8_conv_numbers *numbers, q8_conv_now *now)
{
    q8_depthwise shape;
    q8_step *step = q8_depthwise_append(plan, window, sizeof(depthwise_state), run, &shape);
    if (!step)
        return plan->status;
    depthwise_state *state = step->state;
    state->shape = shape;
    state->numbers = *numbers;
    if (q8_conv_numbers_copy(plan, conv, NULL, window->c, window->c, &state->numbers) != Q8_OK ||
        make_weights(plan, conv, window, state) != Q8_OK)
        return plan->status;
    q8_conv_numbers_fold(&state->numbers, 0);
    if (q8_conv_now_of(plan, conv, now, &state->numbers) != Q8_OK)
        return plan->status;
    step->scratch_bytes = lay_out_scratch(state);
    return Q8_OK;
}

/* ---- running ---- */

/* acc -= weight_zero_point * sums, both [pixels][channels]. */
static void correct(const q8_conv_numbers *numbers, size_t pixels, size_t channels,
                    const int32_t *sums, int32_t *acc)
{
    for (size_t p = 0; p < pixels; p++, acc += channels, sums += channels)
        for (size_t c = 0; c < channels; c++)
            acc[c] = (int32_t)((uint32_t)acc[c] -
                               (uint32_t)numbers->weight_zero_point[c] * (uint32_t)sums[c]);
}

static void sum_taps(const depthwise_state *state, const q8_run *run, q8_depthwise_job job)
{
    int32_t *bias = (int32_t *)(void *)(run->scratch + state->sums_bias_at);
    for (size_t c = 0; c < job.channels; c++)
        bias[c] = -state->numbers.x_zero_point * (int32_t)job.taps;
    job.w = state->ones;
    job.bias = bias;
    job.multiplier = NULL;
    job.y = run->scratch + state->sums_at;
    job.y_step = job.channels;
    run->plan->kernels->conv.depthwise(&job);
}

/* The way over accumulators: floats, or weights with a zero point. */
static void run_accumulators(const depthwise_state *state, const q8_run *run,
                             const q8_depthwise_job *given, uint8_t *y)
{
    const q8_conv_numbers *numbers = &state->numbers;
    q8_depthwise_job job = *given;
    int32_t *acc = (int32_t *)(void *)(run->scratch + state->acc_at);
    job.multiplier = NULL;
    job.y = acc;
    job.y_step = job.channels;
    run->plan->kernels->conv.depthwise(&job);
    if (state->ones) {
        sum_taps(state, run, job);
        correct(numbers, job.pixels, job.channels,
                (const int32_t *)(const void *)(run->scratch + state->sums_at), acc);
    }
    for (size_t p = 0; p < job.pixels; p++, acc += job.channels)
        q8_store_accumulators(run->plan->kernels, &numbers->output, numbers->over_floats,
                              job.channels, acc, given->multiplier, numbers->float_bias, y,
                              p * job.channels);
}

static void run_pixels(const depthwise_state *state, const q8_run *run, q8_depthwise_job *job,
                       uint8_t *y)
{
    const q8_conv_numbers *numbers = &state->numbers;
    if (state->ones || numbers->output.dtype == Q8_F32 || numbers->over_floats) {
        run_accumulators(state, run, job, y);
        return;
    }
    job->y = y;
    job->y_step = job->channels;
    run->plan->kernels->conv.depthwise(job);
}

static void run(const q8_step *step, const q8_run *run, int64_t part)
{
    const depthwise_state *state = step->state;
    const q8_depthwise *shape = &state->shape;
    const q8_conv_numbers *numbers = &state->numbers;
    const size_t channels = (size_t)shape->channels;
    const void **pointers = (const void **)(void *)run->scratch;
    const q8_picture picture = {.x = q8_read(run, q8_tensor_of(run, numbers->x)),
                                .padding = numbers->padding,
                                .pixel_bytes = channels};
    uint8_t *y = q8_write(run, q8_tensor_of(run, numbers->y));
    q8_depthwise_job job = {
        .channels = channels,
        .taps = (size_t)shape->taps,
        .x = (const uint8_t *const *)(const void *)pointers,
        .x_step = shape->slide.x_step,
        .w = state->weights,
        .bias = numbers->bias,
        .multiplier = numbers->multiplier,
        .zero_point = numbers->output.zero_point,
        .low = numbers->output.low,
        .high = numbers->output.high,
    };
    const q8_range range = q8_part_range(part, shape->pixels_per_part, shape->pixels);
    for (int64_t first = range.first, count; first < range.end; first += count) {
        count = q8_slide_count(&shape->slide, first, range.end);
        q8_slide_pointers(&shape->slide, &picture, first, count, pointers);
        job.pixels = (size_t)count;
        run_pixels(state, run, &job,
                   y + (size_t)first * channels * q8_element_bytes(numbers->output.dtype));
    }
}
