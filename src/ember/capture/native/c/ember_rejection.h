/* Samplers by rejection, with the stream of torch's CPU generator: gamma, Dirichlet (beta), Poisson, binomial.
 *
 * The arithmetic is in double precision with uniforms and normals of double precision in every dtype; intermediate values
 * that torch keeps in the dtype of the tensor are kept in it here too, because an acceptance may hang on the last bit.
 *
 * Sources: G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables", 2000 (with the power of a
 * uniform for shapes below one, as there); W. Hoermann, "The transformed rejection method for generating Poisson random
 * variables", 1993 (PTRS) and "The generation of binomial random variates", 1993 (BTRS); Knuth's product of uniforms
 * (1969) for small Poisson rates; sums of geometric waiting times (L. Devroye, 1986) for small binomial means.
 */
#ifndef EMBER_REJECTION_H
#define EMBER_REJECTION_H

#include "ember_random.h"

/* ---- gamma and Dirichlet ----------------------------------------------------------------------------------------- */

#define EMBER_GAMMA(T, S, TINY)                                                                                        \
    EMBER_FN T ember_gamma_one_##S(ember_rng *g, T shape) {                                                            \
        double scale = 1.0;                                                                                            \
        if (shape < 1) {                                                                                               \
            if (shape == 0) return 0;                                                                                  \
            scale = pow(1.0 - ember_unit_f64(g), (double)(1 / shape));                                                 \
            shape += 1;                                                                                                \
        }                                                                                                              \
        /* the third and 0.0331 are single precision constants in torch, in every dtype */                             \
        const double d = (double)(T)(shape - (T)(1.0f / 3.0f)), c = 1.0 / sqrt(9.0 * d);                               \
        for (;;) {                                                                                                     \
            double x, y;                                                                                               \
            do {                                                                                                       \
                x = ember_normal_one(g);                                                                               \
                y = 1.0 + c * x;                                                                                       \
            } while (y <= 0);                                                                                          \
            const double v = y * y * y, u = 1.0 - ember_unit_f64(g), xx = x * x;                                       \
            if (u < 1.0 - (double)0.0331f * xx * xx || log(u) < 0.5 * xx + d * (1.0 - v + log(v)))                     \
                return (T)(scale * d * v);                                                                             \
        }                                                                                                              \
    }                                                                                                                  \
    /* aten._standard_gamma: never zero, so that its logarithm is finite */                                            \
    EMBER_FN void ember_standard_gamma_##S(ember_rng *g, const T *shape, T *out, int64_t n) {                          \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            const T x = ember_gamma_one_##S(g, shape[i]);                                                              \
            out[i] = x < TINY ? TINY : x;                                                                              \
        }                                                                                                              \
    }
EMBER_GAMMA(float, f32, FLT_MIN)
EMBER_GAMMA(double, f64, DBL_MIN)
#undef EMBER_GAMMA

#define EMBER_DIRICHLET(T, S, TINY, BELOW_ONE)                                                                         \
    /* aten._sample_dirichlet over rows of k concentrations; `work` holds rows * k doubles (all gammas come first). */ \
    EMBER_FN void ember_dirichlet_##S(ember_rng *g, const T *concentration, T *out, int64_t rows, int64_t k,           \
                                      double *restrict work) {                                                         \
        for (int64_t i = 0; i < rows * k; i++) {                                                                       \
            const double x = ember_gamma_one_f64(g, (double)concentration[i]);                                         \
            work[i] = x < DBL_MIN ? DBL_MIN : x;                                                                       \
        }                                                                                                              \
        for (int64_t row = 0; row < rows; row++) {                                                                     \
            const double *const x = work + row * k;                                                                    \
            double sum = 0;                                                                                            \
            for (int64_t j = 0; j < k; j++) sum += x[j];                                                               \
            for (int64_t j = 0; j < k; j++) {                                                                          \
                const T share = (T)(x[j] / sum);                                                                       \
                out[row * k + j] = share < TINY ? TINY : share > BELOW_ONE ? BELOW_ONE : share;                        \
            }                                                                                                          \
        }                                                                                                              \
    }
EMBER_DIRICHLET(float, f32, FLT_MIN, 0x1.fffffep-1f)
EMBER_DIRICHLET(double, f64, DBL_MIN, 0x1.fffffffffffffp-1)
#undef EMBER_DIRICHLET

/* ---- Poisson ----------------------------------------------------------------------------------------------------- */

extern double lgamma_r(double, int *);

