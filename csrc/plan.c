/* plan.c - a plan's life: tensors, constants, errors, the last checks.
 *
 * Steps come from the drivers of ops/, running them is exec.c. The first failure sticks: every
 * later call returns it, so that a caller may build a whole plan and look once at the end. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

/* More than a process can address, and far from overflow whatever a driver multiplies it with:
 * sizes rounded up to panels, strides times counts. */
#define MOST_TENSOR_BYTES (INT64_C(1) << 47)

/* Smaller pieces are allocated one by one: checkers of memory then see each one's ends. */
#define LEAST_CHUNK_BYTES (1 << 14)
#define MOST_CHUNK_BYTES (4 * Q8_LARGE_PAGE)

/* ---- memory ---- */

/* The list with room for one more element; NULL without memory, and the old one stays. */
static void *grown(void *list, int count, int *capacity, size_t size)
{
    if (count < *capacity)
        return list;
    if (count > INT32_MAX / 2)
        return NULL;
    int wanted = *capacity ? 2 * *capacity : 16;
    void *larger = realloc(list, (size_t)wanted * size);
    if (larger)
        *capacity = wanted;
    return larger;
}

static void *new_block(q8_plan *plan, int64_t bytes)
{
    q8_memory_block *blocks =
        grown(plan->blocks, plan->block_count, &plan->block_capacity, sizeof *blocks);
    plan->blocks = blocks ? blocks : plan->blocks;
    void *memory = blocks ? q8_memory(bytes) : NULL;
    if (memory)
        plan->blocks[plan->block_count++] = (q8_memory_block){memory, bytes};
    return memory;
}

/* The next bytes of a chunk. Chunks grow with the plan, so that little of the last one is left over,
 * up to a size of a few large pages. */
static void *from_chunk(q8_plan *plan, int64_t bytes)
{
    const int64_t wanted = (bytes + Q8_ALIGNMENT - 1) / Q8_ALIGNMENT * Q8_ALIGNMENT;
    if (wanted > plan->chunk_bytes) {
        int64_t size = plan->block_bytes < MOST_CHUNK_BYTES ? plan->block_bytes : MOST_CHUNK_BYTES;
        size = size > wanted ? size : wanted;
        if (size >= Q8_LARGE_PAGE)
            size = (size + Q8_LARGE_PAGE - 1) / Q8_LARGE_PAGE * Q8_LARGE_PAGE;
        uint8_t *chunk = new_block(plan, size);
        if (!chunk)
            return NULL;
        plan->chunk = chunk;
        plan->chunk_bytes = size;
    }
    void *memory = plan->chunk;
    plan->chunk += wanted;
    plan->chunk_bytes -= wanted;
    return memory;
}

/* Bytes of a block, or -1 with the error set; so many fit behind what the plan has. */
static int64_t checked_bytes(q8_plan *plan, int64_t count, size_t size)
{
    int64_t bytes = 0;
    const int64_t most = INT64_MAX - 2 * MOST_CHUNK_BYTES - plan->block_bytes;
    if (count >= 0 && size <= INT32_MAX && q8_multiply(count, (int64_t)size, &bytes) &&
        bytes <= most - plan->reserved_bytes)
        return bytes;
    q8_plan_fail(plan, Q8_ERROR_BOUNDS, "a block of %lld elements is too large",
                 (long long)count);
    return -1;
}

static int64_t aligned(int64_t bytes)
{
    return (bytes + Q8_ALIGNMENT - 1) / Q8_ALIGNMENT * Q8_ALIGNMENT;
}

int64_t q8_plan_reserve(q8_plan *plan, int64_t count, size_t size)
{
    const int64_t bytes = checked_bytes(plan, count, size), at = plan->reserved_bytes;
    if (bytes < 0)
        return 0;
    plan->reserved_bytes += aligned(bytes);
    return at;
}

