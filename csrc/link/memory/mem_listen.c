/* SPDX-License-Identifier: Apache-2.0
 * The meeting place of inproc://name. What waits to be accepted stands in a lane whose items are
 * the ends themselves, so accepting is taking, and a full backlog is a full lane.
 * Invariant: a listener is in the list of this process's own names exactly while connect can find
 * it; a child of fork(2) finds the list empty. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/alloc.h"
#include "link/listener.h"
#include "link/memory/chan_mem.h"
#include "link/memory/lane.h"
#include "os/gate.h"

struct ipcx__mem_listener {
    ipcx__own own; /* first: see of() */
    ipcx__lane backlog;
    ipcx_gate gate;
    ipcx_chan_options options;
    uint32_t made_in;
    int pid;
    _Atomic int users; /* the owner, and each connect that has found it */
    _Atomic bool closed;
    _Atomic uint64_t accepted, dropped;
    char name[]; /* and the URL is "inproc://" and the name */
};

#define PREFIX "inproc://"

static ipcx__mem_listener *of(ipcx__own *own)
{
    return (ipcx__mem_listener *)(void *)own;
}

static bool in_child(const ipcx__mem_listener *listener)
{
    return listener->made_in != ipcx__fork_generation();
}

static void forked(ipcx__own *own)
{
    ipcx__lane_forked_reader(&of(own)->backlog);
}

/* Under ipcx__own_lock. */
static ipcx__mem_listener *find(const char *name)
{
    ipcx__own *own = ipcx__own_first(IPCX__OWN_NAMES);
    while (own != NULL && strcmp(of(own)->name, name) != 0) {
        own = own->next;
    }
    return own != NULL ? of(own) : NULL;
}

static void leave(ipcx__mem_listener *listener)
{
    if (atomic_fetch_sub(&listener->users, 1) == 1) {
        ipcx__lane_fini(&listener->backlog);
        ipcx_free(listener);
    }
}

/* ---- listen */

ipcx_status ipcx__mem_listen(const char *name, const ipcx_chan_options *options,
                             ipcx__mem_listener **listener, ipcx_error *err)
{
    size_t size = strlen(name) + 1;
    bool taken;
    ipcx_chan_options filled;
    ipcx__mem_listener *self;
    ipcx_status status = ipcx__chan_options_fill(options, &filled, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (size == 1) {
        return ipcx_error_set(err, IPCX_INVALID_URL, 0, "listen",
                              "a listener needs a name: inproc://name");
    }
    self = ipcx_alloc(sizeof *self + size);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "listen", "no memory for a listener");
    }
    *self = (ipcx__mem_listener){.own.forked = forked, .options = filled};
    memcpy(self->name, name, size);
    ipcx__lane_init(&self->backlog, (size_t)filled.backlog, 0);
    self->made_in = ipcx__fork_generation();
    self->pid = (int)getpid();
    atomic_init(&self->users, 1);
    ipcx__own_lock();
    taken = find(name) != NULL;
    if (!taken) {
        ipcx__own_add(IPCX__OWN_NAMES, &self->own);
    }
    ipcx__own_unlock();
    if (taken) {
        leave(self);
        return ipcx_error_set(err, IPCX_ADDRESS_IN_USE, EADDRINUSE, "listen",
                              "a thread of this process listens at inproc://%s already", name);
    }
    *listener = self;
    return IPCX_OK;
}

/* ---- accept */

static ipcx_status enter(ipcx__mem_listener *listener, const char *op, ipcx_error *err)
{
    if (in_child(listener)) {
        return ipcx_error_set(err, IPCX_FORKED, 0, op, "process %d owns the listener inproc://%s",
                              listener->pid, listener->name);
    }
    if (!ipcx__gate_enter(&listener->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, 0, op, "the listener inproc://%s is closed",
                              listener->name);
    }
    return IPCX_OK;
}

/* A poll that found nothing is no time-out. */
static ipcx_status polled(ipcx_status status, ipcx_deadline deadline)
{
    return status == IPCX_TIMEOUT && deadline == IPCX_NOW ? IPCX_AGAIN : status;
}

