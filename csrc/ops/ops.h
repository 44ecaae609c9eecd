/* ops.h - what the drivers of this folder share: how elements are dealt to parts, a counter over
 * several dimensions, and the check that two tensors may stand in one step. */
#ifndef Q8_OPS_H
#define Q8_OPS_H

#include "../plan.h"

/* A part below this many elements costs more to hand to a thread than to compute. */
#define Q8_PART_ELEMENTS 16384
/* Several, so that a thread that was disturbed leaves work to the others. */
#define Q8_PARTS_PER_THREAD 4

typedef struct {
    int64_t first, end;
} q8_range;

/* The rows or elements of one part. */
static inline q8_range q8_part_range(int64_t part, int64_t per_part, int64_t total)
{
    int64_t first = part * per_part;
    int64_t left = total - first;
    return (q8_range){first, first + (left < per_part ? left : per_part)};
}

static inline int64_t q8_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t q8_ceil_divide(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* Adds room for bytes to *total and returns where it begins; both multiples of Q8_ALIGNMENT. */
static inline size_t q8_reserve(size_t *total, size_t bytes)
{
    size_t at = *total;
    *total += (bytes + Q8_ALIGNMENT - 1) / Q8_ALIGNMENT * Q8_ALIGNMENT;
    return at;
}

/* A tensor of more bytes leaves the second cache before it is read. */
#define Q8_MOST_CACHED_BYTES (1 << 20)

/* Brings rows of so many bytes, `step` bytes apart, into the second cache, of what is about to be
 * read or written. What is written counts as much: a line that is elsewhere is read before it
 * changes, and of those that are far apart no processor guesses the next. */
static inline void q8_fetch_rows(const void *first, size_t rows, size_t bytes, size_t step)
{
    const char *row = first;
    for (size_t i = 0; i < rows; i++, row += step)
        for (size_t at = 0; at < bytes; at += Q8_ALIGNMENT)
            __builtin_prefetch(row + at, 0, 2);
    __asm__ volatile(""); /* GCC drops calls of what does nothing but fetch */
}

/* An index that walks dims in row-major order. */
typedef struct {
    int rank;
    const int64_t *dims;
    int64_t index[Q8_MAX_RANK];
} q8_counter;

static inline void q8_counter_start(q8_counter *counter, int rank, const int64_t *dims,
                                    int64_t position)
{
    counter->rank = rank;
    counter->dims = dims;
    for (int d = rank - 1; d >= 0; d--) {
        counter->index[d] = position % dims[d];
        position /= dims[d];
    }
}

static inline void q8_counter_next(q8_counter *counter)
{
    for (int d = counter->rank - 1; d >= 0; d--) {
        if (++counter->index[d] < counter->dims[d])
            return;
        counter->index[d] = 0;
    }
}

static inline int64_t q8_counter_offset(const q8_counter *counter, const int64_t *strides)
{
    int64_t offset = 0;
    for (int d = 0; d < counter->rank; d++)
        offset += counter->index[d] * strides[d];
    return offset;
}

/* Splits count elements into parts that begin at multiples of 64. */
int64_t q8_split_elements(int64_t count, int64_t *per_part);

/* Refuses x and y that share memory of the arena, unless they are the same bytes and in_place says
 * that the step reads element i before it writes element i and no other. */
int q8_plan_apart(q8_plan *plan, const q8_tensor *x, const q8_tensor *y, bool in_place,
                  const char *what);

/* Refuses a number known at run time that is not one element of dtype, or that shares memory with
 * y: parts would read it while others write there. */
int q8_plan_scalar(q8_plan *plan, int id, int dtype, int y, const char *what);

/* Checks the operands of a step that makes element i of y from element i of x: ids, types, equal
 * counts, no harmful overlap. Returns the number of elements or a negative status. */
int64_t q8_plan_elementwise(q8_plan *plan, int x, int x_dtype, int y, int y_dtype,
                            const char *what);

/* What is left to do with floats [rows][columns] that a step has just written and that are in the
 * cache: its function, then the range into found. Nothing if the step was told neither. */
void q8_finish_floats(const q8_step *step, const q8_kernels *kernels, size_t rows, size_t columns,
                      float *y, size_t y_step, float found[2]);
/* Fills in op, alpha, beta and range of a job that does the same on the way from x to y. Nobody
 * copies jobs: vectors that are read right behind their halves' writing wait. */
void q8_finish_as(const q8_step *step, float found[2], q8_finish_job *job);
/* Widens the range that the step was told to find, if any, by what one part found. */
void q8_widen_range(const q8_step *step, const q8_run *run, const float found[2]);

/* Refuses a zero point outside 0..255 or limits that are not 0 <= low <= high <= 255. */
int q8_plan_check_code(q8_plan *plan, int32_t zero_point, const char *what);
int q8_plan_check_limits(q8_plan *plan, int32_t low, int32_t high, const char *what);

#endif
