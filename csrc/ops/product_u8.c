/* product_u8.c - the rows of a block in one panel of int8 weights, and what becomes of the
 * accumulators.
 *
 * Codes and accumulators leave the kernel as they are to stay; only floats and weights with a zero
 * point take the way over a small tile of int32:
 *     sum (a - za) (w - zw) = [sum a w - za sum w] - zw sum (a - za)
 * where the bracket is what the kernel computes, za sum w being part of its bias. */
#include <math.h>
#include <string.h>

#include "product.h"

q8_tile_shape q8_tile_shape_of(const q8_gemm_table *gemm)
{
    return (q8_tile_shape){gemm->mr, gemm->nr, gemm->kr, 64, gemm->wants_even_rows,
                           gemm->wants_even_rows ? gemm->most_rows : gemm->mr};
}

int q8_output_check(q8_plan *plan, const q8_output *output, const char *what)
{
    if (output->dtype != Q8_U8 && output->dtype != Q8_S32 && output->dtype != Q8_F32)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: result of type %d", what,
                            (int)output->dtype);
    if (output->table && output->dtype != Q8_U8)
        return q8_plan_fail(plan, Q8_ERROR_ARGUMENT, "%s: a table of results that are no codes",
                            what);
    /* of every type: kernels subtract them before they know whether they are wanted */
    q8_plan_check_code(plan, output->zero_point, what);
    return q8_plan_check_limits(plan, output->low, output->high, what);
}

void q8_output_table(const q8_kernels *kernels, const q8_output *output, size_t rows, size_t n,
                     uint8_t *y, size_t step)
{
    if (!output->table)
        return;
    if (step == n)
        kernels->vec.table(1, rows * n, y, y, 0, output->table);
    else
        kernels->vec.table(rows, n, y, y, step, output->table);
}

void q8_row_sums(const q8_kernels *kernels, const q8_product *product, const q8_block *block,
                 int32_t zero_point, int32_t *sums)
{
    const size_t length = product->gathers ? product->depth : product->k;
    for (size_t i = 0; i < block->rows; i++) {
        uint32_t sum = 0u - (uint32_t)zero_point * (uint32_t)product->depth;
        for (size_t tap = 0; tap < product->taps; tap++)
            sum += (uint32_t)kernels->vec.sum(length, block->a[tap * block->a_step + i]);
        sums[i] = (int32_t)sum;
    }
}

/* A product with a row of ones; where the kernel takes 128 off every code, of 129. */
void q8_panel_sums(const q8_kernels *kernels, const void *panel, size_t n, size_t k, uint8_t *ones,
                   int32_t *sums)
{
    static const int32_t no_bias[256];
    const q8_gemm_table *gemm = kernels->gemm;
    const uint8_t *row = ones;
    memset(ones, gemm->flips_a ? 129 : 1, k);
    const q8_gemm_job job = {.m = 1, .n = n, .taps = 1, .k = k, .a = &row, .a_step = 1, .b = panel,
                             .bias = no_bias, .c = sums, .c_step = n};
    gemm->tile(&job);
}

enum { CHUNK = 8 }; /* divides every nr; a constant count, of which compilers make vectors */

/* acc -= weight_zero_point * row_sum. Chunks run over the columns' end, inside the tile. */
static void correct_row(const q8_panel *panel, uint32_t row_sum, int32_t *restrict acc)
{
    const int32_t *restrict zero_points = panel->weight_zero_point;
    const uint32_t product = (uint32_t)zero_points[0] * row_sum;
    for (size_t first = 0; first < panel->columns; first += CHUNK, acc += CHUNK) {
        if (panel->has_one_zero_point)
            for (size_t i = 0; i < CHUNK; i++)
                acc[i] = (int32_t)((uint32_t)acc[i] - product);
        else
            for (size_t i = 0; i < CHUNK; i++)
                acc[i] = (int32_t)((uint32_t)acc[i] - (uint32_t)zero_points[first + i] * row_sum);
    }
}

static void clamp_codes(size_t n, uint8_t *codes, uint8_t low, uint8_t high)
{
    for (size_t i = 0; (low > 0 || high < 255) && i < n; i++) {
        const uint8_t code = codes[i] > low ? codes[i] : low;
        codes[i] = code < high ? code : high;
    }
}

