/* Fused elementwise kernels around the integer products of a training step: one pass over each row.

   Arrays are dense and row-major. `planes` are the digits of `bitnet.ternary.digits`, the greatest first. Every sum runs
   within a row or within a block of fixed size, so the result does not depend on the number of threads. A NaN makes
   its row's unit and all column units NaN. */

#include "rows.h"

#define BLOCK 4096

static float at_least(float a, float b) { return a < b ? b : a; } /* NaN if a is NaN */

static float limit(long planes) { return planes == 3 ? 0x7F7F00 : 0x7F00; }

static float joined(const int32_t *sums, long planes, long step) {
    float value = (float)sums[0] * 256.0f + (float)sums[step];
    return planes == 3 ? value * 256.0f + (float)sums[2 * step] : value;
}

static void write_digits(float value, long planes, int8_t *out, long step) {
    int32_t rest = (int32_t)rintf(value);
    if (planes == 3) {
        int8_t low = (int8_t)rest;
        out[2 * step] = low;
        rest = (rest - low) >> 8;
    }
    int8_t low = (int8_t)rest;
    out[step] = low;
    out[0] = (int8_t)((rest - low) >> 8);
}

/* w (groups, size) → integers −1, 0, 1 and the scale 1 / mean|w| of each group. */
void ternary(const float *w, long groups, long size, float least, int8_t *integers, float *scale, int threads) {
    long blocks = (size + BLOCK - 1) / BLOCK;
    double *part = malloc(sizeof(double) * groups * blocks);
    PARALLEL EACH(b, groups * blocks) {
        const float *from = w + b / blocks * size + b % blocks * BLOCK;
        long count = b % blocks == blocks - 1 ? size - (blocks - 1) * BLOCK : BLOCK;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (long i = 0; i < count; i++) sum += fabsf(from[i]);
        part[b] = sum;
    }
    EACH(g, groups) {
        double sum = 0;
        EACH(b, blocks) sum += part[g * blocks + b];
        scale[g] = 1.0f / at_least((float)(sum / size), least);
    }
    free(part);
    PARALLEL EACH(b, groups * blocks) {
        long start = b / blocks * size + b % blocks * BLOCK;
        long count = b % blocks == blocks - 1 ? size - (blocks - 1) * BLOCK : BLOCK;
        float by = scale[b / blocks];
        SIMD EACH(i, count) {
            float value = w[start + i] * by;
            value = value > 1 ? 1 : value < -1 ? -1 : value;
            integers[start + i] = (int8_t)(int32_t)rintf(value);
        }
    }
}

/* x (rows, width) → integers of RMSNorm(x), their scale, and 1 / root mean square. */
void norm_quantize(const float *x, long rows, long width, float eps, float least, int8_t *integers, float *scale,
                   float *rstd, int threads) {
    PARALLEL EACH(n, rows) {
        const float *from = x + n * width;
        int8_t *to = integers + n * width;
        float sum = 0, largest = 0;
#pragma omp simd reduction(+ : sum) reduction(max : largest)
        for (long i = 0; i < width; i++) {
            float size = fabsf(from[i]);
            sum += size * size;
            largest = size > largest ? size : largest;
        }
        rstd[n] = 1.0f / sqrtf(sum / width + eps);
        scale[n] = 127.0f / at_least(largest * rstd[n], least);
        float by = scale[n] * rstd[n];
        SIMD EACH(i, width) to[i] = (int8_t)(int32_t)rintf(from[i] * by);
    }
}

/* sums (rows, width) ÷ the scales of both factors, plus an optional `residual`. */
void unscale(const int32_t *sums, long rows, long width, const float *scale, const float *w_scale,
             const float *residual, float *y, int threads) {
    PARALLEL EACH(n, rows) {
        float step = 1.0f / (scale[n] * w_scale[0]);
        const int32_t *from = sums + n * width;
        const float *plus = residual + n * width;
        float *to = y + n * width;
        SIMD EACH(i, width) to[i] = plus[i] + (float)from[i] * step;
    }
}

/* sums (rows, 3, width) ÷ their scales; queries and keys are rotated by turns (length, size / 2, 2). The first row has
   position `start`. */
