/* x86_gemm_avx2.c - u8 x s8 GEMM without a dot-product instruction.
 *
 * vpmaddubsw saturates where two weights are too large for each other. Panels in places (kernels.h) have
 * no such two, and are multiplied so: three instructions for 32 products. For all others both sides are
 * widened to 16 bits and multiplied by vpmaddwd, which adds two products to an int32 exactly: four for
 * 32. Weights are widened when they are packed (weight_bytes = 2), codes into a small buffer from which
 * pairs are then broadcast.
 * 6 x 16: 12 of 16 registers accumulate. A job is some tiles below each other; whole ones are assembler
 * (x86_gemm_whole256.inc), others compiled for their number of rows. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>

#include "requant.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx2,fma")

/* Not __m256i, which is four int64: GCC would copy each accumulator between the two types in the
 * loop. */
typedef int32_t int32x8 __attribute__((vector_size(32)));

#include "x86_lanes256.inc"
#include "x86_gemm_store256.inc"

#define ROWS 6
#define COLUMNS 2
#define COLUMN_LANES 8
enum { PAIR_BYTES = COLUMNS * 32, WIDE_CODES = 256, LINE_BYTES = 64 };
/* A full tile fetches a line with every so many pairs; a small one would wait for what it fetches. */
enum { PAIRS_OF_A_LINE = 2, TILES_OF_A_FETCH = PAIRS_OF_A_LINE * PAIR_BYTES / LINE_BYTES };
enum { LEAST_FETCHING_ROWS = 3, MOST_ROWS = 16 * ROWS };

#include "x86_gemm_whole256.inc"

/* count codes, a multiple of 2, to 16 bits. */
X86_INLINE void widen_codes(const uint8_t *from, size_t count, uint16_t *to)
{
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m128i codes = _mm_loadu_si128((const __m128i *)(from + i));
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_cvtepu8_epi16(codes));
    }
    if (i + 8 <= count) {
        __m128i codes = _mm_loadl_epi64((const __m128i *)(from + i));
        _mm_storeu_si128((__m128i *)(to + i), _mm_cvtepu8_epi16(codes));
        i += 8;
    }
    /* pairs are read as they are written: what is put together from smaller stores has to wait */
    if (i + 4 <= count) {
        __m128i codes = _mm_cvtsi32_si128(*(const x86_unaligned_int32 *)(from + i));
        _mm_storel_epi64((__m128i *)(to + i), _mm_cvtepu8_epi16(codes));
        i += 4;
    }
    if (i < count)
        *(x86_unaligned_int32 *)(to + i) = from[i] | from[i + 1] << 16;
}

/* Two codes of a row, in every lane, times a step of B. */
X86_INLINE void multiply_row(int32x8 sum[COLUMNS], const uint16_t *pair, const __m256i right[COLUMNS],
                             size_t columns)
{
    __m256i left = _mm256_set1_epi32(*(const x86_unaligned_int32 *)pair);
#define ADD_PRODUCT(j) X86_ADD_PAIRS_256(sum[j], left, right[j])
    X86_EACH_2(columns, ADD_PRODUCT);
#undef ADD_PRODUCT
}

/* The next two codes of each row times a step of B. */
X86_INLINE void multiply_pair(int32x8 sum[ROWS][COLUMNS], const uint16_t *wide, size_t wide_step,
                              const char *b, size_t rows, size_t columns)
{
    __m256i right[COLUMNS];
#define LOAD_RIGHT(j) X86_LOAD_256(right[j], b + (j) * 32)
#define ADD_ROW(i) multiply_row(sum[i], wide + (i) * wide_step, right, columns)
    X86_EACH_2(columns, LOAD_RIGHT);
    X86_EACH_6(rows, ADD_ROW);
#undef LOAD_RIGHT
#undef ADD_ROW
}

/* All rows and columns, turns >= 1 of two pairs each, as a whole tile does it (x86_gemm_whole256.inc).
 * next: NULL, or a line of it is fetched every turn. */
