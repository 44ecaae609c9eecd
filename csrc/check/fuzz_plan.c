/* fuzz_plan.c - random plans must give an error or run cleanly; built with ASan and UBSan.
 *
 *     fuzz_plan [SEED [COUNT [FIRST]]]     cases FIRST..FIRST+COUNT-1 of SEED; a crash prints how
 *                                          to repeat its case alone
 *
 * With -DQ8_LIBFUZZER and -fsanitize=fuzzer it is a libFuzzer target instead. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

enum { MOST_ELEMENTS = 1 << 21, MEMORY_BLOCKS = 256, WORDS = 256 };

static void *memory_blocks[MEMORY_BLOCKS];
static int memory_count;

/* Enormous allocations fail, as on a small machine; plans must bear that. Read by ASan. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:max_allocation_size_mb=256";
}

/* ---- random values ---- */

static uint32_t next_byte(fuzz_case *c)
{
    return c->at < c->size ? c->data[c->at++] : 0;
}

uint32_t fuzz_below(fuzz_case *c, uint32_t limit)
{
    uint32_t value = next_byte(c);
    if (limit > 256)
        value = value << 16 | next_byte(c) << 8 | next_byte(c);
    return value % limit;
}

bool fuzz_chance(fuzz_case *c, uint32_t one_in)
{
    return fuzz_below(c, one_in) == one_in - 1;
}

float fuzz_float(fuzz_case *c)
{
    static const float odd[] = {0.0f, -1.0f, 1e-40f, 3e38f, INFINITY, -INFINITY, NAN};
    if (fuzz_chance(c, 24))
        return odd[fuzz_below(c, sizeof odd / sizeof odd[0])];
    return (float)(1 + fuzz_below(c, 255)) / 64.0f;
}

int32_t fuzz_code(fuzz_case *c)
{
    return fuzz_bend(c, (int32_t)fuzz_below(c, 256));
}

int64_t fuzz_bend64(fuzz_case *c, int64_t value)
{
    static const int64_t odd[] = {-1,  0,   1,         2,         INT32_MAX, INT32_MIN,
                                  255, 256, INT64_MAX, INT64_MIN, 1 << 20,   (int64_t)1 << 40};
    if (!fuzz_chance(c, 64))
        return value;
    uint32_t chosen = fuzz_below(c, 2 + sizeof odd / sizeof odd[0]);
    if (chosen < 2)
        return (int64_t)((uint64_t)value + (chosen ? 1u : UINT64_MAX));
    return odd[chosen - 2];
}

int32_t fuzz_bend(fuzz_case *c, int32_t value)
{
    int64_t bent = fuzz_bend64(c, value);
    return bent < INT32_MIN ? INT32_MIN : bent > INT32_MAX ? INT32_MAX : (int32_t)bent;
}

int fuzz_id(fuzz_case *c, int id)
{
    return fuzz_chance(c, 64) ? (int)fuzz_below(c, (uint32_t)c->tensor_count + 2) - 1 : id;
}

void *fuzz_memory(fuzz_case *c, int64_t count, size_t size)
{
    if (count < 0 || count > MOST_ELEMENTS || memory_count == MEMORY_BLOCKS)
        return NULL;
    size_t bytes = (size_t)count * size;
    uint8_t *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        return NULL;
    memory_blocks[memory_count++] = memory;
    uint32_t step = fuzz_below(c, 256) | 1;
    for (size_t i = 0; i < bytes; i++)
        memory[i] = (uint8_t)(i * step >> 1);
    return memory;
}

/* ---- tensors ---- */

int64_t fuzz_shape(fuzz_case *c, int rank, int64_t *dims)
{
    int64_t count = 1;
    for (int d = 0; d < rank; d++) {
        int64_t size = 1 + fuzz_below(c, 9);
        if (fuzz_chance(c, 8))
            size = fuzz_below(c, count > 4000 ? 3 : 300);
        dims[d] = fuzz_bend64(c, size);
        if (dims[d] < 0 || __builtin_mul_overflow(count, dims[d], &count) || count > MOST_ELEMENTS)
            count = MOST_ELEMENTS + 1;
    }
    return count;
}

static int64_t counted(int rank, const int64_t *dims)
{
    int64_t count = 1;
    for (int d = 0; d < rank; d++)
        if (dims[d] < 0 || __builtin_mul_overflow(count, dims[d], &count))
            return -1;
    return count;
}

/* Room in the arena behind what is used, or any place. */
static int64_t choose_offset(fuzz_case *c, int64_t bytes)
{
    if (fuzz_chance(c, 32))
        return fuzz_bend64(c, 64 * (int64_t)fuzz_below(c, 1 << 12));
    int64_t offset = c->arena_used;
    c->arena_used += (bytes + 63) / 64 * 64;
    return offset;
}

