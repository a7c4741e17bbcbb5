/* A line with an offset for each group: intercept, slope, log tau, log sigma, offset[GROUPS]; data: x, group, y of ROWS rows.
 *
 * Rows are taken in the order in which they come.
 */
#define SITES (GROUPS + 4)
#define DRAWS {1, 1, 1, 1, GROUPS}
#include "mean_field.h"

enum { BLOCK = 256 };

static float constant(const void *const *data) {
    (void)data;
    return (SITES + ROWS) * HALF_LOG_TAU;
}

static float minus_log_joint(const void *const *data, const float *restrict z, float *restrict dz) {
    const float *restrict const x = data[0], *restrict const y = data[2], *restrict const offset = z + 4;
    const int32_t *restrict const group = data[1];
    float *restrict const doffset = dz + 4;
    const float intercept = z[0], slope = z[1], log_tau = z[2], log_sigma = z[3];
    const float between = expf(-2 * log_tau), precision = expf(-log_sigma);
    float offsets = 0, squares = 0, pull = 0, tilt = 0;
#pragma omp simd reduction(+ : offsets)
    for (int i = 0; i < GROUPS; i++) {
        offsets += offset[i] * offset[i];
        doffset[i] = offset[i] * between;
    }
    for (int start = 0; start < ROWS; start += BLOCK) {
        const int rows = ROWS - start < BLOCK ? ROWS - start : BLOCK;
        const float *restrict const xs = x + start, *restrict const ys = y + start;
        const int32_t *restrict const groups = group + start;
        float scaled[BLOCK], some = 0;
#pragma omp simd reduction(+ : some, pull, tilt)
        for (int i = 0; i < rows; i++) {
            const float r = (ys[i] - (intercept + slope * xs[i] + offset[groups[i]])) * precision;
            some += r * r;
            scaled[i] = r * precision;
            pull += scaled[i];
            tilt += scaled[i] * xs[i];
        }
        squares += some;
        for (int i = 0; i < rows; i++) doffset[groups[i]] -= scaled[i];
    }
    dz[0] = intercept - pull;
    dz[1] = slope - tilt;
    dz[2] = log_tau + GROUPS - offsets * between;
    dz[3] = log_sigma + ROWS - squares;
    return 0.5f * (intercept * intercept + slope * slope + log_tau * log_tau + log_sigma * log_sigma) +
           0.5f * (offsets * between + squares) + GROUPS * log_tau + ROWS * log_sigma;
}
