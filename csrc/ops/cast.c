/* cast.c - between any two types of tensors.
 *
 * A piece of x is widened to one of three forms (int64, float, double) and then narrowed to y's
 * type. Floats lose their fraction; what int32, int64 or uint64 cannot hold becomes the nearest
 * value that it can, NaN becomes 0, and smaller integers keep the low bits of the int64, on every
 * CPU alike. */
#include <math.h>
#include <string.h>

#include "ops.h"

#define PIECE 512

typedef struct {
    int x, y;
    int64_t per_part;
} cast_state;

/* One piece in its wide form. */
typedef struct {
    q8_dtype form;  /* Q8_S64, Q8_U64 (integers holds its bits), Q8_F32 or Q8_F64 */
    int64_t integers[PIECE];
    float floats[PIECE];
    double doubles[PIECE];
} wide_piece;

/* ---- half floats ---- */

static float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* a where it holds, else b: not by a branch, here and below, so that compilers make vectors. */
static inline uint32_t chosen(bool holds, uint32_t a, uint32_t b)
{
    const uint32_t mask = 0u - (uint32_t)holds;
    return (a & mask) | (b & ~mask);
}

static inline float float_of_half(uint16_t half)
{
    const int32_t rest = half & 0x7FFF;
    const uint32_t rebias = (127u - 15u) << 23, moved = ((uint32_t)rest << 13) + rebias;
    const uint32_t normal = moved + chosen(rest >= 0x7C00, rebias, 0); /* infinity, NaN */
    const uint32_t small = bits_of_float((float)rest * 0x1p-24f); /* 0 and subnormal */
    return float_of_bits((uint32_t)(half & 0x8000u) << 16 | chosen(rest < 0x400, small, normal));
}

/* The half float nearest to a float, ties to even. */
static inline uint16_t half_of_float(float value)
{
    const uint32_t bits = bits_of_float(value), rest = bits & 0x7FFFFFFFu;
    const int32_t size = (int32_t)rest;
    const uint32_t moved = rest - ((127u - 15u) << 23);
    const uint32_t rounded = (moved + 0xFFFu + (moved >> 13 & 1u)) >> 13;
    const uint32_t normal = chosen(size < 0x477FF000, rounded, 0x7C00u); /* 65520 */
    /* Subnormal: the last bit of a number between 0.5 and 1 is worth 2^-24. */
    const uint32_t small = bits_of_float(float_of_bits(rest) + 0.5f) - bits_of_float(0.5f);
    const uint32_t finite = chosen(size < 0x38800000, small, normal);
    return (uint16_t)((bits >> 16 & 0x8000u) | chosen(size > 0x7F800000, 0x7E00u, finite));
}

/* The half float nearest to a double, ties to even: only its last bit is ever rounded. */
static uint16_t half_of_double(double value)
{
    const uint16_t sign = signbit(value) ? 0x8000u : 0;
    const double size = fabs(value);
    if (size != size)
        return sign | 0x7E00u;
    if (size >= 65520.0) /* halfway between the largest half float and the next power of two */
        return sign | 0x7C00u;
    if (size < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)rint(size * 0x1p24));
    int exponent;
    const double fraction = frexp(size, &exponent); /* 0.5 <= fraction < 1 */
    const uint16_t mantissa = (uint16_t)rint(fraction * 0x1p11); /* 1024..2048, a carry included */
    return (uint16_t)(sign | (uint16_t)(((exponent + 13) << 10) + mantissa));
}

