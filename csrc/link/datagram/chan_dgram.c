/* SPDX-License-Identifier: Apache-2.0
 * Ends of a datagram channel: made, handed to another process, and their end.
 * Invariant: an end that nobody has used has sent no message, so that it may go anywhere. */
#include "link/datagram/chan_dgram.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "ipcx/crc32c.h"
#include "ipcx/endian.h"
#include "link/datagram/chan_dgram_parts.h"
#include "os/gate.h"

static const ipcx__transport transport;

ipcx_status ipcx__dgram_epoch(uint64_t *epoch, ipcx_error *err)
{
    *epoch = 0;
    while (*epoch == 0) {
        if (getrandom(epoch, sizeof *epoch, 0) < 0) {
            return ipcx_error_system(err, errno, "getrandom", "no random number");
        }
    }
    return IPCX_OK;
}

ipcx_status ipcx__chan_dgram_make(int fd, const ipcx__dgram_role *role, const char *url,
                                  const ipcx_chan_options *options, ipcx_chan **chan,
                                  ipcx_error *err)
{
    ipcx__dgram *self = ipcx_alloc(sizeof *self);
    ipcx_status status;
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "channel", "no memory for a channel");
    }
    memset(self, 0, sizeof *self);
    self->role = *role;
    self->fd = fd;
    self->epoll = self->bell = self->timer = -1;
    self->last = &self->first;
    /* A group has many receivers, not all of this kernel. */
    self->row_most = role->receives && !role->group ? IPCX__DATAGRAM_MAX : 0;
    atomic_store(&self->peer, role->peer);
    atomic_store(&self->heard, role->peer != 0);
    status = ipcx__chan_begin(&self->head, &transport, url, options, err);
    if (status != IPCX_OK) {
        ipcx_free(self);
        return status;
    }
    if (self->head.options.max_message > IPCX__DATAGRAM_PAYLOAD) {
        self->head.options.max_message = IPCX__DATAGRAM_PAYLOAD;
    }
    (void)pthread_mutex_init(&self->lock, NULL);
    *chan = &self->head;
    return IPCX_OK;
}

void ipcx__chan_dgram_feed(ipcx_chan *chan, const void *bytes, size_t size)
{
    ipcx__dgram_judge((ipcx__dgram *)chan, bytes, size, true);
}

void ipcx__chan_dgram_say(ipcx_chan *chan, int type)
{
    ipcx__dgram_control((ipcx__dgram *)chan, (ipcx_frame_type)type, 0);
}

bool ipcx__chan_dgram_refused(ipcx_chan *chan)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    int error = 0;
    socklen_t size = sizeof error;
    return atomic_load(&self->nobody) ||
           (getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
            error == ECONNREFUSED);
}

/* ---- statistics */

/* Datagrams for which the socket's buffer had no room, as SO_RXQ_OVFL counts them. */
static void look_for_overflow(ipcx__dgram *self)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof info;
    if (getsockopt(self->fd, SOL_SOCKET, SO_MEMINFO, info, &size) == 0 &&
        size > SK_MEMINFO_DROPS * sizeof *info) {
        atomic_store(&self->overflowed, info[SK_MEMINFO_DROPS]);
    }
}

static void lossy(ipcx_chan *chan, ipcx_chan_stats *stats)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    if (ipcx__gate_enter(&chan->gate)) {
        look_for_overflow(self);
        ipcx__gate_leave(&chan->gate);
    }
    stats->lost = atomic_load(&self->lost);
    stats->reordered = atomic_load(&self->reordered);
    stats->duplicates = atomic_load(&self->duplicates);
    stats->dropped = atomic_load(&self->dropped);
    stats->overflowed = atomic_load(&self->overflowed);
}

/* ---- the end of an end */

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void hang_up(ipcx_chan *chan)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    if (self->fd >= 0) {
        look_for_overflow(self);
    }
    shut(&self->epoll);
    shut(&self->timer);
    shut(&self->bell);
    shut(&self->fd);
}

static void destroy(ipcx_chan *chan)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    ipcx__dgram_drop_all(self);
    ipcx__dgram_end_syncs(self);
    (void)pthread_mutex_destroy(&self->lock);
    ipcx_free(self->batch);
    ipcx_free(self);
}

static ipcx_status goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent, ipcx_error *err)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    (void)unsent; /* nothing is ever owed */
    (void)err;
    if (atomic_exchange(&self->closing, true)) {
        return IPCX_OK;
    }
    if (!ipcx__turn_take(&self->tx) &&
        (deadline == IPCX_NOW ||
         ipcx__turn_take_by(&self->tx, &chan->gate, deadline, NULL) != IPCX_OK)) {
        return IPCX_OK; /* it is told without a promise anyway */
    }
    if (atomic_load(&self->over) == IPCX_OK) {
        ipcx__dgram_control(self, IPCX_FRAME_BYE, 0);
    }
    ipcx__turn_leave(&self->tx);
    return IPCX_OK;
}

