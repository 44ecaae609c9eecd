/* recurrent_products.c - the product of states and weights of a tile, in float or of codes.
 *
 * Codes: a sequence's state h is two rows of codes (digits.h). Weights go through the kernel once for
 * both, which is what a product of so few rows takes its time for. */
#include <math.h>

#include "digits.h"
#include "recurrent.h"

/* ---- packing ---- */

typedef struct {
    int64_t panel, column, width; /* of all panels; of R's rows; columns that it has */
} place;

/* The panel that comes after this one; false behind the last. panel -1: the first. */
static bool next_panel(const q8_recurrent_state *state, place *p)
{
    for (p->panel++; p->panel < state->directions * state->slices * state->gates *
                                    state->gate_panels; p->panel++) {
        const int64_t gate = p->panel / state->gate_panels % state->gates;
        const int64_t slices = p->panel / state->gate_panels / state->gates;
        const int64_t first = slices % state->slices * state->slice;
        const int64_t unit = first + p->panel % state->gate_panels * state->nr;
        const int64_t end = q8_least(state->hidden, first + state->slice);
        p->column = (slices / state->slices * state->gates + gate) * state->hidden + unit;
        p->width = q8_least(state->nr, end - unit);
        if (p->width > 0)
            return true;
    }
    return false;
}

static void pack_floats(q8_recurrent_state *state)
{
    const size_t hidden = (size_t)state->hidden;
    for (place p = {.panel = -1}; next_panel(state, &p);)
        q8_pack_panel_f32((size_t)state->nr, (size_t)p.width, hidden,
                          state->r.weights + (size_t)p.column * hidden, 1, hidden, 1.0f,
                          (float *)(void *)(state->panels + (size_t)p.panel * state->panel_bytes));
}

/* Digits are codes less 128, which is in the bias; a kernel that takes 128 off wants none. */
static void pack_codes(const q8_kernels *kernels, q8_recurrent_state *state)
{
    const q8_gemm_table *gemm = kernels->gemm;
    const size_t hidden = (size_t)state->hidden;
    const int32_t factor = gemm->flips_a ? 0 : -128;
    for (place p = {.panel = -1}; next_panel(state, &p);) {
        int32_t *bias = state->bias + p.panel * state->nr;
        const q8_panel_weights weights = {.n = (size_t)p.width, .taps = 1, .k = hidden,
                                          .w = state->r.codes + (size_t)p.column * hidden,
                                          .column_step = hidden, .k_step = 1};
        q8_pack_panel(gemm, &weights, state->panels + (size_t)p.panel * state->panel_bytes, bias);
        for (int64_t i = 0; i < p.width; i++)
            bias[i] *= factor;
    }
}

/* Scales in the order of a tile's columns. */
static void order_scales(q8_recurrent_state *state)
{
    float *to = state->scales;
    for (int64_t d = 0; d < state->directions; d++)
        for (int64_t first = 0; first < state->hidden; first += state->slice)
            for (int64_t gate = 0; gate < state->gates; gate++)
                for (int64_t i = first; i < q8_least(first + state->slice, state->hidden); i++)
                    *to++ = state->r.scales[(d * state->gates + gate) * state->hidden + i];
}

int q8_recurrent_pack(q8_plan *plan, q8_recurrent_state *state)
{
    const q8_kernels *kernels = plan->kernels;
    const size_t hidden = (size_t)state->hidden;
    const int64_t panels =
        state->directions * state->slices * state->gates * state->gate_panels;
    state->product = (q8_product){.taps = 1, .k = hidden};
    if (state->has_codes)
        state->product.k = q8_padded_k(kernels->gemm, hidden);
    state->panel_bytes = state->has_codes ? q8_panel_bytes(kernels->gemm, 1, hidden)
                                          : q8_panel_bytes_f32((size_t)state->nr, hidden);
    state->panels = q8_plan_allocate(plan, panels, state->panel_bytes);
    if (!state->has_codes) {
        state->no_bias = q8_plan_allocate(plan, state->nr, sizeof(float));
        if (plan->status == Q8_OK)
            pack_floats(state);
        return plan->status;
    }
    state->bias = q8_plan_allocate(plan, panels * state->nr, sizeof(int32_t));
    state->scales = q8_plan_allocate(plan, state->directions * state->gates * state->hidden,
                                     sizeof(float));
    if (plan->status != Q8_OK)
        return plan->status;
    pack_codes(kernels, state);
    order_scales(state);
    return Q8_OK;
}

void q8_recurrent_reserve(q8_recurrent_state *state, size_t *total)
{
    const size_t rows = (size_t)state->rows, wide = (size_t)(state->gates * state->slice);
    if (!state->has_codes)
        return;
    state->codes_at = q8_reserve(total, 2 * rows * state->product.k);
    state->rows_at = q8_reserve(total, 2 * rows * sizeof(void *));
    state->units_at = q8_reserve(total, rows * sizeof(float));
    state->acc_at = q8_reserve(total, (2 * rows + 1) * wide * sizeof(int32_t));
}

