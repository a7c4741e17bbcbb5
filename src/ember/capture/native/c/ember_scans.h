/* Functions that go along a row of numbers, one after the other. */
#ifndef EMBER_SCANS_H
#define EMBER_SCANS_H

#include "ember_base.h"

/* Sums and products of the first elements, put together as torch does: in double precision, or in whole numbers. */
#define EMBER_SCAN(NAME, T, S, WIDE, START, OP)                                                                        \
    EMBER_FN void ember_##NAME##_##S(const T *a, int64_t ar, T *x, int64_t xr, int64_t n) {                            \
        WIDE so_far = START;                                                                                           \
        for (int64_t i = 0; i < n; i++) x[i * xr] = (T)(so_far = so_far OP (WIDE)a[i * ar]);                           \
    }
EMBER_SCAN(cumsum, float, f32, double, 0, +)
EMBER_SCAN(cumsum, double, f64, double, 0, +)
EMBER_SCAN(cumsum, int64_t, i64, int64_t, 0, +)
EMBER_SCAN(cumprod, float, f32, double, 1, *)
EMBER_SCAN(cumprod, double, f64, double, 1, *)
#undef EMBER_SCAN

/* The first place in a row where its extreme is. NaN is larger, and smaller, than all else. */
#define EMBER_PLACE(RULE, T, S, OP)                                                                                    \
    EMBER_FN void ember_place_of_##RULE##_##S(const T *a, int64_t ar, int64_t *at, int64_t n) {                        \
        int64_t place = 0;                                                                                             \
        for (int64_t i = 1; i < n && a[place * ar] == a[place * ar]; i++)                                              \
            if (!(a[i * ar] OP a[place * ar])) place = i;                                                              \
        *at = place;                                                                                                   \
    }
#define EMBER_PLACES(T, S) EMBER_PLACE(max, T, S, <=) EMBER_PLACE(min, T, S, >=)
EMBER_PLACES(float, f32)
EMBER_PLACES(double, f64)
EMBER_PLACES(int64_t, i64)
EMBER_PLACES(uint8_t, b8)
#undef EMBER_PLACES
#undef EMBER_PLACE

#endif
