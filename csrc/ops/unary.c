/* unary.c - float functions of one tensor, element by element. */
#include "ops.h"

#define PIECE 2048 /* floats that stay in the first cache until they are finished */

typedef struct {
    int op, x, y;
    float alpha, beta;
    int64_t per_part;
} unary_state;

static void run_unary(const q8_step *step, const q8_run *run, int64_t part)
{
    const unary_state *state = step->state;
    const q8_tensor *x = q8_tensor_of(run, state->x);
    q8_range range = q8_part_range(part, state->per_part, x->count);
    const float *source = q8_read(run, x);
    float *target = q8_write(run, q8_tensor_of(run, state->y));
    const q8_kernels *kernels = run->plan->kernels;
    float found[2] = {0.0f, 0.0f};
    for (int64_t at = range.first; at < range.end; at += PIECE) {
        const size_t count = (size_t)q8_least(PIECE, range.end - at);
        kernels->f32.unary(state->op, count, source + at, target + at, state->alpha, state->beta);
        q8_finish_floats(step, kernels, 1, count, target + at, count, found);
    }
    q8_widen_range(step, run, found);
}

int q8_plan_add_unary_f32(q8_plan *plan, int op, int x, int y, float alpha, float beta)
{
    int64_t count = q8_plan_elementwise(plan, x, Q8_F32, y, Q8_F32, "unary");
    if (count < 0)
        return (int)count;
    if (op < Q8_UNARY_CLAMP || op > Q8_UNARY_COS)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "unary: no operation %d", op);
    int64_t per_part;
    int64_t parts = q8_split_elements(count, &per_part);
    q8_step *step = q8_plan_append(plan, sizeof(unary_state), parts, run_unary);
    if (!step)
        return plan->status;
    *(unary_state *)step->state = (unary_state){op, x, y, alpha, beta, per_part};
    step->ranged = y;
    static const char *const names[] = {
        "clamp",      "sigmoid",    "tanh",  "exp",          "log",        "sqrt",
        "neg",        "abs",        "erf",   "reciprocal",   "leaky_relu", "elu",
        "hard_sigmoid", "hard_swish", "silu",  "gelu",         "gelu_tanh",  "softplus",
        "floor",      "ceil",       "round", "affine", "sin", "cos"};
    q8_step_name(step, "%s f32 %s", names[op], plan->kernels->name);
    return Q8_OK;
}
