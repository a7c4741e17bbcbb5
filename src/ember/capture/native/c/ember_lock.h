/* The mutex of torch's generator, held around each draw: torch's own operators take it, too, and draw without Python's lock. */
#ifndef EMBER_LOCK_H
#define EMBER_LOCK_H

#include <pthread.h>

/* NULL where the engine is a copy that belongs to this thread. */
static pthread_mutex_t *ember_mutex;

static inline void ember_lock(void) {
    if (ember_mutex) pthread_mutex_lock(ember_mutex);
}

static inline void ember_unlock(void) {
    if (ember_mutex) pthread_mutex_unlock(ember_mutex);
}

#endif
