/* SPDX-License-Identifier: Apache-2.0
 * The near/far probe: how long a cache line takes there and back between two CPUs, now.
 * It speaks the contestants' line protocol (see contestant.py), whatever the name of the row.
 * Invariant: the two threads are pinned to the two CPUs named on the command line, and to nothing
 * else; without two CPUs every answer is `absent`. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Alignas(128) atomic_long ball;
static long trips;
static int other_cpu;

static int pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

/* A pause in each look, and a yield now and then: the machine may give both threads one CPU. */
static void wait_for(long value)
{
    for (unsigned looks = 1; atomic_load_explicit(&ball, memory_order_acquire) != value; looks++) {
        if (looks % 65536 == 0) {
            (void)sched_yield();
        }
    }
}

static void *return_ball(void *unused)
{
    (void)unused;
    (void)pin(other_cpu);
    for (long i = 0; i < trips; i++) {
        wait_for(2 * i + 1);
        atomic_store_explicit(&ball, 2 * i + 2, memory_order_release);
    }
    return NULL;
}

static long long now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    char row[64];
    long ops, slices;
    int cpu = -1;
    int two = argc == 3 && sscanf(argv[2], "%d,%d", &cpu, &other_cpu) == 2 && pin(cpu) == 0;
    while (scanf("%63s %ld %ld", row, &ops, &slices) == 3) {
        pthread_t thread;
        if (!two) {
            printf("absent fewer than two CPUs\n");
            (void)fflush(stdout);
            continue;
        }
        trips = ops * slices;
        atomic_store(&ball, 0);
        if ((errno = pthread_create(&thread, NULL, return_ball, NULL)) != 0) {
            printf("error pthread_create: %s\n", strerror(errno));
            return 1;
        }
        for (long slice = 0; slice < slices; slice++) {
            long long before = now();
            for (long i = slice * ops; i < (slice + 1) * ops; i++) {
                atomic_store_explicit(&ball, 2 * i + 1, memory_order_release);
                wait_for(2 * i + 2);
            }
            printf("%lld ", now() - before);
        }
        printf("\n");
        (void)fflush(stdout);
        (void)pthread_join(thread, NULL);
    }
    return 0;
}
