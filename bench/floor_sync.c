/* SPDX-License-Identifier: Apache-2.0
 * The floor of bench_sync.py: a robust mutex and a semaphore of POSIX between processes, from C.
 * Invariant: the objects lie in shared memory, as between processes. */
#include "floor.h"

#include <semaphore.h>
#include <sys/mman.h>

typedef struct {
    pthread_mutex_t mutex;
    sem_t semaphore;
} objects;

static objects *all;

static void make(void)
{
    pthread_mutexattr_t how;
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(all == MAP_FAILED ? -1 : 0, "mmap");
    (void)pthread_mutexattr_init(&how);
    (void)pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&all->mutex, &how);
    must(sem_init(&all->semaphore, 1, 1), "sem_init");
}

static void run(bool is_mutex, long ops)
{
    for (long i = 0; i < ops; i++) {
        if (is_mutex) {
            (void)pthread_mutex_lock(&all->mutex);
            (void)pthread_mutex_unlock(&all->mutex);
        } else {
            (void)sem_wait(&all->semaphore);
            (void)sem_post(&all->semaphore);
        }
    }
}

static bool measure(const char *name, long ops, long slices)
{
    bool is_mutex = strncmp(name, "mutex", 5) == 0;
    if (!is_mutex && strncmp(name, "semaphore", 9) != 0) {
        return false;
    }
    run(is_mutex, ops);
    for (long k = 0; k < slices; k++) {
        long long before = now();
        run(is_mutex, ops);
        printf("%lld ", now() - before);
    }
    return true;
}

int main(int argc, char **argv)
{
    make();
    return answer(argc, argv, measure);
}
