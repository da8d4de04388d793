/* Cross-entropy and its gradient, which overwrites the scores: three passes over one row at a time, within L1 cache. */

#include "rows.h"

#define EACH_REGISTER(i, size) for (long i = 0; i < (size); i += LANES)

/* Load a register; past the `left` remaining numbers, fill with −∞. */
INLINE vector read(const float *from, long left) {
    if (left >= LANES) return *(const unaligned *)from;
    vector value = all(-INFINITY);
    memcpy(&value, from, sizeof(float) * left);
    return value;
}

INLINE void write(vector value, float *to, long left) {
    if (left >= LANES)
        *(unaligned *)to = value;
    else
        memcpy(to, &value, sizeof(float) * left);
}

/* scores (rows, size) → softmax − (1 − ε) · onehot(target) − ε / size, and −log softmax(target) of each row. `each`
   rows share an ε of `smoothing`; without `smoothing`, ε = 0. */
void cross_entropy(float *scores, long rows, long size, const int64_t *targets, long each, const float *smoothing,
                   float *loss, int threads) {
    PARALLEL EACH(n, rows) {
        float *row = scores + n * size, epsilon = smoothing ? smoothing[n / each] : 0;
        vector most = all(-INFINITY), sum = all(0);
        EACH_REGISTER(i, size) most = larger(read(row + i, size - i), most);
        float largest = -INFINITY, total = 0, chosen = row[targets[n]];
        EACH(l, LANES) largest = most[l] > largest ? most[l] : largest;
        EACH_REGISTER(i, size) {
            vector value = exponential(read(row + i, size - i) - largest);
            sum += value;
            write(value, row + i, size - i);
        }
        EACH(l, LANES) total += sum[l];
        float share = 1.0f / total, even = epsilon / size;
        SIMD EACH(i, size) row[i] = row[i] * share - even;
        row[targets[n]] -= 1.0f - epsilon;
        loss[n] = logf(total) + (largest - chosen);
    }
}
