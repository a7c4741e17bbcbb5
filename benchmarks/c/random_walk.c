/* A random walk seen through noise: log tau, log sigma, step[STEPS]; data: y[STEPS]. */
#define SITES (STEPS + 2)
#define DRAWS {1, 1, STEPS}
#include "mean_field.h"

static float constant(const void *const *data) {
    (void)data;
    return (SITES + STEPS) * HALF_LOG_TAU;
}

static float minus_log_joint(const void *const *data, const float *restrict z, float *restrict dz) {
    const float *restrict const y = data[0], *restrict const step = z + 2;
    const float tau = expf(z[0]), precision = expf(-z[1]);
    float mean[STEPS], scaled[STEPS], place = 0, prior = 0, squares = 0, tilt = 0;
    for (int t = 0; t < STEPS; t++) {
        place += step[t];
        mean[t] = tau * place;
    }
#pragma omp simd reduction(+ : prior, squares, tilt)
    for (int t = 0; t < STEPS; t++) {
        const float r = (y[t] - mean[t]) * precision;
        prior += step[t] * step[t];
        squares += r * r;
        scaled[t] = r * precision;
        tilt += scaled[t] * mean[t];
    }
    float later = 0; /* what all places from here on ask of a step */
    for (int t = STEPS - 1; t >= 0; t--) {
        later += scaled[t];
        dz[2 + t] = step[t] - tau * later;
    }
    dz[0] = z[0] - tilt;
    dz[1] = z[1] + STEPS - squares;
    return 0.5f * (z[0] * z[0] + z[1] * z[1] + prior + squares) + STEPS * z[1];
}
