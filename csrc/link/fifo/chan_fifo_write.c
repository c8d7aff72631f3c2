/* SPDX-License-Identifier: Apache-2.0
 * The end of a named pipe's channel that sends: any number of threads, each write whole, no lock.
 * Invariant: no write is longer than PIPE_BUF, none waits, none raises SIGPIPE. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "ipcx/alloc.h"
#include "ipcx/pipe.h"
#include "link/address/url.h"
#include "link/fifo/chan_fifo.h"
#include "os/gate.h"
#include "os/pipe.h"

typedef struct writer {
    ipcx_chan chan; /* first */
    ipcx__own own;  /* of the descriptor, which a child lets go of although nobody has used it */
    int fd;
    bool raises_sigpipe; /* this process does not ignore SIGPIPE */
    ipcx_framing framing;
} writer;

static writer *of(ipcx_chan *chan)
{
    return (writer *)(void *)chan;
}

static ipcx_status receives_not(const ipcx_chan *chan, const char *op, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, op, "this end sends (who listens receives): %s",
                          chan->url);
}

/* ---- sending */

static ipcx_status check(const writer *self, const ipcx_message *message, ipcx_error *err)
{
    if (message->flags & ~IPCX_MESSAGE_TEXT) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                              message->flags & IPCX_MESSAGE_SYNC
                                  ? "%s goes one way: no answer tells that it was received"
                                  : "%s carries bytes and text",
                              self->chan.url);
    }
    if (message->size > self->framing.max_message) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "send",
                              "a message of %zu bytes; a named pipe takes %zu whole (PIPE_BUF)",
                              message->size, self->framing.max_message);
    }
    return IPCX_OK;
}

static ipcx_status encode(const writer *self, const ipcx_message *message, ipcx_envelope *around,
                          ipcx_error *err)
{
    const ipcx_frame frame = {
        .type = IPCX_FRAME_DATA,
        .flags = (uint16_t)((message->flags & IPCX_MESSAGE_TEXT ? IPCX_FRAME_TEXT : 0) |
                            (self->chan.options.checksum ? IPCX_FRAME_CRC : 0)),
        .payload = message->data,
        .payload_size = message->size};
    ipcx_status status = check(self, message, err);
    return status == IPCX_OK ? ipcx_frame_encode(&self->framing, &frame, around, err) : status;
}

/* All of it or nothing. */
static ipcx_status put(writer *self, const struct iovec *pieces, int count, ipcx_deadline deadline,
                       ipcx_error *err)
{
    bool waited = false;
    for (;;) {
        ipcx_status status;
        ssize_t n = self->raises_sigpipe ? ipcx__writev_quietly(self->fd, pieces, count)
                                         : writev(self->fd, pieces, count);
        if (n >= 0) {
            IPCX_CRASH_POINT("send: written");
            return IPCX_OK;
        }
        if (errno == EPIPE) {
            return ipcx_error_set(err, IPCX_PEER_CLOSED, EPIPE, "send", "nobody reads %s any more",
                                  self->chan.url);
        }
        if (errno != EAGAIN && errno != EINTR) {
            return ipcx_error_system(err, errno, "send", "%s", self->chan.url);
        }
        if (errno == EAGAIN && deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        if (errno == EAGAIN && !waited) {
            waited = true;
            (void)atomic_fetch_add(&self->chan.send_waits, 1);
        }
        status = ipcx__gate_poll(&self->chan.gate, self->fd, POLLOUT, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

static ipcx_status send_one(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                            ipcx_sending *sending, ipcx_error *err)
{
    writer *self = of(chan);
    ipcx_envelope around;
    ipcx_status status = encode(self, message, &around, err);
    (void)sending; /* it goes whole, or has not begun */
    IPCX_CRASH_POINT("send: to be written");
    if (status == IPCX_OK) {
        const struct iovec pieces[3] = {{around.head, around.head_size},
                                        {(void *)(uintptr_t)message->data, message->size},
                                        {around.tail, around.tail_size}};
        status = put(self, pieces, around.tail_size > 0 ? 3 : 2, deadline, err);
    }
    return status;
}

/* Behind the `at` bytes in `room`, of PIPE_BUF: where it ends; `at`: there is no room for it. */
static size_t gather(uint8_t *room, size_t at, const ipcx_envelope *around,
                     const ipcx_message *message)
{
    if (at + around->head_size + message->size + around->tail_size > PIPE_BUF) {
        return at;
    }
    memcpy(room + at, around->head, around->head_size);
    at += around->head_size;
    if (message->size > 0) {
        memcpy(room + at, message->data, message->size);
    }
    at += message->size;
    memcpy(room + at, around->tail, around->tail_size);
    return at + around->tail_size;
}

/* As many of them in one write as fit into it. */
static ipcx_status send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                             ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    writer *self = of(chan);
    uint8_t room[PIPE_BUF];
    ipcx_envelope around;
    ipcx_status status = IPCX_OK;
    for (size_t i = sending->taken; i < count && status == IPCX_OK; i++) {
        status = check(self, &messages[i], err);
    }
    while (status == IPCX_OK && sending->taken < count) {
        size_t next = sending->taken, size = 0;
        while (next < count && status == IPCX_OK) {
            size_t end;
            status = encode(self, &messages[next], &around, err);
            end = status == IPCX_OK ? gather(room, size, &around, &messages[next]) : size;
            if (end == size) {
                break;
            }
            size = end;
            next++;
        }
        if (next > sending->taken) { /* also what comes before one that is no message */
            const struct iovec piece = {room, size};
            status = put(self, &piece, 1, deadline, err);
            sending->taken = status == IPCX_OK ? next : sending->taken;
        }
    }
    return status;
}

static ipcx_status flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)chan, (void)deadline, (void)err;
    return IPCX_OK;
}

static ipcx_status send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    (void)err;
    *fd = of(chan)->fd;
    return IPCX_OK;
}

