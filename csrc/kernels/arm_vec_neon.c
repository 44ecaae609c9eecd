/* arm_vec_neon.c - whatever walks a row of codes, with NEON.
 *
 * Sixteen codes at a time; what is left at the end is the reference's, which is a loop over
 * requant.h. */
#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include "arm_requant.h"

/* ---- between codes and numbers ---- */

static void quantize(size_t n, const float *x, uint8_t *y, float scale, int32_t zero_point)
{
    code_limits limits = limits_of(zero_point, 0, 255);
    float32x4_t divisor = vdupq_n_f32(scale);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        int32x4_t codes[4];
        Q8_UNROLL
        for (size_t v = 0; v < 4; v++)
            codes[v] = round_to_code(vdivq_f32(vld1q_f32(x + i + 4 * v), divisor), limits);
        vst1q_u8(y + i, narrow_16(codes[0], codes[1], codes[2], codes[3]));
    }
    q8_vec_scalar.quantize(n - i, x + i, y + i, scale, zero_point);
}

/* 16-bit numbers as floats, exactly. */
Q8_BODY float32x4_t low_as_float(int16x8_t x)
{
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(x)));
}

Q8_BODY float32x4_t high_as_float(int16x8_t x)
{
    return vcvtq_f32_s32(vmovl_high_s16(x));
}

/* Codes less a zero point, the first eight and the last eight of sixteen. */
Q8_BODY int16x8_t low_less(uint8x16_t x, uint8x16_t zero_point)
{
    return vreinterpretq_s16_u16(vsubl_u8(vget_low_u8(x), vget_low_u8(zero_point)));
}

Q8_BODY int16x8_t high_less(uint8x16_t x, uint8x16_t zero_point)
{
    return vreinterpretq_s16_u16(vsubl_high_u8(x, zero_point));
}

static void dequantize(size_t n, const uint8_t *x, float *y, float scale, int32_t zero_point)
{
    float32x4_t factor = vdupq_n_f32(scale);
    uint8x16_t zero = vdupq_n_u8((uint8_t)zero_point);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint8x16_t codes = vld1q_u8(x + i);
        int16x8_t first = low_less(codes, zero), last = high_less(codes, zero);
        vst1q_f32(y + i, vmulq_f32(low_as_float(first), factor));
        vst1q_f32(y + i + 4, vmulq_f32(high_as_float(first), factor));
        vst1q_f32(y + i + 8, vmulq_f32(low_as_float(last), factor));
        vst1q_f32(y + i + 12, vmulq_f32(high_as_float(last), factor));
    }
    q8_vec_scalar.dequantize(n - i, x + i, y + i, scale, zero_point);
}

static void requantize_row(size_t n, const int32_t *acc, const float *multiplier, uint8_t *y,
                           int32_t zero_point, int32_t low, int32_t high)
{
    code_limits limits = limits_of(zero_point, low, high);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        int32x4_t left = requantize(vld1q_s32(acc + i), vld1q_f32(multiplier + i), limits);
        int32x4_t right = requantize(vld1q_s32(acc + i + 4), vld1q_f32(multiplier + i + 4), limits);
        vst1_u8(y + i, narrow_8(left, right));
    }
    q8_vec_scalar.requantize(n - i, acc + i, multiplier + i, y + i, zero_point, low, high);
}

/* Comparisons and not maxnm: they agree with the reference about the sign of zero, too. */
Q8_BODY float32x4_t lesser(float32x4_t value, float32x4_t other)
{
    return vbslq_f32(vcltq_f32(value, other), value, other);
}

Q8_BODY float32x4_t greater(float32x4_t value, float32x4_t other)
{
    return vbslq_f32(vcgtq_f32(value, other), value, other);
}

