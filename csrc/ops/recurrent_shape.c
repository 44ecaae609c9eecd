/* recurrent_shape.c - checks of LSTM, GRU and RNN, their sizes, tiles and memory. */
#include <string.h>

#include "recurrent.h"

/* Hidden units of a tile, at least; a multiple of a panel's width. */
#define SLICE 64
/* Sequences of a tile: a multiple of the rows of every kernel. */
#define ROWS 24

static int refuse(q8_plan *plan, const char *text)
{
    return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "recurrent: %s", text);
}

/* True if a tensor has these dimensions. */
static bool has_dims(const q8_tensor *tensor, int rank, const int64_t *dims)
{
    return tensor->rank == rank && !memcmp(tensor->dims, dims, (size_t)rank * sizeof *dims);
}

static int find_sizes(q8_plan *plan, q8_recurrent_state *state)
{
    const q8_recurrent *r = &state->r;
    const q8_tensor *x = q8_plan_operand(plan, r->x, Q8_F32, 4, "recurrent");
    if (!x)
        return plan->status;
    if (r->cell < Q8_CELL_LSTM || r->cell > Q8_CELL_RNN)
        return refuse(plan, "an unknown cell");
    state->gates = q8_recurrent_gates(r->cell);
    state->functions = q8_recurrent_functions(r->cell);
    state->steps = x->dims[r->batch_first ? 1 : 0];
    state->batch = x->dims[r->batch_first ? 0 : 1];
    state->directions = x->dims[2];
    state->hidden = x->dims[3] / state->gates;
    if (x->count < 1 || x->dims[3] % state->gates)
        return refuse(plan, "an empty tensor, or one that no gates have");
    /* so many products of two codes fit an int32 */
    if (state->hidden > (r->codes ? INT32_MAX / (255 * 255) : INT32_MAX) ||
        state->steps > INT32_MAX)
        return refuse(plan, "an enormous tensor");
    if (state->directions > 2)
        return refuse(plan, "more than two directions");
    return Q8_OK;
}

/* The three results and the states that it begins with. */
static int check_tensors(q8_plan *plan, const q8_recurrent_state *state)
{
    const q8_recurrent *r = &state->r;
    const int64_t t = state->steps, b = state->batch, d = state->directions, h = state->hidden;
    const int64_t y_dims[4] = {r->batch_first ? b : t, r->batch_first ? t : d,
                               r->batch_first ? d : b, h};
    const int64_t state_dims[3] = {r->batch_first ? b : d, r->batch_first ? d : b, h};
    const int32_t ids[] = {r->initial_h, r->initial_c, r->y_h, r->y_c, r->y, r->lengths, r->x};
    const q8_tensor *tensors[7] = {NULL};
    for (int i = 0; i < 7; i++) {
        const bool is_result = i >= 2 && i <= 4;
        if (ids[i] == -1)
            continue;
        tensors[i] = is_result ? q8_plan_result(plan, ids[i], Q8_F32, -1, "recurrent")
                               : q8_plan_operand(plan, ids[i], i == 5 ? Q8_S32 : Q8_F32, -1,
                                                 "recurrent");
        if (!tensors[i])
            return plan->status;
        if (!(i < 4 ? has_dims(tensors[i], 3, state_dims)
                    : i == 4 ? has_dims(tensors[i], 4, y_dims)
                             : i == 6 || has_dims(tensors[i], 1, &b)))
            return refuse(plan, "shapes do not fit");
    }
    for (int i = 2; i <= 4; i++)
        for (int j = 0; j < 7; j++)
            if (tensors[i] && tensors[j] && j != i &&
                q8_plan_apart(plan, tensors[j], tensors[i], false, "recurrent"))
                return plan->status;
    return Q8_OK;
}

