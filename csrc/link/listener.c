/* SPDX-License-Identifier: Apache-2.0
 * Listeners: at a host's port, at a path, at a name within the process.
 * Invariant: the lobby's functions run inside the gate, in the process that made the listener; a
 * child of fork(2) has nothing of it but the memory. */
#include "ipcx/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/log/chan_log.h"
#include "link/memory/chan_mem.h"
#include "link/datagram/dgram_listen.h"
#include "link/address/dial.h"
#include "link/admit.h"
#include "link/listener.h"
#include "link/stream/chan_stream.h"
#include "link/stream/lobby.h"
#include "link/address/path.h"
#include "link/address/url.h"
#include "os/gate.h"

/* So many rounds without an honest peer, and accept gives the program's signal handlers a chance:
 * strangers that come without end must not keep Ctrl-C out. */
#define ROUNDS 64

struct ipcx_listener {
    ipcx__own own; /* first: see forked() */
    ipcx_gate gate;
    ipcx_chan_options options;
    char url[IPCX_URL_MAX];
    uint32_t made_in; /* fork generation of the process it belongs to */
    int owner_pid;
    _Atomic bool closed;
    ipcx__mem_listener *mem;     /* inproc; else NULL */
    ipcx__dgram_listener *dgram; /* udp; else NULL */
    ipcx_url *log;               /* file; else NULL. The lobby's epoll is an eventfd then, up */
    ipcx__lobby lobby;           /* the others */
    ipcx__path path;             /* unix */
    _Atomic uint64_t accepted;
};

static ipcx_status failed(const char *url, ipcx_error *err)
{
    ipcx_status status = ipcx_status_from_errno(errno);
    return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, "listen", "%s", url);
}

/* ---- making one */

static void forked(ipcx__own *own)
{
    ipcx_listener *self = (ipcx_listener *)(void *)own;
    if (self->dgram != NULL) {
        ipcx__dgram_shut(self->dgram);
    }
    ipcx__lobby_forked(&self->lobby);
    ipcx__path_forget(&self->path);
}

/* The name of the URL; of one without, a name that nobody else has, which is its name from now on.
 */
static ipcx_status own_name(ipcx_listener *self, const ipcx_url *url, const char *scheme,
                            char name[sizeof url->name], ipcx_error *err)
{
    uint64_t random = 0;
    (void)snprintf(name, sizeof url->name, "%s", url->name);
    if (name[0] != '\0') {
        return IPCX_OK;
    }
    if (getrandom(&random, sizeof random, 0) < 0) {
        return failed(self->url, err);
    }
    (void)snprintf(name, sizeof url->name, "%016" PRIx64, random);
    (void)snprintf(self->url, sizeof self->url, "%s://%s", scheme, name);
    return IPCX_OK;
}

static ipcx_status listen_at_path(ipcx_listener *self, const char *path, ipcx_error *err)
{
    ipcx_status status = ipcx__path_claim(&self->path, path, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->lobby.listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->lobby.listening < 0) {
        return failed(self->url, err);
    }
    status = ipcx__path_bind(&self->path, self->lobby.listening,
                             self->options.allow_uids != NULL ? 0666 : 0600, err);
    if (status == IPCX_OK && listen(self->lobby.listening, self->options.backlog) < 0) {
        status = failed(self->url, err);
    }
    return status;
}

static ipcx_status listen_unix(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx_status status = listen_at_path(self, url->name, err);
    if (self->path.path[0] != '\0') {
        (void)snprintf(self->url, sizeof self->url, "unix://%s", self->path.path);
    }
    return status;
}

static ipcx_status listen_shm(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    char name[sizeof url->name], path[sizeof self->path.path];
    ipcx_status status = own_name(self, url, "shm", name, err);
    if (status == IPCX_OK) {
        status = ipcx__runtime_named(name, true, path, sizeof path, err);
    }
    return status == IPCX_OK ? listen_at_path(self, path, err) : status;
}

