/* expand.c - a convolution of codes whose floats go through a depthwise convolution at once.
 *
 *     x -> product -> function -> lines of floats, in the scratch -> depthwise -> function -> y
 *
 * A part is some channels of a picture, a panel or a piece of one, whose lines are made from top to
 * bottom, a few at a time, so that they stay in the second cache. 16 channels lie together, pixels of
 * a line behind one another, padding included. */
#include <math.h>
#include <string.h>

#include "conv.h"
#include "depthwise.h"

/* Lines of what the depthwise convolution reads: those of a panel are a fraction of the second cache,
 * those of 16 channels of the first. */
#define LINES_BYTES (192 * 1024)
#define DIRECT_LINES_BYTES (24 * 1024)
#define LEAST_DIRECT_LINES 2
/* Results that stay in the first cache until they are finished. */
#define RESULTS_BYTES (8 * 1024)
enum { GROUP = 16, MOST_RESULT_LINES = 16, MOST_STRIDE = 2, MOST_KERNEL = 5 }; /* GROUP: channels */

typedef struct {
    const q8_conv_state *conv; /* of the step before it became this one */
    q8_step within;            /* what is done to the convolution's floats */
    q8_window window;          /* of the depthwise convolution */
    int32_t y;
    int32_t found[3];            /* least, greatest and sums of channels, or -1 */
    float low, high;
    const float *weights, *bias; /* [kw][kh][c] */
    bool is_direct;              /* the product's kernel makes lines itself */
    int64_t together;            /* channels, at most, whose lines are there at a time */
    int64_t lines, x_lines;      /* of y and of x that are there at a time; line i of x is in place
                                    (i + padding) % x_lines */
    int64_t result_lines;        /* of y that are made before they are finished */
    int64_t line_pixels;         /* of x, with padding */
    size_t lines_at, results_at; /* in the scratch */
} expand_state;

/* ---- adding ---- */

static bool is_window(const q8_window *w)
{
    return w->kernel_h == w->kernel_w && (w->kernel_h == 3 || w->kernel_h == 5) &&
           w->stride_h == w->stride_w && (w->stride_h == 1 || w->stride_h == 2) &&
           w->dilation_h == 1 && w->dilation_w == 1 && w->c == w->oc;
}

/* The step that can be followed by this convolution; NULL with the error set. */
static q8_step *step_before(q8_plan *plan, const q8_conv_f32 *depthwise)
{
    const char *what = "then_depthwise";
    q8_step *last = plan->step_count ? &plan->steps[plan->step_count - 1] : NULL;
    const q8_conv_state *conv = last ? q8_conv_state_of(last) : NULL;
    if (conv && last->ranged == depthwise->x && last->range < 0 && conv->numbers.residual < 0 &&
        conv->product.groups == 1 && !conv->numbers.weight_zero_point && !conv->is_gated)
        return last;
    q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: the last step cannot keep tensor %d to itself",
                 what, depthwise->x);
    return NULL;
}

/* One tap, rows of which lie at one distance from each other, copied or not; and a function that the
 * kernel knows. */
static bool is_direct(const q8_gemm_table *gemm, const expand_state *state)
{
    const q8_product *product = &state->conv->product;
    const q8_output *output = &state->conv->numbers.output;
    const bool has_limits = !isinf(output->float_low) || !isinf(output->float_high);
    const int function = state->within.function;
    return gemm->lines && product->k <= gemm->lines_depth &&
           (product->gathers || q8_has_even_rows(&product->window)) &&
           (function < 0 || (function == Q8_UNARY_SILU && !has_limits));
}

static void lay_out(expand_state *state, q8_step *step)
{
    const q8_window *w = &state->window;
    const int64_t least = state->window.kernel_h, stride = w->stride_h;
    const int64_t seen = (w->ow - 1) * stride + w->kernel_w, given = w->pad_left + w->w;
    const int64_t channels = state->together;
    const int64_t bytes = state->is_direct ? DIRECT_LINES_BYTES * channels / GROUP : LINES_BYTES;
    state->line_pixels = seen > given ? seen : given;
    const int64_t fitting = bytes / (state->line_pixels * channels * (int64_t)sizeof(float));
    const int64_t fewest = state->is_direct ? LEAST_DIRECT_LINES : 1;
    const int64_t lines = fitting < least ? 1 : (fitting - least) / stride + 1;
    state->lines = q8_least(lines < fewest ? fewest : lines, w->oh);
    state->x_lines = (state->lines - 1) * stride + w->kernel_h;
    const size_t pixel_bytes = (size_t)channels * sizeof(float);
    state->lines_at = q8_reserve(&step->scratch_bytes,
                                 (size_t)(state->x_lines * state->line_pixels) * pixel_bytes);
    const int64_t line_bytes = w->ow * GROUP * (int64_t)sizeof(float);
    const int64_t result_lines = q8_least(q8_ceil_divide(RESULTS_BYTES, line_bytes), state->lines);
    state->result_lines = q8_least(result_lines, MOST_RESULT_LINES);
    state->results_at =
        q8_reserve(&step->scratch_bytes, (size_t)(state->result_lines * line_bytes));
}

