/* conv_winograd.c - eight-bit 3x3 convolutions of stride 1 by Winograd's products, where the CPU has
 * no dot product of bytes: a quarter of the multiplications, the same bytes.
 *
 * Results are cut into tiles of 4 x 4. The pixels of a block of tiles are transformed once; then, for
 * each panel of weights, which were transformed when they were packed, 36 products are made and their
 * sums become results (kernels.h). */
#include <string.h>

#include "conv.h"

/* Transformed pixels of a block, which share the second cache with a panel of weights. */
#define BLOCK_BYTES (384 * 1024)
/* A block of fewer leaves a tile of the kernel half empty; a picture of fewer reads more weights
 * than it saves products. */
#define LEAST_TILES 6
#define MOST_TILES 48
/* Results that leave the transform as they are: see kernels.h. */
#define MOST_SUM (1 << 25)
/* Places of a block begin so many elements apart from where they would: else those of deep blocks
 * would all share a few sets of the first cache. */
#define SKEW 32
/* A part below this costs more to hand to a thread than it saves. */
#define PART_MACS 100000

typedef struct {
    q8_conv_state conv; /* product, numbers and panels as a convolution's; scratch as below */
    int64_t lines, columns, tiles; /* of tiles: of a picture, of a line, of all pictures */
    int64_t block_tiles;
    size_t v_step, v_at, m_at;
} winograd;

/* ---- adding ---- */

static int64_t tiles_of(const q8_window *window)
{
    return window->n * q8_ceil_divide(window->oh, Q8_WINOGRAD_TILE) *
           q8_ceil_divide(window->ow, Q8_WINOGRAD_TILE);
}

/* True if no sum of codes times a column's weights leaves MOST_SUM. */
static bool are_sums_small(const q8_conv *conv, int64_t depth, int64_t columns)
{
    for (int64_t column = 0; column < columns; column++) {
        const int8_t *w = conv->weights + column * depth;
        int64_t above = 0, below = 0;
        for (int64_t i = 0; i < depth; i++) {
            above += w[i] > 0 ? w[i] : 0;
            below -= w[i] < 0 ? w[i] : 0;
        }
        if (255 * above >= MOST_SUM || 255 * below >= MOST_SUM)
            return false;
    }
    return true;
}

static bool have_no_zero_point(const q8_conv *conv, int64_t columns)
{
    for (int64_t i = 0; conv->weight_zero_point && i < columns; i++)
        if (conv->weight_zero_point[i])
            return false;
    return true;
}

bool q8_winograd_suits(const q8_plan *plan, const q8_conv *conv, const q8_window *window)
{
    const q8_window *w = window;
    return plan->kernels->gemm->winograd && !conv->gate && conv->groups == 1 && w->kernel_h == 3 &&
           w->kernel_w == 3 && w->stride_h == 1 && w->stride_w == 1 && w->dilation_h == 1 &&
           w->dilation_w == 1 && w->c % Q8_WINOGRAD_CHANNELS == 0 &&
           tiles_of(window) >= LEAST_TILES && have_no_zero_point(conv, w->oc) &&
           are_sums_small(conv, 9 * w->c, w->oc);
}

static int pack_weights(q8_plan *plan, const q8_conv *conv, q8_conv_state *state)
{
    const q8_product *product = &state->product;
    const size_t channels = (size_t)product->window.c;
    const size_t count = Q8_WINOGRAD_PLACES * channels * Q8_WINOGRAD_COLUMNS;
    state->panel_bytes = count * sizeof(int16_t);
    uint8_t *panels = q8_plan_allocate(plan, product->panels, state->panel_bytes);
    for (int64_t panel = 0; panels && panel < product->panels; panel++)
        q8_winograd_pack(q8_panel_width(product, panel), channels,
                         conv->weights + (size_t)q8_panel_first(product, panel) * product->depth,
                         product->depth, (int16_t *)(void *)panels + (size_t)panel * count,
                         state->numbers.weight_sums + panel * product->columns);
    state->panels = panels;
    return plan->status;
}

/* Blocks are of about equal size, and whole tiles of the kernel but for the last. */
static void cut_tiles(const q8_window *window, winograd *state)
{
    const int64_t bytes = Q8_WINOGRAD_PLACES * window->c * (int64_t)sizeof(int16_t);
    int64_t most = BLOCK_BYTES / bytes / LEAST_TILES * LEAST_TILES;
    most = q8_least(most < 2 * LEAST_TILES ? 2 * LEAST_TILES : most, MOST_TILES);
    state->lines = q8_ceil_divide(window->oh, Q8_WINOGRAD_TILE);
    state->columns = q8_ceil_divide(window->ow, Q8_WINOGRAD_TILE);
    state->tiles = tiles_of(window);
    state->block_tiles = q8_least(most, state->tiles);
    state->v_step = (size_t)(state->block_tiles * window->c) + SKEW;
}

