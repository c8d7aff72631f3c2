/* SPDX-License-Identifier: Apache-2.0
 * The lobby of a listener: accepting, shaking hands, dropping.
 * Invariant: a descriptor is in a slot from the instant accept4(2) gave it until it is handed out
 * or closed; the lock is taken before ipcx__own_lock. */
#include "link/stream/lobby.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/shared/chan_shm.h"
#include "link/stream/chan_stream.h"
#include "link/address/dial.h"
#include "link/admit.h"

#define OP "accept"
#define SIZE_MAX_PEERS 1024
#define SIZE_MIN_PEERS 8
#define BATCH 64
/* How long new peers are not looked at when there is no descriptor for them. */
#define MUTED_NS INT64_C(100000000)

/* Strangers get at most a quarter of the descriptors this process may open. */
static int peers_at_most(void)
{
    struct rlimit limit;
    rlim_t quarter = SIZE_MAX_PEERS;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < quarter) {
        quarter = limit.rlim_cur / 4;
    }
    return quarter < SIZE_MIN_PEERS ? SIZE_MIN_PEERS : (int)quarter;
}

ipcx_status ipcx__lobby_begin(ipcx__lobby *self, ipcx_scheme scheme,
                              const ipcx_chan_options *options, ipcx_error *err)
{
    int size = peers_at_most();
    /* One more, for a peer who has only just come. */
    ipcx__peer *slots = ipcx_alloc(((size_t)size + 1) * sizeof *slots);
    if (slots == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a listener");
    }
    *self = (ipcx__lobby){.scheme = scheme, .options = options, .slots = slots, .size = size};
    self->listening = self->epoll = self->timer = -1;
    (void)pthread_mutex_init(&self->lock, NULL);
    return IPCX_OK;
}

void ipcx__lobby_end(ipcx__lobby *self)
{
    if (!self->torn) {
        (void)pthread_mutex_destroy(&self->lock);
    }
    ipcx_free(self->slots);
    self->slots = NULL;
}

static int watch(const ipcx__lobby *self, int operation, int fd, uint32_t events, void *who)
{
    struct epoll_event event = {.events = events, .data = {.ptr = who}};
    return epoll_ctl(self->epoll, operation, fd, &event);
}

static ipcx_status failed(const ipcx__lobby *self, const char *op, ipcx_error *err)
{
    ipcx_status status = ipcx_status_from_errno(errno);
    return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, op, "%s", self->url);
}

ipcx_status ipcx__lobby_open(ipcx__lobby *self, const char *url, ipcx_error *err)
{
    self->url = url;
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (self->epoll < 0 || self->timer < 0 ||
        watch(self, EPOLL_CTL_ADD, self->listening, EPOLLIN, &self->listening) < 0 ||
        watch(self, EPOLL_CTL_ADD, self->timer, EPOLLIN, &self->timer) < 0) {
        return failed(self, "listen", err);
    }
    if (self->scheme == IPCX_SCHEME_TLS) {
        ipcx_addr own = {.len = sizeof own.u};
        (void)getsockname(self->listening, &own.u.sa, &own.len);
        ipcx__house_open(&self->house, ipcx_addr_port(&own), self->epoll, self->options->layer);
    }
    return IPCX_OK;
}

/* ---- slots */

/* A free slot; there is one, for fewer than that wait. */
static ipcx__peer *slot_take(ipcx__lobby *self)
{
    ipcx__peer *peer = self->spare;
    int used = atomic_load(&self->used);
    if (peer != NULL) {
        self->spare = peer->newer;
        return peer;
    }
    peer = &self->slots[used];
    atomic_init(&peer->fd, -1);
    atomic_init(&peer->chan, NULL);
    atomic_store(&self->used, used + 1);
    return peer;
}

static void slot_give(ipcx__lobby *self, ipcx__peer *peer)
{
    atomic_store(&peer->chan, NULL);
    atomic_store(&peer->fd, -1);
    peer->newer = self->spare;
    self->spare = peer;
}

/* ---- the queue of those who wait */

