/* SPDX-License-Identifier: Apache-2.0
 * turn: one has it, the others wait, and nobody is forgotten. */
#include "check.h"

#include <pthread.h>
#include <sched.h>

#include "os/gate.h"
#include "os/turn.h"

enum { THREADS = 6, ROUNDS = 3000 };

typedef struct shared {
    ipcx_gate gate;
    ipcx__turn turn;
    int inside;
    long total;
    _Atomic long told;
} shared;

TEST(one_at_a_time)
{
    shared all = {0};
    uint32_t seen = ipcx__turn_look(&all.turn);
    CHECK(ipcx__turn_take(&all.turn));
    CHECK(!ipcx__turn_take(&all.turn));
    CHECK_STATUS(ipcx__turn_take_by(&all.turn, &all.gate, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx__turn_take_by(&all.turn, &all.gate, ipcx_deadline_after(1000000), NULL),
                 IPCX_TIMEOUT);
    ipcx__turn_tell(&all.turn);
    CHECK_OK(ipcx__turn_wait(&all.turn, &all.gate, seen, IPCX_FOREVER, NULL));
    ipcx__turn_leave(&all.turn);
    CHECK_OK(ipcx__turn_wait(&all.turn, &all.gate, ipcx__turn_look(&all.turn), IPCX_FOREVER, NULL));
    CHECK_STATUS(
        ipcx__turn_wait_told(&all.turn, &all.gate, ipcx__turn_look(&all.turn), IPCX_NOW, NULL),
        IPCX_AGAIN);
    CHECK(ipcx__turn_take(&all.turn));
    ipcx__turn_leave(&all.turn);
}

/* Some wait for ever, some give up early, some go without their turn after a wake. */
static void *work(void *arg)
{
    shared *all = arg;
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t seen = ipcx__turn_look(&all->turn);
        ipcx_deadline by = round % 3 == 0 ? ipcx_deadline_after(20000) : IPCX_FOREVER;
        if (round % 5 == 0 && ipcx__turn_wait(&all->turn, &all->gate, seen, by, NULL) == IPCX_OK) {
            ipcx__turn_pass(&all->turn);
            continue;
        }
        if (ipcx__turn_take_by(&all->turn, &all->gate, by, NULL) != IPCX_OK) {
            continue;
        }
        CHECK_INT(all->inside++, 0);
        all->total++;
        if (round % 7 == 0) {
            ipcx__turn_tell(&all->turn);
            (void)sched_yield();
        }
        all->inside--;
        ipcx__turn_leave(&all->turn);
    }
    return NULL;
}

TEST(many_threads_lose_no_wake)
{
    static shared all;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, work, &all) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(all.total > 0);
    CHECK(ipcx__turn_take(&all.turn));
}

static void *hear(void *arg)
{
    shared *all = arg;
    long heard = 0;
    while (heard < ROUNDS) {
        uint32_t seen = ipcx__turn_look(&all->turn);
        heard = atomic_load(&all->told);
        if (heard < ROUNDS) {
            CHECK_OK(ipcx__turn_wait_told(&all->turn, &all->gate, seen, IPCX_FOREVER, NULL));
        }
    }
    return NULL;
}

TEST(what_was_told_is_heard)
{
    static shared all;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, hear, &all) == 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        (void)atomic_fetch_add(&all.told, 1);
        ipcx__turn_tell(&all.turn);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void *take_for_ever(void *arg)
{
    shared *all = arg;
    (void)ipcx__gate_enter(&all->gate);
    (void)atomic_fetch_add(&all->told, 1);
    CHECK_STATUS(ipcx__turn_take_by(&all->turn, &all->gate, IPCX_FOREVER, NULL), IPCX_CLOSED);
    ipcx__gate_leave(&all->gate);
    return NULL;
}

TEST(close_wakes_who_waits)
{
    static shared all;
    pthread_t threads[THREADS];
    CHECK(ipcx__turn_take(&all.turn));
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, take_for_ever, &all) == 0);
    }
    while (atomic_load(&all.told) < THREADS) {
        (void)sched_yield();
    }
    ipcx__gate_close(&all.gate);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}
