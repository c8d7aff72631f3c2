/* SPDX-License-Identifier: Apache-2.0
 * What lies in the memory of a synchronisation object.
 * Invariant: anybody who may open it may write into it, so each word is read once and checked
 * before it is used as a number of anything. */
#ifndef IPCX_OS_SYNC_FORMAT_H
#define IPCX_OS_SYNC_FORMAT_H

#include <stdatomic.h>
#include <stdint.h>

#define IPCX__SYNC_MAGIC 0x53637069u /* "ipcS" */
#define IPCX__SYNC_VERSION 1u
#define IPCX__SYNC_SIZE 8192
#define IPCX__SYNC_PLACES 480
/* Beyond any share that a process can have: somebody wrote over it. */
#define IPCX__SYNC_MOST (1u << 30)

/* What a process has in this object. Its byte of the file is locked (F_OFD_SETLK) as long as the
 * process lives; whoever locks it finds a dead one's leavings, and no one else at work on them. */
typedef struct ipcx__place {
    _Atomic uint32_t pid;   /* to be shown, never to be believed; 0: nobody */
    _Atomic uint32_t share; /* permits of a semaphore; threads that read, or wait at a barrier */
    _Atomic uint32_t party; /* 1: has been at this barrier */
    uint32_t spare;
} ipcx__place;

/* What the object is; copied before it is looked at. */
typedef struct ipcx__sync_header {
    uint32_t magic, version, kind, owned, persist, total, limit, spare;
} ipcx__sync_header;

/* Each word has a cache line of its own kind of use. All zeros but the first line is a new one. */
typedef struct ipcx__sync_memory {
    ipcx__sync_header header;
    _Alignas(64) _Atomic uint32_t word; /* mutex; writer of a read-write lock */
    _Atomic uint32_t sequence;          /* condition: notifications; readers that have left */
    /* semaphore: free permits; event: SET, WAITED; barrier: round; condition: who waits, owed */
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t waiters;            /* at the semaphore; too many after a death: harmless */
    _Alignas(64) _Atomic uint32_t guard; /* held for a few instructions: shares and counts */
    _Atomic uint32_t count;              /* barrier: who has come */
    _Atomic uint32_t broken;             /* barrier */
    _Atomic uint32_t outcomes;           /* barrier: bit of each of the last rounds: 1 all came */
    _Atomic uint32_t used;               /* places that were ever taken: none from here on */
    _Alignas(512) ipcx__place places[IPCX__SYNC_PLACES];
} ipcx__sync_memory;

_Static_assert(sizeof(ipcx__sync_memory) == IPCX__SYNC_SIZE, "the memory's size is its format");

#endif