/* All rows of four columns. Where there is no bias, -0 is what changes no sum. */
static void float_columns(const q8_floats_job *job, size_t j, float32x4_t range[2])
{
    const float32x4_t scale = vld1q_f32(job->scale + j);
    const float32x4_t bias = job->bias ? vld1q_f32(job->bias + j) : vdupq_n_f32(-0.0f);
    const float32x4_t low = vdupq_n_f32(job->low), high = vdupq_n_f32(job->high);
    for (size_t i = 0; i < job->rows; i++) {
        const size_t at = i * job->y_step + j;
        float32x4_t value = vcvtq_f32_s32(vld1q_s32(job->acc + i * job->acc_step + j));
        value = vaddq_f32(vmulq_f32(value, scale), bias);
        if (job->residual)
            value = vaddq_f32(value, vld1q_f32(job->residual + at));
        value = lesser(greater(value, low), high);
        vst1q_f32(job->y + at, value);
        range[0] = lesser(value, range[0]);
        range[1] = greater(value, range[1]);
    }
}

static void accumulators_to_f32(const q8_floats_job *job)
{
    q8_floats_job rest = *job;
    float32x4_t range[2] = {vdupq_n_f32(0.0f), vdupq_n_f32(0.0f)};
    size_t j = 0;
    for (; j + 4 <= job->columns; j += 4)
        float_columns(job, j, range);
    if (job->range) {
        const float low = vminnmvq_f32(range[0]), high = vmaxnmvq_f32(range[1]);
        job->range[0] = low < job->range[0] ? low : job->range[0];
        job->range[1] = high > job->range[1] ? high : job->range[1];
    }
    rest.columns -= j;
    rest.acc += j;
    rest.scale += j;
    rest.bias = job->bias ? job->bias + j : NULL;
    rest.residual = job->residual ? job->residual + j : NULL;
    rest.y += j;
    q8_vec_scalar.accumulators_to_f32(&rest);
}

/* ---- between codes ---- */

typedef struct {
    uint8x16x4_t first, second, third, fourth;
} entries;

/* Four look-ups among 64 bytes each; an index outside gives 0 in the first, and leaves the result
 * alone in the others. */
static inline uint8x16_t look_up(const entries *table, uint8x16_t index)
{
    uint8x16_t codes = vqtbl4q_u8(table->first, index);
    codes = vqtbx4q_u8(codes, table->second, vsubq_u8(index, vdupq_n_u8(64)));
    codes = vqtbx4q_u8(codes, table->third, vsubq_u8(index, vdupq_n_u8(128)));
    return vqtbx4q_u8(codes, table->fourth, vsubq_u8(index, vdupq_n_u8(192)));
}

/* Two times 8 codes. y may be x, and the two may overlap: both are read before one is written. */
static inline void look_up_halves(const entries *table, const uint8_t *x, uint8_t *y, size_t other)
{
    const uint8x16_t codes = look_up(table, vcombine_u8(vld1_u8(x), vld1_u8(x + other)));
    vst1_u8(y, vget_low_u8(codes));
    vst1_u8(y + other, vget_high_u8(codes));
}

/* Rows are those of a tile, mostly: of 8 codes, they go in pairs. */
static void table(size_t rows, size_t n, const uint8_t *x, uint8_t *y, size_t step,
                  const uint8_t *table)
{
    const entries all = {vld1q_u8_x4(table), vld1q_u8_x4(table + 64), vld1q_u8_x4(table + 128),
                         vld1q_u8_x4(table + 192)};
    for (; n == 8 && rows >= 2; rows -= 2, x += 2 * step, y += 2 * step)
        look_up_halves(&all, x, y, step);
    for (size_t row = 0; row < rows; row++, x += step, y += step) {
        size_t i = 0;
        for (; i + 16 <= n; i += 16)
            vst1q_u8(y + i, look_up(&all, vld1q_u8(x + i)));
        if (n - i >= 8) {
            look_up_halves(&all, x + i, y + i, n - i - 8);
            i = n;
        }
        q8_vec_scalar.table(1, n - i, x + i, y + i, 0, table);
    }
}

