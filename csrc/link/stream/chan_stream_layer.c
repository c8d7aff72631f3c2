/* SPDX-License-Identifier: Apache-2.0
 * A stream channel with a layer between its frames and its socket (ipcx/layer.h): TLS.
 *
 *     owed, units ──▶ seal ──▶ sealed ──▶ fd          under tx
 *     decoder ◀── open ◀── fd                         with pump; open itself under tx, for it may
 *                   └──▶ sealed (handshake, alerts)   have to answer
 *
 * Before the handshake is done nothing can be sealed. What is sent then becomes owed, up to EARLY
 * bytes; who has more to send waits for the handshake, for which somebody must read: whoever has
 * pump, a receiver or the sender itself (secure). Once it is done it stays so.
 * Invariant: what is sealed goes out before anything else is sealed; one function of the layer runs
 * at a time, for each is called under tx; none but `end` after `finish`, or after a failure: what a
 * session answers then is about itself, not about the peer. */
#include <errno.h>
#include <poll.h>

#include "link/stream/chan_stream_parts.h"
#include "os/gate.h"

/* So many bytes of messages are taken before the handshake is done. */
#define EARLY ((size_t)65536)

/* ---- sending; under tx */

static ipcx_status flush(ipcx__stream *self)
{
    size_t size = ipcx_buf_len(&self->sealed);
    ipcx__unit unit = {
        .piece = {{.iov_base = (void *)(uintptr_t)ipcx_buf_data(&self->sealed), .iov_len = size}},
        .pieces = 1,
        .left = size};
    ssize_t n;
    if (size == 0 || self->broken < 0) {
        return self->broken;
    }
    n = ipcx__stream_write(self, &unit);
    if (n < 0) {
        return errno == EAGAIN ? IPCX_AGAIN : ipcx__stream_broken(self, errno);
    }
    ipcx_buf_consume(&self->sealed, (size_t)n);
    return (size_t)n == size ? IPCX_OK : IPCX_AGAIN;
}

/* The next piece of `unit`. */
static ipcx_status seal(ipcx__stream *self, ipcx__unit *unit)
{
    size_t size = unit->piece[0].iov_len;
    ipcx_status status;
    size = size < IPCX_LAYER_PIECE ? size : IPCX_LAYER_PIECE;
    status = self->layer->seal(self->session, unit->piece[0].iov_base, size, &self->sealed,
                               &self->broken_error);
    if (status < 0) {
        self->broken = status;
        return status;
    }
    if (status == IPCX_INTR) {
        atomic_store(&self->interrupted, (uintptr_t)pthread_self());
    }
    self->out += size;
    ipcx__unit_skip(unit, size);
    return IPCX_OK;
}

ipcx_status ipcx__layer_write(ipcx__stream *self, ipcx__unit *unit)
{
    ipcx_status status = flush(self);
    ipcx__unit_skip(unit, 0); /* a piece may be empty */
    while (status == IPCX_OK && unit->left > 0) {
        status = seal(self, unit);
        if (status == IPCX_OK &&
            (unit->left == 0 || ipcx_buf_len(&self->sealed) >= IPCX_LAYER_PIECE)) {
            status = flush(self);
        }
    }
    return status;
}

ipcx_status ipcx__layer_first(ipcx__stream *self)
{
    ipcx_status status = flush(self);
    if (status == IPCX_OK && !atomic_load(&self->ready) && ipcx_buf_len(&self->owed) > 0) {
        return IPCX_AGAIN;
    }
    return status;
}

ipcx_status ipcx__layer_keep(ipcx__stream *self, ipcx__unit *unit, ipcx_error *err)
{
    size_t owed = ipcx_buf_len(&self->owed);
    uint8_t *room;
    ipcx_status status = flush(self);
    if (status < 0) {
        return status;
    }
    if (unit->left == 0 || owed + unit->left > EARLY) {
        return owed + unit->left > 0 ? IPCX_AGAIN : IPCX_OK;
    }
    status = ipcx_buf_reserve(&self->owed, unit->left, &room, err);
    for (; status == IPCX_OK && unit->left > 0; ipcx__unit_skip(unit, unit->piece[0].iov_len)) {
        status = ipcx_buf_append(&self->owed, unit->piece[0].iov_base, unit->piece[0].iov_len, err);
    }
    if (status == IPCX_OK) {
        self->message_end = self->out + ipcx_buf_len(&self->owed);
    }
    return status;
}

void ipcx__layer_finish(ipcx__stream *self)
{
    (void)pthread_mutex_lock(&self->tx);
    if (self->broken == IPCX_OK) {
        self->finished = true;
        self->layer->finish(self->session, &self->sealed);
        (void)flush(self); /* BYE was said: if there is no room for this, nothing is cut off */
        self->broken = ipcx__gate_closed("send", &self->broken_error);
    }
    (void)pthread_mutex_unlock(&self->tx);
}

bool ipcx__layer_is_stuck(ipcx__stream *self)
{
    return ipcx_buf_len(&self->sealed) > 0 && self->broken == IPCX_OK;
}

bool ipcx__layer_push_on(ipcx__stream *self)
{
    bool stuck, ready, senders;
    (void)pthread_mutex_lock(&self->tx);
    ready = atomic_load(&self->ready);
    senders = ready && (self->flushing || self->midway); /* they see to it themselves */
    if (!senders) {
        (void)(ready ? ipcx__stream_push(self) : flush(self));
        ipcx__stream_owes(self);
    }
    stuck = !senders && ipcx__layer_is_stuck(self);
    (void)pthread_mutex_unlock(&self->tx);
    return stuck;
}

/* ---- receiving; with pump */

