/* Products of int8 rows with ternary weights, exact in int32, for processors without int8 hardware.

   With AVX2: the weights become unsigned, 0, 1, 2. vpmaddubsw multiplies 32 of them by 32 activations and adds
   neighbours in 16 bits. A pair of products is −512 … 508, so 64 pairs fit; a 16-bit sum adds one pair of every four
   inputs and is widened every 256 inputs. The code then subtracts the sum of the activations, which the shift added.
   With NEON's sdot: it adds four signed products to 32 bits, so the weights need no shift.
   Elsewhere: simple loops, which compilers vectorise. */

#include "rows.h"

#ifdef __AVX2__
#include <immintrin.h>

#define OUTPUTS 8 /* of a register; a panel of weights holds four consecutive inputs of each */
#define PANELS 2 /* at once */
#define HEIGHT 6 /* rows at once: with two panels, sums and operands use all 16 registers */
#define GROUPS 64 /* groups of four inputs whose 16-bit sums cannot overflow */
#define SHIFT 1 /* of the weights */

/* HEIGHT rows in the layout of `interleave`, times `panels` panels → sums. */
INLINE void product_of_panels(const int8_t *x, long groups, const int32_t *minus, const int8_t *w, long rows, int32_t *sums,
                              long outputs, long left, const int panels) {
    __m256i total[HEIGHT][PANELS];
#pragma GCC unroll 6
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) total[r][p] = _mm256_set1_epi32(-minus[r]);
    for (long start = 0; start < groups; start += GROUPS) {
        long end = start + GROUPS < groups ? start + GROUPS : groups;
        __m256i part[HEIGHT][PANELS];
#pragma GCC unroll 6
        for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
            for (int p = 0; p < panels; p++) part[r][p] = _mm256_setzero_si256();
        for (long g = start; g < end; g++) {
            __m256i weights[PANELS];
#pragma GCC unroll 2
            for (int p = 0; p < panels; p++)
                weights[p] = _mm256_loadu_si256((const __m256i *)(w + (p * groups + g) * 4 * OUTPUTS));
#pragma GCC unroll 6
            for (int r = 0; r < HEIGHT; r++) {
                int32_t four;
                memcpy(&four, x + (g * HEIGHT + r) * 4, 4);
                __m256i inputs = _mm256_set1_epi32(four);
#pragma GCC unroll 2
                for (int p = 0; p < panels; p++) {
                    part[r][p] = _mm256_add_epi16(part[r][p], _mm256_maddubs_epi16(weights[p], inputs));
                    IN_ORDER(part[r][p]);
                }
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
            for (int p = 0; p < panels; p++)
                total[r][p] = _mm256_add_epi32(total[r][p], _mm256_madd_epi16(part[r][p], _mm256_set1_epi16(1)));
    }
#pragma GCC unroll 6
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) {
            if (r >= rows) continue;
            int32_t *to = sums + r * outputs + p * OUTPUTS;
            if (left - p * OUTPUTS >= OUTPUTS)
                _mm256_storeu_si256((__m256i *)to, total[r][p]);
            else
                memcpy(to, &total[r][p], 4 * (left - p * OUTPUTS));
        }
}

#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

#define OUTPUTS 4
#define PANELS 2
#define HEIGHT 8 /* rows at once: 16 of 32 registers hold sums */
#define SHIFT 0

/* HEIGHT rows in the layout of `interleave`, times `panels` panels → sums. */
INLINE void product_of_panels(const int8_t *x, long groups, const int32_t *minus, const int8_t *w, long rows, int32_t *sums,
                              long outputs, long left, const int panels) {
    (void)minus;
    int32x4_t total[HEIGHT][PANELS];
#pragma GCC unroll 8
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) total[r][p] = vdupq_n_s32(0);
    EACH(g, groups) {
        int8x16_t upper = vld1q_s8(x + g * HEIGHT * 4), lower = vld1q_s8(x + g * HEIGHT * 4 + 16);
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) {
            int8x16_t weights = vld1q_s8(w + (p * groups + g) * 4 * OUTPUTS);
            total[0][p] = vdotq_laneq_s32(total[0][p], weights, upper, 0);
            total[1][p] = vdotq_laneq_s32(total[1][p], weights, upper, 1);
            total[2][p] = vdotq_laneq_s32(total[2][p], weights, upper, 2);
            total[3][p] = vdotq_laneq_s32(total[3][p], weights, upper, 3);
            total[4][p] = vdotq_laneq_s32(total[4][p], weights, lower, 0);
            total[5][p] = vdotq_laneq_s32(total[5][p], weights, lower, 1);
            total[6][p] = vdotq_laneq_s32(total[6][p], weights, lower, 2);
            total[7][p] = vdotq_laneq_s32(total[7][p], weights, lower, 3);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 2
        for (int p = 0; p < panels; p++) {
            if (r >= rows) continue;
            int32_t *to = sums + r * outputs + p * OUTPUTS;
            long count = left - p * OUTPUTS < OUTPUTS ? left - p * OUTPUTS : OUTPUTS;
            memcpy(to, &total[r][p], 4 * count);
        }
}