/* ---- floats ---- */

static void multiply_floats(const q8_recurrent_state *state, const q8_run *run,
                            const q8_recurrent_tile *tile, const void **rows, int64_t count)
{
    const q8_block block = {rows, (size_t)count, 0, (size_t)count};
    float *sums = (float *)(void *)(run->scratch + state->sums_at);
    for (int64_t gate = 0; gate < tile->gates; gate++) {
        int64_t panel = q8_recurrent_panel(state, tile, tile->first_gate + gate);
        for (int64_t first = 0; first < tile->units; first += state->nr, panel++) {
            const q8_panel_f32 job = {
                .kernels = run->plan->kernels,
                .product = &state->product,
                .b = (const float *)(const void *)(state->panels +
                                                   (size_t)panel * state->panel_bytes),
                .bias = state->no_bias,
                .columns = (size_t)q8_least(state->nr, tile->units - first),
                .low = -INFINITY,
                .high = INFINITY,
                .y = sums + gate * tile->units + first,
                .y_step = (size_t)(tile->gates * tile->units),
            };
            q8_panel_f32_run(&job, &block);
        }
    }
}

/* ---- codes ---- */

/* Both digits of every state, and what a unit of the first stands for. */
static void find_digits(const q8_recurrent_state *state, const q8_run *run, const void **rows,
                        int64_t count)
{
    const q8_kernels *kernels = run->plan->kernels;
    const size_t hidden = (size_t)state->hidden, k = state->product.k;
    const uint8_t **pointers = (const uint8_t **)(void *)(run->scratch + state->rows_at);
    float *units = (float *)(void *)(run->scratch + state->units_at);
    uint8_t *codes = run->scratch + state->codes_at;
    for (int64_t i = 0; i < count; i++, codes += 2 * k) {
        units[i] = q8_digits_of_row(kernels, hidden, rows[i], codes, codes + k);
        pointers[2 * i] = codes;
        pointers[2 * i + 1] = codes + k;
    }
}

/* Accumulators of all gates, [2 * count][gates * units]. */
static void multiply_codes(const q8_recurrent_state *state, const q8_run *run,
                           const q8_recurrent_tile *tile, int64_t count, int32_t *acc)
{
    const q8_gemm_table *gemm = run->plan->kernels->gemm;
    const uint8_t **rows = (const uint8_t **)(void *)(run->scratch + state->rows_at);
    const size_t wide = (size_t)(tile->gates * tile->units), all = 2 * (size_t)count;
    for (int64_t gate = 0; gate < tile->gates; gate++) {
        int64_t panel = q8_recurrent_panel(state, tile, tile->first_gate + gate);
        for (int64_t first = 0; first < tile->units; first += state->nr, panel++) {
            q8_gemm_job job = {
                .n = (size_t)q8_least(state->nr, tile->units - first),
                .taps = 1,
                .k = state->product.k,
                .a_step = all,
                .b = state->panels + (size_t)panel * state->panel_bytes,
                .bias = state->bias + panel * state->nr,
                .c_step = wide,
            };
            for (size_t row = 0; row < all; row += job.m) {
                job.m = all - row < gemm->most_rows ? all - row : gemm->most_rows;
                job.a = rows + row;
                job.c = acc + row * wide + (size_t)(gate * tile->units + first);
                gemm->tile(&job);
            }
        }
    }
}

static void add_digits(const q8_recurrent_state *state, const q8_run *run,
                       const q8_recurrent_tile *tile, int64_t count, const int32_t *acc)
{
    const q8_kernels *kernels = run->plan->kernels;
    const size_t wide = (size_t)(tile->gates * tile->units);
    const float *units = (const float *)(const void *)(run->scratch + state->units_at);
    const int64_t at = state->gates * (tile->direction * state->hidden + tile->first_unit) +
                       tile->first_gate * tile->units;
    float *sums = (float *)(void *)(run->scratch + state->sums_at);
    float *room = (float *)(void *)(run->scratch + state->acc_at) + 2 * (size_t)count * wide;
    for (int64_t i = 0; i < count; i++, acc += 2 * wide, sums += wide) {
        const q8_digits_job job = {.n = wide, .high = acc, .low = acc + wide, .unit = units[i],
                                   .scale = state->scales + at, .room = room, .y = sums};
        q8_join_digits(kernels, &job);
    }
}

void q8_recurrent_product(const q8_recurrent_state *state, const q8_run *run,
                          const q8_recurrent_tile *tile, const void **rows, int64_t count)
{
    if (!state->has_codes) {
        multiply_floats(state, run, tile, rows, count);
        return;
    }
    int32_t *acc = (int32_t *)(void *)(run->scratch + state->acc_at);
    if (!tile->repeats)
        find_digits(state, run, rows, count);
    multiply_codes(state, run, tile, count, acc);
    add_digits(state, run, tile, count, acc);
}