void unscale_turned(const int32_t *sums, long rows, long width, const float *scale, const float *w_scale,
                    const float *turns, long start, long length, long size, float *y, int threads) {
    PARALLEL EACH(n, rows) {
        const float *turn = turns + (start + n) % length * size;
        EACH(part, 3) {
            float step = 1.0f / (scale[n] * w_scale[part]);
            const int32_t *from = sums + (3 * n + part) * width;
            float *to = y + (3 * n + part) * width;
            if (part == 2) {
                SIMD EACH(i, width) to[i] = (float)from[i] * step;
                continue;
            }
            for (long h = 0; h < width; h += size)
                SIMD EACH(i, size / 2) {
                    float a = (float)from[h + 2 * i] * step, b = (float)from[h + 2 * i + 1] * step;
                    to[h + 2 * i] = a * turn[2 * i] - b * turn[2 * i + 1];
                    to[h + 2 * i + 1] = a * turn[2 * i + 1] + b * turn[2 * i];
                }
        }
    }
}

/* p = relu(sums ÷ scales) and the integers of RMSNorm(p²) with their scale and 1 / root mean square. */
void squared_relu_quantize(const int32_t *sums, long rows, long width, const float *scale, const float *w_scale,
                           float eps, float least, float *p, int8_t *integers, float *z_scale, float *z_rstd,
                           int threads) {
    PARALLEL EACH(n, rows) {
        float step = 1.0f / (scale[n] * w_scale[0]), sum = 0, largest = 0;
        const int32_t *from = sums + n * width;
        float *positive = p + n * width;
        int8_t *to = integers + n * width;
#pragma omp simd reduction(+ : sum) reduction(max : largest)
        for (long i = 0; i < width; i++) {
            float value = (float)from[i] * step;
            value = value < 0 ? 0 : value;
            positive[i] = value;
            largest = value > largest ? value : largest;
            value *= value;
            sum += value * value;
        }
        z_rstd[n] = 1.0f / sqrtf(sum / width + eps);
        z_scale[n] = 127.0f / at_least(largest * largest * z_rstd[n], least);
        float by = z_scale[n] * z_rstd[n];
        SIMD EACH(i, width) to[i] = (int8_t)(int32_t)rintf(positive[i] * positive[i] * by);
    }
}

#if defined(__GNUC__) && !defined(__clang__)
#define ALONE __attribute__((noipa)) /* GCC's copy for one group would lose its vectors and run five times longer */
#else
#define ALONE
#endif

/* The digits and unit of one row; updates the largest |value · factor| of each column. */
ALONE static void digits_of_row(const float *g, long width, long groups, const float *w_scale, float factor,
                                long planes, int8_t *out, float *unit, float *column) {
    long each = width / groups;
    float largest = 0, sound = 0;
    EACH(k, groups) {
        float by = 1.0f / w_scale[k];
        const float *from = g + k * each;
#pragma omp simd reduction(+ : sound) reduction(max : largest)
        for (long i = 0; i < each; i++) {
            float value = fabsf(from[i]) * by;
            sound += value - value;
            largest = value > largest ? value : largest;
        }
    }
    SIMD EACH(i, width) {
        float value = fabsf(g[i]) * factor;
        column[i] = value > column[i] ? value : column[i];
    }
    column[width] += sound;
    *unit = largest / limit(planes) + sound;
    float whole = largest > 0 ? limit(planes) / largest : 0;
    EACH(k, groups) {
        float by = whole / w_scale[k];
        const float *from = g + k * each;
        int8_t *to = out + k * each;
        if (planes == 3) {
            SIMD EACH(i, each) write_digits(from[i] * by, 3, to + i, width);
        } else {
            SIMD EACH(i, each) write_digits(from[i] * by, 2, to + i, width);
        }
    }
}

static float *row_of_zeros(long width) { /* on a cache line's boundary */
    size_t size = (width * sizeof(float) + 63) / 64 * 64;
    return memset(aligned_alloc(64, size), 0, size);
}

static void merge(float *into, const float *from, long width) {
#pragma omp critical
    {
        SIMD EACH(i, width) into[i] = from[i] > into[i] ? from[i] : into[i];
        into[width] += from[width];
    }
}

/* g (rows, width) ÷ the scale of each group of columns → digits (rows, planes, width) and a unit per row; `column`
   (width + 1) receives the largest |g ÷ scale| of each column. */
