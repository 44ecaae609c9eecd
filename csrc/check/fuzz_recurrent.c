/* fuzz_recurrent.c - random LSTM, GRU and RNN, and floats as digits. */
#include <math.h>

#include "fuzz.h"

/* A tensor, or at times none. */
static int32_t maybe_tensor(fuzz_case *c, int dtype, int rank, const int64_t *dims)
{
    return fuzz_chance(c, 3) ? fuzz_bend(c, -1) : fuzz_id(c, fuzz_new(c, dtype, rank, dims));
}

static const float *maybe_floats(fuzz_case *c, int64_t count, uint32_t one_in)
{
    return fuzz_chance(c, one_in) ? fuzz_memory(c, count, sizeof(float)) : NULL;
}

/* Lengths that mostly fit: what is random nearly never does. */
static int32_t maybe_lengths(fuzz_case *c, int64_t batch, int64_t steps)
{
    if (!fuzz_chance(c, 2) || batch < 1 || batch > 4000)
        return maybe_tensor(c, Q8_S32, 1, &batch);
    int32_t *lengths = fuzz_memory(c, batch, sizeof *lengths);
    for (int64_t i = 0; lengths && i < batch; i++)
        lengths[i] = fuzz_bend(c, (int32_t)(i * 7 % (steps < 1000 ? steps + 1 : 1000)));
    fuzz_tensor tensor = {.dtype = Q8_S32, .rank = 1, .dims = {batch}, .count = batch};
    const int id = q8_plan_constant(c->plan, Q8_S32, 1, &batch, lengths);
    if (id >= 0)
        c->tensors[c->tensor_count++] = tensor;
    return id;
}

static void add_digits(fuzz_case *c)
{
    int64_t dims[2];
    fuzz_shape(c, 2, dims);
    const int64_t twice[2] = {dims[0] > 0 && dims[0] < INT32_MAX ? 2 * dims[0] : dims[0], dims[1]};
    const int x = fuzz_new(c, Q8_F32, 2, dims), units = fuzz_new(c, Q8_F32, 1, dims);
    q8_plan_add_digits(c->plan, fuzz_id(c, x), fuzz_id(c, fuzz_new(c, Q8_U8, 2, twice)),
                       fuzz_id(c, units));
    /* its y has as many columns as the scales that were provided: it stays as it is */
    const int sums = fuzz_id(c, fuzz_new(c, Q8_S32, 2, twice));
    q8_plan_add_joined_digits(c->plan, sums, fuzz_id(c, units), x,
                              fuzz_memory(c, dims[1], sizeof(float)),
                              maybe_floats(c, dims[1], 2));
}

void fuzz_add_recurrent(fuzz_case *c)
{
    static const int64_t gates[] = {4, 3, 1}, functions[] = {3, 2, 1};
    int64_t sizes[3]; /* steps, batch, hidden */
    if (c->tensor_count > FUZZ_MOST_TENSORS - 8)
        return;
    if (fuzz_chance(c, 3)) {
        add_digits(c);
        return;
    }
    fuzz_shape(c, 3, sizes);
    const int64_t t = sizes[0], b = sizes[1], h = sizes[2], d = 1 + fuzz_below(c, 2);
    const int32_t cell = (int32_t)fuzz_below(c, 3);
    const bool first = fuzz_chance(c, 2);
    if (t < 0 || b < 0 || h < 0 || h > 400 || t > 100000)
        return;
    const int64_t x_dims[4] = {first ? b : t, first ? t : b, d, gates[cell] * h};
    const int64_t y_dims[4] = {first ? b : t, first ? t : d, first ? d : b, h};
    const int64_t dims[3] = {first ? b : d, first ? d : b, h};
    const int64_t count = d * functions[cell], weights = d * gates[cell] * h * h;
    const bool is_code = fuzz_chance(c, 2);
    int32_t *chosen = fuzz_memory(c, count, sizeof *chosen);
    for (int64_t i = 0; chosen && i < count; i++)
        chosen[i] = fuzz_bend(c, (int32_t)fuzz_below(c, Q8_UNARY_COS + 1));
    /* x, cell and the weights belong together: they stay as they are */
    const q8_recurrent recurrent = {
        .cell = cell,
        .x = fuzz_new(c, Q8_F32, 4, x_dims),
        .initial_h = maybe_tensor(c, Q8_F32, 3, dims),
        .initial_c = cell ? fuzz_bend(c, -1) : maybe_tensor(c, Q8_F32, 3, dims),
        .lengths = maybe_lengths(c, b, t),
        .y = maybe_tensor(c, Q8_F32, 4, y_dims),
        .y_h = maybe_tensor(c, Q8_F32, 3, dims),
        .y_c = cell ? fuzz_bend(c, -1) : maybe_tensor(c, Q8_F32, 3, dims),
        .batch_first = first,
        .is_turned = (int32_t)fuzz_below(c, 2),
        .weights = is_code ? NULL : fuzz_memory(c, weights, sizeof(float)),
        .codes = is_code ? fuzz_memory(c, weights, 1) : NULL,
        .scales = is_code ? fuzz_memory(c, d * gates[cell] * h, sizeof(float)) : NULL,
        .reset_bias = maybe_floats(c, d * h, cell == Q8_CELL_GRU ? 2 : 64),
        .peepholes = maybe_floats(c, d * 3 * h, cell == Q8_CELL_LSTM ? 2 : 64),
        .input_forget = cell ? fuzz_bend(c, 0) : (int32_t)fuzz_below(c, 2),
        .functions = chosen,
        .alpha = fuzz_memory(c, count, sizeof(float)),
        .beta = fuzz_memory(c, count, sizeof(float)),
        .clip = fuzz_chance(c, 2) ? INFINITY : fuzz_float(c),
    };
    c->work += (double)t * (double)b * (double)d * (double)gates[cell] * (double)h *
               ((double)h + 50);
    q8_plan_add_recurrent(c->plan, fuzz_chance(c, 128) ? NULL : &recurrent);
}
