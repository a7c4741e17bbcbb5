/* A fit by hand: z = loc + scale * noise for each of SITES numbers, the gradient by hand, Adam, and the loop over steps.
 *
 * A file that includes this has defined before: SITES; DRAWS, the sizes in which a step draws its noise; `constant(data)`, the part
 * of the loss that no z changes; and `minus_log_joint(data, z, dz)`, which returns the rest of -log p(z, x) and writes its
 * gradient. What is fitted of a scale is its logarithm; with SOFTPLUS, the number whose log(1 + exp) it is. Single precision, as in
 * by_hand.py.
 */
#include "numbers.h"

#define HALF_LOG_TAU 0.918938533204672742f

static float minus_log_joint(const void *const *data, const float *restrict z, float *restrict dz);
static float constant(const void *const *data);

/* The optimizer of D. P. Kingma and J. Ba, "Adam", 2015, on one leaf. */
static inline __attribute__((always_inline)) float adam(float grad, float *mean, float *square, float size, float inverse_root) {
    *mean += 0.1f * (grad - *mean);
    *square = 0.999f * *square + 0.001f * grad * grad;
    return size * *mean / (sqrtf(*square) * inverse_root + 1e-8f);
}

#ifdef SOFTPLUS
static inline __attribute__((always_inline)) float scale_of(float raw) {
    return (raw > 0 ? raw : 0) + log1pf(expf(-fabsf(raw)));
}
static inline __attribute__((always_inline)) float log_of(float raw, float scale) {
    (void)raw;
    return logf(scale);
}
/* From the derivative of the loss, less log q, by the scale to that of all of it by the raw number. */
static inline __attribute__((always_inline)) float raw_grad(float grad, float scale) {
    return (grad - 1 / scale) * (1 - expf(-scale));
}
#else
static inline __attribute__((always_inline)) float scale_of(float raw) { return expf(raw); }
static inline __attribute__((always_inline)) float log_of(float raw, float scale) {
    (void)scale;
    return raw;
}
static inline __attribute__((always_inline)) float raw_grad(float grad, float scale) { return grad * scale - 1; }
#endif

/* `state`: locations, raw scales, then Adam's means and squares of both; `done` counts the steps taken so far. */
void run(const void *const *data, float *state, numbers *source, double rate, int64_t done, int64_t steps, float *losses) {
    static const int64_t draws[] = DRAWS;
    float noise[SITES], scale[SITES], z[SITES], dz[SITES];
    float *restrict const loc = state, *restrict const raw = state + SITES;
    float *restrict const loc_mean = state + 2 * SITES, *restrict const raw_mean = state + 3 * SITES;
    float *restrict const loc_square = state + 4 * SITES, *restrict const raw_square = state + 5 * SITES;
    const float always = constant(data) - SITES * HALF_LOG_TAU;
    double power1 = pow(0.9, (double)done), power2 = pow(0.999, (double)done);
    for (int64_t step = 0; step < steps; step++) {
        float *next = noise;
        for (size_t i = 0; i < sizeof draws / sizeof *draws; next += draws[i++]) normals(source, next, draws[i]);
        float log_q = 0;
#pragma omp simd reduction(+ : log_q)
        for (int i = 0; i < SITES; i++) {
            scale[i] = scale_of(raw[i]);
            z[i] = loc[i] + scale[i] * noise[i];
            log_q -= 0.5f * noise[i] * noise[i] + log_of(raw[i], scale[i]);
        }
        losses[step] = log_q + minus_log_joint(data, z, dz) + always;
        power1 *= 0.9;
        power2 *= 0.999;
        const float size = (float)(rate / (1 - power1)), inverse_root = (float)(1 / sqrt(1 - power2));
#pragma omp simd
        for (int i = 0; i < SITES; i++) {
            loc[i] -= adam(dz[i], loc_mean + i, loc_square + i, size, inverse_root);
            raw[i] -= adam(raw_grad(dz[i] * noise[i], scale[i]), raw_mean + i, raw_square + i, size, inverse_root);
        }
    }
}
