/* SPDX-License-Identifier: Apache-2.0
 * What a mux knows of its peers, in numbers; ipcx/mux.h is what one does with them.
 * Invariant: reading them changes nothing, and waits for nobody but a short lock. */
#ifndef IPCX_MUX_INFO_H
#define IPCX_MUX_INFO_H

#include "ipcx/mux.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is known of a peer. */
typedef struct ipcx_mux_peer_info {
    uint64_t id; /* 1, 2 … in the order of their coming */
    int open;    /* joined, and neither side has closed */
    ipcx_status why;
    const char *reason; /* in words, when it was dropped; else NULL */
    uint64_t received, received_bytes, sent, sent_bytes, dropped;
    uint64_t owed; /* bytes that wait to be sent, with what keeping them costs */
    int pid;       /* unix: of the process that connected; else 0 */
    unsigned uid;
    char url[IPCX_URL_MAX]; /* tcp, tls: its own address; unix: the listener's */
} ipcx_mux_peer_info;
/* ipcx_mux_peer_get, ipcx_mux_peer_id: all of it, at any time; the id alone, for nothing. */
IPCX_API void ipcx_mux_peer_get(ipcx_mux_peer *peer, ipcx_mux_peer_info *info);
IPCX_API uint64_t ipcx_mux_peer_id(const ipcx_mux_peer *peer);

/* What came to a server. ipcx_mux_get_stats: any time. */
typedef struct ipcx_mux_stats {
    uint64_t peers, waiting;    /* now: joined; in their handshake */
    uint64_t joined, left;      /* so far */
    uint64_t refused;           /* dropped before they had joined */
    uint64_t strangers;         /* of them, those without the key, or of another user */
    uint64_t crowded;           /* times that nobody was accepted for want of a descriptor */
    uint64_t late, slow, wrong; /* dropped later: silent · did not read · broke the protocol */
    uint64_t greedy;            /* dropped because max_memory was used up, and they had most */
    uint64_t received, received_bytes, sent, sent_bytes;
    uint64_t dropped; /* messages, by on_full */
    uint64_t memory;  /* bytes, now: of half messages, and of what waits to be sent */
} ipcx_mux_stats;
IPCX_API void ipcx_mux_get_stats(ipcx_mux *mux, ipcx_mux_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