void *q8_plan_allocate(q8_plan *plan, int64_t count, size_t size)
{
    const int64_t bytes = checked_bytes(plan, count, size);
    if (bytes < 0)
        return NULL;
    void *memory = bytes < LEAST_CHUNK_BYTES ? new_block(plan, bytes) : from_chunk(plan, bytes);
    if (!memory) {
        q8_plan_fail(plan, Q8_ERROR_MEMORY, "no memory for %lld bytes", (long long)bytes);
        return NULL;
    }
    plan->block_bytes += bytes;
    return memory;
}

void *q8_plan_allocate_kept(q8_plan *plan, int64_t count, size_t size)
{
    plan->keeps_numbers = true;
    return q8_plan_allocate(plan, count, size);
}

/* ---- life ---- */

q8_plan *q8_plan_new(const char *isa)
{
    const q8_kernels *kernels = q8_kernels_named(isa);
    q8_plan *plan = kernels ? calloc(1, sizeof *plan) : NULL;
    if (plan)
        plan->kernels = kernels;
    return plan;
}

void q8_plan_free(q8_plan *plan)
{
    if (!plan)
        return;
    if (!plan->is_twin) {
        for (int i = 0; i < plan->block_count; i++)
            q8_memory_release(plan->blocks[i].memory, plan->blocks[i].bytes);
        free(plan->blocks);
        free(plan->tensors);
        free(plan->steps);
    }
    q8_memory_release(plan->arena, plan->arena_bytes);
    q8_memory_release(plan->scratch, (int64_t)plan->scratch_bytes * plan->scratch_threads);
    free(plan);
}

const char *q8_plan_error(const q8_plan *plan)
{
    return plan->error;
}

const char *q8_plan_isa(const q8_plan *plan)
{
    return plan->kernels->name;
}

int q8_plan_fail(q8_plan *plan, q8_status status, const char *format, ...)
{
    if (plan->status == Q8_OK) {
        plan->status = status;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(plan->error, sizeof plan->error, format, arguments);
        va_end(arguments);
    }
    return plan->status;
}

/* ---- tensors ---- */

bool q8_multiply(int64_t a, int64_t b, int64_t *product)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, product);
}

/* Appends a tensor without a place; its id, or a negative status. */
static int add_tensor(q8_plan *plan, int dtype, int rank, const int64_t *dims)
{
    int id = plan->tensor_count;
    if (plan->status)
        return plan->status;
    if (plan->finished)
        return q8_plan_fail(plan, Q8_ERROR_STATE, "tensor %d added to a finished plan", id);
    if (dtype < Q8_U8 || dtype > Q8_BF16)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "tensor %d: unknown type %d", id, dtype);
    if (rank < 0 || rank > Q8_MAX_RANK || (rank && !dims))
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "tensor %d: rank %d, not 0 to %d", id, rank,
                            Q8_MAX_RANK);
    q8_tensor tensor = {.dtype = (q8_dtype)dtype, .rank = rank, .count = 1, .arena_offset = -1,
                        .bound_index = -1};
    const int64_t element_bytes = (int64_t)q8_element_bytes((q8_dtype)dtype);
    int64_t most = element_bytes; /* bytes, were no dimension empty: strides count the others */
    for (int i = 0; i < rank; i++) {
        if (!q8_multiply(most, dims[i] ? dims[i] : 1, &most) || most > MOST_TENSOR_BYTES)
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "tensor %d: impossible size", id);
        tensor.dims[i] = dims[i];
        tensor.count *= dims[i];
    }
    tensor.bytes = tensor.count * element_bytes;
    q8_tensor *tensors = grown(plan->tensors, id, &plan->tensor_capacity, sizeof *tensors);
    if (!tensors)
        return q8_plan_fail(plan, Q8_ERROR_MEMORY, "no memory for tensor %d", id);
    plan->tensors = tensors;
    plan->tensors[plan->tensor_count++] = tensor;
    return id;
}

const char *q8_dtype_name(q8_dtype dtype)
{
    static const char *const names[] = {"u8",  "s8",  "s32", "f32", "s64", "s16",
                                        "u16", "u32", "u64", "f64", "f16", "bf16"};
    return names[dtype];
}

