/* SPDX-License-Identifier: Apache-2.0
 * The two kinds of end of a channel that is a file.
 * Locks: `turn` is of who receives, and lasts as long as a message is lent; `guard`, held for a
 * moment, is of the descriptors that are made when fileno() is asked for.
 * Invariant: once it was asked for, one message is always read ahead, so that "none is there" means
 * that inotify has told of nothing either. */
#include "link/log/chan_log.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/address/url.h"
#include "os/turn.h"

/* The lock of a log that somebody begins just now is free by then. */
#define PATIENCE INT64_C(5000000000)

typedef struct end {
    ipcx_chan chan;          /* first */
    ipcx_log *log;           /* of who sends; else NULL */
    ipcx_log_reader *reader; /* of who receives; else NULL */
    ipcx__turn turn;         /* guards the next three */
    ipcx_message held;       /* read, and not handed out */
    bool holds;
    bool bell_is_up;
    pthread_mutex_t guard;
    int epoll, bell; /* fileno(); -1 until asked for */
    int room;        /* send_fileno(): an eventfd, always writable: locks are short */
    _Atomic bool watched;
} end;

static end *of(ipcx_chan *chan)
{
    return (end *)(void *)chan;
}

static ipcx_status one_way(const ipcx_chan *chan, const char *op, const char *does, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, op, "this end only %s: %s", does, chan->url);
}

/* ---- sending */

static ipcx_status check(const end *self, const ipcx_message *message, ipcx_error *err)
{
    if (self->log == NULL) {
        return one_way(&self->chan, "send", "receives (who connects sends)", err);
    }
    if (message->flags & ~IPCX_MESSAGE_TEXT) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                              message->flags & IPCX_MESSAGE_SYNC
                                  ? "%s: nobody may be there to receive; ?durable=1 waits for the "
                                    "disk"
                                  : "%s carries bytes and text",
                              self->chan.url);
    }
    return IPCX_OK;
}

static ipcx_status send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                             ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    size_t left = count - sending->taken;
    for (size_t i = sending->taken; i < count && status == IPCX_OK; i++) {
        status = check(of(chan), &messages[i], err);
    }
    if (status == IPCX_OK && left > 0) {
        status =
            ipcx_log_append(of(chan)->log, messages + sending->taken, left, deadline, NULL, err);
    }
    if (status == IPCX_OK) {
        sending->taken = count;
    }
    return status;
}

static ipcx_status send_one(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                            ipcx_sending *sending, ipcx_error *err)
{
    ipcx_status status = check(of(chan), message, err);
    (void)sending; /* it is appended whole, or not begun */
    return status == IPCX_OK ? ipcx_log_append(of(chan)->log, message, 1, deadline, NULL, err)
                             : status;
}

static ipcx_status flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)chan, (void)deadline, (void)err;
    return IPCX_OK;
}

/* ---- receiving */

/* With the turn, when fileno() was asked for: reads one ahead, and rings if anything is there. */
static void look_ahead(end *self)
{
    uint64_t count = 1;
    ipcx_status status = IPCX_OK;
    if (!atomic_load(&self->watched)) {
        return;
    }
    if (!self->holds) {
        status = ipcx_log_next(self->reader, IPCX_NOW, &self->held, NULL, NULL);
        self->holds = status == IPCX_OK;
    }
    if ((status != IPCX_AGAIN) == self->bell_is_up) {
        return;
    }
    self->bell_is_up = !self->bell_is_up;
    if (self->bell_is_up) {
        (void)!write(self->bell, &count, sizeof count);
    } else {
        (void)!read(self->bell, &count, sizeof count);
    }
}

static void leave(end *self)
{
    look_ahead(self);
    ipcx__turn_leave(&self->turn);
}

