/* test_threads.c - the pool of threads and the executor, for `make check-tsan`.
 *
 * Every part runs exactly once, whoever calls and however many call at once; a child of fork has
 * a working pool; plans give the same bytes on any number of threads, and two at the same time. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../plan.h"

enum { MOST_PARTS = 200, CALLERS = 4, CALLS = 300, SIDE = 24, CHANNELS = 16 };

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "test_threads: %s\n", what);
    exit(1);
}

/* ---- the pool ---- */

typedef struct {
    int counts[MOST_PARTS]; /* plain: parts are independent, and the caller reads when all ended */
    int threads;
} parts_seen;

static void count_part(void *context, int64_t part, int thread)
{
    parts_seen *seen = context;
    require(thread >= 0 && thread < seen->threads, "a thread's number is too high");
    seen->counts[part]++;
}

static void check_parts(int threads, int parts)
{
    parts_seen seen = {.threads = threads};
    q8_parallel(threads, parts, count_part, &seen);
    for (int i = 0; i < MOST_PARTS; i++)
        require(seen.counts[i] == (i < parts), "a part did not run exactly once");
}

static void *call_often(void *unused)
{
    for (int i = 0; i < CALLS; i++)
        check_parts(1 + i % 5, i % MOST_PARTS);
    return unused;
}

static void check_callers(void)
{
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        require(pthread_create(&threads[i], NULL, call_often, NULL) == 0, "pthread_create");
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
}

/* ThreadSanitizer does not follow a fork of a process with threads. */
static void check_fork(void)
{
#if !defined(__SANITIZE_THREAD__)
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        check_parts(4, 100);
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    require(status == 0, "the pool does not work after a fork");
#endif
}

/* ---- plans ---- */

static void require_ok(q8_plan *plan, int status)
{
    if (status >= 0)
        return;
    fprintf(stderr, "test_threads: %s\n", q8_plan_error(plan));
    exit(1);
}

/* float picture -> codes -> convolution 3 x 3 -> float, with padding and many parts. */
static q8_plan *make_plan(void)
{
    static const int64_t dims[] = {1, SIDE, SIDE, CHANNELS};
    enum { BYTES = SIDE * SIDE * CHANNELS };
    int8_t weights[CHANNELS * 9 * CHANNELS];
    float multiplier[CHANNELS];
    for (size_t i = 0; i < sizeof weights; i++)
        weights[i] = (int8_t)(i * 37 % 255);
    for (int i = 0; i < CHANNELS; i++)
        multiplier[i] = 0.001f;
    q8_plan *plan = q8_plan_new(NULL);
    require(plan != NULL, "q8_plan_new");
    int x = q8_plan_tensor(plan, Q8_F32, 4, dims, -1);
    int y = q8_plan_tensor(plan, Q8_F32, 4, dims, -1);
    int codes = q8_plan_tensor(plan, Q8_U8, 4, dims, 0);
    int result = q8_plan_tensor(plan, Q8_U8, 4, dims, BYTES);
    q8_conv conv = {.x = codes, .y = result, .kernel_h = 3, .kernel_w = 3, .stride_h = 1,
                    .stride_w = 1, .pad_top = 1, .pad_left = 1, .dilation_h = 1, .dilation_w = 1,
                    .groups = 1, .weights = weights, .x_zero_point = 128,
                    .multiplier = multiplier, .y_zero_point = 100, .y_high = 255,
                    .x_scale_tensor = -1, .x_zero_point_tensor = -1, .residual = -1};
    require_ok(plan, q8_plan_add_quantize(plan, x, codes, 0.01f, 128));
    require_ok(plan, q8_plan_add_conv(plan, &conv));
    require_ok(plan, q8_plan_add_dequantize(plan, result, y, 0.5f, 100));
    require_ok(plan, q8_plan_finish(plan, 2 * BYTES));
    return plan;
}

static float picture[SIDE * SIDE * CHANNELS], expected[SIDE * SIDE * CHANNELS];

static void run_plan(q8_plan *plan, float *result, int threads)
{
    void *bound[] = {picture, result};
    const int64_t bytes[] = {sizeof picture, sizeof picture};
    require_ok(plan, q8_plan_run(plan, 2, bound, bytes, threads, NULL, NULL));
}

static void *run_often(void *unused)
{
    static _Thread_local float result[SIDE * SIDE * CHANNELS];
    q8_plan *plan = make_plan();
    for (int i = 0; i < 30; i++) {
        memset(result, 0, sizeof result);
        run_plan(plan, result, 1 + i % 4);
        require(memcmp(result, expected, sizeof result) == 0, "threads change the result");
    }
    q8_plan_free(plan);
    return unused;
}

static void check_plans(void)
{
    for (size_t i = 0; i < sizeof picture / sizeof *picture; i++)
        picture[i] = (float)(i * 7919 % 256) * 0.01f - 1.28f;
    q8_plan *plan = make_plan();
    run_plan(plan, expected, 1);
    q8_plan_free(plan);
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        require(pthread_create(&threads[i], NULL, run_often, NULL) == 0, "pthread_create");
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    require(q8_init() == Q8_OK, "q8_init");
    for (int parts = 0; parts <= MOST_PARTS; parts++)
        check_parts(1 + parts % 8, parts);
    check_callers();
    check_fork();
    check_plans();
    puts("threads: every part once, same bytes on any number of threads");
    return 0;
}
