/* The loop over rows around a program of one. Each thread works in a slot: memory of its own, and a table
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
    int64_t first, last;
    int32_t busy[EMBER_MOST_THREADS + 1];
} ember_rows_call;

/* One row: from where it lies to the slot, through the program, and back. */
static int32_t ember_row(const ember_rows_call *call, int32_t slot, int64_t row);

static void ember_rows_chunk(int64_t chunk, char *A, void *const *P, char *Q, int32_t *failed) {
    ember_rows_call *const call = (ember_rows_call *)Q;
    const int64_t count = call->last - call->first, end = call->first + count * (chunk + 1) / EMBER_CHUNKS;
    int32_t slot = 0;
    while (__atomic_exchange_n(&call->busy[slot], 1, __ATOMIC_ACQ_REL)) slot++;
    for (int64_t row = call->first + count * chunk / EMBER_CHUNKS; row < end; row++) ember_row(call, slot, row);
    __atomic_store_n(&call->busy[slot], 0, __ATOMIC_RELEASE);
}

/* All rows in order; returns the one after the last, which has failed if `stops` ends it before the end. */
static int64_t ember_rows_in_order(const ember_rows_call *call, int32_t stops) {
    int64_t row = call->first;
    while (row < call->last)
        if (ember_row(call, 0, row++) && stops) break;
    return row;
}

#endif