/* ---- what it cannot */

static ipcx_status receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                           ipcx_error *err)
{
    (void)message, (void)deadline;
    return receives_not(chan, "receive", err);
}

static void release(ipcx_chan *chan, ipcx_message *message)
{
    (void)chan, (void)message; /* nothing is ever lent */
}

static ipcx_status poll_pipe(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)deadline;
    return receives_not(chan, "poll", err);
}

static ipcx_status fileno_of(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    (void)fd;
    return receives_not(chan, "fileno", err);
}

/* ---- the end */

static ipcx_status goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent, ipcx_error *err)
{
    (void)chan, (void)deadline, (void)err;
    *unsent = 0;
    return IPCX_OK;
}

static void shut(writer *self)
{
    if (self->fd >= 0) {
        (void)close(self->fd);
        self->fd = -1;
    }
}

static void forked(ipcx__own *own)
{
    shut((writer *)(void *)((char *)own - offsetof(writer, own)));
}

static void hang_up(ipcx_chan *chan)
{
    ipcx__own_remove(&of(chan)->own);
    shut(of(chan));
}

static void destroy(ipcx_chan *chan)
{
    ipcx_free(of(chan));
}

static void max_message(ipcx_chan *chan, size_t *most_in, size_t *most_out)
{
    *most_in = *most_out = of(chan)->framing.max_message;
}

static const ipcx__transport FIFO_WRITER = {
    .scheme = IPCX_SCHEME_FIFO,
    .send = send_one,
    .send_many = send_many,
    .receive = receive,
    .release = release,
    .poll = poll_pipe,
    .flush = flush,
    .fileno = fileno_of,
    .send_fileno = send_fileno,
    .goodbye = goodbye,
    .hang_up = hang_up,
    .destroy = destroy,
    .max_message = max_message,
};

/* ---- making one */

static ipcx_status make(const char *text, const ipcx_chan_options *options, writer **made,
                        ipcx_error *err)
{
    struct sigaction now;
    ipcx_status status;
    writer *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "channel", "no memory for a channel");
    }
    *self = (writer){.own = {.forked = forked}, .fd = -1};
    status = ipcx__chan_begin(&self->chan, &FIFO_WRITER, text, options, err);
    if (status != IPCX_OK) {
        ipcx_free(self);
        return status;
    }
    self->framing = (ipcx_framing){.kind = IPCX_FRAMING_IPCX,
                                   .max_message = IPCX__FIFO_PAYLOAD - (options->checksum ? 4 : 0)};
    self->chan.options.max_message = self->framing.max_message;
    self->raises_sigpipe = sigaction(SIGPIPE, NULL, &now) != 0 || now.sa_handler != SIG_IGN;
    *made = self;
    return IPCX_OK;
}

