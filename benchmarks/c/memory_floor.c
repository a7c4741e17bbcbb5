/* What a step of logistic regression cannot do without, if it reads the data for the logits and again for the gradient:
 * two sums over the data, and exp and log1p of as many logits as there are rows. */
#include "numbers.h"

static float sum(const float *restrict x, int64_t n) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < n; i++) total += x[i];
    return total;
}

static float exponentials(const float *restrict logit, int64_t rows) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < rows; i++) total += log1pf(expf(-fabsf(logit[i])));
    return total;
}

/* So that the second sum is not the first one's result: the compiler must take memory for changed. */
static void forget(void) { __asm__ volatile("" ::: "memory"); }

void run(const float *x, int64_t n, const float *logit, int64_t rows, int64_t steps, float *sums) {
    for (int64_t step = 0; step < steps; step++) {
        sums[step] = sum(x, n);
        forget();
        sums[step] += sum(x, n);
        sums[step] += exponentials(logit, rows);
        forget();
    }
}
