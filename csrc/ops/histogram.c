/* histogram.c - counts of a tensor's values in bins whose width is a power of two.
 *
 * Parts are rows of the counts, each of its own stretch of x, so that the result does not depend on
 * the number of threads. */
#include <math.h>
#include <string.h>

#include "ops.h"

#define BINS Q8_HISTOGRAM_BINS
#define PIECE 1024       /* values whose bins are found before they are counted */
#define TABLES 4         /* neighbours often share a bin: their counts do not wait for each other */
#define MOST (1u << 30)  /* values until the counts of 32 bits move to those of 64 */

typedef struct {
    int x, low, high, counts;
    int64_t per_row;
} histogram_state;

typedef struct {
    uint32_t counts[TABLES][BINS];
    int32_t bins[PIECE];
} histogram_scratch;

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

static void move_counts(histogram_scratch *scratch, int64_t *counts)
{
    for (size_t bin = 0; bin < BINS; bin++)
        for (size_t table = 0; table < TABLES; table++)
            counts[bin] += scratch->counts[table][bin];
    memset(scratch->counts, 0, sizeof scratch->counts);
}

static void run_histogram(const q8_step *step, const q8_run *run, int64_t part)
{
    const histogram_state *state = step->state;
    const q8_tensor *x_tensor = q8_tensor_of(run, state->x);
    const float *x = q8_read(run, x_tensor);
    const float *low = q8_read(run, q8_tensor_of(run, state->low));
    const float *high = q8_read(run, q8_tensor_of(run, state->high));
    int64_t *counts = (int64_t *)q8_write(run, q8_tensor_of(run, state->counts)) + part * BINS;
    histogram_scratch *scratch = (histogram_scratch *)(void *)run->scratch;
    const q8_vec_table *vec = &run->plan->kernels->vec;
    const double scale = inverse_width(*low, *high);
    memset(counts, 0, BINS * sizeof *counts);
    memset(scratch->counts, 0, sizeof scratch->counts);
    uint32_t counted = 0;
    const int64_t first = q8_least(part * state->per_row, x_tensor->count);
    const int64_t end = q8_least(first + state->per_row, x_tensor->count);
    for (int64_t i = first; i < end; i += PIECE) {
        size_t n = (size_t)q8_least(PIECE, end - i);
        vec->bins(n, x + i, scale, BINS / 2, scratch->bins);
        count(n, scratch->bins, scratch->counts);
        counted += PIECE;
        if (counted >= MOST) {
            move_counts(scratch, counts);
            counted = 0;
        }
    }
    move_counts(scratch, counts);
}

int q8_plan_add_histogram(q8_plan *plan, int x, int low, int high, int counts)
{
    const q8_tensor *values = q8_plan_operand(plan, x, Q8_F32, -1, "histogram");
    if (!values)
        return plan->status;
    const q8_tensor *result = q8_plan_result(plan, counts, Q8_S64, 2, "histogram");
    if (!result)
        return plan->status;
    if (result->dims[1] != BINS || result->dims[0] < 1)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "histogram: counts have rows of %d", BINS);
    if (q8_plan_apart(plan, values, result, false, "histogram") ||
        q8_plan_scalar(plan, low, Q8_F32, counts, "histogram") ||
        q8_plan_scalar(plan, high, Q8_F32, counts, "histogram"))
        return plan->status;
    const int64_t rows = result->dims[0];
    const int64_t per_row = q8_ceil_divide(values->count, rows);
    q8_step *step = q8_plan_append(plan, sizeof(histogram_state), rows, run_histogram);
    if (!step)
        return plan->status;
    *(histogram_state *)step->state =
        (histogram_state){.x = x, .low = low, .high = high, .counts = counts, .per_row = per_row};
    step->scratch_bytes = sizeof(histogram_scratch);
    q8_step_name(step, "histogram f32");
    return Q8_OK;
}