static size_t lay_out_scratch(const q8_kernels *kernels, winograd *state)
{
    size_t total = 0;
    const size_t sums =
        (size_t)state->block_tiles * Q8_WINOGRAD_PLACES * Q8_WINOGRAD_COLUMNS * sizeof(int32_t);
    state->v_at = q8_reserve(&total, Q8_WINOGRAD_PLACES * state->v_step * sizeof(int16_t));
    state->m_at = q8_reserve(&total, sums);
    state->conv.tile_at = q8_reserve(&total, q8_tile_bytes(kernels->gemm));
    return total;
}

/* Into how many pieces tiles and panels are cut. Where there are few tiles, threads would all read
 * all weights; it costs less that all transform all pixels. */
typedef struct {
    int64_t tiles, panels;
} cut;

static cut cut_for(const winograd *state, int threads)
{
    const q8_product *product = &state->conv.product;
    if (threads == 1)
        return (cut){1, 1};
    const int64_t macs = q8_product_macs(product) / PART_MACS;
    const int64_t wanted = q8_least(macs + 1, (int64_t)threads * Q8_PARTS_PER_THREAD);
    if (product->window.oc > 2 * state->tiles)
        return (cut){1, q8_least(product->panels, q8_least(wanted, threads))};
    return (cut){q8_least(q8_ceil_divide(state->tiles, LEAST_TILES), wanted), 1};
}

static int64_t parts_for(const q8_step *step, int threads)
{
    const cut pieces = cut_for(step->state, threads);
    return pieces.tiles * pieces.panels;
}

static void run(const q8_step *step, const q8_run *run, int64_t part);

int q8_plan_add_winograd(q8_plan *plan, const q8_conv *conv, const q8_window *window,
                         const q8_conv_numbers *numbers, q8_conv_now *now)
{
    const q8_gemm_table *gemm = plan->kernels->gemm;
    q8_step *step = q8_plan_append(plan, sizeof(winograd), 1, run);
    if (!step)
        return plan->status;
    winograd *own = step->state;
    q8_conv_state *state = &own->conv;
    state->numbers = *numbers;
    state->product = (q8_product){.window = *window, .groups = 1, .element_bytes = 1};
    q8_product_cut(&state->product, q8_tile_shape_of(gemm));
    cut_tiles(window, own);
    step->parts_for = parts_for;
    step->macs = q8_product_macs(&state->product);
    step->ranged = numbers->output.dtype == Q8_F32 ? conv->y : -1;
    step->scratch_bytes = lay_out_scratch(plan->kernels, own);
    q8_product_name(step, window, 1, "avx2 winograd");
    if (q8_conv_numbers_copy(plan, conv, &state->product, window->oc, window->c,
                             &state->numbers) != Q8_OK ||
        pack_weights(plan, conv, state) != Q8_OK)
        return plan->status;
    step->weights = (q8_bytes){state->panels, (size_t)state->product.panels * state->panel_bytes};
    q8_conv_numbers_fold(&state->numbers, 0);
    if (!now)
        q8_conv_begin_as_mantissas(gemm, state);
    return q8_conv_now_of(plan, conv, now, &state->numbers);
}

/* ---- running ---- */

typedef struct {
    const winograd *state;
    const q8_run *run;
    const q8_step *step;
    float *range;
    const float *residual;
    const uint8_t *addend;
    uint8_t *y;
} context;

/* Where a tile's results begin, and how many of them there are. */
typedef struct {
    int64_t n, line, column, lines, columns;
} place;

static place place_of(const winograd *state, int64_t tile)
{
    const q8_window *w = &state->conv.product.window;
    const int64_t line = tile / state->columns % state->lines * Q8_WINOGRAD_TILE;
    const int64_t column = tile % state->columns * Q8_WINOGRAD_TILE;
    return (place){tile / state->columns / state->lines, line, column,
                   q8_least(Q8_WINOGRAD_TILE, w->oh - line),
                   q8_least(Q8_WINOGRAD_TILE, w->ow - column)};
}

/* The pixels that a tile sees; what no result needs is padding, too. */
static void find_pixels(const q8_window *w, const q8_picture *picture, place at, const uint8_t **x)
{
    const uint8_t *first = picture->x + (size_t)(at.n * w->h * w->w) * picture->pixel_bytes;
    for (int64_t i = 0; i < Q8_WINOGRAD_GRID; i++)
        for (int64_t j = 0; j < Q8_WINOGRAD_GRID; j++) {
            const int64_t line = at.line - w->pad_top + i, column = at.column - w->pad_left + j;
            const bool is_inside = line >= 0 && line < w->h && column >= 0 && column < w->w;
            x[i * Q8_WINOGRAD_GRID + j] =
                is_inside ? first + (size_t)(line * w->w + column) * picture->pixel_bytes
                          : picture->padding;
        }
}

static void transform_pixels(const context *c, q8_range tiles)
{
    const winograd *state = c->state;
    const q8_window *window = &state->conv.product.window;
    const q8_picture picture = q8_conv_picture(&state->conv, c->run);
    int16_t *v = (int16_t *)(void *)(c->run->scratch + state->v_at);
    const uint8_t *x[Q8_WINOGRAD_PLACES];
    for (int64_t tile = tiles.first; tile < tiles.end; tile++, v += window->c) {
        find_pixels(window, &picture, place_of(state, tile), x);
        c->run->plan->kernels->gemm->winograd->input(x, (size_t)window->c, v, state->v_step);
    }
}

