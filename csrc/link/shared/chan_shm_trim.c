/* SPDX-License-Identifier: Apache-2.0
 * Giving back what large messages have needed: the ring's growth, as holes in the memory, and the
 * copies of what came in parts.
 * Invariant: a byte that the consumer may still read, or that is lent, is not given back. */
#include <sys/stat.h>
#include <unistd.h>

#include "link/shared/chan_shm_loan.h"
#include "os/map.h"

/* Bytes that the memory takes now. */
static size_t taken(const ipcx__shm *self)
{
    struct stat info;
    return fstat(self->memory, &info) == 0 ? (size_t)info.st_blocks * 512 : 0;
}

/* With the tx turn: everything of our ring but its first piece, and the page where the next record
 * goes (a SKIP, if that is behind the first piece). */
static ipcx_status shrink(ipcx__shm *self, ipcx_error *err)
{
    uint64_t base = IPCX__SHM_HEAD + self->role * self->ring, at;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = IPCX__RING_LIMIT;
    ipcx_status status = IPCX_OK;
    if (!ipcx__ring_shrink(&self->tx, &at)) {
        return IPCX_OK; /* something is under way, or lent */
    }
    at = at / page * page;
    if (at >= first) {
        if (at > first) {
            status = ipcx__memory_release(self->memory, base + first, base + at, err);
        }
        first = at + page;
    }
    if (status == IPCX_OK && first < self->ring) {
        status = ipcx__memory_release(self->memory, base + first, base + self->ring, err);
    }
    return status;
}

static void forget_copies(ipcx__shm *self)
{
    if (self->rx.lent == 0 && self->rx.due == 0) {
        ipcx_buf_fini(&self->rx.whole);
        ipcx_buf_fini(&self->text);
        ipcx_buf_init(&self->rx.whole, self->rx.max_message);
        ipcx_buf_init(&self->text, self->head.options.max_message);
    }
}

ipcx_status ipcx__shm_trim(ipcx_chan *chan, size_t *bytes, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    size_t before, after;
    ipcx_status status = ipcx__shm_begin(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    before = taken(self);
    if (ipcx__turn_take(&self->tx_turn)) { /* else a message is on its way: nothing to give back */
        status = shrink(self, err);
        ipcx__turn_leave(&self->tx_turn);
    }
    if (ipcx__turn_take(&self->rx_turn)) {
        forget_copies(self);
        ipcx__turn_leave(&self->rx_turn);
    }
    after = taken(self);
    *bytes = before > after ? before - after : 0;
    return status;
}
