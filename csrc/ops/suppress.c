/* suppress.c - greedy non-maximum suppression of one class's boxes, called outside of plans.
 *
 * Boxes above the lowest score are put in order once, by a radix sort of their scores' bits. Each is
 * then held against the boxes kept so far, whose corners lie side by side, a unit of 16 at a time. */
#include <string.h>

#include "ops.h"

#define UNIT 16
#define CORNERS 4
#define COLUMNS (CORNERS + 1) /* and the area */
#define MOST_COMPARISONS (INT64_C(1) << 27) /* of one call, so that a caller can give up */

typedef struct {
    uint32_t key, box;
} entry;

/* What a job keeps from call to call. */
typedef struct {
    entry *order, *spare; /* [count] */
    float *kept[COLUMNS]; /* [count] each: low y, low x, high y, high x, area */
} workspace;

int64_t q8_suppress_bytes(int64_t count)
{
    int64_t bytes;
    const int64_t per_box = 2 * (int64_t)sizeof(entry) + COLUMNS * (int64_t)sizeof(float);
    return count <= INT32_MAX && q8_multiply(count, per_box, &bytes) ? bytes : Q8_ERROR_BOUNDS;
}

static workspace workspace_of(const q8_suppression *job)
{
    workspace space = {.order = job->workspace, .spare = (entry *)job->workspace + job->count};
    float *columns = (float *)(void *)(space.spare + job->count);
    for (int i = 0; i < COLUMNS; i++)
        space.kept[i] = columns + i * job->count;
    return space;
}

/* ---- order ---- */

/* Grows as the value falls; -0 and 0 are the same. */
static uint32_t falling_key(float value)
{
    uint32_t bits;
    value += 0.0f;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

/* One pass of the radix sort; entries of one digit keep their order. False: nothing to move. */
static bool sort_by_digit(const entry *from, entry *to, int64_t count, int shift)
{
    int64_t places[256] = {0}, next = 0;
    for (int64_t i = 0; i < count; i++)
        places[from[i].key >> shift & 255u]++;
    if (count == 0 || places[from[0].key >> shift & 255u] == count)
        return false;
    for (int digit = 0; digit < 256; digit++) {
        int64_t here = places[digit];
        places[digit] = next;
        next += here;
    }
    for (int64_t i = 0; i < count; i++)
        to[places[from[i].key >> shift & 255u]++] = from[i];
    return true;
}

/* Puts the boxes above the lowest score in order, best first, equal ones as they come. */
static void order_boxes(q8_suppression *job, workspace *space)
{
    int64_t count = 0;
    for (int64_t i = 0; i < job->count; i++)
        if (job->scores[i] > job->lowest)
            space->order[count++] = (entry){falling_key(job->scores[i]), (uint32_t)i};
    entry *from = space->order, *to = space->spare;
    for (int shift = 0; shift < 32; shift += 8)
        if (sort_by_digit(from, to, count, shift)) {
            entry *other = from;
            from = to;
            to = other;
        }
    if (from != space->order && count)
        memcpy(space->order, from, (size_t)count * sizeof *from);
    job->candidates = count;
    job->next = 0;
    job->kept_count = 0;
}

/* ---- overlaps ---- */

static inline float least(float a, float b)
{
    return a < b ? a : b;
}

static inline float greatest(float a, float b)
{
    return a > b ? a : b;
}

/* A box as its corners and area. */
static void corners_of(const q8_suppression *job, int64_t number, float box[COLUMNS])
{
    const float *given = job->boxes + number * CORNERS;
    if (job->is_centered) {
        const float half_w = given[2] / 2.0f, half_h = given[3] / 2.0f;
        box[0] = given[1] - half_h;
        box[1] = given[0] - half_w;
        box[2] = given[1] + half_h;
        box[3] = given[0] + half_w;
    } else {
        for (int d = 0; d < 2; d++) {
            box[d] = least(given[d], given[d + 2]);
            box[d + 2] = greatest(given[d], given[d + 2]);
        }
    }
    box[4] = (box[2] - box[0]) * (box[3] - box[1]);
}

/* 1 if what the box shares with kept box i is no more than the limit allows, else 0. */
static inline int is_apart(const workspace *space, int64_t i, const float box[COLUMNS], float limit)
{
    const float height = least(space->kept[2][i], box[2]) - greatest(space->kept[0][i], box[0]);
    const float width = least(space->kept[3][i], box[3]) - greatest(space->kept[1][i], box[1]);
    const float common = greatest(height, 0.0f) * greatest(width, 0.0f);
    const float all = box[4] + space->kept[4][i] - common;
    return ((all > 0.0f) & (common / all <= limit)) | (!(all > 0.0f) & (0.0f <= limit));
}

static bool may_stay(const workspace *space, int64_t kept, const float box[COLUMNS], float limit)
{
    int64_t i = 0;
    for (; i + UNIT <= kept; i += UNIT) {
        int apart = 0;
        for (int64_t k = 0; k < UNIT; k++)
            apart += is_apart(space, i + k, box, limit);
        if (apart < UNIT)
            return false;
    }
    for (; i < kept; i++)
        if (!is_apart(space, i, box, limit))
            return false;
    return true;
}

int q8_suppress(q8_suppression *job)
{
    if (!job || job->count < 0 || !job->boxes || !job->scores || !job->kept || !job->workspace ||
        job->workspace_bytes < q8_suppress_bytes(job->count) || q8_suppress_bytes(job->count) < 0)
        return Q8_ERROR_ARGUMENT;
    workspace space = workspace_of(job);
    if (job->next < 0)
        order_boxes(job, &space);
    if (job->next > job->candidates || job->candidates > job->count || job->kept_count < 0 ||
        job->kept_count > job->next)
        return Q8_ERROR_ARGUMENT;
    const int64_t limit = q8_least(job->limit, job->count);
    int64_t comparisons = 0;
    for (; job->next < job->candidates && job->kept_count < limit; job->next++) {
        float box[COLUMNS];
        if (comparisons > MOST_COMPARISONS)
            return 1;
        comparisons += job->kept_count;
        const uint32_t number = space.order[job->next].box;
        corners_of(job, number, box);
        if (!may_stay(&space, job->kept_count, box, job->overlap))
            continue;
        for (int i = 0; i < COLUMNS; i++)
            space.kept[i][job->kept_count] = box[i];
        job->kept[job->kept_count++] = number;
    }
    return Q8_OK;
}
