/* SPDX-License-Identifier: Apache-2.0
 * To the peers of a mux: at once if the descriptor takes it, else queued, within bounds.
 * Invariant: a frame that has begun is sent to its end before anything else, or the peer goes; what
 * waits for a peer is at most max_backlog and one message. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ipcx/alloc.h"
#include "link/mux/mux_parts.h"
#include "os/gate.h"
#include "wire/frame.h"

/* Up to so many bytes a frame is put together and sent in one piece: dearer than a system call with
 * three pieces is only the copy of more. */
#define ONE_PIECE 4096
#define PIECES 64

/* A frame on its way out: `piece` shrinks as it is sent. */
typedef struct going {
    ipcx_envelope around;
    const void *payload;
    size_t payload_size, total;
    bool message;
} going;

static size_t cost_of(size_t size)
{
    return size + sizeof(ipcx__owed);
}

/* ---- the queue */

static void unlink_after(ipcx_mux_peer *peer, ipcx__owed *before, ipcx__owed *owed)
{
    *(before != NULL ? &before->next : &peer->first) = owed->next;
    if (peer->last == owed) {
        peer->last = before;
    }
    peer->owed -= cost_of(owed->size);
    (void)atomic_fetch_sub(&peer->mux->memory, cost_of(owed->size));
    if (!owed->message) {
        peer->control -= cost_of(owed->size);
    }
    ipcx_free(owed);
}

size_t ipcx__mux_forget(ipcx_mux_peer *peer)
{
    size_t lost = 0;
    while (peer->first != NULL) {
        lost += peer->first->message;
        unlink_after(peer, NULL, peer->first);
    }
    return lost;
}

/* All of it but the first `sent` bytes, which have left. */
static bool enqueue(ipcx_mux_peer *peer, const going *what, size_t sent)
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
    peer->owed += cost_of(what->total);
    (void)atomic_fetch_add(&peer->mux->memory, cost_of(what->total));
    peer->control += what->message ? 0 : cost_of(what->total);
    return true;
}

/* `sent` bytes of the queue have left. */
static void advance(ipcx_mux_peer *peer, size_t sent)
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
    (void)ipcx__mux_forget(peer);
    ipcx__mux_watch(peer);
}

static bool is_temporary(int number)
{
    return number == EAGAIN || number == EINTR || number == ENOBUFS || number == ENOMEM;
}

void ipcx__mux_flush(ipcx_mux_peer *peer)
{
    while (peer->first != NULL) {
        ssize_t n = send_queue(peer);
        if (n < 0 && is_temporary(errno)) {
            break;
        }
        if (n < 0) {
            hung_up(peer);
            return;
        }
        advance(peer, (size_t)n);
    }
    if (peer->first == NULL && peer->stage == IPCX__LEAVING) {
        (void)shutdown(peer->fd, SHUT_WR);
    }
    ipcx__mux_watch(peer);
}

/* ---- one frame */

/* Our HELLO goes in front of the first frame: one system call and one segment less for each who
 * comes. Who has joined and is sent nothing gets it alone, before anybody sleeps. It fits into what
 * an empty socket takes; where it does not, something is wrong with it. */
static ssize_t send_first(ipcx_mux_peer *peer, const going *what)
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

void ipcx__mux_greet(ipcx_mux_peer *peer)
{
    static const going nothing;
    if (!peer->greeted && peer->stage != IPCX__DOOMED && peer->stage != IPCX__GONE) {
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

static ssize_t send_frame(int fd, const going *what)
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
static ipcx_status put(ipcx_mux_peer *peer, const going *what)
{
    ssize_t n = 0;
    if (IPCX_UNLIKELY(peer->host.queue == NULL) && !peer->is_unix) {
        ipcx__mux_attend(peer);
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
    if (!enqueue(peer, what, (size_t)n)) {
        if (n > 0) {
            ipcx__mux_doom(peer, IPCX_NOMEM, "no memory for the rest of a message");
        }
        return IPCX_NOMEM;
    }
    ipcx__mux_watch(peer);
    return IPCX_OK;
}

static ipcx_status prepare(const ipcx_mux *self, const ipcx_frame *frame, going *what,
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
    going what;
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

static void drop_oldest(ipcx_mux_peer *peer, size_t most)
{
    ipcx__owed *before = NULL, *at = peer->first;
    while (at != NULL && peer->owed > most) {
        ipcx__owed *next = at->next;
        if (at->message && at->sent == 0) {
            unlink_after(peer, before, at);
            peer->dropped++;
            peer->mux->stats.dropped++;
        } else {
            before = at;
        }
        at = next;
    }
}

/* There is no room. OK: there is now. */
static ipcx_status full(ipcx_mux_peer *peer, size_t cost, bool may_block)
{
    ipcx_mux *self = peer->mux;
    size_t backlog = self->options.channel.max_backlog;
    switch (self->options.on_full) {
    case IPCX_MUX_DROP_OLDEST:
        drop_oldest(peer, backlog > cost ? backlog - cost : 0);
        return IPCX_OK;
    case IPCX_MUX_BLOCK:
        if (may_block) {
            return IPCX_MORE;
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
static ipcx_status deliver(ipcx_mux_peer *peer, const going *what, bool alone)
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
        peer->owed + cost_of(what->total) > self->options.channel.max_backlog) {
        ipcx__mux_flush(peer);
        if (peer->first != NULL &&
            peer->owed + cost_of(what->total) > self->options.channel.max_backlog) {
            status = full(peer, cost_of(what->total), alone);
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

static ipcx_status wait_for_room(ipcx_mux_peer *peer, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_mux *self = peer->mux;
    int fd = peer->fd;
    ipcx_status status;
    if (deadline == IPCX_NOW) {
        return IPCX_AGAIN;
    }
    peer->pins++;
    (void)pthread_mutex_unlock(&self->lock);
    status = ipcx__gate_poll(&self->gate, fd, POLLOUT, deadline, err);
    (void)pthread_mutex_lock(&self->lock);
    ipcx__mux_unpin(peer);
    return status;
}

static ipcx_status check(ipcx_mux *self, const ipcx_message *message, going *what, ipcx_error *err)
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
    going what;
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
    going what;
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