static int copy_weights(q8_plan *plan, const q8_conv_f32 *depthwise, expand_state *state)
{
    const q8_window *w = &state->window;
    float *weights = q8_plan_allocate(plan, w->kernel_h * w->kernel_w * w->c, sizeof(float));
    float *bias = q8_plan_allocate(plan, w->c, sizeof(float));
    if (plan->status)
        return plan->status;
    q8_depthwise_weights(w, sizeof(float), depthwise->weights, weights);
    if (depthwise->bias)
        memcpy(bias, depthwise->bias, (size_t)w->c * sizeof(float));
    state->weights = weights;
    state->bias = bias;
    return Q8_OK;
}

static void run_expand(const q8_step *step, const q8_run *run, int64_t part);

/* How many channels a part has: a panel, or half or a quarter of one, which takes a little longer per
 * channel, where threads would else wait for each other. */
static int64_t part_channels(const expand_state *state, int threads)
{
    const int64_t panel = state->conv->product.columns, all = state->window.c;
    int64_t best = panel, least = INT64_MAX;
    for (int64_t pieces = 1; pieces <= 4 && panel / pieces % GROUP == 0; pieces *= 2) {
        const int64_t width = panel / pieces;
        const int64_t rounds = q8_ceil_divide(q8_ceil_divide(all, width), threads);
        const int64_t time = rounds * width * (15 + pieces);
        if (time < least) {
            least = time;
            best = width;
        }
    }
    return best;
}

static int64_t parts_for(const q8_step *step, int threads)
{
    const expand_state *state = step->state;
    return state->window.n * q8_ceil_divide(state->window.c, part_channels(state, threads));
}

static int join(q8_plan *plan, q8_step *step, const q8_conv_f32 *depthwise,
                const q8_window *window)
{
    expand_state *state = q8_plan_allocate(plan, 1, sizeof *state);
    if (!state)
        return plan->status;
    *state = (expand_state){.conv = step->state, .within = *step, .window = *window,
                            .y = depthwise->y, .found = {-1, -1, -1}, .low = depthwise->low,
                            .high = depthwise->high};
    if (copy_weights(plan, depthwise, state) != Q8_OK)
        return plan->status;
    const q8_product *product = &state->conv->product;
    state->is_direct = is_direct(plan->kernels->gemm, state);
    state->together = state->is_direct && !product->gathers
                          ? GROUP
                          : q8_ceil_divide(q8_least(product->columns, window->c), GROUP) * GROUP;
    lay_out(state, step);
    step->run = run_expand;
    step->state = state;
    step->ranged = depthwise->y;
    step->function = -1;
    step->parts_for = parts_for;
    int64_t macs = 0;
    if (q8_multiply(window->n * window->oh * window->ow * window->c,
                    window->kernel_h * window->kernel_w, &macs))
        step->macs += macs;
    q8_step_name(step, "conv %lldx%lld, depthwise %lldx%lld %s",
                 (long long)state->conv->product.window.kernel_h,
                 (long long)state->conv->product.window.kernel_w, (long long)window->kernel_h,
                 (long long)window->kernel_w, plan->kernels->gemm->name);
    return Q8_OK;
}

int q8_plan_then_depthwise(q8_plan *plan, const q8_conv_f32 *depthwise)
{
    const char *what = "then_depthwise";
    if (!depthwise)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: no descriptor", what);
    const q8_tensor *x = q8_plan_operand(plan, depthwise->x, Q8_F32, 4, what);
    const q8_tensor *y = q8_plan_result(plan, depthwise->y, Q8_F32, 4, what);
    if (!x || !y)
        return plan->status;
    const q8_window window = Q8_CONV_WINDOW(depthwise, x, y);
    if (q8_conv_check(plan, &window, depthwise->groups, x, y, what) != Q8_OK)
        return plan->status;
    if (!depthwise->weights || depthwise->groups != window.c || !is_window(&window))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: no such window", what);
    q8_step *step = step_before(plan, depthwise);
    if (!step)
        return plan->status;
    const q8_conv_numbers *numbers = &((const q8_conv_state *)step->state)->numbers;
    if (q8_plan_apart(plan, &plan->tensors[numbers->x], y, false, what))
        return plan->status;
    return join(plan, step, depthwise, &window);
}

