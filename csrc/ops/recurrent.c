/* recurrent.c - LSTM, GRU and RNN, round by round; see recurrent.h. */
#include <math.h>
#include <string.h>

#include "recurrent.h"

/* A part of fewer multiply-adds costs more to hand to a thread than to compute. */
#define PART_MACS 32768

/* ---- places ---- */

/* Where a state of a sequence begins, in elements. */
static int64_t state_at(const q8_recurrent_state *state, int64_t direction, int64_t row)
{
    return (direction * state->batch + row) * state->hidden;
}

/* The same in the caller's tensors. */
static int64_t outer_at(const q8_recurrent_state *state, int64_t direction, int64_t row)
{
    if (!state->r.batch_first)
        return state_at(state, direction, row);
    return (row * state->directions + direction) * state->hidden;
}

/* Where entry `time` of a sequence begins in y. */
static int64_t y_at(const q8_recurrent_state *state, int64_t time, int64_t direction, int64_t row)
{
    const int64_t d = state->directions, b = state->batch;
    const int64_t place = state->r.batch_first ? (row * state->steps + time) * d + direction
                                               : (time * d + direction) * b + row;
    return place * state->hidden;
}

/* And in x. */
static int64_t x_at(const q8_recurrent_state *state, int64_t time, int64_t direction, int64_t row)
{
    const int64_t place = state->r.batch_first ? row * state->steps + time
                                               : time * state->batch + row;
    return (place * state->directions + direction) * state->gates * state->hidden;
}

static q8_recurrent_tile tile_of(const q8_recurrent_state *state, int64_t number, int64_t round)
{
    const int64_t halves = state->has_halves ? 2 : 1;
    const int64_t slice = number / state->row_tiles % state->slices;
    q8_recurrent_tile tile = {
        .step = (round - 1) / halves,
        .half = (round - 1) % halves,
        .direction = number / state->row_tiles / state->slices,
        .first_unit = slice * state->slice,
        .first_row = number % state->row_tiles * state->rows,
        .gates = state->gates,
    };
    tile.units = q8_least(state->slice, state->hidden - tile.first_unit);
    tile.rows = q8_least(state->rows, state->batch - tile.first_row);
    if (state->has_halves) {
        tile.first_gate = tile.half ? 2 : 0;
        tile.gates = tile.half ? 1 : 2;
    }
    return tile;
}

/* The entry that a sequence reads in this step; -1 behind its end. */
static int64_t time_of(const q8_recurrent_state *state, const q8_recurrent_tile *tile, int64_t row)
{
    const int64_t length = state->lengths[row];
    if (tile->step >= length)
        return -1;
    return tile->direction == 1 || state->r.is_turned ? length - 1 - tile->step : tile->step;
}

/* ---- the round before the first ---- */

/* A run with wrong lengths ends behind this round. */
static void read_lengths(const q8_recurrent_state *state, const q8_run *run)
{
    const int32_t id = state->r.lengths;
    const int32_t *given = id < 0 ? NULL : q8_read(run, q8_tensor_of(run, id));
    for (int64_t row = 0; row < state->batch; row++) {
        const int64_t length = given ? given[row] : state->steps;
        if (length < 0 || length > state->steps)
            q8_run_failed(run, "the length of a sequence is not that of its entries");
        state->lengths[row] = (int32_t)length;
    }
}

static void start_state(const q8_recurrent_state *state, const q8_run *run,
                        const q8_recurrent_tile *tile, int32_t given, float *to)
{
    const size_t bytes = (size_t)tile->units * sizeof(float);
    const float *from = given < 0 ? NULL : q8_read(run, q8_tensor_of(run, given));
    for (int64_t row = tile->first_row; row < tile->first_row + tile->rows; row++) {
        float *at = to + state_at(state, tile->direction, row) + tile->first_unit;
        if (from)
            memcpy(at, from + outer_at(state, tile->direction, row) + tile->first_unit, bytes);
        else
            memset(at, 0, bytes);
    }
}

/* ---- a step ---- */

