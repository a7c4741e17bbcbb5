/* The logarithm of the gamma function and its first two derivatives, without calls and without control flow.
 *
 * Errors in units in the last place for positive arguments, the zeros of the functions included, in double and in single precision:
 * lgamma 2.3 and 2.6, digamma 2.7 and 2.5, trigamma 2.6 and 2.3. Negative arguments are reflected. Between the poles there lie
 * zeros, near which the error is absolute, some units in the last place of 1.
 *
 * Sources: M. Abramowitz and I. A. Stegun, "Handbook of mathematical functions", 1964: 6.1.15, 6.3.5 and 6.4.6 (steps by one), 6.1.17
 * and 6.3.7 (reflection), 6.1.40, 6.3.18 and 6.4.12 (asymptotic series, whose rests are polynomials from tools/polynomials, so that
 * they serve from 2.3 to 3.5 on).
 */
#ifndef EMBER_GAMMA_H
#define EMBER_GAMMA_H

#include "ember_elementary.h"

/* T, S: the type and its suffix. F: the C library's name. BITS: of the fraction. ROOT + ROOT_LOW: of digamma. SLOPE_LOW: what 1 less
 * Euler's constant has beyond its first digits. */
#define EMBER_GAMMA(T, S, F, BITS, ROOT, ROOT_LOW, SLOPE_LOW)                                                          \
    /* The distance to the nearest whole number, with its sign; NaN for an infinite one. */                            \
    EMBER_INLINE T ember_off_whole_##S(T x) {                                                                          \
        const T off = x - 2 * ember_whole_##S((T)0.5 * x); /* half of it leaves room for all fractions */              \
        return off - ember_whole_##S(off);                                                                             \
    }                                                                                                                  \
                                                                                                                       \
    /* sin(pi x) / pi for |x| <= 1/2 */                                                                                \
    EMBER_INLINE T ember_sine_##S(T x) {                                                                               \
        const T z = x * x;                                                                                             \
        return ember_muladd_##S(x * z, ember_sinpi_rest_##S(z), x);                                                    \
    }                                                                                                                  \
                                                                                                                       \
    /* Below 3.5 log gamma(2 + u) for |u| <= 1/2, reached by whole steps, for which the logarithm of a product makes up. */\
    EMBER_INLINE T ember_lgamma_##S(T x) {                                                                             \
        const T y = x < 0 ? 1 - x : x;                                                                                 \
        const bool small = y < (T)3.5;                                                                                 \
        const T from = ember_pick_##S(small, y, 3), n = ember_whole_##S(from), u = from - n;                           \
        const T grown = (T)((uint64_t)1 << (BITS + 1)), second = n < 1 ? y + 1 : 1;                                    \
        const T product = (n == 2 ? 1 : n > 2 ? y - 1 : y) * second;                                                   \
        T rest;                                                                                                        \
        const T high = ember_log_in_two_##S(small ? product * grown : y, small ? BITS + 1 : 0, &rest);                 \
        const T sign = n < 2 ? -1 : 1, slope = (T)0.42278433509846713939, ahead = slope * u;                           \
        const T ahead_rest = ember_muladd_##S(u, SLOPE_LOW, ember_product_rest_##S(slope, u, ahead));                  \
        const T curve = ember_muladd_##S(u * u, ember_lgamma_rest_##S(u), ember_muladd_##S(sign, rest, ahead_rest));   \
        const T near = ember_muladd_##S(sign, high, ahead) + curve;                                                    \
        const T a = y - (T)0.5, b = high - 1, main = a * b, r = 1 / y;                                                 \
        const T tail = ember_muladd_##S(r, ember_stirling_rest_##S(r * r), (T)0.41893853320467274178);                 \
        const T far = main + (ember_muladd_##S(a, rest, ember_product_rest_##S(a, b, main)) + tail);                   \
        const T plain = small ? near : main < (T)INFINITY ? far : main;                                                \
        const T sine = F(fabs)(ember_sine_##S(ember_off_whole_##S(x)));                                                \
        T f;                                                                                                           \
        const T k = ember_log_parts_##S(sine * grown, &f) - (BITS + 1), mirrored = -ember_log_of_parts_##S(k, f) - plain;\
        return (x <= 0) & !(sine > 0) ? (T)INFINITY : x < 0 ? mirrored : plain;                                        \
    }                                                                                                                  \
                                                                                                                       \
    /* Below 2.3 the chord from the root of the part without a pole, digamma(x + 1), and the pole. */                  \
    EMBER_INLINE T ember_digamma_##S(T x) {                                                                            \
        const T y = x < 0 ? 1 - x : x, r = 1 / y, inverse = (T)0.68416667178706953772;                                 \
        const T t = (y - ROOT) - ROOT_LOW, slope = ember_digamma_slope_##S(t), by_root = t * ember_muladd_##S(inverse, r, slope);\
        const T near = y < (T)0.7 ? ember_muladd_##S(t, slope, inverse - r) : by_root;                                 \
        T rest;                                                                                                        \
        const T high = ember_log_in_two_##S(y, 0, &rest);                                                              \
        const T tail = r * ember_muladd_##S(r, ember_digamma_rest_##S(r * r), (T)0.5);                                 \
        const T plain = y < (T)2.3 ? near : y < (T)INFINITY ? high + (rest - tail) : y;                                \
        const T off = ember_off_whole_##S(x), z = off * off;                                                           \
        const T cotangent = (1 - 4 * z) * ember_cospi_##S(z) / ember_sine_##S(off);                                    \
        const T mirrored = off == 0 ? (T)NAN : plain - cotangent;                                                      \
        return x == 0 ? F(copysign)((T)INFINITY, -x) : x < 0 ? mirrored : plain;                                       \
    }                                                                                                                  \
                                                                                                                       \
    /* Below 3 three steps upwards, then the asymptotic series. */                                                     \
    EMBER_INLINE T ember_trigamma_##S(T x) {                                                                           \
        const T y = x < 0 ? 1 - x : x, up = y + 3, r = 1 / (y < 3 ? up : y), first = 1 / y;                            \
        const T next = ember_muladd_##S(y, up, 2); /* (y + 1) (y + 2), whose squares add up to twice that and 1 */     \
        const T steps = ember_muladd_##S(first, first, ember_muladd_##S(2, next, 1) / (next * next));                  \
        const T tail = ember_muladd_##S(r * r, ember_muladd_##S(r, ember_trigamma_rest_##S(r * r), (T)0.5), r);        \
        const T plain = y < 3 ? tail + steps : tail; /* infinite squares of what is tiny are right */                  \
        const T cosecant = 1 / ember_sine_##S(ember_off_whole_##S(x)), mirrored = ember_muladd_##S(cosecant, cosecant, -plain);\
        return x < 0 ? mirrored : plain;                                                                               \
    }                                                                                                                  

EMBER_GAMMA(double, f64, EMBER_NAME_F64, 52, 0x1.762d86356be3fp+0, 0x1.b86a722197829p-54, 0x1.6cb90701fbfabp-58)
EMBER_GAMMA(float, f32, EMBER_NAME_F32, 23, 0x1.762d860000000p+0f, 0x1.ab5f200000000p-27f, 0x1.c824f40000000p-28f)
#undef EMBER_GAMMA

#endif
