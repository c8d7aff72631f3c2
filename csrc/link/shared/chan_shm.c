/* SPDX-License-Identifier: Apache-2.0
 * Ends of a shared-memory channel: made in pairs, by connecting, by accepting, from another
 * process; and their end.
 * Invariant: an unused end holds four descriptors and no private state worth keeping, so it can be
 * inherited or handed over; `bye` is set by the process that uses the end, or by the only one that
 * could. */
#include "link/shared/chan_shm.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crash.h"
#include "ipcx/alloc.h"
#include "ipcx/crc32c.h"
#include "ipcx/endian.h"
#include "ipcx/fd.h"
#include "link/shared/chan_shm_loan.h"
#include "link/shared/chan_shm_wait.h"
#include "os/map.h"

static const ipcx__transport transport;

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* Whether another user's process made the other end of the socket; root is one, too. */
static bool is_a_stranger(int socket)
{
    struct ucred peer = {.uid = geteuid()};
    socklen_t size = sizeof peer;
    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.uid != geteuid();
}

/* An end without a segment; `socket` is the caller's until it succeeds. */
static ipcx_status begin(unsigned role, int socket, const char *url,
                         const ipcx_chan_options *options, ipcx__shm **made, ipcx_error *err)
{
    ipcx__shm *self = ipcx_alloc(sizeof *self);
    ipcx_status status;
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "channel", "no memory for a channel");
    }
    memset(self, 0, sizeof *self);
    self->role = role;
    self->memory = self->socket = self->bell = self->their_bell = -1;
    self->data_epoll = self->space_epoll = self->ears = -1;
    atomic_store(&self->peer, -1);
    status = ipcx__chan_begin(&self->head, &transport, url, options, err);
    if (status != IPCX_OK) {
        ipcx_free(self);
        return status;
    }
    self->ring = self->head.options.ring;
    self->careful = self->head.options.trust != IPCX_TRUST_SAME_UID || is_a_stranger(socket);
    ipcx_buf_init(&self->text, self->head.options.max_message);
    *made = self;
    return IPCX_OK;
}

/* ---- the end of an end */

static void hang_up(ipcx_chan *chan)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    int peer = atomic_exchange(&self->peer, -1);
    shut(&self->data_epoll);
    shut(&self->space_epoll);
    shut(&self->memory);
    shut(&self->ears);
    shut(&self->bell);
    shut(&self->their_bell);
    shut(&self->socket);
    shut(&peer);
}

static void destroy(ipcx_chan *chan)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    for (unsigned i = 0; i < 2; i++) {
        ipcx__memory_unmap(self->rings[i], self->ring, true);
    }
    ipcx__memory_unmap(self->segment, IPCX__SHM_HEAD, false);
    ipcx__ring_rx_fini(&self->rx);
    ipcx_buf_fini(&self->text);
    ipcx_free(self);
}

/* One that was never handed out. */
static void discard(ipcx__shm *self)
{
    hang_up(&self->head);
    ipcx__chan_end(&self->head);
    destroy(&self->head);
}

static ipcx_status goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    bool turn;
    (void)unsent; /* what was sent is in the ring, and stays there */
    (void)err;
    if (self->mine == NULL || atomic_exchange(&self->closing, true)) {
        return IPCX_OK;
    }
    /* Nothing may be published after it; who waits for room has published nothing yet. */
    ipcx__shm_ring_self(self);
    turn = ipcx__turn_take(&self->tx_turn) ||
           (deadline != IPCX_NOW &&
            ipcx__turn_take_by(&self->tx_turn, &chan->gate, deadline, NULL) == IPCX_OK);
    IPCX_CRASH_POINT("close: no goodbye yet");
    atomic_store(&self->mine->bye, 1);
    IPCX_CRASH_POINT("close: goodbye said");
    if (turn) {
        ipcx__turn_leave(&self->tx_turn);
    }
    ipcx__shm_tell_end(self);
    return IPCX_OK;
}

/* ---- making them */

