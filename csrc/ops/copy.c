/* copy.c - data movement between strided boxes of two tensors.
 *
 * When a copy is added its dimensions are sorted by y's stride and merged where both sides allow,
 * and every reachable offset is proven to lie inside. What remains is a nest of outer loops around
 * a plane of rows x columns, columns adjacent in y if anything is; the plane is cut into tiles. */
#include <string.h>

#include "ops.h"
#include "transpose.h"

#define TILE_ELEMENTS Q8_PART_ELEMENTS
#define SQUARE 128 /* a square of floats, read and written, stays in the second cache */

typedef struct {
    int64_t count, x, y; /* indices, and the elements from one to the next on both sides */
} loop;

typedef struct {
    int x, y;
    size_t bytes;
    const uint8_t *table;
    int64_t x_offset, y_offset;
    int outer_rank;
    int64_t dims[Q8_MAX_RANK], x_strides[Q8_MAX_RANK], y_strides[Q8_MAX_RANK];
    loop rows, columns;
    int64_t rows_per_tile, columns_per_tile, row_tiles, column_tiles;
    int64_t tiles, per_part;
} copy_state;

/* ---- running ---- */

static void copy_rows(const copy_state *state, const q8_plane *plane, const q8_kernels *kernels)
{
    for (int64_t row = 0; row < plane->rows; row++) {
        const uint8_t *x = plane->x + row * plane->x_row_bytes;
        uint8_t *y = plane->y + row * plane->y_row_bytes;
        if (state->table)
            kernels->vec.table(1, (size_t)plane->columns, x, y, 0, state->table);
        else
            memcpy(y, x, (size_t)plane->columns * state->bytes);
    }
}

static void look_up(const uint8_t *table, const q8_plane *plane)
{
    for (int64_t row = 0; row < plane->rows; row++) {
        uint8_t *y = plane->y + row * plane->y_row_bytes;
        for (int64_t column = 0; column < plane->columns; column++)
            y[column * plane->y_column_bytes] = table[y[column * plane->y_column_bytes]];
    }
}

/* Three planes of bytes that become pixels: a picture's colours. */
static bool are_colours(const copy_state *state, const q8_plane *plane)
{
    return state->bytes == 1 && plane->columns == 3 && plane->x_column_bytes > 0 &&
           plane->x_row_bytes == 1 && plane->y_row_bytes == 3 && plane->y_column_bytes == 1;
}

static void copy_tile(const copy_state *state, const q8_plane *plane, const q8_kernels *kernels)
{
    if (state->columns.x == 1 && state->columns.y == 1) {
        copy_rows(state, plane, kernels);
        return;
    }
    if (are_colours(state, plane))
        kernels->vec.interleave_3((size_t)plane->rows, plane->x, (size_t)plane->x_column_bytes,
                                  plane->y);
    else if (state->rows.x == 1 && state->columns.y == 1)
        q8_transpose_plane(plane, state->bytes);
    else
        q8_copy_plane(plane, state->bytes);
    if (state->table)
        look_up(state->table, plane);
}

static void run_copy(const q8_step *step, const q8_run *run, int64_t part)
{
    const copy_state *state = step->state;
    const uint8_t *x = q8_read(run, q8_tensor_of(run, state->x));
    uint8_t *y = q8_write(run, q8_tensor_of(run, state->y));
    const loop *rows = &state->rows, *columns = &state->columns;
    int64_t bytes = (int64_t)state->bytes, in_plane = state->row_tiles * state->column_tiles;
    q8_range range = q8_part_range(part, state->per_part, state->tiles);
    for (int64_t tile = range.first; tile < range.end; tile++) {
        q8_counter outer;
        q8_counter_start(&outer, state->outer_rank, state->dims, tile / in_plane);
        int64_t row = tile % in_plane / state->column_tiles * state->rows_per_tile;
        int64_t column = tile % state->column_tiles * state->columns_per_tile;
        int64_t from = state->x_offset + q8_counter_offset(&outer, state->x_strides) +
                       row * rows->x + column * columns->x;
        int64_t to = state->y_offset + q8_counter_offset(&outer, state->y_strides) +
                     row * rows->y + column * columns->y;
        q8_plane plane = {x + from * bytes,
                          y + to * bytes,
                          q8_least(state->rows_per_tile, rows->count - row),
                          q8_least(state->columns_per_tile, columns->count - column),
                          rows->x * bytes,
                          rows->y * bytes,
                          columns->x * bytes,
                          columns->y * bytes};
        copy_tile(state, &plane, run->plan->kernels);
    }
}

/* ---- checking ---- */

/* True if offset + index * stride stays within 0..count-1 for every index of dims (none is 0). */
static bool stays_inside(int64_t offset, int rank, const int64_t *dims, const int64_t *strides,
                         int64_t count)
{
    int64_t low = offset, high = offset;
    for (int d = 0; d < rank; d++) {
        int64_t reach;
        if (__builtin_mul_overflow(dims[d] - 1, strides[d], &reach))
            return false;
        if (__builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high))
            return false;
    }
    return low >= 0 && high < count;
}

/* True if no two indices reach the same element of y. The loops are sorted, widest first; each
 * must step over everything that the narrower ones reach, as dimensions of a box do. */
static bool writes_once(const loop *loops, int rank)
{
    int64_t reach = 0;
    for (int d = rank - 1; d >= 0; d--) {
        if (loops[d].y <= reach)
            return false;
        reach += (loops[d].count - 1) * loops[d].y;
    }
    return true;
}

/* ---- putting the loops in order ---- */

