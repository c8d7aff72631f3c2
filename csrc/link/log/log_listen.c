/* SPDX-License-Identifier: Apache-2.0
 * Listening at file:///path. Nobody comes, so nobody is waited for: each accept is another reader.
 * Invariant: `ready` is readable as long as it is open. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/listener.h"
#include "link/log/chan_log.h"

typedef struct place {
    ipcx_url url;
    int ready; /* eventfd; -1: closed */
} place;

static place *of(const ipcx_listener *self)
{
    return self->state;
}

static ipcx_status open_log(ipcx_listener *self, const ipcx_url *url, ipcx_error *err)
{
    place *made;
    ipcx_status status = ipcx__chan_log_begin(url, self->url, err);
    if (status != IPCX_OK) {
        return status;
    }
    made = ipcx_alloc(sizeof *made);
    if (made == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "listen", "no memory for a listener");
    }
    *made = (place){.url = *url, .ready = -1};
    self->state = made;
    made->ready = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    return made->ready >= 0 ? IPCX_OK : ipcx_error_system(err, errno, "listen", "%s", self->url);
}

static ipcx_status accept_reader(ipcx_listener *self, ipcx_chan **chan, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    (void)deadline;
    return ipcx__chan_log_follow(&of(self)->url, self->url, &self->options, chan, err);
}

static ipcx_status fileno_of(ipcx_listener *self, int *fd, ipcx_error *err)
{
    (void)err;
    *fd = of(self)->ready;
    return IPCX_OK;
}

static void shut(ipcx_listener *self)
{
    if (of(self)->ready >= 0) {
        (void)close(of(self)->ready);
        of(self)->ready = -1;
    }
}

static void free_place(ipcx_listener *self, bool in_child)
{
    (void)in_child;
    ipcx_free(self->state);
}

const ipcx__listener_kind ipcx__listener_log = {
    .open = open_log,
    .accept = accept_reader,
    .fileno = fileno_of,
    .shut = shut,
    .forked = shut,
    .free = free_place,
};
