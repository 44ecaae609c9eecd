/* check.h - what the parts of checkq8 share. Globals of this program start with check_.
 *
 * A test of one kernel is a sequence of cases. A case names its geometry, takes guarded buffers,
 * fills them, calls the kernel through CHECK_CALL and compares. Buffers live until the next case.
 * Everything random comes from one generator that is seeded anew for each kernel, so that
 * `checkq8 SEED -t isa/kernel` repeats exactly what the full run did. */
#ifndef Q8_CHECK_H
#define Q8_CHECK_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../kernels/kernels.h"

/* ---- report.c: which kernel, which case, what went wrong ---- */

typedef struct {
    uint64_t seed;
    const char *pattern; /* NULL: everything */
    bool lists;          /* only print the names */
} check_options;
extern check_options check_settings;

void check_set_isa(const char *isa);
/* Starts the test of a kernel: false if it is inherited, missed by the pattern or only listed. */
bool check_begin(const char *kernel, bool is_new);
/* Starts a case: gives all buffers back and remembers the geometry for messages. */
void check_case(const char *format, ...) __attribute__((format(printf, 1, 2)));
void check_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the summary of the instruction set; then of all of them: true if nothing failed. */
void check_isa_summary(void);
bool check_summary(void);

/* Want and got must be the same bytes; step is the row length that messages count in. */
void check_u8(const uint8_t *want, const uint8_t *got, size_t count, size_t step);
void check_s32(const int32_t *want, const int32_t *got, size_t count, size_t step);
void check_f32(const float *want, const float *got, size_t count, size_t step);
/* |exact - got| <= allowed; also equal infinities, and NaN for NaN. */
void check_close(double exact, float got, double allowed, size_t index);

extern sigjmp_buf check_crash_point;
extern volatile int check_is_armed;
void check_catch_crashes(void);
void check_crashed(int signal);

/* Calls a kernel: a crash becomes a failure of this case, and so does a damaged canary. Use it in
 * functions that change no local variable afterwards. */
#define CHECK_CALL(call)                                \
    do {                                                \
        int caught = sigsetjmp(check_crash_point, 0);   \
        if (caught == 0) {                              \
            check_is_armed = 1;                         \
            call;                                       \
            check_is_armed = 0;                         \
            check_canaries();                           \
        } else {                                        \
            check_crashed(caught);                      \
        }                                               \
    } while (0)

/* ---- memory.c: buffers between unmapped pages ---- */

void check_open_memory(void);
/* bytes of memory, filled with CHECK_FILL, most often ending where an unmapped page begins, else
 * beginning a little behind one. alignment: a power of two up to 64. Never NULL. */
void *check_buffer(const char *name, size_t bytes, size_t alignment);
void check_release_buffers(void);
/* Fails the case if anything beside a buffer was written. */
void check_canaries(void);
/* An address that nobody may read. */
const void *check_forbidden(void);
enum { CHECK_FILL = 0xC5 };

/* ---- random.c ---- */

void check_seed(uint64_t seed, const char *name);
uint32_t check_random(void);
uint32_t check_below(uint32_t n); /* 0..n-1, n >= 1 */
int32_t check_between(int32_t low, int32_t high);
double check_uniform(double low, double high);
bool check_one_in(uint32_t n);

/* Each draws a pattern first - all low, all high, only extremes, near an end, or anything. */
void check_fill_codes(uint8_t *x, size_t n);
void check_fill_weights(int8_t *w, size_t n);
void check_fill_bias(int32_t *bias, size_t n);
void check_fill_multipliers(float *multiplier, size_t n);
void check_fill_floats(float *x, size_t n, double magnitude);

/* Zero point and limits of a result, corners most often. */
typedef struct {
    int32_t zero_point, low, high;
} check_output;
check_output check_draw_output(void);
int32_t check_draw_zero_point(void);
/* An accumulator worth testing with this multiplier: a tie, an edge of int32, 2^24 + 1 ... */
int32_t check_draw_accumulator(float multiplier);

/* ---- the families; below: the instruction set inherited from, all zero for the first ---- */

void check_gemm(const q8_kernels *kernels, const q8_kernels *below);
void check_winograd(const q8_kernels *kernels, const q8_kernels *below);
void check_gemm_lines(const q8_kernels *kernels, const q8_kernels *below);
void check_odd_gemm(void); /* plain C tiles of odd shape: packing and edges on any machine */
void check_conv(const q8_kernels *kernels, const q8_kernels *below);
void check_vec(const q8_kernels *kernels, const q8_kernels *below);
void check_f32_conv(const q8_kernels *kernels, const q8_kernels *below);
void check_f32_lines(const q8_kernels *kernels, const q8_kernels *below);
void check_f32_rows(const q8_kernels *kernels, const q8_kernels *below);
void check_f32_same(const q8_kernels *kernels, const q8_kernels *below);

/* bench.c, peak.c */
void check_bench(void);
/* 1e9 operations per second of this instruction set's dot product when nothing but registers is
 * touched; 0 if it is not known how to measure that. */
double check_peak(const char *isa);

#endif
