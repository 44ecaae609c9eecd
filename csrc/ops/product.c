/* product.c - cuts a product into blocks, panels and parts, and walks them. */
#include <stdio.h>

#include "product.h"

/* A block and a panel of weights share the second cache: 256 KiB of at least 512. */
#define BLOCK_BYTES (256 * 1024)
#define MOST_TILES_IN_BLOCK 16
/* A part below this costs more to hand to a thread than it saves. */
#define PART_NS 8000
/* Products of some depth are so many times as fast as the least that parts are counted with. */
#define BEST_PACE 4
/* Weights that are used once come from memory at about this pace, and at no better one what another
 * thread has written. */
#define BYTES_PER_NS 16
/* A byte of a row takes as long to make as so many to fetch. */
#define COPY_BYTES 4
/* So many tiles fetch a panel of weights. */
#define TILES_OF_A_FETCH 8
/* Taps with fewer bytes than this are copied together: a pointer per tap costs more. */
#define LEAST_TAP_BYTES 12
/* More than any machine holds, and far from overflow when padded to whole panels. */
#define MOST_WEIGHTS (INT64_C(1) << 48)

q8_window q8_matrix_window(int64_t rows, int64_t k, int64_t columns)
{
    return (q8_window){.n = 1, .h = 1, .w = rows, .c = k, .oh = 1, .ow = rows, .oc = columns,
                       .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
                       .dilation_h = 1, .dilation_w = 1};
}

int q8_conv_check(q8_plan *plan, const q8_window *window, int64_t groups, const q8_tensor *x,
                  const q8_tensor *y, const char *what)
{
    int64_t depth = 0;
    if (q8_window_check(plan, window, what) != Q8_OK)
        return plan->status;
    if (x->dims[0] != y->dims[0])
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: %lld pictures in, %lld out", what,
                            (long long)x->dims[0], (long long)y->dims[0]);
    if (groups < 1 || window->c % groups || window->oc % groups)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: %lld groups of %lld and %lld channels",
                            what, (long long)groups, (long long)window->c, (long long)window->oc);
    if (!q8_multiply(window->kernel_h * window->kernel_w, window->c / groups, &depth) ||
        depth > INT32_MAX || depth * window->oc > MOST_WEIGHTS)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "%s: %lld x %lld weights", what,
                            (long long)depth, (long long)window->oc);
    return q8_plan_apart(plan, x, y, false, what);
}

void q8_product_name(q8_step *step, const q8_window *w, int64_t groups, const char *kernel)
{
    char stride[16] = "", group[24] = "";
    const char *kind = groups > 1 && groups == w->c && groups == w->oc ? "depthwise" : "conv";
    if (w->h == 1 && w->kernel_h == 1 && w->kernel_w == 1) {
        q8_step_name(step, "gemm %lldx%lldx%lld %s", (long long)(w->n * w->ow),
                     (long long)w->c, (long long)w->oc, kernel);
        return;
    }
    if (w->stride_h != 1 || w->stride_w != 1)
        snprintf(stride, sizeof stride, "/%d", (int)w->stride_w);
    if (groups > 1 && kind[0] == 'c')
        snprintf(group, sizeof group, " groups %d", (int)groups);
    q8_step_name(step, "%s %lldx%lld%s%s%s %s", kind, (long long)w->kernel_h,
                 (long long)w->kernel_w, stride,
                 w->dilation_h > 1 || w->dilation_w > 1 ? " dilated" : "", group, kernel);
}

int64_t q8_product_macs(const q8_product *product)
{
    int64_t macs = 0;
    return q8_multiply(product->rows * product->group_columns * product->groups,
                       (int64_t)product->depth, &macs)
               ? macs
               : INT64_MAX;
}

static int64_t worthwhile_parts(const q8_product *product, int macs_per_ns)
{
    const int64_t weights = product->panels * product->columns * (int64_t)product->depth;
    const int64_t ns = q8_product_macs(product) / macs_per_ns +
                       weights * (int64_t)product->element_bytes / BYTES_PER_NS;
    return ns / PART_NS < 1 ? 1 : ns / PART_NS;
}

/* The most rows of a block: as many tiles as share the cache with a panel. */
static int64_t most_block_rows(const q8_product *product, int64_t least_rows)
{
    const int64_t row_bytes = (int64_t)(product->depth * product->element_bytes);
    const int64_t mr = product->tile_rows, least = q8_ceil_divide(least_rows, mr);
    const int64_t tiles = q8_least(BLOCK_BYTES / row_bytes / mr, MOST_TILES_IN_BLOCK);
    const int64_t most = (tiles < least ? least : tiles) * mr;
    return q8_least(most, q8_ceil_divide(product->rows, mr) * mr);
}