static ipcx_status flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)chan;
    (void)deadline;
    (void)err;
    return IPCX_OK;
}

static ipcx_status send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    (void)err;
    *fd = ((ipcx__dgram *)chan)->fd;
    return IPCX_OK;
}

static void max_message(ipcx_chan *chan, size_t *receive, size_t *send)
{
    *receive = chan->options.max_message;
    *send = IPCX__DATAGRAM_PAYLOAD;
}

/* ---- on its way to another process */

/*  0 "IXE" · 3 version · 4 scheme · 5 flags · 6 0 0 · 8 max_message · 12 our epoch · 20 the peer's
 *  28 CRC-32C of what is before */
enum { NOTE_VERSION = 1, CHECKSUM = 4, NO_READ = 8, NO_WRITE = 16, ACCEPTED = 32, GROUP = 64 };

static ipcx_status export(ipcx_chan *chan, ipcx_chan_end *end, ipcx_error *err)
{
    const ipcx__dgram *self = (ipcx__dgram *)chan;
    const ipcx__dgram_role *role = &self->role;
    ipcx_chan_end made = {.count = 1};
    if (ipcx__dgram_has(self) || atomic_load(&self->over) != IPCX_OK || self->track.highest != 0) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "export",
                              "messages have come to this end of %s before it was accepted",
                              chan->url);
    }
    made.fds[0] = self->fd;
    memcpy(made.note, "IXE", 3);
    made.note[3] = NOTE_VERSION;
    made.note[4] = IPCX_SCHEME_UDP;
    made.note[5] = (unsigned char)((chan->options.checksum ? CHECKSUM : 0) |
                                   (role->receives ? 0 : NO_READ) | (role->sends ? 0 : NO_WRITE) |
                                   (role->accepted ? ACCEPTED : 0) | (role->group ? GROUP : 0));
    ipcx_endian_store32(made.note + 8, (uint32_t)chan->options.max_message);
    ipcx_endian_store64(made.note + 12, role->epoch);
    ipcx_endian_store64(made.note + 20, atomic_load(&self->peer));
    ipcx_endian_store32(made.note + 28, ipcx_crc32c_update(0, made.note, 28));
    *end = made;
    return IPCX_OK;
}

bool ipcx__chan_dgram_is_note(const void *note)
{
    const unsigned char *from = note;
    return memcmp(from, "IXE", 3) == 0 && from[3] == NOTE_VERSION && from[4] == IPCX_SCHEME_UDP;
}

ipcx_status ipcx__chan_dgram_check(const void *note, const int *fds, int count, ipcx_error *err)
{
    const unsigned char *from = note;
    int domain = 0, type = 0;
    ipcx_addr peer = {.len = sizeof peer.u};
    socklen_t size = sizeof domain;
    if (count != 1 || (from[5] & ~(CHECKSUM | NO_READ | NO_WRITE | ACCEPTED | GROUP)) != 0 ||
        ipcx_endian_load32(from + 28) != ipcx_crc32c_update(0, from, 28) ||
        ipcx_endian_load64(from + 12) == 0) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "import", "no note of an end of a channel");
    }
    if (getsockopt(fds[0], SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
        getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_DGRAM ||
        (domain != AF_INET && domain != AF_INET6) ||
        getpeername(fds[0], &peer.u.sa, &peer.len) != 0) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "import",
                              "descriptors of another kind than the note says");
    }
    return IPCX_OK;
}

ipcx_status ipcx__chan_dgram_import(const ipcx_chan_end *end, ipcx_chan **chan, ipcx_error *err)
{
    unsigned flags = end->note[5];
    ipcx__dgram_role role = {.epoch = ipcx_endian_load64(end->note + 12),
                             .peer = ipcx_endian_load64(end->note + 20),
                             .accepted = (flags & ACCEPTED) != 0,
                             .group = (flags & GROUP) != 0,
                             .receives = (flags & NO_READ) == 0,
                             .sends = (flags & NO_WRITE) == 0};
    ipcx_chan_options options = {.max_message = ipcx_endian_load32(end->note + 8),
                                 .checksum = (flags & CHECKSUM) != 0};
    ipcx_status status = ipcx__chan_dgram_check(end->note, end->fds, end->count, err);
    return status == IPCX_OK
               ? ipcx__chan_dgram_make(end->fds[0], &role, "udp://", &options, chan, err)
               : status;
}

static const ipcx__transport transport = {
    .scheme = IPCX_SCHEME_UDP,
    .send = ipcx__dgram_send,
    .send_many = ipcx__dgram_send_many,
    .receive = ipcx__dgram_receive,
    .release = ipcx__dgram_release,
    .poll = ipcx__dgram_poll,
    .flush = flush,
    .fileno = ipcx__dgram_fileno,
    .send_fileno = send_fileno,
    .goodbye = goodbye,
    .hang_up = hang_up,
    .destroy = destroy,
    .export = export,
    .max_message = max_message,
    .lossy = lossy,
};
