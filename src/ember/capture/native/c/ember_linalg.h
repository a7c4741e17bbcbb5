/* Linear algebra of small matrices: what a call of a library costs would be most of the time.
 *
 * Each matrix is a pointer with two strides, from row to row and from column to column. Sizes are constants where the functions are
 * called, so that they are inlined and their loops have known lengths. Many columns are done a block at a time, in memory on the
 * stack, with one lane for each.
 */
#ifndef EMBER_LINALG_H
#define EMBER_LINALG_H

#include <stdint.h>
#include "ember_math.h"

#define EMBER_LINALG static inline __attribute__((always_inline))
#define EMBER_MOST_LANES 32
/* So many terms of a product are laid together at a time. */
#define EMBER_PANEL 64
/* From so many rows on, a matrix that lies row by row is read along its rows. */
#define EMBER_LONG_ROW 32

#define EMBER_SOLVE(T, S)                                                                                              \
    /* a x = b for one column: from the first solved element on to those that wait, or each from all before it. */     \
    EMBER_LINALG void ember_solve_column_##S(const T *a, int64_t ar, int64_t ac, const T *b, int64_t br, T *x,         \
                                             int64_t xr, int64_t n, int upper, int unit) {                             \
        T w[n];                                                                                                        \
        for (int64_t i = 0; i < n; i++) w[i] = b[i * br];                                                              \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            const int64_t j = upper ? n - 1 - k : k, from = upper ? 0 : j + 1, to = upper ? j : n;                     \
            if (ac == 1 && n >= EMBER_LONG_ROW) {                                                                      \
                T sum = 0;                                                                                             \
                const int64_t first = upper ? j + 1 : 0, last = upper ? n : j;                                         \
                _Pragma("omp simd reduction(+ : sum)") for (int64_t i = first; i < last; i++) sum = ember_muladd_##S(a[j * ar + i], w[i], sum); \
                w[j] -= sum;                                                                                           \
            }                                                                                                          \
            if (!unit) w[j] /= a[j * (ar + ac)];                                                                       \
            if (!(ac == 1 && n >= EMBER_LONG_ROW))                                                                     \
                for (int64_t i = from; i < to; i++) w[i] = ember_muladd_##S(-a[i * ar + j * ac], w[j], w[i]);                                 \
        }                                                                                                              \
        for (int64_t i = 0; i < n; i++) x[i * xr] = w[i];                                                              \
    }                                                                                                                  \
    EMBER_LINALG void ember_solve_block_##S(const T *a, int64_t ar, int64_t ac, const T *b, int64_t br, int64_t bc,    \
                                            T *x, int64_t xr, int64_t xc, int64_t n, int upper, int unit,              \
                                            const int64_t columns, const int64_t lanes) {                              \
        T w[n * lanes];                                                                                                \
        if (columns < lanes)                                                                                           \
            for (int64_t i = 0; i < n * lanes; i++) w[i] = 0;                                                          \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t c = 0; c < columns; c++) w[i * lanes + c] = b[i * br + c * bc];                               \
        for (int64_t k = 0; k < n; k++) {                                                                              \
            const int64_t i = upper ? n - 1 - k : k, from = upper ? i + 1 : 0, to = upper ? n : i;                     \
            T row[EMBER_MOST_LANES];                                                                                   \
            for (int64_t c = 0; c < lanes; c++) row[c] = w[i * lanes + c];                                             \
            for (int64_t j = from; j < to; j++)                                                                        \
                for (int64_t c = 0; c < lanes; c++)                                                                    \
                    row[c] = ember_muladd_##S(-a[i * ar + j * ac], w[j * lanes + c], row[c]);                          \
            if (!unit)                                                                                                 \
                for (int64_t c = 0; c < lanes; c++) row[c] /= a[i * (ar + ac)];                                        \
            for (int64_t c = 0; c < lanes; c++) w[i * lanes + c] = row[c];                                             \
        }                                                                                                              \
        for (int64_t c = 0; c < columns; c++)                                                                          \
            for (int64_t i = 0; i < n; i++) x[i * xr + c * xc] = w[i * lanes + c];                                     \
    }                                                                                                                  \
    EMBER_LINALG void ember_solve_lanes_##S(const T *a, int64_t ar, int64_t ac, const T *b, int64_t br, int64_t bc,    \
                                            T *x, int64_t xr, int64_t xc, int64_t n, int64_t m, int upper, int unit,   \
                                            const int64_t lanes) {                                                     \
        const int64_t full = m / lanes * lanes;                                                                        \
        for (int64_t c = 0; c < full; c += lanes)                                                                      \
            ember_solve_block_##S(a, ar, ac, b + c * bc, br, bc, x + c * xc, xr, xc, n, upper, unit, lanes, lanes);    \
        if (full < m)                                                                                                  \
            ember_solve_block_##S(a, ar, ac, b + full * bc, br, bc, x + full * xc, xr, xc, n, upper, unit, m - full,   \
                                  lanes);                                                                              \
    }                                                                                                                  \
    /* x with a x = b, for a triangular matrix a of n rows, and m columns. */                                          \
    EMBER_LINALG void ember_solve_triangular_##S(const T *a, int64_t ar, int64_t ac, const T *b, int64_t br,           \
                                                 int64_t bc, T *x, int64_t xr, int64_t xc, int64_t n, int64_t m,       \
                                                 int upper, int unit) {                                                \
        if (m == 1)                                                                                                    \
            ember_solve_column_##S(a, ar, ac, b, br, x, xr, n, upper, unit);                                           \
        else if (m <= 8)                                                                                               \
            ember_solve_lanes_##S(a, ar, ac, b, br, bc, x, xr, xc, n, m, upper, unit, 8);                              \
        else if (m <= 16)                                                                                              \
            ember_solve_lanes_##S(a, ar, ac, b, br, bc, x, xr, xc, n, m, upper, unit, 16);                             \
        else                                                                                                           \
            ember_solve_lanes_##S(a, ar, ac, b, br, bc, x, xr, xc, n, m, upper, unit, EMBER_MOST_LANES);               \
    }
