/* Special functions, one scalar at a time, without control flow where vector code is wanted.
 *
 * All are computed in double precision; the _f32 forms round its result. Checked against torch, SciPy and mpmath in
 * tests/capture/native/c_writer/test_math_c.py, which states the errors.
 *
 * Sources: M. Abramowitz and I. A. Stegun, "Handbook of mathematical functions", 1964: 6.5.29 and 6.5.31 (incomplete
 * gamma), 7.1.23 (erfc), 9.6.10 and 9.7.1 (Bessel), 23.2.3 (zeta, by Euler and Maclaurin's sum); M. J. Wichura, "Algorithm AS 241: the percentage
 * points of the normal distribution", 1988; W. J. Lentz, "Generating Bessel functions in Mie scattering calculations using
 * continued fractions", 1976, as modified by I. J. Thompson and A. R. Barnett, 1986.
 */
#ifndef EMBER_SPECIAL_H
#define EMBER_SPECIAL_H

#include "ember_gamma.h"
#include "ember_math.h"

#define EMBER_CONST_PI 3.14159265358979323846

#define EMBER_ROUNDED_1(f)                                                                                             \
    EMBER_INLINE float ember_##f##_f32(float x) { return (float)ember_##f##_f64((double)x); }
#define EMBER_ROUNDED_2(f)                                                                                             \
    EMBER_INLINE float ember_##f##_f32(float a, float x) { return (float)ember_##f##_f64((double)a, (double)x); }

/* ---- derivatives of digamma ------------------------------------------------------------------------------------------ */

/* Hurwitz's zeta function: the sum of (q + n)^-s over n >= 0, for s > 1. */
EMBER_FN double ember_zeta_f64(double s, double q) {
    if (s == 1) return INFINITY;
    if (!(s > 1) || q != q) return NAN;
    if (q <= 0) {
        if (q == floor(q)) return INFINITY;
        if (s != floor(s)) return NAN;
    }
    double sum = 0, w = q;
    for (int n = 0; n < 9 || w <= 9; n++, w += 1) {
        const double term = pow(w, -s);
        sum += term;
        if (fabs(term) <= 0x1p-54 * fabs(sum)) return sum;
    }
    /* B(2k) / (2k)! of the sum's rest */
    static const double bernoulli[12] = {
        8.3333333333333333e-02,  -1.3888888888888889e-03, 3.3068783068783069e-05,  -8.2671957671957672e-07,
        2.0876756987868099e-08,  -5.2841901386874932e-10, 1.3382536530684679e-11,  -3.3896802963225829e-13,
        8.5860620562778446e-15,  -2.1748686985580618e-16, 5.5090028283602295e-18,  -1.3954464685812523e-19};
    double power = pow(w, -s), factor = s;
    sum += power * w / (s - 1) + 0.5 * power;
    power /= w;
    for (int k = 0; k < 12; k++) {
        const double term = bernoulli[k] * factor * power;
        sum += term;
        if (fabs(term) <= 0x1p-54 * fabs(sum)) break;
        factor *= (s + 2 * k + 1) * (s + 2 * k + 2);
        power /= w * w;
    }
    return sum;
}

/* Derivative number n of digamma, by zeta. */
EMBER_FN double ember_polygamma_of_zeta(int64_t n, double x) {
    const double size = tgamma((double)n + 1) * ember_zeta_f64((double)n + 1, x);
    return n % 2 ? size : -size;
}

/* n is a constant where this is put in place, so that a loop over n = 1 becomes vector code. */
#define EMBER_POLYGAMMA(T, S)                                                                                          \
    EMBER_INLINE T ember_polygamma_##S(int64_t n, T x) {                                                               \
        return n == 0 ? ember_digamma_##S(x) : n == 1 ? ember_trigamma_##S(x) : (T)ember_polygamma_of_zeta(n, x);      \
    }
EMBER_POLYGAMMA(double, f64)
EMBER_POLYGAMMA(float, f32)
#undef EMBER_POLYGAMMA

/* ---- incomplete gamma functions: scalar loops, as long as the argument asks for ------------------------------------- */

/* x^a exp(-x) / gamma(a + 1), without overflow or cancellation for large a */
EMBER_FN double ember_igamma_factor(double a, double x) {
    if (a < 8) return exp(a * log(x) - x - ember_lgamma_f64(a + 1));
    const double d = (x - a) / a;
    double excess; /* x/a - 1 - log(x/a) */
    if (fabs(d) < 0.1) {
        double power = d * d, sign = 1;
        excess = 0;
        for (int k = 2; k < 20; k++, power *= d, sign = -sign) excess += sign * power / k;
    } else {
        excess = d - log(x / a);
    }
    return exp(-a * excess - ember_stirling_rest_f64(1 / (a * a)) / a) / sqrt(2 * EMBER_CONST_PI * a);
}

