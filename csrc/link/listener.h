/* SPDX-License-Identifier: Apache-2.0
 * What every listener has in common, and the table of what each kind of address does in its own
 * way. listener.c owns the frame of a call: owner, gate, fork, close; a kind's functions stand in
 * the room of its transport.
 * Invariant: no function of a kind but `forked`, `count` and `free` runs in another process than
 * the one that listens, nor before `open` has set `state`. */
#ifndef IPCX_LINK_LISTENER_H
#define IPCX_LINK_LISTENER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/process.h"
#include "ipcx/connect.h"
#include "ipcx/gate.h"
#include "ipcx/url.h"

typedef struct ipcx__listener_kind {
    /* open: `self->url` is the address as it was given; the real one is put in. Whatever comes out,
     * what it made is in `self->state`, which the functions below find in any stage of it. */
    ipcx_status (*open)(ipcx_listener *self, const ipcx_url *url, ipcx_error *err);
    /* accept, fileno: as in ipcx/connect.h, inside the gate. */
    ipcx_status (*accept)(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                          ipcx_error *err);
    ipcx_status (*fileno)(ipcx_listener *self, int *fd, ipcx_error *err);
    /* lend: see ipcx__listener_lend; NULL: there is nothing to wait for together with others. */
    ipcx_status (*lend)(ipcx_listener *self, int *fd, ipcx_error *err);
    /* The rest may be NULL. count: puts in all but `accepted`. */
    void (*count)(ipcx_listener *self, ipcx_listener_stats *stats);
    /* Closing, in this order. wake: the gate has just been turned to closed: wakes who sleeps in
     * another way than in the gate's own. empty: nobody is inside any more: drops who waits. shut:
     * closes descriptors, under ipcx__own_lock. */
    void (*wake)(ipcx_listener *self);
    void (*empty)(ipcx_listener *self);
    void (*shut)(ipcx_listener *self);
    /* forked: in a child's at-fork handler: lets go of the descriptors; async-signal-safe. */
    void (*forked)(ipcx_listener *self);
    /* free: the memory of `state`. In a child nothing was closed, and other threads' locks may be
     * held for ever. */
    void (*free)(ipcx_listener *self, bool in_child);
} ipcx__listener_kind;

/* The head of every listener; `state` is its kind's. */
struct ipcx_listener {
    ipcx__own own; /* first: see listener.c */
    const ipcx__listener_kind *kind;
    void *state;
    ipcx_scheme scheme;
    ipcx_gate gate;
    ipcx_chan_options options; /* defaults filled in; key and users are its own */
    char url[IPCX_URL_MAX];
    uint32_t made_in; /* fork generation of the process it belongs to */
    int owner_pid;
    _Atomic bool closed;
    _Atomic uint64_t accepted;
};

/* The kinds, and the rooms they stand in. */
extern const ipcx__listener_kind ipcx__listener_mem;   /* memory/mem_listen.c */
extern const ipcx__listener_kind ipcx__listener_tcp;   /* stream/stream_listen.c: tls, too */
extern const ipcx__listener_kind ipcx__listener_unix;  /* stream/stream_listen.c */
extern const ipcx__listener_kind ipcx__listener_shm;   /* stream/stream_listen.c */
extern const ipcx__listener_kind ipcx__listener_dgram; /* datagram/dgram_kind.c */
extern const ipcx__listener_kind ipcx__listener_log;   /* log/log_listen.c */
extern const ipcx__listener_kind ipcx__listener_fifo;  /* fifo/fifo_listen.c */

/* ipcx__listener_name: for `open`: the URL's name, of `cap` bytes; of one without, a name that
 * nobody else has, which is put into `self->url` behind `scheme`. */
ipcx_status ipcx__listener_name(ipcx_listener *self, const ipcx_url *url, const char *scheme,
                                char *name, size_t cap, ipcx_error *err);

/* ipcx__listener_lends: OK: a listener there can lend; asked before it is opened, for that leaves
 * something behind. UNSUPPORTED, INVALID_URL. */
ipcx_status ipcx__listener_lends(const char *url, ipcx_error *err);
/* ipcx__listener_lend: for who accepts the peers himself: the descriptor to accept from, as long as
 * the listener is open; its own accept hears of nobody from then on. The descriptor stays the
 * listener's, and so do path and port. UNSUPPORTED. ipcx__listener_options: as long as it is there.
 */
ipcx_status ipcx__listener_lend(ipcx_listener *listener, ipcx_scheme *scheme, int *fd,
                                ipcx_error *err);
const ipcx_chan_options *ipcx__listener_options(const ipcx_listener *listener);

#endif