bool q8_has_even_rows(const q8_window *w)
{
    return w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 &&
           w->pad_top == 0 && w->pad_left == 0 && w->oh == w->h && w->ow == w->w;
}

void q8_product_cut(q8_product *product, q8_tile_shape shape)
{
    const q8_window *w = &product->window;
    const size_t taps = (size_t)(w->kernel_h * w->kernel_w);
    const size_t channels = (size_t)(w->c / product->groups);
    product->depth = taps * channels;
    product->gathers = channels % shape.kr ||
                       (taps > 1 && channels * product->element_bytes < LEAST_TAP_BYTES) ||
                       (shape.wants_even_rows && !q8_has_even_rows(w));
    product->copies_rows = product->gathers;
    product->has_lines =
        !product->gathers && w->kernel_w > 1 && w->dilation_w == 1 && product->groups == 1;
    product->taps = product->gathers ? 1 : product->has_lines ? (size_t)w->kernel_h : taps;
    product->k = product->gathers ? (product->depth + shape.kr - 1) / shape.kr * shape.kr
                                  : product->depth / product->taps;
    product->rows = w->n * w->oh * w->ow;
    product->columns = (int64_t)shape.nr;
    product->group_columns = w->oc / product->groups;
    product->group_panels = q8_ceil_divide(product->group_columns, product->columns);
    product->panels = product->group_panels * product->groups;
    product->tile_rows = (int64_t)shape.mr;
    product->block_rows = most_block_rows(product, (int64_t)shape.least_rows);
    product->worthwhile_parts = worthwhile_parts(product, shape.macs_per_ns);
    product->ns = q8_product_macs(product) / shape.macs_per_ns / BEST_PACE;
}

/* Into how many pieces rows and panels are cut. */
typedef struct {
    int64_t rows, panels;
} cut;

/* How much more than an equal share of all pieces the busiest of `threads` gets. */
static double excess(int64_t pieces, int64_t threads)
{
    const double most = (double)q8_ceil_divide(pieces, threads);
    return pieces < 1 ? 0.0 : most / (double)pieces - 1.0 / (double)threads;
}

/* Where rows are cut, every thread reads all weights, and whole tiles may leave one more to do than
 * others; where columns are, it reads of the picture what others have written, others read what it
 * writes, which is four times as much where that is floats, and rows that are copied are copied by
 * all. In doubles: nothing overflows. */
static bool cuts_columns(const q8_product *product, int threads)
{
    const q8_window *w = &product->window;
    const size_t result = product->result_bytes ? product->result_bytes : product->element_bytes;
    const double element_bytes = (double)product->element_bytes, depth = (double)product->depth;
    const double weights = (double)(product->panels * product->columns) * depth * element_bytes;
    const double x = (double)(w->n * w->h * w->w * w->c) * element_bytes;
    const double y = (double)product->rows * (double)w->oc * (double)result;
    const double copies =
        product->copies_rows ? (double)product->rows * depth * COPY_BYTES * element_bytes : 0.0;
    const int64_t tiles = q8_ceil_divide(product->rows, product->tile_rows);
    const double late = (double)product->ns * excess(tiles, threads);
    return weights + late * BYTES_PER_NS > x + y + copies;
}

/* Where there are few panels more than threads, and some would get two, all are cut into rows. Else
 * pieces are panels only, as many as threads where each copies the rows again; unless there are
 * fewer, or rows for a panel to be fetched while a piece of them is at work. */
static cut cut_columns(const q8_product *product, int64_t threads, int64_t wanted, int64_t tiles)
{
    const int64_t most = product->copies_rows ? threads : wanted;
    cut pieces = {1, q8_least(product->panels, most)};
    if (product->panels > threads && product->panels < 2 * threads && wanted > threads)
        pieces = (cut){q8_least(tiles, threads), product->panels};
    else if (pieces.panels < threads)
        pieces.rows = q8_least(tiles, q8_ceil_divide(most, pieces.panels));
    else if (pieces.panels < most && tiles >= 2 * TILES_OF_A_FETCH)
        pieces.rows = q8_least(tiles / TILES_OF_A_FETCH, q8_ceil_divide(most, pieces.panels));
    return pieces;
}

static cut cut_for(const q8_product *product, int threads)
{
    const int64_t tiles = q8_ceil_divide(product->rows, product->tile_rows);
    if (threads == 1)
        return (cut){1, 1};
    const int64_t wanted =
        q8_least(product->worthwhile_parts, (int64_t)threads * Q8_PARTS_PER_THREAD);
    if (cuts_columns(product, threads))
        return cut_columns(product, threads, wanted, tiles);
    const int64_t rows = q8_least(tiles, wanted);
    return (cut){rows, q8_least(product->panels, q8_ceil_divide(wanted, rows))};
}

