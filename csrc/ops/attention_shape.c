/* attention_shape.c - checks and cuts of attention, of any type. */
#include <string.h>

#include "attention.h"

/* Scores of a block of rows stay in the first cache. */
#define SCORE_BYTES (16 * 1024)
/* For kernels that want many rows at once: in the second. */
#define MORE_SCORE_BYTES (128 * 1024)
/* Parts that are worth having where there are few heads, and rows that pay for packing again. */
#define WANTED_PARTS 8
#define LEAST_ROWS 64

/* The greatest offset of a box; false if it overflows, or a number is negative. */
static bool reach_of(const q8_attention *a, const q8_heads *h, int64_t rows, int64_t row,
                     int64_t *reach)
{
    const int64_t counts[] = {a->batches, a->heads, rows};
    const int64_t strides[] = {h->batch_stride, h->head_stride, h->row_stride};
    if (h->offset < 0 || __builtin_add_overflow(h->offset, row - 1, reach))
        return false;
    for (int d = 0; d < 3; d++) {
        int64_t step;
        if (!q8_multiply(counts[d] - 1, strides[d], &step) || strides[d] < 0 ||
            __builtin_add_overflow(*reach, step, reach))
            return false;
    }
    return true;
}

static const q8_tensor *check_box(q8_plan *plan, const q8_attention *a, const q8_heads *h,
                                  int dtype, int64_t rows, int64_t row, const char *what)
{
    int64_t reach;
    const q8_tensor *tensor = q8_plan_operand(plan, h->tensor, dtype, -1, "attention");
    if (!tensor)
        return NULL;
    if (reach_of(a, h, rows, row, &reach) && reach < tensor->count)
        return tensor;
    q8_plan_fail(plan, Q8_ERROR_BOUNDS, "attention: %s reaches outside its tensor", what);
    return NULL;
}

/* True if no two rows of y meet: sorted by stride, each loop steps over what the inner reach. */
static bool writes_once(const q8_attention *a)
{
    int64_t counts[] = {a->batches, a->heads, a->rows};
    int64_t strides[] = {a->y.batch_stride, a->y.head_stride, a->y.row_stride};
    int64_t reach = a->value_depth;
    for (int done = 0; done < 3; done++) {
        int least = done;
        for (int d = done + 1; d < 3; d++)
            least = strides[d] < strides[least] ? d : least;
        const int64_t stride = strides[least], count = counts[least];
        strides[least] = strides[done];
        counts[least] = counts[done];
        if (count > 1 && stride < reach)
            return false;
        reach += (count - 1) * stride;
    }
    return true;
}

static int check_result(q8_plan *plan, const q8_attention *a, const q8_tensor *const *inputs)
{
    const q8_tensor *y = q8_plan_result(plan, a->y.tensor, -1, -1, "attention");
    if (!y || !check_box(plan, a, &a->y, -1, a->rows, a->value_depth, "y"))
        return plan->status;
    if (!writes_once(a))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "attention: rows of y overlap");
    for (int i = 0; i < 4; i++)
        if (inputs[i] && q8_plan_apart(plan, inputs[i], y, false, "attention"))
            return plan->status;
    return Q8_OK;
}

int q8_attention_check(q8_plan *plan, const q8_attention *a, q8_dtype dtype)
{
    const int64_t sizes[] = {a->batches, a->heads,       a->rows,
                             a->columns, a->depth, a->value_depth};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] < 1 || sizes[i] > INT32_MAX)
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "attention: an empty or enormous tensor");
    /* what the scratch grows with lies in memory once at least */
    if (a->q.row_stride < a->depth || a->k.row_stride < a->depth ||
        a->v.row_stride < a->value_depth || a->y.row_stride < a->value_depth)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "attention: rows of a tensor overlap");
    const q8_tensor *inputs[4] = {
        check_box(plan, a, &a->q, dtype, a->rows, a->depth, "q"),
        check_box(plan, a, &a->k, dtype, a->columns, a->depth, "k"),
        check_box(plan, a, &a->v, dtype, a->columns, a->value_depth, "v"),
        a->mask.tensor == -1
            ? NULL
            : check_box(plan, a, &a->mask, Q8_F32, a->rows, a->columns, "the mask"),
    };
    return plan->status ? (int)plan->status : check_result(plan, a, inputs);
}

static int64_t padded(int64_t count, size_t step)
{
    return q8_ceil_divide(count, (int64_t)step) * (int64_t)step;
}

void q8_attention_cut(q8_attention_shape *shape, q8_tile_shape tile, size_t element_bytes)
{
    const q8_attention *a = &shape->a;
    const size_t mr = tile.mr, nr = tile.nr, kr = tile.kr;
    shape->nr = nr;
    shape->scores = (q8_product){.taps = 1, .k = (size_t)padded(a->depth, kr)};
    shape->values = (q8_product){.taps = 1, .k = (size_t)padded(a->columns, kr)};
    shape->score_panels = q8_ceil_divide(a->columns, (int64_t)nr);
    shape->value_panels = q8_ceil_divide(a->value_depth, (int64_t)nr);
    shape->score_row_bytes = (size_t)(shape->score_panels * (int64_t)nr) * sizeof(int32_t);
    const int64_t budget = tile.least_rows > mr ? MORE_SCORE_BYTES : SCORE_BYTES;
    const int64_t tiles = budget / (int64_t)(shape->score_row_bytes * mr);
    shape->block_rows = (tiles < 1 ? 1 : tiles) * (int64_t)mr;
    const int64_t heads = a->batches * a->heads;
    const int64_t wanted = heads < WANTED_PARTS ? q8_ceil_divide(WANTED_PARTS, heads) : 1;
    const int64_t most = a->rows / LEAST_ROWS < 1 ? 1 : a->rows / LEAST_ROWS;
    shape->rows_per_part = padded(q8_ceil_divide(a->rows, q8_least(wanted, most)), mr);
    shape->row_parts = q8_ceil_divide(a->rows, shape->rows_per_part);
    if (shape->block_rows > shape->rows_per_part)
        shape->block_rows = shape->rows_per_part;
    shape->row_bytes = shape->scores.k * element_bytes;
}