/* The turn, and then the next message in `held`; the turn is kept with OK alone. */
static ipcx_status find(end *self, const char *op, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status;
    if (self->reader == NULL) {
        return one_way(&self->chan, op, "sends (who accepts receives)", err);
    }
    status = ipcx__turn_take_by(&self->turn, &self->chan.gate, deadline, err);
    if (status != IPCX_OK || self->holds) {
        return status;
    }
    if (deadline != IPCX_NOW) {
        status = ipcx_log_next(self->reader, IPCX_NOW, &self->held, NULL, err);
        if (status == IPCX_AGAIN) {
            (void)atomic_fetch_add(&self->chan.receive_waits, 1);
        }
    }
    if (deadline == IPCX_NOW || status == IPCX_AGAIN) {
        status = ipcx_log_next(self->reader, deadline, &self->held, NULL, err);
    }
    self->holds = status == IPCX_OK;
    if (status != IPCX_OK) {
        leave(self);
    }
    return status;
}

static ipcx_status receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                           ipcx_error *err)
{
    ipcx_status status = find(of(chan), "receive", deadline, err);
    if (status == IPCX_OK) {
        *message = of(chan)->held;
        of(chan)->holds = false;
    }
    return status;
}

static void release(ipcx_chan *chan, ipcx_message *message)
{
    end *self = of(chan);
    if (message->flags & IPCX__MESSAGE_KEEP) {
        message->flags &= ~IPCX__MESSAGE_KEEP;
        self->held = *message;
        self->holds = true;
    }
    *message = (ipcx_message){0};
    leave(self);
}

static ipcx_status poll_log(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = find(of(chan), "poll", deadline, err);
    if (status == IPCX_OK) {
        leave(of(chan));
        return status;
    }
    return status == IPCX_EOF || status == IPCX_CORRUPT ? IPCX_OK : status;
}

/* ---- descriptors to wait with */

/* Under guard. */
static ipcx_status watch(end *self, ipcx_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    int notify = -1;
    ipcx_status status = ipcx_log_reader_fileno(self->reader, &notify, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->bell = self->epoll >= 0 ? eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (self->bell < 0 || epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->bell, &event) < 0 ||
        epoll_ctl(self->epoll, EPOLL_CTL_ADD, notify, &event) < 0) {
        status = ipcx_error_system(err, errno, "fileno", "%s", self->chan.url);
        for (int *fd = &self->epoll; fd != NULL; fd = fd == &self->epoll ? &self->bell : NULL) {
            if (*fd >= 0) {
                (void)close(*fd);
                *fd = -1;
            }
        }
        return status;
    }
    self->bell_is_up = true; /* until somebody has looked */
    atomic_store(&self->watched, true);
    return IPCX_OK;
}

static ipcx_status fileno_of(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    end *self = of(chan);
    ipcx_status status = IPCX_OK;
    if (self->reader == NULL) {
        return one_way(chan, "fileno", "sends, which never waits", err);
    }
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

static ipcx_status send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    end *self = of(chan);
    if (self->log == NULL) {
        return one_way(chan, "fileno", "receives (who connects sends)", err);
    }
    (void)pthread_mutex_lock(&self->guard);
    if (self->room < 0) {
        self->room = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    *fd = self->room;
    (void)pthread_mutex_unlock(&self->guard);
    return *fd >= 0 ? IPCX_OK : ipcx_error_system(err, errno, "fileno", "%s", chan->url);
}

/* ---- the end */

static ipcx_status goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent, ipcx_error *err)
{
    (void)chan, (void)deadline, (void)err;
    *unsent = 0;
    return IPCX_OK;
}

static void wake(ipcx_chan *chan)
{
    if (of(chan)->log != NULL) {
        ipcx__log_stop(of(chan)->log);
    } else {
        ipcx__log_reader_stop(of(chan)->reader);
    }
}

static void hang_up(ipcx_chan *chan)
{
    end *self = of(chan);
    bool in_child = chan->made_in != ipcx__fork_generation();
    int *const fds[] = {&self->epoll, &self->bell, &self->room};
    atomic_store(&self->watched, false);
    for (int i = 0; i < 3; i++) {
        if (*fds[i] >= 0) {
            (void)close(*fds[i]);
            *fds[i] = -1;
        }
    }
    if (self->log != NULL) {
        (in_child ? ipcx__log_forked : ipcx_log_close)(self->log);
    } else {
        (in_child ? ipcx__log_reader_forked : ipcx_log_reader_close)(self->reader);
    }
}

