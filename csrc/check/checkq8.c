/* checkq8.c - proves every kernel of every instruction set that this CPU has.
 *
 *     checkq8 [SEED] [-t PATTERN] [--list] [--bench]
 *
 * Integer kernels must equal the scalar reference byte for byte, float kernels stay within stated
 * bounds; nothing outside a buffer may be touched. PATTERN is a glob over "isa/family.kernel",
 * "family.kernel" or "isa". The seed is printed; given again it repeats the run exactly. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../q8.h"
#include "check.h"

static int usage(void)
{
    fputs("usage: checkq8 [SEED] [-t PATTERN] [--list] [--bench]\n", stderr);
    return 2;
}

static uint64_t seed_from_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t nanoseconds = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return (nanoseconds ^ (uint64_t)getpid() << 40) % 1000000000000u; /* short enough to type */
}

static void check_kernels(const q8_kernels *kernels, const q8_kernels *below)
{
    check_set_isa(kernels->name);
    check_gemm(kernels, below);
    check_winograd(kernels, below);
    check_gemm_lines(kernels, below);
    check_conv(kernels, below);
    check_vec(kernels, below);
    check_f32_conv(kernels, below);
    check_f32_lines(kernels, below);
    check_f32_rows(kernels, below);
    check_f32_same(kernels, below);
    check_isa_summary();
}

static bool check_all(void)
{
    if (!check_settings.lists)
        printf("checkq8: %s, seed %llu\n", q8_cpu_name(), (unsigned long long)check_settings.seed);
    check_set_isa("odd");
    check_odd_gemm();
    check_isa_summary();
    static const q8_kernels nothing;
    const q8_kernels *below = &nothing;
    for (int i = 0; i < q8_isa_count(); i++) {
        const q8_kernels *kernels = q8_kernels_at(i);
        if (!kernels) {
            if (!check_settings.lists)
                printf("%-12s not on this CPU, skipped\n", q8_isa_name(i));
            continue;
        }
        check_kernels(kernels, below);
        below = kernels;
    }
    return check_settings.lists || check_summary();
}

int main(int argc, char **argv)
{
    bool benches = false;
    check_settings.seed = seed_from_clock();
    for (int i = 1; i < argc; i++) {
        char *end;
        if (strcmp(argv[i], "--list") == 0) {
            check_settings.lists = true;
        } else if (strcmp(argv[i], "--bench") == 0) {
            benches = true;
        } else if (strcmp(argv[i], "-t") == 0 && i + 1 < argc) {
            check_settings.pattern = argv[++i];
        } else {
            check_settings.seed = strtoull(argv[i], &end, 10);
            if (end == argv[i] || *end)
                return usage();
        }
    }
    if (q8_init() != Q8_OK) {
        fputs("checkq8: Q8_ISA names an instruction set that this CPU lacks\n", stderr);
        return 2;
    }
    if (benches) {
        check_bench();
        return 0;
    }
    check_open_memory();
    check_catch_crashes();
    return check_all() ? 0 : 1;
}
