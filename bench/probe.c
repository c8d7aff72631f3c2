/* SPDX-License-Identifier: Apache-2.0
 * The near/far probe: how long a cache line takes there and back between two CPUs, now.
 * Invariant: the two threads are pinned to the two CPUs named on the command line, and nothing else
 * is; without two CPUs every answer is `absent`. */
#include "floor.h"

#include <stdatomic.h>

static _Alignas(128) atomic_long ball;

/* It yields now and then: the machine may have put both threads on one CPU. */
static void wait_for(long value)
{
    for (unsigned looks = 1; atomic_load_explicit(&ball, memory_order_acquire) != value; looks++) {
        if (looks % 65536 == 0) {
            (void)sched_yield();
        }
    }
}

static void *return_ball(void *trips)
{
    pin(1);
    for (long i = 0; i < *(long *)trips; i++) {
        wait_for(2 * i + 1);
        atomic_store_explicit(&ball, 2 * i + 2, memory_order_release);
    }
    return NULL;
}

static bool measure(const char *row, long ops, long slices)
{
    pthread_t thread;
    long trips = ops * slices;
    (void)row;
    if (floor_cpus[1] < 0) {
        printf("absent fewer than two CPUs");
        return true;
    }
    atomic_store(&ball, 0);
    must(-pthread_create(&thread, NULL, return_ball, &trips), "pthread_create");
    for (long slice = 0; slice < slices; slice++) {
        long long before = now();
        for (long i = slice * ops; i < (slice + 1) * ops; i++) {
            atomic_store_explicit(&ball, 2 * i + 1, memory_order_release);
            wait_for(2 * i + 2);
        }
        printf("%lld ", now() - before);
    }
    (void)pthread_join(thread, NULL);
    return true;
}

int main(int argc, char **argv)
{
    return answer(argc, argv, measure);
}
