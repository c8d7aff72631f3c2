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

static void *enter_and_leave(void *arg)
{
    int i;
    for (i = 0; i < 20000; i++) {
        if (!CHECK(ipcx__gate_enter(arg))) {
            return NULL;
        }
        ipcx__gate_leave(arg);
    }
    return NULL;
}

TEST(first_use_by_several_threads_at_once)
{
    int round, i;
    for (round = 0; round < 20; round++) {
        ipcx_gate gate = {0};
        pthread_t threads[3];
        for (i = 0; i < 3; i++) {
            REQUIRE(pthread_create(&threads[i], NULL, enter_and_leave, &gate) == 0);
        }
        for (i = 0; i < 3; i++) {
            pthread_join(threads[i], NULL);
        }
        CHECK(!ipcx__gate_is_closed(&gate));
        ipcx__gate_close(&gate);
    }
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