int q8_plan_tensor(q8_plan *plan, int dtype, int rank, const int64_t *dims, int64_t arena_offset)
{
    if (arena_offset < -1 || (arena_offset >= 0 && arena_offset % Q8_ALIGNMENT))
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS,
                            "tensor %d: offset %lld is not a multiple of %d", plan->tensor_count,
                            (long long)arena_offset, Q8_ALIGNMENT);
    int id = add_tensor(plan, dtype, rank, dims);
    if (id < 0)
        return id;
    plan->tensors[id].arena_offset = arena_offset;
    if (arena_offset < 0)
        plan->tensors[id].bound_index = plan->bound_count++;
    return id;
}

int q8_plan_constant(q8_plan *plan, int dtype, int rank, const int64_t *dims, const void *data)
{
    int id = add_tensor(plan, dtype, rank, dims);
    if (id < 0)
        return id;
    q8_tensor *tensor = &plan->tensors[id];
    if (tensor->bytes && !data)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "constant %d: no data", id);
    void *copy = q8_plan_allocate(plan, tensor->bytes, 1);
    if (!copy)
        return plan->status;
    if (tensor->bytes)
        memcpy(copy, data, (size_t)tensor->bytes);
    tensor->constant = copy;
    return id;
}

const q8_tensor *q8_plan_operand(q8_plan *plan, int id, int dtype, int rank, const char *what)
{
    if (plan->status)
        return NULL;
    if (plan->finished) {
        q8_plan_fail(plan, Q8_ERROR_STATE, "%s: step added to a finished plan", what);
        return NULL;
    }
    if (id < 0 || id >= plan->tensor_count) {
        q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: no tensor %d", what, id);
        return NULL;
    }
    const q8_tensor *tensor = &plan->tensors[id];
    if (dtype >= 0 && tensor->dtype != (q8_dtype)dtype) {
        q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: tensor %d has type %d, not %d", what, id,
                     (int)tensor->dtype, dtype);
        return NULL;
    }
    if (rank >= 0 && tensor->rank != rank) {
        q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: tensor %d has rank %d, not %d", what, id,
                     tensor->rank, rank);
        return NULL;
    }
    return tensor;
}

const q8_tensor *q8_plan_result(q8_plan *plan, int id, int dtype, int rank, const char *what)
{
    const q8_tensor *tensor = q8_plan_operand(plan, id, dtype, rank, what);
    if (tensor && tensor->constant) {
        q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: tensor %d is a constant and cannot be written",
                     what, id);
        return NULL;
    }
    return tensor;
}

/* ---- steps ---- */

int64_t q8_split(int64_t total, int64_t least, int64_t *rows_per_part)
{
    const int64_t most_parts = 64; /* enough for balance on many cores, cheap on one */
    int64_t rows = (total + most_parts - 1) / most_parts;
    if (rows < least)
        rows = least;
    if (rows < 1)
        rows = 1;
    *rows_per_part = rows;
    return total > rows ? (total + rows - 1) / rows : 1;
}

q8_step *q8_plan_append(q8_plan *plan, size_t state_bytes, int64_t parts,
                        void (*run)(const q8_step *, const q8_run *, int64_t))
{
    if (plan->status)
        return NULL;
    if (plan->finished || parts < 1) {
        q8_plan_fail(plan, plan->finished ? Q8_ERROR_STATE : Q8_ERROR_BOUNDS,
                     "step %d cannot be added", plan->step_count);
        return NULL;
    }
    void *state = q8_plan_allocate(plan, 1, state_bytes);
    if (!state)
        return NULL;
    q8_step *steps = grown(plan->steps, plan->step_count, &plan->step_capacity, sizeof *steps);
    if (!steps) {
        q8_plan_fail(plan, Q8_ERROR_MEMORY, "no memory for step %d", plan->step_count);
        return NULL;
    }
    plan->steps = steps;
    q8_step *step = &steps[plan->step_count++];
    *step = (q8_step){.run = run, .parts = parts, .rounds = 1, .state = state, .ranged = -1, .range = -1,
                      .function = -1};
    return step;
}