EMBER_SOLVE(float, f32)
EMBER_SOLVE(double, f64)
#undef EMBER_SOLVE

#define EMBER_CHOLESKY(T, S, ROOT)                                                                                     \
    EMBER_LINALG int ember_cholesky_lower_##S(const T *a, int64_t ar, int64_t ac, T *l, int64_t lr, int64_t lc,        \
                                              int64_t n) {                                                             \
        /* Each column is finished and taken from all later ones; w has columns one after another. */                  \
        T w[n * n];                                                                                                    \
        for (int64_t j = 0; j < n; j++)                                                                                \
            for (int64_t i = 0; i < n; i++) w[j * n + i] = i < j ? 0 : a[i * ar + j * ac];                             \
        for (int64_t j = 0; j < n; j++) {                                                                              \
            T *const column = w + j * n;                                                                               \
            if (!(column[j] > 0)) return 1;                                                                            \
            const T root = ROOT(column[j]);                                                                            \
            column[j] = root;                                                                                          \
            for (int64_t i = j + 1; i < n; i++) column[i] /= root;                                                     \
            for (int64_t k = j + 1; k < n; k++) {                                                                      \
                T *const later = w + k * n;                                                                            \
                /* What lies above the diagonal is not used: whole vectors. */                                         \
                for (int64_t i = k & ~7; i < n; i++) later[i] = ember_muladd_##S(-column[k], column[i], later[i]);                                \
            }                                                                                                          \
        }                                                                                                              \
        for (int64_t j = 0; j < n; j++)                                                                                \
            for (int64_t i = 0; i < n; i++) l[i * lr + j * lc] = i < j ? 0 : w[j * n + i];                             \
        return 0;                                                                                                      \
    }                                                                                                                  \
    /* The lower l with l l' = a, of which the lower half is read, or the upper one with l' l = a, from the upper half. \
     * Returns 1, with nothing written, if there is none. */                                                           \
    EMBER_LINALG int ember_cholesky_##S(const T *a, int64_t ar, int64_t ac, T *l, int64_t lr, int64_t lc,              \
                                        int32_t *info, int64_t n, int upper) {                                         \
        *info = 0;                                                                                                     \
        return upper ? ember_cholesky_lower_##S(a, ac, ar, l, lc, lr, n)                                               \
                     : ember_cholesky_lower_##S(a, ar, ac, l, lr, lc, n);                                              \
    }