/* Codes of the floats of one row. */
static void store_rounded_floats(const q8_kernels *kernels, const q8_output *output,
                                 const q8_sums *sums, const int32_t *acc, uint8_t *y)
{
    float values[256];
    for (size_t done = 0, count; done < sums->columns; done += count) {
        count = sums->columns - done < 256 ? sums->columns - done : 256;
        const q8_floats_job job = {
            .rows = 1, .columns = count, .acc = acc + done, .scale = sums->multiplier + done,
            .bias = sums->float_bias ? sums->float_bias + done : NULL, .y = values,
            .low = -INFINITY, .high = INFINITY};
        kernels->vec.accumulators_to_f32(&job);
        kernels->vec.quantize(count, values, y + done, output->scale, output->zero_point);
        clamp_codes(count, y + done, (uint8_t)output->low, (uint8_t)output->high);
    }
}

static void store_floats(const q8_kernels *kernels, const q8_output *output, const q8_sums *sums)
{
    const q8_floats_job job = {
        .rows = sums->rows, .columns = sums->columns, .acc = sums->acc,
        .acc_step = sums->acc_step, .scale = sums->multiplier, .bias = sums->float_bias,
        .residual = sums->residual, .y = sums->y, .y_step = sums->y_step,
        .low = output->float_low, .high = output->float_high, .range = sums->range};
    kernels->vec.accumulators_to_f32(&job);
}

void q8_store_sums(const q8_kernels *kernels, const q8_output *output, const q8_sums *sums)
{
    if (output->dtype == Q8_F32) {
        store_floats(kernels, output, sums);
        return;
    }
    const int32_t *acc = sums->acc;
    uint8_t *y = sums->y;
    const size_t y_bytes = sums->y_step * q8_element_bytes(output->dtype);
    for (size_t i = 0; i < sums->rows; i++, acc += sums->acc_step, y += y_bytes) {
        if (output->dtype == Q8_S32)
            memcpy(y, acc, sums->columns * sizeof *acc);
        else if (sums->over_floats)
            store_rounded_floats(kernels, output, sums, acc, y);
        else
            kernels->vec.requantize(sums->columns, acc, sums->multiplier, y, output->zero_point,
                                    output->low, output->high);
        if (output->sum)
            kernels->vec.add(sums->columns, y, sums->addend + i * sums->y_step, 0, y, output->sum);
    }
}

/* True if the floats of accumulators are all that their function sees. */
static bool are_plain(const q8_panel *panel)
{
    const q8_output *output = panel->output;
    return isinf(output->float_low) && isinf(output->float_high);
}

/* Rows first .. first + rows - 1, a line or the rest of one at a time. */
static void finish_in_lines(const q8_panel *panel, q8_finish_job *job, size_t first, size_t rows)
{
    const q8_lines *lines = panel->lines;
    const uint32_t place = (uint32_t)lines->first + (uint32_t)first, length = (uint32_t)lines->rows;
    size_t column = place % length;
    float *line = (float *)panel->y + place / length * lines->step;
    for (; rows > 0; rows -= job->rows, column = 0, line += lines->step) {
        job->rows = length - column < rows ? length - column : rows;
        job->y = line + column * panel->y_step;
        panel->kernels->f32.finish(job);
        job->acc += job->rows * job->x_step;
        if (job->x)
            job->x += job->rows * job->x_step;
    }
}

/* Floats of a tile, and what becomes of them on their way to y. */
static void store_finished(const q8_panel *panel, q8_sums *sums, size_t first)
{
    const q8_lines *lines = panel->lines;
    q8_finish_job job = {.columns = sums->columns, .acc = sums->acc, .scale = sums->multiplier,
                         .bias = sums->float_bias, .x_step = sums->acc_step,
                         .low = panel->output->float_low, .high = panel->output->float_high,
                         .y_step = panel->y_step, .y_group = lines ? lines->group : 16};
    if (panel->step->function >= 0 && !are_plain(panel)) {
        sums->y = panel->tile;
        sums->y_step = sums->acc_step;
        q8_store_sums(panel->kernels, panel->output, sums);
        job.x = sums->y;
    }
    q8_finish_as(panel->step, panel->range, &job);
    if (lines) {
        finish_in_lines(panel, &job, first, sums->rows);
    } else {
        job.rows = sums->rows;
        job.y = (float *)panel->y + first * panel->y_step;
        panel->kernels->f32.finish(&job);
    }
}

