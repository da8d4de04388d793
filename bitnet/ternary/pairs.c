/* Gradient of the weights without int8 hardware: sums over tokens of 16-bit gradients times int8 activations.
   vpmaddwd multiplies 16 by 16 bits and adds the products of two tokens; the sum of 256 such pairs fits an int32.

   Both factors have the layout (panels of 8 columns, pairs of tokens, 8, 2), padded with zeros. */

#include "rows.h"

#define COLUMNS 8   /* of a panel */
#define PAIRS 256   /* as many as cannot overflow: 2 · 32512 · 128 · 256 < 2³¹ */
#define HEIGHT 4    /* outputs at once, times two panels of inputs */

/* Two rows (or one and zeros) → their position in each panel, `step` numbers apart. */
static void interleave(const int16_t *a, const int16_t *b, long width, int16_t *to, long step) {
    for (long i = 0; i < width; i += COLUMNS, to += step) {
        long count = width - i < COLUMNS ? width - i : COLUMNS;
        if (count < COLUMNS) memset(to, 0, sizeof(int16_t) * 2 * COLUMNS);
        if (count == COLUMNS) {
            EACH(k, COLUMNS) {
                to[2 * k] = a[i + k];
                to[2 * k + 1] = b[i + k];
            }
        } else {
            EACH(k, count) {
                to[2 * k] = a[i + k];
                to[2 * k + 1] = b[i + k];
            }
        }
    }
}

/* x (rows, width) → pairs. */
void pack_pairs(const int8_t *x, long rows, long width, int16_t *packed, int threads) {
    long pairs = (rows + 1) / 2, step = pairs * 2 * COLUMNS;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int16_t *own = malloc(sizeof(int16_t) * 2 * width);
#pragma omp for schedule(static)
        for (long n = 0; n < pairs; n++) {
            long count = (2 * n + 1 < rows ? 2 : 1) * width;
            SIMD EACH(i, count) own[i] = x[2 * n * width + i];
            if (count == width) memset(own + width, 0, sizeof(int16_t) * width);
            interleave(own, own + width, width, packed + n * 2 * COLUMNS, step);
        }
        free(own);
    }
}

/* g (rows, width) ÷ scale → pairs of 16 bits and a unit per column; `column` (width + 1) holds the largest values from
   `row_digits`. */
void column_pairs(const float *g, long rows, long width, const float *scale, const float *column, int16_t *packed,
                  float *unit, int threads) {
    long pairs = (rows + 1) / 2, step = pairs * 2 * COLUMNS;
    float *whole = malloc(sizeof(float) * width), most = 0x7F00;
    EACH(i, width) {
        unit[i] = column[i] / most + column[width];
        whole[i] = column[i] > 0 ? most / column[i] : 0;
    }
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int16_t *own = malloc(sizeof(int16_t) * 2 * width);
#pragma omp for schedule(static)
        for (long n = 0; n < pairs; n++) {
            memset(own + width, 0, sizeof(int16_t) * width);
            for (long r = 2 * n; r < 2 * n + 2 && r < rows; r++) {
                const float *from = g + r * width;
                int16_t *to = own + (r - 2 * n) * width;
                float by = 1.0f / scale[r];
                SIMD EACH(i, width) to[i] = (int16_t)(int32_t)rintf(from[i] * by * whole[i]);
            }
            interleave(own, own + width, width, packed + n * 2 * COLUMNS, step);
        }
        free(own);
    }
    free(whole);
}

#ifdef __AVX2__
#include <immintrin.h>
#endif

/* HEIGHT outputs by `panels` panels of inputs over `count` pairs → sums. */
INLINE void product_of_pairs(const int16_t *g, const int16_t *x, long step, long count, int32_t sums[HEIGHT][2 * COLUMNS],
                             const int panels) {
#ifdef __AVX2__
    __m256i total[HEIGHT][2];
#pragma GCC unroll 4
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) total[r][p] = _mm256_setzero_si256();
    EACH(n, count) {
        __m256i inputs[2];
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++)
            inputs[p] = _mm256_loadu_si256((const __m256i *)(x + p * step + n * 2 * COLUMNS));
#pragma GCC unroll 4
        for (int r = 0; r < HEIGHT; r++) {
            int32_t pair;
            memcpy(&pair, g + n * 2 * COLUMNS + 2 * r, 4);
            __m256i both = _mm256_set1_epi32(pair);
#pragma GCC unroll 2
            for (int p = 0; p < panels; p++) {
                total[r][p] = _mm256_add_epi32(total[r][p], _mm256_madd_epi16(inputs[p], both));
                IN_ORDER(total[r][p]);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) _mm256_storeu_si256((__m256i *)(sums[r] + p * COLUMNS), total[r][p]);
#else
    memset(sums, 0, sizeof(int32_t) * HEIGHT * 2 * COLUMNS);
    EACH(n, count) EACH(r, HEIGHT) for (int p = 0; p < panels; p++) {
        const int16_t *from = x + p * step + n * 2 * COLUMNS, *by = g + n * 2 * COLUMNS + 2 * r;
        EACH(k, COLUMNS) sums[r][p * COLUMNS + k] += from[2 * k] * by[0] + from[2 * k + 1] * by[1];
    }
#endif
}

/* g (rows, outputs) transposed · x (rows, inputs), both in pairs, times the unit of each output → (outputs, inputs). */
void pair_product(const int16_t *g, const int16_t *x, long rows, long outputs, long inputs, const float *unit, float *out,
                  int threads) {
    long pairs = (rows + 1) / 2, step = pairs * 2 * COLUMNS, blocks = (outputs + HEIGHT - 1) / HEIGHT;
    for (long start = 0; start < pairs; start += PAIRS) {
        long count = pairs - start < PAIRS ? pairs - start : PAIRS;
        PARALLEL EACH(b, blocks) {
            const int16_t *of_g = g + b / 2 * step + start * 2 * COLUMNS + b % 2 * 2 * HEIGHT;
            int32_t sums[HEIGHT][2 * COLUMNS];
            for (long i = 0; i < inputs; i += 2 * COLUMNS) {
                const int16_t *of_x = x + i / COLUMNS * step + start * 2 * COLUMNS;
                if (inputs - i > COLUMNS)
                    product_of_pairs(of_g, of_x, step, count, sums, 2);
                else
                    product_of_pairs(of_g, of_x, step, count, sums, 1);
                long wide = inputs - i < 2 * COLUMNS ? inputs - i : 2 * COLUMNS;
                for (long r = 0; r < HEIGHT && b * HEIGHT + r < outputs; r++) {
                    float *to = out + (b * HEIGHT + r) * inputs + i, by = unit[b * HEIGHT + r];
                    if (start)
                        EACH(k, wide) to[k] += (float)sums[r][k] * by;
                    else
                        EACH(k, wide) to[k] = (float)sums[r][k] * by;
                }
            }
        }
    }
}
