/* depthwise.c - eight-bit convolution of each channel with a kernel of its own.
 *
 * The usual windows go to a kernel that takes several lines at once; all others, and results that
 * are not codes, pixel by pixel through lists of pointers. */
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

enum { MOST_LINES = 8, MOST_KERNEL = 5, MOST_ROWS = MOST_KERNEL + 2 * (MOST_LINES - 1) };
enum { LEAST_PAIRED = 8 }; /* lines of a part */

typedef struct {
    q8_depthwise shape;
    q8_window window;
    int64_t line_parts;     /* worthwhile ones */
    bool varies;            /* numbers are known at run time only */
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
static void run_lines(const q8_step *step, const q8_run *run, int64_t part);

/* Whether the kernel for lines does this; the reference's is no faster than going by pixels. */
static bool takes_lines(const q8_plan *plan, const depthwise_state *state)
{
    const q8_window *w = &state->window;
    return w->kernel_h == w->kernel_w && (w->kernel_h == 3 || w->kernel_h == 5) &&
           w->stride_h == w->stride_w && w->stride_h <= 2 && w->dilation_h == 1 &&
           w->dilation_w == 1 && !state->ones && state->numbers.output.dtype == Q8_U8 &&
           plan->kernels->conv.depthwise_lines != q8_conv_scalar.depthwise_lines &&
           (state->varies || state->numbers.is_near);
}

/* Every thread's share of the lines is that of the step before, so that most of what it reads lies
 * in its cache; cut into a few, so that others can take over from one that was disturbed. */
static int64_t line_parts_for(const q8_step *step, int threads)
{
    const depthwise_state *state = step->state;
    const int64_t lines = state->window.n * state->window.oh;
    const int64_t each = q8_least(state->line_parts / threads, Q8_PARTS_PER_THREAD);
    if (threads == 1 || each == 0)
        return q8_least(q8_least(threads, state->line_parts), lines);
    return q8_least(each * threads, lines);
}

/* The lines of a part; an even number of them, which kernels like to take in pairs, unless the
 * parts are small. */
static q8_range part_lines(const depthwise_state *state, int64_t parts, int64_t part)
{
    const int64_t lines = state->window.n * state->window.oh;
    const int64_t unit = lines >= parts * LEAST_PAIRED ? 2 : 1, units = q8_ceil_divide(lines, unit);
    return (q8_range){units * part / parts * unit,
                      q8_least(units * (part + 1) / parts * unit, lines)};
}

int q8_plan_add_depthwise(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                          q8_conv_numbers *numbers, q8_conv_now *now)
{
    q8_depthwise shape;
    q8_step *step = q8_depthwise_append(plan, window, sizeof(depthwise_state), run, &shape);
    if (!step)
        return plan->status;
    depthwise_state *state = step->state;
    state->shape = shape;
    state->window = *window;
    state->numbers = *numbers;
    if (q8_conv_numbers_copy(plan, conv, NULL, window->c, window->c, &state->numbers) != Q8_OK ||
        make_weights(plan, conv, window, state) != Q8_OK)
        return plan->status;
    step->ranged = numbers->output.dtype == Q8_F32 ? conv->y : -1;
    q8_conv_numbers_fold(&state->numbers, 0);
    if (q8_conv_now_of(plan, conv, now, &state->numbers) != Q8_OK)
        return plan->status;
    step->scratch_bytes = lay_out_scratch(state);
    state->varies = conv->x_scale_tensor >= 0 || conv->x_zero_point_tensor >= 0;
    if (takes_lines(plan, state)) {
        const int64_t worthwhile = step->macs / Q8_DEPTHWISE_PART_MACS;
        state->line_parts = worthwhile > 1 ? worthwhile : 1;
        step->parts_for = line_parts_for;
        step->run = run_lines;
    }
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
static void run_accumulators(const q8_step *step, const q8_run *run,
                             const q8_depthwise_job *given, int64_t first, uint8_t *y,
                             float found[2])
{
    const depthwise_state *state = step->state;
    const float *residual = q8_conv_residual(run, &state->numbers);
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
    const q8_sums sums = {.rows = job.pixels, .columns = job.channels, .acc = acc,
                          .acc_step = job.channels, .multiplier = given->multiplier,
                          .float_bias = numbers->float_bias, .over_floats = numbers->over_floats,
                          .residual = residual ? residual + (size_t)first * job.channels : NULL,
                          .y = y, .y_step = job.channels};
    q8_store_sums(run->plan->kernels, &numbers->output, &sums);
    q8_finish_floats(step, run->plan->kernels, 1, job.pixels * job.channels, (float *)(void *)y,
                     job.pixels * job.channels, found);
}

/* Pixels from `first` on, to y. */
static void run_pixels(const q8_step *step, const q8_run *run, q8_depthwise_job *job,
                       int64_t first, uint8_t *y, float found[2])
{
    const depthwise_state *state = step->state;
    const q8_conv_numbers *numbers = &state->numbers;
    y += (size_t)first * job->channels * q8_element_bytes(numbers->output.dtype);
    if (state->ones || numbers->output.dtype == Q8_F32 || numbers->over_floats) {
        run_accumulators(step, run, job, first, y, found);
        return;
    }
    job->y = y;
    job->y_step = job->channels;
    run->plan->kernels->conv.depthwise(job);
}

/* Output pixels range.first .. range.end - 1, through lists of pointers. */
static void run_range(const q8_step *step, const q8_run *run, q8_range range)
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
    float found[2] = {0.0f, 0.0f};
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
    for (int64_t first = range.first, count; first < range.end; first += count) {
        count = q8_slide_count(&shape->slide, first, range.end);
        q8_slide_pointers(&shape->slide, &picture, first, count, pointers);
        job.pixels = (size_t)count;
        run_pixels(step, run, &job, first, y, found);
        q8_output_table(run->plan->kernels, &numbers->output, job.pixels, channels,
                        y + (size_t)first * channels, channels);
    }
    q8_widen_range(step, run, found);
}

static void run(const q8_step *step, const q8_run *run, int64_t part)
{
    const depthwise_state *state = step->state;
    run_range(step, run, q8_part_range(part, state->shape.pixels_per_part, state->shape.pixels));
}

/* ---- running whole lines ---- */

/* Lines first .. first + job->lines - 1 of picture n. */
static void run_some_lines(const depthwise_state *state, const q8_run *run,
                           q8_depthwise_lines_job *job, int64_t n, int64_t first)
{
    const q8_window *w = &state->window;
    const uint8_t *rows[MOST_ROWS];
    const size_t line_bytes = (size_t)(w->w * w->c);
    const uint8_t *x = q8_read(run, q8_tensor_of(run, state->numbers.x));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->numbers.y));
    const size_t count = job->kernel + (job->lines - 1) * job->stride;
    for (size_t row = 0; row < count; row++) {
        const int64_t ih = first * w->stride_h - w->pad_top + (int64_t)row;
        rows[row] = ih >= 0 && ih < w->h ? x + (size_t)(n * w->h + ih) * line_bytes : NULL;
    }
    job->x = rows;
    job->y = y + (size_t)(n * w->oh + first) * job->y_line;
    run->plan->kernels->conv.depthwise_lines(job);
    q8_output_table(run->plan->kernels, &state->numbers.output, job->lines, job->y_line, job->y,
                    job->y_line);
}

