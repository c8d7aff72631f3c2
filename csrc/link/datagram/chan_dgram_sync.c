/* SPDX-License-Identifier: Apache-2.0
 * The rendezvous: a message with SYNC is sent again, after pauses that double, until its ACK comes.
 * Whoever reads the socket or waits for it sends again what is due; the receiver drops the copies.
 * Invariant: a message in the table was given to the kernel once; after FORGET tries in vain, and
 * when nobody waits for it any more, its copy is let go. */
#include <errno.h>
#include <string.h>

#include "ipcx/alloc.h"
#include "link/datagram/chan_dgram_parts.h"
#include "os/gate.h"

#define PAUSE INT64_C(50000000) /* far over a round trip of most networks */
#define LONGEST INT64_C(4000000000)

static ipcx__dgram_sync *find(ipcx__dgram *self, uint64_t sequence)
{
    for (int i = 0; i < IPCX__DGRAM_SYNCS; i++) {
        if (self->syncs[i].sequence == sequence) {
            return &self->syncs[i];
        }
    }
    return NULL;
}

static void release(ipcx__dgram *self, ipcx__dgram_sync *sync)
{
    ipcx_free(sync->datagram);
    *sync = (ipcx__dgram_sync){0};
    (void)atomic_fetch_sub(&self->awaited, 1);
}

/* A free place; else that of one nobody can be waiting for with a deadline as long as this. */
static ipcx__dgram_sync *place(ipcx__dgram *self)
{
    ipcx__dgram_sync *oldest = find(self, 0);
    if (oldest != NULL) {
        return oldest;
    }
    oldest = &self->syncs[0];
    for (int i = 1; i < IPCX__DGRAM_SYNCS; i++) {
        if (self->syncs[i].sequence < oldest->sequence) {
            oldest = &self->syncs[i];
        }
    }
    release(self, oldest);
    return oldest;
}

ipcx_status ipcx__dgram_begin_sync(ipcx__dgram *self, const ipcx__datagram *frame, ipcx_error *err)
{
    uint8_t *copy = ipcx_alloc(frame->payload_size + IPCX__DATAGRAM_HEAD + IPCX__DATAGRAM_TAIL);
    ipcx__dgram_sync *sync;
    size_t head;
    if (copy == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "send",
                              "no memory for a copy to send again");
    }
    head = ipcx__datagram_head(frame, copy);
    if (frame->payload_size > 0) {
        memcpy(copy + head, frame->payload, frame->payload_size);
    }
    (void)pthread_mutex_lock(&self->lock);
    sync = place(self);
    *sync = (ipcx__dgram_sync){.sequence = frame->sequence,
                               .datagram = copy,
                               .size = head + frame->payload_size,
                               .pause = PAUSE,
                               .again = ipcx_clock_now() + PAUSE};
    sync->size += ipcx__datagram_tail(frame, copy, head, copy + sync->size);
    (void)atomic_fetch_add(&self->awaited, 1);
    (void)pthread_mutex_unlock(&self->lock);
    return IPCX_OK;
}

void ipcx__dgram_forget_sync(ipcx__dgram *self, uint64_t sequence)
{
    ipcx__dgram_sync *sync;
    (void)pthread_mutex_lock(&self->lock);
    sync = find(self, sequence);
    if (sync != NULL) {
        release(self, sync);
    }
    (void)pthread_mutex_unlock(&self->lock);
}

void ipcx__dgram_acked(ipcx__dgram *self, uint64_t sequence)
{
    ipcx__dgram_sync *sync;
    (void)pthread_mutex_lock(&self->lock);
    sync = sequence != 0 ? find(self, sequence) : NULL;
    if (sync != NULL) {
        sync->received = true;
        sync->again = IPCX_FOREVER;
        atomic_fetch_add(&self->head.answers, 1);
    }
    (void)pthread_mutex_unlock(&self->lock);
    if (sync != NULL) {
        ipcx__turn_tell(&self->rx); /* its sender may wait for our turn to end */
    }
}

