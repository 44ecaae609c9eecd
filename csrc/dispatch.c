/* dispatch.c - from the list of instruction sets to the one table that a plan calls.
 *
 * Resolved once per process: a row takes what it improves from its own tables and the rest from
 * the nearest row above that this CPU has. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "q8.h"

const q8_conv_table q8_none_conv = {0};
const q8_vec_table q8_none_vec = {0};
const q8_f32_table q8_none_f32 = {0};

typedef struct {
    const char *name;
    unsigned need;
    const q8_gemm_table *gemm;
    const q8_conv_table *conv;
    const q8_vec_table *vec;
    const q8_f32_table *f32;
} row;

#define ROW(isa, need, gemm, conv, vec, f32) \
    {#isa, (unsigned)(need), &q8_##gemm, &q8_##conv, &q8_##vec, &q8_##f32},
static const row rows[] = {Q8_ISA_LIST(ROW)};
#undef ROW

enum { ROWS = sizeof rows / sizeof rows[0] };

static struct {
    pthread_once_t once;
    q8_kernels kernels[ROWS];
    int available[ROWS];
    int active;
    int status;
    char cpu_name[128];
} chosen = {.once = PTHREAD_ONCE_INIT};

/* A field that is added to a table must be added below: these catch a forgotten one. */
typedef void (*function)(void);
_Static_assert(sizeof(q8_conv_table) == 5 * sizeof(function), "inherit_conv");
_Static_assert(sizeof(q8_vec_table) == 13 * sizeof(function), "inherit_vec");
_Static_assert(sizeof(q8_f32_table) == 17 * sizeof(function), "inherit_f32");

#define INHERIT(field)             \
    do {                           \
        if (!own->field)           \
            own->field = up->field; \
    } while (0)

static void inherit_conv(q8_conv_table *own, const q8_conv_table *up)
{
    INHERIT(depthwise);
    INHERIT(depthwise_lines);
    INHERIT(max_pool);
    INHERIT(average_pool);
    INHERIT(gate);
}

static void inherit_vec(q8_vec_table *own, const q8_vec_table *up)
{
    INHERIT(quantize);
    INHERIT(quantize_scaled);
    INHERIT(dequantize);
    INHERIT(requantize);
    INHERIT(accumulators_to_f32);
    INHERIT(table);
    INHERIT(interleave_3);
    INHERIT(add);
    INHERIT(mul);
    INHERIT(min_max);
    INHERIT(bins);
    INHERIT(sum);
    INHERIT(lerp);
}

static void inherit_f32(q8_f32_table *own, const q8_f32_table *up)
{
    if (!own->gemm_tile) {
        own->gemm_name = up->gemm_name;
        own->gemm_mr = up->gemm_mr;
        own->gemm_nr = up->gemm_nr;
        own->gemm_tile = up->gemm_tile;
    }
    INHERIT(depthwise);
    INHERIT(depthwise_lines);
    INHERIT(max_pool);
    INHERIT(average_pool);
    INHERIT(unary);
    INHERIT(finish);
    INHERIT(binary);
    INHERIT(softmax);
    INHERIT(softmax_codes);
    INHERIT(layer_norm);
    INHERIT(lerp);
    INHERIT(sum);
    INHERIT(digits);
}

static int index_of(const char *name)
{
    for (int i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return i;
    return -1;
}

static void resolve(void)
{
    unsigned flags = q8_cpu_flags();
    const q8_kernels *above = NULL;
    for (int i = 0; i < ROWS; i++) {
        q8_kernels *own = &chosen.kernels[i];
        *own = (q8_kernels){rows[i].name, rows[i].need,  rows[i].gemm,
                            *rows[i].conv, *rows[i].vec, *rows[i].f32};
        chosen.available[i] = (flags & rows[i].need) == rows[i].need;
        if (!chosen.available[i])
            continue;
        if (above) {
            inherit_conv(&own->conv, &above->conv);
            inherit_vec(&own->vec, &above->vec);
            inherit_f32(&own->f32, &above->f32);
        }
        above = own;
        chosen.active = i;
    }
}

static void initialize(void)
{
    resolve();
    q8_cpu_describe(chosen.cpu_name, sizeof chosen.cpu_name);
    const char *wanted = getenv("Q8_ISA");
    if (!wanted || !*wanted)
        return;
    int index = index_of(wanted);
    if (index < 0 || !chosen.available[index])
        chosen.status = Q8_ERROR_ISA;
    else
        chosen.active = index;
}

int q8_init(void)
{
    pthread_once(&chosen.once, initialize);
    return chosen.status;
}

int q8_isa_count(void)
{
    return ROWS;
}

const char *q8_isa_name(int index)
{
    return index >= 0 && index < ROWS ? rows[index].name : NULL;
}

int q8_isa_available(int index)
{
    return q8_kernels_at(index) != NULL;
}

const char *q8_isa_active(void)
{
    q8_init();
    return rows[chosen.active].name;
}

const char *q8_cpu_name(void)
{
    q8_init();
    return chosen.cpu_name;
}

const q8_kernels *q8_kernels_at(int index)
{
    q8_init();
    return index >= 0 && index < ROWS && chosen.available[index] ? &chosen.kernels[index] : NULL;
}

const q8_kernels *q8_kernels_named(const char *name)
{
    q8_init();
    return q8_kernels_at(name ? index_of(name) : chosen.active);
}