int q8_plan_find_channels(q8_plan *plan, int y, int least, int greatest, int sums)
{
    const char *what = "find_channels";
    const int found[3] = {least, greatest, sums};
    const q8_tensor *written = q8_plan_operand(plan, y, Q8_F32, 4, what);
    q8_step *last = plan->step_count ? &plan->steps[plan->step_count - 1] : NULL;
    if (!written)
        return plan->status;
    if (!last || last->run != run_expand || last->ranged != y)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT,
                            "%s: the last step cannot do this to tensor %d", what, y);
    expand_state *state = last->state;
    const q8_tensor *x = &plan->tensors[state->conv->numbers.x];
    for (int i = 0; i < 3; i++) {
        const q8_tensor *tensor = q8_plan_result(plan, found[i], Q8_F32, 2, what);
        if (!tensor || q8_plan_apart(plan, written, tensor, false, what) ||
            q8_plan_apart(plan, x, tensor, false, what))
            return plan->status;
        if (tensor->dims[0] != written->dims[0] || tensor->dims[1] != written->dims[3])
            return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: not one number per channel", what);
        for (int j = 0; j < i; j++)
            if (q8_plan_apart(plan, &plan->tensors[found[j]], tensor, false, what))
                return plan->status;
    }
    memcpy(state->found, found, sizeof found);
    return Q8_OK;
}

/* ---- running ---- */

typedef struct {
    const expand_state *state;
    const q8_step *step;
    const q8_run *run;
    q8_product_walk walk;
    q8_panel panel;
    int64_t picture;
    size_t first_channel, channels;
    size_t first_in_panel;                /* of the channels */
    size_t line, group;                   /* elements of a line, and of all lines, of 16 channels */
    float found[2];                       /* range */
    float *channel_finds[3];              /* least, greatest, sums; or NULL */
} context;

/* Finds of the part's channels, which begin with 0. */
static void clear_finds(context *c)
{
    for (int i = 0; i < 3 && c->state->found[i] >= 0; i++) {
        float *all = q8_write(c->run, q8_tensor_of(c->run, c->state->found[i]));
        c->channel_finds[i] = all + (size_t)(c->picture * c->state->window.c) + c->first_channel;
        memset(c->channel_finds[i], 0, c->channels * sizeof *all);
    }
}

static void clear_lines(const context *c, int64_t first, int64_t end, float *at)
{
    for (size_t channel = 0; channel < c->channels; channel += GROUP, at += c->group)
        memset(at, 0, (size_t)(end - first) * c->line * sizeof *at);
}

/* Rows of the product, which lie behind one another from a on, as floats in lines that begin at y. */
static void make_rows(const context *c, const uint8_t *a, int64_t first, int64_t rows, float *y)
{
    const q8_product *product = c->walk.product;
    const q8_gemm_table *gemm = c->run->plan->kernels->gemm;
    const q8_output *output = c->panel.output;
    q8_gemm_lines_job job = {
        .rows = (size_t)rows,
        .k = product->k,
        .a = a,
        .a_step = product->k,
        .op = c->state->within.function,
        .low = output->float_low,
        .high = output->float_high,
        .first = (size_t)first,
        .line_rows = (size_t)c->state->window.w,
        .line_step = c->line,
    };
    for (size_t channel = 0; channel < c->channels; channel += GROUP, y += c->group) {
        const size_t at = c->first_in_panel + channel, next = c->first_channel + channel + GROUP;
        const size_t column_bytes = gemm->kr * (size_t)gemm->weight_bytes;
        job.ahead = (ptrdiff_t)(GROUP * column_bytes);
        if (next >= (size_t)c->state->window.c)
            job.ahead = 0;
        else if (next % gemm->nr == 0)
            job.ahead += (ptrdiff_t)(c->panel.panel_bytes - gemm->nr * column_bytes);
        job.b = (const uint8_t *)c->panel.b + at * column_bytes;
        job.bias = c->panel.bias + at;
        job.scale = c->panel.multiplier + at;
        job.float_bias = c->panel.float_bias ? c->panel.float_bias + at : NULL;
        job.y = y;
        gemm->lines(&job);
    }
}