X86_INLINE void multiply_turns(int32x8 sum[ROWS][COLUMNS], const uint16_t *wide, size_t step_bytes,
                               const char *b, size_t turns, const char *next)
{
#define OPERAND(i) "%" #i
#define LOOP(fetch)                                                                             \
    __asm__ volatile(                                                                           \
        "mov %[wide], %%rax\n\t"                                                                \
        "mov %[step], %%r8\n\t"                                                                 \
        "mov %[b], %%rdx\n\t"                                                                   \
        "mov %[turns], %%rsi\n\t"                                                               \
        "mov %[next], %%rdi\n\t"                                                                \
        "lea (%%r8,%%r8,2), %%rbx\n\t"                                                          \
        "add %%rax, %%rbx\n"                                                                    \
        "1:\n\t" fetch                                                                          \
        WIDE_PAIR("", "", "32", OPERAND)                                                        \
        WIDE_PAIR("4", "64", "96", OPERAND)                                                     \
        "add $8, %%rax\n\t"                                                                     \
        "add $8, %%rbx\n\t"                                                                     \
        "sub $-128, %%rdx\n\t"                                                                  \
        "dec %%rsi\n\t"                                                                         \
        "jnz 1b"                                                                                \
        : "+x"(sum[0][0]), "+x"(sum[0][1]), "+x"(sum[1][0]), "+x"(sum[1][1]), "+x"(sum[2][0]),   \
          "+x"(sum[2][1]), "+x"(sum[3][0]), "+x"(sum[3][1]), "+x"(sum[4][0]), "+x"(sum[4][1]),   \
          "+x"(sum[5][0]), "+x"(sum[5][1])                                                       \
        : [wide] "r"(wide), [step] "r"(step_bytes), [b] "r"(b), [turns] "r"(turns),              \
          [next] "r"(next)                                                                      \
        : "rax", "rbx", "rdx", "rsi", "rdi", "r8", "xmm12", "xmm13", "xmm14", "xmm15", "cc",     \
          "memory")
    if (next)
        LOOP("prefetcht1 (%%rdi)\n\t" "add $64, %%rdi\n\t");
    else
        LOOP("");
#undef OPERAND
#undef LOOP
}

/* Rows of some codes times as many steps of B. next: NULL, or a line of it is fetched every turn. */
X86_INLINE void multiply_wide(int32x8 sum[ROWS][COLUMNS], const uint16_t *wide, size_t wide_step,
                              size_t count, const char *b, const char *next, size_t rows,
                              size_t columns)
{
    const uint16_t *end = wide + count;
    if (rows == ROWS && columns == COLUMNS && count >= 4) {
        multiply_turns(sum, wide, wide_step * sizeof *wide, b, count / 4, next);
        wide += count / 4 * 4;
        b += count / 4 * 2 * PAIR_BYTES;
    } else {
        for (; next && wide + 4 <= end; wide += 4, b += 2 * PAIR_BYTES, next += LINE_BYTES) {
            __builtin_prefetch(next, 0, 2);
            multiply_pair(sum, wide, wide_step, b, rows, columns);
            multiply_pair(sum, wide + 2, wide_step, b + PAIR_BYTES, rows, columns);
        }
    }
    for (; wide < end; wide += 2, b += PAIR_BYTES)
        multiply_pair(sum, wide, wide_step, b, rows, columns);
}

X86_INLINE void multiply_taps(const q8_gemm_job *job, size_t first, const char *next,
                              int32x8 sum[ROWS][COLUMNS], size_t rows, size_t columns)
{
    uint16_t wide[ROWS][WIDE_CODES];
    const char *b = (const char *)job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *const *row = job->a + tap * job->a_step + first;
        for (size_t start = 0; start < job->k; start += WIDE_CODES) {
            const size_t rest = job->k - start, count = rest < WIDE_CODES ? rest : WIDE_CODES;
            for (size_t i = 0; i < rows; i++)
                widen_codes(row[i] + start, count, wide[i]);
            multiply_wide(sum, wide[0], WIDE_CODES, count, b, next, rows, columns);
            b += count / 2 * PAIR_BYTES;
            next = next ? next + count / 4 * LINE_BYTES : NULL;
        }
    }
}

/* ---- panels in places ---- */

/* Four codes of a row times a step of B. */
X86_INLINE void multiply_four(int32x8 sum[COLUMNS], const uint8_t *codes,
                              const __m256i right[COLUMNS], size_t columns)
{
    const __m256i left = _mm256_set1_epi32(*(const x86_unaligned_int32 *)codes);
#define ADD_PRODUCT(j) \
    X86_ADD_PAIRS_256(sum[j], _mm256_maddubs_epi16(left, right[j]), _mm256_set1_epi16(1))
    X86_EACH_2(columns, ADD_PRODUCT);
#undef ADD_PRODUCT
}

X86_INLINE void multiply_places(const q8_gemm_job *job, size_t first, int32x8 sum[ROWS][COLUMNS],
                                size_t rows, size_t columns)
{
    const uint16_t *place = job->places;
    const char *b = job->b;
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *const *row = job->a + tap * job->a_step + first;
        for (size_t steps = *place++; steps; steps--, b += COLUMNS * 32, place++) {
            __m256i right[COLUMNS];
#define LOAD_RIGHT(j) X86_LOAD_256(right[j], b + (j) * 32)
#define ADD_ROW(i) multiply_four(sum[i], row[i] + *place, right, columns)
            X86_EACH_2(columns, LOAD_RIGHT);
            X86_EACH_6(rows, ADD_ROW);
#undef LOAD_RIGHT
#undef ADD_ROW
        }
    }
}

