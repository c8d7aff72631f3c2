/* SPDX-License-Identifier: Apache-2.0
 * To the peers of a mux: at once if the descriptor takes it, else queued, within bounds.
 * Invariant: a frame that has begun is sent to its end before anything else, or the peer goes; what
 * waits for a peer is at most max_backlog and one message. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "link/mux/mux_parts.h"
#include "os/gate.h"
#include "wire/frame.h"

/* Up to so many bytes a frame is put together and sent in one piece: dearer than a system call with
 * three pieces is only the copy of more. */
#define ONE_PIECE 4096
#define PIECES 64

/* ---- the queue */

bool ipcx__mux_owes(const ipcx_mux_peer *peer)
{
    return peer->first != NULL || (peer->cover != NULL && ipcx_buf_len(&peer->cover->wire) > 0);
}

static ssize_t send_queue(ipcx_mux_peer *peer)
{
    struct iovec piece[PIECES];
    struct msghdr msg = {.msg_iov = piece};
    for (ipcx__owed *owed = peer->first; owed != NULL && msg.msg_iovlen < PIECES;
         owed = owed->next) {
        piece[msg.msg_iovlen++] = (struct iovec){.iov_base = owed->bytes + owed->sent,
                                                 .iov_len = owed->size - owed->sent};
    }
    return sendmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Nobody is there to send to; a goodbye of its may still be unread. */
static void hung_up(ipcx_mux_peer *peer)
{
    (void)ipcx__queue_forget(peer);
    if (peer->cover != NULL) {
        ipcx__cover_forget(peer);
    }
    ipcx__mux_watch(peer);
}

static bool is_temporary(int number)
{
    return number == EAGAIN || number == EINTR || number == ENOBUFS || number == ENOMEM;
}

void ipcx__mux_flush(ipcx_mux_peer *peer)
{
    if (peer->cover != NULL && !ipcx__cover_flush(peer)) {
        hung_up(peer);
        return;
    }
    while (peer->first != NULL && peer->cover == NULL) {
        ssize_t n = send_queue(peer);
        if (n < 0 && is_temporary(errno)) {
            break;
        }
        if (n < 0) {
            hung_up(peer);
            return;
        }
        ipcx__queue_sent(peer, (size_t)n);
    }
    if (!ipcx__mux_owes(peer) && peer->stage == IPCX__LEAVING) {
        (void)shutdown(peer->fd, SHUT_WR);
    }
    ipcx__mux_watch(peer);
}

/* ---- one frame */

/* Our HELLO goes in front of the first frame: one system call and one segment less for each who
 * comes. Who has joined and is sent nothing gets it alone, before anybody sleeps. It fits into what
 * an empty socket takes; where it does not, something is wrong with it. */
static ssize_t send_first(ipcx_mux_peer *peer, const ipcx__going *what)
{
    const ipcx_mux *self = peer->mux;
    size_t before = self->hello_size;
    struct iovec piece[4] = {
        {.iov_base = (void *)(uintptr_t)self->hello, .iov_len = before},
        {.iov_base = (void *)(uintptr_t)what->around.head, .iov_len = what->around.head_size},
        {.iov_base = (void *)(uintptr_t)what->payload, .iov_len = what->payload_size},
        {.iov_base = (void *)(uintptr_t)what->around.tail, .iov_len = what->around.tail_size}};
    struct msghdr msg = {.msg_iov = piece, .msg_iovlen = 4};
    ssize_t n = sendmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    peer->greeted = true;
    if (n < (ssize_t)before && (n >= 0 || is_temporary(errno))) {
        ipcx__mux_doom(peer, IPCX_PEER_DIED, NULL);
        errno = EPIPE;
        return -1;
    }
    return n < 0 ? -1 : n - (ssize_t)before;
}

/* Sealed: behind what is queued, and off at once. PEER_DIED · NOMEM. */
static ipcx_status put_sealed(ipcx_mux_peer *peer, const ipcx__going *what)
{
    const ipcx_mux *self = peer->mux;
    bool alive;
    if (!peer->greeted && !ipcx__queue_put_bytes(peer, self->hello, self->hello_size)) {
        return IPCX_NOMEM;
    }
    peer->greeted = true;
    if (what->total > 0 && !ipcx__queue_put(peer, what, 0)) {
        return IPCX_NOMEM;
    }
    alive = ipcx__cover_flush(peer);
    if (!alive) {
        hung_up(peer);
    }
    ipcx__mux_watch(peer);
    return alive ? IPCX_OK : IPCX_PEER_DIED;
}

void ipcx__mux_greet(ipcx_mux_peer *peer)
{
    static const ipcx__going nothing;
    if (!peer->greeted && peer->stage != IPCX__DOOMED && peer->stage != IPCX__GONE) {
        if (peer->cover != NULL) {
            (void)put_sealed(peer, &nothing);
            return;
        }
        (void)send_first(peer, &nothing); /* who has hung up, reading finds out */
    }
}

void ipcx__mux_greet_all(ipcx_mux *self)
{
    while (self->ungreeted != NULL) {
        ipcx_mux_peer *peer = self->ungreeted;
        self->ungreeted = peer->next_ungreeted;
        ipcx__mux_greet(peer);
    }
}

static ssize_t send_frame(int fd, const ipcx__going *what)
{
    uint8_t whole[ONE_PIECE];
    struct iovec piece[3] = {
        {.iov_base = (void *)(uintptr_t)what->around.head, .iov_len = what->around.head_size},
        {.iov_base = (void *)(uintptr_t)what->payload, .iov_len = what->payload_size},
        {.iov_base = (void *)(uintptr_t)what->around.tail, .iov_len = what->around.tail_size}};
    struct msghdr msg = {.msg_iov = piece, .msg_iovlen = 3};
    if (what->total > sizeof whole) {
        return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    memcpy(whole, what->around.head, what->around.head_size);
    if (what->payload_size > 0) {
        memcpy(whole + what->around.head_size, what->payload, what->payload_size);
    }
    memcpy(whole + what->around.head_size + what->payload_size, what->around.tail,
           what->around.tail_size);
    return send(fd, whole, what->total, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* At once as far as it goes, the rest queued. PEER_DIED · NOMEM: nothing of it is kept. */
static ipcx_status put(ipcx_mux_peer *peer, const ipcx__going *what)
{
    ssize_t n = 0;
    if (IPCX_UNLIKELY(peer->host.queue == NULL) && !peer->is_unix) {
        ipcx__mux_attend(peer);
    }
    if (peer->cover != NULL) {
        return put_sealed(peer, what);
    }
    if (peer->first == NULL) {
        n = peer->greeted ? send_frame(peer->fd, what) : send_first(peer, what);
        if (n == (ssize_t)what->total) {
            return IPCX_OK;
        }
        if (n < 0 && !is_temporary(errno)) {
            return IPCX_PEER_DIED;
        }
        n = n < 0 ? 0 : n;
    }
    if (!ipcx__queue_put(peer, what, (size_t)n)) {
        if (n > 0) {
            ipcx__mux_doom(peer, IPCX_NOMEM, "no memory for the rest of a message");
        }
        return IPCX_NOMEM;
    }
    ipcx__mux_watch(peer);
    return IPCX_OK;
}

static ipcx_status prepare(const ipcx_mux *self, const ipcx_frame *frame, ipcx__going *what,
                           ipcx_error *err)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__MESSAGE_MAX};
    ipcx_frame ours = *frame;
    ipcx_status status;
    ours.flags |= self->options.channel.checksum ? IPCX_FRAME_CRC : 0;
    status = ipcx_frame_encode(&framing, &ours, &what->around, err);
    what->payload = frame->payload;
    what->payload_size = frame->payload_size;
    what->total = what->around.head_size + what->payload_size + what->around.tail_size;
    what->message = frame->type == IPCX_FRAME_DATA;
    return status;
}

void ipcx__mux_control(ipcx_mux_peer *peer, const ipcx_frame *frame)
{
    ipcx__going what;
    if (prepare(peer->mux, frame, &what, NULL) == IPCX_OK && put(peer, &what) == IPCX_NOMEM) {
        ipcx__mux_doom(peer, IPCX_NOMEM, "no memory for an answer");
    }
}

void ipcx__mux_bye(ipcx_mux_peer *peer)
{
    const ipcx_frame bye = {.type = IPCX_FRAME_BYE};
    if (peer->stage != IPCX__JOINED && peer->stage != IPCX__ASKING) {
        return;
    }
    ipcx__mux_control(peer, &bye);
    if (peer->stage != IPCX__DOOMED) {
        peer->stage = IPCX__LEAVING;
        ipcx__wait_out(&peer->frame);
        ipcx__wait_in(peer->mux, &peer->mux->leaving, &peer->life);
        ipcx__mux_flush(peer);
    }
}

/* ---- messages */

/* There is no room. OK: there is now. */
static ipcx_status full(ipcx_mux_peer *peer, size_t cost, bool may_block)
{
    ipcx_mux *self = peer->mux;
    size_t backlog = self->options.channel.max_backlog, dropped;
    switch (self->options.on_full) {
    case IPCX_MUX_DROP_OLDEST:
        dropped = ipcx__queue_drop(peer, backlog > cost ? backlog - cost : 0);
        peer->dropped += dropped;
        self->stats.dropped += dropped;
        return IPCX_OK;
    case IPCX_MUX_BLOCK:
        if (may_block) {
            return ipcx__mux_within(self) ? IPCX_AGAIN : IPCX_MORE;
        }
        break;
    case IPCX_MUX_ERROR:
        if (may_block) {
            return IPCX_AGAIN;
        }
        break;
    case IPCX_MUX_DROP_NEWEST:
        break;
    case IPCX_MUX_DISCONNECT:
        ipcx__mux_doom(peer, IPCX_EXHAUSTED, "it did not read what was sent to it");
        return IPCX_PEER_CLOSED;
    }
    peer->dropped++;
    self->stats.dropped++;
    return IPCX_AGAIN;
}

/* MORE: wait for room. `alone`: no broadcast. */
static ipcx_status deliver(ipcx_mux_peer *peer, const ipcx__going *what, bool alone)
{
    ipcx_mux *self = peer->mux;
    ipcx_status status = IPCX_OK;
    if (peer->stage != IPCX__JOINED) {
        return peer->why == IPCX_PEER_DIED ? IPCX_PEER_DIED : IPCX_PEER_CLOSED;
    }
    if (what->payload_size > peer->limit) {
        ipcx__mux_doom(peer, IPCX_TOO_LARGE, "a message for it is over its limit");
        return IPCX_PEER_CLOSED;
    }
    if (peer->first != NULL &&
        peer->owed + ipcx__queue_cost(what->total) > self->options.channel.max_backlog) {
        ipcx__mux_flush(peer);
        if (peer->first != NULL &&
            peer->owed + ipcx__queue_cost(what->total) > self->options.channel.max_backlog) {
            status = full(peer, ipcx__queue_cost(what->total), alone);
        }
    }
    if (status == IPCX_OK) {
        status = put(peer, what);
        ipcx__mux_spare(self);
        status = peer->stage == IPCX__DOOMED ? IPCX_PEER_CLOSED : status;
    }
    if (status == IPCX_OK) {
        peer->sent++;
        peer->sent_bytes += what->payload_size;
        self->stats.sent++;
        self->stats.sent_bytes += what->payload_size;
    }
    return status;
}

static ipcx_status say(const ipcx_mux_peer *peer, ipcx_status status, ipcx_error *err)
{
    switch (status) {
    case IPCX_PEER_CLOSED:
    case IPCX_PEER_DIED:
        return ipcx_error_set(err, status, 0, "send", "%s",
                              peer->reason != NULL ? peer->reason : "it has left");
    case IPCX_NOMEM:
        return ipcx_error_set(err, status, 0, "send", "no memory for a message");
    default:
        return status;
    }
}

/* Who waits looks at the peer's host itself: whoever would do so in next may be who waits. */
static ipcx_status wait_for_room(ipcx_mux_peer *peer, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_mux *self = peer->mux;
    int fd = peer->fd;
    ipcx_deadline look = ipcx__mux_next_look(self), until = look < deadline ? look : deadline;
    ipcx_status status;
    if (deadline == IPCX_NOW) {
        return IPCX_AGAIN;
    }
    peer->pins++;
    (void)pthread_mutex_unlock(&self->lock);
    status = ipcx__gate_poll(&self->gate, fd, POLLOUT, until, err);
    (void)pthread_mutex_lock(&self->lock);
    if (status == IPCX_TIMEOUT && until != deadline) {
        status = IPCX_OK;
        if (peer->stage == IPCX__JOINED && ipcx__mux_vanished(peer)) {
            ipcx__mux_doom(peer, IPCX_PEER_DIED, IPCX__MUX_VANISHED);
        }
    }
    ipcx__mux_unpin(peer);
    return status;
}

static ipcx_status check(ipcx_mux *self, const ipcx_message *message, ipcx__going *what,
                         ipcx_error *err)
{
    ipcx_frame frame = {.type = IPCX_FRAME_DATA,
                        .flags = message->flags & IPCX_MESSAGE_TEXT ? IPCX_FRAME_TEXT : 0,
                        .payload = message->data,
                        .payload_size = message->size};
    if (message->flags & ~IPCX_MESSAGE_TEXT) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                              "a server sends bytes and texts, and waits for nobody to take them");
    }
    return prepare(self, &frame, what, err);
}

