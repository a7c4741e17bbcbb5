/* Exponentials and logarithms that become vector code wherever a loop does: no calls, no control flow, and the same bits whatever
 * the C library, the width of vectors and the place of an element in its loop.
 *
 * Errors, the largest found over all kinds of arguments, in units in the last place, in double and in single precision: exp 0.9 and
 * 1.0, expm1 1.8 and 1.5, log 0.8 and 0.8, log1p 0.8 and 1.3. tests/capture/native/c_writer/test_vector_math.py measures them.
 *
 * Sources: reduction by powers of two with the logarithm of 2 in two parts, W. J. Cody and W. Waite, "Software manual for the
 * elementary functions", 1980; log(1 + f) = f - (f^2/2 - s (f^2/2 + ...)) with s = f / (2 + f), which is the series of
 * artanh rearranged so that its first term is exact; log(sigmoid) and log(1 + exp) as M. Maechler, "Accurately computing
 * log(1 - exp(-|a|))", 2012, rearranges them. The polynomials come from tools/polynomials.
 */
#ifndef EMBER_ELEMENTARY_H
#define EMBER_ELEMENTARY_H

#include "ember_base.h"
#include "ember_polynomials.h"

/* f - log(1 + f), in double by one division, in single precision by a polynomial, each for what it costs */
EMBER_INLINE double ember_log_curve_f64(double f) {
    const double s = f / (2 + f), z = s * s, h = 0.5 * f * f;
    return h - s * ember_muladd_f64(z, ember_log_rest_f64(z), h);
}
EMBER_INLINE float ember_log_curve_f32(float f) { return f * f * ember_log_bend_f32(f); }

/* T, U: the type, and that of its bits. BITS: of its fraction. BIAS: of its exponent. LN2_HIGH + LN2_LOW: the logarithm of 2, whose
 * first part times an exponent is exact. LOWEST, HIGHEST: where exp is zero and infinite. LEAST: the smallest normal number. */