/* ---- tiles ---- */

/* Rows first on. next: NULL, or what is fetched by and by. */
X86_INLINE void multiply_panel(const q8_gemm_job *job, size_t first, const char *next,
                               int32x8 sum[ROWS][COLUMNS], size_t rows, size_t columns)
{
#define START(i, j) sum[i][j] = (int32x8)_mm256_loadu_si256((const __m256i *)(job->bias + j * 8))
#define START_ROW(i) X86_EACH_IN_ROW_2(columns, START, i)
    X86_EACH_6(rows, START_ROW);
#undef START
#undef START_ROW
    if (job->places)
        multiply_places(job, first, sum, rows, columns);
    else if (job->wide)
        multiply_wide(sum, job->wide + first * job->wide_step, job->wide_step, job->taps * job->k,
                      job->b, next, rows, columns);
    else
        multiply_taps(job, first, next, sum, rows, columns);
}

/* Rows first on of the job, as many tiles of `rows` as there are. The first ones fetch a panel of what
 * comes next. */
X86_INLINE void run_tiles(const q8_gemm_job *job, size_t first, size_t rows, size_t columns)
{
    const q8_gemm_job own = *job; /* stores of codes might change it */
    const ending end = ending_of(job);
    const size_t share = own.taps * own.k / 4 * LINE_BYTES;
    const size_t fetching = rows < LEAST_FETCHING_ROWS ? 0 : TILES_OF_A_FETCH * rows;
    const char *next = (const char *)own.next;
    for (; first + rows <= own.m; first += rows) {
        int32x8 acc[ROWS][COLUMNS];
        size_t row = first;
        __asm__("" : "+r"(row)); /* else a pointer to every row of every ending is carried along */
        next = next && row < fetching ? next : NULL;
        multiply_panel(&own, row, next, acc, rows, columns);
        end_tile(&end, row, acc, rows, columns);
        next = next ? next + share : NULL;
    }
}

#define PART(rows, columns)                                                     \
    static void part_##rows##x##columns(const q8_gemm_job *job, size_t first)   \
    {                                                                           \
        run_tiles(job, first, rows, columns);                                   \
    }
#define PARTS(rows) PART(rows, 1) PART(rows, 2)
#define ENTRY(rows) {part_##rows##x1, part_##rows##x2}
PARTS(1)
PARTS(2)
PARTS(3)
PARTS(4)
PARTS(5)
PARTS(6)

static void tile(const q8_gemm_job *job)
{
    static void (*const parts[ROWS][COLUMNS])(const q8_gemm_job *, size_t) = {
        ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6)};
    const size_t vectors = (job->n - 1) / COLUMN_LANES, rest = job->m % ROWS;
    if (job->m >= ROWS && vectors + 1 == COLUMNS && (job->places || job->wide))
        run_whole_tiles(job);
    else if (job->m >= ROWS)
        parts[ROWS - 1][vectors](job, 0);
    if (rest > 0)
        parts[rest - 1][vectors](job, job->m - rest);
}
#undef PART
#undef PARTS
#undef ENTRY

static void widen(const uint8_t *from, size_t count, uint16_t *to)
{
    widen_codes(from, count, to);
}

static void mark_wide(const int8_t *first, const int8_t *second, size_t count, uint8_t *are_wide)
{
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m256i left = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(first + i)));
        const __m256i right = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(second + i)));
        const __m256i sum = _mm256_add_epi16(left, right);
        const __m256i wide = _mm256_or_si256(_mm256_cmpgt_epi16(sum, _mm256_set1_epi16(128)),
                                             _mm256_cmpgt_epi16(_mm256_set1_epi16(-128), sum));
        const __m128i marks = _mm_packs_epi16(_mm256_castsi256_si128(wide),
                                              _mm256_extracti128_si256(wide, 1));
        __m128i *at = (__m128i *)(are_wide + i);
        _mm_storeu_si128(at, _mm_or_si128(_mm_loadu_si128(at), _mm_and_si128(marks, _mm_set1_epi8(1))));
    }
    for (; i < count; i++)
        are_wide[i] |= first[i] + second[i] > 128 || first[i] + second[i] < -128;
}

Q8_TARGET_END

const q8_gemm_table q8_gemm_avx2 = {
    .name = "avx2 6x16",
    .mr = ROWS,
    .most_rows = MOST_ROWS,
    .least_rows = 3,
    .nr = COLUMNS * COLUMN_LANES,
    .kr = 2,
    .weight_bytes = 2,
    .fetch_jobs = 1,
    .flips_a = 0,
    .takes_mantissas = 1,
    .tile = tile,
    .widen = widen,
    .mark_wide = mark_wide,
    .winograd = &q8_winograd_avx2,
};

#endif