/* Rows first .. first + rows - 1 of the picture's, of which the first stands in the line at y. */
static void make_direct(const context *c, int64_t first, int64_t rows, float *y)
{
    const q8_product *product = c->walk.product;
    const q8_window *w = &c->state->window;
    const int64_t base = c->picture * w->h * w->w, place = first % w->w;
    if (!product->gathers) {
        const uint8_t *x = c->walk.picture.x;
        make_rows(c, x + (size_t)(base + first) * product->k, place, rows, y);
        return;
    }
    const int64_t blocks = q8_ceil_divide(rows, product->block_rows);
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t at = rows * i / blocks, end = rows * (i + 1) / blocks;
        const q8_block block = q8_product_block(&c->walk, base + first + at, end - at, 0);
        make_rows(c, block.a[0], place + at, end - at, y);
    }
}

/* Rows first .. end - 1 of the picture's, of which the first stands in the line at y. */
static void make_by_tiles(const context *c, int64_t first, int64_t end, float *y)
{
    const q8_window *w = &c->state->window;
    const int64_t most = c->walk.product->block_rows, base = c->picture * w->h * w->w;
    q8_lines places = {.rows = w->w, .step = c->line, .group = c->group};
    q8_panel panel = c->panel;
    panel.lines = &places;
    for (int64_t row = first, rows; row < end; row += rows) {
        rows = q8_least(most, end - row);
        const q8_block block = q8_product_block(&c->walk, base + row, rows, 0);
        panel.wide = q8_conv_widened(c->state->conv, c->run, &block);
        places.first = row % w->w;
        panel.y = y + (size_t)(row / w->w - first / w->w) * c->line;
        q8_panel_run(&panel, &block);
    }
}

/* Lines of x first .. end - 1, some of which may be outside, where there are zeros, from `at` on. */
static void make_run(const context *c, int64_t first, int64_t end, float *at)
{
    const expand_state *state = c->state;
    const q8_window *w = &state->window;
    const int64_t begin = q8_least(first > 0 ? first : 0, end), inside = q8_least(end, w->h);
    float *y = at + (size_t)(begin - first) * c->line + (size_t)w->pad_left * GROUP;
    clear_lines(c, first, begin, at);
    if (begin < inside && state->is_direct)
        make_direct(c, begin * w->w, (inside - begin) * w->w, y);
    else if (begin < inside)
        make_by_tiles(c, begin * w->w, inside * w->w, y);
    const int64_t outside = begin > w->h ? begin : w->h;
    if (outside < end)
        clear_lines(c, outside, end, at + (size_t)(outside - first) * c->line);
}

/* The place of a line of x. */
static int64_t place_of(const expand_state *state, int64_t line)
{
    return (line + state->window.pad_top) % state->x_lines;
}

/* Lines of x first .. end - 1 in their places. */
static void make_lines(const context *c, int64_t first, int64_t end, float *lines)
{
    for (int64_t line = first, stop; line < end; line = stop) {
        const int64_t place = place_of(c->state, line);
        stop = q8_least(end, line + c->state->x_lines - place);
        make_run(c, line, stop, lines + (size_t)place * c->line);
    }
}

/* `count` lines of y, from `first` on, of 16 channels, of the lines of x that are there. */
static void make_results(context *c, int64_t first, int64_t count, size_t channel,
                         const float *lines)
{
    const expand_state *state = c->state;
    const q8_kernels *kernels = c->run->plan->kernels;
    const q8_window *w = &state->window;
    const size_t all = (size_t)w->c, at = c->first_channel + channel;
    const size_t channels = c->channels - channel < GROUP ? c->channels - channel : GROUP;
    float *results = (float *)(void *)(c->run->scratch + state->results_at);
    const float *x[(MOST_RESULT_LINES - 1) * MOST_STRIDE + MOST_KERNEL];
    const int64_t seen = (count - 1) * w->stride_h + w->kernel_h;
    for (int64_t i = 0, line = first * w->stride_h - w->pad_top; i < seen; i++, line++)
        x[i] = lines + (size_t)place_of(state, line) * c->line;
    float *y = (float *)q8_write(c->run, q8_tensor_of(c->run, state->y)) + at +
               (size_t)((c->picture * w->oh + first) * w->ow) * all;
    const q8_depthwise_lines_f32_job job = {
        .lines = (size_t)count,
        .pixels = (size_t)w->ow,
        .channels = channels,
        .kernel = (size_t)w->kernel_h,
        .stride = (size_t)w->stride_h,
        .x = x,
        .w = state->weights + at,
        .w_step = all,
        .bias = state->bias + at,
        .low = state->low,
        .high = state->high,
        .y = results,
        .next = y,
        .next_step = all * sizeof *y,
    };
    kernels->f32.depthwise_lines(&job);
    q8_finish_job finish = {.rows = (size_t)(count * w->ow), .columns = channels, .x = results,
                            .x_step = GROUP, .y = y, .y_step = all, .y_group = GROUP};
    if (c->channel_finds[0]) {
        finish.least = c->channel_finds[0] + channel;
        finish.greatest = c->channel_finds[1] + channel;
        finish.sums = c->channel_finds[2] + channel;
    }
    q8_finish_as(c->step, c->found, &finish);
    kernels->f32.finish(&finish);
}

