/* threads.c - one pool of threads per process.
 *
 * A job is a number of parts. Its ticket - one atomic word: how many threads may help, and how
 * many parts nobody has drawn yet - is all that a thread reads before it draws. Drawing is a
 * compare-and-swap, so whoever succeeds holds a part of the job that stands in the pool at that
 * moment, and that job cannot end, nor its fields change, before the part is done. A late thread
 * that finds no part left therefore never touches a job: the caller waits for parts, not for
 * threads. Idle threads spin a little, because steps follow each other closely, then sleep.
 *
 * After a fork the child has none of the threads; it starts with an empty pool. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "plan.h"

#define SPIN_NS 50000 /* longer than the gap between two steps, shorter than a scheduler's slice */
#define PARTS_BITS 48
#define PARTS_MASK ((UINT64_C(1) << PARTS_BITS) - 1)

typedef void (*work_function)(void *context, int64_t part, int thread);

static struct {
    pthread_mutex_t owner;  /* held by the thread whose job stands here */
    pthread_mutex_t mutex;  /* for the two conditions */
    pthread_cond_t offered; /* a job stands here: for sleeping workers */
    pthread_cond_t done;    /* the last part is done: for the owner */
    _Atomic uint64_t ticket;
    _Atomic int64_t finished; /* parts of this job that are done */
    atomic_int sleepers;
    atomic_bool owner_sleeps;
    work_function work;
    void *context;
    int64_t parts;
    int workers; /* threads besides the caller; changed by the owner only */
} pool = {
    .owner = PTHREAD_MUTEX_INITIALIZER,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .offered = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
};

static pthread_once_t fork_handler = PTHREAD_ONCE_INIT;

static void forget_threads(void)
{
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.offered, NULL);
    pthread_cond_init(&pool.done, NULL);
    atomic_store(&pool.ticket, 0);
    atomic_store(&pool.sleepers, 0);
    atomic_store(&pool.owner_sleeps, false);
    pool.workers = 0;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_threads);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* waits some ten cycles; most cores take yield for a nop */
#endif
}

int64_t q8_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* True if `thread` may draw a part from this ticket. */
static bool has_part(uint64_t ticket, int thread)
{
    return (ticket & PARTS_MASK) && (uint64_t)thread < ticket >> PARTS_BITS;
}

/* True as soon as ready() is; false if it was not for SPIN_NS. */
static bool spin(bool (*ready)(int thread), int thread)
{
    int64_t end = q8_nanoseconds() + SPIN_NS;
    do {
        for (int i = 0; i < 64; i++) {
            if (ready(thread))
                return true;
            relax();
        }
    } while (q8_nanoseconds() < end);
    return false;
}

static void finish_part(void)
{
    int64_t parts = pool.parts; /* the fields are the owner's again once all parts are done */
    if (atomic_fetch_add(&pool.finished, 1) + 1 < parts || !atomic_load(&pool.owner_sleeps))
        return;
    pthread_mutex_lock(&pool.mutex);
    pthread_cond_signal(&pool.done);
    pthread_mutex_unlock(&pool.mutex);
}

/* Draws and does parts until none is left. */
static void work_along(int thread)
{
    uint64_t ticket = atomic_load(&pool.ticket);
    while (has_part(ticket, thread)) {
        if (!atomic_compare_exchange_weak(&pool.ticket, &ticket, ticket - 1))
            continue;
        pool.work(pool.context, pool.parts - (int64_t)(ticket & PARTS_MASK), thread);
        finish_part();
        ticket = atomic_load(&pool.ticket);
    }
}

static bool is_offered(int thread)
{
    return has_part(atomic_load(&pool.ticket), thread);
}

static bool is_done(int thread)
{
    (void)thread;
    return atomic_load(&pool.finished) == pool.parts;
}

static void *worker(void *number)
{
    int thread = (int)(intptr_t)number;
    for (;;) {
        work_along(thread);
        if (spin(is_offered, thread))
            continue;
        pthread_mutex_lock(&pool.mutex);
        atomic_fetch_add(&pool.sleepers, 1);
        while (!is_offered(thread))
            pthread_cond_wait(&pool.offered, &pool.mutex);
        atomic_fetch_sub(&pool.sleepers, 1);
        pthread_mutex_unlock(&pool.mutex);
    }
    return NULL;
}

/* Makes the pool as large as wanted, or as the system allows. Signals stay with the threads that
 * the caller knows. */
static void recruit(int wanted)
{
    sigset_t all, before;
    if (pool.workers >= wanted)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)(pool.workers + 1)) != 0)
            break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void wait_for_parts(void)
{
    if (spin(is_done, 0))
        return;
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&pool.owner_sleeps, true);
    while (!is_done(0))
        pthread_cond_wait(&pool.done, &pool.mutex);
    atomic_store(&pool.owner_sleeps, false);
    pthread_mutex_unlock(&pool.mutex);
}

/* The owner's half of a job: 0 < helpers <= pool.workers. */
static void run_job(int helpers, int64_t parts, work_function work, void *context)
{
    pool.work = work;
    pool.context = context;
    pool.parts = parts;
    atomic_store(&pool.finished, 0);
    atomic_store(&pool.ticket, (uint64_t)(helpers + 1) << PARTS_BITS | (uint64_t)parts);
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.mutex);
        pthread_cond_broadcast(&pool.offered);
        pthread_mutex_unlock(&pool.mutex);
    }
    work_along(0);
    wait_for_parts();
}

void q8_parallel(int threads, int64_t parts, work_function work, void *context)
{
    if (threads > Q8_MAX_THREADS)
        threads = Q8_MAX_THREADS;
    if (threads > 1 && parts > 1 && (uint64_t)parts <= PARTS_MASK) {
        pthread_once(&fork_handler, watch_forks);
        if (pthread_mutex_trylock(&pool.owner) == 0) {
            int helpers = parts < threads ? (int)parts - 1 : threads - 1;
            recruit(helpers);
            if (helpers > pool.workers)
                helpers = pool.workers;
            if (helpers > 0)
                run_job(helpers, parts, work, context);
            pthread_mutex_unlock(&pool.owner);
            if (helpers > 0)
                return;
        }
    }
    for (int64_t part = 0; part < parts; part++)
        work(context, part, 0);
}