static void interleave_3(size_t n, const uint8_t *x, size_t x_step, uint8_t *y)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        /* A variable: clang's vst3q_u8 is a macro, which the commas of a literal would break. */
        uint8x16x3_t lines = {{vld1q_u8(x + i), vld1q_u8(x + x_step + i),
                               vld1q_u8(x + 2 * x_step + i)}};
        vst3q_u8(y + 3 * i, lines);
    }
    q8_vec_scalar.interleave_3(n - i, x + i, x_step, y + 3 * i);
}

/* Two codes less their zero points -> the result's code, four at a time. */
typedef struct {
    float32x4_t a_multiplier, b_multiplier;
    code_limits limits;
} binary_constants;

typedef int32x4_t (*binary_operation)(int16x4_t a, int16x4_t b, const binary_constants *constants);

Q8_BODY int32x4_t add_four(int16x4_t a, int16x4_t b, const binary_constants *constants)
{
    float32x4_t left = vmulq_f32(vcvtq_f32_s32(vmovl_s16(a)), constants->a_multiplier);
    float32x4_t right = vmulq_f32(vcvtq_f32_s32(vmovl_s16(b)), constants->b_multiplier);
    return round_to_code(vaddq_f32(left, right), constants->limits);
}

Q8_BODY int32x4_t mul_four(int16x4_t a, int16x4_t b, const binary_constants *constants)
{
    return requantize(vmull_s16(a, b), constants->a_multiplier, constants->limits);
}

/* The part of a row that is whole vectors of sixteen; b_step is 0 or 1. Returns its length. */
Q8_BODY size_t binary_vectors(size_t n, const uint8_t *a, const uint8_t *b, size_t b_step,
                              uint8_t *y, const q8_binary_params *params,
                              binary_operation operation)
{
    const binary_constants constants = {
        vdupq_n_f32(params->a_multiplier),
        vdupq_n_f32(params->b_multiplier),
        limits_of(params->zero_point, params->low, params->high),
    };
    uint8x16_t a_zero = vdupq_n_u8((uint8_t)params->a_zero_point);
    uint8x16_t b_zero = vdupq_n_u8((uint8_t)params->b_zero_point);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint8x16_t left = vld1q_u8(a + i), right = vld1q_u8(b + i * b_step);
        int16x8_t a0 = low_less(left, a_zero), a1 = high_less(left, a_zero);
        int16x8_t b0 = low_less(right, b_zero), b1 = high_less(right, b_zero);
        int32x4_t c0 = operation(vget_low_s16(a0), vget_low_s16(b0), &constants);
        int32x4_t c1 = operation(vget_high_s16(a0), vget_high_s16(b0), &constants);
        int32x4_t c2 = operation(vget_low_s16(a1), vget_low_s16(b1), &constants);
        int32x4_t c3 = operation(vget_high_s16(a1), vget_high_s16(b1), &constants);
        vst1q_u8(y + i, narrow_16(c0, c1, c2, c3));
    }
    return i;
}

/* One code sixteen times: b of a row whose b is a scalar, read before y is written. */
typedef struct {
    uint8_t codes[16];
} sixteen;

static inline sixteen repeat(uint8_t code)
{
    sixteen copies;
    vst1q_u8(copies.codes, vdupq_n_u8(code));
    return copies;
}

static void add(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params)
{
    size_t b_step = !b_is_scalar;
    sixteen copies = repeat(n ? b[0] : 0);
    b = b_is_scalar ? copies.codes : b;
    size_t i = binary_vectors(n, a, b, b_step, y, params, add_four);
    q8_vec_scalar.add(n - i, a + i, b + i * b_step, b_is_scalar, y + i, params);
}

