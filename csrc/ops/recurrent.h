/* recurrent.h - LSTM, GRU and RNN: what checks, rounds, products and cells share.
 *
 * A tile is a slice of hidden units of one direction, with some sequences: its product h R^T, all
 * gates side by side, then the cell's functions, which write the slice's next state. A round is a
 * time step, for a reset that comes before the product half of one; the round before the first
 * fills the states. Every round reads whole states that the one before has written. */
#ifndef Q8_RECURRENT_H
#define Q8_RECURRENT_H

#include "product.h"

#define Q8_MOST_GATES 4

typedef struct {
    q8_recurrent r;             /* its arrays are the plan's */
    int64_t steps, batch, directions, hidden;
    int64_t gates, functions;   /* functions: of a direction */
    int64_t slice, slices;      /* hidden units of a tile */
    int64_t rows, row_tiles;    /* sequences of a tile */
    int64_t tiles, gate_panels; /* panels of a gate in a tile */
    int64_t macs;               /* of a round */
    bool has_halves;            /* the reset comes before the product: two rounds a step */
    bool has_codes;             /* int8 weights */
    q8_product product;         /* taps and k only */
    int64_t nr;                 /* columns of a panel */
    size_t panel_bytes;
    uint8_t *panels;            /* [direction][slice][gate][panel] */
    const float *no_bias;       /* of floats: a panel's width of zeros */
    int32_t *bias;              /* of codes: nr values for each panel */
    float *scales;              /* of codes: [direction], then slice after slice [gate][unit] */
    int32_t *lengths;           /* [batch], of this run */
    /* states [direction][batch][hidden]: h before and after a step, c, r * h, z */
    float *h[2], *c, *reset, *update;
    size_t pointers_at, places_at, sums_at, more_at; /* in the scratch */
    size_t codes_at, units_at, rows_at, acc_at;    /* of codes only */
} q8_recurrent_state;

/* What a tile works on in a round. */
typedef struct {
    bool repeats;               /* the sequences and the direction are those of the tile before */
    int64_t step, half;         /* half 1: behind a reset that comes before the product */
    int64_t direction, first_unit, units, first_row, rows;
    int64_t first_gate, gates;  /* of this half */
} q8_recurrent_tile;

/* One sequence in a tile; all arrays begin at the tile's first unit. */
typedef struct {
    const q8_recurrent_state *state;
    const q8_f32_table *f32;
    const q8_recurrent_tile *tile;
    size_t n;                   /* units */
    float *sums;                /* [gates of this half][n]: h R^T */
    const float *x;             /* gate g at x + g * hidden */
    const float *h;             /* before this step */
    float *next;                /* after it */
    float *c, *reset, *update;
    float *more;                /* room for n */
} q8_recurrent_row;

/* recurrent_cells.c: sums become the next state. */
void q8_recurrent_cell(const q8_recurrent_row *row);
/* How many functions a direction has, and gates. */
int64_t q8_recurrent_functions(int32_t cell);
int64_t q8_recurrent_gates(int32_t cell);

/* The first panel of a gate in a tile. */
static inline int64_t q8_recurrent_panel(const q8_recurrent_state *state,
                                         const q8_recurrent_tile *tile, int64_t gate)
{
    const int64_t slice = tile->direction * state->slices + tile->first_unit / state->slice;
    return (slice * state->gates + gate) * state->gate_panels;
}

/* recurrent_products.c: packs the weights; lays out the scratch that products need, from *total on;
 * h R^T of `count` sequences, whose states are given, for the gates of the tile. */
int q8_recurrent_pack(q8_plan *plan, q8_recurrent_state *state);
void q8_recurrent_reserve(q8_recurrent_state *state, size_t *total);
void q8_recurrent_product(const q8_recurrent_state *state, const q8_run *run,
                          const q8_recurrent_tile *tile, const void **rows, int64_t count);

/* recurrent_shape.c: checks the descriptor, finds sizes and tiles and copies what it points to. */
int q8_recurrent_shape(q8_plan *plan, const q8_recurrent *r, q8_recurrent_state *state);

#endif
