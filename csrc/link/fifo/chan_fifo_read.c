/* SPDX-License-Identifier: Apache-2.0
 * The end of a named pipe's channel that receives.
 * Locks: `turn` is of who receives, and lasts as long as a message is lent; `guard`, held for a
 * moment, is of the descriptors that are made when fileno() is asked for.
 * Invariant: once it was asked for, one message is always read ahead, so that "none is there" means
 * that the pipe is empty, too. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/fifo/chan_fifo.h"
#include "os/gate.h"
#include "os/turn.h"

typedef struct reader {
    ipcx_chan chan; /* first */
    ipcx__well *well;
    ipcx__turn turn;       /* guards the well, and the next three */
    int over;              /* EOF or < 0: for good */
    ipcx_error over_error; /* why */
    bool bell_is_up;       /* `bell` tells of a message or the end */
    pthread_mutex_t guard; /* of the next two */
    int epoll, bell;       /* fileno(); -1 until asked for */
    _Atomic bool watched;
} reader;

static reader *of(ipcx_chan *chan)
{
    return (reader *)(void *)chan;
}

static ipcx_status sends_not(const ipcx_chan *chan, const char *op, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, op,
                          "this end receives (who connects sends): %s", chan->url);
}

/* ---- with the turn */

static ipcx_status end(const reader *self, ipcx_error *err)
{
    if (self->over < 0 && err != NULL) {
        *err = self->over_error;
    }
    return (ipcx_status)self->over;
}

/* OK: a message is in the well. MORE: none is. EOF, < 0: the end, from now on; but not for want of
 * memory. */
static ipcx_status look(reader *self, ipcx_error *err)
{
    ipcx_error why = {0};
    ipcx_status status;
    if (self->well->holds) {
        return IPCX_OK;
    }
    if (self->over != 0) {
        return end(self, err);
    }
    status = ipcx__well_next(self->well, &why);
    if (status == IPCX_NOMEM || status == IPCX_MORE || status == IPCX_OK) {
        if (status < 0 && err != NULL) {
            *err = why;
        }
        return status;
    }
    self->over = status;
    self->over_error = why;
    atomic_store(&self->chan.error_offset, self->well->wrong_at);
    return end(self, err);
}

/* When fileno() was asked for: looks, and rings if anything is there. */
static void look_ahead(reader *self)
{
    uint64_t count = 1;
    ipcx_status status;
    if (!atomic_load(&self->watched)) {
        return;
    }
    status = look(self, NULL);
    if ((status != IPCX_MORE) == self->bell_is_up) {
        return;
    }
    self->bell_is_up = !self->bell_is_up;
    if (self->bell_is_up) {
        (void)!write(self->bell, &count, sizeof count);
    } else {
        (void)!read(self->bell, &count, sizeof count);
    }
}

static void leave(reader *self)
{
    look_ahead(self);
    ipcx__turn_leave(&self->turn);
}

/* ---- receiving */

/* The turn, and a message in the well; the turn is kept with OK alone. */
static ipcx_status find(reader *self, ipcx_deadline deadline, ipcx_error *err)
{
    bool waited = false;
    ipcx_status status = ipcx__turn_take_by(&self->turn, &self->chan.gate, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    for (;;) {
        status = look(self, err);
        if (status != IPCX_MORE) {
            break;
        }
        if (deadline == IPCX_NOW) {
            status = IPCX_AGAIN;
            break;
        }
        if (!waited) {
            waited = true;
            (void)atomic_fetch_add(&self->chan.receive_waits, 1);
        }
        status = ipcx__gate_poll(&self->chan.gate, self->well->fd, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            break;
        }
    }
    if (status != IPCX_OK) {
        leave(self);
    }
    return status;
}

static ipcx_status receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                           ipcx_error *err)
{
    ipcx_status status = find(of(chan), deadline, err);
    if (status == IPCX_OK) {
        *message = of(chan)->well->held;
        of(chan)->well->holds = false;
    }
    return status;
}