int64_t q8_product_parts(const q8_product *product, int threads)
{
    const cut pieces = cut_for(product, threads);
    return pieces.rows * pieces.panels;
}

int64_t q8_panel_first(const q8_product *product, int64_t panel)
{
    return panel / product->group_panels * product->group_columns +
           panel % product->group_panels * product->columns;
}

size_t q8_panel_width(const q8_product *product, int64_t panel)
{
    return (size_t)q8_least(product->columns, product->group_columns -
                                                  panel % product->group_panels *
                                                      product->columns);
}

static size_t pointer_bytes(const q8_product *product)
{
    size_t total = 0;
    q8_reserve(&total, product->taps * (size_t)product->block_rows * sizeof(void *));
    return total;
}

size_t q8_product_scratch(const q8_product *product)
{
    size_t total = pointer_bytes(product);
    if (product->gathers || product->has_lines)
        q8_reserve(&total, (size_t)product->block_rows * product->taps * product->k *
                               product->element_bytes);
    return total;
}

q8_block q8_product_block(const q8_product_walk *walk, int64_t first, int64_t rows, int64_t group)
{
    const q8_product *product = walk->product;
    const size_t a_step = (size_t)product->block_rows;
    const void **a = (const void **)(void *)walk->scratch;
    q8_picture picture = walk->picture;
    picture.x += (size_t)group * picture.channel_bytes;
    if (product->gathers) {
        const size_t row_bytes = product->k * product->element_bytes;
        uint8_t *copies = walk->scratch + pointer_bytes(product);
        q8_window_gather(&product->window, &picture, first, rows, row_bytes, copies);
        for (int64_t i = 0; i < rows; i++)
            a[i] = copies + (size_t)i * row_bytes;
    } else if (product->has_lines) {
        q8_window_lines(&product->window, &picture, first, rows, a_step,
                        walk->scratch + pointer_bytes(product), a);
    } else {
        const q8_pointer_order order = {(size_t)product->window.kernel_w * a_step, a_step, 1};
        q8_window_pointers(&product->window, &picture, first, rows, order, a);
    }
    return (q8_block){a, a_step, first, (size_t)rows};
}

/* All panels of a part, for one block of rows. */
static void run_block(const q8_product_walk *walk, int64_t first, int64_t rows, q8_range panels)
{
    const q8_product *product = walk->product;
    for (int64_t panel = panels.first; panel < panels.end;) {
        const int64_t group = panel / product->group_panels;
        const int64_t end = q8_least(panels.end, (group + 1) * product->group_panels);
        const q8_block block = q8_product_block(walk, first, rows, group);
        if (walk->block)
            walk->block(walk->context, &block);
        for (; panel < end; panel++)
            walk->panel(walk->context, &block, panel);
    }
}

/* Piece `index` of `count` nearly equal ones of total. */
static q8_range piece(int64_t index, int64_t count, int64_t total)
{
    return (q8_range){total * index / count, total * (index + 1) / count};
}

/* Parts with the same panels follow each other, so that these stay in the cache. */
q8_range q8_product_panels(const q8_product *product, int threads, int64_t part)
{
    const cut pieces = cut_for(product, threads);
    return piece(part / pieces.rows, pieces.panels, product->panels);
}

int64_t q8_product_last_panel(const q8_product *product, int threads, int64_t part)
{
    const int64_t end = q8_share_end(part, q8_product_parts(product, threads), threads);
    return q8_product_panels(product, threads, end - 1).end;
}

void q8_product_run(const q8_product_walk *walk, int64_t part)
{
    const q8_product *product = walk->product;
    const cut pieces = cut_for(product, walk->threads);
    const int64_t mr = product->tile_rows, all = q8_ceil_divide(product->rows, mr);
    const q8_range tiles = piece(part % pieces.rows, pieces.rows, all);
    const q8_range panels = q8_product_panels(product, walk->threads, part);
    const int64_t blocks = q8_ceil_divide((tiles.end - tiles.first) * mr, product->block_rows);
    for (int64_t i = 0; i < blocks; i++) {
        const q8_range block = piece(i, blocks, tiles.end - tiles.first);
        const int64_t first = (tiles.first + block.first) * mr;
        const int64_t end = q8_least((tiles.first + block.end) * mr, product->rows);
        run_block(walk, first, end - first, panels);
    }
}