void q8_panel_store(const q8_panel *panel, size_t first, size_t rows)
{
    const size_t nr = panel->kernels->gemm->nr, at = first * panel->y_step;
    const bool has_function = panel->step && panel->step->function >= 0;
    void *y = (uint8_t *)panel->y + at * q8_element_bytes(panel->output->dtype);
    for (size_t i = 0; panel->weight_zero_point && i < rows; i++)
        correct_row(panel, (uint32_t)panel->row_sums[first + i], panel->tile + i * nr);
    q8_sums sums = {
        .rows = rows,
        .columns = panel->columns,
        .acc = panel->tile,
        .acc_step = nr,
        .multiplier = panel->multiplier,
        .float_bias = panel->float_bias,
        .over_floats = panel->over_floats,
        .residual = panel->residual ? panel->residual + at : NULL,
        .addend = panel->addend ? panel->addend + at : NULL,
        .y = y,
        .y_step = panel->y_step,
        .range = has_function ? NULL : panel->range,
    };
    if (panel->lines || (has_function && !panel->residual)) {
        store_finished(panel, &sums, first);
        return;
    }
    q8_store_sums(panel->kernels, panel->output, &sums);
    if (has_function)
        q8_finish_floats(panel->step, panel->kernels, rows, panel->columns, y, panel->y_step,
                         panel->range);
}

/* More weights than this do not stay in the second cache from one block of rows to the next. */
#define MANY_WEIGHTS (512 * 1024)
#define MOST_OF_NEXT (768 * 1024)

q8_ahead q8_ahead_of(const q8_product *product, const q8_run *run, const q8_step *step,
                     size_t panel_bytes, int64_t part)
{
    const int64_t end = q8_product_last_panel(product, run->threads, part);
    const q8_range panels = q8_product_panels(product, run->threads, part);
    const uint8_t *weights = step->weights.at;
    return (q8_ahead){
        .seen = weights + (size_t)panels.first * panel_bytes,
        .end = weights + (size_t)end * panel_bytes,
        .repeats = (size_t)(panels.end - panels.first) * panel_bytes > MANY_WEIGHTS,
        .next = {step->next.at,
                 step->next.count < MOST_OF_NEXT ? step->next.count : MOST_OF_NEXT},
    };
}

/* What to fetch while a panel is used, as many bytes as it has: the next one, unless it has been
 * used before and is still there; then the next step's. NULL: nothing. */
static const uint8_t *fetched_with(const q8_panel *panel)
{
    q8_ahead *ahead = panel->ahead;
    if (!ahead || !panel->kernels->gemm->fetch_jobs)
        return NULL;
    const uint8_t *after = (const uint8_t *)panel->b + panel->panel_bytes;
    if (after < ahead->end && (ahead->repeats || after > ahead->seen))
        return ahead->seen = after;
    const q8_bytes next = ahead->next;
    const size_t count = next.count < panel->panel_bytes ? next.count : panel->panel_bytes;
    if (!count)
        return NULL;
    ahead->next = (q8_bytes){next.at + count, next.count - count};
    return next.at;
}

bool q8_panel_is_final(const q8_panel *panel)
{
    return panel->output->dtype != Q8_F32 && !panel->weight_zero_point && !panel->over_floats;
}

q8_gemm_job q8_panel_job(const q8_panel *panel)
{
    const q8_output *output = panel->output;
    const bool is_final = q8_panel_is_final(panel);
    return (q8_gemm_job){
        .n = panel->columns,
        .taps = panel->product->taps,
        .k = panel->product->k,
        .wide_step = panel->product->taps * panel->product->k,
        .b = panel->b,
        .places = panel->places,
        .bias = panel->bias,
        .multiplier = is_final && output->dtype == Q8_U8 ? panel->multiplier : NULL,
        .is_near = panel->is_near,
        .has_mantissas = panel->has_mantissas,
        .zero_point = output->zero_point,
        .low = output->low,
        .high = output->high,
        .c_step = is_final ? panel->y_step : panel->kernels->gemm->nr,
        .sum = is_final ? output->sum : NULL,
        .addend_step = panel->y_step,
    };
}

