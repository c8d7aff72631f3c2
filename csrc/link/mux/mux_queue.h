/* SPDX-License-Identifier: Apache-2.0
 * Frames that wait for a peer of a mux, in the order of their going.
 * Invariant: every function is called with the mux's lock; what has begun is the first. */
#ifndef IPCX_LINK_MUX_QUEUE_H
#define IPCX_LINK_MUX_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipcx/frame.h"
#include "ipcx/mux.h"

/* A frame on its way out. */
typedef struct ipcx__going {
    ipcx_envelope around;
    const void *payload;
    size_t payload_size, total;
    bool message;
} ipcx__going;

/* A frame that waits to be sent, or its rest. */
typedef struct ipcx__owed {
    struct ipcx__owed *next;
    size_t size, sent;
    bool message; /* and no frame of our own */
    uint8_t bytes[];
} ipcx__owed;

/* ipcx__queue_cost: what keeping a frame of `size` bytes costs. */
static inline size_t ipcx__queue_cost(size_t size)
{
    return size + sizeof(ipcx__owed);
}

/* ipcx__queue_put: all of it but the first `sent` bytes, which have left. False: no memory.
 * ipcx__queue_put_bytes: whole frames of our own. */
bool ipcx__queue_put(ipcx_mux_peer *peer, const ipcx__going *what, size_t sent);
bool ipcx__queue_put_bytes(ipcx_mux_peer *peer, const void *bytes, size_t size);

/* ipcx__queue_sent: so many bytes of it have left. ipcx__queue_take: they leave, at most `room`,
 * for `to`. */
void ipcx__queue_sent(ipcx_mux_peer *peer, size_t sent);
size_t ipcx__queue_take(ipcx_mux_peer *peer, uint8_t *to, size_t room);

/* ipcx__queue_forget: all of it; the number of messages among it. drop: messages that have not
 * begun, the oldest first, until it costs at most `most`; how many. */
size_t ipcx__queue_forget(ipcx_mux_peer *peer);
size_t ipcx__queue_drop(ipcx_mux_peer *peer, size_t most);

#endif
