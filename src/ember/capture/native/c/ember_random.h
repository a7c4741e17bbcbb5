/* Samplers with the stream of torch's CPU generator: the same draws, in the same order, from the same engine.
 *
 * Every function fills `n` contiguous values in order of memory and leaves the engine as torch's sampler of that name
 * would leave it. Results are torch's bit for bit; torch may run with a lesser instruction set than the processor has
 * (ATEN_CPU_CAPABILITY), and then a result may differ in its last bit, single precision normals in blocks by about 1e-6.
 *
 * Where torch's kernels are built for processors with fused multiply-add, `a * b + c` rounds once; EMBER_FMA follows.
 *
 * Sources: G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates", 1958 (normals); inversion of
 * the distribution function for the rest, as L. Devroye, "Non-uniform random variate generation", 1986, gives it;
 * R. Durstenfeld, "Algorithm 235: random permutation", 1964; E. J. Gumbel's "exponential races" for a choice in one pass
 * (P. S. Efraimidis and P. G. Spirakis, "Weighted random sampling with a reservoir", 2006).
 */
#ifndef EMBER_RANDOM_H
#define EMBER_RANDOM_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "ember_engine.h"

#ifdef __FMA__
#define EMBER_FMA(a, b, c) __builtin_fma(a, b, c)
#define EMBER_FMAF(a, b, c) __builtin_fmaf(a, b, c)
#else
#define EMBER_FMA(a, b, c) ((a) * (b) + (c))
#define EMBER_FMAF(a, b, c) ((a) * (b) + (c))
#endif

#define EMBER_PI 3.14159265358979323846

/* ---- uniform ------------------------------------------------------------------------------------------------- */

EMBER_FN void ember_rand_f32(ember_rng *g, float *restrict out, int64_t n) { ember_units_f32(g, out, n); }
EMBER_FN void ember_rand_f64(ember_rng *g, double *restrict out, int64_t n) { ember_units_f64(g, out, n); }

/* On [from, to); a value that rounds to `to` becomes `from`. */
EMBER_FN void ember_uniform_f32(ember_rng *g, float *restrict out, int64_t n, double from, double to) {
    const float a = (float)from, b = (float)to, width = b - a;
    ember_units_f32(g, out, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float x = EMBER_FMAF(out[i], width, a);
        out[i] = x == b ? a : x;
    }
}

EMBER_FN void ember_uniform_f64(ember_rng *g, double *restrict out, int64_t n, double from, double to) {
    const double width = to - from;
    ember_units_f64(g, out, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const double x = EMBER_FMA(out[i], width, from);
        out[i] = x == to ? from : x;
    }
}

/* ---- normal -------------------------------------------------------------------------------------------------- */

/* One standard normal. Pairs: the second value waits in the generator for the next call, in double whatever the dtype. */
EMBER_INLINE double ember_normal_one(ember_rng *g) {
    if (g->has_normal) {
        g->has_normal = 0;
        return g->normal;
    }
    const double u1 = ember_unit_f64(g), u2 = ember_unit_f64(g);
    const double r = sqrt(-2.0 * log1p(-u2)), angle = 2.0 * EMBER_PI * u1;
    g->normal = r * sin(angle);
    g->has_normal = 1;
    return r * cos(angle);
}

/* Sixteen uniforms become sixteen normals: the first eight with the last eight.
 *
 * In single precision torch takes logarithm, sine and cosine from polynomials wherever it has AVX2. They are those of
 * S. L. Moshier's Cephes library (1989; logf, sinf, cosf), restricted here to what a block needs: the logarithm of a normal
 * number in (0, 1], and angles in [0, 2 pi), reduced to [-pi/4, pi/4] with pi/4 in three parts.
 */
#ifdef __AVX2__
EMBER_INLINE float ember_block_log(float u) {
    union { float f; int32_t i; } bits = {u};
    float e = (float)((bits.i >> 23) - 126);
    bits.i = (bits.i & 0x007fffff) | 0x3f000000; /* the fraction, in [1/2, 1) */
    const int below = bits.f < 0.707106781186547524f;
    e -= below ? 1.0f : 0.0f;
    const float x = (bits.f - 1.0f) + (below ? bits.f : 0.0f), z = x * x;
    float y = 7.0376836292e-2f;
    y = EMBER_FMAF(y, x, -1.1514610310e-1f);
    y = EMBER_FMAF(y, x, 1.1676998740e-1f);
    y = EMBER_FMAF(y, x, -1.2420140846e-1f);
    y = EMBER_FMAF(y, x, 1.4249322787e-1f);
    y = EMBER_FMAF(y, x, -1.6668057665e-1f);
    y = EMBER_FMAF(y, x, 2.0000714765e-1f);
    y = EMBER_FMAF(y, x, -2.4999993993e-1f);
    y = EMBER_FMAF(y, x, 3.3333331174e-1f);
    y *= x;
    y = EMBER_FMAF(y, z, e * -2.12194440e-4f);
    y = EMBER_FMAF(z, -0.5f, y);
    return EMBER_FMAF(e, 0.693359375f, x + y);
}