static void timer_set(ipcx__lobby *self, ipcx_deadline when)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(when / 1000000000), .tv_nsec = (long)(when % 1000000000)}};
    if (when != IPCX_FOREVER) {
        self->armed = timerfd_settime(self->timer, TFD_TIMER_ABSTIME, &at, NULL) == 0;
    }
}

static void queue_in(ipcx__lobby *self, ipcx__peer *peer)
{
    peer->until = ipcx_deadline_after(self->options->handshake_timeout);
    peer->newer = NULL;
    peer->older = self->newest;
    *(self->newest != NULL ? &self->newest->newer : &self->oldest) = peer;
    self->newest = peer;
    (void)atomic_fetch_add(&self->waiting, 1);
    if (!self->armed) {
        timer_set(self, peer->until);
    }
}

static void queue_out(ipcx__lobby *self, ipcx__peer *peer)
{
    *(peer->older != NULL ? &peer->older->newer : &self->oldest) = peer->newer;
    *(peer->newer != NULL ? &peer->newer->older : &self->newest) = peer->older;
    (void)atomic_fetch_sub(&self->waiting, 1);
    /* By hand: a copy of the descriptor in a child would keep it in the set. */
    (void)watch(self, EPOLL_CTL_DEL, atomic_load(&peer->fd), 0, NULL);
}

/* ---- one peer */

/* Out of its slot, and closed; it is in no queue. */
static void turn_away(ipcx__lobby *self, ipcx__peer *peer)
{
    ipcx_chan *chan = atomic_load(&peer->chan);
    int fd = atomic_load(&peer->fd);
    slot_give(self, peer);
    (void)atomic_fetch_add(&self->dropped, 1);
    if (chan != NULL) {
        ipcx_chan_free(chan);
    } else {
        (void)close(fd);
    }
}

static void drop(ipcx__lobby *self, ipcx__peer *peer)
{
    queue_out(self, peer);
    turn_away(self, peer);
}

static void hand_out(ipcx__lobby *self, ipcx__peer *peer, ipcx_chan **chan)
{
    *chan = atomic_load(&peer->chan);
    slot_give(self, peer);
}

/* Of a peer over TLS. INTR: once more, when the signal handlers have run. */
static ipcx_status shake_sealed(ipcx__lobby *self, ipcx_chan *chan)
{
    ipcx_status status = IPCX_OK;
    if (ipcx__chan_stream_session(chan) == NULL) {
        status = ipcx__chan_stream_attach(chan, true, NULL);
    }
    if (status == IPCX_OK) {
        status = ipcx__chan_stream_shake(chan, NULL);
        if (status == IPCX_AGAIN && ipcx__chan_stream_interrupted(chan)) {
            status = IPCX_INTR;
        }
    }
    self->interrupted = self->interrupted || status == IPCX_INTR;
    return status;
}

static ipcx_status shake(ipcx__lobby *self, ipcx_chan *chan)
{
    return self->scheme == IPCX_SCHEME_SHM   ? ipcx__chan_shm_shake(chan, NULL)
           : self->scheme == IPCX_SCHEME_TLS ? shake_sealed(self, chan)
                                             : ipcx__chan_stream_shake(chan, NULL);
}

/* What a peer that waits is watched for, after `status`. Whom a signal has interrupted may have
 * sent all it has to: it is looked at again at once, in the next round. */
static uint32_t wanted(const ipcx__lobby *self, ipcx_chan *chan, ipcx_status status)
{
    bool stuck = self->scheme == IPCX_SCHEME_TLS && ipcx__chan_stream_is_stuck(chan);
    return stuck || status == IPCX_INTR ? EPOLLIN | EPOLLOUT : EPOLLIN;
}

/* Something came from a peer that waits. */
static ipcx_status advance(ipcx__lobby *self, ipcx__peer *peer, ipcx_chan **chan)
{
    ipcx_chan *its = atomic_load(&peer->chan);
    ipcx_status status;
    if (its == NULL) {
        return IPCX_MORE; /* dropped in this very round */
    }
    status = shake(self, its);
    if (status == IPCX_OK) {
        queue_out(self, peer);
        hand_out(self, peer, chan);
        return IPCX_OK;
    }
    if (status != IPCX_AGAIN && status != IPCX_INTR) {
        (void)atomic_fetch_add(&self->strangers, status == IPCX_AUTH);
        drop(self, peer);
    } else if (self->scheme == IPCX_SCHEME_TLS) {
        (void)watch(self, EPOLL_CTL_MOD, atomic_load(&peer->fd), wanted(self, its, status), peer);
    }
    return IPCX_MORE;
}