static void mul(size_t n, const uint8_t *a, const uint8_t *b, int b_is_scalar, uint8_t *y,
                const q8_binary_params *params)
{
    size_t b_step = !b_is_scalar;
    sixteen copies = repeat(n ? b[0] : 0);
    b = b_is_scalar ? copies.codes : b;
    size_t i = binary_vectors(n, a, b, b_step, y, params, mul_four);
    q8_vec_scalar.mul(n - i, a + i, b + i * b_step, b_is_scalar, y + i, params);
}

Q8_BODY int32x4_t lerp_four(int16x4_t a, int16x4_t difference, float32x4_t fraction,
                            code_limits limits)
{
    float32x4_t change = vmulq_f32(vcvtq_f32_s32(vmovl_s16(difference)), fraction);
    return round_to_code(vaddq_f32(vcvtq_f32_s32(vmovl_s16(a)), change), limits);
}

static void lerp(size_t n, const uint8_t *a, const uint8_t *b, float fraction, uint8_t *y)
{
    code_limits limits = limits_of(0, 0, 255);
    float32x4_t weight = vdupq_n_f32(fraction);
    uint8x16_t zero = vdupq_n_u8(0);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint8x16_t left = vld1q_u8(a + i), right = vld1q_u8(b + i);
        int16x8_t a0 = low_less(left, zero), a1 = high_less(left, zero);
        int16x8_t d0 = low_less(right, left), d1 = high_less(right, left);
        int32x4_t c0 = lerp_four(vget_low_s16(a0), vget_low_s16(d0), weight, limits);
        int32x4_t c1 = lerp_four(vget_high_s16(a0), vget_high_s16(d0), weight, limits);
        int32x4_t c2 = lerp_four(vget_low_s16(a1), vget_low_s16(d1), weight, limits);
        int32x4_t c3 = lerp_four(vget_high_s16(a1), vget_high_s16(d1), weight, limits);
        vst1q_u8(y + i, narrow_16(c0, c1, c2, c3));
    }
    q8_vec_scalar.lerp(n - i, a + i, b + i, fraction, y + i);
}

/* ---- over a row ---- */

/* A comparison with NaN is false, whatever the NaN; minnm would hand a signalling one on. */
static void min_max(size_t n, const float *x, float *low, float *high)
{
    float32x4_t least[2] = {vdupq_n_f32(*low), vdupq_n_f32(*low)};
    float32x4_t greatest[2] = {vdupq_n_f32(*high), vdupq_n_f32(*high)};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        Q8_UNROLL
        for (size_t v = 0; v < 2; v++) {
            float32x4_t value = vld1q_f32(x + i + 4 * v);
            least[v] = lesser(value, least[v]);
            greatest[v] = greater(value, greatest[v]);
        }
    }
    *low = vminnmvq_f32(vminnmq_f32(least[0], least[1]));
    *high = vmaxnmvq_f32(vmaxnmq_f32(greatest[0], greatest[1]));
    q8_vec_scalar.min_max(n - i, x + i, low, high);
}

/* Pairs of codes go to 16 bits, at most 128 times 510, and from there to 32. */
static int32_t sum(size_t n, const uint8_t *x)
{
    uint32x4_t total = vdupq_n_u32(0);
    size_t i = 0;
    while (i + 16 <= n) {
        uint16x8_t part = vdupq_n_u16(0);
        for (size_t count = 0; count < 128 && i + 16 <= n; count++, i += 16)
            part = vpadalq_u8(part, vld1q_u8(x + i));
        total = vpadalq_u16(total, part);
    }
    return (int32_t)(vaddvq_u32(total) + (uint32_t)q8_vec_scalar.sum(n - i, x + i));
}

const q8_vec_table q8_vec_neon = {
    .quantize = quantize,
    .dequantize = dequantize,
    .requantize = requantize_row,
    .accumulators_to_f32 = accumulators_to_f32,
    .table = table,
    .interleave_3 = interleave_3,
    .add = add,
    .mul = mul,
    .min_max = min_max,
    .sum = sum,
    .lerp = lerp,
};

#endif
