/* broadcast.c - two shapes against a third, as numpy broadcasts them: one nest of loops. */
#include "ops.h"

/* Size and stride of dimension d of y as a sees it (shapes aligned at the right). */
static bool stride_of(const q8_tensor *a, const q8_tensor *y, int d, int64_t row, int64_t *stride)
{
    int own = d - (y->rank - a->rank);
    int64_t size = own < 0 ? 1 : a->dims[own];
    *stride = size == 1 ? 0 : row;
    return size == 1 || size == y->dims[d];
}

/* Joins dimension d of y to the loops, which are held innermost first. */
static void push_loop(q8_broadcast *out, int64_t size, int64_t a_stride, int64_t b_stride)
{
    if (size == 1)
        return;
    int last = out->rank - 1;
    if (last >= 0 && a_stride == out->a_strides[last] * out->dims[last] &&
        b_stride == out->b_strides[last] * out->dims[last]) {
        out->dims[last] *= size;
        return;
    }
    out->dims[out->rank] = size;
    out->a_strides[out->rank] = a_stride;
    out->b_strides[out->rank] = b_stride;
    out->rank++;
}

static void reverse(int64_t *values, int count)
{
    for (int i = 0; i < count / 2; i++) {
        int64_t kept = values[i];
        values[i] = values[count - 1 - i];
        values[count - 1 - i] = kept;
    }
}

bool q8_broadcast_of(const q8_tensor *a, const q8_tensor *b, const q8_tensor *y, q8_broadcast *out)
{
    *out = (q8_broadcast){0};
    if (a->rank > y->rank || b->rank > y->rank)
        return false;
    int64_t a_row = 1, b_row = 1;
    for (int d = y->rank - 1; d >= 0; d--) {
        int64_t a_stride, b_stride;
        if (!stride_of(a, y, d, a_row, &a_stride) || !stride_of(b, y, d, b_row, &b_stride))
            return false;
        push_loop(out, y->dims[d], a_stride, b_stride);
        a_row *= a_stride ? y->dims[d] : 1;
        b_row *= b_stride ? y->dims[d] : 1;
    }
    if (out->rank == 0) {
        out->rank = 1;
        out->dims[0] = 1;
    }
    reverse(out->dims, out->rank);
    reverse(out->a_strides, out->rank);
    reverse(out->b_strides, out->rank);
    return true;
}
