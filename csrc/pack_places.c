/* pack_places.c - panels in places: q8_gemm_job in kernels.h.
 *
 * vpmaddubsw multiplies pairs of codes and weights and adds the two products in 16 bits, where 255 times
 * more than 128 saturates. Few neighbours are so large: about one pair in a hundred. A step whose four
 * weights would hold such a pair, in any column, ends before the pair's second weight or begins one code
 * earlier, so that the two are in different pairs; a code that two steps hold then has weight 0 in one of
 * them. All stays exact, for a tenth more steps than a quarter of K. */
#include <string.h>

#include "pack_bytes.h"
#include "plan.h"

/* Larger K have no places, wider panels neither; the codes of a step. */
enum { MOST_CODES = 32768, MOST_COLUMNS = 16, STEP = 4 };

/* A step that begins at start holds the weights from..end - 1. */
typedef struct {
    size_t start, from, end;
} step;

/* are_wide[p] = 1 where weights p and p + 1 are too large for each other, in any column. */
static void mark_tap(const q8_gemm_table *table, const q8_panel_weights *weights, size_t tap,
                     uint8_t *are_wide)
{
    const int8_t *w = weights->w + tap * weights->tap_step;
    memset(are_wide, 0, weights->k);
    if (weights->k_step == 1) {
        for (size_t column = 0; column < weights->n; column++, w += weights->column_step)
            table->mark_wide(w, w + 1, weights->k - 1, are_wide);
        return;
    }
    for (size_t p = 0; p + 1 < weights->k; p++, w += weights->k_step) {
        uint64_t marks[MOST_COLUMNS / 8] = {0};
        table->mark_wide(w, w + weights->k_step, weights->n, (uint8_t *)marks);
        are_wide[p] = (marks[0] | marks[1]) != 0;
    }
}

/* The end of what a step can hold that begins at start, from `from` on. */
static size_t end_of(const uint8_t *are_wide, size_t k, size_t start, size_t from)
{
    size_t end = from;
    while (end < k && end < start + STEP) {
        const bool is_second = (end - start) % 2 == 1 && end > from;
        if (is_second && are_wide[end - 1])
            break;
        end++;
    }
    return end;
}

/* The step that goes furthest of those that hold `from` and begin within `length` codes. To go further
 * never costs steps later: what comes next may always hold less. */
static step next_step(const uint8_t *are_wide, size_t k, size_t length, size_t from)
{
    step best = {0};
    for (size_t back = 0; back < STEP && back <= from; back++) {
        const size_t start = from - back;
        if (start + STEP > length)
            continue;
        const size_t end = end_of(are_wide, k, start, from);
        if (end > best.end)
            best = (step){start, from, end};
    }
    return best;
}

static bool has_places(const q8_gemm_table *table, const q8_panel_weights *weights)
{
    return table->mark_wide && table->nr <= MOST_COLUMNS && !weights->is_unsigned &&
           q8_padded_k(table, weights->k) >= STEP && weights->k <= MOST_CODES;
}

size_t q8_count_steps(const q8_gemm_table *table, const q8_panel_weights *weights)
{
    uint8_t are_wide[MOST_CODES];
    const size_t k = weights->k, length = q8_padded_k(table, k);
    size_t count = 0;
    if (!has_places(table, weights))
        return 0;
    for (size_t tap = 0; tap < weights->taps; tap++) {
        mark_tap(table, weights, tap, are_wide);
        for (size_t at = 0; at < k; count++)
            at = next_step(are_wide, k, length, at).end;
    }
    return count;
}

size_t q8_placed_bytes(const q8_gemm_table *table, size_t steps)
{
    return steps * table->nr * STEP;
}

/* Four bytes with 1 bits where the step has weights. */
static uint32_t mask_of(step s)
{
    return UINT32_MAX >> 8 * (STEP - (s.end - s.from)) << 8 * (s.from - s.start);
}

/* All columns of a step all of whose codes the weights have, each four weights behind each other: those
 * that the step has, 0 in place of the others. False if they lie so that it takes them one by one. */
static bool pack_whole_step(const q8_panel_weights *weights, const int8_t *w, step s, uint8_t *to)
{
    const uint32_t mask = mask_of(s);
    if (weights->k_step == 1) {
        for (size_t column = 0; column < weights->n; column++, w += weights->column_step) {
            uint32_t four;
            memcpy(&four, w + s.start, STEP);
            four &= mask;
            memcpy(to + column * STEP, &four, STEP);
        }
        return true;
    }
#if Q8_HAVE_PACK_BYTES
    if (weights->column_step == 1 && weights->n == 16) {
        uint32_t fours[16];
        q8_interleave_rows(w + s.start * weights->k_step, weights->k_step, 0, (uint8_t *)fours);
        for (size_t column = 0; column < 16; column++)
            fours[column] &= mask;
        memcpy(to, fours, sizeof fours);
        return true;
    }
#endif
    return false;
}

/* The weights of a step, behind each other for each of nr columns. */
static void pack_step(const q8_gemm_table *table, const q8_panel_weights *weights, size_t tap, step s,
                      uint8_t *to)
{
    const int8_t *w = weights->w + tap * weights->tap_step;
    memset(to, 0, table->nr * STEP);
    if (s.start + STEP <= weights->k && pack_whole_step(weights, w, s, to))
        return;
    for (size_t column = 0; column < weights->n; column++, w += weights->column_step)
        for (size_t p = s.from; p < s.end; p++)
            to[column * STEP + p - s.start] = (uint8_t)w[p * weights->k_step];
}

void q8_pack_places(const q8_gemm_table *table, const q8_panel_weights *weights, uint16_t *places,
                    uint8_t *panel, int32_t *sums)
{
    uint8_t are_wide[MOST_CODES];
    const size_t k = weights->k, length = q8_padded_k(table, k);
    size_t steps = 0;
    for (size_t tap = 0; tap < weights->taps; tap++) {
        uint16_t *count = places++;
        *count = 0;
        mark_tap(table, weights, tap, are_wide);
        for (size_t at = 0; at < k; steps++) {
            const step s = next_step(are_wide, k, length, at);
            pack_step(table, weights, tap, s, panel + q8_placed_bytes(table, steps));
            *places++ = (uint16_t)s.start;
            ++*count;
            at = s.end;
        }
    }
    q8_sum_steps(table, weights, panel, steps, sums); /* every weight is in one step */
}
