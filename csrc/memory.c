/* memory.c - the memory of plans: aligned, zeroed, and large pieces not touched before they are
 * used.
 *
 * Weights are read once per run, so with pages of 4 KiB each of them costs a walk through the page
 * tables; pieces of several megabytes therefore ask for large pages.
 *
 * A step asks for its memory before anybody has seen whether the plan's tensors fit an arena. A
 * shape that promises gigabytes must therefore cost address space and nothing else. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plan.h"

/* From here on the system's own zeroed pages; below, clearing costs less than a call for them. */
#define MAPPED_BYTES (1 << 20)

/* Systems promise memory that they do not have and kill who uses it. */
static bool is_more_than_there_is(int64_t bytes)
{
    return bytes / sysconf(_SC_PAGESIZE) >= sysconf(_SC_PHYS_PAGES);
}

static size_t rounded_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static void *mapped(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Begins where a large page may begin. */
static void *mapped_in_large_pages(size_t bytes)
{
    const size_t used = rounded_up(bytes, (size_t)sysconf(_SC_PAGESIZE));
    uint8_t *memory = mapped(used + Q8_LARGE_PAGE);
    if (!memory)
        return mapped(bytes);
    const size_t before = (Q8_LARGE_PAGE - (uintptr_t)memory % Q8_LARGE_PAGE) % Q8_LARGE_PAGE;
    if (before)
        munmap(memory, before);
    if (before < Q8_LARGE_PAGE)
        munmap(memory + before + used, Q8_LARGE_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(memory + before, used, MADV_HUGEPAGE); /* a wish: refused, all works as well */
#endif
    return memory + before;
}

void *q8_memory(int64_t bytes)
{
    void *memory = NULL;
    if (is_more_than_there_is(bytes))
        return NULL;
    if (bytes >= Q8_LARGE_PAGE)
        return mapped_in_large_pages((size_t)bytes);
    if (bytes >= MAPPED_BYTES)
        return mapped((size_t)bytes);
    if (posix_memalign(&memory, Q8_ALIGNMENT, bytes ? (size_t)bytes : 1) != 0)
        return NULL;
    return memset(memory, 0, (size_t)bytes);
}

void q8_memory_release(void *memory, int64_t bytes)
{
    if (!memory)
        return;
    if (bytes >= MAPPED_BYTES)
        munmap(memory, (size_t)bytes);
    else
        free(memory);
}
