/* SPDX-License-Identifier: Apache-2.0
 * A mux as a whole: opened, asked for what has happened.
 * Invariant: in a child of fork(2) its descriptors are closed, and every verb answers FORKED. */
#include "ipcx/mux.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/chan.h"
#include "link/listener.h"
#include "link/mux/mux_parts.h"
#include "link/stream/chan_stream.h"
#include "os/gate.h"
#include "wire/hello.h"

#define OP "next"
/* So many rounds without an event, and next gives the program's signal handlers a chance: strangers
 * that come without end must not keep Ctrl-C out. */
#define ROUNDS 64
#define SECOND INT64_C(1000000000)
/* How long who was refused is silent before it is left: longer than one who goes on to speak pauses
 * between two messages. If it does so later, it is told by a reset, behind what it has got. */
#define PARTING_NS (SECOND / 10)

/* ---- making one */

/* Async-signal-safe; `peers` is whole, for it changes under ipcx__own_lock. */
static void forked(ipcx__own *own)
{
    ipcx_mux *self = (ipcx_mux *)(void *)own;
    self->torn = pthread_mutex_trylock(&self->lock) != 0;
    if (!self->torn) {
        (void)pthread_mutex_unlock(&self->lock);
    }
    for (size_t i = 0; i < self->peer_count; i++) {
        (void)close(self->peers[i]->fd);
        self->peers[i]->fd = -1;
    }
    self->peer_count = 0;
    (void)close(self->epoll);
    (void)close(self->timer);
    (void)close(self->bell);
    self->epoll = self->timer = self->bell = -1;
}

static ipcx_status fill(const ipcx_mux_options *given, ipcx_mux_options *filled, ipcx_error *err)
{
    ipcx_mux_options all = given != NULL ? *given : (ipcx_mux_options){0};
    ipcx_status status = ipcx__chan_options_fill(&all.channel, &all.channel, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (all.idle_timeout < 0 || all.progress_timeout < 0 || all.close_timeout < 0 ||
        (unsigned)all.on_full > IPCX_MUX_DROP_OLDEST) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "options",
                              "a time is negative, or on_full is no rule there is");
    }
    all.max_memory = all.max_memory != 0 ? all.max_memory : ipcx__mux_memory_sane();
    all.max_peers = all.max_peers != 0 ? all.max_peers : 10000;
    all.progress_timeout = all.progress_timeout != 0 ? all.progress_timeout : 30 * SECOND;
    all.close_timeout = all.close_timeout != 0 ? all.close_timeout : 5 * SECOND;
    *filled = all;
    return IPCX_OK;
}

static ipcx_status make_hello(ipcx_mux *self, ipcx_error *err)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__BEFORE_HELLO};
    ipcx__hello hello = {.max_version = IPCX_FRAME_VERSION,
                         .max_message = (uint32_t)self->options.channel.max_message};
    self->hello_size = ipcx__hello_frame(&hello, self->options.channel.checksum, self->hello);
    return ipcx_decoder_init(&self->decoder, &framing, err);
}

static ipcx_status watch(ipcx_mux *self, int fd, void *who, ipcx_error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = who}};
    return epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &event) == 0
               ? IPCX_OK
               : ipcx_error_system(err, errno, "listen", "cannot wait for peers");
}

static ipcx_status open_doors(ipcx_mux *self, const char *const *urls, size_t count,
                              ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    for (size_t i = 0; i < count && status == IPCX_OK; i++) {
        ipcx__door *door = &self->doors[i];
        *door = (ipcx__door){.fd = -1, .guests = -1};
        status = ipcx__listener_lends(urls[i], err);
        if (status == IPCX_OK) {
            status = ipcx_listen(urls[i], &self->options.channel, &door->listener, err);
        }
        if (status == IPCX_OK) {
            self->door_count = i + 1;
            status = ipcx__listener_lend(door->listener, &door->scheme, &door->fd, err);
        }
        if (status == IPCX_OK) {
            status = watch(self, door->fd, door, err);
        }
        if (status == IPCX_OK && door->scheme == IPCX_SCHEME_TLS) {
            status = ipcx_listener_fileno(door->listener, &door->guests, err);
            if (status == IPCX_OK) {
                status = watch(self, door->guests, &door->guests, err);
            }
        }
    }
    return status;
}

