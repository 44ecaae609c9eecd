/* random.c - one generator, and fills that prefer the values where kernels break. */
#include <limits.h>
#include <math.h>

#include "check.h"

static uint64_t state;

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

void check_seed(uint64_t seed, const char *name)
{
    state = mix(seed);
    for (; *name; name++)
        state = mix(state ^ (uint64_t)(unsigned char)*name);
}

uint32_t check_random(void)
{
    state += 0x9E3779B97F4A7C15u;
    return (uint32_t)(mix(state) >> 32);
}

uint32_t check_below(uint32_t n)
{
    return (uint32_t)(((uint64_t)check_random() * n) >> 32);
}

int32_t check_between(int32_t low, int32_t high)
{
    return (int32_t)(low + (int64_t)check_below((uint32_t)((int64_t)high - low + 1)));
}

double check_uniform(double low, double high)
{
    return low + (high - low) * (check_random() / 4294967296.0);
}

bool check_one_in(uint32_t n)
{
    return check_below(n) == 0;
}

void check_fill_codes(uint8_t *x, size_t n)
{
    uint32_t pattern = check_below(8);
    for (size_t i = 0; i < n; i++) {
        uint32_t random = check_random();
        switch (pattern) {
        case 0: x[i] = 0; break;
        case 1: x[i] = 255; break;
        case 2: x[i] = random & 256 ? 255 : 0; break;
        case 3: x[i] = random & 3; break;
        case 4: x[i] = (uint8_t)(252 + (random & 3)); break;
        default: x[i] = (uint8_t)random; break;
        }
    }
}

void check_fill_weights(int8_t *w, size_t n)
{
    uint32_t pattern = check_below(8);
    for (size_t i = 0; i < n; i++) {
        uint32_t random = check_random();
        switch (pattern) {
        case 0: w[i] = -128; break;
        case 1: w[i] = 127; break;
        case 2: w[i] = random & 256 ? 127 : -128; break;
        case 3: w[i] = (int8_t)((int)(random & 3) - 128); break;
        case 4: w[i] = (int8_t)(124 + (random & 3)); break;
        default: w[i] = (int8_t)((int)(random & 255) - 128); break;
        }
    }
}

void check_fill_bias(int32_t *bias, size_t n)
{
    uint32_t pattern = check_below(6);
    for (size_t i = 0; i < n; i++) {
        switch (pattern) {
        case 0: bias[i] = 0; break;
        case 1: bias[i] = INT32_MAX - (int32_t)check_below(1000); break;
        case 2: bias[i] = INT32_MIN + (int32_t)check_below(1000); break;
        case 3: bias[i] = check_between(INT32_MIN, INT32_MAX); break;
        default: bias[i] = check_between(-20000, 20000); break;
        }
    }
}

void check_fill_multipliers(float *multiplier, size_t n)
{
    static const float odd[] = {0.0f, -0.25f, 1e-42f, 1e30f, INFINITY, 3.0f, 1.0f};
    uint32_t pattern = check_below(6);
    for (size_t i = 0; i < n; i++) {
        switch (pattern) {
        case 0: multiplier[i] = 0.5f; break;
        case 1: multiplier[i] = ldexpf(1, -(int)check_below(16)); break;
        case 2: multiplier[i] = odd[check_below(sizeof odd / sizeof *odd)]; break;
        default: multiplier[i] = (float)exp2(check_uniform(-20, 0)); break;
        }
    }
}

void check_fill_floats(float *x, size_t n, double magnitude)
{
    uint32_t pattern = check_below(6);
    for (size_t i = 0; i < n; i++) {
        double value = check_uniform(-magnitude, magnitude);
        switch (pattern) {
        case 0: x[i] = check_one_in(2) ? 0.0f : -0.0f; break;
        case 1: x[i] = (float)(value < 0 ? -magnitude : magnitude); break;
        case 2: x[i] = (float)rint(value); break;
        case 3: x[i] = (float)(value * exp2(check_uniform(-30, 0))); break;
        default: x[i] = (float)value; break;
        }
    }
}

int32_t check_draw_zero_point(void)
{
    static const int32_t corners[] = {0, 1, 127, 128, 129, 254, 255};
    return check_one_in(3) ? (int32_t)check_below(256)
                           : corners[check_below(sizeof corners / sizeof *corners)];
}

check_output check_draw_output(void)
{
    check_output out = {check_draw_zero_point(), 0, 255};
    switch (check_below(6)) {
    case 0: out.low = out.zero_point; break;                                /* Relu */
    case 1: out.high = check_between(out.zero_point, 255); break;           /* Relu6 */
    case 2: out.low = out.high = check_one_in(2) ? 0 : 255; break;
    case 3:
        out.low = (int32_t)check_below(256);
        out.high = check_between(out.low, 255);
        break;
    default: break;
    }
    return out;
}

int32_t check_draw_accumulator(float multiplier)
{
    static const int32_t edges[] = {INT32_MIN,     INT32_MIN + 1, INT32_MAX,   INT32_MAX - 1,
                                    (1 << 24) + 1, -(1 << 24) - 1, 0,          -1,
                                    1,             INT32_MAX / 2,  1 << 30};
    if (check_one_in(4))
        return edges[check_below(sizeof edges / sizeof *edges)];
    if (check_one_in(4))
        return check_between(INT32_MIN, INT32_MAX);
    double code = check_between(-300, 300) + (check_one_in(2) ? 0.5 : check_uniform(0, 1));
    double acc = rint(code / (double)multiplier);
    return fabs(acc) < 2e9 ? (int32_t)acc : 0; /* false for NaN too */
}