static ipcx_status make_first(int fd, const char *url, const ipcx_chan_options *options,
                              ipcx__shm **made, ipcx_error *err)
{
    ipcx__shm *self;
    ipcx_status status = begin(0, fd, url, options, &self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__shm_create(self, err);
    if (status == IPCX_OK) {
        status = ipcx__shm_attach(self, err);
    }
    if (status != IPCX_OK) {
        discard(self);
        return status;
    }
    self->socket = fd;
    *made = self;
    return IPCX_OK;
}

ipcx_status ipcx__chan_shm_connect(int fd, const char *url, const ipcx_chan_options *options,
                                   ipcx_chan **chan, ipcx_error *err)
{
    ipcx__shm *self;
    ipcx_status status = make_first(fd, url, options, &self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__shm_hello(self, err);
    if (status != IPCX_OK) {
        self->socket = -1;
        discard(self);
        return status;
    }
    *chan = &self->head;
    return IPCX_OK;
}

ipcx_status ipcx__chan_shm_accept(int fd, const char *url, const ipcx_chan_options *options,
                                  ipcx_chan **chan, ipcx_error *err)
{
    ipcx__shm *self;
    ipcx_status status = begin(1, fd, url, options, &self, err);
    if (status == IPCX_OK) {
        self->socket = fd;
        *chan = &self->head;
    }
    return status;
}

ipcx_status ipcx__chan_shm_shake(ipcx_chan *chan, ipcx_error *err)
{
    return ipcx__shm_shake((ipcx__shm *)chan, err);
}

/* The same segment from the other side. */
static ipcx_status make_second(const ipcx__shm *first, int fd, ipcx__shm **made, ipcx_error *err)
{
    ipcx__shm *self;
    ipcx_status status = begin(1, fd, first->head.url, &first->head.options, &self, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->ring = first->ring;
    self->alone = first->alone;
    status = ipcx_fd_dup(first->memory, &self->memory, err);
    if (status == IPCX_OK && !self->alone) {
        status = ipcx_fd_dup(first->their_bell, &self->bell, err);
    }
    if (status == IPCX_OK && !self->alone) {
        status = ipcx_fd_dup(first->bell, &self->their_bell, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__shm_attach(self, err);
    }
    if (status != IPCX_OK) {
        discard(self);
        return status;
    }
    self->socket = fd;
    *made = self;
    return IPCX_OK;
}

ipcx_status ipcx__chan_shm_pair(const char *url, const ipcx_chan_options *options, ipcx_chan **a,
                                ipcx_chan **b, ipcx_error *err)
{
    ipcx__shm *first, *second;
    int fds[2];
    ipcx_status status;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
        return ipcx_error_system(err, errno, "pair", "%s", url);
    }
    status = make_first(fds[0], url, options, &first, err);
    if (status != IPCX_OK) {
        (void)close(fds[0]);
        (void)close(fds[1]);
        return status;
    }
    status = make_second(first, fds[1], &second, err);
    if (status != IPCX_OK) {
        discard(first);
        (void)close(fds[1]);
        return status;
    }
    *a = &first->head;
    *b = &second->head;
    return IPCX_OK;
}

/* ---- to another process */

/* As the notes of streams (chan_stream_end.c), with what this kind needs:
 *  0 "IXE" · 3 version · 4 scheme · 5 role · 6 trust · 7 bells · 8 max_message
 * 12 bytes of a ring · 28 CRC-32C. Without shared bells there are two descriptors. */
enum { NOTE_SIZE = 32, NOTE_VERSION = 2, FDS_ALONE = 2 };

static ipcx_status export(ipcx_chan *chan, ipcx_chan_end *end, ipcx_error *err)
{
    const ipcx__shm *self = (const ipcx__shm *)chan;
    unsigned char *note = end->note;
    (void)err;
    *end = (ipcx_chan_end){.fds = {self->socket, self->memory, self->bell, self->their_bell},
                           .count = self->alone ? FDS_ALONE : IPCX__END_FDS};
    memcpy(note, "IXE", 3);
    note[3] = NOTE_VERSION;
    note[4] = IPCX_SCHEME_SHM;
    note[5] = (unsigned char)self->role;
    note[6] = self->careful ? IPCX_TRUST_NONE : IPCX_TRUST_SAME_UID;
    note[7] = !self->alone;
    ipcx_endian_store32(note + 8, (uint32_t)chan->options.max_message);
    ipcx_endian_store32(note + 12, (uint32_t)self->ring);
    ipcx_endian_store32(note + 28, ipcx_crc32c_update(0, note, 28));
    return IPCX_OK;
}

bool ipcx__chan_shm_is_note(const void *note)
{
    const unsigned char *bytes = note;
    return memcmp(bytes, "IXE", 3) == 0 && bytes[4] == IPCX_SCHEME_SHM;
}

static ipcx_status unfit(const char *what, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_PROTOCOL, 0, "import", "shm://: %s", what);
}

ipcx_status ipcx__chan_shm_check(const void *from, const int *fds, int count, ipcx_error *err)
{
    int domain = 0, type = 0;
    socklen_t size = sizeof domain;
    const unsigned char *note = from;
    if (note[3] != NOTE_VERSION || note[5] > 1 || note[6] > IPCX_TRUST_NONE || note[7] > 1 ||
        ipcx_endian_load32(note + 28) != ipcx_crc32c_update(0, note, 28)) {
        return unfit("no note of an end of a channel", err);
    }
    if (count != (note[7] ? IPCX__END_FDS : FDS_ALONE)) {
        return unfit("an end has two or four descriptors", err);
    }
    if (getsockopt(fds[0], SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX ||
        getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM) {
        return unfit("the first descriptor is no Unix socket", err);
    }
    return ipcx__shm_check(fds + 1, count - 1, ipcx_endian_load32(note + 12), SIZE_MAX, err);
}

ipcx_status ipcx__chan_shm_import(const ipcx_chan_end *end, ipcx_chan **chan, ipcx_error *err)
{
    const ipcx_chan_options options = {.max_message = ipcx_endian_load32(end->note + 8),
                                       .ring = ipcx_endian_load32(end->note + 12),
                                       .trust = end->note[6]};
    ipcx__shm *self = NULL;
    ipcx_status status = ipcx__chan_shm_check(end->note, end->fds, end->count, err);
    if (status == IPCX_OK) {
        status = begin(end->note[5], end->fds[0], "shm://", &options, &self, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    self->alone = !end->note[7];
    self->memory = end->fds[1];
    status = ipcx__shm_attach(self, err);
    if (status != IPCX_OK) {
        self->memory = -1;
        discard(self);
        return status;
    }
    self->socket = end->fds[0];
    if (!self->alone) {
        self->bell = end->fds[2];
        self->their_bell = end->fds[3];
    }
    *chan = &self->head;
    return IPCX_OK;
}

/* ---- the table */

static ipcx_status flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)chan;
    (void)deadline;
    (void)err;
    return IPCX_OK; /* nothing is ever owed */
}

static ipcx_status send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    const int smallest = 1;
    ipcx_status status = ipcx__shm_begin(self, err);
    if (status == IPCX_OK) {
        (void)setsockopt(self->socket, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
        atomic_store(&self->send_asked, true);
        *fd = self->socket;
    }
    return status;
}

static uint64_t unreceived(ipcx_chan *chan)
{
    const ipcx__shm *self = (const ipcx__shm *)chan;
    return self->mine != NULL ? ipcx__ring_unreceived(&self->tx) : 0;
}

static void count(ipcx_chan *chan, ipcx_chan_stats *stats)
{
    const ipcx__shm *self = (const ipcx__shm *)chan;
    stats->sent = atomic_load_explicit(&self->sent, memory_order_relaxed);
    stats->sent_bytes = atomic_load_explicit(&self->sent_bytes, memory_order_relaxed);
    stats->received = atomic_load_explicit(&self->received, memory_order_relaxed);
    stats->received_bytes = atomic_load_explicit(&self->received_bytes, memory_order_relaxed);
}

static const ipcx__transport transport = {
    .scheme = IPCX_SCHEME_SHM,
    .send = ipcx__shm_send,
    .send_many = ipcx__shm_send_many,
    .receive = ipcx__shm_receive,
    .release = ipcx__shm_release,
    .poll = ipcx__shm_poll,
    .flush = flush,
    .fileno = ipcx__shm_fileno,
    .send_fileno = send_fileno,
    .goodbye = goodbye,
    .hang_up = hang_up,
    .destroy = destroy,
    .export = export,
    .max_message = ipcx__shm_max_message,
    .count = count,
    .unreceived = unreceived,
    .reserve = ipcx__shm_reserve,
    .commit = ipcx__shm_commit,
    .cancel = ipcx__shm_cancel,
    .receive_view = ipcx__shm_receive_view,
    .return_view = ipcx__shm_return_view,
    .trim = ipcx__shm_trim,
    .fronts = &ipcx__shm_fronts,
    .quick = &ipcx__shm_quick,
};