#define EMBER_ELEMENTARY(T, U, S, BITS, BIAS, SQRT_HALF, LN2_HIGH, LN2_LOW, LOWEST, HIGHEST, LEAST)                    \
    /* the nearest whole number: what is left where there is no room for a fraction */                                 \
    EMBER_INLINE T ember_whole_##S(T x) {                                                                              \
        const T wide = (T)((U)3 << (BITS - 1));                                                                        \
        return (x + wide) - wide;                                                                                      \
    }                                                                                                                  \
    /* 2^k for whole k from 1 - BIAS to BIAS */                                                                        \
    EMBER_INLINE T ember_power_of_2_##S(T k) {                                                                         \
        return ember_of_bits_##S(ember_bits_##S(k + (T)(((U)3 << (BITS - 1)) + BIAS)) << BITS);                        \
    }                                                                                                                  \
    /* x = k log(2) + r; what comes back is exp(r) - 1 */                                                              \
    EMBER_INLINE T ember_exp_parts_##S(T x, T *k) {                                                                    \
        *k = ember_whole_##S(x * (T)1.44269504088896340736);                                                           \
        const T r = ember_muladd_##S(*k, -LN2_LOW, ember_muladd_##S(*k, -LN2_HIGH, x));                                \
        return ember_muladd_##S(r * r, ember_exp_rest_##S(r), r);                                                      \
    }                                                                                                                  \
    EMBER_INLINE T ember_exp_##S(T x) {                                                                                \
        const T above = x < LOWEST ? LOWEST : x;                                                                       \
        T k;                                                                                                           \
        const T e = 1 + ember_exp_parts_##S(above > HIGHEST ? HIGHEST : above, &k);                                    \
        const T half = ember_whole_##S(k * (T)0.5); /* in two steps, as a result may be subnormal */                   \
        return e * ember_power_of_2_##S(half) * ember_power_of_2_##S(k - half);                                        \
    }                                                                                                                  \
    EMBER_INLINE T ember_expm1_##S(T x) {                                                                              \
        const T above = x < -50 ? -50 : x;                                                                             \
        T k;                                                                                                           \
        const T e = ember_exp_parts_##S(above > HIGHEST ? HIGHEST : above, &k), half = ember_whole_##S(k * (T)0.5);    \
        const T scale = ember_power_of_2_##S(k - half), less = scale - ember_power_of_2_##S(-half);                    \
        const T size = ember_power_of_2_##S(half) * ember_muladd_##S(scale, e, less);                                  \
        return x == 0 ? x : size;                                                                                      \
    }                                                                                                                  \
    /* x = 2^k (1 + f) for a normal x > 0, with 1 + f from sqrt(1/2) to sqrt(2) */                                     \
    EMBER_INLINE T ember_log_parts_##S(T x, T *f) {                                                                    \
        const U one = (U)BIAS << BITS, bits = ember_bits_##S(x) + (one - SQRT_HALF);                                   \
        *f = ember_of_bits_##S((bits & (((U)1 << BITS) - 1)) + SQRT_HALF) - 1;                                         \
        const T wide = (T)((U)1 << BITS);                                                                              \
        return ember_of_bits_##S((bits >> BITS) | ember_bits_##S(wide)) - (wide + BIAS);                               \
    }                                                                                                                  \
    EMBER_INLINE T ember_log_of_parts_##S(T k, T f) {                                                                  \
        return k * LN2_HIGH - (ember_muladd_##S(k, -LN2_LOW, ember_log_curve_##S(f)) - f);                             \
    }                                                                                                                  \
    /* log(x) of a normal x > 0 times 2^-less in two parts, the first as near as it gets */                            \
    EMBER_INLINE T ember_log_in_two_##S(T x, T less, T *rest) {                                                        \
        T f;                                                                                                           \
        const T k = ember_log_parts_##S(x, &f) - less, whole = k * LN2_HIGH, high = whole + f;                         \
        *rest = ((whole - high) + f) + ember_muladd_##S(k, LN2_LOW, -ember_log_curve_##S(f));                          \
        return high;                                                                                                   \
    }                                                                                                                  \
    EMBER_INLINE T ember_log_##S(T x) {                                                                                \
        const bool tiny = x < LEAST; /* subnormal numbers among them */                                                \
        T f;                                                                                                           \
        const T k = ember_log_parts_##S(tiny ? x * (T)((U)1 << (BITS + 1)) : x, &f);                                   \
        const T size = ember_log_of_parts_##S(k - (tiny ? BITS + 1 : 0), f), upper = x < (T)INFINITY ? size : x;       \
        return x > 0 ? upper : x == 0 ? -(T)INFINITY : (T)NAN;                                                         \
    }                                                                                                                  \
    /* 1 + x = 2^k (1 + f): f = 2^-k x + (2^-k - 1), which is rounded once */                                          \
    EMBER_INLINE T ember_log1p_##S(T x) {                                                                              \
        T f;                                                                                                           \
        const T k = ember_log_parts_##S(1 + x, &f);                                                                    \
        const bool large = k > BIAS - 1;                                                                               \
        const T scale = ember_power_of_2_##S(large ? 0 : -k), curved = ember_muladd_##S(x, scale, scale - 1);          \
        const T size = ember_log_of_parts_##S(k, large ? f : curved), upper = x < (T)INFINITY ? size : x;              \
        return x == 0 ? x : x > -1 ? upper : x == -1 ? -(T)INFINITY : (T)NAN;                                          \
    }

EMBER_ELEMENTARY(double, uint64_t, f64, 52, 1023, UINT64_C(0x3fe6a09e667f3bcd), 0x1.62e42fefa38p-1, 0x1.ef35793c7673p-45,
                 -746.0, 710.0, DBL_MIN)
EMBER_ELEMENTARY(float, uint32_t, f32, 23, 127, UINT32_C(0x3f3504f3), 0x1.62ep-1f, 0x1.0bfbe8p-15f, -104.0f, 89.0f, FLT_MIN)
#undef EMBER_ELEMENTARY

#endif
