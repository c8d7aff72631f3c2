/* SPDX-License-Identifier: Apache-2.0
 * Where channels come from: connect to a listener, wait for peers, or make both ends at once.
 *
 *     server                                        client
 *     ipcx_listen("tcp://127.0.0.1:0", …, &lst)     ipcx_connect("tcp://127.0.0.1:5000", …, &chan)
 *     ipcx_listener_accept(lst, &chan, …)
 *
 * listen, connect, accept may follow each other in one thread: connect returns when the kernel has
 * the connection, and the handshake (docs/protocol.md) is finished by the first call that needs it.
 * Invariant: accept hands out channels whose handshake is done; a peer that is silent, or speaks
 * something else, keeps nobody waiting and is dropped. */
#ifndef IPCX_CONNECT_H
#define IPCX_CONNECT_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"
#include "ipcx/chan.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/layer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What may be chosen for a channel; NULL or a zero is the default. */
typedef struct ipcx_chan_options {
    size_t max_message;  /* longest message to receive, bytes: 64 MiB, at least 4096 */
    size_t max_backlog;  /* bytes received while a SYNC send waits: 8 MiB */
    size_t capacity;     /* inproc: messages in a direction; see `rendezvous`: 1024 */
    int rendezvous;      /* inproc: capacity 0, every send is SYNC */
    int checksum;        /* stream transports: a CRC-32C in every frame sent */
    int insecure;        /* listen: an address that others can reach, without TLS or key */
    const void *authkey; /* tcp, unix: each side proves to the other that it has this key,
                            `authkey_size` bytes, 1 or more; borrowed: it is copied, and
                            the copy is wiped */
    size_t authkey_size;
    const unsigned *allow_uids; /* unix, shm: the users that may be at the other side, beside this
                                   one and root, `allow_uids_count` of them; borrowed. Without the
                                   list root talks to everybody. listen: the path is for all */
    size_t allow_uids_count;
    int reuse_port;             /* listen, tcp: other processes of this user may listen there too,
                                   if they say so as well; each gets its share of the peers */
    int copy;                   /* inproc: messages are copied, as over any other transport */
    const ipcx_layer *layer;    /* tls: what encrypts (ipcx/layer.h); as long as the listener */
    void *layer_context;        /* what its begin() gets */
    int64_t handshake_timeout;  /* listen: nanoseconds a peer has for its HELLO: 5 s */
    int backlog;                /* listen(2)'s: 512 */
    int64_t vanish_timeout;     /* tcp: nanoseconds until a silent peer's host counts as vanished:
                                   15 s, at least 3; IPCX_FOREVER: as long as the kernel waits */
    void (*drop)(void *object); /* inproc: gives back an OBJECT that nobody will receive; called
                                   from within send, receive, close and free only */
    size_t ring;                /* shm: address space of each of the two rings, rounded up to a
                                   power of two: 4 MiB; 64 KiB to 1 GiB. Who connects decides */
    size_t max_segment;         /* listen, shm: bytes of memory a peer may come with: 256 MiB */
    int trust;                  /* shm: IPCX_TRUST_… */
} ipcx_chan_options;

/* Whom an end of shm:// lets scribble in what it looks at. SAME_UID: processes of this user, which
 * could trace this one, too; what another user's has sent is copied before it is looked at, nothing
 * is lent, and no descriptor that it could make block is written to. NONE: so with everybody. */
#define IPCX_TRUST_SAME_UID 0
#define IPCX_TRUST_NONE 1

/* ipcx_connect: INVALID_URL · REFUSED (nobody listens) · AUTH (unix: another user listens) · AGAIN
 * · TIMEOUT · INTR · RESOLVE · SYSTEM … A name's addresses are tried in turn, each with its share
 * of the time; to resolve it may take longer than the deadline says. No host: this one. pipe://R,W:
 * the channel owns the two descriptors from then on, unless it fails. pipe://-: a print to stdout
 * would spoil the frames, so stdout becomes what stderr is, and stdin empty. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_connect(const char *url, const ipcx_chan_options *options,
                                                 ipcx_deadline deadline, ipcx_chan **chan,
                                                 ipcx_error *err);

/* ipcx_pair: two connected ends: "inproc://", "shm://", "unix://", "pipe://", or "tcp://", "udp://"
 * (over the loopback). EXHAUSTED: no memory for it is left (shm).
 * An end belongs to the process that uses it first, so either may be inherited by fork(2). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_pair(const char *url, const ipcx_chan_options *options,
                                              ipcx_chan **a, ipcx_chan **b, ipcx_error *err);

/* A listener belongs to the process that made it: FORKED in a child. */
typedef struct ipcx_listener ipcx_listener;

/* ipcx_listen: ADDRESS_IN_USE: a live listener has it (its pid in the detail where it is known);
 * what a killed one left behind is replaced, what is not this user's own socket is left alone
 * (SYSTEM, EPERM). INSECURE: the address is open to the network, see `insecure`. UNSUPPORTED: pipe.
 * "unix://", "inproc://" alone: a path in the user's runtime directory, a name, of its own. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_listen(const char *url, const ipcx_chan_options *options,
                                                ipcx_listener **listener, ipcx_error *err);

/* ipcx_listener_accept: the next peer whose handshake is done. Advances those of all waiting peers;
 * drops who has been silent for handshake_timeout, speaks something else, or is another user's
 * process (unix; root may); of too many who wait, the oldest. EXHAUSTED: no descriptor for a peer,
 * nor a silent one's to take; for a tenth of a second nobody is accepted then. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_listener_accept(ipcx_listener *listener, ipcx_chan **chan,
                                                         ipcx_deadline deadline, ipcx_error *err);

/* ipcx_listener_url: the real one, port or path filled in; valid as long as the listener. */
IPCX_API const char *ipcx_listener_url(const ipcx_listener *listener);

/* ipcx_listener_fileno: readable when accept is worth a try; the listener's own. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_listener_fileno(ipcx_listener *listener, int *fd,
                                                         ipcx_error *err);

/* What came to a listener. ipcx_listener_get_stats: any time. */
typedef struct ipcx_listener_stats {
    uint64_t accepted;  /* channels handed out */
    uint64_t dropped;   /* peers that broke the protocol, hung up or were silent for too long */
    uint64_t waiting;   /* peers in their handshake, now */
    uint64_t strangers; /* of the dropped, those without the key, or of another user */
} ipcx_listener_stats;
IPCX_API void ipcx_listener_get_stats(ipcx_listener *listener, ipcx_listener_stats *stats);

/* ipcx_listener_close, ipcx_listener_free: stops listening, drops who waits, removes the path it
 * made; idempotent. A thread in accept returns CLOSED. free closes if need be; NULL is allowed. */
IPCX_API ipcx_status ipcx_listener_close(ipcx_listener *listener, ipcx_error *err);
IPCX_API void ipcx_listener_free(ipcx_listener *listener);

#ifdef __cplusplus
}
#endif

#endif
