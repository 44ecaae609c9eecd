/* selftest_session.c - one run of the selftest: its random values, and what a comparison says. */
#include "selftest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const size_t q8_selftest_lengths[] = {0,  1,  2,  3,  4,  5,  7,  8,  9,  12, 15,  16,  17,  23, 31,
                                      32, 33, 40, 47, 48, 49, 63, 64, 65, 95, 127, 128, 129, 1000};
const int q8_selftest_length_count = sizeof q8_selftest_lengths / sizeof q8_selftest_lengths[0];

/* ---- values ---- */

/* xorshift64*, never 0. */
uint32_t q8_selftest_random(q8_selftest_session *session)
{
    session->random ^= session->random >> 12;
    session->random ^= session->random << 25;
    session->random ^= session->random >> 27;
    return (uint32_t)((session->random * 0x2545F4914F6CDD1Du) >> 32);
}

void q8_selftest_fill_codes(q8_selftest_session *session, uint8_t *codes, size_t n)
{
    uint32_t extremes = q8_selftest_random(session) % 3;
    for (size_t i = 0; i < n; i++) {
        uint32_t value = q8_selftest_random(session);
        codes[i] = (uint8_t)value;
        if (extremes == 1)
            codes[i] = value & 256 ? 255 : 0;
        else if (extremes == 2)
            codes[i] = value & 256 ? 127 : 128;
    }
}

void q8_selftest_fill_floats(q8_selftest_session *session, float *values, size_t n, float range)
{
    bool is_tiny = q8_selftest_random(session) % 8 == 0;
    for (size_t i = 0; i < n; i++) {
        int32_t value = (int32_t)q8_selftest_random(session);
        values[i] = (float)value * (1.0f / 2147483648.0f) * (is_tiny ? 1e-3f * range : range);
        if (value % 16 == 0)
            values[i] = rintf(values[i] * 2) / 2; /* ties of rounding, and zeros */
    }
}

/* ---- comparing ---- */

static void describe(q8_selftest_session *session, const char *kernel, size_t n, const char *unit,
                     size_t index, double want, double got)
{
    if (session->failed)
        return;
    session->failed = true;
    if (session->text && session->text_bytes)
        snprintf(session->text, session->text_bytes,
                 "%s of %s, row of %zu: %s %zu is %.9g, the reference has %.9g", kernel,
                 session->tested->name, n, unit, index, got, want);
}

void q8_selftest_clear(q8_selftest_session *session)
{
    memset(session->space->want, 0xA5, Q8_SELFTEST_BYTES);
    memset(session->space->got, 0xA5, Q8_SELFTEST_BYTES);
}

void q8_selftest_same(q8_selftest_session *session, const char *kernel, size_t n)
{
    const q8_selftest_space *space = session->space;
    session->comparisons++;
    if (memcmp(space->want, space->got, Q8_SELFTEST_BYTES) == 0)
        return;
    size_t i = 0;
    while (space->want[i] == space->got[i])
        i++;
    describe(session, kernel, n, "byte", i, space->want[i], space->got[i]);
}

void q8_selftest_close(q8_selftest_session *session, const char *kernel, size_t n, float absolute,
                       float relative)
{
    const float *want = (const float *)(const void *)session->space->want;
    const float *got = (const float *)(const void *)session->space->got;
    session->comparisons++;
    for (size_t i = 0; i < n; i++) {
        bool is_close = fabsf(want[i] - got[i]) <= absolute + relative * fabsf(want[i]);
        if (!is_close && want[i] != got[i] && !(isnan(want[i]) && isnan(got[i])))
            describe(session, kernel, n, "element", i, want[i], got[i]);
    }
    if (memcmp(want + n, got + n, Q8_SELFTEST_BYTES - n * sizeof *want) != 0)
        describe(session, kernel, n, "element", n, want[n], got[n]);
}