/* P(a, x) by its power series (x < a + 1), Q(a, x) by its continued fraction (x >= a + 1) */
EMBER_FN double ember_igamma_series(double a, double x) {
    double term = 1, sum = 1;
    for (double n = 1; term > 0x1p-54 * sum; n += 1) {
        term *= x / (a + n);
        sum += term;
    }
    return sum * ember_igamma_factor(a, x);
}

EMBER_FN double ember_igammac_fraction(double a, double x) {
    const double tiny = 1e-300;
    double b = x + 1 - a, c = 1 / tiny, d = 1 / (b == 0 ? tiny : b), h = d;
    for (double n = 1; n < 1e7; n += 1) {
        const double numerator = -n * (n - a);
        b += 2;
        d = numerator * d + b;
        d = 1 / (fabs(d) < tiny ? tiny : d);
        c = b + numerator / c;
        c = fabs(c) < tiny ? tiny : c;
        const double factor = c * d;
        h *= factor;
        if (fabs(factor - 1) < 0x1p-52) break;
    }
    return h * a * ember_igamma_factor(a, x);
}

EMBER_FN double ember_igamma_f64(double a, double x) {
    if (!(x >= 0) || !(a >= 0)) return NAN;
    if (a == 0) return x > 0 ? 1 : NAN;
    if (x == 0) return 0;
    if (isinf(a)) return isinf(x) ? NAN : 0;
    if (isinf(x)) return 1;
    return x < a + 1 ? ember_igamma_series(a, x) : 1 - ember_igammac_fraction(a, x);
}

EMBER_FN double ember_igammac_f64(double a, double x) {
    if (!(x >= 0) || !(a >= 0)) return NAN;
    if (a == 0) return x > 0 ? 0 : NAN;
    if (x == 0) return 1;
    if (isinf(a)) return isinf(x) ? NAN : 1;
    if (isinf(x)) return 0;
    if (x >= a + 1) return ember_igammac_fraction(a, x);
    if (x < 1.1 && a < 1) { /* 1 - P loses digits: 1 - x^a / gamma(a + 1), and the rest of the series */
        double term = 1, sum = 0;
        for (int n = 1; n < 60; n++) {
            term *= -x / n;
            sum += term / (a + n);
        }
        const double lead = expm1(a * log(x) - ember_lgamma_f64(a + 1));
        return -lead - (1 + lead) * a * sum;
    }
    return 1 - ember_igamma_series(a, x);
}
EMBER_ROUNDED_2(igamma)
EMBER_ROUNDED_2(igammac)

/* ---- error functions and the normal distribution ----------------------------------------------------------------------- */

/* exp(x^2) erfc(x). The square in two parts, so that the product keeps its digits; beyond 25 erfc's asymptotic series. */
EMBER_INLINE double ember_erfcx_f64(double x) {
    const double y = x < -27 ? -27 : x > 25 ? 25 : x, high = y * y, low = ember_product_rest_f64(y, y, high);
    const double near = erfc(y) * (ember_exp_f64(high) * (1 + low));
    const double far_x = x > 25 ? x : 25, z = 0.5 / (far_x * far_x);
    double s = -135135;
    s = ember_muladd_f64(s, z, 10395);
    s = ember_muladd_f64(s, z, -945);
    s = ember_muladd_f64(s, z, 105);
    s = ember_muladd_f64(s, z, -15);
    s = ember_muladd_f64(s, z, 3);
    s = ember_muladd_f64(s, z, -1);
    s = ember_muladd_f64(s, z, 1);
    return ember_pick_f64(x > 25, s / far_x * 0.56418958354775628695, near);
}

EMBER_INLINE double ember_log_ndtr_f64(double x) {
    const double t = 0.70710678118654752440 * x;
    const double left = ember_log_f64(0.5 * ember_erfcx_f64(-t)) - t * t, right = ember_log1p_f64(-0.5 * erfc(t));
    return ember_pick_f64(x < -1, left, right);
}

EMBER_INLINE double ember_poly7(double r, double c7, double c6, double c5, double c4, double c3, double c2, double c1,
                                double c0) {
    const double high = ember_muladd_f64(ember_muladd_f64(ember_muladd_f64(c7, r, c6), r, c5), r, c4);
    return ember_muladd_f64(ember_muladd_f64(ember_muladd_f64(ember_muladd_f64(high, r, c3), r, c2), r, c1), r, c0);
}