ipcx_status ipcx__mem_accept(ipcx__mem_listener *listener, ipcx_chan **chan, ipcx_deadline deadline,
                             ipcx_error *err)
{
    ipcx__lane_call call = {.deadline = deadline, .err = err};
    ipcx_message item;
    ipcx_status status = enter(listener, "accept", err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__lane_take(&listener->backlog, &call, &item);
    if (status == IPCX_OK) {
        (void)atomic_fetch_add(&listener->accepted, 1);
        *chan = (ipcx_chan *)(uintptr_t)item.data;
    }
    ipcx__gate_leave(&listener->gate);
    return polled(status, deadline);
}

ipcx_status ipcx__mem_fileno(ipcx__mem_listener *listener, int *fd, ipcx_error *err)
{
    ipcx_status status = enter(listener, "fileno", err);
    if (status == IPCX_OK) {
        status = ipcx__lane_reader_fd(&listener->backlog, fd, err);
        ipcx__gate_leave(&listener->gate);
    }
    return status;
}

void ipcx__mem_waiting(ipcx__mem_listener *listener, ipcx_listener_stats *stats)
{
    bool open = !in_child(listener) && !atomic_load(&listener->closed);
    *stats = (ipcx_listener_stats){
        .accepted = atomic_load(&listener->accepted),
        .dropped = atomic_load(&listener->dropped),
        .waiting = open ? ipcx__lane_untaken(&listener->backlog) : 0,
    };
}

/* ---- close */

/* An end that nobody accepts: its peer sees a close. */
static void drop_end(void *end)
{
    ipcx_chan_free(end);
}

void ipcx__mem_close(ipcx__mem_listener *listener)
{
    if (atomic_exchange(&listener->closed, true) || in_child(listener)) {
        return;
    }
    ipcx__own_lock();
    ipcx__own_remove(&listener->own);
    ipcx__lane_close_reader(&listener->backlog);
    ipcx__own_unlock();
    ipcx__gate_close(&listener->gate);
    (void)atomic_fetch_add(&listener->dropped, ipcx__lane_discard(&listener->backlog, drop_end));
}

void ipcx__mem_free(ipcx__mem_listener *listener)
{
    if (listener == NULL) {
        return;
    }
    ipcx__mem_close(listener);
    if (!in_child(listener)) {
        leave(listener);
    } else if (!ipcx__lane_is_busy(&listener->backlog)) { /* else it is half done for ever */
        (void)ipcx__lane_discard(&listener->backlog, drop_end);
        ipcx__lane_fini(&listener->backlog);
        ipcx_free(listener);
    }
}

/* ---- connect */

/* The listener of that name, which stays as long as we need it; NULL: there is none. */
static ipcx__mem_listener *visit(const char *name)
{
    ipcx__mem_listener *found;
    ipcx__own_lock();
    found = find(name);
    if (found != NULL) {
        (void)atomic_fetch_add(&found->users, 1);
    }
    ipcx__own_unlock();
    return found;
}

static ipcx_status refused(const char *name, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_REFUSED, ECONNREFUSED, "connect",
                          "nobody in this process listens at inproc://%s: first listen there",
                          name);
}

/* Both ends: what the listener has said about the lanes holds for ours too. */
static ipcx_status make_ends(const ipcx__mem_listener *listener, const ipcx_chan_options *options,
                             ipcx_chan **ours, ipcx_chan **theirs, ipcx_error *err)
{
    char url[512];
    ipcx_chan_options mine;
    ipcx_status status = ipcx__chan_options_fill(options, &mine, err);
    size_t size = strlen(listener->name) + 1;
    if (status != IPCX_OK) {
        return status;
    }
    if (sizeof PREFIX - 1 + size > sizeof url) {
        return ipcx_error_set(err, IPCX_INVALID_URL, 0, "connect", "the name is too long");
    }
    memcpy(url, PREFIX, sizeof PREFIX - 1);
    memcpy(url + sizeof PREFIX - 1, listener->name, size);
    mine.capacity = listener->options.capacity;
    mine.rendezvous = listener->options.rendezvous;
    mine.copy = listener->options.copy;
    return ipcx__chan_mem_ends(url, &mine, &listener->options, ours, theirs, err);
}

ipcx_status ipcx__mem_connect(const char *name, const ipcx_chan_options *options,
                              ipcx_deadline deadline, ipcx_chan **chan, ipcx_error *err)
{
    ipcx__lane_call call = {.deadline = deadline, .err = NULL};
    ipcx_chan *ours, *theirs;
    size_t put = 0;
    uint64_t ticket;
    ipcx_status status;
    ipcx__mem_listener *listener = visit(name);
    if (listener == NULL) {
        return refused(name, err);
    }
    status = make_ends(listener, options, &ours, &theirs, err);
    if (status == IPCX_OK) {
        const ipcx_message item = {.data = theirs, .flags = IPCX_MESSAGE_OBJECT};
        status = ipcx__lane_put(&listener->backlog, &call, &item, 1, &put, &ticket);
        if (put == 1) {
            *chan = ours;
        } else {
            ipcx_chan_free(theirs);
            ipcx_chan_free(ours);
        }
        if (status == IPCX_PEER_CLOSED) {
            status = refused(name, err);
        } else if (status < 0) {
            (void)ipcx_error_set(err, status, 0, "connect", "cannot wait for inproc://%s", name);
        }
    }
    leave(listener);
    return polled(status, deadline);
}

/* ---- as one kind of listener */

static ipcx_status open_name(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    char name[sizeof url->name];
    ipcx__mem_listener *made;
    ipcx_status status = ipcx__listener_name(self, url, "inproc", name, sizeof name, err);
    if (status == IPCX_OK) {
        status = ipcx__mem_listen(name, &self->options, &made, err);
    }
    if (status == IPCX_OK) {
        self->state = made;
    }
    return status;
}

static ipcx_status accept_end(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                              ipcx_error *err)
{
    return ipcx__mem_accept(self->state, chan, deadline, err);
}

static ipcx_status fileno_of(ipcx_listener *self, int *fd, ipcx_error *err)
{
    return ipcx__mem_fileno(self->state, fd, err);
}

static void count(ipcx_listener *self, ipcx_listener_stats *stats)
{
    if (!in_child(self->state)) {
        ipcx__mem_waiting(self->state, stats);
    }
}

static void close_name(ipcx_listener *self)
{
    ipcx__mem_close(self->state);
}

static void free_name(ipcx_listener *self, bool inherited)
{
    (void)inherited; /* the memory is a child's own copy, too */
    ipcx__mem_free(self->state);
}

const ipcx__listener_kind ipcx__listener_mem = {
    .open = open_name,
    .accept = accept_end,
    .fileno = fileno_of,
    .count = count,
    .wake = close_name,
    .free = free_name,
};