/* Loops of more than one index, y walked upwards, widest stride of y first. */
static int sorted_loops(const q8_copy *copy, copy_state *state, loop *loops)
{
    int rank = 0;
    for (int d = 0; d < copy->rank; d++) {
        loop added = {copy->dims[d], copy->x_strides[d], copy->y_strides[d]};
        if (added.count == 1)
            continue;
        if (added.y < 0) {
            state->x_offset += (added.count - 1) * added.x;
            state->y_offset += (added.count - 1) * added.y;
            added.x = -added.x;
            added.y = -added.y;
        }
        int place = rank++;
        for (; place > 0 && loops[place - 1].y < added.y; place--)
            loops[place] = loops[place - 1];
        loops[place] = added;
    }
    return rank;
}

/* Makes one loop of two neighbours wherever both sides step alike. */
static int merge_loops(loop *loops, int rank)
{
    int kept = 0;
    for (int d = 0; d < rank; d++) {
        loop *outer = kept ? &loops[kept - 1] : NULL;
        if (outer && outer->y == loops[d].y * loops[d].count &&
            outer->x == loops[d].x * loops[d].count)
            *outer = (loop){outer->count * loops[d].count, loops[d].x, loops[d].y};
        else
            loops[kept++] = loops[d];
    }
    return kept;
}

/* The last loop becomes the columns. The one adjacent in x, if it is another, becomes the rows, so
 * that the plane is a transposition; else the next to last. */
static void choose_plane(copy_state *state, loop *loops, int rank)
{
    state->columns = rank > 0 ? loops[--rank] : (loop){1, 1, 1};
    state->rows = (loop){1, 1, 1};
    if (rank > 0) {
        int chosen = rank - 1;
        for (int d = 0; d < rank && state->columns.x != 1; d++)
            if (loops[d].x == 1)
                chosen = d;
        state->rows = loops[chosen];
        rank--;
        memmove(loops + chosen, loops + chosen + 1, (size_t)(rank - chosen) * sizeof *loops);
    }
    state->outer_rank = rank;
    for (int d = 0; d < rank; d++) {
        state->dims[d] = loops[d].count;
        state->x_strides[d] = loops[d].x;
        state->y_strides[d] = loops[d].y;
    }
}

/* Long rows, or where they are transposed about a square. */
static void choose_tiles(copy_state *state)
{
    int64_t rows = state->rows.count, columns = state->columns.count, most = TILE_ELEMENTS;
    if (state->columns.x != 1)
        most = rows < SQUARE ? TILE_ELEMENTS / rows / SQUARE * SQUARE : SQUARE;
    state->columns_per_tile = q8_least(columns, most);
    state->rows_per_tile = q8_least(rows, q8_ceil_divide(TILE_ELEMENTS, state->columns_per_tile));
    state->row_tiles = q8_ceil_divide(rows, state->rows_per_tile);
    state->column_tiles = q8_ceil_divide(columns, state->columns_per_tile);
    state->tiles = state->row_tiles * state->column_tiles;
    for (int d = 0; d < state->outer_rank; d++)
        state->tiles *= state->dims[d];
}

/* ---- adding ---- */

/* Checks everything; *count receives the number of elements moved. */
static int check_copy(q8_plan *plan, const q8_copy *copy, int64_t *count)
{
    const q8_tensor *x = q8_plan_operand(plan, copy->x, -1, -1, "copy");
    const q8_tensor *y = q8_plan_result(plan, copy->y, -1, -1, "copy");
    if (!x || !y || q8_plan_apart(plan, x, y, false, "copy"))
        return plan->status;
    if (x->dtype != y->dtype || (copy->table && x->dtype != Q8_U8))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "copy: types do not fit");
    if (copy->rank < 0 || copy->rank > Q8_MAX_RANK ||
        (copy->rank > 0 && (!copy->dims || !copy->x_strides || !copy->y_strides)))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "copy: rank %d is not 0..8 or dims missing",
                            (int)copy->rank);
    *count = 1;
    for (int d = 0; d < copy->rank; d++)
        if (!q8_multiply(*count, copy->dims[d], count))
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "copy: negative size or overflow");
    if (*count && (!stays_inside(copy->x_offset, copy->rank, copy->dims, copy->x_strides,
                                 x->count) ||
                   !stays_inside(copy->y_offset, copy->rank, copy->dims, copy->y_strides,
                                 y->count)))
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "copy: reaches outside a tensor");
    return Q8_OK;
}

int q8_plan_add_copy(q8_plan *plan, const q8_copy *copy)
{
    int64_t count;
    if (!copy)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "copy: no descriptor");
    if (check_copy(plan, copy, &count))
        return plan->status;
    copy_state state = {.x = copy->x, .y = copy->y, .x_offset = copy->x_offset,
                        .y_offset = copy->y_offset};
    state.bytes = q8_element_bytes(plan->tensors[copy->x].dtype);
    int64_t parts = 1;
    if (count > 0) {
        loop loops[Q8_MAX_RANK];
        int rank = sorted_loops(copy, &state, loops);
        if (!writes_once(loops, rank))
            return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "copy: an element of y is written twice");
        choose_plane(&state, loops, merge_loops(loops, rank));
        choose_tiles(&state);
        int64_t per_tile = state.rows_per_tile * state.columns_per_tile;
        parts = q8_split(state.tiles, q8_ceil_divide(TILE_ELEMENTS, per_tile), &state.per_part);
    }
    if (copy->table) {
        uint8_t *table = q8_plan_allocate(plan, 256, 1);
        if (!table)
            return plan->status;
        memcpy(table, copy->table, 256);
        state.table = table;
    }
    q8_step *step = q8_plan_append(plan, sizeof state, parts, run_copy);
    if (!step)
        return plan->status;
    *(copy_state *)step->state = state;
    bool runs = state.columns.x == 1 && state.columns.y == 1;
    q8_step_name(step, "copy%s%s", runs ? "" : " transposed", copy->table ? " table" : "");
    return Q8_OK;
}