static void destroy(ipcx_chan *chan)
{
    end *self = of(chan);
    ipcx_log_free(self->log);
    ipcx_log_reader_free(self->reader);
    (void)pthread_mutex_destroy(&self->guard);
    ipcx_free(self);
}

static void max_message(ipcx_chan *chan, size_t *most_in, size_t *most_out)
{
    *most_in = *most_out = chan->options.max_message;
}

static const ipcx__transport FILE_LOG = {
    .scheme = IPCX_SCHEME_FILE,
    .send = send_one,
    .send_many = send_many,
    .receive = receive,
    .release = release,
    .poll = poll_log,
    .flush = flush,
    .fileno = fileno_of,
    .send_fileno = send_fileno,
    .goodbye = goodbye,
    .wake = wake,
    .hang_up = hang_up,
    .destroy = destroy,
    .max_message = max_message,
};

/* ---- making one */

static ipcx_status make(const char *text, const ipcx_chan_options *options, end **made,
                        ipcx_error *err)
{
    end *self = ipcx_alloc(sizeof *self);
    ipcx_status status;
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "channel", "no memory for a channel");
    }
    *self = (end){.epoll = -1, .bell = -1, .room = -1};
    (void)pthread_mutex_init(&self->guard, NULL);
    status = ipcx__chan_begin(&self->chan, &FILE_LOG, text, options, err);
    if (status != IPCX_OK) {
        destroy(&self->chan);
        return status;
    }
    *made = self;
    return IPCX_OK;
}

/* `self`, whose log or reader was opened with `status`. */
static ipcx_status made_of(end *self, ipcx_status status, ipcx_chan **chan)
{
    if (status != IPCX_OK) {
        ipcx__chan_end(&self->chan);
        destroy(&self->chan);
        return status;
    }
    *chan = &self->chan;
    return IPCX_OK;
}

static ipcx_status check_path(const ipcx_url *url, const char *text, ipcx_error *err)
{
    if (url->name[0] != '\0') {
        return IPCX_OK;
    }
    return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                          "the path is missing: file:///var/log/app.log");
}

ipcx_status ipcx__chan_log_append(const ipcx_url *url, const char *text,
                                  const ipcx_chan_options *options, ipcx_deadline deadline,
                                  ipcx_chan **chan, ipcx_error *err)
{
    ipcx_log_options log = {.durable = url->durable > 0};
    end *self;
    ipcx_status status = check_path(url, text, err);
    if (status == IPCX_OK) {
        status = make(text, options, &self, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    log.max_message = self->chan.options.max_message;
    return made_of(self, ipcx_log_open(url->name, &log, deadline, &self->log, err), chan);
}

ipcx_status ipcx__chan_log_follow(const ipcx_url *url, const char *text,
                                  const ipcx_chan_options *options, ipcx_chan **chan,
                                  ipcx_error *err)
{
    end *self;
    ipcx_status status = make(text, options, &self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx_log_follow(url->name, url->from_end ? IPCX_LOG_END : IPCX_LOG_START,
                             self->chan.options.max_message, &self->reader, err);
    return made_of(self, status, chan);
}

ipcx_status ipcx__chan_log_begin(const ipcx_url *url, const char *text, ipcx_error *err)
{
    struct stat found;
    ipcx_log_reader *reader;
    ipcx_log *log;
    ipcx_status status = check_path(url, text, err);
    if (status == IPCX_OK && (stat(url->name, &found) < 0 || found.st_size == 0)) {
        status = ipcx_log_open(url->name, NULL, ipcx_deadline_after(PATIENCE), &log, err);
        if (status == IPCX_OK) {
            ipcx_log_free(log);
        }
    }
    if (status == IPCX_OK) {
        status = ipcx_log_follow(url->name, IPCX_LOG_START, 0, &reader, err);
        if (status == IPCX_OK) {
            ipcx_log_reader_free(reader);
        }
    }
    return status;
}