/* Sums that wait in the tile, line by line. */
static void store_lines(q8_panel *panel, const context *c, place at, size_t first_column)
{
    const q8_window *w = &c->state->conv.product.window;
    const q8_output *output = &c->state->conv.numbers.output;
    const bool is_final = q8_panel_is_final(panel);
    for (int64_t i = 0; i < at.lines; i++, panel->tile += Q8_WINOGRAD_TILE * Q8_WINOGRAD_COLUMNS) {
        const size_t row = (size_t)(((at.n * w->oh + at.line + i) * w->ow) + at.column);
        const size_t y_at = row * (size_t)w->oc + first_column;
        panel->residual = c->residual ? c->residual + y_at : NULL;
        panel->addend = c->addend ? c->addend + y_at : NULL;
        panel->y = c->y + y_at * q8_element_bytes(output->dtype);
        if (!is_final)
            q8_panel_store(panel, 0, (size_t)at.columns);
        q8_output_table(panel->kernels, output, (size_t)at.columns, panel->columns, panel->y,
                        panel->y_step);
    }
}

/* One tile in one panel. */
static void finish_tile(q8_panel panel, const context *c, const int32_t *m, int64_t tile,
                        size_t first_column)
{
    const q8_window *w = &c->state->conv.product.window;
    const place at = place_of(c->state, tile);
    const size_t row = (size_t)(((at.n * w->oh + at.line) * w->ow) + at.column);
    const size_t y_at = row * (size_t)w->oc + first_column;
    const bool is_final = q8_panel_is_final(&panel);
    q8_gemm_job end = q8_panel_job(&panel);
    end.addend = end.sum ? c->addend + y_at : NULL;
    end.c = is_final ? c->y + y_at * q8_element_bytes(panel.output->dtype) : (uint8_t *)panel.tile;
    const q8_winograd_output_job job = {
        .lines = (size_t)at.lines,
        .pixels = (size_t)at.columns,
        .m = m,
        .end = &end,
        .c_line = is_final ? (size_t)(w->ow * w->oc) : Q8_WINOGRAD_TILE * Q8_WINOGRAD_COLUMNS,
        .addend_line = (size_t)(w->ow * w->oc),
    };
    panel.kernels->gemm->winograd->output(&job);
    if (!is_final || panel.output->table)
        store_lines(&panel, c, at, first_column);
}

static void run_panel(const context *c, q8_range tiles, int64_t panel)
{
    const winograd *state = c->state;
    const size_t first_column = (size_t)q8_panel_first(&state->conv.product, panel);
    const int32_t *m = (int32_t *)(void *)(c->run->scratch + state->m_at);
    q8_panel job = q8_conv_panel(&state->conv, c->run, panel);
    job.step = c->step;
    job.range = c->range;
    job.y_step = (size_t)state->conv.product.window.oc;
    const q8_winograd_product_job product = {
        .tiles = (size_t)(tiles.end - tiles.first),
        .channels = (size_t)state->conv.product.window.c,
        .v = (const int16_t *)(void *)(c->run->scratch + state->v_at),
        .v_step = state->v_step,
        .u = job.b,
        .m = (int32_t *)(void *)(c->run->scratch + state->m_at),
    };
    c->run->plan->kernels->gemm->winograd->product(&product);
    for (int64_t tile = tiles.first; tile < tiles.end; tile++)
        finish_tile(job, c, m + (tile - tiles.first) * Q8_WINOGRAD_PLACES * Q8_WINOGRAD_COLUMNS,
                    tile, first_column);
}

/* Piece `index` of `count` nearly equal ones of first .. end. */
static q8_range piece(int64_t index, int64_t count, q8_range all)
{
    const int64_t total = all.end - all.first;
    return (q8_range){all.first + total * index / count, all.first + total * (index + 1) / count};
}

static void run(const q8_step *step, const q8_run *run, int64_t part)
{
    const winograd *state = step->state;
    const q8_conv_numbers *numbers = &state->conv.numbers;
    const cut pieces = cut_for(state, run->threads);
    float found[2] = {0.0f, 0.0f};
    const context c = {
        .state = state,
        .run = run,
        .step = step,
        .range = found,
        .residual = q8_conv_residual(run, numbers),
        .addend = q8_conv_addend(run, numbers),
        .y = q8_write(run, q8_tensor_of(run, numbers->y)),
    };
    const q8_range tiles = piece(part % pieces.tiles, pieces.tiles, (q8_range){0, state->tiles});
    const q8_range panels =
        piece(part / pieces.tiles, pieces.panels, (q8_range){0, state->conv.product.panels});
    const int64_t blocks = q8_ceil_divide(tiles.end - tiles.first, state->block_tiles);
    for (int64_t i = 0; i < blocks; i++) {
        const q8_range block = piece(i, blocks, tiles);
        transform_pixels(&c, block);
        for (int64_t panel = panels.first; panel < panels.end; panel++)
            run_panel(&c, block, panel);
    }
    q8_widen_range(step, run, found);
}
