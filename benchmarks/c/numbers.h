/* Standard normals for the steps by hand, from one of two sources.
 *
 * By default xoshiro256+ (D. Blackman and S. Vigna, "Scrambled linear pseudorandom number generators", 2021), eight of them side by
 * side so that they become vectors, and the transform of Box and Muller (1958): one output of 64 bits makes two normals.
 * With TORCH_NUMBERS the stream of torch's generator, so that losses can be compared.
 *
 * The declarations with `simd` say that libm comes with vector forms of these functions (glibc's libmvec, 2.35 and later).
 */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 35)
#define VECTOR_FORM __attribute__((simd("notinbranch"), const))
VECTOR_FORM float expf(float);
VECTOR_FORM float logf(float);
VECTOR_FORM float log1pf(float);
VECTOR_FORM float sinf(float);
VECTOR_FORM float cosf(float);
#endif
#endif

#ifdef TORCH_NUMBERS
#include "ember_random.h"
typedef ember_rng numbers;
static void normals(numbers *source, float *out, int64_t n) { ember_normal_f32(source, out, n, 0.0, 1.0); }
#else

enum { LANES = 8, PAIRS = 128 };

typedef struct {
    uint64_t state[4][LANES];
    int64_t left;
    float ready[2 * PAIRS];
} numbers;

static void refill(numbers *source) {
    uint64_t bits[PAIRS];
    for (int i = 0; i < PAIRS; i += LANES) {
#pragma omp simd
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t s0 = source->state[0][lane], s1 = source->state[1][lane];
            uint64_t s2 = source->state[2][lane], s3 = source->state[3][lane];
            const uint64_t shifted = s1 << 17;
            bits[i + lane] = s0 + s3;
            s2 ^= s0;
            s3 ^= s1;
            s1 ^= s2;
            s0 ^= s3;
            s2 ^= shifted;
            s3 = s3 << 45 | s3 >> 19;
            source->state[0][lane] = s0;
            source->state[1][lane] = s1;
            source->state[2][lane] = s2;
            source->state[3][lane] = s3;
        }
    }
    float size[PAIRS], angle[PAIRS];
#pragma omp simd
    for (int i = 0; i < PAIRS; i++) { /* 24 bits for each of two uniforms; the lowest eight, which are weak, for none */
        size[i] = sqrtf(-2.0f * logf((float)(int32_t)((bits[i] >> 40) + 1) * 0x1p-24f));
        angle[i] = (float)(int32_t)(bits[i] >> 8 & 0xffffff) * (6.28318530717958648f * 0x1p-24f);
    }
    /* Two loops: a sine and a cosine of one number would become a call of sincosf, which has no vector form. */
#pragma omp simd
    for (int i = 0; i < PAIRS; i++) source->ready[i] = size[i] * cosf(angle[i]);
#pragma omp simd
    for (int i = 0; i < PAIRS; i++) source->ready[i + PAIRS] = size[i] * sinf(angle[i]);
    source->left = 2 * PAIRS;
}

static void normals(numbers *source, float *out, int64_t n) {
    while (n > 0) {
        if (source->left == 0) refill(source);
        const int64_t taken = n < source->left ? n : source->left;
        memcpy(out, source->ready + 2 * PAIRS - source->left, (size_t)taken * sizeof(float));
        source->left -= taken;
        out += taken;
        n -= taken;
    }
}

void numbers_fill(numbers *source, float *out, int64_t n) { normals(source, out, n); }

int64_t numbers_size(void) { return (int64_t)sizeof(numbers); }

/* States from splitmix64, as the authors of xoshiro advise. */
void numbers_seed(numbers *source, uint64_t seed) {
    for (int lane = 0; lane < LANES; lane++) {
        for (int word = 0; word < 4; word++) {
            uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);
            z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
            z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
            source->state[word][lane] = z ^ z >> 31;
        }
    }
    source->left = 0;
}
#endif

#endif
