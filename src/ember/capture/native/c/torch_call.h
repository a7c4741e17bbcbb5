/* Calls of torch from a generated program. E is a table that Python fills: the calls' numbers in it are fixed when the program is
 * written, its pointers when the program is bound to memory. Nothing of torch or Python is linked or compiled here.
 *
 * A call returns 0, or -1 with a Python exception set; the interpreter's lock is held. */
#ifndef EMBER_TORCH_CALL_H
#define EMBER_TORCH_CALL_H

#include <stdint.h>

/* E[0] is PyObject_CallNoArgs and E[1] is Py_DecRef. */
static int ember_call_python(void *const *E, int callable) {
    void *result = ((void *(*)(void *))E[0])(E[callable]);
    if (!result) return -1;
    ((void (*)(void *))E[1])(result);
    return 0;
}

/* At `first`: a function of torch's C interface, three tensors, and a Python callable that does the same. Where torch refuses, the
 * callable is what raises its error. */
static int ember_call_product(void *const *E, int first) {
    int32_t (*function)(void *, void *, void *) = (int32_t(*)(void *, void *, void *))E[first];
    if (function && function(E[first + 1], E[first + 2], E[first + 3]) == 0) return 0;
    return ember_call_python(E, first + 4);
}

/* The same with four tensors and two factors. */
static int ember_call_sum_and_product(void *const *E, int first, double beta, double alpha) {
    int32_t (*function)(void *, void *, void *, void *, double, double) =
        (int32_t(*)(void *, void *, void *, void *, double, double))E[first];
    if (function && function(E[first + 1], E[first + 2], E[first + 3], E[first + 4], beta, alpha) == 0) return 0;
    return ember_call_python(E, first + 5);
}

/* Functions of BLAS and LAPACK see a matrix column by column: element (r, c) of x is x[r + c * ldx]. That of what is copied to it
 * first is b[r * br + c * bc]. */
enum { EMBER_SQUARE = 32 };
#define EMBER_ROUTINES(T, S)                                                                                            \
    /* The part of b with rows from `low` to `high` below the diagonal, in squares that stay in the nearest cache. */   \
    static void ember_columns_##S(const T *b, int64_t br, int64_t bc, T *x, int64_t ldx, int64_t m, int64_t n,          \
                                  int64_t low, int64_t high) {                                                          \
        for (int64_t c0 = 0; c0 < n; c0 += EMBER_SQUARE)                                                                \
            for (int64_t r0 = 0; r0 < m; r0 += EMBER_SQUARE)                                                            \
                for (int64_t c = c0; c < n && c < c0 + EMBER_SQUARE; c++) {                                             \
                    const int64_t first = c + low > r0 ? c + low : r0;                                                  \
                    const int64_t most = r0 + EMBER_SQUARE < m ? r0 + EMBER_SQUARE : m;                                 \
                    const int64_t end = c + high + 1 < most ? c + high + 1 : most;                                      \
                    if (br == 1)                                                                                        \
                        for (int64_t r = first; r < end; r++) x[r + c * ldx] = b[r + c * bc];                           \
                    else                                                                                                \
                        for (int64_t r = first; r < end; r++) x[r + c * ldx] = b[r * br + c * bc];                      \
                }                                                                                                       \
    }                                                                                                                   \
    /* At `first`: the function, a, b, x and a Python callable. x becomes what op(a) x = b or x op(a) = b has. */       \
    static int ember_call_solve_##S(void *const *E, int first, char side, char uplo, char trans, char unit, int m,      \
                                    int n, int lda, int ldx, int64_t br, int64_t bc) {                                  \
        void (*function)(char *, char *, char *, char *, int *, int *, T *, void *, int *, void *, int *) =             \
            (void (*)(char *, char *, char *, char *, int *, int *, T *, void *, int *, void *, int *))E[first];        \
        if (!function) return ember_call_python(E, first + 4);                                                          \
        T one = 1;                                                                                                      \
        ember_columns_##S((const T *)E[first + 2], br, bc, (T *)E[first + 3], ldx, m, n, -n, m);                        \
        function(&side, &uplo, &trans, &unit, &m, &n, &one, E[first + 1], &lda, E[first + 3], &ldx);                    \
        return 0;                                                                                                       \
    }                                                                                                                   \
    /* At `first`: the function, a, its factor, info and a Python callable, which raises where there is no factor. */   \
    static int ember_call_factor_##S(void *const *E, int first, char uplo, int n, int ldx, int64_t br, int64_t bc) {    \
        void (*function)(char *, int *, void *, int *, int *) =                                                         \
            (void (*)(char *, int *, void *, int *, int *))E[first];                                                    \
        T *const x = (T *)E[first + 2];                                                                                 \
        const int lower = uplo == 'L';                                                                                  \
        int info = 1;                                                                                                   \
        if (function) {                                                                                                 \
            ember_columns_##S((const T *)E[first + 1], br, bc, x, ldx, n, n, lower ? 0 : -n, lower ? n : 0);            \
            function(&uplo, &n, x, &ldx, &info);                                                                        \
        }                                                                                                               \
        if (info) return ember_call_python(E, first + 4);                                                               \
        for (int64_t c = 0; c < n; c++)                                                                                 \
            for (int64_t r = lower ? 0 : c + 1; r < (lower ? c : n); r++) x[r + c * ldx] = 0;                           \
        *(int32_t *)E[first + 3] = 0;                                                                                   \
        return 0;                                                                                                       \
    }
EMBER_ROUTINES(float, f32)
EMBER_ROUTINES(double, f64)
#undef EMBER_ROUTINES

#endif