EMBER_FN double ember_poisson_one(ember_rng *g, double rate) {
    if (rate == 0) return 0;
    if (rate < 10) {
        const double stop = exp(-rate);
        double product = ember_unit_f64(g), count = 0;
        while (product > stop) {
            product *= ember_unit_f64(g);
            count += 1;
        }
        return count;
    }
    const double log_rate = log(rate), b = 0.931 + 2.53 * sqrt(rate), a = -0.059 + 0.02483 * b;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), accept = 0.9277 - 3.6224 / (b - 2.0);
    for (;;) {
        const double u = ember_unit_f64(g) - 0.5, v = ember_unit_f64(g), us = 0.5 - fabs(u);
        const double k = floor((2.0 * a / us + b) * u + rate + 0.43);
        if (us >= 0.07 && v <= accept) return k;
        if (k < 0 || (us < 0.013 && v > us)) continue;
        int sign;
        if (log(v) + log(inverse_alpha) - log(a / (us * us) + b) <= -rate + k * log_rate - lgamma_r(k + 1.0, &sign))
            return k;
    }
}

#define EMBER_POISSON(T, S)                                                                                            \
    EMBER_FN void ember_poisson_##S(ember_rng *g, const T *rate, T *out, int64_t n) {                                  \
        for (int64_t i = 0; i < n; i++) out[i] = (T)ember_poisson_one(g, (double)rate[i]);                             \
    }
EMBER_POISSON(float, f32)
EMBER_POISSON(double, f64)
#undef EMBER_POISSON

/* ---- binomial ---------------------------------------------------------------------------------------------------- */

/* log k! less Stirling's formula for it */
EMBER_FN double ember_stirling_tail(double k) {
    static const double tail[10] = {0.0810614667953272,  0.0413406959554092,  0.0276779256849983,  0.02079067210376509,
                                    0.0166446911898211,  0.0138761288230707,  0.0118967099458917,  0.0104112652619720,
                                    0.00925546218271273, 0.00833056343336287};
    if (k < 10) return tail[(int)k];
    const double square = (k + 1) * (k + 1);
    return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1);
}

#define EMBER_BINOMIAL(T, S, SQRT, FLOOR)                                                                              \
    EMBER_FN T ember_binomial_small_##S(ember_rng *g, T count, T p) {                                                  \
        const double log_q = sizeof(T) == 4 ? (double)log1pf((float)-p) : log1p(-(double)p);                           \
        double waited = 0;                                                                                             \
        for (T successes = 0;; successes += 1) {                                                                       \
            waited += ceil(log(ember_unit_f64(g)) / log_q);                                                            \
            if (waited > (double)count) return successes;                                                              \
        }                                                                                                              \
    }                                                                                                                  \
    EMBER_FN T ember_binomial_large_##S(ember_rng *g, T count, T p) {                                                  \
        const double spread = SQRT(count * p * (1 - p)), b = 1.15 + 2.53 * spread;                                     \
        const double a = -0.0873 + 0.0248 * b + 0.01 * (double)p, c = (double)(count * p) + 0.5;                       \
        const double accept = 0.92 - 4.2 / b, odds = p / (1 - p), alpha = (2.83 + 5.1 / b) * spread;                   \
        const double mode = FLOOR((count + 1) * p);                                                                    \
        for (;;) {                                                                                                     \
            const double u = ember_unit_f64(g) - 0.5, v = ember_unit_f64(g), us = 0.5 - fabs(u);                       \
            const T k = (T)floor((2 * a / us + b) * u + c);                                                            \
            if (k < 0 || k > count) continue;                                                                          \
            if (us >= 0.07 && v <= accept) return k;                                                                   \
            const double n = (double)count, x = (double)k;                                                             \
            const double bound = (mode + 0.5) * log((mode + 1) / (odds * (n - mode + 1))) +                            \
                                 (double)(count + 1) * log((n - mode + 1) / (double)(count - k + 1)) +                 \
                                 (x + 0.5) * log(odds * (double)(count - k + 1) / (double)(k + 1)) +                   \
                                 ember_stirling_tail(mode) + ember_stirling_tail(n - mode) - ember_stirling_tail(x) -  \
                                 ember_stirling_tail((double)(count - k));                                             \
            if (log(v * alpha / (a / (us * us) + b)) <= bound) return k;                                               \
        }                                                                                                              \
    }                                                                                                                  \
    EMBER_FN T ember_binomial_one_##S(ember_rng *g, T count, T p) {                                                    \
        if (count <= 0 || p <= 0) return 0;                                                                            \
        if (p >= 1) return count;                                                                                      \
        if (p != p) return p;                                                                                          \
        const T rare = p <= (T)0.5 ? p : (T)1 - p;                                                                     \
        const T k = count * rare >= 10 ? ember_binomial_large_##S(g, count, rare)                                      \
                                       : ember_binomial_small_##S(g, count, rare);                                     \
        return p <= (T)0.5 ? k : count - k;                                                                            \
    }                                                                                                                  \
    EMBER_FN void ember_binomial_##S(ember_rng *g, const T *count, const T *p, T *out, int64_t n) {                    \
        for (int64_t i = 0; i < n; i++) out[i] = ember_binomial_one_##S(g, count[i], p[i]);                            \
    }
EMBER_BINOMIAL(float, f32, sqrtf, floorf)
EMBER_BINOMIAL(double, f64, sqrt, floor)
#undef EMBER_BINOMIAL

#endif