/* Lines first .. first + count - 1 of y. */
static void finish_lines(context *c, int64_t first, int64_t count, const float *lines)
{
    for (size_t channel = 0; channel < c->channels; channel += GROUP, lines += c->group)
        for (int64_t done = 0, some; done < count; done += some) {
            some = q8_least(c->state->result_lines, count - done);
            make_results(c, first + done, some, channel, lines);
        }
}

/* What no line of x is written to. */
static void clear_padding(const context *c, float *lines)
{
    const size_t before = (size_t)c->state->window.pad_left * GROUP;
    const size_t given = before + (size_t)c->state->window.w * GROUP;
    for (size_t channel = 0; channel < c->channels; channel += GROUP)
        for (int64_t line = 0; line < c->state->x_lines; line++, lines += c->line) {
            memset(lines, 0, before * sizeof *lines);
            memset(lines + given, 0, (c->line - given) * sizeof *lines);
        }
}

/* All lines, from top to bottom. */
static void run_strips(context *c)
{
    const expand_state *state = c->state;
    const q8_window *w = &state->window;
    float *lines = (float *)(void *)(c->run->scratch + state->lines_at);
    int64_t made = -w->pad_top; /* the next line of x */
    clear_padding(c, lines);
    for (int64_t first = 0, count; first < w->oh; first += count) {
        count = q8_least(state->lines, w->oh - first);
        const int64_t begin = first * w->stride_h - w->pad_top;
        const int64_t end = begin + (count - 1) * w->stride_h + w->kernel_h;
        make_lines(c, made, end, lines);
        made = end;
        finish_lines(c, first, count, lines);
    }
}

/* `channels` of a panel, from `first` on. */
static q8_panel piece_of(const expand_state *state, const q8_run *run, int64_t panel, int64_t first,
                         int64_t channels)
{
    const q8_gemm_table *gemm = run->plan->kernels->gemm;
    q8_panel piece = q8_conv_panel(state->conv, run, panel);
    piece.columns = (size_t)channels;
    piece.b = (const uint8_t *)piece.b + (size_t)first * gemm->kr * (size_t)gemm->weight_bytes;
    piece.bias += first;
    piece.multiplier += first;
    piece.float_bias = piece.float_bias ? piece.float_bias + first : NULL;
    piece.step = &state->within;
    piece.y_step = GROUP;
    return piece;
}

static void run_expand(const q8_step *step, const q8_run *run, int64_t part)
{
    const expand_state *state = step->state;
    const q8_product *product = &state->conv->product;
    const int64_t width = part_channels(state, run->threads), all = state->window.c;
    const int64_t pieces = q8_ceil_divide(all, width), first = part % pieces * width;
    const int64_t channels = q8_least(width, all - first);
    context c = {
        .state = state,
        .step = step,
        .run = run,
        .walk = {.product = product,
                 .threads = run->threads,
                 .picture = q8_conv_picture(state->conv, run),
                 .scratch = run->scratch},
        .panel = piece_of(state, run, first / product->columns, first % product->columns,
                          channels),
        .picture = part / pieces,
        .line = (size_t)state->line_pixels * GROUP,
    };
    c.group = (size_t)state->x_lines * c.line;
    c.panel.range = c.found;
    for (int64_t at = first; at < first + channels; at += state->together) {
        c.first_channel = (size_t)at;
        c.first_in_panel = (size_t)(at - first);
        c.channels = (size_t)q8_least(state->together, first + channels - at);
        clear_finds(&c);
        run_strips(&c);
    }
    q8_widen_range(step, run, c.found);
}
