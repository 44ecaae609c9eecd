/* x86_gemm_avx512vnni.c - u8 x s8 GEMM with vpdpbusd on 512 bits.
 *
 * 6 x 64: 24 of 32 registers accumulate, 4 hold a step of B, one the four broadcast codes of A.
 * vpdpbusd adds four products to an int32 without a saturating intermediate, so it is exact. A
 * panel with fewer columns than 64 loads and multiplies only the vectors that hold some, and has
 * taller tiles instead: 8 x 48, 12 x 32, 12 x 16.
 *
 * A job is some tiles below each other. Whole ones have a function per way to end, so that a tile's
 * end and the next one's beginning are nothing but what each row needs: products of 16 to 64 codes
 * are as short as their ends. The rows that are left have a function per number of them. */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>

#include "requant.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

#include "x86_gemm_store512.inc"

/* vpdpbusd that stays where it is written: moved about by the compiler, sums change their registers
 * in the loop, which costs a tenth of it. */
X86_INLINE int32x16 multiply_add(int32x16 sum, int32x16 a, int32x16 b)
{
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

#define JOB q8_gemm_job
#define VECTOR int32x16
#define ROWS 12
#define COLUMNS 4
#define EACH_ROW X86_EACH_12
#define COLUMN_LANES 16
#define EACH_COLUMN X86_EACH_4
#define EACH_COLUMN_IN_ROW X86_EACH_IN_ROW_4
#define START(p) ((int32x16)_mm512_loadu_si512(p))
#define ZERO() ((int32x16)_mm512_setzero_si512())
#define ADD(x, y) ((int32x16)_mm512_add_epi32((__m512i)(x), (__m512i)(y)))
#define LOAD(p) ((int32x16)_mm512_load_si512(p))
#define BROADCAST(p) ((int32x16)_mm512_set1_epi32(*(const x86_unaligned_int32 *)(p)))
#define MULTIPLY_ADD(sum, a, b) multiply_add(sum, a, b)
#define KEEP X86_KEEP_512
#include "x86_gemm_tile.inc"

enum { MR = 6, TILES_OF_A_FETCH = FETCH_JOBS, MOST_ROWS = 2 * MR * TILES_OF_A_FETCH };

X86_INLINE void end_tile(const ending *end, size_t first, int32x16 acc[ROWS][COLUMNS], size_t rows,
                         size_t columns)
{
    const size_t at_once = ROWS_AT_ONCE(columns), groups = (rows + at_once - 1) / at_once;
#define STORE(i, kind)                                                                     \
    store_codes(end, first + i * at_once, acc + i * at_once,                               \
                rows - i * at_once < at_once ? rows - i * at_once : at_once, columns, kind)
#define STORE_PLAIN_CODES(i) STORE(i, PLAIN_CODES)
#define STORE_MANTISSAS(i) STORE(i, MANTISSAS)
#define STORE_CODES(i) STORE(i, CODES)
#define STORE_FAR_CODES(i) STORE(i, FAR_CODES)
#define STORE_PLAIN_SUMS(i) STORE(i, PLAIN_SUMS)
#define STORE_SUMS_OF_CODES(i) STORE(i, SUMS_OF_CODES)
#define STORE_SUMS(i) store_sums(end, first + i, acc[i], columns)
    if (end->kind == MANTISSAS)
        EACH_ROW(groups, STORE_MANTISSAS);
    else if (end->kind == PLAIN_CODES)
        EACH_ROW(groups, STORE_PLAIN_CODES);
    else if (end->kind == CODES)
        EACH_ROW(groups, STORE_CODES);
    else if (end->kind == PLAIN_SUMS)
        EACH_ROW(groups, STORE_PLAIN_SUMS);
    else if (end->kind == SUMS_OF_CODES)
        EACH_ROW(groups, STORE_SUMS_OF_CODES);
    else if (end->kind == SUMS)
        EACH_ROW(rows, STORE_SUMS);
    else
        EACH_ROW(groups, STORE_FAR_CODES);
#undef STORE
#undef STORE_PLAIN_CODES
#undef STORE_MANTISSAS
#undef STORE_CODES
#undef STORE_FAR_CODES
#undef STORE_PLAIN_SUMS
#undef STORE_SUMS_OF_CODES
#undef STORE_SUMS
}

/* Rows `first` on of the job, as many tiles of `rows` as there are. Together they fetch one panel of
 * what comes next, if they are enough. */
X86_INLINE void run_tiles(const q8_gemm_job *job, size_t first, size_t rows, size_t columns,
                          ending_kind kind)
{
    const size_t sets = rows > MR ? 1 : rows * columns <= 4 ? 4 : rows * columns <= 12 ? 2 : 1;
    const size_t share = fetched_bytes(job, rows);
    const size_t fetching = rows > MR ? TILES_OF_A_FETCH / 2 : TILES_OF_A_FETCH;
    const char *next = (const char *)job->next;
    const ending end = ending_of(job, kind);
    const q8_gemm_job own = *job; /* stores of codes might change it */
    for (; first + rows <= own.m; first += rows) {
        int32x16 acc[ROWS][COLUMNS];
        const bool fetches = next && first < fetching * rows;
        multiply_panel(&own, first, fetches ? next : NULL, acc, rows, columns, sets);
        end_tile(&end, first, acc, rows, columns);
        if (fetches)
            next += share;
    }
}

/* ---- whole tiles: a function per way to end, which is the same for all of them ---- */

#define WHOLE(kind, rows, columns)                               \
    static void whole_##kind##_##columns(const q8_gemm_job *job) \
    {                                                            \
        run_tiles(job, 0, rows, columns, kind);                  \
    }
#define WHOLE_OF(kind) WHOLE(kind, 12, 1) WHOLE(kind, 12, 2) WHOLE(kind, 8, 3) WHOLE(kind, 6, 4)
#define ENTRY(kind) \
    [kind] = {whole_##kind##_1, whole_##kind##_2, whole_##kind##_3, whole_##kind##_4}
WHOLE_OF(SUMS)
WHOLE_OF(PLAIN_CODES)
WHOLE_OF(CODES)
WHOLE_OF(PLAIN_SUMS)
WHOLE_OF(SUMS_OF_CODES)
WHOLE_OF(MANTISSAS)

/* The rows that are done. */
static size_t run_whole(const q8_gemm_job *job, ending_kind kind, size_t vectors)
{
    static void (*const kinds[][COLUMNS])(const q8_gemm_job *) = {
        ENTRY(SUMS),       ENTRY(PLAIN_CODES),   ENTRY(CODES),
        ENTRY(PLAIN_SUMS), ENTRY(SUMS_OF_CODES), ENTRY(MANTISSAS)};
    static const size_t tile_rows[COLUMNS] = {12, 12, 8, MR};
    const size_t rows = tile_rows[vectors - 1];
    if (kind == FAR_CODES || job->m < rows)
        return 0;
    kinds[kind][vectors - 1](job);
    return job->m / rows * rows;
}
#undef WHOLE
#undef WHOLE_OF
#undef ENTRY

/* ---- what is left ---- */

#define PART(rows, columns)                                                             \
    static void part_##rows##x##columns(const q8_gemm_job *job, size_t first, ending_kind kind) \
    {                                                                                   \
        run_tiles(job, first, rows, columns, kind);                                     \
    }
#define PARTS(rows) PART(rows, 1) PART(rows, 2) PART(rows, 3) PART(rows, 4)
#define ENTRY(rows) {part_##rows##x1, part_##rows##x2, part_##rows##x3, part_##rows##x4}
PARTS(1)
PARTS(2)
PARTS(3)
PARTS(4)
PARTS(5)
PARTS(6)

static void tile(const q8_gemm_job *job)
{
    static void (*const parts[MR][COLUMNS])(const q8_gemm_job *, size_t, ending_kind) = {
        ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6)};
    const size_t vectors = (job->n + COLUMN_LANES - 1) / COLUMN_LANES;
    const ending_kind kind = kind_of(job);
    for (size_t rows, first = run_whole(job, kind, vectors); first < job->m;
         first += (job->m - first) / rows * rows) {
        rows = job->m - first < MR ? job->m - first : MR;
        parts[rows - 1][vectors - 1](job, first, kind);
    }
}
#undef PART
#undef PARTS
#undef ENTRY

Q8_TARGET_END

const q8_gemm_table q8_gemm_avx512vnni = {
    .name = "avx512vnni 6x64",
    .mr = MR,
    .most_rows = MOST_ROWS,
    .least_rows = 3,
    .nr = COLUMNS * COLUMN_LANES,
    .kr = 4,
    .weight_bytes = 1,
    .fetch_jobs = 1,
    .flips_a = 0,
    .takes_mantissas = 1,
    .tile = tile,
    .lines = q8_lines_avx512vnni,
    .lines_depth = SIZE_MAX,
};

#endif
