/* SPDX-License-Identifier: Apache-2.0
 * What all peers of a mux together make it keep: half messages, and what waits to be sent.
 * Invariant: it is over max_memory by one read or one message at most; who is dropped for it is
 * whoever has most, so an honest peer with little never is. */
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/mux/mux_parts.h"

#define MOST ((size_t)1024 * 1024 * 1024)

size_t ipcx__mux_memory_sane(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    size_t quarter = pages > 0 && size > 0 ? (size_t)pages / 4 * (size_t)size : MOST;
    return quarter < MOST ? quarter : MOST;
}

ipcx__held *ipcx__held_grow(ipcx_mux *self, ipcx__held *held, size_t cap)
{
    size_t before = held != NULL ? held->cap : 0;
    ipcx__held *grown = ipcx_realloc(held, sizeof *held + cap);
    if (grown != NULL) {
        grown->cap = cap;
        (void)atomic_fetch_add(&self->memory, cap - before); /* modulo: cap may be less */
    }
    return grown;
}

void ipcx__held_free(ipcx_mux *self, ipcx__held *held)
{
    if (held != NULL) {
        (void)atomic_fetch_sub(&self->memory, held->cap);
        ipcx_free(held);
    }
}

static size_t debt_of(const ipcx_mux_peer *peer)
{
    return peer->stage == IPCX__DOOMED ? 0
                                       : peer->owed + (peer->held != NULL ? peer->held->cap : 0);
}

void ipcx__mux_spare(ipcx_mux *self)
{
    while (atomic_load(&self->memory) > self->options.max_memory) {
        ipcx_mux_peer *most = NULL;
        for (size_t i = 0; i < self->peer_count; i++) {
            ipcx_mux_peer *peer = self->peers[i];
            if (debt_of(peer) > (most != NULL ? debt_of(most) : 0)) {
                most = peer;
            }
        }
        if (most == NULL) {
            return; /* what is lent to the program, and those who go anyway */
        }
        most->greedy = true;
        ipcx__mux_doom(most, IPCX_EXHAUSTED, "max_memory was used up, and it had most of it");
        if (most->held != NULL) {
            return; /* that goes with the peer, as soon as who has the turn looks at it */
        }
    }
}