static ipcx_status open_all(ipcx_mux *self, const char *const *urls, size_t count, ipcx_error *err)
{
    ipcx_status status;
    self->doors = ipcx_alloc(count * sizeof *self->doors);
    self->ready = ipcx_alloc(IPCX__MUX_READY * sizeof *self->ready);
    if (self->doors == NULL || self->ready == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a server");
    }
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->epoll < 0 || self->timer < 0 || self->bell < 0) {
        return ipcx_error_system(err, errno, "listen", "no descriptor to wait with");
    }
    status = watch(self, self->timer, &self->timer, err);
    if (status == IPCX_OK) {
        status = watch(self, self->bell, &self->bell, err);
    }
    return status == IPCX_OK ? open_doors(self, urls, count, err) : status;
}

/* A layer's functions may run signal handlers, with the lock held. */
static void make_lock(ipcx_mux *self, bool layered)
{
    pthread_mutexattr_t how;
    (void)pthread_mutexattr_init(&how);
    (void)pthread_mutexattr_settype(&how, layered ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_NORMAL);
    (void)pthread_mutex_init(&self->lock, &how);
    (void)pthread_mutexattr_destroy(&how);
}

ipcx_status ipcx_mux_open(const char *const *urls, size_t count, const ipcx_mux_options *options,
                          ipcx_mux **mux, ipcx_error *err)
{
    ipcx_mux *self = ipcx_alloc(sizeof *self);
    ipcx_status status;
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a server");
    }
    *self = (ipcx_mux){.own = {.forked = forked},
                       .made_in = ipcx__fork_generation(),
                       .owner_pid = (int)getpid(),
                       .epoll = -1,
                       .timer = -1,
                       .bell = -1,
                       .armed = IPCX_FOREVER,
                       .muted_until = IPCX_FOREVER};
    make_lock(self, options != NULL && options->channel.layer != NULL);
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_LISTENERS, &self->own);
    ipcx__own_unlock();
    status = count == 0 ? ipcx_error_set(err, IPCX_INVALID, 0, "listen", "no URL to listen at")
                        : fill(options, &self->options, err);
    if (status == IPCX_OK) {
        self->greeting.span = self->options.channel.handshake_timeout;
        self->idle.span = self->options.idle_timeout;
        self->midway.span = self->options.progress_timeout;
        self->leaving.span = self->options.close_timeout;
        self->parting.span = PARTING_NS;
        if (self->options.channel.vanish_timeout != IPCX_FOREVER) {
            self->rarely.span = self->options.channel.vanish_timeout / 3 * 2;
            self->often.span = self->options.channel.vanish_timeout / 15;
        }
        status = make_hello(self, err);
    }
    if (status == IPCX_OK) {
        status = open_all(self, urls, count, err);
    }
    if (status != IPCX_OK) {
        ipcx_mux_free(self);
        return status;
    }
    /* What was borrowed for the call: the listener has copies, and is there as long as we are. */
    self->options.channel = *ipcx__listener_options(self->doors[0].listener);
    *mux = self;
    return IPCX_OK;
}

const char *ipcx_mux_url(const ipcx_mux *mux, size_t index)
{
    return index < mux->door_count ? ipcx_listener_url(mux->doors[index].listener) : NULL;
}

/* ---- using it */

ipcx_status ipcx__mux_enter_gate(ipcx_mux *self, const char *op, ipcx_error *err)
{
    if (self->made_in != ipcx__fork_generation()) {
        return ipcx_error_set(err, IPCX_FORKED, 0, op, "process %d serves here", self->owner_pid);
    }
    if (!ipcx__gate_enter(&self->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "the server is closed");
    }
    return IPCX_OK;
}

/* Who wants in; or, shown by the middle of a door, an end of this process whose handshake needs us
 * (link/stream/guest.h). */
static ipcx_status at_door(ipcx_mux *self, void *who, ipcx_error *err)
{
    ipcx_chan *nobody;
    ipcx_status status;
    for (size_t i = 0; i < self->door_count; i++) {
        if (who == &self->doors[i].guests) {
            ipcx__mux_step_in(self);
            status = ipcx_listener_accept(self->doors[i].listener, &nobody, IPCX_NOW, NULL);
            ipcx__mux_step_out(self);
            self->within.interrupted = self->within.interrupted || status == IPCX_INTR;
            return IPCX_OK;
        }
    }
    return ipcx__mux_welcome(self, who, err);
}

