/* memory.c - the memory of plans: aligned, zeroed, and large pieces not touched before they are
 * used.
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

void *q8_memory(int64_t bytes)
{
    void *memory = NULL;
    if (is_more_than_there_is(bytes))
        return NULL;
    if (bytes >= MAPPED_BYTES) {
        memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
        return memory == MAP_FAILED ? NULL : memory;
    }
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