/* h R^T of `count` sequences, whose states are given, for the gates of the tile. */
static void run_product(const q8_recurrent_state *state, const q8_run *run,
                        const q8_recurrent_tile *tile, const void **rows, int64_t count)
{
    const int64_t nr = (int64_t)run->plan->kernels->f32.gemm_nr;
    const q8_block block = {rows, (size_t)count, 0, (size_t)count};
    const int64_t slice = tile->direction * state->slices + tile->first_unit / state->slice;
    float *sums = (float *)(void *)(run->scratch + state->sums_at);
    for (int64_t gate = 0; gate < tile->gates; gate++) {
        const int64_t place = slice * state->gates + tile->first_gate + gate;
        const uint8_t *panel =
            state->panels + (size_t)(place * state->gate_panels) * state->panel_bytes;
        for (int64_t first = 0; first < tile->units; first += nr, panel += state->panel_bytes) {
            const q8_panel_f32 job = {
                .kernels = run->plan->kernels,
                .product = &state->product,
                .b = (const float *)(const void *)panel,
                .bias = state->no_bias,
                .columns = (size_t)q8_least(nr, tile->units - first),
                .low = -INFINITY,
                .high = INFINITY,
                .y = sums + gate * tile->units + first,
                .y_step = (size_t)(tile->gates * tile->units),
            };
            q8_panel_f32_run(&job, &block);
        }
    }
}

static q8_recurrent_row row_of(const q8_recurrent_state *state, const q8_run *run,
                               const q8_recurrent_tile *tile, int64_t row)
{
    const int64_t at = state_at(state, tile->direction, row) + tile->first_unit;
    return (q8_recurrent_row){
        .state = state,
        .f32 = &run->plan->kernels->f32,
        .tile = tile,
        .n = (size_t)tile->units,
        .h = state->h[tile->step % 2] + at,
        .next = state->h[(tile->step + 1) % 2] + at,
        .c = state->c ? state->c + at : NULL,
        .reset = state->reset ? state->reset + at : NULL,
        .update = state->update ? state->update + at : NULL,
        .more = (float *)(void *)(run->scratch + state->more_at),
    };
}

/* The states of sequences that are over stay, and there is 0 in y. */
static void skip_row(const q8_recurrent_state *state, const q8_recurrent_tile *tile,
                     const q8_recurrent_row *row, int64_t number, float *y)
{
    const size_t bytes = row->n * sizeof(float);
    memcpy(row->next, row->h, bytes);
    if (y)
        memset(y + y_at(state, tile->step, tile->direction, number) + tile->first_unit, 0, bytes);
}

static void store_state(const q8_recurrent_state *state, const q8_run *run,
                        const q8_recurrent_tile *tile, int32_t result, const float *from)
{
    float *to = q8_write(run, q8_tensor_of(run, result));
    for (int64_t row = tile->first_row; row < tile->first_row + tile->rows; row++)
        memcpy(to + outer_at(state, tile->direction, row) + tile->first_unit,
               from + state_at(state, tile->direction, row) + tile->first_unit,
               (size_t)tile->units * sizeof(float));
}

static void run_cells(const q8_recurrent_state *state, const q8_run *run,
                      const q8_recurrent_tile *tile, const int64_t *rows, int64_t count)
{
    const q8_recurrent *r = &state->r;
    const float *x = q8_read(run, q8_tensor_of(run, r->x));
    float *y = r->y < 0 ? NULL : q8_write(run, q8_tensor_of(run, r->y));
    float *sums = (float *)(void *)(run->scratch + state->sums_at);
    const bool is_whole = !state->has_halves || tile->half == 1;
    int64_t next = 0;
    for (int64_t number = tile->first_row; number < tile->first_row + tile->rows; number++) {
        q8_recurrent_row row = row_of(state, run, tile, number);
        if (next == count || rows[next] != number) {
            if (is_whole)
                skip_row(state, tile, &row, number, y);
            continue;
        }
        const int64_t time = time_of(state, tile, number);
        row.sums = sums + (size_t)(next++ * tile->gates) * row.n;
        row.x = x + x_at(state, time, tile->direction, number) + tile->first_unit;
        q8_recurrent_cell(&row);
        if (y && is_whole)
            memcpy(y + y_at(state, time, tile->direction, number) + tile->first_unit, row.next,
                   row.n * sizeof(float));
    }
}

static void run_tile(const q8_recurrent_state *state, const q8_run *run,
                     const q8_recurrent_tile *tile)
{
    const void **pointers = (const void **)(void *)(run->scratch + state->pointers_at);
    int64_t *rows = (int64_t *)(void *)(run->scratch + state->places_at), count = 0;
    const float *h = tile->half ? state->reset : state->h[tile->step % 2];
    for (int64_t row = tile->first_row; row < tile->first_row + tile->rows; row++) {
        if (time_of(state, tile, row) < 0)
            continue;
        pointers[count] = h + state_at(state, tile->direction, row);
        rows[count++] = row;
    }
    if (count)
        run_product(state, run, tile, pointers, count);
    run_cells(state, run, tile, rows, count);
}

