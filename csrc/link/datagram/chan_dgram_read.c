/* SPDX-License-Identifier: Apache-2.0
 * What comes from the socket: whose it is, which number it has, what is to be done with it.
 * Invariant: a number is taken only for a message that will be handed out. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/datagram/chan_dgram_parts.h"

static void count(_Atomic uint64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

bool ipcx__dgram_has(const ipcx__dgram *self)
{
    return self->first != NULL || self->at < self->count;
}

const ipcx__datagram *ipcx__dgram_first(const ipcx__dgram *self)
{
    return self->first != NULL ? &self->first->frame : &self->batch->frames[self->at];
}

void ipcx__dgram_drop_first(ipcx__dgram *self)
{
    ipcx__dgram_kept *kept = self->first;
    if (kept == NULL) {
        self->at++;
        return;
    }
    self->first = kept->next;
    if (self->first == NULL) {
        self->last = &self->first;
    }
    self->kept -= sizeof *kept + kept->frame.payload_size;
    ipcx_free(kept);
}

void ipcx__dgram_drop_all(ipcx__dgram *self)
{
    while (ipcx__dgram_has(self)) {
        ipcx__dgram_drop_first(self);
    }
}

static bool has_room(const ipcx__dgram *self, const ipcx__datagram *frame)
{
    return self->kept + sizeof(ipcx__dgram_kept) + frame->payload_size <=
           self->head.options.max_backlog;
}

/* False: no memory. */
static bool keep(ipcx__dgram *self, const ipcx__datagram *frame)
{
    size_t size = sizeof(ipcx__dgram_kept) + frame->payload_size;
    ipcx__dgram_kept *kept = ipcx_alloc(size);
    if (kept == NULL) {
        return false;
    }
    kept->next = NULL;
    kept->frame = *frame;
    kept->frame.payload = kept->bytes;
    if (frame->payload_size > 0) {
        memcpy(kept->bytes, frame->payload, frame->payload_size);
    }
    *self->last = kept;
    self->last = &kept->next;
    self->kept += size;
    return true;
}

/* A SYNC message that came before: its ACK was lost, or it is still to be received. */
static void came_again(ipcx__dgram *self, uint64_t sequence)
{
    if (self->lent == sequence) {
        return;
    }
    for (const ipcx__dgram_kept *at = self->first; at != NULL; at = at->next) {
        if (at->frame.sequence == sequence) {
            return;
        }
    }
    for (int i = self->at; i < self->count; i++) {
        if (self->batch->frames[i].sequence == sequence) {
            return;
        }
    }
    ipcx__dgram_control(self, IPCX_FRAME_ACK, sequence);
}

/* A message or a goodbye, of the peer. */
static void numbered(ipcx__dgram *self, const ipcx__datagram *frame, bool aside)
{
    ipcx__track *track = &self->track;
    bool message = frame->type == IPCX_FRAME_DATA, taken = true;
    ipcx__track_verdict verdict;
    if (self->role.group && track->highest == 0) {
        track->before = track->highest = frame->sequence - 1;
    }
    verdict = ipcx__track_look(track, frame->sequence);
    atomic_store_explicit(&self->duplicates, track->duplicates, memory_order_relaxed);
    if (verdict != IPCX__TRACK_NEW) {
        if (verdict != IPCX__TRACK_DUPLICATE) {
            count(&self->dropped);
        } else if (frame->flags & IPCX_FRAME_SYNC) {
            came_again(self, frame->sequence);
        }
        return;
    }
    if (message && aside) {
        taken = has_room(self, frame) && keep(self, frame);
    } else if (message) {
        self->batch->frames[self->count++] = *frame;
    } else {
        int open = IPCX_OK;
        (void)atomic_compare_exchange_strong(&self->over, &open, IPCX_EOF);
    }
    if (!taken) {
        count(&self->dropped); /* as if it had been lost on the way */
        return;
    }
    ipcx__track_take(track, frame->sequence);
    atomic_store_explicit(&self->lost, ipcx__track_lost(track), memory_order_relaxed);
    atomic_store_explicit(&self->reordered, track->reordered, memory_order_relaxed);
}

