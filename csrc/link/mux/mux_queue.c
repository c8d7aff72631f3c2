/* SPDX-License-Identifier: Apache-2.0
 * What waits for a peer: mux_queue.h.
 * Invariant: `owed`, `control` and the mux's memory count exactly what is in the list. */
#include "link/mux/mux_queue.h"

#include <string.h>

#include "ipcx/alloc.h"
#include "link/mux/mux_parts.h"

static void unlink_after(ipcx_mux_peer *peer, ipcx__owed *before, ipcx__owed *owed)
{
    *(before != NULL ? &before->next : &peer->first) = owed->next;
    if (peer->last == owed) {
        peer->last = before;
    }
    peer->owed -= ipcx__queue_cost(owed->size);
    (void)atomic_fetch_sub(&peer->mux->memory, ipcx__queue_cost(owed->size));
    if (!owed->message) {
        peer->control -= ipcx__queue_cost(owed->size);
    }
    ipcx_free(owed);
}

size_t ipcx__queue_forget(ipcx_mux_peer *peer)
{
    size_t lost = 0;
    while (peer->first != NULL) {
        lost += peer->first->message;
        unlink_after(peer, NULL, peer->first);
    }
    return lost;
}

size_t ipcx__queue_drop(ipcx_mux_peer *peer, size_t most)
{
    ipcx__owed *before = NULL, *at = peer->first;
    size_t dropped = 0;
    while (at != NULL && peer->owed > most) {
        ipcx__owed *next = at->next;
        if (at->message && at->sent == 0) {
            unlink_after(peer, before, at);
            dropped++;
        } else {
            before = at;
        }
        at = next;
    }
    return dropped;
}

bool ipcx__queue_put(ipcx_mux_peer *peer, const ipcx__going *what, size_t sent)
{
    ipcx__owed *owed = ipcx_alloc(sizeof *owed + what->total);
    uint8_t *at;
    if (owed == NULL) {
        return false;
    }
    *owed = (ipcx__owed){.size = what->total, .sent = sent, .message = what->message};
    at = owed->bytes;
    memcpy(at, what->around.head, what->around.head_size);
    at += what->around.head_size;
    if (what->payload_size > 0) {
        memcpy(at, what->payload, what->payload_size);
    }
    memcpy(at + what->payload_size, what->around.tail, what->around.tail_size);
    *(peer->last != NULL ? &peer->last->next : &peer->first) = owed;
    peer->last = owed;
    peer->owed += ipcx__queue_cost(what->total);
    (void)atomic_fetch_add(&peer->mux->memory, ipcx__queue_cost(what->total));
    peer->control += what->message ? 0 : ipcx__queue_cost(what->total);
    return true;
}

bool ipcx__queue_put_bytes(ipcx_mux_peer *peer, const void *bytes, size_t size)
{
    const ipcx__going what = {.payload = bytes, .payload_size = size, .total = size};
    return ipcx__queue_put(peer, &what, 0);
}

void ipcx__queue_sent(ipcx_mux_peer *peer, size_t sent)
{
    while (sent > 0) {
        ipcx__owed *first = peer->first;
        size_t left = first->size - first->sent;
        if (sent < left) {
            first->sent += sent;
            return;
        }
        sent -= left;
        unlink_after(peer, NULL, first);
    }
}

size_t ipcx__queue_take(ipcx_mux_peer *peer, uint8_t *to, size_t room)
{
    size_t taken = 0;
    while (peer->first != NULL && taken < room) {
        const ipcx__owed *first = peer->first;
        size_t left = first->size - first->sent, some = left < room - taken ? left : room - taken;
        memcpy(to + taken, first->bytes + first->sent, some);
        taken += some;
        ipcx__queue_sent(peer, some);
    }
    return taken;
}
