/* The gradient of a layer whose backward products are of floats: what lies between them, one walk over each row. */

#include "rows.h"

/* Integers (rows, width) ÷ the scale of their row. */
void values(const int8_t *integers, long rows, long width, const float *scale, float *out, int threads) {
    PARALLEL EACH(n, rows) {
        float step = 1.0f / scale[n];
        const int8_t *from = integers + n * width;
        float *to = out + n * width;
        SIMD EACH(i, width) to[i] = (float)from[i] * step;
    }
}

/* From the gradient g after RMSNorm(x) to the one before it, plus `residual`, if there is one. */
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

/* From the gradient g after RMSNorm(p²) to the gradient of p, which is written over p. */
void squared_relu_gradient(const float *g, long rows, long width, float *p, const float *rstd, int threads) {
    PARALLEL EACH(n, rows) {
        const float *from = g + n * width;
        float *positive = p + n * width, inner = 0, r = rstd[n];
#pragma omp simd reduction(+ : inner)
        for (long i = 0; i < width; i++) inner += from[i] * positive[i] * positive[i];
        inner *= r * r / width;
        SIMD EACH(i, width) {
            float value = positive[i];
            positive[i] = (from[i] * value - value * value * value * inner) * (2 * r);
        }
    }
}
