/* SPDX-License-Identifier: Apache-2.0
 * Claiming a named pipe, and reading messages out of it.
 * Invariant: what is opened is a named pipe of this user's, whatever the path stands for by then;
 * nothing is removed but the pipe that was opened. */
#include "link/fifo/well.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "ipcx/alloc.h"
#include "ipcx/pipe.h"
#include "link/address/url.h"
#include "link/fifo/note.h"
#include "os/holder.h"
#include "wire/frame.h"

#define OP "listen"
#define TRIES 100 /* against others who come and go at the path */
#define MODE 0600
#define CAPACITY ((size_t)65536) /* pipe(7), unless somebody asked for another */

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void close_all(ipcx__own *own)
{
    ipcx__well *self = (ipcx__well *)(void *)own;
    shut(&self->fd);
    shut(&self->keeper);
    shut(&self->door);
    shut(&self->bell);
}

ipcx_status ipcx__well_make(const char *path, ipcx__well **well, ipcx_error *err)
{
    const ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__FIFO_PAYLOAD};
    ipcx_status status;
    ipcx__well *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, OP, "no memory for a listener");
    }
    *self = (ipcx__well){.own = {.forked = close_all},
                         .holders = 1,
                         .fd = -1,
                         .keeper = -1,
                         .door = -1,
                         .bell = -1,
                         .capacity = CAPACITY};
    atomic_init(&self->users, 1);
    (void)snprintf(self->path, sizeof self->path, "%s", path);
    status = ipcx_decoder_init(&self->decoder, &framing, err);
    if (status != IPCX_OK) {
        ipcx_free(self);
        return status;
    }
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_LISTENERS, &self->own);
    ipcx__own_unlock();
    *well = self;
    return IPCX_OK;
}

/* ---- claiming the path */

static ipcx_status refused(const char *url, const char *what, ipcx_error *err)
{
    return ipcx__url_fail(err, IPCX_SYSTEM, EPERM, OP, url, "%s: left alone", what);
}

static ipcx_status in_use(ipcx__well *self, const char *url, ipcx_error *err)
{
    int pid;
    shut(&self->fd); /* so that it is not ours that is found */
    pid = ipcx__fifo_reader(self->path);
    return pid > 0
               ? ipcx__url_fail(err, IPCX_ADDRESS_IN_USE, EADDRINUSE, OP, url,
                                "process %d reads it", pid)
               : ipcx__url_fail(err, IPCX_ADDRESS_IN_USE, EADDRINUSE, OP, url, "somebody reads it");
}

/* OK: made, or something is there already. */
static ipcx_status make_path(ipcx__well *self, const char *url, ipcx_error *err)
{
    ipcx_error why = {0};
    ipcx_status status = ipcx_fifo_make(self->path, MODE, &why);
    if (status == IPCX_ADDRESS_IN_USE) {
        return in_use(self, url, err);
    }
    if (status != IPCX_OK && why.sys_errno != EEXIST) {
        return ipcx_error_system(err, why.sys_errno, OP, "%s", url);
    }
    return IPCX_OK;
}