static int64_t parts_for(const q8_step *step, int threads)
{
    const q8_recurrent_state *state = step->state;
    const int64_t worth = state->macs / PART_MACS;
    return threads == 1 || worth < 2 ? 1 : q8_least(worth, state->tiles);
}

static void run_part(const q8_step *step, const q8_run *run, int64_t part)
{
    const q8_recurrent_state *state = step->state;
    const q8_recurrent *r = &state->r;
    const int64_t parts = parts_for(step, run->threads);
    const int64_t first = state->tiles * part / parts, end = state->tiles * (part + 1) / parts;
    if (run->round == 0 && part == 0)
        read_lengths(state, run);
    for (int64_t number = first; number < end; number++) {
        const q8_recurrent_tile tile = tile_of(state, number, run->round);
        if (run->round == 0) {
            start_state(state, run, &tile, r->initial_h, state->h[0]);
            if (state->c)
                start_state(state, run, &tile, r->initial_c, state->c);
            continue;
        }
        run_tile(state, run, &tile);
        if (run->round + 1 < step->rounds)
            continue;
        if (r->y_h >= 0)
            store_state(state, run, &tile, r->y_h, state->h[state->steps % 2]);
        if (r->y_c >= 0)
            store_state(state, run, &tile, r->y_c, state->c);
    }
}

/* ---- adding ---- */

static void pack(q8_recurrent_state *state, const float *weights, int64_t nr)
{
    const int64_t hidden = state->hidden;
    uint8_t *panel = state->panels;
    for (int64_t d = 0; d < state->directions; d++)
        for (int64_t slice = 0; slice < state->slices; slice++)
            for (int64_t gate = 0; gate < state->gates; gate++)
                for (int64_t p = 0; p < state->gate_panels; p++, panel += state->panel_bytes) {
                    const int64_t unit = slice * state->slice + p * nr;
                    const int64_t end = q8_least(hidden, (slice + 1) * state->slice);
                    const int64_t column = (d * state->gates + gate) * hidden + unit;
                    if (unit < end)
                        q8_pack_panel_f32((size_t)nr, (size_t)q8_least(nr, end - unit),
                                          (size_t)hidden, weights + column * hidden, 1,
                                          (size_t)hidden, 1.0f, (float *)(void *)panel);
                }
}

static size_t lay_out_scratch(q8_recurrent_state *state)
{
    size_t total = 0;
    const size_t rows = (size_t)state->rows, units = (size_t)state->slice;
    state->pointers_at = q8_reserve(&total, rows * sizeof(void *));
    state->places_at = q8_reserve(&total, rows * sizeof(int64_t));
    state->sums_at = q8_reserve(&total, rows * Q8_MOST_GATES * units * sizeof(float));
    state->more_at = q8_reserve(&total, units * sizeof(float));
    return total;
}

int q8_plan_add_recurrent(q8_plan *plan, const q8_recurrent *recurrent)
{
    static const char *const names[] = {"lstm", "gru", "rnn"};
    if (!recurrent)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "recurrent: no descriptor");
    const q8_f32_table *f32 = &plan->kernels->f32;
    const int64_t nr = (int64_t)f32->gemm_nr;
    q8_recurrent_state state;
    int64_t rounds = 0;
    if (q8_recurrent_shape(plan, recurrent, nr, &state) != Q8_OK)
        return plan->status;
    state.product = (q8_product){.taps = 1, .k = (size_t)state.hidden};
    state.panel_bytes = q8_panel_bytes_f32((size_t)nr, (size_t)state.hidden);
    state.panels = q8_plan_allocate(
        plan, state.directions * state.slices * state.gates * state.gate_panels,
        state.panel_bytes);
    state.no_bias = q8_plan_allocate(plan, nr, sizeof(float));
    q8_step *step = q8_plan_append(plan, sizeof state, 1, run_part);
    if (!step)
        return plan->status;
    pack(&state, recurrent->weights, nr);
    step->scratch_bytes = lay_out_scratch(&state);
    *(q8_recurrent_state *)step->state = state;
    step->parts_for = parts_for;
    if (q8_multiply(state.steps, state.has_halves ? 2 : 1, &rounds))
        step->rounds = rounds + 1;
    if (!q8_multiply(state.macs, state.steps, &step->macs))
        step->macs = INT64_MAX;
    q8_step_name(step, "%s %lldx%lldx%lldx%lld %s", names[state.r.cell], (long long)state.steps,
                 (long long)state.batch, (long long)state.directions, (long long)state.hidden,
                 f32->gemm_name);
    return Q8_OK;
}
