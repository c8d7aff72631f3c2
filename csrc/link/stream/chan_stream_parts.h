/* SPDX-License-Identifier: Apache-2.0
 * The parts of a stream channel, each in a file of its own, and what they do for each other.
 * Invariant: a comment behind a file's name says what its caller holds. */
#ifndef IPCX_LINK_CHAN_STREAM_PARTS_H
#define IPCX_LINK_CHAN_STREAM_PARTS_H

#include "link/stream/chan_stream_layer.h"
#include "link/stream/chan_stream_state.h"
#include "link/stream/chan_stream_unit.h"

/* ---- chan_stream_io.c: system calls that never wait; -1 and errno, EAGAIN for "not now" */

/* ipcx__stream_read: 0 at the end. Descriptors that come go to `fds`; EBADMSG: more or others than
 * there can be (all are closed). */
ssize_t ipcx__stream_read(ipcx__stream *self, void *room, size_t size);
/* ipcx__stream_read_asleep: the same where `blocks`: waits; EINTR comes back. */
ssize_t ipcx__stream_read_asleep(ipcx__stream *self, void *room, size_t size);
void ipcx__fds_close(int *fds, int *count);
/* ipcx__stream_way: how `fd` can be used; *own is a descriptor of our own to use instead, or -1.
 * SYSTEM: it cannot. */
ipcx_status ipcx__stream_way(int fd, int flags, ipcx__way *way, int *own, ipcx_error *err);

/* ---- chan_stream_send.c; under tx */

/* ipcx__stream_push: sends what is owed. OK: all of it. AGAIN. < 0: `broken`. */
ipcx_status ipcx__stream_push(ipcx__stream *self);
/* ipcx__stream_frame: one of our own frames is owed, and sent if that goes at once. */
ipcx_status ipcx__stream_frame(ipcx__stream *self, const ipcx_frame *frame);
/* ipcx__stream_owes: after each change of what is owed: counts, and has epoll heed it. */
void ipcx__stream_owes(ipcx__stream *self);
/* ipcx__stream_push_on: takes tx and pushes, unless a sender who waits for room will. True: it is
 * worth waiting for room to push more. */
bool ipcx__stream_push_on(ipcx__stream *self);

/* ---- chan_stream_send.c; with send_turn */

/* ipcx__stream_transmit: all of `unit`, behind what is owed. What it began and could not finish the
 * channel keeps. */
ipcx_status ipcx__stream_transmit(ipcx__stream *self, ipcx__unit *unit, ipcx_deadline deadline,
                                  ipcx_error *err);

/* ---- chan_stream_send.c; with nothing */

/* ipcx__stream_may_send: OK: this end can send, and this message. take_send_turn: or waits. */
ipcx_status ipcx__stream_may_send(ipcx__stream *self, const ipcx_message *message, ipcx_error *err);
ipcx_status ipcx__stream_take_send_turn(ipcx__stream *self, ipcx_deadline deadline,
                                        ipcx_error *err);
/* ipcx__stream_sent: what a failed send answers: the peer may have said goodbye before it went. */
ipcx_status ipcx__stream_sent(ipcx__stream *self, ipcx_status status, ipcx_deadline deadline,
                              ipcx_error *err);
ipcx_status ipcx__stream_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                              ipcx_sending *sending, ipcx_error *err);
ipcx_status ipcx__stream_flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err);

/* ---- chan_stream_many.c */

ipcx_status ipcx__stream_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                   ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err);
/* ipcx__run_cut: the bytes that the frame begun last lacks; *frames (may be NULL) are begun. */
size_t ipcx__run_cut(const ipcx__unit *unit, size_t *frames);

/* ---- chan_stream_frames.c: from bytes to messages; with pump, but for over and forget */

/* ipcx__stream_front: the next message, in `front`. OK. MORE: not whole yet. EOF, < 0: over. */
ipcx_status ipcx__stream_front(ipcx__stream *self, ipcx_error *err);
/* ipcx__stream_fill: at most so many bytes into the decoder. OK: some. AGAIN. EOF, < 0: over. */
ipcx_status ipcx__stream_fill(ipcx__stream *self, size_t most, ipcx_error *err);
/* ipcx__stream_fill_asleep: the same in one system call that waits, where nobody exists who could
 * have to wake us, and nothing but bytes can end the wait. INTR. */