void ipcx__dgram_end_syncs(ipcx__dgram *self)
{
    for (int i = 0; i < IPCX__DGRAM_SYNCS; i++) {
        ipcx_free(self->syncs[i].datagram);
    }
}

ipcx_deadline ipcx__dgram_again(ipcx__dgram *self)
{
    ipcx_deadline first = IPCX_FOREVER;
    int64_t now;
    if (atomic_load(&self->awaited) == 0) {
        return first;
    }
    now = ipcx_clock_now();
    (void)pthread_mutex_lock(&self->lock);
    for (int i = 0; i < IPCX__DGRAM_SYNCS; i++) {
        ipcx__dgram_sync *sync = &self->syncs[i];
        if (sync->sequence == 0 || sync->received) {
            continue;
        }
        if (sync->again <= now) {
            if (send(self->fd, sync->datagram, sync->size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
                errno == ECONNREFUSED) {
                atomic_store(&self->nobody, true);
            }
            sync->pause = sync->pause * 2 < LONGEST ? sync->pause * 2 : LONGEST;
            sync->again = now + sync->pause;
        }
        first = sync->again < first ? sync->again : first;
    }
    (void)pthread_mutex_unlock(&self->lock);
    return first;
}

static bool is_received(ipcx__dgram *self, uint64_t sequence)
{
    ipcx__dgram_sync *sync;
    bool received;
    (void)pthread_mutex_lock(&self->lock);
    sync = find(self, sequence);
    received = sync != NULL && sync->received;
    if (received) {
        release(self, sync);
    }
    (void)pthread_mutex_unlock(&self->lock);
    return received;
}

/* With the turn to read, which it leaves. MORE: nothing came. */
static ipcx_status look(ipcx__dgram *self, ipcx_error *err)
{
    ipcx_status status = ipcx__dgram_read(self, true, err);
    if (status == IPCX_AGAIN) {
        status = IPCX_MORE;
    }
    ipcx__dgram_leave(self);
    return status;
}

/* Nothing came: sleeps, woken by what comes to the socket, or by who reads it for us. */
static ipcx_status sleep_until(ipcx__dgram *self, uint32_t seen, bool had_turn,
                               ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_deadline again = ipcx__dgram_again(self);
    ipcx_deadline wake = again < deadline ? again : deadline;
    struct pollfd fds[1] = {{.fd = self->fd, .events = POLLIN}};
    ipcx_status status;
    (void)atomic_fetch_add_explicit(&self->head.send_waits, 1, memory_order_relaxed);
    if (had_turn) {
        /* Another thread may take the ACK before this one looks: it sleeps for a pause at most. */
        ipcx_deadline soon = ipcx_clock_now() + PAUSE / 5;
        if (!ipcx__single_threaded() && soon < wake) {
            wake = soon;
        }
        status = ipcx__gate_poll_set(&self->head.gate, fds, 1, wake, err);
    } else {
        status = ipcx__turn_wait(&self->rx, &self->head.gate, seen, wake, err);
    }
    return status == IPCX_TIMEOUT && wake != deadline ? IPCX_OK : status;
}

ipcx_status ipcx__dgram_await(ipcx__dgram *self, uint64_t sequence, ipcx_deadline deadline,
                              ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK) {
        uint32_t seen = ipcx__turn_look(&self->rx);
        bool turn;
        if (is_received(self, sequence)) {
            return IPCX_OK;
        }
        turn = ipcx__turn_take(&self->rx);
        if (turn) {
            status = look(self, err);
        }
        if (status == IPCX_OK && turn) {
            continue;
        }
        if (status >= 0) {
            status = is_received(self, sequence) ? IPCX_EOF : ipcx__dgram_over(self, "send", err);
        }
        if (status == IPCX_EOF) {
            return IPCX_OK;
        }
        if (status == IPCX_OK && deadline == IPCX_NOW) {
            (void)ipcx__dgram_again(self);
            return IPCX_AGAIN;
        }
        if (status == IPCX_OK) {
            status = sleep_until(self, seen, turn, deadline, err);
        }
    }
    if (status == IPCX_TIMEOUT || status < 0) {
        ipcx__dgram_forget_sync(self, sequence);
    }
    return status;
}