EMBER_INLINE void ember_block_sincos(float angle, float *sine, float *cosine) {
    const int32_t octant = ((int32_t)(angle * 1.27323954473516f) + 1) & ~1;
    const float turns = (float)octant;
    float x = EMBER_FMAF(turns, -0.78515625f, angle);
    x = EMBER_FMAF(turns, -2.4187564849853515625e-4f, x);
    x = EMBER_FMAF(turns, -3.77489497744594108e-8f, x);
    const float z = x * x;
    float c = EMBER_FMAF(EMBER_FMAF(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f) * z;
    c = EMBER_FMAF(c, z, -(z * 0.5f)) + 1.0f;
    float s = EMBER_FMAF(EMBER_FMAF(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f) * z;
    s = EMBER_FMAF(s, x, x);
    const int swapped = octant & 2; /* the two change places in every other quadrant */
    const float sine_size = swapped ? c : s, cosine_size = swapped ? s : c;
    *sine = octant & 4 ? -sine_size : sine_size;
    *cosine = (octant + 2) & 4 ? -cosine_size : cosine_size;
}
#else
EMBER_INLINE float ember_block_log(float u) { return logf(u); }
EMBER_INLINE void ember_block_sincos(float angle, float *sine, float *cosine) {
    *sine = sinf(angle);
    *cosine = cosf(angle);
}
#endif

EMBER_INLINE void ember_normal_block_f32(float *x, float mean, float std) {
#pragma omp simd
    for (int j = 0; j < 8; j++) {
        const float r = sqrtf(-2.0f * ember_block_log(1.0f - x[j]));
        float sine, cosine;
        ember_block_sincos((float)(2.0 * EMBER_PI) * x[j + 8], &sine, &cosine);
        x[j] = EMBER_FMAF(r * cosine, std, mean);
        x[j + 8] = EMBER_FMAF(r * sine, std, mean);
    }
}

EMBER_INLINE void ember_normal_block_f64(double *x, double mean, double std) {
    for (int j = 0; j < 8; j++) {
        const double u1 = 1.0 - x[j], angle = 2.0 * EMBER_PI * x[j + 8];
        const double r = sqrt(-2.0 * log(u1));
        x[j] = EMBER_FMA(r * cos(angle), std, mean);
        x[j + 8] = EMBER_FMA(r * sin(angle), std, mean);
    }
}

#define EMBER_NORMAL(T, S)                                                                                             \
    /* One by one, whatever the count: what torch does for fewer than 16 values and for outputs with strides. */       \
    EMBER_FN void ember_normal_serial_##S(ember_rng *g, T *restrict out, int64_t n, double mean, double std) {         \
        for (int64_t i = 0; i < n; i++) out[i] = (T)EMBER_FMA(ember_normal_one(g), std, mean);                         \
    }                                                                                                                  \
    /* aten.normal_ and, with mean 0 and std 1, aten.randn. A remainder: the last 16 values are drawn anew. */         \
    EMBER_FN void ember_normal_##S(ember_rng *g, T *restrict out, int64_t n, double mean, double std) {                \
        if (n < 16) {                                                                                                  \
            ember_normal_serial_##S(g, out, n, mean, std);                                                             \
            return;                                                                                                    \
        }                                                                                                              \
        ember_units_##S(g, out, n);                                                                                    \
        for (int64_t i = 0; i + 16 <= n; i += 16) ember_normal_block_##S(out + i, (T)mean, (T)std);                    \
        if (n % 16) {                                                                                                  \
            ember_units_##S(g, out + n - 16, 16);                                                                      \
            ember_normal_block_##S(out + n - 16, (T)mean, (T)std);                                                     \
        }                                                                                                              \
    }                                                                                                                  \
    EMBER_FN void ember_log_normal_##S(ember_rng *g, T *restrict out, int64_t n, double mean, double std) {            \
        for (int64_t i = 0; i < n; i++) out[i] = (T)exp(EMBER_FMA(ember_normal_one(g), std, mean));                    \
    }
EMBER_NORMAL(float, f32)
EMBER_NORMAL(double, f64)
#undef EMBER_NORMAL

/* ---- inversion of the distribution function; the uniforms are of double precision in every dtype --------------- */

EMBER_INLINE double ember_exponential_one(ember_rng *g, double rate) { return -1.0 / rate * log1p(-ember_unit_f64(g)); }

