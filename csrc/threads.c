/* threads.c - one pool of threads per process.
 *
 * A job is a number of parts. Each thread has a lane, and gets a run of neighbouring parts there:
 * the same share of every job, so that what one step has written is in the cache of the thread
 * that reads it in the next. Whoever is done with its own lane takes parts from the far end of the
 * others'.
 *
 * A lane's ticket - one atomic word: how many threads the job has, and which parts of the lane
 * nobody has drawn yet - is all that a thread reads before it draws. Drawing is a compare-and-swap,
 * so whoever succeeds holds a part of the job that stands in the lane at that moment, and that job
 * cannot end, nor the lane's fields change, before the part is counted as done. A late thread that
 * finds no part left therefore never touches a job: the caller waits for parts, not for threads.
 * Idle threads spin a little, because steps follow each other closely, then sleep.
 *
 * After a fork the child has none of the threads; it starts with an empty pool. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "plan.h"

#define SPIN_NS 50000 /* longer than the gap between two steps, shorter than a scheduler's slice */
#define PART_BITS 24
#define PART_MASK ((UINT64_C(1) << PART_BITS) - 1)
#define LINE 64 /* bytes of a cache line: lanes share none */

typedef void (*work_function)(void *context, int64_t part, int thread);

/* ticket: threads of the job, first part that is left, end of those that are left. */
typedef struct {
    _Alignas(LINE) _Atomic uint64_t ticket;
    work_function work;
    void *context;
    int64_t parts; /* of the whole job */
} lane;

static struct {
    pthread_mutex_t owner;  /* held by the thread whose job stands here */
    pthread_mutex_t mutex;  /* for the two conditions */
    pthread_cond_t offered; /* a job stands here: for sleeping workers */
    pthread_cond_t done;    /* the last part is done: for the owner */
    int workers;            /* threads besides the caller; changed by the owner only */
    atomic_int sleepers;
    atomic_bool owner_sleeps;
    _Alignas(LINE) _Atomic int64_t finished; /* parts of this job that are done */
    lane lanes[Q8_MAX_THREADS];
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
    for (int i = 0; i < Q8_MAX_THREADS; i++)
        atomic_store(&pool.lanes[i].ticket, 0);
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

static uint64_t ticket_of(int64_t threads, int64_t first, int64_t end)
{
    return (uint64_t)threads << 2 * PART_BITS | (uint64_t)first << PART_BITS | (uint64_t)end;
}

static int64_t threads_of(uint64_t ticket)
{
    return (int64_t)(ticket >> 2 * PART_BITS);
}

static int64_t first_of(uint64_t ticket)
{
    return (int64_t)(ticket >> PART_BITS & PART_MASK);
}

static int64_t end_of(uint64_t ticket)
{
    return (int64_t)(ticket & PART_MASK);
}

/* True if `thread` may draw a part from this ticket. */
static bool has_part(uint64_t ticket, int thread)
{
    return first_of(ticket) < end_of(ticket) && thread < threads_of(ticket);
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

/* `count` parts of a job of `parts` are done. */
static void finish_parts(int64_t count, int64_t parts)
{
    if (atomic_fetch_add(&pool.finished, count) + count < parts ||
        !atomic_load(&pool.owner_sleeps))
        return;
    pthread_mutex_lock(&pool.mutex);
    pthread_cond_signal(&pool.done);
    pthread_mutex_unlock(&pool.mutex);
}

/* Draws and does parts of a lane until none is left there; from its far end if it is another
 * thread's. */
static void empty_lane(int number, int thread)
{
    lane *from = &pool.lanes[number];
    uint64_t ticket = atomic_load(&from->ticket);
    int64_t count = 0, parts = 0;
    while (has_part(ticket, thread)) {
        const int64_t threads = threads_of(ticket);
        int64_t first = first_of(ticket), end = end_of(ticket);
        const int64_t part = number == thread ? first++ : --end;
        if (!atomic_compare_exchange_weak(&from->ticket, &ticket, ticket_of(threads, first, end)))
            continue;
        parts = from->parts; /* this and the ticket are the owner's again once all are counted */
        from->work(from->context, part, thread);
        count++;
        ticket = atomic_load(&from->ticket);
    }
    if (count > 0)
        finish_parts(count, parts);
}

/* A thread's own lane, then the others'. */
static void work_along(int thread)
{
    const int64_t threads = threads_of(atomic_load(&pool.lanes[thread].ticket));
    for (int64_t i = 0; i < threads; i++)
        empty_lane((int)((thread + i) % threads), thread);
}

static bool is_offered(int thread)
{
    return has_part(atomic_load(&pool.lanes[thread].ticket), thread);
}

static bool is_done(int thread)
{
    (void)thread;
    return atomic_load(&pool.finished) == pool.lanes[0].parts;
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

/* The owner's half of a job: 0 < helpers <= pool.workers, more parts than helpers. */
static void run_job(int helpers, int64_t parts, work_function work, void *context)
{
    const int64_t threads = helpers + 1;
    atomic_store(&pool.finished, 0);
    for (int64_t i = threads - 1; i >= 0; i--) {
        lane *to = &pool.lanes[i];
        to->work = work;
        to->context = context;
        to->parts = parts;
        atomic_store(&to->ticket,
                     ticket_of(threads, parts * i / threads, parts * (i + 1) / threads));
    }
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.mutex);
        pthread_cond_broadcast(&pool.offered);
        pthread_mutex_unlock(&pool.mutex);
    }
    work_along(0);
    wait_for_parts();
}

int64_t q8_share_end(int64_t part, int64_t parts, int threads)
{
    const int64_t shares = parts < threads ? parts : threads;
    const int64_t share = ((part + 1) * shares - 1) / parts;
    return parts * (share + 1) / shares;
}

int64_t q8_part_from_end(int64_t part, int64_t parts, int threads)
{
    const int64_t shares = parts < threads ? parts : threads;
    const int64_t share = ((part + 1) * shares - 1) / parts;
    return parts * share / shares + parts * (share + 1) / shares - 1 - part;
}

void q8_parallel(int threads, int64_t parts, work_function work, void *context)
{
    if (threads > Q8_MAX_THREADS)
        threads = Q8_MAX_THREADS;
    if (threads > 1 && parts > 1 && (uint64_t)parts <= PART_MASK) {
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