int fuzz_new(fuzz_case *c, int dtype, int rank, const int64_t *dims)
{
    static const int64_t sizes[] = {1, 1, 4, 4, 8, 2, 2, 4, 8, 8, 2, 2};
    fuzz_tensor tensor = {.dtype = dtype, .rank = rank, .count = counted(rank, dims)};
    for (int d = 0; d < rank; d++)
        tensor.dims[d] = dims[d];
    bool is_sane = tensor.count >= 0 && tensor.count <= MOST_ELEMENTS;
    int64_t bytes = is_sane ? tensor.count * sizes[dtype] : 0;
    uint32_t kind = fuzz_below(c, 32);
    int id;
    if (kind == 31 && is_sane) {
        id = q8_plan_constant(c->plan, dtype, rank, dims, fuzz_memory(c, bytes, 1));
    } else if (kind >= 16) {
        id = q8_plan_tensor(c->plan, dtype, rank, dims, -1);
        c->bound_bytes[c->bound_count] = bytes;
        c->bound_count += id >= 0;
        c->is_too_large |= !is_sane;
    } else {
        id = q8_plan_tensor(c->plan, dtype, rank, dims, choose_offset(c, bytes));
    }
    if (id >= 0)
        c->tensors[c->tensor_count++] = tensor;
    return id;
}

int fuzz_new_like(fuzz_case *c, int dtype, int id)
{
    static const int64_t one = 1;
    if (id < 0 || id >= c->tensor_count)
        return fuzz_new(c, dtype, 1, &one);
    fuzz_tensor tensor = c->tensors[id];
    return fuzz_new(c, dtype, tensor.rank, tensor.dims);
}

int64_t fuzz_count(const fuzz_case *c, int id)
{
    return id >= 0 && id < c->tensor_count && c->tensors[id].count > 0 ? c->tensors[id].count : 0;
}

/* ---- one case ---- */

static void run_plan(fuzz_case *c)
{
    void *bound[FUZZ_MOST_TENSORS] = {NULL};
    for (int i = 0; i < c->bound_count; i++)
        bound[i] = fuzz_memory(c, c->bound_bytes[i], 1);
    int threads = fuzz_bend(c, 1 + (int)fuzz_below(c, 3));
    int count = fuzz_bend(c, c->bound_count) == c->bound_count ? c->bound_count : -1;
    for (int round = 0; round < 2; round++)
        q8_plan_run(c->plan, count, bound, c->bound_bytes, threads, NULL, NULL);
}

static void try_case(fuzz_case *c)
{
    int isa = (int)fuzz_below(c, (uint32_t)q8_isa_count());
    c->plan = q8_plan_new(q8_isa_available(isa) ? q8_isa_name(isa) : NULL);
    if (!c->plan)
        return;
    uint32_t steps = 1 + fuzz_below(c, 4);
    for (uint32_t i = 0; i < steps; i++)
        if (fuzz_chance(c, 3))
            fuzz_add_product(c);
        else if (fuzz_chance(c, 8))
            fuzz_add_recurrent(c);
        else
            fuzz_add_step(c);
    int64_t arena = fuzz_bend64(c, c->arena_used);
    if (arena > 64 * MOST_ELEMENTS)
        c->is_too_large = true;
    if (!c->is_too_large && q8_plan_finish(c->plan, arena) == Q8_OK && c->work < 2e7)
        run_plan(c);
    if (fuzz_chance(c, 16)) /* too late */
        fuzz_add_step(c);
    q8_plan_free(c->plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_case c = {.data = data, .size = size};
    try_case(&c);
    while (memory_count > 0)
        free(memory_blocks[--memory_count]);
    return 0;
}

#ifndef Q8_LIBFUZZER
static char running[96]; /* how to repeat the case that runs now */

static void say_what_ran(void)
{
    if (write(STDERR_FILENO, running, strlen(running)) < 0)
        _exit(1);
}

/* Of the sanitizers, where they are linked in. */
extern void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

static uint64_t mixed(uint64_t value)
{
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
    value = (value ^ value >> 27) * 0x94D049BB133111EBu;
    return value ^ value >> 31;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    uint64_t words[WORDS];
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(say_what_ran);
    for (uint64_t number = first; number < first + count; number++) {
        snprintf(running, sizeof running, "to repeat: fuzz_plan %llu 1 %llu\n",
                 (unsigned long long)seed, (unsigned long long)number);
        if (number % 2000 == 0) { /* gcc's UBSan dies without the callback */
            printf("fuzz_plan: seed %llu, case %llu\n", (unsigned long long)seed,
                   (unsigned long long)number);
            fflush(stdout);
        }
        for (uint64_t i = 0; i < WORDS; i++)
            words[i] = mixed(mixed(mixed(seed) + number) + i);
        LLVMFuzzerTestOneInput((const uint8_t *)words, sizeof words);
    }
    printf("fuzz_plan: seed %llu, %llu cases, no crash\n", (unsigned long long)seed,
           (unsigned long long)count);
    return 0;
}
#endif
