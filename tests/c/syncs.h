/* SPDX-License-Identifier: Apache-2.0
 * What the tests of synchronisation objects share: making one, and children that are killed. */
#ifndef IPCX_TESTS_SYNCS_H
#define IPCX_TESTS_SYNCS_H

#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "base/crash.h"
#include "ipcx/sync.h"
#include "ipcx/sync_wait.h"

#define SOON ipcx_deadline_after((int64_t)20000000000) /* a guard against hanging */
#define A_MOMENT ipcx_deadline_after(3000000)

/* The place to be killed at, for a child to set. */
static const char *crash_at;

void ipcx__crash_point(const char *name)
{
    if (crash_at != NULL && strcmp(crash_at, name) == 0) {
        (void)raise(SIGKILL);
    }
}

static inline ipcx_sync *make(ipcx_sync_kind kind, uint32_t value, int owned)
{
    ipcx_sync_options options = {.kind = kind, .value = value, .owned = owned};
    ipcx_sync *made = NULL;
    REQUIRE_OK(ipcx_sync_anonymous(&options, &made, NULL));
    return made;
}

/* Memory that children made after this share. */
static inline void *shared(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at != MAP_FAILED);
    return at;
}

/* Begins a child: `if (in_child(&pid)) { … _exit(0); }` */
static inline int in_child(pid_t *pid)
{
    fflush(stdout);
    *pid = fork();
    REQUIRE(*pid >= 0);
    return *pid == 0;
}

/* A child killed itself, at a crash point. */
static inline int died(pid_t pid)
{
    int state = 0;
    return waitpid(pid, &state, 0) == pid && WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL;
}

static inline int killed(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    return died(pid);
}

/* A child says so, and sleeps until it is killed. */
static inline void tell_and_wait(atomic_int *told)
{
    atomic_store(told, 1);
    for (;;) {
        (void)pause();
    }
}

static inline void wait_until(const atomic_int *told, int value)
{
    while (atomic_load(told) < value) {
        (void)sched_yield();
    }
}

#endif
