/* SPDX-License-Identifier: Apache-2.0
 * Sending: a message is one datagram, given to the kernel at once or not at all.
 * Invariant: whoever has the tx turn numbers what it sends, and does not sleep. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "link/datagram/chan_dgram_parts.h"
#include "os/gate.h"
#include "wire/frame.h"

#define SMALL 1024 /* bytes that are cheaper copied than gathered by the kernel */

void ipcx__dgram_compose(const ipcx__datagram *frame, ipcx__dgram_composed *to)
{
    size_t head = ipcx__datagram_head(frame, to->head);
    to->pieces[0] = (struct iovec){to->head, head};
    to->pieces[1] = (struct iovec){(void *)(uintptr_t)frame->payload, frame->payload_size};
    to->pieces[2] = (struct iovec){to->tail, ipcx__datagram_tail(frame, to->head, head, to->tail)};
}

ipcx__datagram ipcx__dgram_describe(const ipcx__dgram *self, const ipcx_message *message,
                                    uint64_t sequence)
{
    bool sync = (message->flags & IPCX_MESSAGE_SYNC) != 0;
    unsigned flags = (message->flags & IPCX_MESSAGE_TEXT ? IPCX_FRAME_TEXT : 0) |
                     (sync ? IPCX_FRAME_SYNC | IPCX_FRAME_CORRELATION : 0) |
                     (self->head.options.checksum ? IPCX_FRAME_CRC : 0);
    return (ipcx__datagram){.type = IPCX_FRAME_DATA,
                            .flags = flags,
                            .from = self->role.epoch,
                            .to = atomic_load_explicit(&self->peer, memory_order_relaxed),
                            .sequence = sequence,
                            .correlation = sync ? sequence : 0,
                            .payload = message->data,
                            .payload_size = message->size};
}

void ipcx__dgram_control(ipcx__dgram *self, ipcx_frame_type type, uint64_t correlation)
{
    ipcx__datagram frame = {.type = type,
                            .flags = self->head.options.checksum ? IPCX_FRAME_CRC : 0,
                            .from = self->role.epoch,
                            .to = atomic_load(&self->peer),
                            .sequence = type == IPCX_FRAME_BYE ? self->sequence + 1 : 0,
                            .correlation = correlation};
    ipcx__dgram_composed made;
    struct msghdr header = {.msg_iov = made.pieces, .msg_iovlen = 3};
    frame.flags |= type == IPCX_FRAME_ACK ? IPCX_FRAME_CORRELATION : 0;
    ipcx__dgram_compose(&frame, &made);
    if (self->role.sends && sendmsg(self->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
        errno == ECONNREFUSED) {
        atomic_store(&self->nobody, true);
    }
}

/* Whether it may be sent at all; asks nobody. */
ipcx_status ipcx__dgram_acceptable(const ipcx__dgram *self, const ipcx_message *message,
                                   ipcx_error *err)
{
    if (message->size > IPCX__DATAGRAM_PAYLOAD) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "send", "%zu bytes; a datagram takes %zu",
                              message->size, IPCX__DATAGRAM_PAYLOAD);
    }
    if (message->flags & (IPCX_MESSAGE_OBJECT | IPCX_MESSAGE_END)) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send", "%s carries bytes and text only",
                              self->head.url);
    }
    if ((message->flags & IPCX_MESSAGE_SYNC) && !self->role.receives) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                              "%s: a group does not tell who has received", self->head.url);
    }
    if ((message->flags & IPCX_MESSAGE_TEXT) &&
        ipcx__utf8_valid(message->data, message->size) != message->size) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "send", "the text is not UTF-8");
    }
    return IPCX_OK;
}

/* Whether there is somebody to send to, as far as is known. */
ipcx_status ipcx__dgram_may_send(ipcx__dgram *self, ipcx_error *err)
{
    if (atomic_load(&self->closing)) {
        return ipcx__gate_closed("send", err);
    }
    if (!self->role.sends) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                              "%s: who receives from a group sends nothing to it", self->head.url);
    }
    return ipcx__dgram_over(self, "send", err);
}

