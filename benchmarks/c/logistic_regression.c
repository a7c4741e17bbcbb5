/* Logistic regression: weight[COLUMNS], bias; data: x (ROWS times COLUMNS, row by row, and PADDED more after the last), y.
 *
 * One pass over the data: a block of rows small enough for the first cache gives its logits, losses and part of the gradient. Rows
 * are taken four at a time, and in whole vectors of VECTOR numbers: what is read of the next row meets a weight of zero.
 */
#define SITES (COLUMNS + 1)
#define DRAWS {COLUMNS, 1}
#include "mean_field.h"

#ifndef VECTOR
#define VECTOR 16
#endif

enum { BLOCK = 128, PADDED = (COLUMNS + VECTOR - 1) / VECTOR * VECTOR };

_Static_assert(ROWS % 4 == 0, "rows are taken four at a time");

static float constant(const void *const *data) {
    (void)data;
    return SITES * HALF_LOG_TAU;
}

/* Returns the loss of `rows` rows and adds to the gradient. */
static inline __attribute__((always_inline)) float block(const float *restrict x, const float *restrict y, int rows,
                                                         const float *restrict weight, float bias, float *restrict dweight,
                                                         float *restrict dbias) {
    float logit[BLOCK], residual[BLOCK], loss = 0, pull = 0;
    for (int row = 0; row < rows; row += 4) {
        const float *restrict const a = x + row * COLUMNS, *restrict const b = a + COLUMNS;
        const float *restrict const c = b + COLUMNS, *restrict const d = c + COLUMNS;
        float p = 0, q = 0, r = 0, s = 0;
#pragma omp simd reduction(+ : p, q, r, s)
        for (int column = 0; column < PADDED; column++) {
            p += a[column] * weight[column];
            q += b[column] * weight[column];
            r += c[column] * weight[column];
            s += d[column] * weight[column];
        }
        logit[row] = p + bias;
        logit[row + 1] = q + bias;
        logit[row + 2] = r + bias;
        logit[row + 3] = s + bias;
    }
#pragma omp simd reduction(+ : loss, pull)
    for (int row = 0; row < rows; row++) {
        const float l = logit[row], e = expf(-fabsf(l));
        loss += (l > 0 ? l : 0) - l * y[row] + log1pf(e);
        residual[row] = (l >= 0 ? 1.0f : e) / (1 + e) - y[row];
        pull += residual[row];
    }
    for (int row = 0; row < rows; row += 4) {
        const float *restrict const a = x + row * COLUMNS, *restrict const b = a + COLUMNS;
        const float *restrict const c = b + COLUMNS, *restrict const d = c + COLUMNS;
        const float p = residual[row], q = residual[row + 1], r = residual[row + 2], s = residual[row + 3];
#pragma omp simd
        for (int column = 0; column < PADDED; column++)
            dweight[column] += p * a[column] + q * b[column] + r * c[column] + s * d[column];
    }
    *dbias += pull;
    return loss;
}

static float minus_log_joint(const void *const *data, const float *restrict z, float *restrict dz) {
    const float *restrict const x = data[0], *restrict const y = data[1];
    const float bias = z[COLUMNS];
    float loss = 0, prior = bias * bias, dbias = bias, weight[PADDED] = {0}, dweight[PADDED] = {0};
    memcpy(weight, z, COLUMNS * sizeof(float));
    memcpy(dweight, z, COLUMNS * sizeof(float)); /* the gradient of the prior */
#pragma omp simd reduction(+ : prior)
    for (int column = 0; column < COLUMNS; column++) prior += z[column] * z[column];
    int row = 0;
    for (; row + BLOCK <= ROWS; row += BLOCK)
        loss += block(x + row * COLUMNS, y + row, BLOCK, weight, bias, dweight, &dbias);
    loss += block(x + row * COLUMNS, y + row, ROWS - row, weight, bias, dweight, &dbias);
    memcpy(dz, dweight, COLUMNS * sizeof(float));
    dz[COLUMNS] = dbias;
    return loss + 0.5f * prior;
}
