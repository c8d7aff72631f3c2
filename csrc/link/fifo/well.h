/* SPDX-License-Identifier: Apache-2.0
 * The end of a named pipe that is read from: a listener's, and of the one channel that it has
 * handed out.
 *
 *     writer ─┐
 *     writer ─┼─▶ /run/orders ─▶ fd ─▶ decoder ─▶ held
 *     keeper ─┘
 *
 * `keeper` is a writing end of our own: as long as the listener is open, others may still come, so
 * that the last writer's going is not the end. The path is claimed by flock(2) on the pipe itself,
 * which the kernel releases when its holder dies.
 * Invariant: one read(2) takes all that is in the pipe. Writers put whole frames in, so a killed
 * reader leaves no half frame to the next. */
#ifndef IPCX_LINK_WELL_H
#define IPCX_LINK_WELL_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/process.h"
#include "ipcx/chan.h"
#include "ipcx/frame.h"

/* The longest message: with its header it must be written whole whoever else writes, pipe(7). */
#define IPCX__FIFO_PAYLOAD ((size_t)PIPE_BUF - IPCX_FRAME_HEADER)

typedef struct ipcx__well {
    ipcx__own own;     /* first: see well.c */
    _Atomic int users; /* of this memory */
    int holders;       /* of the descriptors; under ipcx__own_lock */
    int fd, keeper;    /* -1: closed */
    int door, bell;    /* epoll: readable when accept is worth a try; its eventfd: of what was read
                          and not received */
    _Atomic bool out;  /* a channel is out, or somebody looks whether it is worth one */
    char path[256];
    dev_t device;
    ino_t inode;
    bool named; /* the path is ours to remove */
    /* Of the channel that is out. */
    size_t capacity; /* bytes that the pipe holds at most */
    ipcx_decoder decoder;
    ipcx_message held; /* read and not handed out, if `holds` */
    bool holds;
    uint64_t wrong_at; /* where in all that came the error is */
} ipcx__well;

/* ipcx__well_make: one without a descriptor, with one holder and one user. NOMEM. */
ipcx_status ipcx__well_make(const char *path, ipcx__well **well, ipcx_error *err);

/* ipcx__well_open: makes the named pipe, or takes over one of this user's that nobody reads.
 * ADDRESS_IN_USE: somebody does. SYSTEM: with EPERM it is left alone (no named pipe, a link,
 * another user's), else what the file system says. */
ipcx_status ipcx__well_open(ipcx__well *self, const char *url, ipcx_error *err);

/* ipcx__well_close: for the listener, under ipcx__own_lock: removes the path, and our own writing
 * end: nobody new can come. ipcx__well_leave: likewise under the lock: a holder less; the last one
 * closes the descriptors. */
void ipcx__well_close(ipcx__well *self);
void ipcx__well_leave(ipcx__well *self);

/* ipcx__well_share: one more holder and user. ipcx__well_free: a user less. */
void ipcx__well_share(ipcx__well *self);
void ipcx__well_free(ipcx__well *self);

/* ipcx__well_vacate: its channel has closed: another may be handed out. ipcx__well_try: never
 * waits: whether there is something to receive and no channel is out; then one is. */
void ipcx__well_vacate(ipcx__well *self);
bool ipcx__well_try(ipcx__well *self);

/* ipcx__well_next: never waits. OK: a message is in `held`. MORE: none is there yet. EOF: nobody
 * writes any more. PEER_DIED: likewise, in the middle of a message. PROTOCOL, VERSION, CORRUPT,
 * TOO_LARGE: that is no message, at byte `wrong_at`. */
ipcx_status ipcx__well_next(ipcx__well *self, ipcx_error *err);

#endif
