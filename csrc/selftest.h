/* selftest.h - what the parts of the selftest share: selftest.c asks selftest_codes.c and
 * selftest_f32.c, which draw and compare through selftest_session.c. */
#ifndef Q8_SELFTEST_H
#define Q8_SELFTEST_H

#include <stdbool.h>

#include "plan.h"

enum { Q8_SELFTEST_BYTES = 1 << 16, Q8_SELFTEST_PLACES = 512 };

/* Work space of one comparison, each array 64-byte aligned. */
typedef struct {
    _Alignas(64) uint8_t a[Q8_SELFTEST_BYTES];
    _Alignas(64) uint8_t b[Q8_SELFTEST_BYTES];
    _Alignas(64) uint8_t c[Q8_SELFTEST_BYTES];
    _Alignas(64) uint8_t panel[Q8_SELFTEST_BYTES];
    _Alignas(64) uint8_t want[Q8_SELFTEST_BYTES];
    _Alignas(64) uint8_t got[Q8_SELFTEST_BYTES];
    const void *pointers[2048];
} q8_selftest_space;

typedef struct {
    const q8_kernels *tested, *reference;
    q8_selftest_space *space;
    uint64_t random;
    int64_t comparisons;
    bool failed;
    char *text;
    size_t text_bytes;
} q8_selftest_session;

/* Row lengths that catch every kind of tail. */
extern const size_t q8_selftest_lengths[];
extern const int q8_selftest_length_count;

uint32_t q8_selftest_random(q8_selftest_session *session);
/* Random bytes: spread, or all near the two ends of the range. */
void q8_selftest_fill_codes(q8_selftest_session *session, uint8_t *codes, size_t n);
/* Random values within -range..range, none a NaN. */
void q8_selftest_fill_floats(q8_selftest_session *session, float *values, size_t n, float range);
/* The same pattern in space->want and space->got. */
void q8_selftest_clear(q8_selftest_session *session);
/* Counts a comparison of space->want with space->got, whole, or of n floats within
 * absolute + relative * |want|; describes the first difference. */
void q8_selftest_same(q8_selftest_session *session, const char *kernel, size_t n);
void q8_selftest_close(q8_selftest_session *session, const char *kernel, size_t n, float absolute,
                       float relative);

void q8_selftest_codes(q8_selftest_session *session); /* gemm, conv, vec */
void q8_selftest_f32(q8_selftest_session *session);

#endif
