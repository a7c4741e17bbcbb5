/* Counts with a rate for each column: log rate[COLUMNS]; data: counts (ROWS times COLUMNS, row by row). */
#define SITES COLUMNS
#define DRAWS {COLUMNS}
#include "mean_field.h"

static const float shape = 2.0f, inverse_scale = 0.5f;

static float constant(const void *const *data) {
    const float *const count = data[0];
    double sum = COLUMNS * (lgamma(shape) - shape * log(inverse_scale));
    for (int i = 0; i < ROWS * COLUMNS; i++) sum += lgamma(count[i] + 1.0);
    return (float)sum;
}

static float minus_log_joint(const void *const *data, const float *restrict z, float *restrict dz) {
    const float *restrict const count = data[0];
    float rate[COLUMNS], loss = 0;
#pragma omp simd reduction(+ : loss)
    for (int column = 0; column < COLUMNS; column++) { /* the derivative of the transform is part of the prior */
        rate[column] = expf(z[column]);
        loss += inverse_scale * rate[column] - shape * z[column];
        dz[column] = inverse_scale * rate[column] - shape;
    }
    for (int row = 0; row < ROWS; row++) {
        const float *restrict const k = count + row * COLUMNS;
        float some = 0;
#pragma omp simd reduction(+ : some)
        for (int column = 0; column < COLUMNS; column++) {
            some += rate[column] - k[column] * z[column];
            dz[column] += rate[column] - k[column];
        }
        loss += some;
    }
    return loss;
}
