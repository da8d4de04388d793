/* Fused kernels around the float32 products of a backward pass: one pass over each row. */

#include "rows.h"

/* Integers (rows, width) ÷ the scale of their row, `stride` apart. */
void values(const int8_t *integers, long rows, long width, const float *scale, long stride, float *out, int threads) {
    PARALLEL EACH(n, rows) {
        float step = 1.0f / scale[n];
        const int8_t *from = integers + n * width;
        float *to = out + n * stride;
        SIMD EACH(i, width) to[i] = (float)from[i] * step;
    }
}

/* Backward of RMSNorm(x): gradient g of the output → gradient of x, plus an optional `residual`. */
void norm_gradient(const float *g, long rows, long width, const float *x, const float *rstd, const float *residual,
                   float *out, int threads) {
    PARALLEL EACH(n, rows) {
        const float *from = g + n * width, *at = x + n * width;
        float *to = out + n * width, inner = 0, r = rstd[n];
#pragma omp simd reduction(+ : inner)
        for (long i = 0; i < width; i++) inner += from[i] * at[i];
        inner *= r * r / width;
        if (residual) {
            const float *plus = residual + n * width;
            SIMD EACH(i, width) to[i] = (from[i] - at[i] * inner) * r + plus[i];
        } else {
            SIMD EACH(i, width) to[i] = (from[i] - at[i] * inner) * r;
        }
    }
}

/* Backward of RMSNorm(p²): gradient of the output, rows `stride` apart → gradient of p, in the same place. */
void squared_relu_gradient(float *g, long rows, long width, long stride, const float *p, const float *rstd,
                           int threads) {
    PARALLEL EACH(n, rows) {
        const float *positive = p + n * width;
        float *at = g + n * stride, inner = 0, r = rstd[n];
#pragma omp simd reduction(+ : inner)
        for (long i = 0; i < width; i++) inner += at[i] * positive[i] * positive[i];
        inner *= r * r / width;
        SIMD EACH(i, width) {
            float value = positive[i];
            at[i] = (at[i] * value - value * value * value * inner) * (2 * r);
        }
    }
}
