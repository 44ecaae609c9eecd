/* peak.c - how fast the dot-product instruction of an instruction set can go at all.
 *
 * A loop of independent multiply-adds on registers, no memory: what bench.c calls 100 %. Written
 * in assembler, because a compiler would notice that nothing is computed. */
#include <string.h>
#include <time.h>

#include "../kernels/target.h"
#include "check.h"

typedef struct {
    const char *isa;
    void (*run)(uint64_t rounds);
    int macs; /* multiply-adds per round */
} loop;

#if defined(__x86_64__)

#define ROUNDS(body, ...) \
    __asm__ volatile("1:\n" body "dec %0\njnz 1b\n" : "+r"(rounds) : : "cc", __VA_ARGS__)
#define LOW_REGISTERS                                                                     \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

Q8_TARGET("avx2")
static void run_avx2(uint64_t rounds)
{
    ROUNDS(".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n"
           "vpmaddwd %%ymm13, %%ymm14, %%ymm15\n"
           "vpaddd %%ymm15, %%ymm\\r, %%ymm\\r\n"
           ".endr\n",
           LOW_REGISTERS);
}
Q8_TARGET_END

#if Q8_HAVE_AVXVNNI
Q8_TARGET("avx2,avxvnni")
static void run_avxvnni(uint64_t rounds)
{
    ROUNDS(".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n"
           "%{vex%} vpdpbusd %%ymm13, %%ymm14, %%ymm\\r\n"
           ".endr\n",
           LOW_REGISTERS);
}
Q8_TARGET_END
#endif

Q8_TARGET("avx512f,avx512vnni")
static void run_avx512vnni(uint64_t rounds)
{
    ROUNDS(".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
           "vpdpbusd %%zmm30, %%zmm31, %%zmm\\r\n"
           ".endr\n",
           LOW_REGISTERS, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23");
}
Q8_TARGET_END

#if Q8_HAVE_AMX
/* Four tiles of 16 x 16 accumulators, as x86_gemm_amx.c uses them. */
static void run_amx(uint64_t rounds)
{
    const struct {
        uint8_t palette, others[15];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {1, {0}, {64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16}};
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
    ROUNDS("tdpbusd %%tmm5, %%tmm4, %%tmm0\n"
           "tdpbusd %%tmm5, %%tmm4, %%tmm1\n"
           "tdpbusd %%tmm5, %%tmm4, %%tmm2\n"
           "tdpbusd %%tmm5, %%tmm4, %%tmm3\n",
           "memory");
    __asm__ volatile("tilerelease" :);
}
#endif

static const loop loops[] = {
    {"avx2", run_avx2, 12 * 16},
#if Q8_HAVE_AVXVNNI
    {"avxvnni", run_avxvnni, 12 * 32},
#endif
    {"avx512vnni", run_avx512vnni, 24 * 64},
#if Q8_HAVE_AMX
    {"amx", run_amx, 4 * 16 * 16 * 64},
#endif
};

#elif defined(__aarch64__)

#define ROUNDS(body)                                                                            \
    __asm__ volatile("1:\n.irp r,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23\n" body                \
                     ".endr\nsubs %0, %0, #1\nb.ne 1b\n"                                        \
                     : "+r"(rounds)                                                             \
                     :                                                                          \
                     : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", \
                       "v19", "v20", "v21", "v22", "v23")

/* As arm_gemm_neon.c does: eight products of bytes, then their pairs added; eight of each, so that
 * no core waits for the first. */
static void run_neon(uint64_t rounds)
{
    __asm__ volatile("1:\n.irp r,0,1,2,3,4,5,6,7\n"
                     "smull v1\\r\\().8h, v30.8b, v31.8b\n"
                     ".endr\n.irp r,0,1,2,3,4,5,6,7\n"
                     "sadalp v\\r\\().4s, v1\\r\\().8h\n"
                     ".endr\nsubs %0, %0, #1\nb.ne 1b\n"
                     : "+r"(rounds)
                     :
                     : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v10", "v11", "v12",
                       "v13", "v14", "v15", "v16", "v17");
}

#if Q8_HAVE_DOTPROD
Q8_TARGET("arch=armv8.2-a+dotprod")
static void run_dotprod(uint64_t rounds)
{
    ROUNDS("sdot v\\r\\().4s, v30.16b, v31.16b\n");
}
Q8_TARGET_END

Q8_TARGET("arch=armv8.2-a+i8mm")
static void run_i8mm(uint64_t rounds)
{
    ROUNDS("usmmla v\\r\\().4s, v30.16b, v31.16b\n");
}
Q8_TARGET_END
#endif

static const loop loops[] = {
    {"neon", run_neon, 8 * 8},
#if Q8_HAVE_DOTPROD
    {"dotprod", run_dotprod, 16 * 16},
    {"i8mm", run_i8mm, 16 * 32},
#endif
};

#else

static const loop loops[] = {{"", NULL, 0}};

#endif

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double check_peak(const char *isa)
{
    enum { ROUNDS_PER_TRY = 200000, TRIES = 20 };
    double best = 0;
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        if (strcmp(loops[i].isa, isa) != 0)
            continue;
        for (int attempt = 0; attempt < TRIES; attempt++) {
            double start = seconds();
            loops[i].run(ROUNDS_PER_TRY);
            double gops = 2e-9 * ROUNDS_PER_TRY * loops[i].macs / (seconds() - start);
            best = gops > best ? gops : best;
        }
    }
    return best;
}
