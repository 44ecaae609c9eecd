/* plan.h - what plan.c, exec.c and the drivers of ops/ share; not seen from outside.
 *
 * A driver file in ops/ has two halves: q8_plan_add_<step>, which checks a descriptor, copies or
 * packs what it points to and appends steps; and a run function, which does one part of a step.
 * Parts are independent pieces of equal meaning (a band of rows, a tile of columns); the executor
 * hands them to threads in any order, with a barrier between steps, and between the rounds of a step
 * whose every round reads what the one before has written. */
#ifndef Q8_PLAN_H
#define Q8_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "q8.h"

#define Q8_MAX_RANK 8
#define Q8_ALIGNMENT 64

/* Sizes go from int64_t to size_t and back. */
_Static_assert(sizeof(size_t) == sizeof(int64_t), "64-bit systems only");

typedef struct {
    q8_dtype dtype;
    int rank;
    int64_t dims[Q8_MAX_RANK];
    int64_t count;        /* elements */
    int64_t bytes;
    int64_t arena_offset; /* -1: bound at run time */
    int bound_index;      /* of a bound tensor, else -1 */
    const void *constant; /* of a constant, else NULL */
} q8_tensor;

typedef struct {
    void *memory;
    int64_t bytes;
} q8_memory_block;

/* What a part sees at run time. */
typedef struct {
    const struct q8_plan *plan;
    uint8_t *arena;
    void *const *bound;
    uint8_t *scratch; /* of this thread, step.scratch_bytes long, 64-byte aligned */
    int threads;      /* of this run: parts are cut for them */
    int64_t round;    /* 0..step.rounds-1 */
    const char **failure; /* what a part could not do: q8_run_failed */
} q8_run;

typedef struct {
    const uint8_t *at;
    size_t count;
} q8_bytes;

typedef struct q8_step {
    void (*run)(const struct q8_step *step, const q8_run *run, int64_t part);
    int64_t parts;        /* >= 1 */
    int64_t rounds;       /* how often all parts are done, one round after the other: 1 or more */
    int64_t (*parts_for)(const struct q8_step *step, int threads); /* NULL: always parts */
    size_t scratch_bytes; /* per thread */
    void *state;          /* the driver's own struct, from q8_plan_allocate */
    char name[64];
    int64_t macs;
    int ranged;           /* the f32 tensor whose range it can find while writing it, or -1 */
    int range;            /* -1, or where to: -low and high, widened by every part */
    int function;         /* -1, or a q8_unary_op of all that it writes to that tensor */
    float alpha, beta;    /* of the function */
    q8_bytes weights;     /* packed, if the step reads them in order from the first on */
    q8_bytes next;        /* the weights of the next step that has some: worth fetching early */
} q8_step;

struct q8_plan {
    const q8_kernels *kernels;
    q8_tensor *tensors;
    int tensor_count, tensor_capacity, bound_count;
    q8_step *steps;
    int step_count, step_capacity;
    q8_memory_block *blocks; /* what q8_plan_allocate gave out lies in them */
    int block_count, block_capacity;
    int64_t block_bytes;
    uint8_t *chunk; /* what is left of the block that larger pieces come from */
    int64_t chunk_bytes;
    uint8_t *arena;      /* tensors, then what q8_plan_reserve promised; each twin has its own */
    int64_t arena_bytes;
    int64_t tensor_bytes, reserved_bytes; /* the two parts of it, multiples of Q8_ALIGNMENT */
    uint8_t *scratch;     /* of all threads: grows when a run asks for more threads */
    size_t scratch_bytes; /* per thread, a multiple of Q8_ALIGNMENT */
    int scratch_threads;
    bool finished;
    bool keeps_numbers;   /* a step writes what is neither in the arena nor bound: no twins */
    bool is_twin;         /* of another plan, which holds everything but arena and scratch */
    q8_status status;     /* first failure while building; later calls return it */
    char error[256];
};

/* Zeroed memory, 64-byte aligned; NULL if there is none or it is more than the machine has. What
 * nobody touches of a large piece takes no room (memory.c). */
#define Q8_LARGE_PAGE (1 << 21)
void *q8_memory(int64_t bytes);
void q8_memory_release(void *memory, int64_t bytes); /* with the bytes that were asked for */
/* Memory that lives as long as the plan, 64-byte aligned, zeroed; sets the error and returns NULL
 * on failure. count * size is checked for overflow. */
void *q8_plan_allocate(q8_plan *plan, int64_t count, size_t size);
/* Room for what a step of a run writes for later steps of the same run, 64-byte aligned: an offset
 * for q8_reserved; 0, with the error set, on failure. */