/* Of `rows` that are left, those of the next job: the last one is not to be a short one. */
static size_t next_rows(const q8_gemm_table *gemm, size_t rows, size_t most)
{
    if (rows <= most)
        return rows;
    return rows < most + gemm->least_rows ? rows - gemm->least_rows : most;
}

/* So many rows of sums wait for each other, so that what is done to them begins less often; more of
 * them leave the first cache, which is worth it only where short jobs are slow. */
#define LEAST_WAITING_ROWS 48

static size_t most_waiting_rows(const q8_gemm_table *gemm)
{
    const size_t step = gemm->wants_even_rows ? gemm->most_rows : gemm->mr;
    return (LEAST_WAITING_ROWS + step - 1) / step * step;
}

static size_t most_rows(const q8_gemm_table *gemm, bool is_final)
{
    const size_t waiting = most_waiting_rows(gemm);
    return is_final || gemm->most_rows < waiting ? gemm->most_rows : waiting;
}

size_t q8_tile_bytes(const q8_gemm_table *gemm)
{
    return most_waiting_rows(gemm) * gemm->nr * sizeof(int32_t);
}

/* True if the floats that rows become, and what is added to them, are to be fetched before. */
static bool fetches_results(const q8_panel *panel)
{
    const int64_t bytes = panel->product->rows * (int64_t)(panel->y_step * sizeof(float));
    return panel->output->dtype == Q8_F32 && !panel->lines && bytes > Q8_MOST_CACHED_BYTES;
}

static void fetch_results(const q8_panel *panel, size_t first, size_t rows)
{
    const size_t at = first * panel->y_step, bytes = panel->columns * sizeof(float);
    const size_t step = panel->y_step * sizeof(float);
    q8_fetch_rows((const float *)panel->y + at, rows, bytes, step);
    if (panel->residual)
        q8_fetch_rows(panel->residual + at, rows, bytes, step);
}

void q8_panel_run(const q8_panel *panel, const q8_block *block)
{
    const q8_gemm_table *gemm = panel->kernels->gemm;
    const bool is_final = q8_panel_is_final(panel), fetches = fetches_results(panel);
    const size_t row_bytes = panel->y_step * q8_element_bytes(panel->output->dtype);
    const size_t most = most_rows(gemm, is_final), jobs = (block->rows + most - 1) / most;
    const uint8_t *fetched = fetched_with(panel);
    q8_gemm_job job = q8_panel_job(panel);
    job.a_step = block->a_step;
    /* Some jobs fetch a share each, as evenly as it goes: one whenever enough is due. */
    size_t due = jobs, waiting = 0;
    for (size_t first = 0; first < block->rows; first += job.m) {
        job.next = fetched && due >= jobs ? fetched : NULL;
        if (job.next) {
            fetched += panel->panel_bytes / gemm->fetch_jobs;
            due -= jobs;
        }
        due += gemm->fetch_jobs;
        job.m = next_rows(gemm, block->rows - first, most);
        job.a = (const uint8_t *const *)(const void *)(block->a + first);
        job.wide = panel->wide ? panel->wide + first * job.wide_step : NULL;
        job.addend = job.sum ? panel->addend + first * panel->y_step : NULL;
        job.c = is_final ? (uint8_t *)panel->y + first * row_bytes
                         : (uint8_t *)(panel->tile + waiting * gemm->nr);
        if (fetches)
            fetch_results(panel, first, job.m);
        gemm->tile(&job);
        waiting += is_final ? 0 : job.m;
        const size_t end = first + job.m;
        if (waiting && (waiting + most > most_waiting_rows(gemm) || end == block->rows)) {
            q8_panel_store(panel, end - waiting, waiting);
            waiting = 0;
        }
    }
    q8_output_table(panel->kernels, panel->output, block->rows, panel->columns, panel->y,
                    panel->y_step);
}