static uint16_t brain_of_float(float value)
{
    const uint32_t bits = bits_of_float(value);
    if (value != value)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/* Loops of a known length, of which compilers make vectors, then the rest. */
#define UNIT 16

static void widen_halves(const uint16_t *x, int64_t count, float *y)
{
    int64_t i = 0;
    for (; i + UNIT <= count; i += UNIT)
        for (int64_t k = 0; k < UNIT; k++)
            y[i + k] = float_of_half(x[i + k]);
    for (; i < count; i++)
        y[i] = float_of_half(x[i]);
}

static void narrow_to_halves(const float *x, int64_t count, uint16_t *y)
{
    int64_t i = 0;
    for (; i + UNIT <= count; i += UNIT)
        for (int64_t k = 0; k < UNIT; k++)
            y[i + k] = half_of_float(x[i + k]);
    for (; i < count; i++)
        y[i] = half_of_float(x[i]);
}

/* ---- widening ---- */

#define WIDEN(type, array, to)                                 \
    for (int64_t i = 0; i < count; i++)                        \
        piece->array[i] = (to)((const type *)x)[first + i];    \
    break

static void widen(const void *x, q8_dtype dtype, int64_t first, int64_t count, wide_piece *piece)
{
    piece->form = dtype == Q8_F16 || dtype == Q8_BF16 ? Q8_F32
                  : dtype == Q8_F32 || dtype == Q8_F64 || dtype == Q8_U64 ? dtype : Q8_S64;
    switch (dtype) {
    case Q8_U8: WIDEN(uint8_t, integers, int64_t);
    case Q8_S8: WIDEN(int8_t, integers, int64_t);
    case Q8_S16: WIDEN(int16_t, integers, int64_t);
    case Q8_U16: WIDEN(uint16_t, integers, int64_t);
    case Q8_S32: WIDEN(int32_t, integers, int64_t);
    case Q8_U32: WIDEN(uint32_t, integers, int64_t);
    case Q8_S64: WIDEN(int64_t, integers, int64_t);
    case Q8_U64: WIDEN(uint64_t, integers, int64_t);
    case Q8_F32: WIDEN(float, floats, float);
    case Q8_F64: WIDEN(double, doubles, double);
    case Q8_F16:
        widen_halves((const uint16_t *)x + first, count, piece->floats);
        break;
    case Q8_BF16:
        for (int64_t i = 0; i < count; i++)
            piece->floats[i] = float_of_bits((uint32_t)((const uint16_t *)x)[first + i] << 16);
        break;
    }
}

/* ---- from one wide form to another ---- */

static int64_t integer_of(double value)
{
    if (value != value)
        return 0;
    if (value >= 9223372036854775808.0)
        return INT64_MAX;
    return value <= -9223372036854775808.0 ? INT64_MIN : (int64_t)value;
}

static uint64_t unsigned_of(double value)
{
    if (value >= 18446744073709551616.0)
        return UINT64_MAX;
    return value >= 9223372036854775808.0 ? (uint64_t)value : (uint64_t)integer_of(value);
}

static int64_t clamp_to(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Floats as integers of the type dtype, in an int64 each. */
static void to_integers(wide_piece *piece, q8_dtype dtype, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const double value = piece->form == Q8_F32 ? (double)piece->floats[i] : piece->doubles[i];
        piece->integers[i] = dtype == Q8_U64 ? (int64_t)unsigned_of(value)
                             : dtype == Q8_S32
                                 ? clamp_to(integer_of(value), INT32_MIN, INT32_MAX)
                                 : integer_of(value);
    }
}

static void to_floats(wide_piece *piece, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        piece->floats[i] = piece->form == Q8_F64   ? (float)piece->doubles[i]
                           : piece->form == Q8_U64 ? (float)(uint64_t)piece->integers[i]
                                                   : (float)piece->integers[i];
}

static void to_doubles(wide_piece *piece, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        piece->doubles[i] = piece->form == Q8_F32   ? (double)piece->floats[i]
                            : piece->form == Q8_U64 ? (double)(uint64_t)piece->integers[i]
                                                    : (double)piece->integers[i];
}

static bool is_integer(q8_dtype dtype)
{
    return dtype != Q8_F32 && dtype != Q8_F64 && dtype != Q8_F16 && dtype != Q8_BF16;
}

/* Brings the piece to the wide form that y's type is made from. */
static void change_form(wide_piece *piece, q8_dtype dtype, int64_t count)
{
    const bool is_f64_to_half = dtype == Q8_F16 && piece->form == Q8_F64;
    if (is_integer(dtype)) {
        if (!is_integer(piece->form))
            to_integers(piece, dtype, count);
    } else if (dtype == Q8_F64) {
        if (piece->form != Q8_F64)
            to_doubles(piece, count);
    } else if (piece->form != Q8_F32 && !is_f64_to_half) {
        to_floats(piece, count);
    }
}

/* ---- narrowing ---- */

#define NARROW(type, array)                                      \
    for (int64_t i = 0; i < count; i++)                          \
        ((type *)y)[first + i] = (type)piece->array[i];          \
    break

static void narrow(const wide_piece *piece, void *y, q8_dtype dtype, int64_t first, int64_t count)
{
    const bool is_double = piece->form == Q8_F64;
    switch (dtype) {
    case Q8_U8: NARROW(uint8_t, integers);
    case Q8_S8: NARROW(int8_t, integers);
    case Q8_S16: NARROW(int16_t, integers);
    case Q8_U16: NARROW(uint16_t, integers);
    case Q8_S32: NARROW(int32_t, integers);
    case Q8_U32: NARROW(uint32_t, integers);
    case Q8_S64: NARROW(int64_t, integers);
    case Q8_U64: NARROW(uint64_t, integers);
    case Q8_F32: NARROW(float, floats);
    case Q8_F64: NARROW(double, doubles);
    case Q8_F16:
        if (is_double)
            for (int64_t i = 0; i < count; i++)
                ((uint16_t *)y)[first + i] = half_of_double(piece->doubles[i]);
        else
            narrow_to_halves(piece->floats, count, (uint16_t *)y + first);
        break;
    case Q8_BF16:
        for (int64_t i = 0; i < count; i++)
            ((uint16_t *)y)[first + i] = brain_of_float(piece->floats[i]);
        break;
    }
}

/* ---- the step ---- */

static void run_cast(const q8_step *step, const q8_run *run, int64_t part)
{
    const cast_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x);
    const q8_tensor *y = q8_tensor_of(run, state->y);
    const void *source = q8_read(run, x);
    void *target = q8_write(run, y);
    q8_range range = q8_part_range(part, state->per_part, x->count);
    wide_piece piece;
    for (int64_t first = range.first; first < range.end; first += PIECE) {
        const int64_t count = q8_least(PIECE, range.end - first);
        widen(source, x->dtype, first, count, &piece);
        change_form(&piece, y->dtype, count);
        narrow(&piece, target, y->dtype, first, count);
    }
}

int q8_plan_add_cast(q8_plan *plan, int x, int y)
{
    int64_t count = q8_plan_elementwise(plan, x, -1, y, -1, "cast");
    if (count < 0)
        return (int)count;
    int64_t per_part;
    int64_t parts = q8_split_elements(count, &per_part);
    q8_step *step = q8_plan_append(plan, sizeof(cast_state), parts, run_cast);
    if (!step)
        return plan->status;
    *(cast_state *)step->state = (cast_state){x, y, per_part};
    q8_step_name(step, "cast");
    return Q8_OK;
}