void row_digits(const float *g, long rows, long width, long groups, const float *w_scale, const float *scale,
                long planes, int8_t *digits, float *unit, float *column, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *own = row_of_zeros(width + 1);
#pragma omp for schedule(static)
        for (long n = 0; n < rows; n++)
            digits_of_row(g + n * width, width, groups, w_scale, 1.0f / scale[n], planes, digits + n * planes * width,
                          unit + n, own);
        merge(column, own, width);
        free(own);
    }
}

/* `count` columns of g (rows, width) ÷ scale, starting at `start` → digits (rows, planes, count) and a unit per
   column. */
void column_digits(const float *g, long rows, long width, long start, long count, const float *scale,
                   const float *column, long planes, int8_t *digits, float *unit, int threads) {
    float *whole = malloc(sizeof(float) * count);
    EACH(i, count) {
        float largest = column[start + i];
        unit[i] = largest / limit(planes) + column[width];
        whole[i] = largest > 0 ? limit(planes) / largest : 0;
    }
    PARALLEL EACH(n, rows) {
        const float *from = g + n * width + start;
        int8_t *to = digits + n * planes * count;
        float by = 1.0f / scale[n];
        if (planes == 3) {
            SIMD EACH(i, count) write_digits(from[i] * by * whole[i], 3, to + i, count);
        } else {
            SIMD EACH(i, count) write_digits(from[i] * by * whole[i], 2, to + i, count);
        }
    }
    free(whole);
}

/* sums (planes, rows, width) combined, times the unit of each row. */
void join(const int32_t *sums, long planes, long rows, long width, const float *unit, float *out, int threads) {
    long step = rows * width;
    PARALLEL EACH(n, rows) {
        const int32_t *from = sums + n * width;
        float *to = out + n * width;
        if (planes == 3) {
            SIMD EACH(i, width) to[i] = joined(from + i, 3, step) * unit[n];
        } else {
            SIMD EACH(i, width) to[i] = joined(from + i, 2, step) * unit[n];
        }
    }
}

/* Backward of RMSNorm: sums (rows, planes, width) of the output's gradient → gradient of the input, plus an optional
   `residual`. */
void norm_backward(const int32_t *sums, long planes, long rows, long width, const float *unit, const float *x,
                   const float *rstd, const float *residual, float *out, int threads) {
    PARALLEL EACH(n, rows) {
        const int32_t *from = sums + n * planes * width;
        const float *at = x + n * width;
        float *to = out + n * width, inner = 0, by = unit[n], r = rstd[n];
        if (planes == 3) {
            SIMD EACH(i, width) to[i] = joined(from + i, 3, width) * by;
        } else {
            SIMD EACH(i, width) to[i] = joined(from + i, 2, width) * by;
        }
#pragma omp simd reduction(+ : inner)
        for (long i = 0; i < width; i++) inner += to[i] * at[i];
        inner *= r * r / width;
        if (residual) {
            const float *plus = residual + n * width;
            SIMD EACH(i, width) to[i] = (to[i] - at[i] * inner) * r + plus[i];
        } else {
            SIMD EACH(i, width) to[i] = (to[i] - at[i] * inner) * r;
        }
    }
}

/* Backward of RMSNorm(p²): sums (rows, planes, width) of the output's gradient → gradient of p, which overwrites p and
   is also written as digits of rows. */
void squared_relu_backward(const int32_t *sums, long planes, long rows, long width, const float *unit, float *p,
                           const float *z_rstd, const float *w_scale, const float *scale, int8_t *digits,
                           float *d_unit, float *column, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        float *own = row_of_zeros(width + 1), *d = row_of_zeros(width);
#pragma omp for schedule(static)
        for (long n = 0; n < rows; n++) {
            const int32_t *from = sums + n * planes * width;
            float *positive = p + n * width, inner = 0, by = unit[n], r = z_rstd[n];
            if (planes == 3) {
                SIMD EACH(i, width) d[i] = joined(from + i, 3, width) * by * positive[i];
            } else {
                SIMD EACH(i, width) d[i] = joined(from + i, 2, width) * by * positive[i];
            }
#pragma omp simd reduction(+ : inner)
            for (long i = 0; i < width; i++) inner += d[i] * positive[i];
            inner *= r * r / width;
            SIMD EACH(i, width) {
                float value = positive[i];
                positive[i] = (d[i] - value * value * value * inner) * (2 * r);
            }
            digits_of_row(positive, width, 1, w_scale, 1.0f / scale[n], planes, digits + n * planes * width, d_unit + n,
                          own);
        }
        merge(column, own, width);
        free(own);
        free(d);
    }
}
