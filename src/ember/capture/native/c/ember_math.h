/* The arithmetic of torch's elementwise operators, one scalar at a time, for float and double.
 *
 * Every function is `static inline` and free of control flow, so that a loop under `#pragma omp simd` that calls it becomes
 * vector code. Names end in the dtype: _f32, _f64, _i64, _i32, _u8. Exponentials and logarithms are those of ember_elementary.h. A
 * call of sin, pow, ... becomes a call of glibc's vector variant (libmvec) where EMBER_LIBMVEC says that the tool chain has them: 2
 * for all, 1 for those of glibc before 2.35, undefined for none. Their error is at most 4 units in the last place; the scalar ones
 * stay below 1.
 *
 * Sources: the definitions of the functions; for log(sigmoid) and log(1 + exp) the rearrangements in M. Maechler, "Accurately
 * computing log(1 - exp(-|a|))", 2012; floor division and remainder as Python's language reference defines them.
 */
#ifndef EMBER_MATH_H
#define EMBER_MATH_H

#include "ember_elementary.h"

/* ---- vector variants of the C library ---------------------------------------------------------------------------- */

#define EMBER_VECTOR_1(name)                                                                                           \
    EMBER_DO_PRAGMA(omp declare simd notinbranch) extern double name(double);                                          \
    EMBER_DO_PRAGMA(omp declare simd notinbranch) extern float name##f(float);
#define EMBER_VECTOR_2(name)                                                                                           \
    EMBER_DO_PRAGMA(omp declare simd notinbranch) extern double name(double, double);                                  \
    EMBER_DO_PRAGMA(omp declare simd notinbranch) extern float name##f(float, float);

#if defined(EMBER_LIBMVEC) && EMBER_LIBMVEC >= 1
EMBER_VECTOR_1(sin) EMBER_VECTOR_1(cos) EMBER_VECTOR_2(pow)
#endif
#if defined(EMBER_LIBMVEC) && EMBER_LIBMVEC >= 2
EMBER_VECTOR_1(exp2) EMBER_VECTOR_1(log2) EMBER_VECTOR_1(log10)
EMBER_VECTOR_1(tan) EMBER_VECTOR_1(asin) EMBER_VECTOR_1(acos) EMBER_VECTOR_1(atan) EMBER_VECTOR_2(atan2)
EMBER_VECTOR_1(sinh) EMBER_VECTOR_1(cosh)
EMBER_VECTOR_1(asinh) EMBER_VECTOR_1(acosh) EMBER_VECTOR_1(atanh)
EMBER_VECTOR_1(erf) EMBER_VECTOR_1(erfc) EMBER_VECTOR_2(hypot)
#endif

#define EMBER_FROM_C_1(name)                                                                                           \
    EMBER_INLINE double ember_##name##_f64(double x) { return name(x); }                                               \
    EMBER_INLINE float ember_##name##_f32(float x) { return name##f(x); }
#define EMBER_FROM_C_2(name)                                                                                           \
    EMBER_INLINE double ember_##name##_f64(double x, double y) { return name(x, y); }                                  \
    EMBER_INLINE float ember_##name##_f32(float x, float y) { return name##f(x, y); }

EMBER_FROM_C_1(exp2) EMBER_FROM_C_1(log2) EMBER_FROM_C_1(log10)
EMBER_FROM_C_1(sin) EMBER_FROM_C_1(cos) EMBER_FROM_C_1(tan) EMBER_FROM_C_1(asin) EMBER_FROM_C_1(acos) EMBER_FROM_C_1(atan)
EMBER_FROM_C_1(sinh) EMBER_FROM_C_1(cosh) EMBER_FROM_C_1(asinh) EMBER_FROM_C_1(acosh)
EMBER_FROM_C_1(atanh) EMBER_FROM_C_1(erf) EMBER_FROM_C_1(erfc)
EMBER_FROM_C_1(sqrt) EMBER_FROM_C_1(floor) EMBER_FROM_C_1(ceil) EMBER_FROM_C_1(trunc) EMBER_FROM_C_1(fabs)
EMBER_FROM_C_2(pow) EMBER_FROM_C_2(atan2) EMBER_FROM_C_2(hypot) EMBER_FROM_C_2(copysign)
EMBER_FROM_C_2(fmod)
#undef EMBER_FROM_C_1
#undef EMBER_FROM_C_2
#undef EMBER_VECTOR_1
#undef EMBER_VECTOR_2

