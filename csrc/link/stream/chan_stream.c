/* SPDX-License-Identifier: Apache-2.0
 * A stream channel as a whole: made, shaken hands with, taken apart.
 * Invariant: until somebody uses an end it has read nothing but the peer's HELLO, to the byte. */
#include "link/stream/chan_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/address/dial.h"
#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "wire/hello.h"

/* As long as the peer has not said what it takes. */
#define DEFAULT_LIMIT ((size_t)64 * 1024 * 1024)

/* The standard descriptors keep their numbers: what is opened next must not be taken for one. */
#define STANDARD 2

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

/* The ends that were handed over to us and wait to be received. In a child of fork(2) another
 * thread of the parent may have been at them: then they stay open until an exec. */
static void hang_up_inbox(ipcx__stream *self)
{
    if (pthread_mutex_trylock(&self->guard) == 0) {
        for (ipcx__parcel *parcel = self->inbox; parcel != NULL; parcel = parcel->next) {
            ipcx__fds_close(parcel->fds, &parcel->fd_count);
        }
        (void)pthread_mutex_unlock(&self->guard);
    }
}

/* In a child of fork(2) too, where another thread may have had any lock: waits for none. */
static void hang_up(ipcx_chan *chan)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    int timer = atomic_exchange(&self->timer, -1);
    ipcx__guest_go(&self->guest);
    if (self->write_fd == self->read_fd) {
        self->write_fd = -1;
    }
    close_fd(&self->read_fd);
    close_fd(&self->write_fd);
    close_fd(&self->nudge);
    close_fd(&self->epoll);
    close_fd(&self->bell);
    close_fd(&timer);
    ipcx__fds_close(self->fds, &self->fd_count);
    ipcx__fds_close(self->front_fds, &self->front_fd_count);
    hang_up_inbox(self);
    ipcx__own_remove(&self->offered);
}

static void discard(ipcx_chan *chan)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    while (self->inbox != NULL) {
        ipcx__parcel *parcel = self->inbox;
        self->inbox = parcel->next;
        ipcx__parcel_free(parcel);
    }
}

static void destroy(ipcx_chan *chan)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    discard(chan);
    ipcx__stream_unguard(self);
    ipcx__parcel_free(self->out_of_inbox);
    ipcx_decoder_fini(&self->decoder);
    ipcx_buf_fini(&self->owed);
    ipcx_buf_fini(&self->after);
    ipcx_buf_fini(&self->sealed);
    /* In a child, where another thread was at it during the fork, it is better lost than freed. */
    if (self->session != NULL && pthread_mutex_trylock(&self->tx) == 0) {
        (void)pthread_mutex_unlock(&self->tx);
        self->layer->end(self->session);
    }
    ipcx_free(self->scratch);
    (void)pthread_mutex_destroy(&self->tx);
    (void)pthread_mutex_destroy(&self->guard);
    ipcx_free(self);
}

static void max_message(ipcx_chan *chan, size_t *receive, size_t *send)
{
    *receive = chan->options.max_message;
    *send = atomic_load(&ipcx__stream_of(chan)->peer_limit);
}

/* As a verb it also finishes the handshake. */
static ipcx_status flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__stream_prove(ipcx__stream_of(chan), deadline, err);
    return status == IPCX_OK ? ipcx__stream_flush(chan, deadline, err) : status;
}

#define STREAM(name)                                                                               \
    {.scheme = name,                                                                               \
     .send = ipcx__stream_send,                                                                    \
     .send_many = ipcx__stream_send_many,                                                          \
     .receive = ipcx__stream_receive,                                                              \
     .release = ipcx__stream_release,                                                              \
     .poll = ipcx__stream_poll,                                                                    \
     .flush = flush,                                                                               \
     .fileno = ipcx__stream_fileno,                                                                \
     .send_fileno = ipcx__stream_send_fileno,                                                      \
     .goodbye = ipcx__stream_goodbye,                                                              \
     .hang_up = hang_up,                                                                           \
     .discard = discard,                                                                           \
     .destroy = destroy,                                                                           \
     .export = ipcx__stream_export,                                                                \
     .max_message = max_message}

static const ipcx__transport unix_transport = STREAM(IPCX_SCHEME_UNIX);
static const ipcx__transport tcp_transport = STREAM(IPCX_SCHEME_TCP);
static const ipcx__transport tls_transport = STREAM(IPCX_SCHEME_TLS);
static const ipcx__transport pipe_transport = STREAM(IPCX_SCHEME_PIPE);

/* ---- making one */

static bool sigpipe_kills(void)
{
    struct sigaction now;
    return sigaction(SIGPIPE, NULL, &now) != 0 || now.sa_handler != SIG_IGN;
}

