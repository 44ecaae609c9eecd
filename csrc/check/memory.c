/* memory.c - buffers between unmapped pages, with canaries on the side that has memory.
 *
 * A fixed set of slots, each a few pages between two pages without access. Most buffers end where
 * the upper page begins, so that reading one byte too many is a crash; some begin at the lower
 * page or a few elements behind it, which catches reads before the buffer and gives every
 * alignment. What is left of the slot next to the buffer is filled with CHECK_FILL and compared
 * after the call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { SMALL_SLOTS = 192, SMALL_BYTES = 16384, LARGE_SLOTS = 16, LARGE_BYTES = 1 << 20 };
enum { SLOTS = SMALL_SLOTS + LARGE_SLOTS, CANARY = 128 };

typedef struct {
    uint8_t *begin, *end;
    const char *name;
    uint8_t *data; /* NULL: free */
    size_t bytes;
} slot;

static slot slots[SLOTS];
static int small_used, large_used;

static void open_slot(slot *s, size_t bytes, size_t page)
{
    bytes = (bytes + page - 1) / page * page;
    uint8_t *map = mmap(NULL, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + page, bytes, PROT_READ | PROT_WRITE) != 0) {
        perror("checkq8: mmap");
        exit(2);
    }
    s->begin = map + page;
    s->end = s->begin + bytes;
}

void check_open_memory(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < SLOTS; i++)
        open_slot(&slots[i], i < SMALL_SLOTS ? SMALL_BYTES : LARGE_BYTES, page);
}

static slot *take_slot(const char *name, size_t bytes)
{
    size_t needed = bytes + 2 * CANARY;
    if (needed <= SMALL_BYTES && small_used < SMALL_SLOTS)
        return &slots[small_used++];
    if (needed <= LARGE_BYTES && large_used < LARGE_SLOTS)
        return &slots[SMALL_SLOTS + large_used++];
    fprintf(stderr, "checkq8: no guarded memory left for %s, %zu bytes\n", name, bytes);
    exit(2);
}

static uint8_t *canary_begin(const slot *s)
{
    return s->data - s->begin > CANARY ? s->data - CANARY : s->begin;
}

static uint8_t *canary_end(const slot *s)
{
    uint8_t *after = s->data + s->bytes;
    return s->end - after > CANARY ? after + CANARY : s->end;
}

void *check_buffer(const char *name, size_t bytes, size_t alignment)
{
    slot *s = take_slot(name, bytes);
    s->name = name;
    s->bytes = bytes;
    if (check_one_in(4))
        s->data = s->begin + alignment * check_below((uint32_t)(CANARY / alignment));
    else
        s->data = (uint8_t *)((uintptr_t)(s->end - bytes) & ~(uintptr_t)(alignment - 1));
    uint8_t *begin = canary_begin(s);
    memset(begin, CHECK_FILL, (size_t)(canary_end(s) - begin));
    return s->data;
}

void check_release_buffers(void)
{
    small_used = 0;
    large_used = 0;
    for (int i = 0; i < SLOTS; i++)
        slots[i].data = NULL;
}

static bool check_region(const slot *s, const uint8_t *begin, const uint8_t *end)
{
    for (const uint8_t *p = begin; p < end; p++) {
        if (*p == CHECK_FILL)
            continue;
        bool before = p < s->data;
        check_fail("%s was overwritten, %td bytes %s it", s->name,
                   before ? s->data - p : p - (s->data + s->bytes), before ? "before" : "behind");
        return false;
    }
    return true;
}

void check_canaries(void)
{
    for (int i = 0; i < SLOTS; i++) {
        const slot *s = &slots[i];
        if (s->data && (!check_region(s, canary_begin(s), s->data) ||
                        !check_region(s, s->data + s->bytes, canary_end(s))))
            return;
    }
}

const void *check_forbidden(void)
{
    return slots[0].end;
}
