/* SPDX-License-Identifier: Apache-2.0
 * Keeps the CPUs named on the command line from halting until its input ends: a thread of the idle
 * class on each, which every other thread preempts at once. Without it a wake-up measures how deep
 * the (virtual) CPU slept: the haltpoll governor polls or halts by what it saw last, and so the
 * same program takes 50 or 120 µs a round trip for seconds at a time. Invariant: it spins in no
 * other scheduling class. */
#include "floor.h"

#include <unistd.h>

static void *spin(void *which)
{
    struct sched_param none = {0};
    pin(*(int *)which);
    must(sched_setscheduler(0, SCHED_IDLE, &none), "SCHED_IDLE");
    for (;;) {
        for (volatile int i = 0; i < 1000; i++) {
        }
    }
    return NULL;
}

static bool measure(const char *row, long ops, long slices)
{
    (void)row;
    (void)ops;
    (void)slices;
    printf("0"); /* awake by now */
    return true;
}

int main(int argc, char **argv)
{
    static int which[2] = {0, 1};
    pthread_t thread;
    if (argc == 3) {
        (void)sscanf(argv[2], "%d,%d", &floor_cpus[0], &floor_cpus[1]);
    }
    for (int i = 0; i < 2 && floor_cpus[i] >= 0; i++) {
        must(-pthread_create(&thread, NULL, spin, &which[i]), "pthread_create");
    }
    return answer(argc, argv, measure);
}
