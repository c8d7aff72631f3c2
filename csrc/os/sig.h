/* SPDX-License-Identifier: Apache-2.0
 * What the two halves of ipcx/sig.h share. */
#ifndef IPCX_OS_SIG_H
#define IPCX_OS_SIG_H

#include <signal.h>

#include "ipcx/sig.h"

/* ipcx__sigset: the set as the C library has it. */
static inline sigset_t ipcx__sigset(ipcx_signals signals)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (int number = 1; number < _NSIG; number++) {
        if (signals & IPCX_SIGNAL(number)) {
            (void)sigaddset(&set, number);
        }
    }
    return set;
}

#endif