/* What epoll shows of one. MORE: the batch is full. INTR: somebody rang. */
static ipcx_status look_at(ipcx_mux *self, const struct epoll_event *event, ipcx_error *err)
{
    void *who = event->data.ptr;
    ipcx_mux_peer *peer = who;
    ipcx_status status = IPCX_OK;
    if (who == &self->timer) {
        ipcx__mux_rang(self);
        return IPCX_OK;
    }
    if (who == &self->bell) {
        uint64_t times;
        (void)!read(self->bell, &times, sizeof times);
        return IPCX_INTR;
    }
    if ((ipcx__door *)who >= self->doors && (ipcx__door *)who < self->doors + self->door_count) {
        return at_door(self, who, err);
    }
    if (peer->stage == IPCX__GONE) {
        return IPCX_OK; /* in this very round */
    }
    if (event->events & EPOLLOUT) {
        ipcx__mux_flush(peer);
    }
    if (peer->stage == IPCX__DOOMED) {
        ipcx__mux_leave(peer, peer->why, peer->reason);
    } else if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        status = ipcx__mux_receive(peer);
        ipcx__mux_spare(self);
    }
    return status;
}

/* Who has left is told last: what it had sent comes before. */
static void announce(ipcx_mux *self)
{
    for (ipcx_mux_peer *peer = self->gone; peer != NULL; peer = peer->next_gone) {
        ipcx_mux_event *event = peer->announced ? NULL : ipcx__mux_event_add(self);
        if (event != NULL) {
            *event = (ipcx_mux_event){.kind = IPCX_MUX_LEFT, .peer = peer, .why = peer->why};
            peer->announced = true;
        }
    }
}

/* The batch that was lent is over. */
static void clear(ipcx_mux *self)
{
    while (self->spent != NULL) {
        ipcx__held *held = self->spent;
        self->spent = held->next;
        ipcx__held_free(self, held);
    }
    self->event_count = 0;
    self->scratch_used = 0;
}

/* epoll_wait(2) with the deadline; *n of them are ready. */
static ipcx_status sleep_until(ipcx_mux *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__sleeper sleeper;
    int64_t left = ipcx_deadline_left(deadline);
    int n = 0, ms = -1, why;
    if (deadline != IPCX_FOREVER) {
        int64_t rounded = left / 1000000 + (left % 1000000 != 0);
        ms = rounded < 1000000000 ? (int)rounded : 1000000000;
    }
    if (ms == 0 || ipcx__gate_sleep(&self->gate, &sleeper)) {
        n = epoll_wait(self->epoll, self->ready, IPCX__MUX_READY, ms);
    }
    why = n < 0 ? errno : 0;
    if (ms != 0) {
        ipcx__gate_wake_up(&self->gate, &sleeper);
    }
    if (ipcx__gate_is_closed(&self->gate)) {
        return ipcx__gate_closed(OP, err);
    }
    if (why != 0) {
        return why == EINTR ? IPCX_INTR : ipcx_error_system(err, why, OP, "epoll_wait");
    }
    self->ready_at = 0;
    self->ready_count = n;
    return n > 0 ? IPCX_OK : deadline == IPCX_NOW ? IPCX_AGAIN : IPCX_TIMEOUT;
}

static void ring(ipcx_mux *self)
{
    const uint64_t once = 1;
    (void)!write(self->bell, &once, sizeof once);
}

/* Looks at all who are ready. The lock is let go of in between: senders want it too. */
static ipcx_status serve(ipcx_mux *self, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    while (self->ready_at < self->ready_count && status == IPCX_OK) {
        if (self->event_count == 0) {
            self->scratch_used = 0; /* nothing is lent: what came were halves */
        }
        (void)pthread_mutex_lock(&self->lock);
        status = look_at(self, &self->ready[self->ready_at], err);
        (void)pthread_mutex_unlock(&self->lock);
        self->ready_at += status != IPCX_MORE;
    }
    if (status == IPCX_MORE && self->options.channel.layer != NULL) {
        ring(self); /* what a layer holds back, no descriptor shows */
    }
    (void)pthread_mutex_lock(&self->lock);
    announce(self);
    if (status == IPCX_OK && self->within.interrupted) {
        status = IPCX_INTR;
    }
    self->within.interrupted = false;
    (void)pthread_mutex_unlock(&self->lock);
    if (self->event_count > 0) {
        return IPCX_OK; /* whatever is wrong, the next call finds it again */
    }
    return status == IPCX_NOMEM ? ipcx_error_set(err, status, ENOMEM, OP, "no memory for a batch")
                                : status;
}

