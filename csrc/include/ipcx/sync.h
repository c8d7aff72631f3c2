/* SPDX-License-Identifier: Apache-2.0
 * Semaphores and locks between processes and their threads, that survive the death of any of them.
 *
 * An object is 8 KiB of shared memory: words to sleep on (futex(2)), and a table of 480 *places*. A
 * process that may come to hold something takes a place: it locks that place's byte of the file
 * (F_OFD_SETLK), on an open file of its own. A held lock's word names its holder's place. So who is
 * dead? The one whose byte can be locked; and whoever has locked it is the only one to sweep there.
 *
 * *Processes*: However one ends (kill -9, exec, power of the OOM killer), the kernel closes its
 * open file and the byte is free. A pid is stored to be shown, never to be believed.
 *
 * *Threads*: A thread's end is seen inside its process (a key of pthread_key_create(3)), which
 * gives up what the thread held: "died", as if it had been killed.
 *
 * *Forks*: The open file would live on in a child; so a child opens the file anew (/proc/self/fd)
 * in an at-fork handler, and has no place until it uses the object. It holds nothing that its
 * parent held. The memory is mapped by another open file, for a map keeps its file, and the child
 * has the map. Between fork and handler lie microseconds; a child of vfork(2) delays the news until
 * its execve(2).
 *
 * *Namespaces*: A lock of an open file means the same in each pid, user and mount namespace; no pid
 * is ever looked up. In another pid namespace, `owner` is a number there.
 *
 * *Places*: A place is used again only after the one who takes it has swept it, under the same lock
 * of its byte: a word cannot name a living stranger.
 *
 * Robust futexes, the kernel's own way, need a list whose links lie in the shared memory, where a
 * peer that writes over them crashes us; and they end with a thread, so they cannot keep shares.
 *
 * Whoever waits looks for a dead holder itself, at first after 2 ms, later each eighth of the time
 * it has waited, at least each 50 ms: no thread and no daemon does it. That also heals a wake-up
 * that met a process which was killed before it could use it.
 *
 * Memory that a peer has written over is CORRUPT, or excludes nobody any more; it crashes nobody.
 * Deadlines, INTR and CLOSED are those of every call (ipcx/clock.h). Any thread may call anything;
 * ipcx_sync_close wakes who waits; ipcx_sync_free is for the last. */
#ifndef IPCX_SYNC_H
#define IPCX_SYNC_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ipcx_sync ipcx_sync;

/* What an object can be. */
typedef enum ipcx_sync_kind {
    IPCX_MUTEX = 1,
    IPCX_SEMAPHORE,
    IPCX_RWLOCK,
    IPCX_CONDITION, /* with a mutex in it */
    IPCX_EVENT,
    IPCX_BARRIER
} ipcx_sync_kind;

/* What a new object shall be. */
typedef struct ipcx_sync_options {
    ipcx_sync_kind kind;
    uint32_t value;   /* permits of a semaphore, parties of a barrier */
    uint32_t maximum; /* of permits; 0: as many as a word can count */
    int owned;        /* a semaphore's permits belong to the process that took them */
    int persist;      /* the name stays when nobody uses it */
} ipcx_sync_options;

/* The bytes of a name, without a slash; and the flags of ipcx_sync_open: make it if there is none
 * of that name; and fail if there is one. */
#define IPCX_SYNC_NAME_MAX 254
#define IPCX_SYNC_CREATE 1u
#define IPCX_SYNC_EXCLUSIVE 2u

/* ipcx_sync_anonymous, ipcx_sync_from_fd: a new one without a name (a sealed memfd), for children
 * of fork(2) and for whoever is passed ipcx_sync_fd; the one behind `fd`, which stays the caller's.
 * PROTOCOL: it is none; INVALID: of another kind. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sync_anonymous(const ipcx_sync_options *options,
                                                        ipcx_sync **out, ipcx_error *err);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sync_from_fd(int fd, ipcx_sync_kind kind, ipcx_sync **out,
                                                      ipcx_error *err);

/* ipcx_sync_open: the one of that name among this user's (/dev/shm/ipcx-UID/sync). What exists
 * keeps its value and maximum. A name goes with its last user: at its close, or after a kill with
 * the next one made here (or ipcx_sync_sweep), unless it was made to persist. SYSTEM with ENOENT,
 * EEXIST, EPERM (not this user's alone), ENOSPC; INVALID: the name; another kind; PROTOCOL: the
 * file of that name is no lock. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sync_open(const char *name, unsigned flags,
                                                   const ipcx_sync_options *options,
                                                   ipcx_sync **out, ipcx_error *err);

/* ipcx_sync_fd, ipcx_sync_name: the descriptor, -1 after close, which stays the object's; "" for
 * none. */
IPCX_API int ipcx_sync_fd(const ipcx_sync *self);
IPCX_API const char *ipcx_sync_name(const ipcx_sync *self);

/* ipcx_sync_unlink, ipcx_sync_sweep: takes the name away, who has it open goes on (SYSTEM with
 * ENOENT: it is gone); takes away all that nobody uses: `removed`, if given, is told of each. */
IPCX_API ipcx_status ipcx_sync_unlink(ipcx_sync *self, ipcx_error *err);
IPCX_API void ipcx_sync_sweep(void (*removed)(void *context, const char *name), void *context);

/* ipcx_sync_close, ipcx_sync_free: ends the use by this handle: who waits by it gets CLOSED, what
 * is held by it is given up as if its holder had died; closes and frees it, NULL is allowed. */
IPCX_API void ipcx_sync_close(ipcx_sync *self);
IPCX_API void ipcx_sync_free(ipcx_sync *self);

/* ipcx_mutex_lock, ipcx_mutex_unlock: takes it: AGAIN, TIMEOUT, INTR, CLOSED; DEADLOCK: this thread
 * has it already. Gives it back: NOT_OWNER: this thread has not taken it by this handle. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mutex_lock(ipcx_sync *self, ipcx_deadline deadline,
                                                    ipcx_error *err);
IPCX_API ipcx_status ipcx_mutex_unlock(ipcx_sync *self, ipcx_error *err);

/* ipcx_mutex_is_mine, ipcx_sync_owner, ipcx_sync_recovered: 1: this thread has it, by this handle;
 * the pid of who has the mutex, or writes, 0: nobody; 1 from the death of a holder until the next
 * one has released it. */
IPCX_API int ipcx_mutex_is_mine(const ipcx_sync *self);
IPCX_API int ipcx_sync_owner(const ipcx_sync *self);
IPCX_API int ipcx_sync_recovered(const ipcx_sync *self);

/* ipcx_sem_wait, ipcx_sem_post, ipcx_sem_value: takes a permit; gives `n` back (INVALID: more than
 * the maximum; NOT_OWNER: owned, and more than this process has; TIMEOUT: owned, and a process was
 * stopped in the middle of a call: none was given); how many are free. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sem_wait(ipcx_sync *self, ipcx_deadline deadline,
                                                  ipcx_error *err);
IPCX_API ipcx_status ipcx_sem_post(ipcx_sync *self, uint32_t n, ipcx_error *err);
IPCX_API uint32_t ipcx_sem_value(const ipcx_sync *self);

#ifdef __cplusplus
}
#endif

#endif