/* Whether it is from our peer, as far as epochs tell; who answers ours is. */
static bool is_peers(ipcx__dgram *self, const ipcx__datagram *frame)
{
    uint64_t peer = atomic_load_explicit(&self->peer, memory_order_relaxed);
    bool unknown = self->role.accepted || self->role.group;
    if (frame->to != self->role.epoch && !(frame->to == 0 && unknown)) {
        return false;
    }
    if (peer == 0) {
        atomic_store(&self->peer, frame->from);
        return true;
    }
    return frame->from == peer;
}

void ipcx__dgram_judge(ipcx__dgram *self, const void *bytes, size_t size, bool aside)
{
    ipcx__datagram frame;
    if (!ipcx__datagram_parse(bytes, size, self->head.options.max_message, &frame) ||
        !is_peers(self, &frame)) {
        count(&self->dropped);
        return;
    }
    if (!atomic_load_explicit(&self->heard, memory_order_relaxed)) {
        atomic_store(&self->heard, true);
    }
    switch (frame.type) {
    case IPCX_FRAME_ACK:
        ipcx__dgram_acked(self, frame.correlation);
        break;
    case IPCX_FRAME_PING:
        ipcx__dgram_control(self, IPCX_FRAME_PONG, 0);
        break;
    case IPCX_FRAME_PONG:
        break;
    default:
        numbered(self, &frame, aside);
    }
}

/* Nobody is at the peer's address, and all that came from there is read. */
static void conclude(ipcx__dgram *self)
{
    int open = IPCX_OK;
    if (!atomic_exchange(&self->nobody, false)) {
        return;
    }
    if (!atomic_load(&self->heard)) {
        atomic_store(&self->refused, true); /* it may come yet */
    } else {
        /* The epoch's socket is no more, and will not come back. */
        (void)atomic_compare_exchange_strong(&self->over, &open, IPCX_PEER_DIED);
    }
}

static ipcx_status make_batch(ipcx__dgram *self, ipcx_error *err)
{
    ipcx__dgram_batch *batch = ipcx_alloc(sizeof *batch);
    if (batch == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "receive", "no memory to receive into");
    }
    for (int i = 0; i < IPCX__DGRAM_BATCH; i++) {
        batch->pieces[i] = (struct iovec){batch->rooms[i], sizeof batch->rooms[i]};
        batch->headers[i] =
            (struct mmsghdr){.msg_hdr = {.msg_iov = &batch->pieces[i], .msg_iovlen = 1}};
    }
    self->batch = batch;
    return IPCX_OK;
}

/* What is left of the batch, out of the way of the next. */
static bool set_aside(ipcx__dgram *self)
{
    while (self->at < self->count) {
        if (!keep(self, &self->batch->frames[self->at])) {
            return false;
        }
        self->at++;
    }
    return true;
}

ipcx_status ipcx__dgram_read(ipcx__dgram *self, bool aside, ipcx_error *err)
{
    int n;
    if (self->batch == NULL) {
        ipcx_status status = make_batch(self, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    if (self->at < self->count && !set_aside(self)) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "receive", "no memory to receive into");
    }
    self->at = self->count = 0;
    n = recvmmsg(self->fd, self->batch->headers, IPCX__DGRAM_BATCH, MSG_DONTWAIT, NULL);
    if (n < 0) {
        switch (errno) {
        case EAGAIN:
            conclude(self);
            return IPCX_AGAIN;
        case EINTR:
            return IPCX_OK;
        case ECONNREFUSED: /* told before what is there to be read */
            atomic_store(&self->nobody, true);
            return IPCX_OK;
        default:
            return ipcx_error_system(err, errno, "receive", "%s", self->head.url);
        }
    }
    for (int i = 0; i < n; i++) {
        /* frames[] is filled behind what is being looked at: a frame is judged from its room. */
        ipcx__dgram_judge(self, self->batch->rooms[i], self->batch->headers[i].msg_len, aside);
    }
    return IPCX_OK;
}