ipcx_status ipcx__stream_fill_asleep(ipcx__stream *self, ipcx_error *err);
/* ipcx__stream_end: nothing more is received: how it ended. Says it again from now on. */
ipcx_status ipcx__stream_end(ipcx__stream *self, ipcx_status status, uint64_t offset);
ipcx_status ipcx__stream_over(ipcx__stream *self, ipcx_error *err);

/* ---- chan_stream_inbox.c */

/* ipcx__inbox_put: a copy of the front message, which is taken; with pump. NOMEM. */
ipcx_status ipcx__inbox_put(ipcx__stream *self, ipcx_error *err);
ipcx__parcel *ipcx__inbox_take(ipcx__stream *self); /* with rx_turn; NULL: it is empty */
void ipcx__inbox_put_back(ipcx__stream *self, ipcx__parcel *parcel);
void ipcx__parcel_free(ipcx__parcel *parcel);
/* ipcx__stream_await: waits for the ACK of `ticket`, or with 0 for the peer's proof, putting into
 * the inbox what comes before. */
ipcx_status ipcx__stream_await(ipcx__stream *self, uint64_t ticket, ipcx_deadline deadline,
                               ipcx_error *err);
/* ipcx__stream_drain: puts into the inbox what is there, up to the end; waits for pump alone. OK:
 * there was no end. */
ipcx_status ipcx__stream_drain(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err);

/* ---- chan_stream_receive.c */

ipcx_status ipcx__stream_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                 ipcx_error *err);
void ipcx__stream_release(ipcx_chan *chan, ipcx_message *message);
ipcx_status ipcx__stream_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err);

/* ---- chan_stream_wait.c */

/* ipcx__stream_sleep: with pump: until there is something to read, or to do. OK: look. */
ipcx_status ipcx__stream_sleep(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err);
void ipcx__stream_leave_pump(ipcx__stream *self);
void ipcx__stream_nudge(ipcx__stream *self);      /* wakes who sleeps there */
void ipcx__stream_tell(ipcx__stream *self);       /* wakes who waits for pump or for room */
void ipcx__stream_set_bell(ipcx__stream *self);   /* under guard: rings when a message waits */
void ipcx__stream_raise_bell(ipcx__stream *self); /* whatever waits: until somebody has looked */
ipcx_status ipcx__stream_fileno(ipcx_chan *chan, int *fd, ipcx_error *err);
ipcx_status ipcx__stream_send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err);

/* ---- chan_stream_vigil.c: is the peer's host still there; with nothing */

void ipcx__stream_keep_vigil(ipcx__stream *self); /* of a TCP socket, from now on */
/* ipcx__stream_glance: for who found nothing to do: looks if that is due. until: for who is about
 * to sleep: looks if that is due; the deadline, or earlier the next look. */
void ipcx__stream_glance(ipcx__stream *self);
ipcx_deadline ipcx__stream_until(ipcx__stream *self, ipcx_deadline deadline);
/* ipcx__stream_vigil_timer: under tx and guard: a descriptor that is readable when a look is due;
 * -1: none is needed, or can be had. */
int ipcx__stream_vigil_timer(ipcx__stream *self);
/* ipcx__stream_wait_for_room: sleeps until the descriptor shows room. OK: try again. */
ipcx_status ipcx__stream_wait_for_room(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err);
/* ipcx__stream_is_gone: whether an errno says that the peer is not there. gone: and why, if it does
 * so, or is 0: the end. */
bool ipcx__stream_is_gone(int number);
bool ipcx__stream_gone(ipcx__stream *self, int *number, char *why, size_t size);

/* ---- chan_stream_end.c */

ipcx_status ipcx__stream_export(ipcx_chan *chan, ipcx_chan_end *end, ipcx_error *err);
/* ipcx__stream_pack: the end in `message`, ready to go. packed: it has gone, or not. unpack: the
 * end in `frame`, a HANDOVER, with the descriptors that came with it. */
ipcx_status ipcx__stream_pack(const ipcx_message *message, ipcx__composed *to, ipcx_error *err);
void ipcx__stream_packed(const ipcx_message *message, ipcx__composed *made);
ipcx_status ipcx__stream_unpack(const ipcx_frame *frame, const int *fds, int *count,
                                ipcx_chan **chan, ipcx_error *err);
/* ipcx__end_check: OK: export wrote this note, and the descriptors fit it. PROTOCOL. */
ipcx_status ipcx__end_check(const void *note, size_t size, const int *fds, int count,
                            ipcx_error *err);

/* ---- chan_stream_close.c */

ipcx_status ipcx__stream_goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent,
                                 ipcx_error *err);

#endif
