/* SPDX-License-Identifier: Apache-2.0
 * The signals that ipcx holds (ipcx/sig.h), and the threads that it made block them.
 *
 * A thread that gets a held signal blocks it and hands it back; when nobody holds the signal any
 * more that has to end, and a thread's mask is changed by the thread itself only: so it is owed
 * that, and woken (ipcx__wake_signal, whose handler pays). Internal; C11 and POSIX only.
 * Invariant: what handlers read and write is made of atomics, and no entry of it is ever given
 * back. The words themselves are in base/process.c. */
#ifndef IPCX_BASE_HELD_H
#define IPCX_BASE_HELD_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* How many hold a signal, whether a receiver is among them, and what it did before. To be read and
 * changed between ipcx__held_lock and unlock: short, without waiting; a child of fork(2) finds the
 * lock free. */
typedef struct ipcx__held_signal {
    struct sigaction before;
    uint32_t holders;
    bool received;
} ipcx__held_signal;
ipcx__held_signal *ipcx__held_lock(void);
void ipcx__held_unlock(void);

/* Those that have holders, bit 0 is signal 1; changed under that lock, read by anybody. */
extern _Atomic uint64_t ipcx__held_set;

/* ipcx__held_owe: `thread` (gettid(2)) blocks `signals` for our sake only. Async-signal-safe. With
 * very many such threads at a time it is forgotten: they go on blocking them. */
void ipcx__held_owe(int thread, uint64_t signals);

/* ipcx__held_settle: every thread unblocks what it is owed of the signals that nobody holds: the
 * calling one now, the others as soon as they can run. */
void ipcx__held_settle(void);

#endif