/* Binds and listens; the descriptor is the lobby's, whatever comes out. */
static ipcx_status listen_at(ipcx_listener *self, ipcx_addr *addr, ipcx_error *err)
{
    int on = 1, off = 0, fd;
    ipcx_status status = ipcx__tcp_open(addr, &fd, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->lobby.listening = fd;
    /* :: takes IPv4 too. SO_REUSEADDR: what is left of connections of a listener before does not
     * keep its port; a live listener does (socket(7)). */
    if ((addr->u.sa.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0) ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (self->options.reuse_port &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        bind(fd, &addr->u.sa, addr->len) < 0 || listen(fd, self->options.backlog) < 0) {
        return failed(self->url, err);
    }
    addr->len = sizeof addr->u;
    return getsockname(fd, &addr->u.sa, &addr->len) == 0 ? IPCX_OK : failed(self->url, err);
}

static ipcx_status listen_tcp(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx__addresses found;
    ipcx_error why = {0};
    ipcx_status status = ipcx__tcp_resolve(url, true, &found, err);
    if (status != IPCX_OK) {
        return status;
    }
    for (int i = 0; i < found.count; i++) {
        if (url->scheme == IPCX_SCHEME_TCP && !ipcx__tcp_is_loopback(&found.at[i]) &&
            !self->options.insecure && self->options.authkey == NULL) {
            return ipcx__url_fail(err, IPCX_INSECURE, EACCES, "listen", self->url,
                                  "others can reach it; use tls://, 127.0.0.1, give an authkey, "
                                  "or say insecure=True");
        }
        status = listen_at(self, &found.at[i], &why);
        if (status == IPCX_OK) {
            ipcx__stream_url(url->scheme, url->name[0] == '\0', &found.at[i], self->url);
        }
        /* A name may stand for addresses, and a machine lack a family, that do not matter. */
        if (status == IPCX_OK ||
            (why.sys_errno != EADDRNOTAVAIL && why.sys_errno != EAFNOSUPPORT)) {
            break;
        }
        if (self->lobby.listening >= 0) {
            (void)close(self->lobby.listening);
            self->lobby.listening = -1;
        }
    }
    if (status == IPCX_ADDRESS_IN_USE) {
        int pid = ipcx__tcp_holder(url->port);
        if (pid > 0) {
            return ipcx__url_fail(err, status, why.sys_errno, "listen", self->url,
                                  "process %d listens", pid);
        }
    }
    return status == IPCX_OK
               ? status
               : ipcx_error_set(err, status, why.sys_errno, "listen", "%s", self->url);
}

static ipcx_status listen_inproc(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    char name[sizeof url->name];
    ipcx_status status = own_name(self, url, "inproc", name, err);
    return status == IPCX_OK ? ipcx__mem_listen(name, &self->options, &self->mem, err) : status;
}

/* Nobody comes, so nobody is waited for: each accept is another reader. */
static ipcx_status listen_file(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx_status status = ipcx__chan_log_begin(url, self->url, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->log = ipcx_alloc(sizeof *self->log);
    if (self->log == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a listener");
    }
    *self->log = *url;
    self->lobby.epoll = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    return self->lobby.epoll >= 0 ? IPCX_OK : failed(self->url, err);
}

static ipcx_status listen_any(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    (void)ipcx_url_format(url, self->url, sizeof self->url);
    switch (url->scheme) {
    case IPCX_SCHEME_INPROC:
        return listen_inproc(self, url, err);
    case IPCX_SCHEME_PIPE:
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "listen", self->url,
                              "nobody can connect to a pipe: use connect or pair");
    case IPCX_SCHEME_FILE:
        return listen_file(self, url, err);
    case IPCX_SCHEME_UDP:
        return ipcx__dgram_listen(url, self->url, &self->options, &self->dgram, err);
    case IPCX_SCHEME_TCP:
    case IPCX_SCHEME_TLS:
        status = listen_tcp(self, url, err);
        break;
    case IPCX_SCHEME_UNIX:
        status = listen_unix(self, url, err);
        break;
    case IPCX_SCHEME_SHM:
        status = listen_shm(self, url, err);
        break;
    }
    return status == IPCX_OK ? ipcx__lobby_open(&self->lobby, self->url, err) : status;
}

/* A listener that holds nothing yet. */
static ipcx_status begin(ipcx_listener **listener, ipcx_scheme scheme,
                         const ipcx_chan_options *options, ipcx_error *err)
{
    ipcx_status status;
    ipcx_listener *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a listener");
    }
    *self = (ipcx_listener){.own = {.forked = forked},
                            .path = {.dir = -1, .lock = -1},
                            .made_in = ipcx__fork_generation(),
                            .owner_pid = (int)getpid()};
    status = ipcx__chan_options_fill(options, &self->options, err);
    if (status == IPCX_OK) {
        status = ipcx__admit_keep(&self->options, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__lobby_begin(&self->lobby, scheme, &self->options, err);
    }
    if (status != IPCX_OK) {
        ipcx__admit_forget(&self->options);
        ipcx_free(self);
        return status;
    }
    *listener = self;
    return IPCX_OK;
}

ipcx_status ipcx_listen(const char *url, const ipcx_chan_options *options, ipcx_listener **listener,
                        ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    ipcx_listener *self = NULL;
    ipcx_url parsed;
    ipcx_status status = ipcx_url_parse(&parsed, url, err);
    if (status == IPCX_OK) {
        status = begin(&self, parsed.scheme, options, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__admit_scheme(parsed.scheme, &self->options, "listen", url, err);
    }
    if (status == IPCX_OK) {
        /* First: what it opens from now on, a child lets go of. */
        ipcx__own_lock();
        ipcx__own_add(IPCX__OWN_LISTENERS, &self->own);
        ipcx__own_unlock();
        status = listen_any(self, &parsed, err);
    }
    if (IPCX_UNLIKELY(begun != 0)) {
        ipcx__trace_end(begun, &(ipcx_trace_event){
                                   .op = "listen",
                                   .url = status == IPCX_OK ? self->url : url,
                                   .fd = -1,
                                   .status = status,
                                   .sys_errno = status < 0 && err != NULL ? err->sys_errno : 0,
                               });
    }
    if (status != IPCX_OK) {
        ipcx_listener_free(self);
        return status;
    }
    *listener = self;
    return IPCX_OK;
}

/* ---- using it */

static ipcx_status enter(ipcx_listener *self, const char *op, ipcx_error *err)
{
    if (atomic_load(&self->closed)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "%s is closed", self->url);
    }
    if (self->made_in != ipcx__fork_generation()) {
        return ipcx_error_set(err, IPCX_FORKED, 0, op, "process %d listens on %s", self->owner_pid,
                              self->url);
    }
    if (!ipcx__gate_enter(&self->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "%s is closed", self->url);
    }
    return IPCX_OK;
}

/* Rounds until one answers something else than MORE. */
static ipcx_status rounds(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                          ipcx_error *err)
{
    ipcx_status status = IPCX_MORE;
    for (int i = 0; i < ROUNDS && status == IPCX_MORE; i++) {
        status = ipcx__lobby_round(&self->lobby, chan, err);
        if (status == IPCX_MORE && ipcx__gate_is_closed(&self->gate)) {
            return ipcx__gate_closed("accept", err);
        }
        if (status == IPCX_MORE && deadline != IPCX_NOW && ipcx_deadline_left(deadline) == 0) {
            return IPCX_TIMEOUT;
        }
    }
    if (status == IPCX_MORE) {
        return deadline == IPCX_NOW ? IPCX_AGAIN : IPCX_INTR;
    }
    return status;
}

static ipcx_status accept_peer(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                               ipcx_error *err)
{
    ipcx_status status;
    for (;;) {
        status = rounds(self, chan, deadline, err);
        if (status == IPCX_AGAIN && self->options.authkey != NULL && ipcx__chan_stream_help()) {
            continue; /* a peer in this very process has answered */
        }
        if (status != IPCX_AGAIN || deadline == IPCX_NOW) {
            return status;
        }
        status = ipcx__gate_poll(&self->gate, self->lobby.epoll, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

ipcx_status ipcx_listener_accept(ipcx_listener *listener, ipcx_chan **chan, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    ipcx_status status = enter(listener, "accept", err);
    if (status != IPCX_OK) {
        return status;
    }
    if (listener->mem != NULL) {
        status = ipcx__mem_accept(listener->mem, chan, deadline, err);
    } else if (listener->dgram != NULL) {
        status = ipcx__dgram_accept(listener->dgram, &listener->gate, chan, deadline, err);
    } else if (listener->log != NULL) {
        status = ipcx__chan_log_follow(listener->log, listener->url, &listener->options, chan, err);
    } else {
        status = accept_peer(listener, chan, deadline, err);
    }
    if (status == IPCX_OK) {
        (void)atomic_fetch_add(&listener->accepted, 1);
    }
    if (IPCX_UNLIKELY(begun != 0)) {
        ipcx__trace_end(begun, &(ipcx_trace_event){
                                   .op = "accept",
                                   .url = status == IPCX_OK ? ipcx_chan_url(*chan) : listener->url,
                                   .fd = -1,
                                   .status = status,
                                   .sys_errno = status < 0 && err != NULL ? err->sys_errno : 0,
                               });
    }
    ipcx__gate_leave(&listener->gate);
    return status;
}

const char *ipcx_listener_url(const ipcx_listener *listener)
{
    return listener->url;
}

ipcx_status ipcx_listener_fileno(ipcx_listener *listener, int *fd, ipcx_error *err)
{
    ipcx_status status = enter(listener, "fileno", err);
    if (status != IPCX_OK) {
        return status;
    }
    if (listener->mem != NULL) {
        status = ipcx__mem_fileno(listener->mem, fd, err);
    } else if (listener->dgram != NULL) {
        *fd = ipcx__dgram_listener_fileno(listener->dgram);
    } else {
        *fd = listener->lobby.epoll;
    }
    ipcx__gate_leave(&listener->gate);
    return status;
}

ipcx_status ipcx__listener_lend(ipcx_listener *listener, ipcx_scheme *scheme, int *fd,
                                ipcx_error *err)
{
    if (listener->mem != NULL ||
        (listener->lobby.scheme != IPCX_SCHEME_UNIX && listener->lobby.scheme != IPCX_SCHEME_TCP)) {
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "listen", listener->url,
                              listener->lobby.scheme == IPCX_SCHEME_TLS
                                  ? "a server does not encrypt yet: accept channels instead"
                                  : "there is nothing to wait for together with others");
    }
    (void)epoll_ctl(listener->lobby.epoll, EPOLL_CTL_DEL, listener->lobby.listening, NULL);
    *scheme = listener->lobby.scheme;
    *fd = listener->lobby.listening;
    return IPCX_OK;
}

const ipcx_chan_options *ipcx__listener_options(const ipcx_listener *listener)
{
    return &listener->options;
}

void ipcx_listener_get_stats(ipcx_listener *listener, ipcx_listener_stats *stats)
{
    *stats = (ipcx_listener_stats){
        .dropped = atomic_load(&listener->lobby.dropped),
        .waiting = atomic_load(&listener->lobby.waiting),
        .strangers = atomic_load(&listener->lobby.strangers),
    };
    if (listener->mem != NULL && listener->made_in == ipcx__fork_generation()) {
        ipcx__mem_waiting(listener->mem, stats);
    }
    if (listener->dgram != NULL) {
        ipcx__dgram_count(listener->dgram, stats);
    }
    stats->accepted = atomic_load(&listener->accepted);
}

/* ---- closing it */
ipcx_status ipcx_listener_close(ipcx_listener *listener, ipcx_error *err)
{
    (void)err; /* nothing here fails in a way that anybody could do something about */
    if (atomic_exchange(&listener->closed, true) || listener->made_in != ipcx__fork_generation()) {
        return IPCX_OK;
    }
    ipcx__gate_shut(&listener->gate);
    if (listener->mem != NULL) {
        ipcx__mem_close(listener->mem);
    }
    ipcx__gate_close(&listener->gate);
    ipcx__lobby_empty(&listener->lobby);
    if (listener->dgram != NULL) {
        ipcx__dgram_empty(listener->dgram);
    }
    ipcx__own_lock();
    if (listener->dgram != NULL) {
        ipcx__dgram_shut(listener->dgram);
    }
    ipcx__path_release(&listener->path);
    ipcx__lobby_shut(&listener->lobby);
    ipcx__own_remove(&listener->own);
    ipcx__own_unlock();
    return IPCX_OK;
}

void ipcx_listener_free(ipcx_listener *listener)
{
    if (listener == NULL) {
        return;
    }
    (void)ipcx_listener_close(listener, NULL);
    if (listener->made_in != ipcx__fork_generation()) {
        ipcx__lobby_empty(&listener->lobby); /* the memory of the parent's peers */
    } else if (listener->mem != NULL) {
        ipcx__mem_free(listener->mem); /* in a child its locks may be held for ever */
    }
    if (listener->dgram != NULL) {
        ipcx__dgram_free(listener->dgram);
    }
    ipcx__lobby_end(&listener->lobby);
    ipcx__admit_forget(&listener->options);
    ipcx_free(listener->log);
    ipcx_free(listener);
}
