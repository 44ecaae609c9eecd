/* histogram.c - the ends of a tensor, and counts of its values in bins whose width is a power of two.
 *
 * Parts are rows of the ends, each of its own stretch of x, so that the result does not depend on the
 * number of threads. Of many values some are counted, which takes one thread little time. */
#include <math.h>
#include <string.h>

#include "ops.h"

#define BINS Q8_HISTOGRAM_BINS
#define PIECE 1024       /* values whose bins are found before they are counted */
#define TABLES 4         /* neighbours often share a bin: their counts do not wait for each other */
#define BLOCK 16         /* neighbours that are counted together, or not at all */
#define LEAST (Q8_HISTOGRAM_VALUES / BLOCK) /* blocks that are counted, if there are so many */

typedef struct {
    int x, ends;
    int64_t per_row;
} ends_state;

typedef struct {
    int x, ends, counts;
    int64_t rows;
} histogram_state;

typedef struct {
    uint32_t counts[TABLES][BINS];
    int32_t bins[PIECE];
    float values[PIECE];
} histogram_scratch;

/* ---- ends ---- */

static void run_ends(const q8_step *step, const q8_run *run, int64_t part)
{
    const ends_state *state = step->state;
    const q8_tensor *tensor = q8_tensor_of(run, state->x);
    const float *x = q8_read(run, tensor);
    float *ends = (float *)q8_write(run, q8_tensor_of(run, state->ends)) + part * 3;
    const int64_t first = q8_least(part * state->per_row, tensor->count);
    const int64_t end = q8_least(first + state->per_row, tensor->count);
    float low = INFINITY, high = -INFINITY, sum = 0.0f;
    for (int64_t i = first; i < end; i += PIECE) {
        size_t n = (size_t)q8_least(PIECE, end - i);
        run->plan->kernels->vec.min_max(n, x + i, &low, &high);
        sum += run->plan->kernels->f32.sum(n, x + i);
    }
    ends[0] = low;
    ends[1] = high;
    ends[2] = sum;
}

int q8_plan_add_ends(q8_plan *plan, int x, int ends)
{
    const q8_tensor *values = q8_plan_operand(plan, x, Q8_F32, -1, "ends");
    if (!values)
        return plan->status;
    const q8_tensor *result = q8_plan_result(plan, ends, Q8_F32, 2, "ends");
    if (!result)
        return plan->status;
    if (result->dims[1] != 3 || result->dims[0] < 1)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "ends: rows have 3 numbers");
    if (q8_plan_apart(plan, values, result, false, "ends"))
        return plan->status;
    const int64_t rows = result->dims[0], per_row = q8_ceil_divide(values->count, rows);
    q8_step *step = q8_plan_append(plan, sizeof(ends_state), rows, run_ends);
    if (!step)
        return plan->status;
    *(ends_state *)step->state = (ends_state){.x = x, .ends = ends, .per_row = per_row};
    q8_step_name(step, "ends f32");
    return Q8_OK;
}

/* ---- counts ---- */

/* 1 / width of the narrowest bins that hold values of this size; 0 where there is no such width. */
static double inverse_width(float low, float high)
{
    double largest = fmax(fabs((double)low), fabs((double)high));
    int exponent;
    if (!isfinite(largest) || largest == 0.0)
        return 0.0;
    frexp(largest, &exponent);
    return ldexp(BINS / 2, -exponent);
}

static void count(size_t n, const int32_t *bins, uint32_t (*counts)[BINS])
{
    size_t i = 0;
    for (; i + TABLES <= n; i += TABLES) { /* by hand: a loop over tables takes half as long again */
        counts[0][bins[i]]++;
        counts[1][bins[i + 1]]++;
        counts[2][bins[i + 2]]++;
        counts[3][bins[i + 3]]++;
    }
    for (; i < n; i++)
        counts[0][bins[i]]++;
}

