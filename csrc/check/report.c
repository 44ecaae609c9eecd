/* report.c - which kernel and which case is running, and what went wrong there. */
#include <fnmatch.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { MESSAGES_PER_KERNEL = 3, SECONDS_PER_KERNEL = 120 };

check_options check_settings;
sigjmp_buf check_crash_point;
volatile int check_is_armed;

static const char *isa_name = "";
static char full_name[80]; /* isa/family.kernel */
static char geometry[200];
static int isa_kernels, isa_failed, all_kernels, all_failed; /* kernels */
static long isa_cases, all_cases;
static int failures; /* of the kernel under test: cases */
static bool case_failed;

void check_set_isa(const char *isa)
{
    isa_name = isa;
    isa_kernels = 0;
    isa_failed = 0;
    isa_cases = 0;
}

bool check_begin(const char *kernel, bool is_new)
{
    alarm(0);
    if (!is_new)
        return false;
    const char *pattern = check_settings.pattern;
    snprintf(full_name, sizeof full_name, "%s/%s", isa_name, kernel);
    if (pattern && fnmatch(pattern, full_name, 0) != 0 && fnmatch(pattern, kernel, 0) != 0 &&
        fnmatch(pattern, isa_name, 0) != 0)
        return false;
    if (check_settings.lists) {
        puts(full_name);
        return false;
    }
    isa_kernels++;
    failures = 0;
    check_seed(check_settings.seed, kernel);
    alarm(SECONDS_PER_KERNEL);
    return true;
}

void check_case(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(geometry, sizeof geometry, format, arguments);
    va_end(arguments);
    check_release_buffers();
    case_failed = false;
    isa_cases++;
}

void check_fail(const char *format, ...)
{
    if (case_failed) /* what follows from a crash or a first difference is noise */
        return;
    case_failed = true;
    if (failures == 0)
        isa_failed++;
    if (failures++ >= MESSAGES_PER_KERNEL)
        return;
    printf("%s %s: ", full_name, geometry);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    if (failures == MESSAGES_PER_KERNEL)
        printf("%s: further messages left out; repeat with: checkq8 %llu -t '%s'\n", full_name,
               (unsigned long long)check_settings.seed, full_name);
    fflush(stdout);
}

void check_isa_summary(void)
{
    alarm(0);
    all_kernels += isa_kernels;
    all_failed += isa_failed;
    all_cases += isa_cases;
    if (isa_kernels > 0)
        printf("%-12s %3d kernels, %6ld cases%s\n", isa_name, isa_kernels, isa_cases,
               isa_failed ? ", FAILED" : "");
    fflush(stdout);
}

bool check_summary(void)
{
    unsigned long long seed = check_settings.seed;
    if (all_kernels == 0)
        printf("FAILED: no kernel matches '%s'\n", check_settings.pattern);
    else if (all_failed)
        printf("FAILED: %d of %d kernels; repeat with: checkq8 %llu\n", all_failed, all_kernels,
               seed);
    else
        printf("all %d kernels right in %ld cases, seed %llu\n", all_kernels, all_cases, seed);
    return all_kernels > 0 && all_failed == 0;
}

void check_u8(const uint8_t *want, const uint8_t *got, size_t count, size_t step)
{
    for (size_t i = 0; i < count; i++) {
        if (want[i] == got[i])
            continue;
        check_fail("at [%zu][%zu] want %d got %d", i / step, i % step, want[i], got[i]);
        return;
    }
}

void check_s32(const int32_t *want, const int32_t *got, size_t count, size_t step)
{
    for (size_t i = 0; i < count; i++) {
        if (want[i] == got[i])
            continue;
        check_fail("at [%zu][%zu] want %d got %d", i / step, i % step, want[i], got[i]);
        return;
    }
}

void check_f32(const float *want, const float *got, size_t count, size_t step)
{
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&want[i], &got[i], sizeof *want) == 0)
            continue;
        check_fail("at [%zu][%zu] want %.9g (%a) got %.9g (%a)", i / step, i % step, want[i],
                   want[i], got[i], got[i]);
        return;
    }
}

void check_close(double exact, float got, double allowed, size_t index)
{
    bool same = isnan(exact) ? isnan(got)
                             : (float)exact == got || fabs(exact - got) <= allowed;
    if (!same)
        check_fail("at [%zu] want %.9g got %.9g, off by %.3g, allowed %.3g", index, exact, got,
                   fabs(exact - got), allowed);
}

/* ---- crashes ---- */

static void on_signal(int signal_number)
{
    if (check_is_armed) {
        check_is_armed = 0;
        siglongjmp(check_crash_point, signal_number);
    }
    /* Not inside a kernel: name the place and die of the same signal. */
    static const char text[] = "checkq8: crash outside a kernel, near ";
    ssize_t ignored = write(2, text, sizeof text - 1);
    ignored += write(2, full_name, strlen(full_name));
    ignored += write(2, "\n", 1);
    (void)ignored;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void check_catch_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

void check_crashed(int signal_number)
{
    if (signal_number != SIGALRM) {
        check_fail("%s", strsignal(signal_number));
        return;
    }
    check_fail("does not end");
    check_isa_summary();
    check_summary();
    exit(1);
}