/* The kernel says that nobody is there. What came before is read: a goodbye may be among it. */
static ipcx_status refused(ipcx__dgram *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status;
    atomic_store(&self->nobody, true);
    status = ipcx__turn_take_by(&self->rx, &self->head.gate, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    while (status == IPCX_OK) {
        status = ipcx__dgram_read(self, true, err);
    }
    ipcx__dgram_leave(self);
    return status < 0 ? status : ipcx__dgram_may_send(self, err);
}

/* After a send has failed with errno. OK: try again. */
ipcx_status ipcx__dgram_not_sent(ipcx__dgram *self, ipcx_deadline deadline, ipcx_error *err)
{
    int error = errno;
    switch (error) {
    case EINTR:
        return IPCX_OK;
    case ECONNREFUSED:
        return refused(self, deadline, err);
    case EAGAIN:
    case ENOBUFS:
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        (void)atomic_fetch_add_explicit(&self->head.send_waits, 1, memory_order_relaxed);
        return ipcx__gate_poll(&self->head.gate, self->fd, POLLOUT, deadline, err);
    case EMSGSIZE:
        return ipcx_error_set(err, IPCX_TOO_LARGE, error, "send",
                              "the network takes no datagram as long");
    default:
        return ipcx_error_system(err, error, "send", "%s", self->head.url);
    }
}

static ssize_t transmit(ipcx__dgram *self, const ipcx__datagram *frame)
{
    ipcx__dgram_composed made;
    uint8_t small[SMALL + IPCX__DATAGRAM_HEAD + IPCX__DATAGRAM_TAIL];
    struct msghdr header = {.msg_iov = made.pieces, .msg_iovlen = 3};
    size_t size = 0;
    ipcx__dgram_compose(frame, &made);
    if (frame->payload_size > SMALL) {
        return sendmsg(self->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    for (int i = 0; i < 3; i++) {
        if (made.pieces[i].iov_len > 0) {
            memcpy(small + size, made.pieces[i].iov_base, made.pieces[i].iov_len);
            size += made.pieces[i].iov_len;
        }
    }
    return send(self->fd, small, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Under the turn; one try. */
static ssize_t send_one(ipcx__dgram *self, const ipcx_message *message, ipcx_sending *sending,
                        ipcx_status *status, ipcx_error *err)
{
    ipcx__datagram frame = ipcx__dgram_describe(self, message, self->sequence + 1);
    bool sync = (message->flags & IPCX_MESSAGE_SYNC) != 0;
    ssize_t sent;
    *status = sync ? ipcx__dgram_begin_sync(self, &frame, err) : IPCX_OK;
    if (*status != IPCX_OK) {
        return 0;
    }
    sent = transmit(self, &frame);
    if (sent >= 0) {
        self->sequence++;
        sending->begun = sync;
        sending->ticket = frame.sequence;
    } else if (sync) {
        int saved = errno;
        ipcx__dgram_forget_sync(self, frame.sequence);
        errno = saved;
    }
    return sent;
}

ipcx_status ipcx__dgram_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                             ipcx_sending *sending, ipcx_error *err)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    ssize_t sent = -1;
    ipcx_status status = IPCX_OK;
    if (sending->begun) {
        status = ipcx__dgram_await(self, sending->ticket, deadline, err);
        sending->begun = status != IPCX_OK;
        return status;
    }
    status = ipcx__dgram_acceptable(self, message, err);
    while (status == IPCX_OK && sent < 0) {
        status = ipcx__dgram_may_send(self, err);
        if (status == IPCX_OK) {
            status = ipcx__turn_take_by(&self->tx, &chan->gate, deadline, err);
        }
        if (status == IPCX_OK) {
            int error;
            sent = send_one(self, message, sending, &status, err);
            error = errno;
            ipcx__turn_leave(&self->tx);
            errno = error;
            if (sent < 0) {
                status = ipcx__dgram_not_sent(self, deadline, err);
            }
        }
    }
    if (status == IPCX_OK && sending->begun) {
        status = ipcx__dgram_await(self, sending->ticket, deadline, err);
        sending->begun = status != IPCX_OK;
    }
    return status;
}
