/* SPDX-License-Identifier: Apache-2.0
 * A child from within (ipcx/spawn.h): made by spawn.c, waited for by child.c.
 * Invariant: its number is used only as long as it was not waited for, for until then the kernel
 * gives it to nobody else. */
#ifndef IPCX_OS_CHILD_H
#define IPCX_OS_CHILD_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipcx/gate.h"
#include "ipcx/spawn.h"

struct ipcx_child {
    pid_t pid;
    int pidfd;
    bool leads;           /* a process group of its own */
    uint32_t made_in;     /* fork generation */
    pthread_mutex_t lock; /* guards the next two, and that nobody signals one just waited for */
    bool ended;
    ipcx_ending ending;
    ipcx_gate gate; /* open for ever: to wait at, with a deadline */
};

/* ipcx__child_make: one that is not there yet. NOMEM. */
ipcx_status ipcx__child_make(bool leads, ipcx_child **child, ipcx_error *err);

/* ipcx__child_begun: `pid` has started. On failure it is killed and waited for. */
ipcx_status ipcx__child_begun(ipcx_child *child, ipcx_error *err);

#endif
