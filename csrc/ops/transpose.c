/* transpose.c - a plane of elements from one pair of strides to another. */
#include "transpose.h"

#include <string.h>

#include "ops.h"

/* bytes is a literal wherever this is called, so that each copy becomes one load and one store. */
static inline __attribute__((always_inline)) void copy_elements(const q8_plane *plane, size_t bytes)
{
    for (int64_t row = 0; row < plane->rows; row++) {
        const uint8_t *x = plane->x + row * plane->x_row_bytes;
        uint8_t *y = plane->y + row * plane->y_row_bytes;
        for (int64_t column = 0; column < plane->columns; column++) {
            memcpy(y, x, bytes);
            x += plane->x_column_bytes;
            y += plane->y_column_bytes;
        }
    }
}

void q8_copy_plane(const q8_plane *plane, size_t bytes)
{
    q8_plane turned = *plane;
    if (plane->columns < plane->rows) /* the longer loop inside */
        turned = (q8_plane){plane->x,
                            plane->y,
                            plane->columns,
                            plane->rows,
                            plane->x_column_bytes,
                            plane->y_column_bytes,
                            plane->x_row_bytes,
                            plane->y_row_bytes};
    if (bytes == 1)
        copy_elements(&turned, 1);
    else if (bytes == 2)
        copy_elements(&turned, 2);
    else if (bytes == 4)
        copy_elements(&turned, 4);
    else
        copy_elements(&turned, 8);
}

/* Exchanges, in two words, the bits of a under ~mask with those of b under mask. */
static inline void exchange(uint64_t *a, uint64_t *b, uint64_t mask, int shift)
{
    uint64_t changed = ((*a >> shift) ^ *b) & mask;
    *b ^= changed;
    *a ^= changed << shift;
}

/* 8 x 8 bytes held in eight words, least significant byte first: not for a big-endian CPU. */
static void transpose_8x8(const uint8_t *x, int64_t x_step, uint8_t *y, int64_t y_step)
{
    uint64_t words[8];
    for (int i = 0; i < 8; i++)
        memcpy(&words[i], x + i * x_step, 8);
    for (int i = 0; i < 4; i++)
        exchange(&words[i], &words[i + 4], 0x00000000FFFFFFFFu, 32);
    for (int i = 0; i < 8; i += i % 2 ? 3 : 1)
        exchange(&words[i], &words[i + 2], 0x0000FFFF0000FFFFu, 16);
    for (int i = 0; i < 8; i += 2)
        exchange(&words[i], &words[i + 1], 0x00FF00FF00FF00FFu, 8);
    for (int i = 0; i < 8; i++)
        memcpy(y + i * y_step, &words[i], 8);
}

static void transpose_4x4(const uint8_t *x, int64_t x_step, uint8_t *y, int64_t y_step)
{
    uint32_t words[4][4];
    for (int i = 0; i < 4; i++)
        memcpy(words[i], x + i * x_step, 16);
    for (int i = 0; i < 4; i++) {
        uint32_t row[4] = {words[0][i], words[1][i], words[2][i], words[3][i]};
        memcpy(y + i * y_step, row, 16);
    }
}

/* The part of a plane that begins at (row, column). */
static q8_plane rest_of(const q8_plane *plane, int64_t row, int64_t column, int64_t rows,
                        int64_t columns)
{
    q8_plane rest = *plane;
    rest.x += row * plane->x_row_bytes + column * plane->x_column_bytes;
    rest.y += row * plane->y_row_bytes + column * plane->y_column_bytes;
    rest.rows = rows;
    rest.columns = columns;
    return rest;
}

/* Whole 8 x 8 or 4 x 4 pieces of a block; its sizes are multiples of that. */
static void transpose_block(const q8_plane *block, size_t bytes)
{
    int64_t piece = bytes == 1 ? 8 : 4;
    for (int64_t row = 0; row < block->rows; row += piece)
        for (int64_t column = 0; column < block->columns; column += piece) {
            q8_plane here = rest_of(block, row, column, piece, piece);
            if (bytes == 1)
                transpose_8x8(here.x, here.x_column_bytes, here.y, here.y_row_bytes);
            else
                transpose_4x4(here.x, here.x_column_bytes, here.y, here.y_row_bytes);
        }
}

void q8_transpose_plane(const q8_plane *plane, size_t bytes)
{
    const int64_t piece = bytes == 1 ? 8 : 4, block = bytes == 1 ? 64 : 16; /* a cache line */
    int64_t rows = plane->rows - plane->rows % piece;
    int64_t columns = plane->columns - plane->columns % piece;
    const bool has_pieces = bytes == 4 || (bytes == 1 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    if (!has_pieces || rows == 0 || columns == 0) {
        q8_copy_plane(plane, bytes);
        return;
    }
    for (int64_t row = 0; row < rows; row += block)
        for (int64_t column = 0; column < columns; column += block) {
            q8_plane here = rest_of(plane, row, column, q8_least(block, rows - row),
                                    q8_least(block, columns - column));
            transpose_block(&here, bytes);
        }
    q8_plane right = rest_of(plane, 0, columns, rows, plane->columns - columns);
    q8_plane below = rest_of(plane, rows, 0, plane->rows - rows, plane->columns);
    q8_copy_plane(&right, bytes);
    q8_copy_plane(&below, bytes);
}
