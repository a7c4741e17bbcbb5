/* Threads that share the chunks of a pass over rows. They live as long as one call of the program, and touch neither Python nor the
 * random numbers. Which thread takes which chunk changes nothing in what is computed. */
#ifndef EMBER_TEAM_H
#define EMBER_TEAM_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

typedef void (*ember_chunk_fn)(int64_t chunk, char *A, void *const *P, char *Q, int32_t *failed);
/* A thread that comes late from one pass sees the numbers of the next: all passes have as many chunks. */
enum { EMBER_CHUNKS = 16, EMBER_MOST_THREADS = 64, EMBER_SPINS = 20000 };

typedef struct {
    ember_chunk_fn run;
    char *A, *Q;
    void *const *P;
    int32_t *failed;
    int64_t next, done, job; /* atomic; the number of the job tells that there is a new one */
    int32_t stop, waiting, count;
    pthread_mutex_t mutex;
    pthread_cond_t new_job;
    pthread_t threads[EMBER_MOST_THREADS];
} ember_team;

static inline void ember_team_work(ember_team *team) {
    int64_t chunk;
    while ((chunk = __atomic_fetch_add(&team->next, 1, __ATOMIC_ACQ_REL)) < EMBER_CHUNKS) {
        team->run(chunk, team->A, team->P, team->Q, team->failed);
        __atomic_add_fetch(&team->done, 1, __ATOMIC_ACQ_REL);
    }
}

static void *ember_team_member(void *given) {
    ember_team *const team = given;
    int64_t seen = 0;
    for (;;) {
        int64_t spins = 0;
        while (__atomic_load_n(&team->job, __ATOMIC_ACQUIRE) == seen && ++spins < EMBER_SPINS)
            ;
        pthread_mutex_lock(&team->mutex);
        while (team->job == seen && !team->stop) {
            team->waiting++;
            pthread_cond_wait(&team->new_job, &team->mutex);
            team->waiting--;
        }
        seen = team->job;
        const int32_t stop = team->stop;
        pthread_mutex_unlock(&team->mutex);
        if (stop) return 0;
        ember_team_work(team);
    }
}

/* As many threads as can be had, one less than asked for: the caller works, too. */
static void ember_team_begin(ember_team *team, int32_t threads) {
    memset(team, 0, sizeof *team);
    pthread_mutex_init(&team->mutex, 0);
    pthread_cond_init(&team->new_job, 0);
    sigset_t all, before; /* signals are for Python's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team->count < threads - 1 && team->count < EMBER_MOST_THREADS) {
        if (pthread_create(&team->threads[team->count], 0, ember_team_member, team)) break;
        team->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

static void ember_team_end(ember_team *team) {
    pthread_mutex_lock(&team->mutex);
    team->stop = 1;
    pthread_cond_broadcast(&team->new_job);
    pthread_mutex_unlock(&team->mutex);
    __atomic_add_fetch(&team->job, 1, __ATOMIC_ACQ_REL);
    for (int32_t k = 0; k < team->count; k++) pthread_join(team->threads[k], 0);
    pthread_cond_destroy(&team->new_job);
    pthread_mutex_destroy(&team->mutex);
}

/* All chunks of a pass, by the team, or one after another where there is none. */
static void ember_team_run(ember_team *team, ember_chunk_fn run, char *A, void *const *P, char *Q, int32_t *failed) {
    if (!team || !team->count) {
        for (int64_t chunk = 0; chunk < EMBER_CHUNKS; chunk++) run(chunk, A, P, Q, failed);
        return;
    }
    pthread_mutex_lock(&team->mutex);
    team->run = run, team->A = A, team->P = P, team->Q = Q, team->failed = failed;
    __atomic_store_n(&team->done, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&team->next, 0, __ATOMIC_RELEASE);
    __atomic_add_fetch(&team->job, 1, __ATOMIC_ACQ_REL);
    if (team->waiting) pthread_cond_broadcast(&team->new_job);
    pthread_mutex_unlock(&team->mutex);
    ember_team_work(team);
    while (__atomic_load_n(&team->done, __ATOMIC_ACQUIRE) < EMBER_CHUNKS)
        ;
}

#endif