/* ---- float and double ---------------------------------------------------------------------------------------------- */

#define EMBER_FLOATS(T, S, F)                                                                                          \
    /* to the nearest integer, halves to the even one */                                                               \
    EMBER_INLINE T ember_round_##S(T x) { return F(__builtin_rint)(x); }                                               \
    /* -1, 0 or 1; 0 for NaN */                                                                                        \
    EMBER_INLINE T ember_sign_##S(T x) { return (T)((x > 0) - (x < 0)); }                                              \
    /* a NaN on either side is the result */                                                                           \
    EMBER_INLINE T ember_max_##S(T a, T b) { return (a > b) | (a != a) ? a : b; }                                      \
    EMBER_INLINE T ember_min_##S(T a, T b) { return (a < b) | (a != a) ? a : b; }                                      \
    EMBER_INLINE bool ember_isinf_##S(T x) { return F(fabs)(x) == (T)INFINITY; }                                       \
    EMBER_INLINE T ember_sigmoid_##S(T x) { return 1 / (1 + ember_exp_##S(-x)); }                                      \
    EMBER_INLINE T ember_tanh_##S(T x) {                                                                               \
        const T e = ember_expm1_##S(-2 * F(fabs)(x));                                                                  \
        return F(copysign)(e / (2 + e), x);                                                                            \
    }                                                                                                                  \
    /* log(1 + exp(-|x|)); 1 + e lies between 1 and 2 */                                                               \
    EMBER_INLINE T ember_log1p_exp_##S(T x) {                                                                          \
        const T e = ember_exp_##S(-F(fabs)(x)), k = e > (T)0.41421356 ? 1 : 0;                                         \
        return ember_log_of_parts_##S(k, k == 1 ? (T)0.5 * e - (T)0.5 : e);                                            \
    }                                                                                                                  \
    EMBER_INLINE T ember_log_sigmoid_##S(T x) { return (x < 0 ? x : 0) - ember_log1p_exp_##S(x); }                     \
    /* aten.softplus: the identity above the threshold */                                                              \
    EMBER_INLINE T ember_softplus_##S(T x, T beta, T threshold) {                                                      \
        const T z = x * beta, curved = ember_log1p_##S(ember_exp_##S(z)) / beta;                                       \
        return ember_pick_##S(z > threshold, x, curved);                                                               \
    }                                                                                                                  \
    EMBER_INLINE T ember_logaddexp_##S(T a, T b) {                                                                     \
        const T m = ember_max_##S(a, b), apart = m + ember_log1p_exp_##S(a - b);                                       \
        return ember_pick_##S(ember_isinf_##S(a) & (a == b), a, apart);                                                \
    }                                                                                                                  \
    /* sin(pi x) / (pi x) */                                                                                           \
    EMBER_INLINE T ember_sinc_##S(T x) {                                                                               \
        const T z = (T)3.14159265358979323846 * x, away = F(sin)(z) / z;                                               \
        return ember_pick_##S(x == 0, 1, away);                                                                        \
    }                                                                                                                  \
    /* The remainder with the sign of the divisor, and the quotient that goes with it; by a zero: NaN, and a / 0. */   \
    EMBER_INLINE T ember_remainder_##S(T a, T b) {                                                                     \
        const T r = F(fmod)(a, b);                                                                                     \
        return (r != 0) & ((b < 0) != (r < 0)) ? r + b : r;                                                            \
    }                                                                                                                  \
    EMBER_INLINE T ember_floor_divide_##S(T a, T b) {                                                                  \
        const T r = F(fmod)(a, b), whole = (a - r) / b;                                                                \
        const T q = (r != 0) & ((b < 0) != (r < 0)) ? whole - 1 : whole;                                               \
        const T down = F(floor)(q), nearest = q - down > (T)0.5 ? down + 1 : down;                                     \
        const T result = q != 0 ? nearest : F(copysign)(0, a / b);                                                     \
        return b == 0 ? a / b : result;                                                                                \
    }

EMBER_FLOATS(double, f64, EMBER_NAME_F64)
EMBER_FLOATS(float, f32, EMBER_NAME_F32)
#undef EMBER_FLOATS

