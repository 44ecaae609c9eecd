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
        q8_recurrent_product(state, run, tile, pointers, count);
    run_cells(state, run, tile, rows, count);
}

static int64_t parts_for(const q8_step *step, int threads)
{
    const q8_recurrent_state *state = step->state;
    const int64_t worth = state->macs / PART_MACS;
    return threads == 1 || worth < 2 ? 1 : q8_least(worth, state->tiles);
}

static void start_tile(const q8_recurrent_state *state, const q8_run *run,
                       const q8_recurrent_tile *tile)
{
    start_state(state, run, tile, state->r.initial_h, state->h[0]);
    if (state->c)
        start_state(state, run, tile, state->r.initial_c, state->c);
}

static void run_tiles(const q8_step *step, const q8_run *run, q8_range tiles, int64_t round)
{
    const q8_recurrent_state *state = step->state;
    const q8_recurrent *r = &state->r;
    int64_t direction = -1, row = -1;
    for (int64_t number = tiles.first; number < tiles.end; number++) {
        q8_recurrent_tile tile = tile_of(state, number, round);
        tile.repeats = tile.direction == direction && tile.first_row == row;
        direction = tile.direction;
        row = tile.first_row;
        if (round == 0) {
            start_tile(state, run, &tile);
            continue;
        }
        run_tile(state, run, &tile);
        if (round + 1 < step->rounds)
            continue;
        if (r->y_h >= 0)
            store_state(state, run, &tile, r->y_h, state->h[state->steps % 2]);
        if (r->y_c >= 0)
            store_state(state, run, &tile, r->y_c, state->c);
    }
}

/* A single part has nobody to wait for: it goes through one direction after the other, so that the
 * weights of one at a time are in the cache. */
static void run_part(const q8_step *step, const q8_run *run, int64_t part)
{
    const q8_recurrent_state *state = step->state;
    const int64_t parts = parts_for(step, run->threads), tiles = state->tiles;
    const int64_t rounds = step->rounds - 1, own = tiles / state->directions;
    if (run->round == 0 && part == 0)
        read_lengths(state, run);
    if (parts > 1 || run->round == 0) {
        run_tiles(step, run, (q8_range){tiles * part / parts, tiles * (part + 1) / parts},
                  run->round);
        return;
    }
    for (int64_t d = 0; d < state->directions; d++) {
        const int64_t place = (run->round - 1) * state->directions + d;
        const int64_t first = place / rounds * own;
        run_tiles(step, run, (q8_range){first, first + own}, place % rounds + 1);
    }
}

/* ---- adding ---- */

static size_t lay_out_scratch(q8_recurrent_state *state)
{
    size_t total = 0;
    const size_t rows = (size_t)state->rows, units = (size_t)state->slice;
    state->pointers_at = q8_reserve(&total, rows * sizeof(void *));
    state->places_at = q8_reserve(&total, rows * sizeof(int64_t));
    state->sums_at = q8_reserve(&total, rows * Q8_MOST_GATES * units * sizeof(float));
    state->more_at = q8_reserve(&total, units * sizeof(float));
    q8_recurrent_reserve(state, &total);
    return total;
}

int q8_plan_add_recurrent(q8_plan *plan, const q8_recurrent *recurrent)
{
    static const char *const names[] = {"lstm", "gru", "rnn"};
    if (!recurrent)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "recurrent: no descriptor");
    q8_recurrent_state state;
    int64_t rounds = 0;
    if (q8_recurrent_shape(plan, recurrent, &state) != Q8_OK ||
        q8_recurrent_pack(plan, &state) != Q8_OK)
        return plan->status;
    q8_step *step = q8_plan_append(plan, sizeof state, 1, run_part);
    if (!step)
        return plan->status;
    step->scratch_bytes = lay_out_scratch(&state);
    *(q8_recurrent_state *)step->state = state;
    step->parts_for = parts_for;
    if (q8_multiply(state.steps, state.has_halves ? 2 : 1, &rounds))
        step->rounds = rounds + 1;
    if (!q8_multiply(state.macs, state.steps, &step->macs))
        step->macs = INT64_MAX;
    q8_step_name(step, "%s%s %lldx%lldx%lldx%lld %s", names[state.r.cell],
                 state.has_codes ? " s8" : "", (long long)state.steps, (long long)state.batch,
                 (long long)state.directions, (long long)state.hidden,
                 state.has_codes ? plan->kernels->gemm->name : plan->kernels->f32.gemm_name);
    return Q8_OK;
}
