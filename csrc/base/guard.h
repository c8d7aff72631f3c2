/* SPDX-License-Identifier: Apache-2.0
 * The guard of mapped files: what turns SIGBUS into a note that pages were lost.
 *
 * A page of a mapping that the file no longer covers (somebody truncated it, or the disk failed)
 * ends the process that touches it with SIGBUS. For a range that is watched here, the handler puts
 * zeros in the page's place, notes what was lost, and lets the access go on; whoever owns the range
 * looks at the note when the access is over. Every other SIGBUS goes to the handler that was there
 * before. Internal; C11 and POSIX only.
 * Invariant: the table is read by a signal handler, so it is made of atomics alone: no lock, and
 * no memory of it is ever given back. The words themselves are in base/process.c. */
#ifndef IPCX_BASE_GUARD_H
#define IPCX_BASE_GUARD_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One watched range. */
typedef struct ipcx__guard {
    _Atomic uint32_t taken;   /* 1: it belongs to a range */
    _Atomic uint32_t version; /* odd while start, end and prot change */
    _Atomic uintptr_t start;
    _Atomic uintptr_t end; /* whole pages; 0: nothing is watched */
    _Atomic int prot;
    _Atomic uintptr_t lost_from; /* what was replaced by zeros: from … */
    _Atomic uintptr_t lost_to;   /* … to; 0: nothing was */
} ipcx__guard;

#define IPCX__GUARDS_A_BLOCK 64
typedef struct ipcx__guard_block {
    ipcx__guard guards[IPCX__GUARDS_A_BLOCK];
    _Atomic(struct ipcx__guard_block *) next;
} ipcx__guard_block;

/* A program that keeps putting handlers above ours leaves at most so many to chain to. */
#define IPCX__GUARD_CHAIN 8

/* The process-wide words; base/process.c has the one instance. */
typedef struct ipcx__guards {
    ipcx__guard_block first;
    _Atomic int off;                              /* 1: switched off */
    _Atomic int chained;                          /* entries of `previous` in use */
    _Atomic int ready[IPCX__GUARD_CHAIN];         /* previous[i] is written */
    struct sigaction previous[IPCX__GUARD_CHAIN]; /* what was there when ours was put above */
    _Atomic int depth;                            /* chained handlers running now */
    _Atomic uintptr_t last_at;                    /* where the last chained fault was … */
    _Atomic int repeats;                          /* … and how often it came again */
} ipcx__guards;

/* ipcx__guard_watch: watches the `size` bytes at `start`, rounded up to whole pages; a page put in
 * place of a lost one has the protection `prot`. NULL: no memory. Puts the handler on top. */
ipcx__guard *ipcx__guard_watch(const void *start, size_t size, int prot);

/* ipcx__guard_release: ends the watch; to be called before the range is unmapped. NULL is allowed.
 */
void ipcx__guard_release(ipcx__guard *guard);

/* ipcx__guard_lost: whether pages were lost since the last ipcx__guard_take: one load. */
static inline bool ipcx__guard_lost(const ipcx__guard *guard)
{
    return guard != NULL && atomic_load_explicit(&guard->lost_to, memory_order_acquire) != 0;
}

/* ipcx__guard_take: the lost range, which is forgotten here. False: nothing was lost. */
bool ipcx__guard_take(ipcx__guard *guard, uintptr_t *from, uintptr_t *to);

/* ipcx__guard_on_top: puts our handler above one that was installed since (one system call). */
void ipcx__guard_on_top(void);

/* ipcx__guard_switch: on or off for the whole process; returns what it was. Off: the handler that
 * was there before is there again, and a lost page ends the process as it would without us. */
int ipcx__guard_switch(int on);

#endif
