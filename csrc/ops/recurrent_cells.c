/* recurrent_cells.c - the functions of LSTM, GRU and RNN for one sequence of a tile. */
#include <math.h>

#include "recurrent.h"

int64_t q8_recurrent_gates(int32_t cell)
{
    return cell == Q8_CELL_LSTM ? 4 : cell == Q8_CELL_GRU ? 3 : 1;
}

int64_t q8_recurrent_functions(int32_t cell)
{
    return cell == Q8_CELL_LSTM ? 3 : cell == Q8_CELL_GRU ? 2 : 1;
}

static void add(const q8_recurrent_row *row, const float *a, float *y)
{
    row->f32->binary(Q8_ADD, row->n, y, 1, a, 1, y);
}

static void multiply(const q8_recurrent_row *row, const float *a, const float *b, float *y)
{
    row->f32->binary(Q8_MUL, row->n, a, 1, b, 1, y);
}

/* y = 1 - x */
static void complement(const q8_recurrent_row *row, const float *x, float *y)
{
    row->f32->unary(Q8_UNARY_AFFINE, row->n, x, y, -1.0f, 1.0f);
}

/* Function number f of the direction on n values; gates are clipped, the state of LSTM is not. */
static void apply(const q8_recurrent_row *row, int64_t f, size_t n, const float *x, float *y)
{
    const q8_recurrent *r = &row->state->r;
    const int64_t at = row->tile->direction * row->state->functions + f;
    if (f < 2 && r->clip < INFINITY) {
        row->f32->unary(Q8_UNARY_CLAMP, n, x, y, -r->clip, r->clip);
        x = y;
    }
    row->f32->unary(r->functions[at], n, x, y, r->alpha[at], r->beta[at]);
}

static void add_inputs(const q8_recurrent_row *row, int64_t first, int64_t gates)
{
    for (int64_t gate = 0; gate < gates; gate++)
        add(row, row->x + (first + gate) * row->state->hidden,
            row->sums + (size_t)gate * row->n);
}

/* Adds what a gate sees of the cell: c times its peephole, 0 to 2 of i, o and f. */
static void look(const q8_recurrent_row *row, int64_t peephole, float *gate)
{
    const q8_recurrent_state *state = row->state;
    const int64_t at = (3 * row->tile->direction + peephole) * state->hidden;
    multiply(row, state->r.peepholes + at + row->tile->first_unit, row->c, row->more);
    add(row, row->more, gate);
}

static void run_lstm(const q8_recurrent_row *row)
{
    const size_t n = row->n;
    float *i = row->sums, *o = i + n, *f = o + n, *candidate = f + n;
    const bool looks = row->state->r.peepholes != NULL;
    add_inputs(row, 0, 4);
    if (looks) {
        look(row, 0, i);
        look(row, 2, f);
        apply(row, 0, n, i, i);
        apply(row, 0, n, f, f);
    } else {
        apply(row, 0, 3 * n, i, i);
    }
    if (row->state->r.input_forget)
        complement(row, i, f);
    apply(row, 1, n, candidate, candidate);
    multiply(row, f, row->c, row->c);
    multiply(row, i, candidate, candidate);
    add(row, candidate, row->c);
    if (looks) {
        look(row, 1, o);
        apply(row, 0, n, o, o);
    }
    apply(row, 2, n, row->c, row->more);
    multiply(row, o, row->more, row->next);
}

/* h = (1 - z) * candidate + z * h */
static void blend(const q8_recurrent_row *row, const float *update, float *candidate)
{
    complement(row, update, row->more);
    multiply(row, row->more, candidate, candidate);
    multiply(row, update, row->h, row->next);
    add(row, candidate, row->next);
}

/* With the reset behind the product. */
static void run_gru(const q8_recurrent_row *row)
{
    const q8_recurrent_state *state = row->state;
    const size_t n = row->n;
    float *update = row->sums, *reset = update + n, *candidate = reset + n;
    const int64_t at = row->tile->direction * state->hidden + row->tile->first_unit;
    add_inputs(row, 0, 2);
    apply(row, 0, 2 * n, update, update);
    add(row, state->r.reset_bias + at, candidate);
    multiply(row, reset, candidate, candidate);
    add(row, row->x + 2 * state->hidden, candidate);
    apply(row, 1, n, candidate, candidate);
    blend(row, update, candidate);
}

/* With the reset before it: first both gates, then the candidate. */
static void run_gru_half(const q8_recurrent_row *row)
{
    const size_t n = row->n;
    if (row->tile->half == 0) {
        float *reset = row->sums + n;
        add_inputs(row, 0, 2);
        apply(row, 0, n, row->sums, row->update);
        apply(row, 0, n, reset, reset);
        multiply(row, reset, row->h, row->reset);
        return;
    }
    add_inputs(row, 2, 1);
    apply(row, 1, n, row->sums, row->sums);
    blend(row, row->update, row->sums);
}

void q8_recurrent_cell(const q8_recurrent_row *row)
{
    const q8_recurrent_state *state = row->state;
    if (state->r.cell == Q8_CELL_LSTM) {
        run_lstm(row);
    } else if (state->has_halves) {
        run_gru_half(row);
    } else if (state->r.cell == Q8_CELL_GRU) {
        run_gru(row);
    } else {
        add_inputs(row, 0, 1);
        apply(row, 0, row->n, row->sums, row->next);
    }
}
