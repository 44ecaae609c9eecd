/* matmul.h - products of two tensors known at run time: what codes and floats share.
 *
 * Two steps: the first packs b into panels that belong to the run, the second multiplies. */
#ifndef Q8_MATMUL_H
#define Q8_MATMUL_H

#include "product.h"

typedef struct {
    q8_product product; /* of one of `batches`; a batch of a with one b is one tall product */
    int64_t batches;
    int32_t a, b, y;
    int64_t panels_at;  /* batches * product.panels of them, reserved */
    size_t panel_bytes;
} q8_matmul_shape;

/* Checks [B, M, K] x [B or 1, K, N] -> [B, M, N] and cuts the product; panels_at stays 0. */
int q8_matmul_shape_of(q8_plan *plan, const q8_tensor *a, const q8_tensor *b, const q8_tensor *y,
                       q8_tile_shape tile, const char *what, q8_matmul_shape *shape);
/* Appends the step that packs; its state begins with a q8_matmul_shape. */
q8_step *q8_matmul_append_pack(q8_plan *plan, const q8_matmul_shape *shape, size_t state_bytes,
                               void (*run)(const q8_step *, const q8_run *, int64_t));
/* Appends the step that multiplies; likewise. */
q8_step *q8_matmul_append_product(q8_plan *plan, const q8_matmul_shape *shape, size_t state_bytes,
                                  void (*run)(const q8_step *, const q8_run *, int64_t),
                                  const char *kernel);
/* Where the weights of a panel begin in b, in elements; part counts through batch and panel. */
size_t q8_matmul_b_at(const q8_matmul_shape *shape, int64_t part);
/* Walks one part of the product. */
void q8_matmul_walk(const q8_matmul_shape *shape, const q8_run *run, int64_t part,
                    uint8_t padding_byte, void (*block)(void *, const q8_block *),
                    void (*panel)(void *, const q8_block *, int64_t), void *context);
/* Where in y, in elements, a block begins in a panel. */
size_t q8_matmul_y_at(const q8_matmul_shape *shape, int64_t batch, const q8_block *block,
                      int64_t panel);

#endif