static int check_numbers(q8_plan *plan, const q8_recurrent_state *state)
{
    const q8_recurrent *r = &state->r;
    const bool is_lstm = r->cell == Q8_CELL_LSTM;
    if (!r->weights == !r->codes || !r->codes != !r->scales)
        return refuse(plan, "no weights, or two kinds of them");
    if (!r->functions || !r->alpha || !r->beta)
        return refuse(plan, "no functions");
    if (!is_lstm && (r->peepholes || r->initial_c != -1 || r->y_c != -1 || r->input_forget))
        return refuse(plan, "a cell's state, and it is no LSTM");
    if (r->cell != Q8_CELL_GRU && r->reset_bias)
        return refuse(plan, "a bias of the reset, and it is no GRU");
    if (!(r->clip > 0.0f))
        return refuse(plan, "a clip that is not above 0");
    for (int64_t i = 0; i < state->directions * state->functions; i++)
        if (r->functions[i] < Q8_UNARY_CLAMP || r->functions[i] > Q8_UNARY_COS)
            return refuse(plan, "an unknown function");
    return Q8_OK;
}

static void cut(q8_recurrent_state *state)
{
    const int64_t nr = state->nr;
    const int64_t slice = q8_ceil_divide(SLICE, nr) * nr;
    state->slice = q8_least(slice, state->hidden);
    state->slices = q8_ceil_divide(state->hidden, slice);
    state->gate_panels = q8_ceil_divide(state->slice, nr);
    state->rows = q8_least(ROWS, state->batch);
    state->row_tiles = q8_ceil_divide(state->batch, ROWS);
    state->has_halves = state->r.cell == Q8_CELL_GRU && !state->r.reset_bias;
}

/* A copy of an array of numbers of 4 bytes; NULL stays NULL. */
static const void *copied(q8_plan *plan, const void *values, int64_t count)
{
    void *copy = values ? q8_plan_allocate(plan, count, 4) : NULL;
    return copy ? memcpy(copy, values, (size_t)count * 4) : NULL;
}

static int take_memory(q8_plan *plan, q8_recurrent_state *state)
{
    q8_recurrent *r = &state->r;
    const int64_t functions = state->directions * state->functions;
    const int64_t units = state->directions * state->hidden, count = units * state->batch;
    r->functions = copied(plan, r->functions, functions);
    r->alpha = copied(plan, r->alpha, functions);
    r->beta = copied(plan, r->beta, functions);
    r->reset_bias = copied(plan, r->reset_bias, units);
    r->peepholes = copied(plan, r->peepholes, 3 * units);
    state->lengths = q8_plan_allocate_kept(plan, state->batch, sizeof(int32_t));
    state->h[0] = q8_plan_allocate_kept(plan, count, sizeof(float));
    state->h[1] = q8_plan_allocate_kept(plan, count, sizeof(float));
    if (r->cell == Q8_CELL_LSTM)
        state->c = q8_plan_allocate_kept(plan, count, sizeof(float));
    if (state->has_halves) {
        state->reset = q8_plan_allocate_kept(plan, count, sizeof(float));
        state->update = q8_plan_allocate_kept(plan, count, sizeof(float));
    }
    return plan->status;
}

int q8_recurrent_shape(q8_plan *plan, const q8_recurrent *r, q8_recurrent_state *state)
{
    const q8_kernels *kernels = plan->kernels;
    *state = (q8_recurrent_state){.r = *r, .has_codes = r->codes != NULL};
    state->nr = (int64_t)(state->has_codes ? kernels->gemm->nr : kernels->f32.gemm_nr);
    if (find_sizes(plan, state) != Q8_OK || check_tensors(plan, state) != Q8_OK ||
        check_numbers(plan, state) != Q8_OK)
        return plan->status;
    cut(state);
    const int64_t units = state->directions * state->hidden;
    if (!q8_multiply(units * state->gates, state->batch, &state->macs) ||
        !q8_multiply(state->macs, state->hidden, &state->macs) ||
        !q8_multiply(state->directions * state->slices, state->row_tiles, &state->tiles))
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "recurrent: too many weights");
    return take_memory(plan, state);
}
