/* SPDX-License-Identifier: Apache-2.0
 * An end that goes to another process: its descriptors and a note of 32 bytes that says the rest.
 * Invariant: nothing of the stream is lost on the way: an end that nobody has used owes nothing
 * and has read nothing but its peer's HELLO. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipcx/crc32c.h"
#include "ipcx/endian.h"
#include "ipcx/fd.h"
#include "link/address/vigil.h"
#include "link/datagram/chan_dgram.h"
#include "link/shared/chan_shm.h"
#include "link/stream/chan_stream_parts.h"
#include "wire/frame.h"

/*  0 "IXE" · 3 version · 4 scheme · 5 flags · 6 0 0 · 8 max_message · 12 the peer's limit
 *  16 max_backlog, 8 bytes · 24 vanish_timeout, ms; 0: the default · 28 CRC-32C of what is before
 */
enum { NOTE_VERSION = 1, GREETED = 1, HEARD = 2, CHECKSUM = 4, NO_READ = 8, NO_WRITE = 16 };

typedef struct note {
    ipcx_scheme scheme;
    unsigned flags;
    ipcx_chan_options options;
    size_t peer_limit;
    int fd_count;
} note;

#define MS INT64_C(1000000)

static uint32_t vanish_note(int64_t timeout)
{
    if (timeout == IPCX_FOREVER) {
        return UINT32_MAX;
    }
    return timeout == IPCX__VANISH_NS            ? 0
           : timeout / MS >= (int64_t)UINT32_MAX ? UINT32_MAX - 1
                                                 : (uint32_t)(timeout / MS);
}

/* At least what ipcx__vigil_fill takes. */
static bool vanish_is_good(uint32_t noted)
{
    return noted == 0 || noted >= 3000;
}

static int64_t vanish_of(uint32_t noted)
{
    return noted == UINT32_MAX ? IPCX_FOREVER : noted * MS;
}

static void note_write(ipcx__stream *self, unsigned char *to)
{
    const ipcx_chan_options *options = &self->chan.options;
    unsigned flags = (atomic_load(&self->greeted) ? GREETED : 0) |
                     (atomic_load(&self->heard) ? HEARD : 0) | (options->checksum ? CHECKSUM : 0) |
                     (self->read_fd < 0 ? NO_READ : 0) | (self->write_fd < 0 ? NO_WRITE : 0);
    memset(to, 0, 32);
    memcpy(to, "IXE", 3);
    to[3] = NOTE_VERSION;
    to[4] = (unsigned char)self->chan.transport->scheme;
    to[5] = (unsigned char)flags;
    ipcx_endian_store32(to + 8, (uint32_t)options->max_message);
    ipcx_endian_store32(to + 12, (uint32_t)atomic_load(&self->peer_limit));
    ipcx_endian_store64(to + 16, options->max_backlog);
    ipcx_endian_store32(to + 24, vanish_note(options->vanish_timeout));
    ipcx_endian_store32(to + 28, ipcx_crc32c_update(0, to, 28));
}

static bool note_read(const unsigned char *from, note *to)
{
    if (memcmp(from, "IXE", 3) != 0 || from[3] != NOTE_VERSION || from[5] > 31 ||
        !vanish_is_good(ipcx_endian_load32(from + 24)) ||
        ipcx_endian_load32(from + 28) != ipcx_crc32c_update(0, from, 28)) {
        return false;
    }
    *to = (note){.scheme = (ipcx_scheme)from[4],
                 .flags = from[5],
                 .options = {.max_message = ipcx_endian_load32(from + 8),
                             .max_backlog = (size_t)ipcx_endian_load64(from + 16),
                             .checksum = (from[5] & CHECKSUM) != 0,
                             .vanish_timeout = vanish_of(ipcx_endian_load32(from + 24))},
                 .peer_limit = ipcx_endian_load32(from + 12),
                 .fd_count = 1};
    if (to->scheme == IPCX_SCHEME_PIPE) {
        to->fd_count = (from[5] & (NO_READ | NO_WRITE)) == 0 ? 2 : 1;
        return (from[5] & (NO_READ | NO_WRITE)) != (NO_READ | NO_WRITE);
    }
    return (to->scheme == IPCX_SCHEME_UNIX || to->scheme == IPCX_SCHEME_TCP) &&
           (from[5] & (NO_READ | NO_WRITE)) == 0;
}

/* ---- is it what the note says? */

static bool is_socket(int fd, ipcx_scheme scheme)
{
    int domain = 0, type = 0;
    socklen_t size = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        return false;
    }
    return scheme == IPCX_SCHEME_UNIX ? domain == AF_UNIX : domain == AF_INET || domain == AF_INET6;
}

static bool is_pipe(int fd, bool writes)
{
    struct stat kind;
    int mode = fcntl(fd, F_GETFL) & O_ACCMODE;
    return fstat(fd, &kind) == 0 && S_ISFIFO(kind.st_mode) &&
           (mode == O_RDWR || mode == (writes ? O_WRONLY : O_RDONLY));
}

static bool fits(const note *said, const int *fds)
{
    bool reads = !(said->flags & NO_READ), writes = !(said->flags & NO_WRITE);
    if (said->scheme != IPCX_SCHEME_PIPE) {
        return is_socket(fds[0], said->scheme);
    }
    return (!reads || is_pipe(fds[0], false)) && (!writes || is_pipe(fds[reads ? 1 : 0], true));
}