/* Why it could not be opened. */
static ipcx_status failed(const ipcx_url *url, const char *text, ipcx_status status,
                          const ipcx_error *why, ipcx_error *err)
{
    if ((status == IPCX_AGAIN && !url->wait) || why->sys_errno == ENOENT) {
        return ipcx__url_fail(err, IPCX_REFUSED, ECONNREFUSED, "connect", text,
                              "%sstart the listener first",
                              status == IPCX_AGAIN ? "nobody reads the named pipe; " : "");
    }
    if (status > 0) {
        return status;
    }
    if (why->sys_errno == EACCES || why->sys_errno == EPERM) {
        return ipcx__url_fail(err, IPCX_AUTH, why->sys_errno, "connect", text,
                              "it is another user's");
    }
    if (why->sys_errno == ELOOP || why->sys_errno == EINVAL || why->sys_errno == ENXIO) {
        return ipcx__url_fail(err, IPCX_SYSTEM, EPERM, "connect", text,
                              why->sys_errno == ELOOP ? "that is a symbolic link"
                                                      : "that is no named pipe");
    }
    return ipcx_error_set(err, status, why->sys_errno, "connect", "%s", text);
}

/* As ipcx__admit_user, of who owns the pipe. */
static bool is_admitted(const struct stat *pipe, const ipcx_chan_options *options)
{
    uid_t mine = geteuid();
    for (size_t i = 0; options->allow_uids != NULL && i < options->allow_uids_count; i++) {
        if (options->allow_uids[i] == (unsigned)pipe->st_uid) {
            return true;
        }
    }
    return pipe->st_uid == mine || pipe->st_uid == 0 || (options->allow_uids == NULL && mine == 0);
}

static ipcx_status not_admitted(const struct stat *pipe, const char *text, ipcx_error *err)
{
    return ipcx__url_fail(err, IPCX_AUTH, EPERM, "connect", text, "it is user %u's",
                          (unsigned)pipe->st_uid);
}

/* Has accept know that somebody has come; in a full pipe there is enough to know. */
static ipcx_status greet(writer *self, const char *text, ipcx_error *err)
{
    const ipcx_frame frame = {.type = IPCX_FRAME_PING};
    ipcx_envelope around;
    ipcx_status status = ipcx_frame_encode(&self->framing, &frame, &around, err);
    if (status == IPCX_OK) {
        const struct iovec piece = {around.head, around.head_size};
        status = put(self, &piece, 1, IPCX_NOW, err);
    }
    if (status == IPCX_PEER_CLOSED) {
        return ipcx__url_fail(err, IPCX_REFUSED, ECONNREFUSED, "connect", text,
                              "its reader has just gone");
    }
    return status > 0 ? IPCX_OK : status;
}

static ipcx_status open_pipe(writer *self, const ipcx_url *url, const char *text,
                             const ipcx_chan_options *options, ipcx_deadline deadline,
                             ipcx_error *err)
{
    ipcx_error why = {0};
    struct stat found;
    ipcx_status status;
    /* First by its path: if it is not to be used, whoever reads it shall not see us come and go. */
    if (lstat(url->name, &found) == 0 && S_ISFIFO(found.st_mode) && !is_admitted(&found, options)) {
        return not_admitted(&found, text, err);
    }
    status = ipcx_fifo_open(url->name, 1, url->wait ? deadline : IPCX_NOW, &self->fd, &why);
    IPCX_CRASH_POINT("connect: open");
    if (status != IPCX_OK) {
        return failed(url, text, status, &why, err);
    }
    if (fstat(self->fd, &found) < 0) {
        return ipcx_error_system(err, errno, "connect", "%s", text);
    }
    if (!is_admitted(&found, options)) {
        return not_admitted(&found, text, err);
    }
    return greet(self, text, err);
}

ipcx_status ipcx__chan_fifo_connect(const ipcx_url *url, const char *text,
                                    const ipcx_chan_options *options, ipcx_deadline deadline,
                                    ipcx_chan **chan, ipcx_error *err)
{
    writer *self = NULL;
    ipcx_status status;
    if (url->name[0] == '\0') {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "the path is missing: fifo:///run/orders");
    }
    status = make(text, options, &self, err);
    if (status != IPCX_OK) {
        return status;
    }
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_LISTENERS, &self->own); /* first: see `own` */
    ipcx__own_unlock();
    status = open_pipe(self, url, text, options, deadline, err);
    if (status != IPCX_OK) {
        ipcx_chan_free(&self->chan);
        return status;
    }
    *chan = &self->chan;
    return IPCX_OK;
}
