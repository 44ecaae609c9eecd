/* winograd_pack.c - weights of 3x3 convolutions in the form of Winograd's products: G W G'.
 *
 * In portable C, a pair of channels of a panel's columns at a time, so that compilers make vectors of
 * the loops and whole lines of the panel are written. */
#include <string.h>

#include "kernels.h"

enum { LANES_OF_PAIR = 2 * Q8_WINOGRAD_COLUMNS };
typedef int16_t lanes[LANES_OF_PAIR]; /* [column][channel of the pair] */

/* One row or column of weights a, b, c times G, whose rows have the least integers. */
static void transform(const lanes a, const lanes b, const lanes c, lanes out[Q8_WINOGRAD_GRID])
{
    for (int i = 0; i < LANES_OF_PAIR; i++) {
        const int even = a[i] + c[i], far = a[i] + 4 * c[i];
        out[0][i] = a[i];
        out[1][i] = (int16_t)(even + b[i]);
        out[2][i] = (int16_t)(even - b[i]);
        out[3][i] = (int16_t)(far + 2 * b[i]);
        out[4][i] = (int16_t)(far - 2 * b[i]);
        out[5][i] = c[i];
    }
}

static void pack_pair(const lanes w[3][3], size_t place_step, int16_t *u)
{
    lanes half[3][Q8_WINOGRAD_GRID], whole[Q8_WINOGRAD_GRID];
    for (int line = 0; line < 3; line++)
        transform(w[line][0], w[line][1], w[line][2], half[line]);
    for (int column = 0; column < Q8_WINOGRAD_GRID; column++) {
        transform(half[0][column], half[1][column], half[2][column], whole);
        for (int line = 0; line < Q8_WINOGRAD_GRID; line++)
            memcpy(u + (size_t)(line * Q8_WINOGRAD_GRID + column) * place_step, whole[line],
                   sizeof whole[line]);
    }
}

void q8_winograd_pack(size_t n, size_t channels, const int8_t *w, size_t column_step, int16_t *u,
                      int32_t *sums)
{
    lanes taps[3][3];
    memset(taps, 0, sizeof taps);
    memset(sums, 0, n * sizeof *sums);
    for (size_t c = 0; c < channels; c += 2, u += LANES_OF_PAIR) {
        for (size_t column = 0; column < n; column++) {
            const int8_t *from = w + column * column_step + c;
            for (int tap = 0; tap < 9; tap++, from += channels) {
                int16_t *pair = taps[tap / 3][tap % 3] + 2 * column;
                pair[0] = from[0];
                pair[1] = from[1];
                sums[column] += from[0] + from[1];
            }
        }
        pack_pair((const lanes(*)[3])taps, channels * Q8_WINOGRAD_COLUMNS, u);
    }
}
