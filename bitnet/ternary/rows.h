/* Shared by the kernels: loops over rows on several threads, and registers of floats.

   Registers are the compiler's vector types, which GCC and Clang translate for any processor. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EACH(i, n) for (long i = 0; i < (n); i++)
#define PARALLEL _Pragma("omp parallel for schedule(static) num_threads(threads) if (threads > 1)")
#define SIMD _Pragma("omp simd")
#define INLINE static inline __attribute__((always_inline))

/* Keeps the order of sums: GCC would move all products of a block before all sums and spill half of them. */
#define IN_ORDER(x) __asm__ volatile("" : "+x"(x))

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
typedef float vector __attribute__((vector_size(4 * LANES), may_alias));
typedef float unaligned __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef int32_t integers __attribute__((vector_size(4 * LANES), may_alias));

INLINE vector all(float value) { return (vector){0} + value; }

/* a where the mask is all ones, b where it is zero. */
INLINE vector choose(integers mask, vector a, vector b) {
    return (vector)(((integers)a & mask) | ((integers)b & ~mask));
}

INLINE vector larger(vector a, vector b) { return choose(a > b, a, b); } /* b where a is NaN */

/* eˣ for x ≤ 0, to two units in the last place; e⁻⁸⁷ for x < −87, so that no result is denormal.
   2ⁿ eʳ with |r| ≤ log(2) / 2: coefficients and the two parts of log(2) as in Cephes' expf. */
INLINE vector exponential(vector x) {
    x = choose(x < all(-87.0f), all(-87.0f), x);
    vector shifted = x * 1.44269504f + 12582912.0f; /* 1.5 · 2²³: the last bits are now n */
    vector n = shifted - 12582912.0f;
    vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vector sum = r * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * r + 8.3334519073e-3f;
    sum = sum * r + 4.1665795894e-2f;
    sum = sum * r + 1.6666665459e-1f;
    sum = sum * r + 5.0000001201e-1f;
    sum = sum * r * r + r + 1.0f;
    return sum * (vector)(((integers)shifted << 23) + 0x3F800000);
}
