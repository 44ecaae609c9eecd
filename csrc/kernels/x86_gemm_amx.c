/* x86_gemm_amx.c - u8 x s8 GEMM with tdpbusd on tiles of AMX.
 *
 * A tile register holds 16 rows of 64 bytes: 16 rows of A with 64 codes each, 64 rows of B with 16
 * columns, or 16 x 16 accumulators. 32 x 32 results take four of the eight registers; twice that
 * is a panel. tdpbusd adds four products at a time to an int32 without a saturating intermediate,
 * so it is exact.
 *
 * Panels are packed as for AVX512-VNNI, which computes the jobs that are too small for tiles. Rows
 * at one distance from each other are loaded where they lie, others are copied to a small buffer
 * before. All tiles of a job have the same number of rows, as few as do; where the last rows do not
 * fill one, it begins earlier and computes some rows twice: changing the configuration takes longer.
 */
#include "kernels.h"

#if defined(__x86_64__) && Q8_HAVE_AMX
#include <immintrin.h>
#include <stdbool.h>

#include "requant.h"
#include "target.h"
#include "x86_inline.h"

Q8_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")

#include "x86_gemm_store512.inc"

enum {
    TILE_ROWS = 16,
    TILE_BYTES = 64, /* of a row of a tile */
    UNIT_ROWS = 2 * TILE_ROWS,
    PANEL_COLUMNS = 64,
    PANEL_STEP_BYTES = PANEL_COLUMNS * 4, /* four rows of B */
    MOST_ROWS = 128
};

/* In assembler, because GCC's own functions do not tell the compiler which memory they touch. */
#define TILE_LOAD(tile, from, step)                                       \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile                   \
                     :                                                    \
                     : "r"((const void *)(from)), "r"((size_t)(step)) : "memory")
#define TILE_STORE(tile, to, step)                                \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)"       \
                     :                                            \
                     : "r"((void *)(to)), "r"((size_t)(step)) : "memory")
#define TILE_MULTIPLY_ADD(sum, a, b) \
    __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #sum :)

/* ---- configuration ---- */

/* As ldtilecfg reads it. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

/* Tiles 0..3 accumulate; 4 and 6 hold a step of A and of B. 5 and 7 hold the second half of the
 * step, or, with a tail of K, what is left for the last step. */
static void configure(size_t rows, size_t tail)
{
    tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shapes.row_bytes[tile] = TILE_BYTES;
        shapes.rows[tile] = tile < 6 ? (uint8_t)rows : TILE_ROWS;
    }
    if (tail) {
        shapes.row_bytes[5] = (uint16_t)tail;
        shapes.rows[7] = (uint8_t)(tail / 4);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}

static void release(void)
{
    __asm__ volatile("tilerelease" :);
}

/* ---- A ---- */

/* The rows of one tile of A in one tap. */
typedef struct {
    const uint8_t *const *row;
    size_t count, step; /* step: from one row to the next; 0: the rows lie anywhere */
    uint8_t *copy;      /* TILE_ROWS * TILE_BYTES */
} left_rows;

static left_rows left_rows_of(const uint8_t *const *row, size_t count, uint8_t *copy)
{
    const int64_t step = count > 1 ? (int64_t)((uintptr_t)row[1] - (uintptr_t)row[0]) : TILE_BYTES;
    const __m512i numbers = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    __m512i want = _mm512_add_epi64(_mm512_set1_epi64((int64_t)row[0]),
                                    _mm512_mullo_epi64(numbers, _mm512_set1_epi64(step)));
    __mmask8 others = 0;
    for (size_t i = 0; i < count; i += 8) {
        const __mmask8 some = count - i < 8 ? (__mmask8)((1u << (count - i)) - 1) : 0xff;
        others |= _mm512_mask_cmpneq_epi64_mask(some, want, _mm512_maskz_loadu_epi64(some, row + i));
        want = _mm512_add_epi64(want, _mm512_set1_epi64(8 * step));
    }
    return (left_rows){row, count, others ? 0 : (size_t)step, copy};
}

static const uint8_t *copy_rows(const left_rows *left, size_t at, size_t bytes)
{
    const __mmask64 copied = first_bytes(bytes);
    for (size_t i = 0; i < left->count; i++)
        _mm512_store_si512(left->copy + i * TILE_BYTES,
                           _mm512_maskz_loadu_epi8(copied, left->row[i] + at));
    return left->copy;
}

