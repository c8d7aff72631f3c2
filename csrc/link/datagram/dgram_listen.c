/* SPDX-License-Identifier: Apache-2.0
 * Listening at a UDP port.
 * A listener's socket is exclusive: it is bound with SO_REUSEADDR, so that channels of a listener
 * before may still be at the port, and without it from then on, but for the instant in which a
 * channel's own socket is bound beside it.
 * Invariant: whatever comes to either socket around that instant is kept for whom it is from. */
#include "link/datagram/dgram_listen.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/datagram/chan_dgram.h"
#include "link/datagram/dgram_table.h"
#include "link/datagram/udp.h"
#include "link/address/url.h"
#include "os/gate.h"
#include "os/holder.h"
#include "wire/datagram.h"

#define OP "accept"
#define AT_ONCE 4096 /* datagrams that one call looks at */

struct ipcx__dgram_listener {
    const char *url; /* the listener's */
    const ipcx_chan_options *options;
    ipcx_url where;
    int fd, bell, epoll; /* -1: none */
    bool group, everywhere;
    bool rung;            /* the bell is up while somebody waits in the table */
    pthread_mutex_t lock; /* guards the rest; never held while sleeping */
    ipcx__dgram_table table;
    _Atomic uint64_t waiting, dropped;
    uint8_t room[IPCX__DATAGRAM_MAX + 1];
};

/* ---- making one */

static bool set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static ipcx_status failed(const ipcx__dgram_listener *self, const char *op, ipcx_error *err)
{
    return ipcx_error_system(err, errno, op, "%s", self->url);
}

ipcx_status ipcx__dgram_listen_begin(const ipcx_url *url, const char *text,
                                     const ipcx_chan_options *options, ipcx__dgram_listener **made,
                                     ipcx_error *err)
{
    ipcx__dgram_listener *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a listener");
    }
    memset(self, 0, sizeof *self);
    self->url = text;
    self->options = options;
    self->where = *url;
    self->fd = self->bell = self->epoll = -1;
    (void)pthread_mutex_init(&self->lock, NULL);
    ipcx__dgram_table_begin(&self->table, options->backlog, options->max_backlog);
    *made = self;
    return IPCX_OK;
}

