/* SPDX-License-Identifier: Apache-2.0
 * gate: who is inside is waited for, who waits is woken, and a child finds it empty. */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include "ipcx/fd.h"
#include "os/gate.h"

/* A thread that waits at the gate for the read end of a pipe. */
typedef struct waiter {
    pthread_t thread;
    ipcx_gate *gate;
    int fd;
    ipcx_deadline deadline;
    atomic_int inside;
    ipcx_status status;
} waiter;

static void *wait_at_gate(void *arg)
{
    waiter *self = arg;
    ipcx_error err;
    if (!ipcx__gate_enter(self->gate)) {
        self->status = IPCX_CLOSED;
        atomic_store(&self->inside, 1);
        return NULL;
    }
    atomic_store(&self->inside, 1);
    self->status = ipcx__gate_poll(self->gate, self->fd, POLLIN, self->deadline, &err);
    ipcx__gate_leave(self->gate);
    return NULL;
}

static void waiter_start(waiter *self, ipcx_gate *gate, int fd, ipcx_deadline deadline)
{
    *self = (waiter){.gate = gate, .fd = fd, .deadline = deadline};
    REQUIRE(pthread_create(&self->thread, NULL, wait_at_gate, self) == 0);
    while (atomic_load(&self->inside) == 0) {
        sched_yield();
    }
}

TEST(alone)
{
    ipcx_gate gate = {0};
    int ends[2];
    ipcx_error err;
    REQUIRE(pipe(ends) == 0);
    CHECK(ipcx__gate_enter(&gate));
    CHECK_STATUS(ipcx__gate_poll(&gate, ends[0], POLLIN, IPCX_NOW, &err), IPCX_TIMEOUT);
    CHECK_STATUS(ipcx__gate_poll(&gate, -1, 0, ipcx_deadline_after(1000000), &err), IPCX_TIMEOUT);
    REQUIRE(write(ends[1], "x", 1) == 1);
    CHECK_OK(ipcx__gate_poll(&gate, ends[0], POLLIN, IPCX_FOREVER, &err));
    ipcx__gate_leave(&gate);
    CHECK(!ipcx__gate_is_closed(&gate));
    ipcx__gate_close(&gate);
    ipcx__gate_close(&gate);
    CHECK(ipcx__gate_is_closed(&gate));
    CHECK(!ipcx__gate_enter(&gate));
    ipcx__gate_reopen(&gate);
    CHECK(ipcx__gate_enter(&gate));
    ipcx__gate_leave(&gate);
    close(ends[0]);
    close(ends[1]);
}

TEST(close_wakes_everybody_and_waits_until_they_left)
{
    enum { THREADS = 4 };
    ipcx_gate gate = {0};
    waiter waiters[THREADS];
    int ends[2], i;
    REQUIRE(pipe(ends) == 0);
    for (i = 0; i < THREADS; i++) {
        waiter_start(&waiters[i], &gate, ends[0], IPCX_FOREVER);
    }
    ipcx__gate_close(&gate);
    /* Nobody is inside any more: the descriptor may go. */
    CHECK_OK(ipcx_fd_close(ends[0], NULL));
    for (i = 0; i < THREADS; i++) {
        pthread_join(waiters[i].thread, NULL);
        CHECK_STATUS(waiters[i].status, IPCX_CLOSED);
    }
    close(ends[1]);
}

TEST(readiness_and_deadline_among_threads)
{
    ipcx_gate gate = {0};
    waiter ready, late;
    int ends[2], quiet[2];
    REQUIRE(pipe(ends) == 0 && pipe(quiet) == 0);
    waiter_start(&ready, &gate, ends[0], IPCX_FOREVER);
    waiter_start(&late, &gate, quiet[0], ipcx_deadline_after(2000000));
    REQUIRE(write(ends[1], "x", 1) == 1);
    pthread_join(ready.thread, NULL);
    pthread_join(late.thread, NULL);
    CHECK_OK(ready.status);
    CHECK_STATUS(late.status, IPCX_TIMEOUT);
    ipcx__gate_close(&gate);
    close(ends[0]);
    close(ends[1]);
    close(quiet[0]);
    close(quiet[1]);
}

/* Two threads meet, both enter a gate nobody has used, meet again. */
typedef struct pair {
    ipcx_gate gate;
    atomic_int arrived;
} pair;

enum { ROUNDS = 3000 };

static void meet(pair *both, int number)
{
    atomic_fetch_add(&both->arrived, 1);
    while (atomic_load(&both->arrived) < 2 * number) {
        sched_yield();
    }
}

static void *first_uses(void *arg)
{
    pair *both = arg;
    int round;
    for (round = 0; round < ROUNDS; round++) {
        meet(both, 2 * round + 1);
        if (CHECK(ipcx__gate_enter(&both->gate))) {
            ipcx__gate_leave(&both->gate);
        }
        meet(both, 2 * round + 2);
        /* Another generation's gate again, as in a child of fork; both write the same. */
        __atomic_store_n(&both->gate.word, 0, __ATOMIC_RELAXED);
    }
    return NULL;
}

TEST(first_use_by_two_threads_at_once)
{
    static pair both;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, first_uses, &both) == 0);
    first_uses(&both);
    pthread_join(thread, NULL);
    CHECK_INT(both.gate.word & 0x7fffffff, 0);
    CHECK(!ipcx__gate_is_closed(&both.gate));
}

TEST(a_child_finds_it_empty)
{
    ipcx_gate gate = {0};
    waiter parked;
    int ends[2];
    pid_t child;
    REQUIRE(pipe(ends) == 0);
    waiter_start(&parked, &gate, ends[0], IPCX_FOREVER);
    child = fork();
    if (child == 0) {
        int entered = ipcx__gate_enter(&gate);
        ipcx__gate_leave(&gate);
        ipcx__gate_close(&gate); /* does not wait for the parent's thread */
        _exit(!entered || ipcx__gate_enter(&gate));
    }
    CHECK(check_child(child));
    ipcx__gate_close(&gate);
    pthread_join(parked.thread, NULL);
    CHECK_STATUS(parked.status, IPCX_CLOSED);
    close(ends[0]);
    close(ends[1]);
}