ipcx_status ipcx_mux_send(ipcx_mux_peer *peer, const ipcx_message *message, ipcx_deadline deadline,
                          ipcx_error *err)
{
    ipcx_mux *self = peer->mux;
    ipcx__going what;
    ipcx_status status = ipcx__mux_enter_gate(self, "send", err);
    if (status != IPCX_OK) {
        return status;
    }
    status = check(self, message, &what, err);
    (void)pthread_mutex_lock(&self->lock);
    if (status == IPCX_OK && message->size > peer->limit && peer->joined &&
        message->size > self->options.channel.max_message) {
        status = ipcx_error_set(err, IPCX_TOO_LARGE, 0, "send", "%zu bytes; the peer takes %zu",
                                message->size, peer->limit);
    }
    while (status == IPCX_OK) {
        status = deliver(peer, &what, true);
        if (status != IPCX_MORE) {
            status = say(peer, status, err);
            break;
        }
        status = wait_for_room(peer, deadline, err);
    }
    (void)pthread_mutex_unlock(&self->lock);
    ipcx__gate_leave(&self->gate);
    return status;
}

ipcx_status ipcx_mux_broadcast(ipcx_mux *self, const ipcx_message *message,
                               const ipcx_mux_peer *except, size_t *sent, ipcx_error *err)
{
    ipcx__going what;
    size_t count = 0;
    ipcx_status status = ipcx__mux_enter_gate(self, "broadcast", err);
    if (status != IPCX_OK) {
        return status;
    }
    status = check(self, message, &what, err);
    (void)pthread_mutex_lock(&self->lock);
    for (size_t i = 0; status == IPCX_OK && i < self->peer_count; i++) {
        ipcx_mux_peer *peer = self->peers[i];
        if (peer != except && peer->stage == IPCX__JOINED) {
            count += deliver(peer, &what, false) == IPCX_OK;
        }
    }
    (void)pthread_mutex_unlock(&self->lock);
    ipcx__gate_leave(&self->gate);
    if (status == IPCX_OK) {
        *sent = count;
    }
    return status;
}

void ipcx_mux_taken(ipcx_mux_peer *peer, const ipcx_message *message)
{
    ipcx_mux *self = peer->mux;
    const ipcx_frame ack = {
        .type = IPCX_FRAME_ACK, .flags = IPCX_FRAME_CORRELATION, .correlation = message->ticket};
    if (!(message->flags & IPCX_MESSAGE_SYNC) ||
        ipcx__mux_enter_gate(self, "taken", NULL) != IPCX_OK) {
        return;
    }
    (void)pthread_mutex_lock(&self->lock);
    if (peer->stage == IPCX__JOINED) {
        ipcx__mux_control(peer, &ack);
    }
    (void)pthread_mutex_unlock(&self->lock);
    ipcx__gate_leave(&self->gate);
}
