/* SPDX-License-Identifier: Apache-2.0
 * Listening at a UDP port (dgram_listen.h), as one kind of listener. */
#include "link/datagram/dgram_listen.h"
#include "link/listener.h"

static ipcx__dgram_listener *of(const ipcx_listener *self)
{
    return self->state;
}

static ipcx_status open_dgram(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx__dgram_listener *made;
    ipcx_status status = ipcx__dgram_listen_begin(url, self->url, &self->options, &made, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->state = made; /* first: what is opened from now on, a child lets go of */
    return ipcx__dgram_listen(made, self->url, err);
}

static ipcx_status accept_caller(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    return ipcx__dgram_accept(of(self), &self->gate, chan, deadline, err);
}

static ipcx_status fileno_of(ipcx_listener *self, int *fd, ipcx_error *err)
{
    (void)err;
    *fd = ipcx__dgram_listener_fileno(of(self));
    return IPCX_OK;
}

static void count(ipcx_listener *self, ipcx_listener_stats *stats)
{
    ipcx__dgram_count(of(self), stats);
}

static void empty(ipcx_listener *self)
{
    ipcx__dgram_empty(of(self));
}

static void shut(ipcx_listener *self)
{
    ipcx__dgram_shut(of(self));
}

static void free_callers(ipcx_listener *self, bool in_child)
{
    (void)in_child;
    ipcx__dgram_free(of(self));
}

const ipcx__listener_kind ipcx__listener_dgram = {
    .open = open_dgram,
    .accept = accept_caller,
    .fileno = fileno_of,
    .count = count,
    .empty = empty,
    .shut = shut,
    .forked = shut,
    .free = free_callers,
};