static ipcx_status open_some(ipcx__stream *self, const uint8_t *wire, size_t size, void *room,
                             size_t room_size, ipcx_layer_opened *opened)
{
    ipcx_status status;
    bool done;
    (void)pthread_mutex_lock(&self->tx);
    if (self->finished) {
        (void)pthread_mutex_unlock(&self->tx);
        return IPCX_CLOSED;
    }
    status = self->layer->open(self->session, wire, size, room, room_size, opened, &self->sealed,
                               &self->over_error);
    done = opened->ready && !atomic_load(&self->ready);
    if (done) {
        atomic_store(&self->ready, true);
    }
    if (opened->interrupted) {
        atomic_store(&self->interrupted, (uintptr_t)pthread_self());
    }
    (void)flush(self);
    if (status < 0 && self->broken == IPCX_OK) {
        self->broken = status;
        self->broken_error = self->over_error;
    }
    if (done && !self->flushing && !self->midway) {
        (void)ipcx__stream_push(self);
    }
    ipcx__stream_owes(self);
    (void)pthread_mutex_unlock(&self->tx);
    if (done) {
        ipcx__stream_tell(self);
    }
    return status;
}

ssize_t ipcx__layer_read(ipcx__stream *self, void *room, size_t size)
{
    uint8_t wire[IPCX_LAYER_PIECE];
    ssize_t n = 0;
    for (;;) {
        ipcx_layer_opened opened = {0};
        ipcx_status status = open_some(self, wire, (size_t)n, room, size, &opened);
        if (status == IPCX_MORE && opened.interrupted) {
            status = ipcx__layer_interrupted(self) ? IPCX_INTR : IPCX_MORE;
        }
        if (status != IPCX_MORE) {
            atomic_store(&self->holds, opened.more || status != IPCX_OK);
            if (status == IPCX_OK) {
                return (ssize_t)opened.got;
            }
            self->refused = status < 0 ? status : IPCX_OK;
            errno = status == IPCX_INTR ? EINTR : EPROTO;
            return status == IPCX_EOF ? 0 : -1;
        }
        atomic_store(&self->holds, false);
        n = ipcx__stream_read(self, wire, sizeof wire);
        if (n <= 0) {
            return n;
        }
    }
}

/* ---- waiting for the handshake */

/* With pump. */
static ipcx_status nap(ipcx__stream *self, bool leaving, ipcx_deadline deadline, ipcx_error *err)
{
    short events = POLLIN;
    if (!leaving) {
        return ipcx__stream_sleep(self, deadline, err);
    }
    events |= ipcx__layer_push_on(self) ? POLLOUT : 0;
    if (ipcx__layer_interrupted(self)) {
        return IPCX_INTR;
    }
    return ipcx__gate_poll(&self->chan.gate, self->read_fd, events, deadline, err);
}

/* With pump. */
static ipcx_status shake(ipcx__stream *self, bool leaving, ipcx_deadline deadline, ipcx_error *err)
{
    for (;;) {
        ipcx_status status = ipcx__stream_fill(self, SIZE_MAX, err);
        if (atomic_load(&self->ready)) {
            return IPCX_OK;
        }
        if (status == IPCX_AGAIN && deadline != IPCX_NOW) {
            status = nap(self, leaving, deadline, err);
        }
        if (status != IPCX_OK) {
            return status;
        }
    }
}

ipcx_status ipcx__layer_secure(ipcx__stream *self, bool leaving, ipcx_deadline deadline,
                               ipcx_error *err)
{
    bool waited = false;
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK) {
        uint32_t seen = ipcx__turn_look(&self->pump);
        if (atomic_load(&self->ready)) {
            break;
        }
        if (ipcx__stream_is_over(self)) {
            status = ipcx__stream_over(self, err);
        } else if (ipcx__turn_take(&self->pump)) {
            waited = false;
            status = shake(self, leaving, deadline, err);
            ipcx__stream_leave_pump(self);
        } else {
            status = ipcx__turn_wait(&self->pump, &self->chan.gate, seen, deadline, err);
            waited = waited || status == IPCX_OK;
        }
    }
    if (waited) {
        ipcx__turn_pass(&self->pump);
    }
    return status;
}

/* ---- putting it there */

ipcx_status ipcx__chan_stream_attach(ipcx_chan *chan, bool accepted, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    const ipcx_layer *layer = chan->options.layer;
    ipcx_layer_opened opened = {0};
    ipcx_status status;
    if (layer == NULL) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "tls",
                              "%s needs a layer that encrypts: options.layer", chan->url);
    }
    status = layer->begin(chan->options.layer_context, accepted, &self->session, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->layer = layer;
    if (!accepted) {
        status = open_some(self, NULL, 0, NULL, 0, &opened);
        if (status < 0 && err != NULL) {
            *err = self->over_error;
        }
    }
    return status < 0 ? status : IPCX_OK;
}

void *ipcx__chan_stream_session(const ipcx_chan *chan)
{
    return ((const ipcx__stream *)(const void *)chan)->session;
}

ipcx_status ipcx__chan_stream_secure(ipcx_chan *chan, int port, ipcx_deadline deadline,
                                     ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    if (ipcx__guest_come(&self->guest, chan, self->read_fd, port)) {
        return IPCX_OK;
    }
    return ipcx__layer_secure(self, false, deadline, err);
}

bool ipcx__chan_stream_interrupted(ipcx_chan *chan)
{
    return ipcx__layer_interrupted(ipcx__stream_of(chan));
}

bool ipcx__chan_stream_is_stuck(ipcx_chan *chan)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    bool stuck;
    (void)pthread_mutex_lock(&self->tx);
    stuck = ipcx__layer_is_stuck(self);
    (void)pthread_mutex_unlock(&self->tx);
    return stuck;
}