/* Peers in this very process, whose connecting ends wait for our proof. */
static void help(ipcx_mux *self)
{
    bool layered = self->options.channel.layer != NULL;
    if (layered) {
        (void)pthread_mutex_lock(&self->lock);
        ipcx__mux_step_in(self);
    }
    (void)ipcx__chan_stream_help();
    if (layered) {
        ipcx__mux_step_out(self);
        (void)pthread_mutex_unlock(&self->lock);
    }
}

/* One round: MORE: nothing for the program in it. */
static ipcx_status round_of(ipcx_mux *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    if (self->ready_at >= self->ready_count) {
        (void)pthread_mutex_lock(&self->lock);
        ipcx__mux_greet_all(self); /* before the bury: who has left meanwhile is among them */
        ipcx__mux_bury(self, false);
        (void)pthread_mutex_unlock(&self->lock);
        if (self->options.channel.authkey != NULL) {
            help(self);
        }
        status = sleep_until(self, deadline, err);
    }
    if (status == IPCX_OK) {
        status = serve(self, err);
    }
    return status == IPCX_OK && self->event_count == 0 ? IPCX_MORE : status;
}

ipcx_status ipcx_mux_next(ipcx_mux *mux, const ipcx_mux_event **events, size_t *count,
                          ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__mux_enter_gate(mux, OP, err);
    int rounds = 0;
    if (status == IPCX_OK && ipcx__mux_within(mux)) {
        ipcx__gate_leave(&mux->gate);
        return ipcx_error_set(err, IPCX_DEADLOCK, 0, OP,
                              "a signal handler that came while TLS was at work cannot receive");
    }
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__turn_take_by(&mux->turn, &mux->gate, deadline, err);
    if (status != IPCX_OK) {
        ipcx__gate_leave(&mux->gate);
        return status;
    }
    do {
        status = rounds++ < ROUNDS ? round_of(mux, deadline, err) : IPCX_INTR;
    } while (status == IPCX_MORE);
    if (status == IPCX_OK) {
        *events = mux->events;
        *count = mux->event_count;
        return IPCX_OK;
    }
    ipcx__turn_leave(&mux->turn);
    ipcx__gate_leave(&mux->gate);
    return status == IPCX_INTR && deadline == IPCX_NOW ? IPCX_AGAIN : status;
}

void ipcx_mux_release(ipcx_mux *mux)
{
    if (mux->made_in != ipcx__fork_generation()) {
        return; /* lent before the fork: the child is in no gate */
    }
    clear(mux);
    ipcx__turn_leave(&mux->turn);
    ipcx__gate_leave(&mux->gate);
}

void ipcx_mux_nudge(ipcx_mux *mux)
{
    if (ipcx__mux_enter_gate(mux, "nudge", NULL) == IPCX_OK) {
        ring(mux);
        ipcx__gate_leave(&mux->gate);
    }
}

ipcx_status ipcx_mux_fileno(ipcx_mux *mux, int *fd, ipcx_error *err)
{
    ipcx_status status = ipcx__mux_enter_gate(mux, "fileno", err);
    if (status == IPCX_OK) {
        *fd = mux->epoll;
        ipcx__gate_leave(&mux->gate);
    }
    return status;
}

void ipcx_mux_get_stats(ipcx_mux *mux, ipcx_mux_stats *stats)
{
    bool ours = mux->made_in == ipcx__fork_generation();
    if (ours) {
        (void)pthread_mutex_lock(&mux->lock);
    }
    *stats = mux->stats;
    stats->memory = atomic_load(&mux->memory);
    if (ours) {
        (void)pthread_mutex_unlock(&mux->lock);
    }
}