void q8_step_name(q8_step *step, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(step->name, sizeof step->name, format, arguments);
    va_end(arguments);
}

/* ---- the end of building ---- */

/* Every tensor of the arena lies inside it. */
static int check_places(q8_plan *plan, int64_t arena_bytes)
{
    for (int i = 0; i < plan->tensor_count; i++) {
        const q8_tensor *tensor = &plan->tensors[i];
        if (tensor->arena_offset >= 0 && (tensor->bytes > arena_bytes ||
                                          tensor->arena_offset > arena_bytes - tensor->bytes))
            return q8_plan_fail(plan, Q8_ERROR_BOUNDS,
                                "tensor %d: %lld bytes at %lld lie outside the arena of %lld", i,
                                (long long)tensor->bytes, (long long)tensor->arena_offset,
                                (long long)arena_bytes);
    }
    return Q8_OK;
}

static void find_next_weights(q8_plan *plan)
{
    q8_bytes next = {NULL, 0};
    for (int i = plan->step_count - 1; i >= 0; i--) {
        plan->steps[i].next = next;
        if (plan->steps[i].weights.count)
            next = plan->steps[i].weights;
    }
}

int q8_plan_finish(q8_plan *plan, int64_t arena_bytes)
{
    if (plan->status)
        return plan->status;
    if (plan->finished)
        return q8_plan_fail(plan, Q8_ERROR_STATE, "the plan is finished already");
    if (arena_bytes < 0)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "impossible arena of %lld bytes",
                            (long long)arena_bytes);
    if (check_places(plan, arena_bytes) != Q8_OK)
        return plan->status;
    if (arena_bytes > INT64_MAX - Q8_ALIGNMENT - plan->reserved_bytes - plan->block_bytes)
        return q8_plan_fail(plan, Q8_ERROR_BOUNDS, "an arena of %lld bytes is too large",
                            (long long)arena_bytes);
    plan->tensor_bytes = aligned(arena_bytes);
    plan->arena_bytes = plan->tensor_bytes + plan->reserved_bytes;
    plan->arena = q8_memory(plan->arena_bytes);
    if (!plan->arena)
        return q8_plan_fail(plan, Q8_ERROR_MEMORY, "no memory for an arena of %lld bytes",
                            (long long)plan->arena_bytes);
    for (int i = 0; i < plan->step_count; i++) {
        size_t bytes = (plan->steps[i].scratch_bytes + Q8_ALIGNMENT - 1) / Q8_ALIGNMENT *
                       Q8_ALIGNMENT;
        if (bytes > plan->scratch_bytes)
            plan->scratch_bytes = bytes;
    }
    find_next_weights(plan);
    plan->finished = true;
    return Q8_OK;
}

q8_plan *q8_plan_twin(const q8_plan *plan)
{
    if (!plan->finished || plan->keeps_numbers)
        return NULL;
    q8_plan *twin = malloc(sizeof *twin);
    if (!twin)
        return NULL;
    *twin = *plan;
    twin->is_twin = true;
    twin->scratch = NULL;
    twin->scratch_threads = 0;
    twin->arena = q8_memory(plan->arena_bytes);
    if (!twin->arena) {
        free(twin);
        return NULL;
    }
    return twin;
}

int q8_plan_step_count(const q8_plan *plan)
{
    return plan->step_count;
}

const char *q8_plan_step_name(const q8_plan *plan, int step)
{
    return step >= 0 && step < plan->step_count ? plan->steps[step].name : NULL;
}

int64_t q8_plan_step_macs(const q8_plan *plan, int step)
{
    return step >= 0 && step < plan->step_count ? plan->steps[step].macs : 0;
}

int64_t q8_plan_arena_bytes(const q8_plan *plan)
{
    return plan->arena_bytes;
}

int64_t q8_plan_bytes(const q8_plan *plan)
{
    const int64_t of_runs = plan->finished ? plan->arena_bytes : plan->reserved_bytes;
    return plan->block_bytes + of_runs + (int64_t)plan->scratch_bytes * plan->scratch_threads;
}