/* Counts n values, PIECE at a time. */
static void count_values(const q8_vec_table *vec, const float *x, int64_t n, double scale,
                         histogram_scratch *scratch)
{
    for (int64_t i = 0; i < n; i += PIECE) {
        size_t here = (size_t)q8_least(PIECE, n - i);
        vec->bins(here, x + i, scale, BINS / 2, scratch->bins);
        count(here, scratch->bins, scratch->counts);
    }
}

/* Counts one block of every `stride`, not always the same of them: channels may come round. */
static void count_some(const q8_vec_table *vec, const float *x, int64_t n, double scale,
                       histogram_scratch *scratch)
{
    const int64_t stride = n / BLOCK / LEAST, groups = n / BLOCK / stride;
    int64_t filled = 0;
    for (int64_t group = 0; group < groups; group++) {
        uint32_t mixed = (uint32_t)group * 2654435761u; /* Knuth: the golden ratio of 2^32 */
        int64_t block = group * stride + (mixed >> 16) % stride;
        memcpy(scratch->values + filled, x + block * BLOCK, BLOCK * sizeof *x);
        filled += BLOCK;
        if (filled == PIECE || group == groups - 1) {
            count_values(vec, scratch->values, filled, scale, scratch);
            filled = 0;
        }
    }
}

static double scale_for(const float *ends, int64_t rows)
{
    float low = INFINITY, high = -INFINITY;
    for (int64_t row = 0; row < rows; row++, ends += 3) {
        low = ends[0] < low || isnan(ends[0]) ? ends[0] : low;
        high = ends[1] > high || isnan(ends[1]) ? ends[1] : high;
    }
    return inverse_width(low, high);
}

static void run_histogram(const q8_step *step, const q8_run *run, int64_t part)
{
    const histogram_state *state = step->state;
    const q8_tensor *tensor = q8_tensor_of(run, state->x);
    const float *x = q8_read(run, tensor);
    int64_t *counts = q8_write(run, q8_tensor_of(run, state->counts));
    histogram_scratch *scratch = (histogram_scratch *)(void *)run->scratch;
    const q8_vec_table *vec = &run->plan->kernels->vec;
    const double scale = scale_for(q8_read(run, q8_tensor_of(run, state->ends)), state->rows);
    (void)part;
    memset(scratch->counts, 0, sizeof scratch->counts);
    if (tensor->count > Q8_HISTOGRAM_VALUES)
        count_some(vec, x, tensor->count, scale, scratch);
    else
        count_values(vec, x, tensor->count, scale, scratch);
    for (size_t bin = 0; bin < BINS; bin++) {
        counts[bin] = 0;
        for (size_t table = 0; table < TABLES; table++)
            counts[bin] += scratch->counts[table][bin];
    }
}

int q8_plan_add_histogram(q8_plan *plan, int x, int ends, int counts)
{
    const q8_tensor *values = q8_plan_operand(plan, x, Q8_F32, -1, "histogram");
    const q8_tensor *read = values ? q8_plan_operand(plan, ends, Q8_F32, 2, "histogram") : NULL;
    if (!read)
        return plan->status;
    const q8_tensor *result = q8_plan_result(plan, counts, Q8_S64, 1, "histogram");
    if (!result)
        return plan->status;
    if (result->dims[0] != BINS)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "histogram: there are %d counts", BINS);
    if (read->dims[1] != 3)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "histogram: rows of ends have 3 numbers");
    if (q8_plan_apart(plan, values, result, false, "histogram") ||
        q8_plan_apart(plan, read, result, false, "histogram"))
        return plan->status;
    const int64_t rows = read->dims[0];
    q8_step *step = q8_plan_append(plan, sizeof(histogram_state), 1, run_histogram);
    if (!step)
        return plan->status;
    *(histogram_state *)step->state =
        (histogram_state){.x = x, .ends = ends, .counts = counts, .rows = rows};
    step->scratch_bytes = sizeof(histogram_scratch);
    q8_step_name(step, "histogram f32");
    return Q8_OK;
}