/* Just accepted, with its channel made. */
static ipcx_status greet(ipcx__lobby *self, ipcx__peer *peer, ipcx_chan **chan, ipcx_error *err)
{
    ipcx_status status = shake(self, atomic_load(&peer->chan));
    if (status == IPCX_OK) {
        hand_out(self, peer, chan);
        return IPCX_OK;
    }
    if (status != IPCX_AGAIN && status != IPCX_INTR) {
        (void)atomic_fetch_add(&self->strangers, status == IPCX_AUTH);
        turn_away(self, peer);
        return IPCX_MORE;
    }
    if (watch(self, EPOLL_CTL_ADD, atomic_load(&peer->fd),
              wanted(self, atomic_load(&peer->chan), status), peer) < 0) {
        status = failed(self, OP, err);
        turn_away(self, peer);
        return status;
    }
    queue_in(self, peer);
    if (atomic_load(&self->waiting) > (uint64_t)self->size) {
        drop(self, self->oldest);
    }
    return IPCX_MORE;
}

/* ---- new ones */

/* accept4(2) into a slot, so that no child is forked in between. < 0: errno. */
static int accept_into(ipcx__lobby *self, ipcx__peer *peer, ipcx_addr *addr)
{
    int fd;
    addr->len = sizeof addr->u;
    ipcx__own_lock();
    fd = accept4(self->listening, &addr->u.sa, &addr->len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    atomic_store(&peer->fd, fd);
    ipcx__own_unlock();
    return fd;
}

static ipcx_status make_channel(ipcx__lobby *self, ipcx__peer *peer, const ipcx_addr *addr,
                                ipcx_error *err)
{
    char text[IPCX_URL_MAX];
    int fd = atomic_load(&peer->fd);
    ipcx_chan *made;
    ipcx_status status;
    if (ipcx__is_tcp(self->scheme)) {
        ipcx__stream_url(self->scheme, false, addr, text);
    }
    if (self->scheme == IPCX_SCHEME_SHM) {
        status = ipcx__chan_shm_accept(fd, self->url, self->options, &made, err);
    } else {
        status = ipcx__chan_stream_make(self->scheme, fd, fd,
                                        ipcx__is_tcp(self->scheme) ? text : self->url,
                                        self->options, &made, err);
    }
    if (status == IPCX_OK) {
        atomic_store(&peer->chan, made);
        if (self->options->authkey != NULL) {
            status = ipcx__chan_stream_guard(made, true, self->options->authkey,
                                             self->options->authkey_size, err);
        }
    }
    if (status == IPCX_OK && self->scheme == IPCX_SCHEME_TLS && self->options->layer == NULL) {
        status = ipcx__chan_stream_attach(made, true, err); /* says so */
    }
    return status;
}

/* There is no descriptor for a new peer: one of a silent peer's is taken. Where there is none, the
 * program has them all; so that nobody spins until it closes one, we look away for a moment. */
static ipcx_status crowded(ipcx__lobby *self, ipcx_error *err)
{
    ipcx_status status;
    if (self->oldest != NULL) {
        drop(self, self->oldest);
        return IPCX_MORE;
    }
    status = failed(self, OP, err);
    if (watch(self, EPOLL_CTL_MOD, self->listening, 0, &self->listening) == 0) {
        self->muted = true;
        timer_set(self, ipcx_deadline_after(MUTED_NS));
    }
    return status;
}

/* After accept4(2) has failed. Errors of the connection that was to be are its own affair:
 * accept(2), "Error handling". OK: try the next. */
static ipcx_status not_accepted(ipcx__lobby *self, ipcx_error *err)
{
    switch (errno) {
    case EAGAIN:
        return IPCX_MORE;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return crowded(self, err);
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        return failed(self, OP, err);
    default:
        return IPCX_OK;
    }
}

static ipcx_status welcome(ipcx__lobby *self, ipcx_chan **chan, ipcx_error *err)
{
    for (int i = 0; i < BATCH; i++) {
        ipcx__peer *peer;
        ipcx_addr addr;
        unsigned uid;
        ipcx_status status;
        peer = slot_take(self);
        if (accept_into(self, peer, &addr) < 0) {
            slot_give(self, peer);
            status = not_accepted(self, err);
            if (status != IPCX_OK) {
                return status;
            }
            continue;
        }
        if (!ipcx__is_tcp(self->scheme) &&
            !ipcx__admit_user(atomic_load(&peer->fd), self->options, &uid)) {
            (void)atomic_fetch_add(&self->strangers, 1);
            ipcx__admit_refuse(atomic_load(&peer->fd));
            turn_away(self, peer);
            continue;
        }
        status = make_channel(self, peer, &addr, err);
        if (status != IPCX_OK) {
            turn_away(self, peer);
            return status;
        }
        status = greet(self, peer, chan, err);
        if (status != IPCX_MORE) {
            return status;
        }
    }
    return IPCX_MORE;
}

/* ---- the clock */

static void timer_rang(ipcx__lobby *self)
{
    uint64_t times;
    (void)!read(self->timer, &times, sizeof times);
    self->armed = false;
    if (self->muted &&
        watch(self, EPOLL_CTL_MOD, self->listening, EPOLLIN, &self->listening) == 0) {
        self->muted = false;
    }
    while (self->oldest != NULL && ipcx_deadline_left(self->oldest->until) == 0) {
        drop(self, self->oldest);
    }
    if (self->oldest != NULL) {
        timer_set(self, self->oldest->until);
    }
}

static bool is_peer(const ipcx__lobby *self, const void *who)
{
    const ipcx__peer *peer = who;
    return peer >= self->slots && peer <= self->slots + self->size;
}

ipcx_status ipcx__lobby_round(ipcx__lobby *self, ipcx_chan **chan, ipcx_error *err)
{
    struct epoll_event events[BATCH];
    ipcx_status status;
    int n;
    (void)pthread_mutex_lock(&self->lock);
    n = epoll_wait(self->epoll, events, BATCH, 0);
    status = n == 0 ? IPCX_AGAIN : IPCX_MORE;
    if (n < 0 && errno != EINTR) {
        status = failed(self, OP, err);
    }
    for (int i = 0; i < n && status == IPCX_MORE; i++) {
        void *who = events[i].data.ptr;
        if (who == &self->listening) {
            status = welcome(self, chan, err);
        } else if (who == &self->timer) {
            timer_rang(self);
        } else if (is_peer(self, who)) {
            status = advance(self, who, chan);
        } else {
            (void)ipcx__house_serve(&self->house, who, &self->interrupted);
        }
    }
    if (status == IPCX_MORE && self->interrupted) {
        status = IPCX_INTR;
    }
    self->interrupted = self->interrupted && status != IPCX_INTR;
    (void)pthread_mutex_unlock(&self->lock);
    return status;
}

/* ---- the end */

void ipcx__lobby_empty(ipcx__lobby *self)
{
    if (self->torn) {
        return; /* better lost than freed while it was half changed */
    }
    while (self->oldest != NULL) {
        drop(self, self->oldest);
    }
}

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

void ipcx__lobby_shut(ipcx__lobby *self)
{
    ipcx__house_close(&self->house);
    shut(&self->listening);
    shut(&self->epoll);
    shut(&self->timer);
}

void ipcx__lobby_forked(ipcx__lobby *self)
{
    int used = atomic_load(&self->used);
    self->torn = pthread_mutex_trylock(&self->lock) != 0;
    if (!self->torn) {
        (void)pthread_mutex_unlock(&self->lock);
    }
    for (int i = 0; i < used; i++) {
        ipcx_chan *chan = atomic_load(&self->slots[i].chan);
        int fd = atomic_load(&self->slots[i].fd);
        if (chan != NULL) {
            chan->hung_up = true;
            chan->transport->hang_up(chan);
        } else if (fd >= 0) {
            (void)close(fd);
        }
    }
    ipcx__lobby_shut(self);
}