/* Binds; the descriptor is the listener's, whatever comes out. */
static ipcx_status bind_at(ipcx__dgram_listener *self, ipcx_addr *addr, ipcx_error *err)
{
    bool six = addr->u.sa.sa_family == AF_INET6;
    ipcx_status status = ipcx__udp_open(addr, &self->fd, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->group = ipcx__udp_is_group(addr);
    self->everywhere = six ? IN6_IS_ADDR_UNSPECIFIED(&addr->u.in6.sin6_addr)
                           : addr->u.in.sin_addr.s_addr == htonl(INADDR_ANY);
    if ((six && !set(self->fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) ||
        !set(self->fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
        (self->everywhere && six && !set(self->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)) ||
        (self->everywhere && !six && !set(self->fd, IPPROTO_IP, IP_PKTINFO, 1)) ||
        bind(self->fd, &addr->u.sa, addr->len) < 0 ||
        (!self->group && !set(self->fd, SOL_SOCKET, SO_REUSEADDR, 0))) {
        return failed(self, "listen", err);
    }
    if (self->group) {
        return ipcx__udp_join(self->fd, addr, &self->where, err);
    }
    addr->len = sizeof addr->u;
    return getsockname(self->fd, &addr->u.sa, &addr->len) == 0 ? IPCX_OK
                                                               : failed(self, "listen", err);
}

static bool watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static ipcx_status open_rest(ipcx__dgram_listener *self, ipcx_error *err)
{
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    return self->bell >= 0 && self->epoll >= 0 && watch(self->epoll, self->fd) &&
                   watch(self->epoll, self->bell)
               ? IPCX_OK
               : failed(self, "listen", err);
}

static ipcx_status taken(const ipcx__dgram_listener *self, const char *text, int error,
                         ipcx_error *err)
{
    bool listens;
    int pid = ipcx__udp_holder(self->where.port, &listens);
    return pid > 0 ? ipcx__url_fail(err, IPCX_ADDRESS_IN_USE, error, "listen", text,
                                    listens ? "process %d listens" : "process %d has the port", pid)
                   : ipcx_error_set(err, IPCX_ADDRESS_IN_USE, error, "listen", "%s", text);
}

static ipcx_status bind_any(ipcx__dgram_listener *self, char *text, ipcx_error *err)
{
    ipcx__addresses found;
    ipcx_error why = {0};
    ipcx_status status = ipcx__dgram_resolve(&self->where, text, true, &found, err);
    if (status != IPCX_OK) {
        return status;
    }
    for (int i = 0; i < found.count; i++) {
        if (!ipcx__udp_is_private(&found.at[i], &self->where) && !self->options->insecure) {
            return ipcx__url_fail(err, IPCX_INSECURE, EACCES, "listen", text,
                                  "others can reach it; use %s, or say insecure=True",
                                  ipcx__udp_is_group(&found.at[i]) ? "?if=lo" : "127.0.0.1");
        }
        status = bind_at(self, &found.at[i], &why);
        if (status == IPCX_OK && self->where.name[0] == '\0') {
            (void)snprintf(text, IPCX_URL_MAX, "udp://*:%d", ipcx_addr_port(&found.at[i]));
        } else if (status == IPCX_OK && !self->group) {
            ipcx__udp_url(&found.at[i], text);
        }
        if (status == IPCX_OK ||
            (why.sys_errno != EADDRNOTAVAIL && why.sys_errno != EAFNOSUPPORT)) {
            break;
        }
        if (self->fd >= 0) {
            (void)close(self->fd);
            self->fd = -1;
        }
    }
    if (status == IPCX_ADDRESS_IN_USE) {
        return taken(self, text, why.sys_errno, err);
    }
    return status == IPCX_OK ? status
                             : ipcx_error_set(err, status, why.sys_errno, "listen", "%s", text);
}

ipcx_status ipcx__dgram_listen(ipcx__dgram_listener *self, char *text, ipcx_error *err)
{
    ipcx_status status = bind_any(self, text, err);
    return status == IPCX_OK ? open_rest(self, err) : status;
}

/* ---- what comes, under the lock */

/* Where the datagram was sent to, on a socket that is everywhere: the answer must come from there.
 */
static void local_address(struct msghdr *header, ipcx_addr *at)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            *at = (ipcx_addr){.len = sizeof at->u.in};
            at->u.in.sin_family = AF_INET;
            at->u.in.sin_addr = info.ipi_addr;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            *at = (ipcx_addr){.len = sizeof at->u.in6};
            at->u.in6.sin6_family = AF_INET6;
            at->u.in6.sin6_addr = info.ipi6_addr;
            if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) {
                at->u.in6.sin6_scope_id = info.ipi6_ifindex;
            }
        }
    }
}

static void sort(ipcx__dgram_listener *self, size_t size, const ipcx_addr *from,
                 const ipcx_addr *at)
{
    ipcx__datagram frame;
    ipcx__dgram_caller *caller;
    int gone = 0;
    if (!ipcx__datagram_parse(self->room, size, IPCX__DATAGRAM_PAYLOAD, &frame)) {
        (void)atomic_fetch_add(&self->dropped, 1);
        return;
    }
    caller = ipcx__dgram_table_find(&self->table, from, frame.from);
    if (caller == NULL) {
        if (ipcx__dgram_table_knows(&self->table, from, frame.from)) {
            return; /* it has, or had, a channel of its own */
        }
        if (frame.to != 0 || frame.type == IPCX_FRAME_ACK || frame.type == IPCX_FRAME_PONG) {
            (void)atomic_fetch_add(&self->dropped, 1); /* for somebody who was here before us */
            return;
        }
        caller = ipcx__dgram_table_add(&self->table, from, frame.from, &gone);
        (void)atomic_fetch_add(&self->dropped, (unsigned)gone);
        if (caller == NULL) {
            return; /* as if it had been lost on the way */
        }
        caller->at = *at;
    }
    if (frame.type != IPCX_FRAME_PING) {
        (void)ipcx__dgram_table_keep(&self->table, caller, self->room, size);
    }
}