/* The reading end. MORE: the path went meanwhile. */
static ipcx_status open_path(ipcx__well *self, const char *url, ipcx_error *err)
{
    struct stat found;
    /* What will be left alone is not opened: somebody may wait for the other side to come. */
    if (lstat(self->path, &found) == 0 && S_ISFIFO(found.st_mode) && found.st_uid != geteuid()) {
        return refused(url, "another user's", err);
    }
    self->fd = open(self->path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (self->fd < 0) {
        return errno == ENOENT  ? IPCX_MORE
               : errno == ELOOP ? refused(url, "a symbolic link", err)
               : errno == ENXIO ? refused(url, "no named pipe", err)
                                : ipcx_error_system(err, errno, OP, "%s", url);
    }
    if (fstat(self->fd, &found) < 0) {
        return ipcx_error_system(err, errno, OP, "%s", url);
    }
    if (!S_ISFIFO(found.st_mode)) {
        return refused(url, "no named pipe", err);
    }
    if (found.st_uid != geteuid()) {
        return refused(url, "another user's", err);
    }
    self->device = found.st_dev;
    self->inode = found.st_ino;
    return IPCX_OK;
}

static bool is_ours(const ipcx__well *self, const struct stat *found)
{
    return found->st_dev == self->device && found->st_ino == self->inode;
}

/* The pipe is open: claims it. MORE: it is not the path's any more, its listener has just gone. */
static ipcx_status claim(ipcx__well *self, const char *url, ipcx_error *err)
{
    struct stat found;
    if (flock(self->fd, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK ? in_use(self, url, err)
                                    : ipcx_error_system(err, errno, OP, "%s", url);
    }
    if (lstat(self->path, &found) < 0 || !is_ours(self, &found)) {
        return IPCX_MORE;
    }
    self->keeper = open(self->path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (self->keeper < 0 || fstat(self->keeper, &found) < 0 || !is_ours(self, &found)) {
        return IPCX_MORE;
    }
    return fchmod(self->fd, MODE) == 0 ? IPCX_OK : ipcx_error_system(err, errno, OP, "%s", url);
}

static bool watch(const ipcx__well *self, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(self->door, EPOLL_CTL_ADD, fd, &event) == 0;
}

ipcx_status ipcx__well_open(ipcx__well *self, const char *url, ipcx_error *err)
{
    ipcx_status status = IPCX_MORE;
    for (int tries = 0; tries < TRIES && status == IPCX_MORE; tries++) {
        shut(&self->fd);
        shut(&self->keeper);
        status = make_path(self, url, err);
        IPCX_CRASH_POINT("listen: made");
        if (status == IPCX_OK) {
            status = open_path(self, url, err);
        }
        if (status == IPCX_OK) {
            status = claim(self, url, err);
        }
    }
    if (status != IPCX_OK) {
        return status == IPCX_MORE ? in_use(self, url, err) : status;
    }
    self->named = true;
    IPCX_CRASH_POINT("listen: claimed");
    ipcx__fifo_note(self->path, self->device, self->inode);
    IPCX_CRASH_POINT("listen: noted");
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->door = epoll_create1(EPOLL_CLOEXEC);
    return self->bell >= 0 && self->door >= 0 && watch(self, self->bell) && watch(self, self->fd)
               ? IPCX_OK
               : ipcx_error_system(err, errno, OP, "%s", url);
}

/* ---- the end */

void ipcx__well_close(ipcx__well *self)
{
    struct stat found;
    /* First the path: who finds it after us would count as a writer, and nobody would read it. */
    if (self->named && lstat(self->path, &found) == 0 && is_ours(self, &found)) {
        (void)unlink(self->path);
    }
    IPCX_CRASH_POINT("close: path gone");
    if (self->named) {
        ipcx__fifo_unnote(self->device, self->inode);
    }
    self->named = false;
    shut(&self->keeper);
}

void ipcx__well_leave(ipcx__well *self)
{
    if (--self->holders == 0) {
        ipcx__own_remove(&self->own);
        close_all(&self->own);
    }
}

void ipcx__well_share(ipcx__well *self)
{
    (void)atomic_fetch_add(&self->users, 1);
    ipcx__own_lock();
    self->holders++;
    ipcx__own_unlock();
}

void ipcx__well_free(ipcx__well *self)
{
    if (atomic_fetch_sub(&self->users, 1) == 1) {
        ipcx_decoder_fini(&self->decoder);
        ipcx_free(self);
    }
}

/* ---- messages */

/* All that is in the pipe, into the decoder. OK: some. MORE: nothing. EOF. */
static ipcx_status fill(ipcx__well *self, ipcx_error *err)
{
    uint8_t *room;
    ssize_t n;
    ipcx_status status = ipcx__decoder_room(&self->decoder, self->capacity, &room, err);
    if (status != IPCX_OK) {
        return status;
    }
    do {
        n = read(self->fd, room, self->capacity);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN ? IPCX_MORE : ipcx_error_system(err, errno, "receive", "read");
    }
    IPCX_CRASH_POINT("receive: read");
    ipcx_decoder_commit(&self->decoder, (size_t)n);
    if ((size_t)n == self->capacity) {
        int most = fcntl(self->fd, F_GETPIPE_SZ); /* somebody may have made it larger */
        self->capacity = most > (int)CAPACITY ? (size_t)most : CAPACITY;
    }
    return n > 0 ? IPCX_OK : IPCX_EOF;
}

/* What a writer puts in when it connects, so that accept knows of it. */
static bool is_greeting(const ipcx_frame *frame)
{
    return frame->type == IPCX_FRAME_PING && (frame->flags & ~IPCX_FRAME_CRC) == 0;
}

/* A whole frame: OK: a message, which is held. */
static ipcx_status hold(ipcx__well *self, const ipcx_frame *frame, ipcx_error *err)
{
    if (frame->type != IPCX_FRAME_DATA || (frame->flags & ~(IPCX_FRAME_TEXT | IPCX_FRAME_CRC))) {
        self->wrong_at = self->decoder.offset;
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "receive",
                              "a named pipe carries messages alone, no frame of type %d with "
                              "flags 0x%04x, at byte %llu",
                              frame->type, frame->flags, (unsigned long long)self->wrong_at);
    }
    self->held = (ipcx_message){.data = frame->payload,
                                .size = frame->payload_size,
                                .flags = frame->flags & IPCX_FRAME_TEXT ? IPCX_MESSAGE_TEXT : 0};
    self->holds = true;
    return IPCX_OK;
}

ipcx_status ipcx__well_next(ipcx__well *self, ipcx_error *err)
{
    ipcx_frame frame;
    ipcx_status status;
    for (;;) {
        status = ipcx_decoder_next(&self->decoder, &frame, err);
        if (status == IPCX_OK && is_greeting(&frame)) {
            continue;
        }
        if (status == IPCX_OK) {
            return hold(self, &frame, err);
        }
        if (status != IPCX_MORE) {
            self->wrong_at = ipcx_decoder_error_offset(&self->decoder);
            return status;
        }
        status = fill(self, err);
        if (status == IPCX_EOF && ipcx_decoder_pending(&self->decoder) > 0) {
            return ipcx_error_set(err, IPCX_PEER_DIED, 0, "receive",
                                  "%s: the last writer went in the middle of a message",
                                  self->path);
        }
        if (status != IPCX_OK) {
            return status;
        }
    }
}

/* Whether a frame may begin there. */
static bool is_likely(const uint8_t *bytes, size_t size, const ipcx_framing *framing)
{
    static const uint8_t magic[] = {'I', 'X', IPCX_FRAME_VERSION};
    ipcx_decoder scratch;
    ipcx_frame frame;
    bool likely;
    if (memcmp(bytes, magic, size < sizeof magic ? size : sizeof magic) != 0 ||
        ipcx_decoder_init(&scratch, framing, NULL) != IPCX_OK) {
        return false;
    }
    likely =
        ipcx_decoder_feed(&scratch, bytes, size < PIPE_BUF ? size : PIPE_BUF, NULL) == IPCX_OK &&
        ipcx_decoder_next(&scratch, &frame, NULL) >= 0;
    ipcx_decoder_fini(&scratch);
    return likely;
}

/* Goes on behind what was no message, where the next one may begin. */
static void skip(ipcx__well *self)
{
    const uint8_t *bytes = ipcx_buf_data(&self->decoder.buf);
    size_t size = ipcx_buf_len(&self->decoder.buf), at = 1;
    if (self->decoder.error.status == IPCX_OK) {
        return;
    }
    while (at < size && !is_likely(bytes + at, size - at, &self->decoder.framing)) {
        at++;
    }
    ipcx__decoder_resume(&self->decoder, at < size ? at : size);
}

/* ---- handing out the channel */

static bool has_read(const ipcx__well *self)
{
    return self->holds || ipcx_decoder_pending(&self->decoder) > 0;
}

void ipcx__well_vacate(ipcx__well *self)
{
    uint64_t count = 1;
    if (has_read(self)) {
        (void)!write(self->bell, &count, sizeof count);
    }
    (void)watch(self, self->fd);
    atomic_store(&self->out, false); /* last: who was woken before tries again */
}

bool ipcx__well_try(ipcx__well *self)
{
    struct pollfd pipe = {.fd = self->fd, .events = POLLIN};
    uint64_t count;
    if (atomic_exchange(&self->out, true)) {
        return false;
    }
    skip(self);
    (void)!read(self->bell, &count, sizeof count);
    if (has_read(self) || (poll(&pipe, 1, 0) > 0 && (pipe.revents & POLLIN))) {
        (void)epoll_ctl(self->door, EPOLL_CTL_DEL, self->fd, NULL);
        return true;
    }
    atomic_store(&self->out, false);
    return false;
}
