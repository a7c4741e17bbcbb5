/* The loop over rows around a program of `EMBER_LANES` rows at a time. Each thread works in a slot: memory of its own, and a table
 * of pointers to it. Rows are cut into chunks, the same for any number of threads, and no row sees another: which thread takes
 * which changes nothing in what is computed. */
#ifndef EMBER_EACH_ROW_H
#define EMBER_EACH_ROW_H

#include <stdint.h>
#include "ember_random.h"
#include "ember_team.h"

typedef struct {
    void *const *const *P; /* for each slot */
    char *const *A;
    void *const *E;
    ember_rng *g;
    char *const *in, *const *out; /* the first row of each input and output */
    uint8_t *bad;                 /* whether a row has failed */
    int64_t first, last, reached;
    int32_t busy[EMBER_MOST_THREADS + 1];
} ember_rows_call;

/* One block of rows: from where they lie to the slot, through the program, and back. */
static int32_t ember_rows_block(const ember_rows_call *call, int32_t slot, int64_t row);

static void ember_rows_chunk(int64_t chunk, char *A, void *const *P, char *Q, int32_t *failed) {
    ember_rows_call *const call = (ember_rows_call *)Q;
    const int64_t blocks = (call->last - call->first + EMBER_LANES - 1) / EMBER_LANES;
    const int64_t end = blocks * (chunk + 1) / EMBER_CHUNKS;
    int32_t slot = 0;
    while (__atomic_exchange_n(&call->busy[slot], 1, __ATOMIC_ACQ_REL)) slot++;
    for (int64_t k = blocks * chunk / EMBER_CHUNKS; k < end; k++)
        ember_rows_block(call, slot, call->first + k * EMBER_LANES);
    __atomic_store_n(&call->busy[slot], 0, __ATOMIC_RELEASE);
}

/* All blocks in order; ends after one that has failed if `stops` says so. */
static void ember_rows_in_order(ember_rows_call *call, int32_t stops) {
    while (call->reached < call->last) {
        const int32_t failed = ember_rows_block(call, 0, call->reached);
        call->reached += EMBER_LANES;
        if (failed && stops) return;
    }
}

#endif
