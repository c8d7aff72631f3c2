/* SPDX-License-Identifier: Apache-2.0
 * Listening where peers come as streams: at a host's port, at a path, and at the path behind a name
 * of shm://. What has come waits in the lobby until its handshake is done.
 * Invariant: the lobby's functions run inside the listener's gate, in the process that listens. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/address/dial.h"
#include "link/address/path.h"
#include "link/address/url.h"
#include "link/listener.h"
#include "link/stream/chan_stream.h"
#include "link/stream/lobby.h"
#include "os/gate.h"
#include "os/holder.h"

/* So many rounds without an honest peer, and accept gives the program's signal handlers a chance:
 * strangers that come without end must not keep Ctrl-C out. */
#define ROUNDS 64

typedef struct place {
    ipcx__lobby lobby;
    ipcx__path path; /* unix, shm */
} place;

static place *of(const ipcx_listener *self)
{
    return self->state;
}

static ipcx_status failed(const ipcx_listener *self, ipcx_error *err)
{
    return ipcx_error_system(err, errno, "listen", "%s", self->url);
}

/* ---- opening */

static ipcx_status begin(ipcx_listener *self, ipcx_error *err)
{
    ipcx_status status;
    place *made = ipcx_alloc(sizeof *made);
    if (made == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a listener");
    }
    *made = (place){.path = {.dir = -1, .lock = -1}};
    status = ipcx__lobby_begin(&made->lobby, self->scheme, &self->options, err);
    if (status != IPCX_OK) {
        ipcx_free(made);
        return status;
    }
    self->state = made;
    return IPCX_OK;
}

static ipcx_status listen_at_path(ipcx_listener *self, const char *path, ipcx_error *err)
{
    place *at = of(self);
    ipcx_status status = ipcx__path_claim(&at->path, path, err);
    if (status != IPCX_OK) {
        return status;
    }
    at->lobby.listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (at->lobby.listening < 0) {
        return failed(self, err);
    }
    status = ipcx__path_bind(&at->path, at->lobby.listening,
                             self->options.allow_uids != NULL ? 0666 : 0600, err);
    if (status == IPCX_OK && listen(at->lobby.listening, self->options.backlog) < 0) {
        status = failed(self, err);
    }
    return status;
}

