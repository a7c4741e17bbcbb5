/* A fit by hand: z = loc + exp(log_scale) * noise for each of SITES numbers, the gradient by hand, Adam, and the loop over steps.
 *
 * A file that includes this has defined before: SITES; DRAWS, the sizes in which a step draws its noise; `constant(data)`, the part
 * of the loss that no z changes; and `minus_log_joint(data, z, dz)`, which returns the rest of -log p(z, x) and writes its
 * gradient. Single precision, as in by_hand.py.
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

/* `state`: locations, logarithms of scales, then Adam's means and squares of both; `done` counts the steps taken so far. */
void run(const void *const *data, float *state, numbers *source, double rate, int64_t done, int64_t steps, float *losses) {
    static const int64_t draws[] = DRAWS;
    float noise[SITES], spread[SITES], z[SITES], dz[SITES];
    float *restrict const loc = state, *restrict const log_scale = state + SITES;
    float *restrict const loc_mean = state + 2 * SITES, *restrict const log_mean = state + 3 * SITES;
    float *restrict const loc_square = state + 4 * SITES, *restrict const log_square = state + 5 * SITES;
    const float always = constant(data) - SITES * HALF_LOG_TAU;
    double power1 = pow(0.9, (double)done), power2 = pow(0.999, (double)done);
    for (int64_t step = 0; step < steps; step++) {
        float *next = noise;
        for (size_t i = 0; i < sizeof draws / sizeof *draws; next += draws[i++]) normals(source, next, draws[i]);
        float log_q = 0;
#pragma omp simd reduction(+ : log_q)
        for (int i = 0; i < SITES; i++) {
            spread[i] = expf(log_scale[i]) * noise[i];
            z[i] = loc[i] + spread[i];
            log_q -= 0.5f * noise[i] * noise[i] + log_scale[i];
        }
        losses[step] = log_q + minus_log_joint(data, z, dz) + always;
        power1 *= 0.9;
        power2 *= 0.999;
        const float size = (float)(rate / (1 - power1)), inverse_root = (float)(1 / sqrt(1 - power2));
#pragma omp simd
        for (int i = 0; i < SITES; i++) {
            loc[i] -= adam(dz[i], loc_mean + i, loc_square + i, size, inverse_root);
            log_scale[i] -= adam(dz[i] * spread[i] - 1, log_mean + i, log_square + i, size, inverse_root);
        }
    }
}
