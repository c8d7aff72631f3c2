/* SPDX-License-Identifier: Apache-2.0
 * Goodbye: what was begun goes out, then BYE, and no reset of ours may overtake them.
 * Invariant: whatever happens here, the channel is closed afterwards; unless a signal came. */
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "link/address/dial.h"
#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "os/gate.h"

/* A TCP socket that is closed with bytes unread answers with a reset, and so do bytes that come
 * later; a reset makes the kernels drop what is still on its way: tcp(7). So we look this often
 * whether what we sent has gone. */
#define LOOK_NS INT64_C(1000000)
#define LOOK_LONGEST_NS INT64_C(50000000)

/* How many messages that were begun are not out: one, or none. */
static size_t count_unsent(ipcx__stream *self)
{
    size_t lost;
    (void)pthread_mutex_lock(&self->tx);
    lost = (self->out < self->message_end ||
            (self->message_end > 0 && ipcx_buf_len(&self->sealed) > 0)) &&
           !atomic_load(&self->said_bye);
    (void)pthread_mutex_unlock(&self->tx);
    return lost;
}

/* Its layer's handshake is not done, though messages may have been taken from the program: what
 * became of them close() alone can tell. */
static bool never_let_in(const ipcx__stream *self)
{
    return self->layer != NULL && !atomic_load(&self->ready);
}

/* Whether all has left this machine; from a peer that still sends, which may earn it a reset,
 * whether it has confirmed all (that alone may take the 40 ms of a delayed ACK). */
static bool has_gone(int fd, bool it_talks)
{
    int left = 0;
    return ioctl(fd, it_talks ? SIOCOUTQ : SIOCOUTQNSD, &left) != 0 || left == 0;
}

/* Bytes of which nobody needs to know what they say: a layer that has finished opens nothing. */
static bool discard_sealed(ipcx__stream *self, bool *it_talks)
{
    uint8_t junk[16384];
    ssize_t n;
    while ((n = ipcx__stream_read(self, junk, sizeof junk)) > 0) {
        *it_talks = true;
    }
    return n < 0 && errno == EAGAIN;
}

/* With pump: takes what comes and forgets it; false at the end. */
static bool discard(ipcx__stream *self, bool *it_talks)
{
    if (self->layer != NULL) {
        return discard_sealed(self, it_talks);
    }
    for (;;) {
        ipcx_status status = ipcx__stream_front(self, NULL);
        if (status == IPCX_OK) {
            *it_talks = true;
            atomic_store(&self->has_front, false);
            ipcx__fds_close(self->front_fds, &self->front_fd_count);
        } else if (status == IPCX_MORE) {
            status = ipcx__stream_fill(self, SIZE_MAX, NULL);
        }
        if (status != IPCX_OK) {
            return status == IPCX_AGAIN;
        }
    }
}

/* With pump. */
static ipcx_status linger(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    bool it_talks = false;
    int64_t nap = LOOK_NS;
    ipcx_status status = IPCX_OK;
    (void)shutdown(self->write_fd, SHUT_WR);
    while (discard(self, &it_talks) && !has_gone(self->write_fd, it_talks)) {
        ipcx_deadline until = ipcx_deadline_after(nap);
        if (ipcx_deadline_left(deadline) == 0) {
            break;
        }
        status = ipcx__gate_poll(&self->chan.gate, self->read_fd, 0,
                                 until < deadline ? until : deadline, err);
        if (status == IPCX_INTR || status < 0) {
            break;
        }
        nap = nap * 2 < LOOK_LONGEST_NS ? nap * 2 : LOOK_LONGEST_NS;
    }
    return status == IPCX_INTR ? status : IPCX_OK;
}

/* What was begun, then BYE. Interrupted before BYE, nothing is said yet. */
static ipcx_status say_bye(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__unit unit;
    ipcx__composed bye;
    ipcx_status status = ipcx__turn_take_by(&self->send_turn, &self->chan.gate, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (never_let_in(self)) {
        status = ipcx__layer_secure(self, true, deadline, err);
        if (status != IPCX_OK) {
            ipcx__turn_leave(&self->send_turn);
            return status;
        }
    }
    ipcx__stream_compose_bye(self, &bye);
    unit = atomic_load(&self->said_bye) ? (ipcx__unit){0} : bye.unit;
    status = ipcx__stream_transmit(self, &unit, deadline, err);
    if (unit.begun) {
        atomic_store(&self->said_bye, true);
    }
    if (self->layer != NULL && status == IPCX_OK) {
        ipcx__layer_finish(self);
    }
    ipcx__turn_leave(&self->send_turn);
    return status;
}

ipcx_status ipcx__stream_goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent,
                                 ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    int over = atomic_load(&self->over);
    ipcx_status status = IPCX_OK;
    atomic_store(&self->closing, true);
    ipcx__stream_nudge(self);
    ipcx__stream_tell(self);
    if (never_let_in(self) && over < 0 && !atomic_load(&self->over_told)) {
        *unsent = count_unsent(self);
        return *unsent > 0 ? ipcx__stream_over(self, err) : IPCX_OK;
    }
    if (self->write_way == IPCX__WAY_NONE || (over < 0 && over != IPCX_NOMEM)) {
        return IPCX_OK; /* to whom? */
    }
    if (never_let_in(self) && count_unsent(self) == 0) {
        return IPCX_OK; /* nobody has accepted us, nor will */
    }
    if (atomic_load(&self->unproven)) {
        return IPCX_OK; /* nothing of ours is for a stranger */
    }
    if (!atomic_load(&self->greeted)) {
        (void)ipcx__stream_greet(self, NULL);
    }
    status = say_bye(self, deadline, err);
    if (status == IPCX_OK && ipcx__is_tcp(chan->transport->scheme) &&
        ipcx__turn_take_by(&self->pump, &chan->gate, deadline, NULL) == IPCX_OK) {
        status = linger(self, deadline, err);
        ipcx__turn_leave(&self->pump);
    }
    if (status < 0 && never_let_in(self)) {
        *unsent = count_unsent(self);
        return status;
    }
    if (status < 0) {
        return IPCX_OK; /* the peer is not there any more: nothing of ours is lost to it */
    }
    if (status == IPCX_INTR) {
        atomic_store(&self->closing, false); /* what it was interrupted by decides what is next */
        return status;
    }
    *unsent = status == IPCX_OK ? 0 : count_unsent(self);
    return *unsent > 0 ? status : IPCX_OK;
}
