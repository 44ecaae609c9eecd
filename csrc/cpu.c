/* cpu.c - what this processor can do: the only place that asks it.
 *
 * A bit of q8_cpu_flags is set only if the instructions exist and the system saves the registers
 * they use (xgetbv on x86), so that a kernel behind that bit never faults. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"
#include "q8.h"

#define NAME_BYTES 128

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum {
    XCR0_YMM = 0x06,    /* xmm and ymm */
    XCR0_ZMM = 0xe6,    /* and masks and both halves of zmm */
    XCR0_TILE = 0x60000 /* configuration and data of tiles */
};

typedef struct {
    unsigned eax, ebx, ecx, edx;
} leaf;

static leaf cpuid(unsigned number, unsigned subleaf)
{
    leaf l;
    __cpuid_count(number, subleaf, l.eax, l.ebx, l.ecx, l.edx);
    return l;
}

static unsigned xcr0(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has_bits(unsigned value, unsigned bits)
{
    return (value & bits) == bits;
}

/* Linux saves tiles only for processes that have asked: 8 KiB per thread that uses them. Other
 * systems and old kernels do not give leave. */
static bool may_use_tiles(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    const long arch_req_xcomp_perm = 0x1023, tile_data = 18; /* names of newer headers */
    return syscall(SYS_arch_prctl, arch_req_xcomp_perm, tile_data) == 0;
#else
    return false;
#endif
}

unsigned q8_cpu_flags(void)
{
    const unsigned fma_osxsave_avx = 1u << 12 | 1u << 27 | 1u << 28; /* leaf 1 ecx */
    const unsigned avx2 = 1u << 5;                                   /* leaf 7.0 ebx */
    const unsigned avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const unsigned avx512_vbmi = 1u << 1; /* leaf 7.0 ecx */
    const unsigned avx512_vnni = 1u << 11;
    const unsigned avx_vnni = 1u << 4;     /* leaf 7.1 eax */
    const unsigned amx_tile_int8 = 1u << 24 | 1u << 25; /* leaf 7.0 edx */

    if (cpuid(0, 0).eax < 7 || !has_bits(cpuid(1, 0).ecx, fma_osxsave_avx))
        return 0;
    unsigned saved = xcr0();
    leaf seven = cpuid(7, 0);
    if (!has_bits(saved, XCR0_YMM) || !has_bits(seven.ebx, avx2))
        return 0;
    unsigned flags = Q8_CPU_AVX2;
    /* eax of leaf 7.0 is the last subleaf: a processor without subleaf 1 answers rubbish there. */
    if (seven.eax >= 1 && has_bits(cpuid(7, 1).eax, avx_vnni))
        flags |= Q8_CPU_AVXVNNI;
    if (has_bits(saved, XCR0_ZMM) && has_bits(seven.ebx, avx512_f_dq_bw_vl) &&
        has_bits(seven.ecx, avx512_vnni)) {
        flags |= Q8_CPU_AVX512VNNI;
        if (has_bits(seven.ecx, avx512_vbmi))
            flags |= Q8_CPU_AVX512VBMI;
    }
    if (has_bits(saved, XCR0_TILE) && has_bits(seven.edx, amx_tile_int8) && may_use_tiles())
        flags |= Q8_CPU_AMX;
    return flags;
}

static void find_name(char name[NAME_BYTES])
{
    const unsigned first = 0x80000002u, last = 0x80000004u; /* 16 letters each */
    if (cpuid(0x80000000u, 0).eax < last)
        return;
    for (unsigned number = first; number <= last; number++) {
        leaf l = cpuid(number, 0);
        memcpy(name + 16 * (number - first), &l, sizeof l);
    }
}

#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>

static bool has_feature(const char *key)
{
    int value = 0;
    size_t bytes = sizeof value;
    return sysctlbyname(key, &value, &bytes, NULL, 0) == 0 && value;
}

unsigned q8_cpu_flags(void)
{
    unsigned flags = Q8_CPU_NEON;
    if (has_feature("hw.optional.arm.FEAT_DotProd"))
        flags |= Q8_CPU_DOTPROD;
    if (has_feature("hw.optional.arm.FEAT_I8MM"))
        flags |= Q8_CPU_I8MM;
    return flags;
}

static void find_name(char name[NAME_BYTES])
{
    size_t bytes = NAME_BYTES - 1;
    if (sysctlbyname("machdep.cpu.brand_string", name, &bytes, NULL, 0) != 0)
        name[0] = '\0';
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

unsigned q8_cpu_flags(void)
{
    /* Numbers of the Linux ABI; old headers lack the names. */
    const unsigned long asimd = 1ul << 1, asimddp = 1ul << 20; /* AT_HWCAP */
    const unsigned long i8mm = 1ul << 13;                      /* AT_HWCAP2 */
    unsigned flags = 0;
    if (getauxval(AT_HWCAP) & asimd)
        flags |= Q8_CPU_NEON;
    if (getauxval(AT_HWCAP) & asimddp)
        flags |= Q8_CPU_DOTPROD;
    if (getauxval(AT_HWCAP2) & i8mm)
        flags |= Q8_CPU_I8MM;
    return flags;
}

/* Arm cores have no brand string; implementer and part number name the design. */
static void find_name(char name[NAME_BYTES])
{
    unsigned implementer = 0, part = 0;
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "CPU implementer : %x", &implementer);
        sscanf(line, "CPU part : %x", &part);
    }
    fclose(file);
    if (implementer)
        snprintf(name, NAME_BYTES, "aarch64 implementer 0x%02x part 0x%03x", implementer, part);
}

#else

unsigned q8_cpu_flags(void)
{
    return 0;
}

static void find_name(char name[NAME_BYTES])
{
    name[0] = '\0';
}

#endif

void q8_cpu_describe(char *text, size_t bytes)
{
    char name[NAME_BYTES] = "";
    find_name(name);
    name[NAME_BYTES - 1] = '\0';
    const char *start = name + strspn(name, " ");
    snprintf(text, bytes, "%s", *start ? start : "unknown processor");
}