/* Loads codes at..at+bytes-1 of each row. */
#define LOAD_LEFT(tile, left, at, bytes)                                   \
    do {                                                                   \
        if ((left)->step)                                                  \
            TILE_LOAD(tile, (left)->row[0] + (at), (left)->step);          \
        else                                                               \
            TILE_LOAD(tile, copy_rows(left, at, bytes), TILE_BYTES);       \
    } while (0)

/* ---- 16 or 32 rows by 16 or 32 columns ---- */

#define LOAD_RIGHT(tile, b, column) \
    TILE_LOAD(tile, (b) + (column) * TILE_BYTES, PANEL_STEP_BYTES)

/* One step of K with registers a0, a1, b0 and b1; the second pair may be the first again. */
#define STEP(a0, a1, b0, b1, bytes)                       \
    do {                                                  \
        LOAD_LEFT(a0, &left[0], at, bytes);               \
        LOAD_RIGHT(b0, b, 0);                             \
        TILE_MULTIPLY_ADD(0, a0, b0);                     \
        if (column_tiles > 1) {                           \
            LOAD_RIGHT(b1, b, 1);                         \
            TILE_MULTIPLY_ADD(1, a0, b1);                 \
        }                                                 \
        if (row_tiles > 1) {                              \
            LOAD_LEFT(a1, &left[1], at, bytes);           \
            if (column_tiles > 1) {                       \
                TILE_MULTIPLY_ADD(3, a1, b1);             \
                if (b0 == b1)                             \
                    LOAD_RIGHT(b0, b, 0);                 \
            }                                             \
            TILE_MULTIPLY_ADD(2, a1, b0);                 \
        }                                                 \
        b += bytes / 4 * PANEL_STEP_BYTES;                \
        fetch(ahead);                                     \
    } while (0)

/* What is to come into the second cache, `step` bytes with each step of K. */
typedef struct {
    const char *at;
    size_t step;
} fetching;

X86_INLINE void fetch(fetching *ahead)
{
    for (size_t i = 0; i < ahead->step; i += TILE_BYTES)
        _mm_prefetch(ahead->at + i, _MM_HINT_T1);
    ahead->at += ahead->step;
}

/* Where a unit's rows begin, and what its steps fetch. */
typedef struct {
    size_t first[2];
    size_t again[2]; /* rows of the tile that another one has stored */
    size_t rows;     /* of each tile */
    uint8_t *copies;
    fetching ahead;
} unit_rows;

X86_INLINE void multiply(const q8_gemm_job *job, unit_rows *unit, size_t column,
                         size_t row_tiles, size_t column_tiles, bool has_tail)
{
    const size_t tail = job->k % TILE_BYTES, whole = job->k - tail;
    const char *b = (const char *)job->b + column * 4;
    const int32_t *bias = job->bias + column;
    fetching *ahead = &unit->ahead;
    TILE_LOAD(0, bias, 0);
    if (column_tiles > 1)
        TILE_LOAD(1, bias + TILE_ROWS, 0);
    if (row_tiles > 1)
        TILE_LOAD(2, bias, 0);
    if (row_tiles > 1 && column_tiles > 1)
        TILE_LOAD(3, bias + TILE_ROWS, 0);
    for (size_t tap = 0; tap < job->taps; tap++) {
        const uint8_t *const *row = job->a + tap * job->a_step;
        left_rows left[2] = {left_rows_of(row + unit->first[0], unit->rows, unit->copies)};
        if (row_tiles > 1)
            left[1] = left_rows_of(row + unit->first[1], unit->rows,
                                   unit->copies + TILE_ROWS * TILE_BYTES);
        size_t at = 0;
        if (has_tail) {
            for (; at < whole; at += TILE_BYTES)
                STEP(4, 4, 6, 6, TILE_BYTES);
            STEP(5, 5, 7, 7, tail);
        } else {
            for (; at < whole; at += TILE_BYTES)
                STEP(4, 5, 6, 7, TILE_BYTES);
        }
    }
}

X86_INLINE void multiply_and_keep(const q8_gemm_job *job, unit_rows *unit, size_t column,
                                  size_t row_tiles, size_t column_tiles, int32_t *sums)
{
    const size_t step = PANEL_COLUMNS * sizeof *sums;
    if (job->k % TILE_BYTES)
        multiply(job, unit, column, row_tiles, column_tiles, true);
    else
        multiply(job, unit, column, row_tiles, column_tiles, false);
    sums += column;
    TILE_STORE(0, sums, step);
    if (column_tiles > 1)
        TILE_STORE(1, sums + TILE_ROWS, step);
    sums += TILE_ROWS * PANEL_COLUMNS;
    if (row_tiles > 1)
        TILE_STORE(2, sums, step);
    if (row_tiles > 1 && column_tiles > 1)
        TILE_STORE(3, sums + TILE_ROWS, step);
}

