/* The engine of torch's CPU generator, worked on in place.
 *
 * `ember_rng` has the layout in which torch keeps its engine in memory, so that generated code draws from the very
 * generator that eager code draws from: no copy in, no copy out. ember.capture.native.generator checks the layout in
 * the running process before it hands out a pointer, and otherwise hands out a private copy of the same layout.
 *
 * The algorithm is MT19937: M. Matsumoto and T. Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed
 * uniform pseudo-random number generator", 1998. `left` counts down to the next renewal of the 624 words; `next` is the
 * word to be used next, so that left - 1 words can be used before a renewal. A 64-bit output is two 32-bit outputs, the
 * first in the high half.
 */
#ifndef EMBER_ENGINE_H
#define EMBER_ENGINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EMBER_FN static __attribute__((unused))
#define EMBER_INLINE static inline __attribute__((unused, always_inline))

typedef struct {
    uint64_t seed;
    int32_t left;
    uint8_t seeded;
    uint32_t next;
    uint32_t state[624];
    uint32_t padding;
    float float_normal; /* kept for the layout: no sampler on CPU uses it */
    uint8_t has_float_normal;
    double normal; /* the second value of the last Box-Muller pair, in every dtype */
    uint8_t has_normal;
} ember_rng;

EMBER_INLINE uint32_t ember_mt_twist(uint32_t u, uint32_t v) {
    return (((u & 0x80000000u) | (v & 0x7fffffffu)) >> 1) ^ (-(v & 1u) & 0x9908b0dfu);
}

EMBER_INLINE uint32_t ember_mt_temper(uint32_t y) {
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* Renews all words. Word i needs words i + 1 and i + 397 (modulo 624): nothing that a vector of up to 64 words has not
 * yet read or has already written. The new words are the old ones' successors, in place. */
static __attribute__((unused, noinline, cold)) void ember_mt_renew(ember_rng *g) {
    uint32_t *const s = g->state;
#pragma omp simd safelen(64)
    for (int i = 0; i < 227; i++) s[i] = s[i + 397] ^ ember_mt_twist(s[i], s[i + 1]);
#pragma omp simd safelen(64)
    for (int i = 227; i < 623; i++) s[i] = s[i - 227] ^ ember_mt_twist(s[i], s[i + 1]);
    s[623] = s[396] ^ ember_mt_twist(s[623], s[0]);
    g->left = 624;
    g->next = 0;
}

/* Keeps the engine as it is, in what kept it before. The words change all at once: where the first two and the last two are
 * the same, so are those between. */
EMBER_INLINE void ember_keep(ember_rng *kept, const ember_rng *g) {
    const size_t head = offsetof(ember_rng, state), tail = offsetof(ember_rng, padding);
    if (memcmp(kept->state, g->state, 8) || memcmp(kept->state + 622, g->state + 622, 8)) {
        *kept = *g;
        return;
    }
    memcpy(kept, g, head);
    memcpy((char *)kept + tail, (const char *)g + tail, sizeof *g - tail);
}

EMBER_INLINE uint32_t ember_r32(ember_rng *g) {
    if (__builtin_expect(--g->left == 0, 0)) ember_mt_renew(g);
    return ember_mt_temper(g->state[g->next++]);
}

EMBER_INLINE uint64_t ember_r64(ember_rng *g) {
    const uint64_t high = ember_r32(g);
    return high << 32 | ember_r32(g);
}

/* Uniform on [0, 1): 53 bits of two outputs. */
EMBER_INLINE double ember_unit_f64(ember_rng *g) { return (double)(int64_t)(ember_r64(g) & 0x1fffffffffffffu) * 0x1p-53; }

/* How many words can be taken in one go: those that are left, all 624 after a renewal. */
EMBER_INLINE int64_t ember_mt_ready(ember_rng *g) {
    if (g->left == 1) {
        ember_mt_renew(g);
        g->left = 625; /* as many as left - 1 says; the first word taken makes it torch's 624 */
    }
    return g->left - 1;
}

EMBER_INLINE const uint32_t *ember_mt_take(ember_rng *g, int64_t count) {
    const uint32_t *const words = g->state + g->next;
    g->left -= (int32_t)count;
    g->next += (uint32_t)count;
    return words;
}

/* Many uniforms at once, in vectors; the same numbers in the same order as one by one. */
EMBER_FN void ember_units_f32(ember_rng *g, float *restrict out, int64_t n) {
    while (n > 0) {
        const int64_t ready = ember_mt_ready(g), k = ready < n ? ready : n;
        const uint32_t *restrict w = ember_mt_take(g, k);
#pragma omp simd
        for (int64_t i = 0; i < k; i++) out[i] = (float)(int32_t)(ember_mt_temper(w[i]) & 0xffffffu) * 0x1p-24f;
        out += k;
        n -= k;
    }
}

EMBER_FN void ember_units_f64(ember_rng *g, double *restrict out, int64_t n) {
    while (n > 0) {
        const int64_t ready = ember_mt_ready(g) / 2, k = ready < n ? ready : n;
        if (k == 0) { /* one word is left: the pair lies across the renewal */
            *out++ = ember_unit_f64(g);
            n--;
            continue;
        }
        const uint32_t *restrict w = ember_mt_take(g, 2 * k);
#pragma omp simd
        for (int64_t i = 0; i < k; i++) {
            const uint64_t high = ember_mt_temper(w[2 * i]) & 0x1fffffu, low = ember_mt_temper(w[2 * i + 1]);
            out[i] = (double)(int64_t)(high << 32 | low) * 0x1p-53;
        }
        out += k;
        n -= k;
    }
}

#endif