static ipcx_status open_unix(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx_status status = begin(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = listen_at_path(self, url->name, err);
    if (of(self)->path.path[0] != '\0') {
        (void)snprintf(self->url, sizeof self->url, "unix://%s", of(self)->path.path);
    }
    return status == IPCX_OK ? ipcx__lobby_open(&of(self)->lobby, self->url, err) : status;
}

static ipcx_status open_shm(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    char name[sizeof url->name], path[sizeof of(self)->path.path];
    ipcx_status status = begin(self, err);
    if (status == IPCX_OK) {
        status = ipcx__listener_name(self, url, "shm", name, sizeof name, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__runtime_named(name, true, path, sizeof path, err);
    }
    if (status == IPCX_OK) {
        status = listen_at_path(self, path, err);
    }
    return status == IPCX_OK ? ipcx__lobby_open(&of(self)->lobby, self->url, err) : status;
}

/* Binds and listens; the descriptor is the lobby's, whatever comes out. */
static ipcx_status listen_at(ipcx_listener *self, ipcx_addr *addr, ipcx_error *err)
{
    int on = 1, off = 0, fd;
    ipcx_status status = ipcx__tcp_open(addr, &fd, err);
    if (status != IPCX_OK) {
        return status;
    }
    of(self)->lobby.listening = fd;
    /* :: takes IPv4 too. SO_REUSEADDR: what is left of connections of a listener before does not
     * keep its port; a live listener does (socket(7)). */
    if ((addr->u.sa.sa_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0) ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (self->options.reuse_port &&
         setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        bind(fd, &addr->u.sa, addr->len) < 0 || listen(fd, self->options.backlog) < 0) {
        return failed(self, err);
    }
    addr->len = sizeof addr->u;
    return getsockname(fd, &addr->u.sa, &addr->len) == 0 ? IPCX_OK : failed(self, err);
}

/* At the first of the addresses that will do. */
static ipcx_status listen_tcp(ipcx_listener *self, const ipcx_url *url, ipcx__addresses *found,
                              ipcx_error *why, ipcx_error *err)
{
    ipcx__lobby *lobby = &of(self)->lobby;
    ipcx_status status = IPCX_SYSTEM;
    for (int i = 0; i < found->count; i++) {
        if (url->scheme == IPCX_SCHEME_TCP && !ipcx__tcp_is_loopback(&found->at[i]) &&
            !self->options.insecure && self->options.authkey == NULL) {
            return ipcx__url_fail(err, IPCX_INSECURE, EACCES, "listen", self->url,
                                  "others can reach it; use tls://, 127.0.0.1, give an authkey, "
                                  "or say insecure=True");
        }
        status = listen_at(self, &found->at[i], why);
        if (status == IPCX_OK) {
            ipcx__stream_url(url->scheme, url->name[0] == '\0', &found->at[i], self->url);
        }
        /* A name may stand for addresses, and a machine lack a family, that do not matter. */
        if (status == IPCX_OK ||
            (why->sys_errno != EADDRNOTAVAIL && why->sys_errno != EAFNOSUPPORT)) {
            break;
        }
        if (lobby->listening >= 0) {
            (void)close(lobby->listening);
            lobby->listening = -1;
        }
    }
    if (status == IPCX_ADDRESS_IN_USE) {
        int pid = ipcx__tcp_holder(url->port);
        if (pid > 0) {
            return ipcx__url_fail(err, status, why->sys_errno, "listen", self->url,
                                  "process %d listens", pid);
        }
    }
    return status == IPCX_OK
               ? status
               : ipcx_error_set(err, status, why->sys_errno, "listen", "%s", self->url);
}

static ipcx_status open_tcp(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx__addresses found;
    ipcx_error why = {0};
    ipcx_status status = begin(self, err);
    if (status == IPCX_OK) {
        status = ipcx__tcp_resolve(url, true, &found, err);
    }
    if (status == IPCX_OK) {
        status = listen_tcp(self, url, &found, &why, err);
    }
    return status == IPCX_OK ? ipcx__lobby_open(&of(self)->lobby, self->url, err) : status;
}

/* ---- accepting */

/* Rounds until one answers something else than MORE. */
static ipcx_status rounds(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                          ipcx_error *err)
{
    ipcx_status status = IPCX_MORE;
    for (int i = 0; i < ROUNDS && status == IPCX_MORE; i++) {
        status = ipcx__lobby_round(&of(self)->lobby, chan, err);
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
        status = ipcx__gate_poll(&self->gate, of(self)->lobby.epoll, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

static ipcx_status fileno_of(ipcx_listener *self, int *fd, ipcx_error *err)
{
    (void)err;
    *fd = of(self)->lobby.epoll;
    return IPCX_OK;
}

static ipcx_status lend(ipcx_listener *self, int *fd, ipcx_error *err)
{
    ipcx__lobby *lobby = &of(self)->lobby;
    if (self->scheme == IPCX_SCHEME_TLS && self->options.layer == NULL) {
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "listen", self->url,
                              "it needs a layer that encrypts: options.layer");
    }
    (void)epoll_ctl(lobby->epoll, EPOLL_CTL_DEL, lobby->listening, NULL);
    *fd = lobby->listening;
    return IPCX_OK;
}

static void count(ipcx_listener *self, ipcx_listener_stats *stats)
{
    ipcx__lobby *lobby = &of(self)->lobby;
    stats->dropped = atomic_load(&lobby->dropped);
    stats->waiting = atomic_load(&lobby->waiting);
    stats->strangers = atomic_load(&lobby->strangers);
}

/* ---- closing */

static void empty(ipcx_listener *self)
{
    ipcx__lobby_empty(&of(self)->lobby);
}

static void shut(ipcx_listener *self)
{
    ipcx__path_release(&of(self)->path);
    ipcx__lobby_shut(&of(self)->lobby);
}

static void forked(ipcx_listener *self)
{
    ipcx__lobby_forked(&of(self)->lobby);
    ipcx__path_forget(&of(self)->path);
}

static void free_place(ipcx_listener *self, bool in_child)
{
    if (in_child) {
        empty(self); /* the memory of the parent's peers */
    }
    ipcx__lobby_end(&of(self)->lobby);
    ipcx_free(self->state);
}

#define STREAM_KIND(name, opens, lends)                                                            \
    const ipcx__listener_kind name = {                                                             \
        .open = (opens),                                                                           \
        .accept = accept_peer,                                                                     \
        .fileno = fileno_of,                                                                       \
        .lend = (lends),                                                                           \
        .count = count,                                                                            \
        .empty = empty,                                                                            \
        .shut = shut,                                                                              \
        .forked = forked,                                                                          \
        .free = free_place,                                                                        \
    }

STREAM_KIND(ipcx__listener_tcp, open_tcp, lend);
STREAM_KIND(ipcx__listener_unix, open_unix, lend);
STREAM_KIND(ipcx__listener_shm, open_shm, NULL);