static void multiply_2x2(const q8_gemm_job *job, unit_rows *unit, size_t column,
                         int32_t *sums)
{
    multiply_and_keep(job, unit, column, 2, 2, sums);
}

static void multiply_2x1(const q8_gemm_job *job, unit_rows *unit, size_t column,
                         int32_t *sums)
{
    multiply_and_keep(job, unit, column, 2, 1, sums);
}

static void multiply_1x2(const q8_gemm_job *job, unit_rows *unit, size_t column,
                         int32_t *sums)
{
    multiply_and_keep(job, unit, column, 1, 2, sums);
}

static void multiply_1x1(const q8_gemm_job *job, unit_rows *unit, size_t column,
                         int32_t *sums)
{
    multiply_and_keep(job, unit, column, 1, 1, sums);
}

/* ---- the tile ---- */

X86_INLINE void store_group(const ending *end, size_t first, const int32_t *sums, size_t rows,
                            size_t columns, ending_kind kind)
{
    int32x16 acc[COLUMN_VECTORS][COLUMN_VECTORS];
#define LOAD_SUMS(i, j) \
    acc[i][j] = (int32x16)_mm512_load_si512(sums + i * PANEL_COLUMNS + j * 16)
#define LOAD_ROW(i) X86_EACH_IN_ROW_4(columns, LOAD_SUMS, i)
#define STORE_SUMS(i) store_sums(end, first + i, acc[i], columns)
    X86_EACH_4(rows, LOAD_ROW);
    if (kind == SUMS)
        X86_EACH_4(rows, STORE_SUMS);
    else
        store_codes(end, first, acc, rows, columns, kind);
#undef LOAD_SUMS
#undef LOAD_ROW
#undef STORE_SUMS
}

/* The ending is copied: for all the compiler knows, storing codes may change what lies elsewhere. */
X86_INLINE void store_rows_of(const ending *given, size_t first, size_t rows, const int32_t *sums,
                              size_t columns, ending_kind kind)
{
    const ending end = *given;
    const size_t at_once = ROWS_AT_ONCE(columns);
    size_t i = 0;
    for (; i + at_once <= rows; i += at_once)
        store_group(&end, first + i, sums + i * PANEL_COLUMNS, at_once, columns, kind);
    for (; i < rows; i++)
        store_group(&end, first + i, sums + i * PANEL_COLUMNS, 1, columns, kind);
}

#define STORE_ROWS(kind)                                                                     \
    static void store_rows_##kind(const ending *end, size_t first, size_t rows,              \
                                  const int32_t *sums, size_t columns)                       \
    {                                                                                        \
        if (columns == 4)                                                                    \
            store_rows_of(end, first, rows, sums, 4, kind);                                  \
        else if (columns == 3)                                                               \
            store_rows_of(end, first, rows, sums, 3, kind);                                  \
        else if (columns == 2)                                                               \
            store_rows_of(end, first, rows, sums, 2, kind);                                  \
        else                                                                                 \
            store_rows_of(end, first, rows, sums, 1, kind);                                  \
    }
STORE_ROWS(SUMS)
STORE_ROWS(PLAIN_CODES)
STORE_ROWS(CODES)
STORE_ROWS(FAR_CODES)
STORE_ROWS(PLAIN_SUMS)
STORE_ROWS(SUMS_OF_CODES)
STORE_ROWS(MANTISSAS)
#undef STORE_ROWS

static void store_rows(const ending *end, size_t first, size_t rows, const int32_t *sums,
                       size_t columns)
{
#define ENTRY(kind) [kind] = store_rows_##kind
    static void (*const kinds[])(const ending *, size_t, size_t, const int32_t *, size_t) = {
        ENTRY(SUMS),       ENTRY(PLAIN_CODES),   ENTRY(CODES),    ENTRY(FAR_CODES),
        ENTRY(PLAIN_SUMS), ENTRY(SUMS_OF_CODES), ENTRY(MANTISSAS)};
#undef ENTRY
    kinds[end->kind](end, first, rows, sums, columns);
}