/* Whether parts are whole heads, each of which is packed once: where threads get the same number of
 * them, and one that was disturbed can leave some. */
static bool has_whole_heads(const q8_attention_shape *shape, int threads)
{
    const int64_t heads = shape->a.batches * shape->a.heads;
    return threads == 1 || (heads >= 2 * threads && heads % threads == 0);
}

static int64_t row_parts_for(const q8_attention_shape *shape, int threads)
{
    return has_whole_heads(shape, threads) ? 1 : shape->row_parts;
}

static int64_t parts_for(const q8_step *step, int threads)
{
    const q8_attention_shape *shape = step->state;
    return shape->a.batches * shape->a.heads * row_parts_for(shape, threads);
}

q8_step *q8_attention_append(q8_plan *plan, const q8_attention_shape *shape, size_t state_bytes,
                             void (*run)(const q8_step *, const q8_run *, int64_t),
                             const char *kernel)
{
    const q8_attention *a = &shape->a;
    int64_t parts = 0, macs = 0;
    if (!q8_multiply(a->batches * a->heads, shape->row_parts, &parts)) {
        q8_plan_fail(plan, Q8_ERROR_BOUNDS, "attention: too many heads");
        return NULL;
    }
    q8_step *step = q8_plan_append(plan, state_bytes, parts, run);
    if (!step)
        return NULL;
    *(q8_attention_shape *)step->state = *shape;
    step->parts_for = parts_for;
    if (!q8_multiply(a->batches * a->heads, a->rows, &macs) ||
        !q8_multiply(macs, a->columns, &macs) ||
        !q8_multiply(macs, a->depth + a->value_depth, &macs))
        macs = INT64_MAX;
    step->macs = macs;
    q8_step_name(step, "attention %lldx%lldx%lldx%lld %s", (long long)(a->batches * a->heads),
                 (long long)a->rows, (long long)a->columns, (long long)a->depth, kernel);
    return step;
}

static int64_t head_at(const q8_heads *h, int64_t batch, int64_t head, int64_t row)
{
    return h->offset + batch * h->batch_stride + head * h->head_stride + row * h->row_stride;
}

q8_attention_part q8_attention_part_of(const q8_attention_shape *shape, int threads, int64_t part)
{
    const q8_attention *a = &shape->a;
    const int64_t row_parts = row_parts_for(shape, threads);
    const int64_t batch = part / row_parts / a->heads, head = part / row_parts % a->heads;
    const int64_t per_part = row_parts == 1 ? a->rows : shape->rows_per_part;
    const q8_range rows = q8_part_range(part % row_parts, per_part, a->rows);
    return (q8_attention_part){
        .q = head_at(&a->q, batch, head, rows.first),
        .k = head_at(&a->k, batch, head, 0),
        .v = head_at(&a->v, batch, head, 0),
        .y = head_at(&a->y, batch, head, rows.first),
        .mask = a->mask.tensor == -1 ? 0 : head_at(&a->mask, batch, head, rows.first),
        .first = rows.first,
        .rows = rows.end - rows.first,
    };
}

const float *q8_attention_mask_row(const q8_attention_shape *shape, const q8_run *run,
                                   const q8_attention_part *part, int64_t row)
{
    const q8_heads *mask = &shape->a.mask;
    if (mask->tensor == -1)
        return NULL;
    return (const float *)q8_read(run, q8_tensor_of(run, mask->tensor)) + part->mask +
           row * mask->row_stride;
}

q8_block q8_attention_rows(const q8_attention_shape *shape, const q8_run *run,
                           const q8_attention_part *part, int64_t first, int64_t rows,
                           size_t element_bytes)
{
    const q8_heads *q = &shape->a.q;
    const size_t depth_bytes = (size_t)shape->a.depth * element_bytes;
    const void **pointers = (const void **)(void *)(run->scratch + shape->pointers_at);
    const uint8_t *from = (const uint8_t *)q8_read(run, q8_tensor_of(run, q->tensor)) +
                          (size_t)(part->q + first * q->row_stride) * element_bytes;
    uint8_t *copies = run->scratch + shape->rows_at;
    for (int64_t i = 0; i < rows; i++, from += (size_t)q->row_stride * element_bytes) {
        pointers[i] = from;
        if (depth_bytes == shape->row_bytes)
            continue;
        pointers[i] = copies;
        memcpy(copies, from, depth_bytes);
        memset(copies + depth_bytes, 0, shape->row_bytes - depth_bytes);
        copies += shape->row_bytes;
    }
    return (q8_block){pointers, (size_t)rows, first, (size_t)rows};
}
