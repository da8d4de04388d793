/* Causal attention and its gradient, one head at a time, so that a head stays in a core's L1 cache.

   Scores are stored as keys × queries, with neighbouring queries in one register: maxima and sums over keys are then
   operations between registers. Queries are processed in blocks; keys after a query are computed only to the end of
   its register. One thread processes a head, so the result does not depend on the number of threads.

   Legend: `tokens` and `features` are the length and the size of a head, padded with zeros to whole registers. */

#include "rows.h"

#define BLOCK 64 /* queries at once */
#ifdef __AVX512F__
#define ROWS 8 /* of a product at once: with two registers of columns, their sums fill the registers */
#else
#define ROWS 4
#endif

static long filled_up(long size) { return (size + LANES - 1) / LANES * LANES; }

static long least(long a, long b) { return a < b ? a : b; }

/* ROWS rows of `wide` registers of out = a · b, or += with `add`: a (ROWS, depth) by two steps, b and out by rows. */
INLINE void product_tile(const float *a, long a_row, long a_next, const float *b, long b_row, long depth, float *out,
                         long out_row, const int wide, const int add) {
    vector sums[ROWS][2], from[2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int w = 0; w < wide; w++)
            sums[r][w] = add ? *(const vector *)(out + r * out_row + w * LANES) : all(0);
    EACH(k, depth) {
#pragma GCC unroll 2
        for (int w = 0; w < wide; w++) from[w] = *(const vector *)(b + k * b_row + w * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int w = 0; w < wide; w++) sums[r][w] += a[r * a_row + k * a_next] * from[w];
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int w = 0; w < wide; w++) *(vector *)(out + r * out_row + w * LANES) = sums[r][w];
}

/* The same product for `width` columns, a multiple of a register. */
INLINE void product(const float *a, long a_row, long a_next, const float *b, long b_row, long depth, float *out,
                    long out_row, long width, const int add) {
    long i = 0;
    for (; i + 2 * LANES <= width; i += 2 * LANES)
        product_tile(a, a_row, a_next, b + i, b_row, depth, out + i, out_row, 2, add);
    if (i < width) product_tile(a, a_row, a_next, b + i, b_row, depth, out + i, out_row, 1, add);
}

/* rows (tokens, features) · turned (features, tokens), for `count` queries starting at `start` → (keys, BLOCK). */
static void products_by_key(const float *rows, const float *turned, long features, long tokens, long start, long count,
                            float *out) {
    for (long j = 0; j < start + count; j += ROWS) {
        long first = j > start ? (j - start) / LANES * LANES : 0;
        product(rows + j * features, features, 1, turned + start + first, tokens, features, out + j * BLOCK + first,
                BLOCK, count - first, 0);
    }
}

/* Mask of the queries, starting at `query`, that see the key. */
INLINE integers seen(long query, long key) {
    integers lane;
    EACH(l, LANES) lane[l] = l;
    return lane >= (integers){0} + (int32_t)(key - query);
}

/* Scores of one register of queries, starting at `query`, with a stride of BLOCK between keys → exponentials, and the
   largest score and 1 / sum of each query. */
INLINE void exponentials(float *scores, long query, vector *largest, vector *share) {
    vector most = all(-INFINITY), sum = all(0);
    EACH(j, query + LANES) {
        vector score = *(vector *)(scores + j * BLOCK);
        most = j <= query ? larger(score, most) : choose(seen(query, j), larger(score, most), most);
    }
    EACH(j, query + LANES) {
        vector *at = (vector *)(scores + j * BLOCK), value = exponential(*at - most);
        sum += *at = j <= query ? value : choose(seen(query, j), value, all(0));
    }
    *largest = most;
    *share = 1.0f / sum;
}

