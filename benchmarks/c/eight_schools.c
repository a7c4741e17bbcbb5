/* Eight schools: mu, log tau, theta[8]; data: effects, errors. */
#define SITES 10
#define DRAWS {1, 1, 8}
#include "mean_field.h"

static float constant(const void *const *data) {
    const float *const error = data[1];
    float sum = logf(5.0f) + 18 * HALF_LOG_TAU;
    for (int i = 0; i < 8; i++) sum += logf(error[i]);
    return sum;
}

static float minus_log_joint(const void *const *data, const float *restrict z, float *restrict dz) {
    const float *restrict const effect = data[0], *restrict const error = data[1], *restrict const theta = z + 2;
    const float mu = z[0], log_tau = z[1], precision = expf(-log_tau);
    float squares = 0, misfit = 0, pull = 0;
#pragma omp simd reduction(+ : squares, misfit, pull)
    for (int i = 0; i < 8; i++) {
        const float r = (theta[i] - mu) * precision, s = (effect[i] - theta[i]) / error[i];
        squares += r * r;
        misfit += s * s;
        pull += r;
        dz[2 + i] = r * precision - s / error[i];
    }
    dz[0] = mu / 25 - pull * precision;
    dz[1] = log_tau + 8 - squares;
    return 0.5f * (mu * mu / 25 + log_tau * log_tau + squares + misfit) + 8 * log_tau;
}