static ipcx_status begin(ipcx__stream *self, ipcx_scheme scheme, const char *url,
                         const ipcx_chan_options *options, ipcx_error *err)
{
    const ipcx__transport *transport = scheme == IPCX_SCHEME_UNIX  ? &unix_transport
                                       : scheme == IPCX_SCHEME_TCP ? &tcp_transport
                                       : scheme == IPCX_SCHEME_TLS ? &tls_transport
                                                                   : &pipe_transport;
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__BEFORE_HELLO};
    ipcx_status status = ipcx_decoder_init(&self->decoder, &framing, err);
    if (status == IPCX_OK) {
        status = ipcx__chan_begin(&self->chan, transport, url, options, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    ipcx_buf_init(&self->owed, SIZE_MAX);
    ipcx_buf_init(&self->after, SIZE_MAX);
    ipcx_buf_init(&self->sealed, SIZE_MAX);
    (void)pthread_mutex_init(&self->tx, NULL);
    (void)pthread_mutex_init(&self->guard, NULL);
    self->inbox_last = &self->inbox;
    self->is_unix = scheme == IPCX_SCHEME_UNIX;
    self->nudge = self->epoll = self->bell = -1;
    atomic_store(&self->timer, -1);
    atomic_store(&self->look_at, IPCX_FOREVER);
    self->raises_sigpipe = scheme == IPCX_SCHEME_PIPE && sigpipe_kills();
    atomic_store(&self->peer_limit, DEFAULT_LIMIT);
    return IPCX_OK;
}

/* The descriptors, of which a pipe's may be replaced. */
static ipcx_status adopt(ipcx__stream *self, int read_fd, int write_fd, ipcx_error *err)
{
    int own_read, own_write = -1, on = 1;
    ipcx_status status = ipcx__stream_way(read_fd, O_RDONLY, &self->read_way, &own_read, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (write_fd == read_fd && self->read_way == IPCX__WAY_SOCKET) {
        self->write_way = self->read_way;
    } else {
        status = ipcx__stream_way(write_fd, O_WRONLY, &self->write_way, &own_write, err);
    }
    if (status != IPCX_OK) {
        close_fd(&own_read);
        return status;
    }
    if (own_read >= 0 && read_fd > STANDARD && (read_fd != write_fd || own_write >= 0)) {
        (void)close(read_fd);
    }
    if (own_write >= 0 && write_fd > STANDARD && read_fd != write_fd) {
        (void)close(write_fd);
    }
    self->read_fd = own_read >= 0 ? own_read : read_fd;
    self->write_fd = own_write >= 0 ? own_write : write_fd;
    self->puts = self->write_way == IPCX__WAY_SOCKET ||
                 (self->write_way == IPCX__WAY_OWN && !self->raises_sigpipe);
    if (self->is_unix && self->read_way == IPCX__WAY_SOCKET) {
        self->blocks = fcntl(self->read_fd, F_SETFL, O_RDWR) == 0;
    }
    if (ipcx__is_tcp(self->chan.transport->scheme)) {
        (void)setsockopt(self->write_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        ipcx__stream_keep_vigil(self);
    }
    return IPCX_OK;
}

ipcx_status ipcx__chan_stream_make(ipcx_scheme scheme, int read_fd, int write_fd, const char *url,
                                   const ipcx_chan_options *options, ipcx_chan **chan,
                                   ipcx_error *err)
{
    ipcx__stream *self = ipcx_alloc(sizeof *self);
    ipcx_status status;
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "channel", "no memory for a channel");
    }
    *self = (ipcx__stream){.read_fd = -1, .write_fd = -1};
    status = begin(self, scheme, url, options, err);
    if (status != IPCX_OK) {
        ipcx_free(self);
        return status;
    }
    status = adopt(self, read_fd, write_fd, err);
    if (status != IPCX_OK) {
        ipcx__chan_end(&self->chan);
        destroy(&self->chan);
        return status;
    }
    *chan = &self->chan;
    return IPCX_OK;
}

/* ---- shaking hands, before anybody owns the end */

ipcx_status ipcx__chan_stream_greet(ipcx_chan *chan, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    if (!atomic_load(&self->greeted)) {
        return ipcx__stream_greet(self, err);
    }
    (void)ipcx__stream_push_on(self);
    return IPCX_OK;
}

ipcx_status ipcx__chan_stream_shake(ipcx_chan *chan, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    ipcx_status status = ipcx__chan_stream_greet(chan, err);
    uint64_t before;
    bool moved;
    if (status != IPCX_OK || atomic_load(&self->heard) || self->read_way == IPCX__WAY_NONE) {
        return status;
    }
    if (!ipcx__turn_take(&self->pump)) {
        return IPCX_AGAIN;
    }
    before = self->decoder.offset;
    while (status == IPCX_OK) {
        status = ipcx__stream_front(self, err);
        if (atomic_load(&self->heard)) {
            status = IPCX_OK;
            break;
        }
        if (status == IPCX_MORE) {
            status = ipcx__stream_read_hello(self, err);
        }
    }
    moved = self->decoder.offset != before || status < 0;
    ipcx__stream_leave_pump(self);
    if (moved) {
        ipcx__stream_raise_bell(self); /* of a guest's, whom a coroutine may wait for already */
    }
    return status;
}

int ipcx__chan_stream_fd(const ipcx_chan *chan)
{
    return ((const ipcx__stream *)(const void *)chan)->read_fd;
}
