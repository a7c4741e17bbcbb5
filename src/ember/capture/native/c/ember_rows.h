/* Sums of products along the rows of a matrix, a group of rows at a time.
 *
 * A row that is summed by itself ends with adding up the lanes of one vector register, which takes longer than a short row. Here
 * each row of a group has a register, and the lanes of all are added up together, by halves, so that one register has all sums.
 */
#ifndef EMBER_ROWS_H
#define EMBER_ROWS_H

#include <stdint.h>
#include <string.h>
#include "ember_math.h"

typedef float ember_v8f __attribute__((vector_size(32)));
typedef int32_t ember_v8i __attribute__((vector_size(32)));
typedef double ember_v4d __attribute__((vector_size(32)));
typedef int64_t ember_v4l __attribute__((vector_size(32)));

/* The lanes of two vectors with these numbers. Gcc before 12 has it under another name only. */
#ifndef __has_builtin
#define __has_builtin(name) 0
#endif
#if __has_builtin(__builtin_shufflevector)
#define EMBER_LANES(I, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define EMBER_LANES(I, a, b, ...) __builtin_shuffle(a, b, (I){__VA_ARGS__})
#endif

/* Lanes are added in pairs, and what is left of two registers goes to one. */
static inline __attribute__((always_inline)) ember_v8f ember_lane_sums_f32(const ember_v8f *a) {
    ember_v8f p[4], q[2];
    for (int k = 0; k < 4; k++)
        p[k] = EMBER_LANES(ember_v8i, a[2 * k], a[2 * k + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
               EMBER_LANES(ember_v8i, a[2 * k], a[2 * k + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    for (int k = 0; k < 2; k++)
        q[k] = EMBER_LANES(ember_v8i, p[2 * k], p[2 * k + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
               EMBER_LANES(ember_v8i, p[2 * k], p[2 * k + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    return EMBER_LANES(ember_v8i, q[0], q[1], 0, 1, 2, 3, 8, 9, 10, 11) +
           EMBER_LANES(ember_v8i, q[0], q[1], 4, 5, 6, 7, 12, 13, 14, 15);
}

static inline __attribute__((always_inline)) ember_v4d ember_lane_sums_f64(const ember_v4d *a) {
    ember_v4d p[2];
    for (int k = 0; k < 2; k++)
        p[k] = EMBER_LANES(ember_v4l, a[2 * k], a[2 * k + 1], 0, 4, 2, 6) +
               EMBER_LANES(ember_v4l, a[2 * k], a[2 * k + 1], 1, 5, 3, 7);
    return EMBER_LANES(ember_v4l, p[0], p[1], 0, 1, 4, 5) + EMBER_LANES(ember_v4l, p[0], p[1], 2, 3, 6, 7);
}

/* out[i * step] = sum over j of x[i * stride + j] * w[j], for rows and columns. What does not fill a register at the end of a row
 * is read with the end of the register before it, whose lanes are set to zero: nothing is read outside of the row. */
#define EMBER_ROW_DOTS(S, T, V, I, WORD, LANES)                                                                                  \
    static inline __attribute__((always_inline)) void ember_row_dots_##S(const T *x, int64_t stride, const T *w, T *out,         \
                                                                         int64_t step, int64_t rows, int64_t columns) {          \
        int64_t i = 0;                                                                                                           \
        if (columns >= LANES) {                                                                                                  \
            const int64_t full = columns / LANES * LANES, rest = columns - full;                                                 \
            V last;                                                                                                              \
            I mask;                                                                                                              \
            memcpy(&last, w + columns - LANES, sizeof last);                                                                     \
            for (int l = 0; l < LANES; l++) mask[l] = l >= LANES - rest ? (WORD)-1 : 0;                                          \
            for (; i + LANES <= rows; i += LANES) {                                                                              \
                V a[LANES] = {{0}};                                                                                              \
                for (int64_t j = 0; j < full; j += LANES) {                                                                      \
                    V v;                                                                                                         \
                    memcpy(&v, w + j, sizeof v);                                                                                 \
                    EMBER_UNROLL(8) for (int r = 0; r < LANES; r++) {                                                            \
                        V u;                                                                                                     \
                        memcpy(&u, x + (i + r) * stride + j, sizeof u);                                                          \
                        a[r] += u * v;                                                                                           \
                    }                                                                                                            \
                }                                                                                                                \
                if (rest) {                                                                                                      \
                    EMBER_UNROLL(8) for (int r = 0; r < LANES; r++) {                                                            \
                        I u;                                                                                                     \
                        memcpy(&u, x + (i + r) * stride + columns - LANES, sizeof u);                                            \
                        a[r] += (V)(u & mask) * (V)((I)last & mask);                                                             \
                    }                                                                                                            \
                }                                                                                                                \
                const V sums = ember_lane_sums_##S(a);                                                                           \
                for (int r = 0; r < LANES; r++) out[(i + r) * step] = sums[r];                                                   \
            }                                                                                                                    \
        }                                                                                                                        \
        _Pragma("omp simd") for (int64_t k = i; k < rows; k++) {                                                                 \
            T sum = 0;                                                                                                           \
            for (int64_t j = 0; j < columns; j++) sum += x[k * stride + j] * w[j];                                               \
            out[k * step] = sum;                                                                                                 \
        }                                                                                                                        \
    }

EMBER_ROW_DOTS(f32, float, ember_v8f, ember_v8i, int32_t, 8)
EMBER_ROW_DOTS(f64, double, ember_v4d, ember_v4l, int64_t, 4)

/* Adds up some rows of c to d, and leaves zeros. */
#define EMBER_FOLD(S, T)                                                                                                         \
    static inline void ember_fold_##S(T *c, double *d, int64_t columns, int64_t rows) {                                          \
        for (int64_t r = 0; r < rows; r++)                                                                                       \
            _Pragma("omp simd") for (int64_t i = 0; i < columns; i++) d[i] += c[columns * r + i];                                \
        memset(c, 0, sizeof(T) * columns * rows);                                                                                \
    }

EMBER_FOLD(f32, float)
EMBER_FOLD(f64, double)

#endif
