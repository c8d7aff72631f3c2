/* SPDX-License-Identifier: Apache-2.0
 * Listening at fifo:///path. Nobody can be told from anybody, so there is one channel, which
 * receives from all; accept hands it out when the first has come, and again when it was closed and
 * there is more. */
#include <errno.h>
#include <poll.h>

#include "link/address/url.h"
#include "link/fifo/chan_fifo.h"
#include "link/listener.h"
#include "os/gate.h"

static ipcx__well *of(const ipcx_listener *self)
{
    return self->state;
}

static ipcx_status open_fifo(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    ipcx__well *made;
    ipcx_status status;
    if (url->name[0] == '\0') {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", self->url,
                              "the path is missing: fifo:///run/orders");
    }
    if (self->options.allow_uids != NULL) {
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "listen", self->url,
                              "a named pipe does not tell who writes: no allow_uids");
    }
    status = ipcx__well_make(url->name, &made, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->state = made;
    return ipcx__well_open(made, self->url, err);
}

static ipcx_status accept_all(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                              ipcx_error *err)
{
    for (;;) {
        ipcx_status status;
        if (ipcx__well_try(of(self))) {
            status = ipcx__chan_fifo_read(of(self), self->url, &self->options, chan, err);
            if (status != IPCX_OK) {
                ipcx__well_vacate(of(self));
            }
            return status;
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        status = ipcx__gate_poll(&self->gate, of(self)->door, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

static ipcx_status fileno_of(ipcx_listener *self, int *fd, ipcx_error *err)
{
    (void)err;
    *fd = of(self)->door;
    return IPCX_OK;
}

static void shut(ipcx_listener *self)
{
    ipcx__well_close(of(self));
    ipcx__well_leave(of(self));
}

static void free_well(ipcx_listener *self, bool in_child)
{
    (void)in_child;
    ipcx__well_free(of(self));
}

/* What a child has to let go of, the well does by itself. */
const ipcx__listener_kind ipcx__listener_fifo = {
    .open = open_fifo,
    .accept = accept_all,
    .fileno = fileno_of,
    .shut = shut,
    .free = free_well,
};
