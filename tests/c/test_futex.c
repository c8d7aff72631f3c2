/* SPDX-License-Identifier: Apache-2.0
 * futex: who sleeps on a word is woken, sleeps no longer than it said, and a signal ends the sleep.
 */
#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "os/futex.h"

#define MS INT64_C(1000000)

TEST(a_word_that_is_different_is_not_waited_for)
{
    _Atomic uint32_t word = 5;
    CHECK_OK(ipcx__futex_wait(&word, 4, IPCX_FOREVER, IPCX__PRIVATE, NULL));
    CHECK_OK(ipcx__futex_wait(&word, 4, ipcx_deadline_after(MS), IPCX__SHARED, NULL));
    CHECK_STATUS(ipcx__futex_wait(&word, 4, IPCX_NOW, IPCX__PRIVATE, NULL), IPCX_TIMEOUT);
    CHECK_INT(ipcx__futex_wake(&word, INT_MAX, IPCX__PRIVATE), 0);
    CHECK_INT(ipcx__futex_wake(&word, INT_MAX, IPCX__SHARED), 0);
}

TEST(the_deadline_is_absolute)
{
    _Atomic uint32_t word = 0;
    ipcx_deadline deadline = ipcx_deadline_after(5 * MS);
    while (ipcx__futex_wait(&word, 0, deadline, IPCX__PRIVATE, NULL) != IPCX_TIMEOUT) {
    }
    CHECK(ipcx_clock_now() >= deadline);
    CHECK_STATUS(ipcx__futex_wait(&word, 0, deadline, IPCX__SHARED, NULL), IPCX_TIMEOUT);
    CHECK_STATUS(ipcx__futex_wait(&word, 0, 1, IPCX__PRIVATE, NULL), IPCX_TIMEOUT);
}

TEST(what_cannot_be_waited_for)
{
    ipcx_error err;
    const _Atomic uint32_t *nowhere = (const _Atomic uint32_t *)8;
    CHECK_STATUS(ipcx__futex_wait(nowhere, 0, IPCX_FOREVER, IPCX__PRIVATE, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EFAULT);
    CHECK_STR(err.op, "futex");
}

/* One that sleeps until the word is 1. */
typedef struct sleeper {
    _Atomic uint32_t word;
    ipcx__scope scope;
    atomic_int asleep, interrupted;
} sleeper;

static void *sleep_on(void *arg)
{
    sleeper *self = arg;
    atomic_fetch_add(&self->asleep, 1);
    while (atomic_load(&self->word) == 0) {
        ipcx_status status = ipcx__futex_wait(&self->word, 0, IPCX_FOREVER, self->scope, NULL);
        CHECK(status == IPCX_OK || status == IPCX_INTR);
        if (status == IPCX_INTR) {
            atomic_fetch_add(&self->interrupted, 1);
        }
    }
    return NULL;
}

static void wake_sleepers(ipcx__scope scope)
{
    enum { THREADS = 4 };
    sleeper them = {.scope = scope};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, sleep_on, &them) == 0);
    }
    while (atomic_load(&them.asleep) < THREADS) {
        sched_yield();
    }
    atomic_store(&them.word, 1);
    /* Some may be on their way into the call: those see the new word there. */
    CHECK(ipcx__futex_wake(&them.word, 1, scope) <= 1);
    CHECK(ipcx__futex_wake(&them.word, INT_MAX, scope) <= THREADS);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

TEST(threads_are_woken)
{
    wake_sleepers(IPCX__PRIVATE);
    wake_sleepers(IPCX__SHARED);
}

TEST(another_process_is_woken)
{
    sleeper *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child;
    REQUIRE(shared != MAP_FAILED);
    shared->scope = IPCX__SHARED;
    child = fork();
    if (child == 0) {
        (void)sleep_on(shared);
        _exit(0);
    }
    while (atomic_load(&shared->asleep) == 0) {
        sched_yield();
    }
    atomic_store(&shared->word, 1);
    (void)ipcx__futex_wake(&shared->word, INT_MAX, IPCX__SHARED);
    CHECK(check_child(child));
    REQUIRE(munmap(shared, sizeof *shared) == 0);
}

static void nothing(int number)
{
    (void)number;
}

static void interrupt_with(int flags)
{
    struct sigaction ours = {.sa_handler = nothing, .sa_flags = flags}, before;
    sleeper self = {.scope = IPCX__PRIVATE};
    pthread_t thread;
    REQUIRE(sigaction(SIGUSR1, &ours, &before) == 0);
    REQUIRE(pthread_create(&thread, NULL, sleep_on, &self) == 0);
    while (atomic_load(&self.interrupted) == 0) {
        REQUIRE(pthread_kill(thread, SIGUSR1) == 0);
        sched_yield();
    }
    atomic_store(&self.word, 1);
    (void)ipcx__futex_wake(&self.word, INT_MAX, IPCX__PRIVATE);
    pthread_join(thread, NULL);
    REQUIRE(sigaction(SIGUSR1, &before, NULL) == 0);
}

TEST(a_signal_ends_it_even_with_sa_restart)
{
    interrupt_with(0);
    interrupt_with(SA_RESTART);
}

/* ---- the latch */

static struct {
    ipcx__latch latch;
    long counted;
} box;

enum { ROUNDS = 20000 };

static void *count_up(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        ipcx__latch_lock(&box.latch);
        box.counted++;
        if (i % 64 == 0) {
            sched_yield(); /* the others have to sleep now and then */
        }
        ipcx__latch_unlock(&box.latch);
    }
    return NULL;
}

TEST(a_latch_lets_one_in_at_a_time)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, count_up, NULL) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(box.counted, THREADS * ROUNDS);
    CHECK_INT(atomic_load(&box.latch.word), 0);
}
