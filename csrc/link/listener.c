/* SPDX-License-Identifier: Apache-2.0
 * The frame of every call on a listener: which kind it is, owner, gate, close and fork.
 * Invariant: a kind's functions run inside the gate, in the process that made the listener; a child
 * of fork(2) has nothing of it but the memory. */
#include "link/listener.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/address/url.h"
#include "link/admit.h"
#include "link/chan.h"
#include "os/gate.h"

static ipcx_status open_pipe(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    (void)url;
    return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "listen", self->url,
                          "nobody can connect to a pipe: use connect or pair");
}

static const ipcx__listener_kind listener_none = {.open = open_pipe};

/* By scheme. */
static const ipcx__listener_kind *const KINDS[] = {
    [IPCX_SCHEME_INPROC] = &ipcx__listener_mem, [IPCX_SCHEME_UNIX] = &ipcx__listener_unix,
    [IPCX_SCHEME_TCP] = &ipcx__listener_tcp,    [IPCX_SCHEME_PIPE] = &listener_none,
    [IPCX_SCHEME_SHM] = &ipcx__listener_shm,    [IPCX_SCHEME_UDP] = &ipcx__listener_dgram,
    [IPCX_SCHEME_FILE] = &ipcx__listener_log,   [IPCX_SCHEME_TLS] = &ipcx__listener_tcp,
    [IPCX_SCHEME_FIFO] = &ipcx__listener_fifo,
};

static bool in_child(const ipcx_listener *self)
{
    return self->made_in != ipcx__fork_generation();
}

/* ---- making one */

static void forked(ipcx__own *own)
{
    ipcx_listener *self = (ipcx_listener *)(void *)own;
    if (self->state != NULL && self->kind->forked != NULL) {
        self->kind->forked(self);
    }
}

ipcx_status ipcx__listener_name(ipcx_listener *self, const ipcx_url *url, const char *scheme,
                                char *name, size_t cap, ipcx_error *err)
{
    uint64_t random = 0;
    (void)snprintf(name, cap, "%s", url->name);
    if (name[0] != '\0') {
        return IPCX_OK;
    }
    if (getrandom(&random, sizeof random, 0) < 0) {
        return ipcx_error_system(err, errno, "listen", "%s", self->url);
    }
    (void)snprintf(name, cap, "%016" PRIx64, random);
    (void)snprintf(self->url, sizeof self->url, "%s://%s", scheme, name);
    return IPCX_OK;
}

/* A listener that holds nothing yet. */
static ipcx_status begin(ipcx_listener **listener, const ipcx_url *url,
                         const ipcx_chan_options *options, ipcx_error *err)
{
    ipcx_status status;
    ipcx_listener *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a listener");
    }
    *self = (ipcx_listener){.own = {.forked = forked},
                            .kind = KINDS[url->scheme],
                            .scheme = url->scheme,
                            .made_in = ipcx__fork_generation(),
                            .owner_pid = (int)getpid()};
    (void)ipcx_url_format(url, self->url, sizeof self->url);
    status = ipcx__chan_options_fill(options, &self->options, err);
    if (status == IPCX_OK) {
        status = ipcx__admit_keep(&self->options, err);
    }
    if (status != IPCX_OK) {
        ipcx__admit_forget(&self->options);
        ipcx_free(self);
        return status;
    }
    *listener = self;
    return IPCX_OK;
}

static ipcx_status open_it(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    /* First: what it opens from now on, a child lets go of. */
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_LISTENERS, &self->own);
    ipcx__own_unlock();
    return self->kind->open(self, url, err);
}

ipcx_status ipcx_listen(const char *url, const ipcx_chan_options *options, ipcx_listener **listener,
                        ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    ipcx_listener *self = NULL;
    ipcx_url parsed;
    ipcx_status status = ipcx_url_parse(&parsed, url, err);
    if (status == IPCX_OK) {
        status = begin(&self, &parsed, options, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__admit_scheme(parsed.scheme, &self->options, "listen", url, err);
    }
    if (status == IPCX_OK) {
        status = open_it(self, &parsed, err);
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
    if (in_child(self)) {
        return ipcx_error_set(err, IPCX_FORKED, 0, op, "process %d listens on %s", self->owner_pid,
                              self->url);
    }
    if (!ipcx__gate_enter(&self->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "%s is closed", self->url);
    }
    return IPCX_OK;
}

ipcx_status ipcx_listener_accept(ipcx_listener *listener, ipcx_chan **chan, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    ipcx_status status = enter(listener, "accept", err);
    if (status != IPCX_OK) {
        return status;
    }
    status = listener->kind->accept(listener, chan, deadline, err);
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
    status = listener->kind->fileno(listener, fd, err);
    ipcx__gate_leave(&listener->gate);
    return status;
}

ipcx_status ipcx__listener_lends(const char *url, ipcx_error *err)
{
    ipcx_url parsed;
    ipcx_status status = ipcx_url_parse(&parsed, url, err);
    if (status == IPCX_OK && KINDS[parsed.scheme] != NULL && KINDS[parsed.scheme]->lend == NULL) {
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "listen", url,
                              "there is nothing to wait for together with others");
    }
    return status;
}

ipcx_status ipcx__listener_lend(ipcx_listener *listener, ipcx_scheme *scheme, int *fd,
                                ipcx_error *err)
{
    ipcx_status status = listener->kind->lend(listener, fd, err);
    if (status == IPCX_OK) {
        *scheme = listener->scheme;
    }
    return status;
}

const ipcx_chan_options *ipcx__listener_options(const ipcx_listener *listener)
{
    return &listener->options;
}

void ipcx_listener_get_stats(ipcx_listener *listener, ipcx_listener_stats *stats)
{
    *stats = (ipcx_listener_stats){0};
    if (listener->kind->count != NULL) {
        listener->kind->count(listener, stats);
    }
    stats->accepted = atomic_load(&listener->accepted);
}

/* ---- closing it */

static void run(ipcx_listener *self, void (*step)(ipcx_listener *))
{
    if (step != NULL && self->state != NULL) {
        step(self);
    }
}

ipcx_status ipcx_listener_close(ipcx_listener *listener, ipcx_error *err)
{
    (void)err; /* nothing here fails in a way that anybody could do something about */
    if (atomic_exchange(&listener->closed, true) || in_child(listener)) {
        return IPCX_OK;
    }
    ipcx__gate_shut(&listener->gate);
    run(listener, listener->kind->wake);
    ipcx__gate_close(&listener->gate);
    run(listener, listener->kind->empty);
    ipcx__own_lock();
    run(listener, listener->kind->shut);
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
    if (listener->state != NULL) {
        listener->kind->free(listener, in_child(listener));
    }
    ipcx__admit_forget(&listener->options);
    ipcx_free(listener);
}