/* 32 rows or fewer of the panel. */
static void run_unit(const q8_gemm_job *job, const ending *end, unit_rows *unit,
                     size_t row_tiles)
{
    _Alignas(64) int32_t sums[UNIT_ROWS * PANEL_COLUMNS];
    const size_t vectors = (job->n + 15) / 16;
    for (size_t column = 0; column < job->n; column += 2 * TILE_ROWS) {
        if (job->n - column > TILE_ROWS)
            (row_tiles > 1 ? multiply_2x2 : multiply_1x2)(job, unit, column, sums);
        else
            (row_tiles > 1 ? multiply_2x1 : multiply_1x1)(job, unit, column, sums);
    }
    for (size_t tile = 0; tile < row_tiles; tile++) {
        const size_t again = unit->again[tile];
        store_rows(end, unit->first[tile] + again, unit->rows - again,
                   sums + (tile * TILE_ROWS + again) * PANEL_COLUMNS, vectors);
    }
}

/* All of a panel, and each unit does all steps of K. */
static fetching fetching_of(const q8_gemm_job *job)
{
    const size_t units = (job->m + UNIT_ROWS - 1) / UNIT_ROWS * ((job->n + 31) / 32);
    const size_t step = (TILE_BYTES * PANEL_COLUMNS + units - 1) / units;
    if (!job->next) /* a place, since 0 may not even be moved by 0 */
        return (fetching){(const char *)job->b, 0};
    return (fetching){job->next, (step + TILE_BYTES - 1) / TILE_BYTES * TILE_BYTES};
}

static void run_tiles(const q8_gemm_job *job)
{
    _Alignas(64) uint8_t copies[UNIT_ROWS * TILE_BYTES];
    const ending end = ending_of(job, kind_of(job));
    const size_t tiles = (job->m + TILE_ROWS - 1) / TILE_ROWS;
    unit_rows unit = {.rows = (job->m + tiles - 1) / tiles,
                      .copies = copies,
                      .ahead = fetching_of(job)};
    configure(unit.rows, job->k % TILE_BYTES);
    const size_t last = job->m - unit.rows;
    for (size_t row = 0; row < job->m; row += 2 * unit.rows) {
        const size_t row_tiles = job->m - row > unit.rows ? 2 : 1;
        for (size_t tile = 0; tile < row_tiles; tile++) {
            const size_t wanted = row + tile * unit.rows;
            unit.first[tile] = wanted < last ? wanted : last;
            unit.again[tile] = wanted - unit.first[tile];
        }
        run_unit(job, &end, &unit, row_tiles);
    }
    release();
}

/* ---- small jobs ---- */

/* Cycles, as measured: tiles cost the same for 1 row as for 16, and have a price before the
 * first. */
static bool is_small(const q8_gemm_job *job)
{
    const size_t steps = job->taps * ((job->k + TILE_BYTES - 1) / TILE_BYTES);
    const size_t vectors = (job->n + 15) / 16, row_tiles = (job->m + TILE_ROWS - 1) / TILE_ROWS;
    const size_t with_tiles = 200 + row_tiles * vectors * (40 + 23 * steps);
    const size_t with_vectors = job->m * vectors * job->taps * job->k / 8;
    return with_vectors < with_tiles;
}

static void run_vectors(const q8_gemm_job *job)
{
    const q8_gemm_table *vectors = &q8_gemm_avx512vnni; /* packs like this one */
    const size_t element_bytes = job->multiplier ? 1 : sizeof(int32_t);
    q8_gemm_job piece = *job;
    for (size_t row = 0; row < job->m; row += piece.m, piece.next = NULL) {
        piece.m = job->m - row < vectors->most_rows ? job->m - row : vectors->most_rows;
        piece.a = job->a + row;
        piece.c = (uint8_t *)job->c + row * job->c_step * element_bytes;
        piece.addend = job->addend ? job->addend + row * job->addend_step : NULL;
        vectors->tile(&piece);
    }
}

static void tile(const q8_gemm_job *job)
{
    if (is_small(job))
        run_vectors(job);
    else
        run_tiles(job);
}

Q8_TARGET_END

const q8_gemm_table q8_gemm_amx = {
    .name = "amx 32x64",
    .mr = UNIT_ROWS,
    .most_rows = MOST_ROWS,
    .nr = PANEL_COLUMNS,
    .kr = 4,
    .weight_bytes = 1,
    .flips_a = 0,
    .fetch_jobs = 1,
    .wants_even_rows = 1,
    .takes_mantissas = 1,
    .tile = tile,
    .lines = q8_lines_avx512vnni,
    .lines_depth = 80,
};

#endif