#endif

#ifdef OUTPUTS
#define CHUNK 16384 /* bytes of rows at once: with the panels, they stay in L1 cache */

static long fours(long depth) { return (depth + 3) / 4; }

/* Weights (outputs, depth) + SHIFT → panels of (depth / 4, OUTPUTS, 4), padded with 0. */
void pack_ternary(const int8_t *w, long outputs, long depth, int8_t *packed, int threads) {
    long groups = fours(depth), panels = (outputs + OUTPUTS - 1) / OUTPUTS;
    PARALLEL EACH(p, panels) {
        int8_t *to = packed + p * groups * 4 * OUTPUTS;
        memset(to, 0, groups * 4 * OUTPUTS);
        EACH(o, OUTPUTS) {
            if (p * OUTPUTS + o >= outputs) break;
            const int8_t *from = w + (p * OUTPUTS + o) * depth;
            EACH(i, depth) to[(i / 4 * OUTPUTS + o) * 4 + i % 4] = from[i] + SHIFT;
        }
    }
}

/* Up to HEIGHT rows → (depth / 4, HEIGHT, 4), padded with zeros, and the sum of each row times SHIFT. */
static void interleave(const int8_t *x, long rows, long depth, int8_t *to, int32_t *sums) {
    memset(to, 0, fours(depth) * 4 * HEIGHT);
    EACH(r, HEIGHT) {
        int32_t sum = 0;
        const int8_t *from = x + r * depth;
        if (r < rows) {
#pragma omp simd reduction(+ : sum)
            for (long i = 0; i < depth; i++) sum += from[i];
            EACH(g, depth / 4) memcpy(to + (g * HEIGHT + r) * 4, from + 4 * g, 4);
            for (long i = depth / 4 * 4; i < depth; i++) to[(i / 4 * HEIGHT + r) * 4 + i % 4] = from[i];
        }
        sums[r] = sum * SHIFT;
    }
}

/* x (rows, depth) · transpose of weights (outputs, depth), packed by `pack_ternary` → (rows, outputs). */
void ternary_product(const int8_t *x, long rows, long depth, const int8_t *packed, long outputs, int32_t *sums,
                     int threads) {
    long groups = fours(depth), panels = (outputs + OUTPUTS - 1) / OUTPUTS, block = groups * 4 * HEIGHT;
    long blocks = CHUNK / block > 0 ? CHUNK / block : 1, each = blocks * HEIGHT, chunks = (rows + each - 1) / each;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int8_t *own = malloc(blocks * (block + 4 * HEIGHT));
        int32_t *minus = (int32_t *)(own + blocks * block);
#pragma omp for schedule(static)
        for (long c = 0; c < chunks; c++) {
            long first = c * each, count = rows - first < each ? rows - first : each;
            for (long b = 0; b * HEIGHT < count; b++)
                interleave(x + (first + b * HEIGHT) * depth, count - b * HEIGHT, depth, own + b * block,
                           minus + b * HEIGHT);
            for (long p = 0; p < panels; p += PANELS) {
                const int8_t *w = packed + p * groups * 4 * OUTPUTS;
                for (long b = 0; b * HEIGHT < count; b++) {
                    const int8_t *from = own + b * block;
                    const int32_t *less = minus + b * HEIGHT;
                    int32_t *to = sums + (first + b * HEIGHT) * outputs + p * OUTPUTS;
                    long n = count - b * HEIGHT, left = outputs - p * OUTPUTS;
                    if (panels - p >= 2)
                        product_of_panels(from, groups, less, w, n, to, outputs, left, 2);
                    else
                        product_of_panels(from, groups, less, w, n, to, outputs, left, 1);
                }
            }
        }
        free(own);
    }
}

#else

void pack_ternary(const int8_t *w, long outputs, long depth, int8_t *packed, int threads) {
    (void)threads;
    memcpy(packed, w, outputs * depth);
}

void ternary_product(const int8_t *x, long rows, long depth, const int8_t *packed, long outputs, int32_t *sums,
                     int threads) {
    PARALLEL EACH(n, rows) EACH(o, outputs) {
        const int8_t *from = x + n * depth, *by = packed + o * depth;
        int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
        for (long i = 0; i < depth; i++) sum += from[i] * by[i];
        sums[n * outputs + o] = sum;
    }
}

#endif
