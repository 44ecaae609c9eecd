/* fuzz.h - what the plan fuzzer's parts share (fuzz_plan.c and one file per family of steps).
 *
 * Random bytes become a plan whose steps are mostly sound, because a descriptor that is refused at
 * its first field tests little; now and then one number is bent. */
#ifndef Q8_FUZZ_H
#define Q8_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../q8.h"

enum { FUZZ_MOST_TENSORS = 64, FUZZ_MOST_RANK = 8 };

typedef struct {
    int dtype, rank;
    int64_t dims[FUZZ_MOST_RANK];
    int64_t count; /* -1: too large to count */
} fuzz_tensor;

typedef struct {
    const uint8_t *data; /* the random bytes; 0 behind their end */
    size_t size, at;
    q8_plan *plan;
    fuzz_tensor tensors[FUZZ_MOST_TENSORS];
    int tensor_count;
    int64_t bound_bytes[FUZZ_MOST_TENSORS];
    int bound_count;
    int64_t arena_used;
    double work;         /* about so many operations in a run */
    bool is_too_large;   /* for this program to bind or run */
} fuzz_case;

uint32_t fuzz_below(fuzz_case *c, uint32_t limit); /* 0..limit-1 */
bool fuzz_chance(fuzz_case *c, uint32_t one_in);
float fuzz_float(fuzz_case *c);           /* mostly near 1, sometimes 0, huge, infinite, NaN */
int32_t fuzz_code(fuzz_case *c);          /* mostly 0..255 */
int32_t fuzz_bend(fuzz_case *c, int32_t value);   /* mostly value itself */
int64_t fuzz_bend64(fuzz_case *c, int64_t value);
int fuzz_id(fuzz_case *c, int id);        /* mostly id itself */
/* A shape of small sizes, at times one of them large; returns the number of elements. */
int64_t fuzz_shape(fuzz_case *c, int rank, int64_t *dims);
/* A new tensor: in the arena, bound or constant; its id. */
int fuzz_new(fuzz_case *c, int dtype, int rank, const int64_t *dims);
int fuzz_new_like(fuzz_case *c, int dtype, int id); /* the shape of tensor id */
int64_t fuzz_count(const fuzz_case *c, int id);     /* elements; 0 if it does not exist */
/* Random memory of this many elements for a descriptor to point at, until the next case; NULL if
 * count is too large to provide. */
void *fuzz_memory(fuzz_case *c, int64_t count, size_t size);

/* Now and then asks the step just added for a function of y, and for its range. */
void fuzz_maybe_finish(fuzz_case *c, int y);

void fuzz_add_step(fuzz_case *c);
void fuzz_add_product(fuzz_case *c);
void fuzz_add_recurrent(fuzz_case *c);

#endif