#define EMBER_INVERSION(T, S)                                                                                          \
    EMBER_FN void ember_exponential_##S(ember_rng *g, T *restrict out, int64_t n, double rate) {                       \
        for (int64_t i = 0; i < n; i++) out[i] = (T)ember_exponential_one(g, rate);                                    \
    }                                                                                                                  \
    EMBER_FN void ember_cauchy_##S(ember_rng *g, T *restrict out, int64_t n, double median, double sigma) {            \
        for (int64_t i = 0; i < n; i++)                                                                                \
            out[i] = (T)EMBER_FMA(sigma, tan(EMBER_PI * (ember_unit_f64(g) - 0.5)), median);                           \
    }
EMBER_INVERSION(float, f32)
EMBER_INVERSION(double, f64)
#undef EMBER_INVERSION

#define EMBER_GEOMETRIC(T, S)                                                                                          \
    EMBER_FN void ember_geometric_##S(ember_rng *g, T *restrict out, int64_t n, double p) {                            \
        const double log_q = log1p(-p);                                                                                \
        for (int64_t i = 0; i < n; i++) out[i] = (T)ceil(log(ember_unit_f64(g)) / log_q);                              \
    }
EMBER_GEOMETRIC(float, f32)
EMBER_GEOMETRIC(double, f64)
EMBER_GEOMETRIC(int64_t, i64)
#undef EMBER_GEOMETRIC

/* ---- Bernoulli: the dtype of the probabilities decides which uniforms are drawn, a scalar probability is double -- */

#define EMBER_COINS(NAME, T, P, PS, CHANCE)                                                                            \
    EMBER_FN void NAME {                                                                                               \
        P u[64];                                                                                                       \
        for (int64_t start = 0; start < n; start += 64) {                                                              \
            const int64_t count = n - start < 64 ? n - start : 64;                                                     \
            ember_units_##PS(g, u, count);                                                                             \
            _Pragma("omp simd") for (int64_t i = 0; i < count; i++) out[start + i] = (T)(u[i] < CHANCE);               \
        }                                                                                                              \
    }