/* Scores and gradients of probabilities, in the same layout → probabilities and gradients of scores. */
INLINE void score_gradients(float *scores, float *gradients, long query, vector largest, vector share) {
    vector inner = all(0);
    EACH(j, query + LANES) {
        vector *at = (vector *)(scores + j * BLOCK), value = exponential(*at - largest) * share;
        *at = j <= query ? value : choose(seen(query, j), value, all(0));
        inner += *at * *(vector *)(gradients + j * BLOCK);
    }
    EACH(j, query + LANES) {
        vector *at = (vector *)(gradients + j * BLOCK);
        *at = *(vector *)(scores + j * BLOCK) * (*at - inner);
    }
}

/* `length` rows, `step` apart, times `factor` → rows of `features`. */
static void gather(const float *from, long step, long length, long size, float factor, float *to, long features) {
    EACH(t, length) SIMD EACH(i, size) to[t * features + i] = from[t * step + i] * factor;
}

static void transpose(const float *from, long rows, long columns, float *to) {
    EACH(c, columns) EACH(r, rows) to[c * rows + r] = from[r * columns + c];
}

/* One head: q and its transpose, k, v → mixed values, not yet divided by their sums. */
static void attend(const float *q_turned, const float *k, const float *v, long tokens, long features, float *scores,
                   float *largest, float *share, float *mixed) {
    for (long start = 0; start < tokens; start += BLOCK) {
        long count = least(BLOCK, tokens - start);
        products_by_key(k, q_turned, features, tokens, start, count, scores);
        for (long i = start; i < start + count; i += LANES)
            exponentials(scores + i - start, i, (vector *)(largest + i), (vector *)(share + i));
        for (long i = start; i < start + count; i += ROWS)
            product(scores + i - start, 1, BLOCK, v, features, i + ROWS, mixed + i * features, features, features, 0);
    }
}

/* qkv (batch, length, 3, heads, size) → mixed (batch, length, heads, size) and, of each query, the largest score and
   1 / sum of the exponentials, (batch, heads, length). */
void attention(const float *qkv, long batch, long length, long heads, long size, float *mixed, float *largest,
               float *share, int threads) {
    long tokens = filled_up(length), features = filled_up(size), step = 3 * heads * size, one = tokens * features;
    float factor = 1.0f / sqrtf((float)size);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        size_t space = sizeof(float) * (5 * one + tokens * (BLOCK + 2));
        float *q = memset(aligned_alloc(64, space), 0, space), *k = q + one, *v = k + one, *q_turned = v + one;
        float *out = q_turned + one, *scores = out + one, *top = scores + tokens * BLOCK, *part = top + tokens;
#pragma omp for schedule(static)
        for (long n = 0; n < batch * heads; n++) {
            const float *from = qkv + n / heads * length * step + n % heads * size;
            float *to = mixed + (n / heads * length * heads + n % heads) * size;
            gather(from, step, length, size, factor, q, features);
            gather(from + heads * size, step, length, size, 1, k, features);
            gather(from + 2 * heads * size, step, length, size, 1, v, features);
            transpose(q, tokens, features, q_turned);
            attend(q_turned, k, v, tokens, features, scores, top, part, out);
            EACH(t, length) SIMD EACH(i, size) to[t * heads * size + i] = out[t * features + i] * part[t];
            memcpy(largest + n * length, top, sizeof(float) * length);
            memcpy(share + n * length, part, sizeof(float) * length);
        }
        free(q);
    }
}

/* Inputs and outputs of one head's gradient; (tokens, features) except the transposes and the shapes given. */
struct head {
    float *q, *k, *v, *grad, *q_turned, *grad_turned, *dq, *dk, *dv;
    float *scores, *slopes; /* (tokens, BLOCK) */
    float *largest, *share; /* (tokens,) */
};