/* OK: a datagram was looked at. AGAIN: there is none. */
static ipcx_status take_one(ipcx__dgram_listener *self, int fd, ipcx_error *err)
{
    union {
        struct cmsghdr header;
        char room[256];
    } control;
    ipcx_addr from = {0}, at = {0};
    struct iovec piece = {self->room, sizeof self->room};
    struct msghdr header = {.msg_name = &from.u,
                            .msg_namelen = sizeof from.u,
                            .msg_iov = &piece,
                            .msg_iovlen = 1,
                            .msg_control = control.room,
                            .msg_controllen = sizeof control.room};
    ssize_t size = recvmsg(fd, &header, MSG_DONTWAIT);
    if (size < 0) {
        return errno == EAGAIN                           ? IPCX_AGAIN
               : errno == EINTR || errno == ECONNREFUSED ? IPCX_OK
                                                         : failed(self, OP, err);
    }
    from.len = header.msg_namelen;
    local_address(&header, &at);
    sort(self, (size_t)size, &from, &at);
    return IPCX_OK;
}

static ipcx_status take_all(ipcx__dgram_listener *self, int fd, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    for (int i = 0; i < AT_ONCE && status == IPCX_OK; i++) {
        status = take_one(self, fd, err);
    }
    return status == IPCX_AGAIN ? IPCX_OK : status;
}

/* ---- a channel for who waits */

