/* What the other headers of mathematics are written in: functions for the compiler to put in place, choices and bits.
 *
 * `ember_pick` chooses between two values that are both computed. The compiler may turn `c ? f(x) : y` into a branch, and a
 * call within a branch keeps a loop from becoming vector code; a choice of bits cannot be turned into a branch.
 */
#ifndef EMBER_BASE_H
#define EMBER_BASE_H

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef EMBER_INLINE
#define EMBER_INLINE static inline __attribute__((unused, always_inline))
#endif
#ifndef EMBER_FN
#define EMBER_FN static __attribute__((unused))
#endif
/* A piece of a program. The compiler must not conclude from its body what a call does: gcc 12 takes a loop whose addresses it has
 * rewritten for one without effect, and leaves the call out. */
#ifndef __has_attribute
#define __has_attribute(name) 0
#endif
#if __has_attribute(noipa)
#define EMBER_PIECE static __attribute__((noinline, noipa))
#else
#define EMBER_PIECE static __attribute__((noinline))
#endif

/* Ask for a row of so many bytes of a large array, which will be read soon; the place need not be one of the array's. */
EMBER_INLINE void ember_fetch(const void *first, uint64_t offset, uint64_t bytes) {
    const uintptr_t row = (uintptr_t)first + (uintptr_t)offset;
    __builtin_prefetch((const void *)row);
    __builtin_prefetch((const void *)(row + (bytes < 128 ? bytes : 128) - 1));
}
/* A pragma within a macro, and how often a loop is written out: gcc and clang each have a word of their own. */
#define EMBER_DO_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define EMBER_UNROLL(times) EMBER_DO_PRAGMA(clang loop unroll_count(times))
#else
#define EMBER_UNROLL(times) EMBER_DO_PRAGMA(GCC unroll times)
#endif

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define EMBER_MULADD(F, a, b, c) F(a, b, c)
#else
#define EMBER_MULADD(F, a, b, c) ((a) * (b) + (c))
#endif
#define EMBER_BASE(T, U, S, FMA)                                                                                       \
    EMBER_INLINE U ember_bits_##S(T x) {                                                                               \
        union { T f; U u; } both = {x};                                                                                \
        return both.u;                                                                                                 \
    }                                                                                                                  \
    EMBER_INLINE T ember_of_bits_##S(U bits) {                                                                         \
        union { U u; T f; } both = {bits};                                                                             \
        return both.f;                                                                                                 \
    }                                                                                                                  \
    EMBER_INLINE T ember_pick_##S(bool which, T yes, T no) {                                                           \
        const U mask = -(U)which;                                                                                      \
        return ember_of_bits_##S((ember_bits_##S(yes) & mask) | (ember_bits_##S(no) & ~mask));                         \
    }                                                                                                                  \
    /* a b + c, rounded once where the processor does that as fast */                                                  \
    EMBER_INLINE T ember_muladd_##S(T a, T b, T c) { return EMBER_MULADD(FMA, a, b, c); }

EMBER_BASE(double, uint64_t, f64, __builtin_fma)
EMBER_BASE(float, uint32_t, f32, __builtin_fmaf)
#undef EMBER_BASE
#undef EMBER_MULADD

/* What rounding took from a product: T. J. Dekker, "A floating-point technique for extending the available precision", 1971,
 * where product and sum are not fused; a product of floats is exact in double. */
EMBER_INLINE double ember_product_rest_f64(double a, double b, double product) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fma(a, b, -product);
#else
    const uint64_t upper = ~UINT64_C(0x7ffffff);
    const double a_high = ember_of_bits_f64(ember_bits_f64(a) & upper), b_high = ember_of_bits_f64(ember_bits_f64(b) & upper);
    const double a_low = a - a_high, b_low = b - b_high;
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
#endif
}

EMBER_INLINE float ember_product_rest_f32(float a, float b, float product) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, -product);
#else
    return (float)((double)a * (double)b - (double)product);
#endif
}

#define EMBER_NAME_F64(name) name
#define EMBER_NAME_F32(name) name##f

#endif