static void release(ipcx_chan *chan, ipcx_message *message)
{
    reader *self = of(chan);
    if (message->flags & IPCX__MESSAGE_KEEP) {
        message->flags &= ~IPCX__MESSAGE_KEEP;
        self->well->held = *message;
        self->well->holds = true;
    }
    *message = (ipcx_message){0};
    leave(self);
}

static ipcx_status poll_pipe(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    reader *self = of(chan);
    ipcx_status status = find(self, deadline, err);
    if (status == IPCX_OK) {
        leave(self);
        return status;
    }
    /* The end, or an error of what came, is something to receive. */
    return self->over != 0 && status == self->over ? IPCX_OK : status;
}

/* ---- what it cannot */

static ipcx_status send_one(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                            ipcx_sending *sending, ipcx_error *err)
{
    (void)message, (void)deadline, (void)sending;
    return sends_not(chan, "send", err);
}

static ipcx_status send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                             ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    (void)messages, (void)count, (void)deadline, (void)sending;
    return sends_not(chan, "send_many", err);
}

static ipcx_status send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    (void)fd;
    return sends_not(chan, "fileno", err);
}

static ipcx_status flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)chan, (void)deadline, (void)err;
    return IPCX_OK;
}

static ipcx_status goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent, ipcx_error *err)
{
    (void)chan, (void)deadline, (void)err;
    *unsent = 0;
    return IPCX_OK;
}

/* ---- a descriptor to wait with */

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* Under guard. */
static ipcx_status watch(reader *self, ipcx_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->bell = self->epoll >= 0 ? eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (self->bell < 0 || epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->bell, &event) < 0 ||
        epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->well->fd, &event) < 0) {
        ipcx_status status = ipcx_error_system(err, errno, "fileno", "%s", self->chan.url);
        shut(&self->epoll);
        shut(&self->bell);
        return status;
    }
    self->bell_is_up = true; /* until somebody has looked */
    atomic_store(&self->watched, true);
    return IPCX_OK;
}

static ipcx_status fileno_of(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    reader *self = of(chan);
    ipcx_status status = IPCX_OK;
    (void)pthread_mutex_lock(&self->guard);
    if (self->epoll < 0) {
        status = watch(self, err);
    }
    *fd = self->epoll;
    (void)pthread_mutex_unlock(&self->guard);
    if (status == IPCX_OK && ipcx__turn_take(&self->turn)) {
        leave(self);
    }
    return status;
}

/* ---- the end */

static void hang_up(ipcx_chan *chan)
{
    reader *self = of(chan);
    atomic_store(&self->watched, false);
    shut(&self->epoll);
    shut(&self->bell);
    if (chan->made_in == ipcx__fork_generation()) {
        ipcx__well_vacate(self->well);
        ipcx__well_leave(self->well);
    }
}

static void destroy(ipcx_chan *chan)
{
    reader *self = of(chan);
    ipcx__well_free(self->well);
    (void)pthread_mutex_destroy(&self->guard);
    ipcx_free(self);
}

static void max_message(ipcx_chan *chan, size_t *most_in, size_t *most_out)
{
    *most_in = *most_out = chan->options.max_message;
}

static const ipcx__transport FIFO_READER = {
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

ipcx_status ipcx__chan_fifo_read(ipcx__well *well, const char *text,
                                 const ipcx_chan_options *options, ipcx_chan **chan,
                                 ipcx_error *err)
{
    ipcx_status status;
    reader *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "channel", "no memory for a channel");
    }
    *self = (reader){.well = well, .epoll = -1, .bell = -1};
    status = ipcx__chan_begin(&self->chan, &FIFO_READER, text, options, err);
    if (status != IPCX_OK) {
        ipcx_free(self);
        return status;
    }
    self->chan.options.max_message = IPCX__FIFO_PAYLOAD;
    (void)pthread_mutex_init(&self->guard, NULL);
    ipcx__well_share(well);
    *chan = &self->chan;
    return IPCX_OK;
}