/* A socket bound where the listener is, or where the peer wrote to, and connected to the peer. */
static ipcx_status open_for(ipcx__dgram_listener *self, const ipcx__dgram_caller *caller, int *fd,
                            ipcx_error *err)
{
    ipcx_addr own = {.len = sizeof own.u};
    bool bound;
    ipcx_status status;
    if (getsockname(self->fd, &own.u.sa, &own.len) < 0) {
        return failed(self, OP, err);
    }
    if (caller->at.len != 0) {
        in_port_t port = own.u.in.sin_port; /* in the same place of both kinds */
        own = caller->at;
        own.u.in.sin_port = port;
    }
    status = ipcx__udp_open(&own, fd, err);
    if (status != IPCX_OK) {
        return status;
    }
    bound = set(*fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
            (own.u.sa.sa_family == AF_INET || set(*fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) &&
            set(self->fd, SOL_SOCKET, SO_REUSEADDR, 1) && bind(*fd, &own.u.sa, own.len) == 0;
    if (!bound || connect(*fd, &caller->from.u.sa, caller->from.len) < 0) {
        status = failed(self, OP, err);
    }
    if (!self->group) {
        (void)set(self->fd, SOL_SOCKET, SO_REUSEADDR, 0);
    } else if (status == IPCX_OK) {
        status = ipcx__udp_join(*fd, &own, &self->where, err);
    }
    if (status != IPCX_OK) {
        (void)close(*fd);
    }
    return status;
}

static ipcx_status hand_out(ipcx__dgram_listener *self, ipcx__dgram_caller *caller,
                            ipcx_chan **chan, ipcx_error *err)
{
    ipcx__dgram_role role = {.peer = caller->epoch,
                             .accepted = true,
                             .group = self->group,
                             .sends = !self->group,
                             .receives = true};
    char text[IPCX_URL_MAX];
    int fd;
    ipcx_status status = ipcx__dgram_epoch(&role.epoch, err);
    if (status == IPCX_OK) {
        status = open_for(self, caller, &fd, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    ipcx__udp_url(&caller->from, text);
    status = ipcx__chan_dgram_make(fd, &role, text, self->options, chan, err);
    if (status != IPCX_OK) {
        (void)close(fd);
        return status;
    }
    /* What came before the new socket was the peer's own; and what came to it and was not. */
    (void)take_all(self, self->fd, NULL);
    (void)take_all(self, fd, NULL);
    for (ipcx__dgram_letter *at = caller->first; at != NULL; at = at->next) {
        ipcx__chan_dgram_feed(*chan, at->bytes, at->size);
    }
    ipcx__dgram_table_know(&self->table, &caller->from, caller->epoch);
    ipcx__dgram_table_remove(&self->table, caller);
    ipcx__chan_dgram_say(*chan, IPCX_FRAME_PONG);
    return IPCX_OK;
}

/* One look. AGAIN: nobody is there. */
static ipcx_status look(ipcx__dgram_listener *self, ipcx_chan **chan, ipcx_error *err)
{
    uint64_t count = 1;
    ipcx_status status;
    (void)pthread_mutex_lock(&self->lock);
    status = self->table.oldest == NULL ? take_all(self, self->fd, err) : IPCX_OK;
    (void)atomic_fetch_add(&self->dropped, (unsigned)ipcx__dgram_table_age(&self->table));
    if (status == IPCX_OK) {
        status =
            self->table.oldest != NULL ? hand_out(self, self->table.oldest, chan, err) : IPCX_AGAIN;
    }
    atomic_store(&self->waiting, (uint64_t)self->table.count);
    if (self->rung != (self->table.oldest != NULL)) {
        self->rung = !self->rung;
        (void)!(self->rung ? write(self->bell, &count, sizeof count)
                           : read(self->bell, &count, sizeof count));
    }
    (void)pthread_mutex_unlock(&self->lock);
    return status;
}

ipcx_status ipcx__dgram_accept(ipcx__dgram_listener *self, ipcx_gate *gate, ipcx_chan **chan,
                               ipcx_deadline deadline, ipcx_error *err)
{
    for (;;) {
        ipcx_status status = look(self, chan, err);
        if (status != IPCX_AGAIN || deadline == IPCX_NOW) {
            return status;
        }
        status = ipcx__gate_poll(gate, self->epoll, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

int ipcx__dgram_listener_fileno(const ipcx__dgram_listener *self)
{
    return self->epoll;
}

void ipcx__dgram_count(ipcx__dgram_listener *self, ipcx_listener_stats *stats)
{
    stats->dropped = atomic_load(&self->dropped);
    stats->waiting = atomic_load(&self->waiting);
}

/* ---- the end */

void ipcx__dgram_empty(ipcx__dgram_listener *self)
{
    ipcx__datagram bye = {.type = IPCX_FRAME_BYE, .sequence = 1};
    uint8_t head[IPCX__DATAGRAM_HEAD];
    if (self->fd >= 0 && self->epoll >= 0 && !self->group) {
        (void)take_all(self, self->fd, NULL);
    }
    while (self->table.oldest != NULL) {
        const ipcx__dgram_caller *caller = self->table.oldest;
        bye.to = caller->epoch;
        if (self->fd >= 0 && !self->group && ipcx__dgram_epoch(&bye.from, NULL) == IPCX_OK) {
            size_t size = ipcx__datagram_head(&bye, head);
            (void)!sendto(self->fd, head, size, MSG_DONTWAIT | MSG_NOSIGNAL, &caller->from.u.sa,
                          caller->from.len);
        }
        ipcx__dgram_table_remove(&self->table, self->table.oldest);
    }
    atomic_store(&self->waiting, 0);
}

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

void ipcx__dgram_shut(ipcx__dgram_listener *self)
{
    shut(&self->epoll);
    shut(&self->bell);
    shut(&self->fd);
}

void ipcx__dgram_free(ipcx__dgram_listener *self)
{
    while (self->table.oldest != NULL) {
        ipcx__dgram_table_remove(&self->table, self->table.oldest);
    }
    ipcx_free(self);
}
