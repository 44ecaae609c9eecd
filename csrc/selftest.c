/* selftest.c - proves on the user's machine that the kernels compute what the reference computes.
 *
 * The light version: random and extreme values, every kernel, every tail, about a second. checkq8
 * (csrc/check) is the heavy one. */
#include "selftest.h"

#include <stdlib.h>
#include <string.h>

int64_t q8_selftest(const char *isa, uint64_t seed, char *text, int64_t text_bytes)
{
    q8_selftest_session session = {
        .tested = q8_kernels_named(isa),
        .reference = q8_kernels_named("scalar"),
        .random = seed * 2 + 1,
        .text = text,
        .text_bytes = text_bytes > 0 ? (size_t)text_bytes : 0,
    };
    if (session.text && session.text_bytes)
        session.text[0] = '\0';
    if (!session.tested)
        return Q8_ERROR_ISA;
    void *space;
    if (posix_memalign(&space, 64, sizeof *session.space) != 0)
        return Q8_ERROR_MEMORY;
    session.space = memset(space, 0, sizeof *session.space);
    q8_selftest_codes(&session);
    q8_selftest_f32(&session);
    free(space);
    return session.failed ? Q8_ERROR_STATE : session.comparisons;
}

/* Calls per measurement: some hundred microseconds at most. */
enum { CALLS = 256 };

double q8_selftest_gops(const char *isa, int milliseconds)
{
    const q8_kernels *kernels = q8_kernels_named(isa);
    void *memory;
    if (!kernels || posix_memalign(&memory, 64, sizeof(q8_selftest_space)) != 0)
        return 0.0;
    q8_selftest_space *space = memset(memory, 1, sizeof *space);
    const q8_gemm_table *gemm = kernels->gemm;
    size_t k = Q8_SELFTEST_BYTES / 4 / (gemm->nr * (size_t)gemm->weight_bytes);
    k -= k % gemm->kr; /* panel and rows stay in the first-level cache */
    for (size_t i = 0; i < gemm->most_rows; i++)
        space->pointers[i] = space->a + i * k;
    const size_t steps = gemm->mark_wide ? k / 4 : 0;
    uint16_t places[Q8_SELFTEST_PLACES] = {(uint16_t)steps};
    for (size_t step = 0; step < steps; step++)
        places[1 + step] = (uint16_t)(4 * step);
    q8_gemm_job job = {.m = gemm->most_rows, .n = gemm->nr, .taps = 1, .k = k,
                       .a_step = gemm->most_rows,
                       .a = (const uint8_t *const *)(const void *)space->pointers,
                       .b = space->panel, .places = steps ? places : NULL,
                       .bias = (const int32_t *)(const void *)space->b,
                       .c = space->got, .c_step = gemm->nr};
    /* The best of many short measurements: others use this machine, too. */
    const int64_t end = q8_nanoseconds() + (int64_t)milliseconds * 1000000;
    int64_t best = INT64_MAX;
    for (int64_t start = q8_nanoseconds(), now; best == INT64_MAX || start < end; start = now) {
        for (int i = 0; i < CALLS; i++)
            gemm->tile(&job);
        now = q8_nanoseconds();
        if (now - start < best)
            best = now - start;
    }
    free(memory);
    return 2.0 * (double)(gemm->most_rows * gemm->nr * k) * CALLS / (double)(best > 0 ? best : 1);
}