/* The normal quantile at 1/2 + q, given the smaller of the two probabilities besides (AS 241). */
EMBER_INLINE double ember_quantile(double q, double tail) {
    double r = 0.180625 - q * q;
    const double center = q *
        ember_poly7(r, 2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987,
                    13731.69376550946, 1971.5909503065513, 133.14166789178438, 3.3871328727963665) /
        ember_poly7(r, 5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597,
                    5394.196021424751, 687.1870074920579, 42.31333070160091, 1.0);
    const double depth = sqrt(-ember_log_f64(tail));
    r = depth - 1.6;
    const double middle =
        ember_poly7(r, 0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684,
                    3.6478483247632045, 5.769497221460691, 4.630337846156546, 1.4234371107496835) /
        ember_poly7(r, 1.0507500716444169e-09, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008,
                    0.6897673349851, 1.6763848301838038, 2.053191626637759, 1.0);
    r = depth - 5.0;
    const double far =
        ember_poly7(r, 2.0103343992922881e-07, 2.7115555687434876e-05, 0.0012426609473880784, 0.026532189526576124,
                    0.29656057182850487, 1.7848265399172913, 5.463784911164114, 6.657904643501103) /
        ember_poly7(r, 2.0442631033899397e-15, 1.421511758316446e-07, 1.8463183175100548e-05, 0.0007868691311456133,
                    0.014875361290850615, 0.1369298809227358, 0.599832206555888, 1.0);
    const double outer = tail == 0 ? INFINITY : depth <= 5 ? middle : far;
    return ember_pick_f64(fabs(q) <= 0.425, center, q < 0 ? -outer : outer);
}

EMBER_INLINE double ember_ndtri_f64(double p) {
    const double q = p - 0.5;
    return ember_quantile(q, q < 0 ? p : 1 - p);
}

EMBER_INLINE double ember_erfinv_f64(double x) {
    return 0.70710678118654752440 * ember_quantile(0.5 * x, 0.5 * (1 - fabs(x)));
}

EMBER_ROUNDED_1(erfcx)
EMBER_ROUNDED_1(log_ndtr)
EMBER_ROUNDED_1(ndtri)
EMBER_ROUNDED_1(erfinv)

/* ---- modified Bessel functions of the first kind, plain and scaled by exp(-|x|) -------------------------------------------- */

#define EMBER_BESSEL(order)                                                                                            \
    /* by the power series below 20, where all terms are positive */                                                   \
    EMBER_INLINE double ember_bessel_near_##order(double x) {                                                          \
        const double t = 0.25 * x * x;                                                                                 \
        double s = 1;                                                                                                  \
        EMBER_UNROLL(64) for (int k = 52; k >= 1; k--) s = ember_muladd_f64(t * (1.0 / (k * (k + order))), s, 1);         \
        return order ? 0.5 * x * s : s;                                                                                \
    }                                                                                                                  \
    /* times sqrt(2 pi x) exp(-x), by the asymptotic series from 20 on */                                              \
    EMBER_INLINE double ember_bessel_far_##order(double x) {                                                           \
        const double z = 0.125 / x;                                                                                    \
        double s = 1;                                                                                                  \
        EMBER_UNROLL(32) for (int k = 26; k >= 1; k--)                                                                 \
            s = ember_muladd_f64(z * (((2.0 * k - 1) * (2.0 * k - 1) - 4.0 * order) / k), s, 1);                          \
        return s;                                                                                                      \
    }                                                                                                                  \
    EMBER_INLINE double ember_bessel_##order(double x, bool scaled) {                                                  \
        const double y = fabs(x), low = y < 20 ? y : 20, high = y < 20 ? 20 : y, e = ember_exp_f64(scaled ? -low : high);        \
        const double near = ember_bessel_near_##order(low) * (scaled ? e : 1);                                         \
        const double root = sqrt(2 * EMBER_CONST_PI * high), far = ember_bessel_far_##order(high) / root;              \
        const double size = ember_pick_f64(y != y, y, ember_pick_f64(y < 20, near, scaled ? far : far * e));           \
        return order ? copysign(size, x) : size;                                                                       \
    }                                                                                                                  \
    EMBER_INLINE double ember_i##order##_f64(double x) { return ember_bessel_##order(x, false); }                      \
    EMBER_INLINE double ember_i##order##e_f64(double x) { return ember_bessel_##order(x, true); }                      \
    EMBER_ROUNDED_1(i##order)                                                                                          \
    EMBER_ROUNDED_1(i##order##e)
EMBER_BESSEL(0)
EMBER_BESSEL(1)
#undef EMBER_BESSEL
#undef EMBER_ROUNDED_1
#undef EMBER_ROUNDED_2

#endif