#define EMBER_BERNOULLI(T, S)                                                                                          \
    EMBER_COINS(ember_bernoulli_f32_##S(ember_rng *g, const float *p, T *out, int64_t n), T, float, f32, p[start + i]) \
    EMBER_COINS(ember_bernoulli_f64_##S(ember_rng *g, const double *p, T *out, int64_t n), T, double, f64, p[start + i])\
    EMBER_COINS(ember_bernoulli_scalar_##S(ember_rng *g, T *out, int64_t n, double p), T, double, f64, p)
EMBER_BERNOULLI(float, f32)
EMBER_BERNOULLI(double, f64)
EMBER_BERNOULLI(int64_t, i64)
EMBER_BERNOULLI(bool, b8)
#undef EMBER_BERNOULLI
#undef EMBER_COINS

/* ---- integers -------------------------------------------------------------------------------------------------- */

/* Integers in [from, to): aten.randint. Wide ranges take 64 bits. */
EMBER_FN void ember_randint_i64(ember_rng *g, int64_t *restrict out, int64_t n, int64_t from, int64_t to) {
    const uint64_t range = (uint64_t)to - (uint64_t)from;
    if (range >= UINT64_C(1) << 28) {
        for (int64_t i = 0; i < n; i++) out[i] = (int64_t)(ember_r64(g) % range + (uint64_t)from);
    } else {
        const uint32_t narrow = (uint32_t)range;
        for (int64_t i = 0; i < n; i++) out[i] = (int64_t)(ember_r32(g) % narrow + (uint64_t)from);
    }
}

/* A permutation of 0 .. n - 1: aten.randperm. The places to exchange with are drawn for some steps ahead, so that these lines of a
 * large array are on their way when their turn comes. Long ones take 64 bits. */
EMBER_FN void ember_randperm_i64(ember_rng *g, int64_t *restrict out, int64_t n) {
    enum { AHEAD = 64 };
    const bool is_long = n >= (int64_t)(UINT32_MAX / 20);
    int64_t with[AHEAD];
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t b = 0; b < n - 1; b += AHEAD) {
        const int64_t e = b + AHEAD < n - 1 ? b + AHEAD : n - 1;
        for (int64_t i = b; i < e; i++) {
            const uint64_t left = (uint64_t)(n - i);
            with[i - b] = i + (int64_t)(is_long ? ember_r64(g) % left : ember_r32(g) % (uint32_t)left);
            __builtin_prefetch(&out[with[i - b]], 1);
        }
        for (int64_t i = b; i < e; i++) {
            const int64_t kept = out[i];
            out[i] = out[with[i - b]];
            out[with[i - b]] = kept;
        }
    }
}

EMBER_FN int64_t ember_slot(int64_t place, int64_t slots) {
    return (int64_t)(((uint64_t)place * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (slots - 1);
}

/* The first n of a shuffled range of this size. `table` has `slots` pairs, a power of two: what lies at a place, and one more than
 * the place, for places whose contents have been exchanged. */
EMBER_FN void ember_subset_i64(ember_rng *g, const int64_t *restrict bits, int64_t *restrict out, int64_t n, int64_t size,
                               int64_t slots, int64_t *restrict table) {
    memset(table, 0, 2 * slots * sizeof *table);
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = i + bits[i] % (size - i);
        int64_t own = i;
        for (int64_t at = ember_slot(i, slots); table[2 * at]; at = (at + 1) & (slots - 1))
            if (table[2 * at] == i + 1) own = table[2 * at + 1];
        int64_t at = ember_slot(j, slots);
        while (table[2 * at] && table[2 * at] != j + 1) at = (at + 1) & (slots - 1);
        int64_t *const slot = table + 2 * at;
        out[i] = slot[0] ? slot[1] : j;
        slot[0] = j + 1;
        slot[1] = own;
    }
}

/* ---- categories: `p` has `rows` rows of `k` weights; `work` holds k values ---------------------------------------
 *
 * These return 0, or 1 if nothing was drawn because of the weights: one is negative, infinite or NaN, a row has no weight, or
 * fewer categories with weight than are to be drawn without replacement.
 */

#define EMBER_MULTINOMIAL(T, S)                                                                                        \
    EMBER_FN int ember_weights_refused_##S(const T *p, int64_t rows, int64_t k, int64_t least) {                       \
        for (int64_t row = 0; row < rows; row++, p += k) {                                                             \
            T sum = 0;                                                                                                 \
            int64_t positive = 0;                                                                                      \
            for (int64_t j = 0; j < k; j++) {                                                                          \
                if (!(p[j] >= 0 && p[j] - p[j] == 0)) return 1;                                                        \
                sum += p[j];                                                                                           \
                positive += p[j] > 0;                                                                                  \
            }                                                                                                          \
            if (!(sum > 0 && sum - sum == 0) || positive < least) return 1;                                            \
        }                                                                                                              \
        return 0;                                                                                                      \
    }                                                                                                                  \
    /* `draws` categories with replacement, two or more: by bisection of the cumulated weights. */                     \
    EMBER_FN int ember_multinomial_##S(ember_rng *g, const T *p, int64_t *out, int64_t rows, int64_t k, int64_t draws, \
                                        T *restrict work) {                                                            \
        if (ember_weights_refused_##S(p, rows, k, 1)) return 1;                                                        \
        for (int64_t row = 0; row < rows; row++, p += k, out += draws) {                                               \
            T sum = 0;                                                                                                 \
            for (int64_t j = 0; j < k; j++) work[j] = sum += p[j];                                                     \
            for (int64_t j = 0; j < k; j++) work[j] /= sum;                                                            \
            work[k - 1] = 1;                                                                                           \
            for (int64_t d = 0; d < draws; d++) {                                                                      \
                const double u = ember_unit_f64(g);                                                                    \
                int64_t low = 0, high = k;                                                                             \
                while (low < high) {                                                                                   \
                    const int64_t middle = low + (high - low) / 2;                                                     \
                    if ((double)work[middle] < u) low = middle + 1;                                                    \
                    else high = middle;                                                                                \
                }                                                                                                      \
                out[d] = low;                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
        return 0;                                                                                                      \
    }                                                                                                                  \
    /* `draws` categories without replacement, or a single one in any case: each category gets an exponential waiting  \
     * time with its weight as rate, those that come first win. All times are drawn before the first is looked at. */  \
    EMBER_FN int ember_multinomial_race_##S(ember_rng *g, const T *p, int64_t *out, int64_t rows, int64_t k,           \
                                             int64_t draws, T *restrict work) {                                        \
        if (ember_weights_refused_##S(p, rows, k, draws)) return 1;                                                    \
        for (int64_t row = 0; row < rows; row++, p += k, out += draws) {                                               \
            for (int64_t j = 0; j < k; j++) work[j] = p[j] / (T)ember_exponential_one(g, 1.0);                         \
            for (int64_t d = 0; d < draws; d++) {                                                                      \
                int64_t best = 0;                                                                                      \
                for (int64_t j = 1; j < k; j++)                                                                        \
                    if (work[j] > work[best]) best = j;                                                                \
                out[d] = best;                                                                                         \
                work[best] = -1;                                                                                       \
            }                                                                                                          \
        }                                                                                                              \
        return 0;                                                                                                      \
    }
EMBER_MULTINOMIAL(float, f32)
EMBER_MULTINOMIAL(double, f64)
#undef EMBER_MULTINOMIAL

#endif
