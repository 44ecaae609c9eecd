/* exec.c - runs a finished plan: every step in order, its parts on all threads. */
#include <stdarg.h>
#include <stdio.h>

#include "plan.h"

typedef struct {
    const q8_plan *plan;
    const q8_step *step;
    void *const *bound;
    int threads;
    int64_t round;
    const char **failure;
} context;

static void run_part(void *given, int64_t part, int thread)
{
    const context *c = given;
    q8_run run = {
        .plan = c->plan,
        .arena = c->plan->arena,
        .bound = c->bound,
        .scratch = c->plan->scratch + (size_t)thread * c->plan->scratch_bytes,
        .threads = c->threads,
        .round = c->round,
        .failure = c->failure,
    };
    c->step->run(c->step, &run, part);
}

void q8_run_failed(const q8_run *run, const char *text)
{
    __atomic_store_n(run->failure, text, __ATOMIC_RELAXED);
}

/* A run's failure leaves the plan usable: the text is kept, the status is not. */
__attribute__((format(printf, 3, 4))) static int refuse(q8_plan *plan, q8_status status,
                                                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plan->error, sizeof plan->error, format, arguments);
    va_end(arguments);
    return status;
}

static int check_bound(q8_plan *plan, int count, void *const *bound, const int64_t *bytes)
{
    if (count != plan->bound_count)
        return refuse(plan, Q8_ERROR_ARGUMENT, "%d tensors bound, not %d", count,
                      plan->bound_count);
    if (count && (!bound || !bytes))
        return refuse(plan, Q8_ERROR_ARGUMENT, "no list of bound tensors");
    for (int i = 0; i < plan->tensor_count; i++) {
        const q8_tensor *tensor = &plan->tensors[i];
        int index = tensor->bound_index;
        if (index < 0)
            continue;
        if (bytes[index] != tensor->bytes)
            return refuse(plan, Q8_ERROR_BOUNDS, "bound tensor %d has %lld bytes, not %lld",
                          index, (long long)bytes[index], (long long)tensor->bytes);
        if (!tensor->count)
            continue;
        if (!bound[index] || (uintptr_t)bound[index] % (size_t)(tensor->bytes / tensor->count))
            return refuse(plan, Q8_ERROR_ARGUMENT, "bound tensor %d is missing or misaligned",
                          index);
    }
    return Q8_OK;
}

static int ensure_scratch(q8_plan *plan, int threads)
{
    int64_t bytes = 0;
    if (threads <= plan->scratch_threads)
        return Q8_OK;
    void *memory = q8_multiply((int64_t)plan->scratch_bytes, threads, &bytes) ? q8_memory(bytes)
                                                                              : NULL;
    if (!memory)
        return refuse(plan, Q8_ERROR_MEMORY, "no memory for the scratch space of %d threads",
                      threads);
    q8_memory_release(plan->scratch, (int64_t)plan->scratch_bytes * plan->scratch_threads);
    plan->scratch = memory;
    plan->scratch_threads = threads;
    return Q8_OK;
}

static bool is_stopped(const volatile int *stop)
{
    return stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
}

/* Its rounds, until one fails or the run is stopped. */
static void run_step(context *c, const volatile int *stop)
{
    const q8_step *step = c->step;
    const int64_t parts = step->parts_for ? step->parts_for(step, c->threads) : step->parts;
    for (c->round = 0; c->round < step->rounds; c->round++) {
        if (c->threads == 1 || parts == 1)
            for (int64_t part = 0; part < parts; part++)
                run_part(c, part, 0);
        else
            q8_parallel(c->threads, parts, run_part, c);
        if (is_stopped(stop) || __atomic_load_n(c->failure, __ATOMIC_RELAXED))
            return;
    }
}

int q8_plan_run(q8_plan *plan, int bound_count, void *const *bound, const int64_t *bound_bytes,
                int threads, int64_t *step_ns, const volatile int *stop)
{
    if (plan->status)
        return plan->status;
    if (!plan->finished)
        return refuse(plan, Q8_ERROR_STATE, "the plan is not finished");
    if (threads < 1)
        return refuse(plan, Q8_ERROR_ARGUMENT, "%d threads", threads);
    if (threads > Q8_MAX_THREADS)
        threads = Q8_MAX_THREADS;
    int status = check_bound(plan, bound_count, bound, bound_bytes);
    if (status == Q8_OK)
        status = ensure_scratch(plan, threads);
    if (status != Q8_OK)
        return status;
    for (int i = 0; i < plan->step_count; i++) {
        if (is_stopped(stop))
            return refuse(plan, Q8_ERROR_STATE, "stopped before step %d", i);
        const char *failure = NULL;
        context c = {plan, &plan->steps[i], bound, threads, 0, &failure};
        int64_t start = step_ns ? q8_nanoseconds() : 0;
        run_step(&c, stop);
        if (step_ns)
            step_ns[i] = q8_nanoseconds() - start;
        if (__atomic_load_n(&failure, __ATOMIC_RELAXED))
            return refuse(plan, Q8_ERROR_BOUNDS, "%s: %s", plan->steps[i].name, failure);
        if (plan->steps[i].rounds > 1 && is_stopped(stop))
            return refuse(plan, Q8_ERROR_STATE, "stopped in step %d", i);
    }
    return Q8_OK;
}
