/* SPDX-License-Identifier: Apache-2.0
 * What every C contestant shares: the line protocol (see contestant.py), pinning and the clock.
 * Invariant: a question gets exactly one line; a system call that fails answers it with `error`
 * and ends the program. */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int floor_cpus[2] = {-1, -1};

static inline long must(long result, const char *call)
{
    if (result < 0) {
        printf("error %s: %s\n", call, strerror(errno));
        exit(1);
    }
    return result;
}

/* Pins the calling thread to the first (0) or the second (1) CPU that the bench named, if any. */
static inline void pin(int which)
{
    int cpu = floor_cpus[which] >= 0 ? floor_cpus[which] : floor_cpus[0];
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
}

static inline long long now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Answers questions until the input ends. `measure` prints the nanoseconds of each slice, or a
 * verdict of its own; false says that it has no such row. */
static inline int answer(int argc, char **argv, bool (*measure)(const char *row, long, long))
{
    char row[64];
    long ops, slices;
    if (argc == 3) {
        (void)sscanf(argv[2], "%d,%d", &floor_cpus[0], &floor_cpus[1]);
    }
    pin(0);
    while (scanf("%63s %ld %ld", row, &ops, &slices) == 3) {
        if (!measure(row, ops, slices)) {
            printf("absent no such row in C");
        }
        printf("\n");
        (void)fflush(stdout);
    }
    return 0;
}

#endif