static q8_depthwise_lines_job lines_job(const depthwise_state *state)
{
    const q8_window *w = &state->window;
    const q8_conv_numbers *numbers = &state->numbers;
    const size_t channels = (size_t)w->c;
    return (q8_depthwise_lines_job){
        .pixels = (size_t)w->ow,
        .channels = channels,
        .kernel = (size_t)w->kernel_h,
        .stride = (size_t)w->stride_h,
        .width = (size_t)w->w,
        .x_step = channels,
        .first = -w->pad_left,
        .padding = numbers->padding,
        .w = state->weights,
        .bias = numbers->bias,
        .multiplier = numbers->multiplier,
        .is_small = numbers->is_small,
        .zero_point = numbers->output.zero_point,
        .low = numbers->output.low,
        .high = numbers->output.high,
        .y_line = (size_t)w->ow * channels,
        .y_step = channels,
    };
}

static void run_lines(const q8_step *step, const q8_run *run, int64_t part)
{
    const depthwise_state *state = step->state;
    const q8_window *w = &state->window;
    const bool is_bounded = state->numbers.is_near && !state->numbers.over_floats;
    q8_depthwise_lines_job job = lines_job(state);
    const q8_range range = part_lines(state, line_parts_for(step, run->threads), part);
    for (int64_t line = range.first, count; line < range.end; line += count) {
        const int64_t n = line / w->oh, first = line % w->oh;
        const int64_t pixel = line * w->ow;
        count = q8_least(q8_least(MOST_LINES, range.end - line), w->oh - first);
        job.lines = (size_t)count;
        if (is_bounded)
            run_some_lines(state, run, &job, n, first);
        else
            run_range(step, run, (q8_range){pixel, pixel + count * w->ow});
    }
}