static struct head new_head(long tokens, long features) {
    long one = tokens * features;
    size_t space = sizeof(float) * (9 * one + 2 * tokens * (BLOCK + 1));
    float *at = memset(aligned_alloc(64, space), 0, space);
    struct head h;
    float **place[] = {&h.q, &h.k, &h.v, &h.grad, &h.q_turned, &h.grad_turned, &h.dq, &h.dk, &h.dv};
    EACH(i, 9) *place[i] = at + i * one;
    h.scores = at + 9 * one;
    h.slopes = h.scores + tokens * BLOCK;
    h.largest = h.slopes + tokens * BLOCK;
    h.share = h.largest + tokens;
    return h;
}

/* One head: q (times the factor of the scores), k, v and the gradient of mixed → dq (÷ that factor), dk, dv. */
static void head_backward(struct head h, long tokens, long features) {
    memset(h.dk, 0, sizeof(float) * tokens * features);
    memset(h.dv, 0, sizeof(float) * tokens * features);
    for (long start = 0; start < tokens; start += BLOCK) {
        long count = least(BLOCK, tokens - start);
        products_by_key(h.k, h.q_turned, features, tokens, start, count, h.scores);
        products_by_key(h.v, h.grad_turned, features, tokens, start, count, h.slopes);
        for (long i = start; i < start + count; i += LANES)
            score_gradients(h.scores + i - start, h.slopes + i - start, i, *(vector *)(h.largest + i),
                            *(vector *)(h.share + i));
        for (long j = 0; j < start + count; j += ROWS) {
            long first = j > start ? j - start : 0, at = j * BLOCK + first, row = (start + first) * features;
            product(h.scores + at, BLOCK, 1, h.grad + row, features, count - first, h.dv + j * features, features,
                    features, 1);
            product(h.slopes + at, BLOCK, 1, h.q + row, features, count - first, h.dk + j * features, features,
                    features, 1);
        }
        for (long i = start; i < start + count; i += ROWS)
            product(h.slopes + i - start, 1, BLOCK, h.k, features, i + ROWS, h.dq + i * features, features, features, 0);
    }
}

static void turn_back(const float *from, const float *turn, long size, float factor, float *to) {
    SIMD EACH(i, size / 2) {
        float a = from[2 * i] * factor, b = from[2 * i + 1] * factor;
        to[2 * i] = a * turn[2 * i] + b * turn[2 * i + 1];
        to[2 * i + 1] = b * turn[2 * i] - a * turn[2 * i + 1];
    }
}

/* The gradient of mixed → gradient of qkv; turns (length, size / 2, 2) rotate queries and keys back. */
void attention_backward(const float *qkv, const float *grad, const float *largest, const float *share,
                        const float *turns, long batch, long length, long heads, long size, float *out, int threads) {
    long tokens = filled_up(length), features = filled_up(size), width = heads * size;
    float factor = 1.0f / sqrtf((float)size);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        struct head h = new_head(tokens, features);
#pragma omp for schedule(static)
        for (long n = 0; n < batch * heads; n++) {
            long place = n / heads * length * width + n % heads * size, of_qkv = place + n / heads * length * 2 * width;
            gather(qkv + of_qkv, 3 * width, length, size, factor, h.q, features);
            gather(qkv + of_qkv + width, 3 * width, length, size, 1, h.k, features);
            gather(qkv + of_qkv + 2 * width, 3 * width, length, size, 1, h.v, features);
            gather(grad + place, width, length, size, 1, h.grad, features);
            transpose(h.q, tokens, features, h.q_turned);
            transpose(h.grad, tokens, features, h.grad_turned);
            memcpy(h.largest, largest + n * length, sizeof(float) * length);
            memcpy(h.share, share + n * length, sizeof(float) * length);
            head_backward(h, tokens, features);
            EACH(t, length) {
                float *to = out + of_qkv + t * 3 * width;
                turn_back(h.dq + t * features, turns + t * size, size, factor, to);
                turn_back(h.dk + t * features, turns + t * size, size, 1, to + width);
                memcpy(to + 2 * width, h.dv + t * features, sizeof(float) * size);
            }
        }
        free(h.q);
    }
}