EMBER_CHOLESKY(float, f32, sqrtf)
EMBER_CHOLESKY(double, f64, sqrt)
#undef EMBER_CHOLESKY

#define EMBER_PRODUCT(T, S)                                                                                            \
    /* Terms are added to two rows at once: sums that do not wait for each other. */                                  \
    EMBER_LINALG void ember_product_rows_##S(const T *a, int64_t ar, int64_t ac, const T *b, int64_t br, T *sums,      \
                                             int64_t terms, const int rows, const int64_t columns) {                   \
        T now[2 * EMBER_MOST_LANES];                                                                                   \
        for (int64_t c = 0; c < rows * columns; c++) now[c] = sums[c];                                                 \
        for (int64_t j = 0; j < terms; j++)                                                                            \
            EMBER_UNROLL(2) for (int r = 0; r < rows; r++) for (int64_t c = 0; c < columns; c++)                       \
                now[r * columns + c] = ember_muladd_##S(a[r * ar + j * ac], b[j * br + c], now[r * columns + c]);      \
        for (int64_t c = 0; c < rows * columns; c++) sums[c] = now[c];                                                 \
    }                                                                                                                  \
    EMBER_LINALG void ember_product_block_##S(const T *a, int64_t ar, int64_t ac, const T *b, int64_t br, int64_t bc,  \
                                              T *x, int64_t xr, int64_t xc, int64_t n, int64_t k,                      \
                                              const int64_t columns) {                                                 \
        T sums[n * columns], w[EMBER_PANEL * EMBER_MOST_LANES];                                                        \
        for (int64_t i = 0; i < n * columns; i++) sums[i] = 0;                                                         \
        for (int64_t start = 0; start < k; start += EMBER_PANEL) {                                                     \
            const int64_t terms = k - start < EMBER_PANEL ? k - start : EMBER_PANEL;                                   \
            const T *rows = b + start * br;                                                                            \
            int64_t step = br, i = 0;                                                                                  \
            if (bc != 1) {                                                                                             \
                for (int64_t c = 0; c < columns; c++)                                                                  \
                    for (int64_t j = 0; j < terms; j++) w[j * columns + c] = b[(start + j) * br + c * bc];             \
                rows = w;                                                                                              \
                step = columns;                                                                                        \
            }                                                                                                          \
            for (; i + 2 <= n; i += 2)                                                                                 \
                ember_product_rows_##S(a + i * ar + start * ac, ar, ac, rows, step, sums + i * columns, terms, 2, columns);\
            for (; i < n; i++)                                                                                         \
                ember_product_rows_##S(a + i * ar + start * ac, ar, ac, rows, step, sums + i * columns, terms, 1, columns);\
        }                                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                                                \
            for (int64_t c = 0; c < columns; c++) x[i * xr + c * xc] = sums[i * columns + c];                          \
    }                                                                                                                  \
    /* x = a b, for n rows, k terms and m columns. */                                                                  \
    EMBER_LINALG void ember_product_##S(const T *a, int64_t ar, int64_t ac, const T *b, int64_t br, int64_t bc, T *x,  \
                                        int64_t xr, int64_t xc, int64_t n, int64_t k, int64_t m) {                     \
        const int64_t full = m / EMBER_MOST_LANES * EMBER_MOST_LANES;                                                  \
        for (int64_t c = 0; c < full; c += EMBER_MOST_LANES)                                                           \
            ember_product_block_##S(a, ar, ac, b + c * bc, br, bc, x + c * xc, xr, xc, n, k, EMBER_MOST_LANES);        \
        if (full < m)                                                                                                  \
            ember_product_block_##S(a, ar, ac, b + full * bc, br, bc, x + full * xc, xr, xc, n, k, m - full);          \
    }
EMBER_PRODUCT(float, f32)
EMBER_PRODUCT(double, f64)
#undef EMBER_PRODUCT

#endif