int64_t q8_plan_reserve(q8_plan *plan, int64_t count, size_t size);
/* Memory as of q8_plan_allocate for what runs write and later runs read: a twin would write it,
 * too, and a plan that has it gets none. */
void *q8_plan_allocate_kept(q8_plan *plan, int64_t count, size_t size);
/* Appends a step with zeroed state of state_bytes; NULL on failure (error is set). */
q8_step *q8_plan_append(q8_plan *plan, size_t state_bytes, int64_t parts,
                        void (*run)(const q8_step *, const q8_run *, int64_t));
/* Ends the present run behind this step with Q8_ERROR_BOUNDS. text: a literal. */
void q8_run_failed(const q8_run *run, const char *text);
void q8_step_name(q8_step *step, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Records the first failure and returns it: its status, not that of later ones. */
int q8_plan_fail(q8_plan *plan, q8_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The tensor if id is valid, has the dtype (-1: any) and rank (-1: any), and the plan is still
 * open; else NULL with the error set, naming `what`. */
const q8_tensor *q8_plan_operand(q8_plan *plan, int id, int dtype, int rank, const char *what);
/* The same for a tensor that is written: constants are refused. */
const q8_tensor *q8_plan_result(q8_plan *plan, int id, int dtype, int rank, const char *what);
/* a * b into *product; false if negative or over INT64_MAX. */
bool q8_multiply(int64_t a, int64_t b, int64_t *product);

static inline const void *q8_read(const q8_run *run, const q8_tensor *tensor)
{
    if (tensor->constant)
        return tensor->constant;
    return tensor->bound_index >= 0 ? run->bound[tensor->bound_index]
                                    : run->arena + tensor->arena_offset;
}
static inline void *q8_write(const q8_run *run, const q8_tensor *tensor)
{
    return tensor->bound_index >= 0 ? run->bound[tensor->bound_index]
                                    : run->arena + tensor->arena_offset;
}
static inline void *q8_reserved(const q8_run *run, int64_t offset)
{
    return run->arena + run->plan->tensor_bytes + offset;
}
/* Steps keep tensor ids, not pointers (the tensor list may move while a plan is built). */
static inline const q8_tensor *q8_tensor_of(const q8_run *run, int id)
{
    return &run->plan->tensors[id];
}

const char *q8_dtype_name(q8_dtype dtype); /* "u8" */

static inline size_t q8_element_bytes(q8_dtype dtype)
{
    switch (dtype) {
    case Q8_U8: case Q8_S8: return 1;
    case Q8_S16: case Q8_U16: case Q8_F16: case Q8_BF16: return 2;
    case Q8_S32: case Q8_U32: case Q8_F32: return 4;
    case Q8_S64: case Q8_U64: case Q8_F64: return 8;
    }
    return 1;
}

/* Splits total rows into parts of at least `least` rows each; *rows_per_part receives the size. */
int64_t q8_split(int64_t total, int64_t least, int64_t *rows_per_part);

/* ---- numpy broadcasting, for binary steps (ops/broadcast.c) ---- */

/* a, b and y as one nest of loops: adjacent dimensions merged, strides 0 where broadcast. */
typedef struct {
    int rank;                       /* >= 1 */
    int64_t dims[Q8_MAX_RANK];
    int64_t a_strides[Q8_MAX_RANK], b_strides[Q8_MAX_RANK];
} q8_broadcast;
/* False if the shapes do not broadcast to y's. */
bool q8_broadcast_of(const q8_tensor *a, const q8_tensor *b, const q8_tensor *y, q8_broadcast *out);

/* ---- geometry of windows (ops/window.c) ---- */

/* A window sliding over [N, H, W, C], shared by convolution and pooling. */
typedef struct {
    int64_t n, h, w, c, oh, ow, oc;
    int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
} q8_window;
/* Of a pooling from x to y. */
q8_window q8_window_of_pool(const q8_pool *pool, const q8_tensor *x, const q8_tensor *y);
/* Checks ranges and overflow; sets the plan's error. */
int q8_window_check(q8_plan *plan, const q8_window *window, const char *what);

/* Where a picture lies and what a tap outside of it sees. */
typedef struct {
    const uint8_t *x;       /* the first wanted channel of pixel 0 */
    const uint8_t *padding; /* pointers: what a tap outside the picture points to */
    uint8_t padding_byte;   /* gather: what it is filled with */
    size_t pixel_bytes;     /* from one pixel to the next */
    size_t channel_bytes;   /* gather: the wanted channels of one pixel */
} q8_picture;

/* Steps in pointers between the taps of a window and between output pixels. */
typedef struct {
    size_t kernel_h_step, kernel_w_step, pixel_step;
} q8_pointer_order;

/* Pointers to what output pixels first..first+count-1 (counted through N, OH and OW) see:
 * pointers[i * pixel_step + kh * kernel_h_step + kw * kernel_w_step]. */
void q8_window_pointers(const q8_window *window, const q8_picture *picture, int64_t first,
                        int64_t count, q8_pointer_order order, const void **pointers);
/* The same pixels copied: row i, of row_bytes, holds kernel_h * kernel_w * channel_bytes bytes in
 * this order; bytes behind them are left as they are. */
void q8_window_gather(const q8_window *window, const q8_picture *picture, int64_t first,
                      int64_t count, size_t row_bytes, uint8_t *rows);

/* Pointers to the lines of the windows, kernel_w * channel_bytes each, for windows without dilation
 * in pictures with channel_bytes == pixel_bytes: pointers[i + kh * step]. A line that reaches over
 * the picture's left or right edge is copied to `copies`, with room for all lines of `count`. */
void q8_window_lines(const q8_window *window, const q8_picture *picture, int64_t first,
                     int64_t count, size_t step, uint8_t *copies, const void **pointers);

/* Pointers of neighbouring output pixels overlap where their windows do: the pointers of a line
 * are one list of columns of the picture, kernel_h pointers each, and pixel p begins at
 * pointers[p * x_step]. Tap number kw * kernel_h + kh of the kernel is pointer number that. */
typedef struct {
    q8_window window;       /* as q8_window_pointers is called */
    q8_pointer_order order;
    int64_t line_columns, pixel_columns, more_columns;
    size_t x_step;
    int64_t pixels;         /* at most so many output pixels at once */
    size_t pointer_bytes;   /* room for their pointers */
} q8_slide;
q8_slide q8_slide_of(const q8_window *window);
/* Output pixel first lies in line first / OW; the count pixels are in the same line. */
void q8_slide_pointers(const q8_slide *slide, const q8_picture *picture, int64_t first,
                       int64_t count, const void **pointers);
/* How many pixels from first on, before end, can be done at once. */
int64_t q8_slide_count(const q8_slide *slide, int64_t first, int64_t end);

/* ---- packing (pack.c) ---- */

/* Codes of K after padding to the table's kr. */
size_t q8_padded_k(const q8_gemm_table *table, size_t k);
size_t q8_panel_bytes(const q8_gemm_table *table, size_t taps, size_t k);
/* What a panel is made of: n columns (n <= nr) of w(tap, p, column) = w[column * column_step + tap *
 * tap_step + p * k_step], less 128 if w holds uint8. k_step or column_step is 1. */
typedef struct {
    size_t n, taps, k;
    const int8_t *w;
    size_t column_step, tap_step, k_step;
    bool is_unsigned;
} q8_panel_weights;
/* Into one panel; see kernels.h. sums: NULL, or receives each column's sum [n]. */
void q8_pack_panel(const q8_gemm_table *table, const q8_panel_weights *weights, void *panel,
                   int32_t *sums);
/* sums[j] = sum of column j, whose weights are all in a panel of steps of four */
void q8_sum_steps(const q8_gemm_table *table, const q8_panel_weights *weights, const uint8_t *panel,
                  size_t steps, int32_t *sums);

/* ---- packing in places (pack_places.c), for tables with mark_wide; see kernels.h ---- */

/* Steps of all taps; 0: there are no places for such weights. */
size_t q8_count_steps(const q8_gemm_table *table, const q8_panel_weights *weights);
/* Bytes of a panel of so many steps. */
size_t q8_placed_bytes(const q8_gemm_table *table, size_t steps);
/* The steps, and their places: taps + steps of them; the sum of each column's weights. */
void q8_pack_places(const q8_gemm_table *table, const q8_panel_weights *weights, uint16_t *places,
                    uint8_t *panel, int32_t *sums);

/* ---- threads (threads.c) ---- */

#define Q8_MAX_THREADS 256

/* Calls work(context, part, thread) for every part in 0..parts-1 on up to `threads` threads, the
 * caller's included, and returns when all are done. One pool per process, made at first use and
 * again after a fork; a second caller at the same time runs its parts alone. */
void q8_parallel(int threads, int64_t parts, void (*work)(void *context, int64_t part, int thread),
                 void *context);
/* Of `parts` parts, thread t of `threads` gets those from parts * t / threads on, unless others are
 * done before it is: the end of the share that `part` is in. */
int64_t q8_share_end(int64_t part, int64_t parts, int threads);
/* The part that is as far from the end of this share as `part` is from its beginning: for those who
 * read first what was written last, and is still in the cache. */
int64_t q8_part_from_end(int64_t part, int64_t parts, int threads);
int64_t q8_nanoseconds(void); /* of a clock that only goes forward */

#endif