static ipcx_status check(const void *from, size_t size, const int *fds, int count, note *to,
                         ipcx_error *err)
{
    if (size != 32 || !note_read(from, to)) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "import", "no note of an end of a channel");
    }
    if (count != to->fd_count) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "import", "%d descriptors where an end has %d",
                              count, to->fd_count);
    }
    if (!fits(to, fds)) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "import",
                              "descriptors of another kind than the note says");
    }
    return IPCX_OK;
}

ipcx_status ipcx__end_check(const void *from, size_t size, const int *fds, int count,
                            ipcx_error *err)
{
    note said;
    if (size == 32 && ipcx__chan_shm_is_note(from)) {
        return ipcx__chan_shm_check(from, fds, count, err);
    }
    if (size == 32 && ipcx__chan_dgram_is_note(from)) {
        return ipcx__chan_dgram_check(from, fds, count, err);
    }
    return check(from, size, fds, count, &said, err);
}

/* ---- out */

ipcx_status ipcx__stream_export(ipcx_chan *chan, ipcx_chan_end *end, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    ipcx_chan_end made = {.count = 0};
    if (self->layer != NULL) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "export",
                              "an end of tls:// stays where its keys are, in this process");
    }
    if (ipcx_buf_len(&self->owed) > 0 || ipcx_decoder_pending(&self->decoder) > 0 ||
        atomic_load(&self->unproven)) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "export",
                              "the handshake of this end is half done");
    }
    if (self->read_fd >= 0) {
        made.fds[made.count++] = self->read_fd;
    }
    if (self->write_fd >= 0 && self->write_fd != self->read_fd) {
        made.fds[made.count++] = self->write_fd;
    }
    note_write(self, made.note);
    *end = made;
    return IPCX_OK;
}

ipcx_status ipcx__stream_pack(const ipcx_message *message, ipcx__composed *to, ipcx_error *err)
{
    /* The channel is the caller's to hand over, though the message borrows it as data. */
    ipcx_chan *handed = (ipcx_chan *)(uintptr_t)message->data;
    ipcx_chan_end end;
    ipcx_status status = ipcx_chan_export(handed, &end, err);
    if (status != IPCX_OK) {
        return status;
    }
    memcpy(to->note, end.note, sizeof to->note);
    for (int i = 0; i < end.count && status == IPCX_OK; i++) {
        /* Duplicates: whatever another thread does with the channel, these are what they are. */
        status = ipcx_fd_dup(end.fds[i], &to->unit.fds[i], err);
        to->unit.fd_count += status == IPCX_OK;
    }
    if (status != IPCX_OK) {
        ipcx__stream_packed(message, to);
    }
    return status;
}

/* It was exported and has not gone: it is as unused as before. */
static void take_back(ipcx_chan *chan)
{
    ipcx__own_lock();
    ipcx__claim_give(&chan->claim, (int)getpid());
    atomic_store(&chan->exported, false);
    ipcx__own_unlock();
}

void ipcx__stream_packed(const ipcx_message *message, ipcx__composed *made)
{
    ipcx_chan *handed = (ipcx_chan *)(uintptr_t)message->data;
    if (made->unit.begun) {
        (void)ipcx_chan_close(handed, IPCX_NOW, NULL, NULL); /* it lives on where it goes */
    } else if (made->unit.fd_count > 0) {
        take_back(handed);
    }
    ipcx__fds_close(made->unit.fds, &made->unit.fd_count);
}

/* ---- in */

static ipcx_status make(const note *said, const int *fds, ipcx_chan **chan, ipcx_error *err)
{
    bool reads = !(said->flags & NO_READ), writes = !(said->flags & NO_WRITE);
    bool two = said->scheme == IPCX_SCHEME_PIPE && reads;
    const char *url = said->scheme == IPCX_SCHEME_UNIX  ? "unix://"
                      : said->scheme == IPCX_SCHEME_TCP ? "tcp://"
                                                        : "pipe://";
    ipcx_chan *made;
    ipcx__stream *self;
    ipcx_status status =
        ipcx__chan_stream_make(said->scheme, reads ? fds[0] : -1, writes ? fds[two ? 1 : 0] : -1,
                               url, &said->options, &made, err);
    if (status != IPCX_OK) {
        return status;
    }
    self = ipcx__stream_of(made);
    atomic_store(&self->greeted, (said->flags & GREETED) != 0);
    atomic_store(&self->heard, (said->flags & HEARD) != 0);
    if (said->flags & HEARD) {
        atomic_store(&self->peer_limit, said->peer_limit);
        ipcx__decoder_limit(&self->decoder, made->options.max_message);
    }
    *chan = made;
    return IPCX_OK;
}

ipcx_status ipcx_chan_import(const ipcx_chan_end *end, ipcx_chan **chan, ipcx_error *err)
{
    note said;
    ipcx_status status;
    if (ipcx__chan_shm_is_note(end->note)) {
        return ipcx__chan_shm_import(end, chan, err);
    }
    if (ipcx__chan_dgram_is_note(end->note)) {
        return ipcx__chan_dgram_import(end, chan, err);
    }
    status = check(end->note, sizeof end->note, end->fds, end->count, &said, err);
    if (status != IPCX_OK) {
        return status;
    }
    return make(&said, end->fds, chan, err);
}

ipcx_status ipcx__stream_unpack(const ipcx_frame *frame, const int *fds, int *count,
                                ipcx_chan **chan, ipcx_error *err)
{
    ipcx_chan_end end = {.count = *count};
    ipcx_status status;
    memcpy(end.note, frame->payload, sizeof end.note);
    memcpy(end.fds, fds, (size_t)*count * sizeof *fds);
    status = ipcx_chan_import(&end, chan, err);
    if (status == IPCX_OK) {
        *count = 0; /* the channel's now */
    }
    return status;
}
