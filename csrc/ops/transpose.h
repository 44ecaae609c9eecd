/* transpose.h - a plane of elements from one pair of strides to another (ops/transpose.c). */
#ifndef Q8_TRANSPOSE_H
#define Q8_TRANSPOSE_H

#include <stddef.h>
#include <stdint.h>

/* Element (row, column) stands at row * row_bytes + column * column_bytes on either side. */
typedef struct {
    const uint8_t *x;
    uint8_t *y;
    int64_t rows, columns;
    int64_t x_row_bytes, y_row_bytes, x_column_bytes, y_column_bytes;
} q8_plane;

/* Any strides; elements of 1, 2, 4 or 8 bytes. */
void q8_copy_plane(const q8_plane *plane, size_t bytes);
/* Rows adjacent in x and columns adjacent in y: in blocks, so that both sides use whole lines. */
void q8_transpose_plane(const q8_plane *plane, size_t bytes);

#endif