/* Integers of floats, as torch converts them on this processor, for those too that do not fit and for NaN: x86 gives the smallest
 * number, ARM the nearest. Bytes take the low bits of 64. */
#define EMBER_WHOLE(T, S)                                                                                              \
    EMBER_INLINE int64_t ember_to_i64_##S(T x) { return EMBER_FITS(x, 0x1p63) ? (int64_t)x : INT64_MIN; }              \
    EMBER_INLINE int32_t ember_to_i32_##S(T x) { return EMBER_FITS(x, 0x1p31) ? (int32_t)x : INT32_MIN; }              \
    EMBER_INLINE uint8_t ember_to_u8_##S(T x) { return (uint8_t)ember_to_i64_##S(x); }
#if defined(__x86_64__)
#define EMBER_FITS(x, limit) ((x) >= -(limit) && (x) < (limit))
#else
#define EMBER_FITS(x, limit) 1
#endif
EMBER_WHOLE(double, f64)
EMBER_WHOLE(float, f32)
#undef EMBER_WHOLE

/* ---- integers -------------------------------------------------------------------------------------------------------- */

/* Sums and products wrap around, as torch's do. Division by zero, for which torch raises, must be ruled out by the caller;
 * it gives zero here rather than ending the process. The smallest number divided by -1 does not fit, and would trap. */
#define EMBER_INTEGERS(T, U, S)                                                                                        \
    EMBER_INLINE T ember_mul_##S(T a, T b) { return (T)((U)a * (U)b); }                                                \
    EMBER_INLINE T ember_neg_##S(T a) { return (T)(-(U)a); }                                                           \
    EMBER_INLINE T ember_fabs_##S(T a) { return a < 0 ? ember_neg_##S(a) : a; }                                        \
    EMBER_INLINE T ember_sign_##S(T a) { return (a > 0) - (a < 0); }                                                   \
    EMBER_INLINE T ember_max_##S(T a, T b) { return a > b ? a : b; }                                                   \
    EMBER_INLINE T ember_min_##S(T a, T b) { return a < b ? a : b; }                                                   \
    EMBER_INLINE T ember_pick_##S(bool which, T yes, T no) {                                                           \
        const T mask = (T)-(T)which;                                                                                   \
        return (yes & mask) | (no & ~mask);                                                                            \
    }                                                                                                                  \
    EMBER_INLINE T ember_trunc_divide_##S(T a, T b) { return b == 0 ? 0 : b == -1 ? ember_neg_##S(a) : a / b; }        \
    EMBER_INLINE T ember_fmod_##S(T a, T b) { return (b == 0) | (b == -1) ? 0 : a % b; }                               \
    EMBER_INLINE T ember_remainder_##S(T a, T b) {                                                                     \
        const T r = ember_fmod_##S(a, b);                                                                              \
        return (r != 0) & ((r < 0) != (b < 0)) ? r + b : r;                                                            \
    }                                                                                                                  \
    EMBER_INLINE T ember_floor_divide_##S(T a, T b) {                                                                  \
        const T r = ember_fmod_##S(a, b), q = ember_trunc_divide_##S(a, b);                                            \
        return (r != 0) & ((r < 0) != (b < 0)) ? q - 1 : q;                                                            \
    }                                                                                                                  \
    /* By squaring. A negative exponent gives 0 but for the bases 1 and -1. */                                         \
    EMBER_FN T ember_pow_##S(T base, T exponent) {                                                                     \
        if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;                             \
        T result = 1;                                                                                                  \
        for (; exponent; exponent >>= 1, base = ember_mul_##S(base, base))                                             \
            if (exponent & 1) result = ember_mul_##S(result, base);                                                    \
        return result;                                                                                                 \
    }
EMBER_INTEGERS(int64_t, uint64_t, i64)
EMBER_INTEGERS(int32_t, uint32_t, i32)
#undef EMBER_INTEGERS

/* Truth values, stored as bytes. */
EMBER_INLINE uint8_t ember_max_u8(uint8_t a, uint8_t b) { return a > b ? a : b; }
EMBER_INLINE uint8_t ember_min_u8(uint8_t a, uint8_t b) { return a < b ? a : b; }
EMBER_INLINE uint8_t ember_pick_u8(bool which, uint8_t yes, uint8_t no) { return which ? yes : no; }

#endif
