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

static size_t held_by(const ipcx_mux_peer *peer)
{
    return (peer->held != NULL ? peer->held->cap : 0) +
           (peer->cover != NULL ? peer->cover->counted : 0);
}

/* Who has most, of those who stay; *going: what goes with those who do not. */
static ipcx_mux_peer *largest(const ipcx_mux *self, size_t *going)
{
    ipcx_mux_peer *most = NULL;
    size_t debt = 0;
    *going = 0;
    for (size_t i = 0; i < self->peer_count; i++) {
        ipcx_mux_peer *peer = self->peers[i];
        if (peer->stage == IPCX__DOOMED) {
            *going += held_by(peer); /* until who has the turn looks at it */
        } else if (peer->owed + held_by(peer) > debt) {
            most = peer;
            debt = peer->owed + held_by(peer);
        }
    }
    return most;
}

void ipcx__mux_spare(ipcx_mux *self)
{
    while (atomic_load(&self->memory) > self->options.max_memory) {
        size_t going;
        ipcx_mux_peer *most = largest(self, &going);
        if (most == NULL || atomic_load(&self->memory) - going <= self->options.max_memory) {
            return; /* no peer's: lent to the program; or it goes anyway */
        }
        most->greedy = true;
        ipcx__mux_doom(most, IPCX_EXHAUSTED, "max_memory was used up, and it had most of it");
    }
}
