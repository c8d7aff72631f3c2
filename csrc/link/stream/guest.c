/* SPDX-License-Identifier: Apache-2.0
 * Guests: guest.h says what for.
 * Invariant: no guest is advanced under ipcx__own_lock, for its layer may wait for a lock of the
 * program's; its gate keeps it alive meanwhile. */
#include "link/stream/guest.h"

#include <sys/epoll.h>

#include "link/stream/chan_stream.h"
#include "os/gate.h"

/* In a child: the parent's epoll set is left alone. */
static void forked(ipcx__own *own)
{
    ipcx__house *self = (ipcx__house *)(void *)own;
    for (ipcx__guest *each = self->guests; each != NULL; each = each->next) {
        each->at = NULL;
    }
    self->guests = NULL;
}

void ipcx__house_open(ipcx__house *self, int port, int epoll, const ipcx_layer *layer)
{
    *self = (ipcx__house){.own = {.forked = forked}, .port = port, .epoll = epoll, .layer = layer};
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_HOUSES, &self->own);
    ipcx__own_unlock();
}

void ipcx__house_close(ipcx__house *self)
{
    while (self->guests != NULL) {
        ipcx__guest_go(self->guests);
    }
    ipcx__own_remove(&self->own);
}

bool ipcx__guest_come(ipcx__guest *self, ipcx_chan *chan, int fd, int port)
{
    /* Edges: what comes is shown once, and may be taken by whoever uses the end. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.ptr = self}};
    bool come;
    ipcx__own_lock();
    for (ipcx__own *own = ipcx__own_first(IPCX__OWN_HOUSES); own != NULL; own = own->next) {
        ipcx__house *house = (ipcx__house *)(void *)own;
        if (house->port == port && house->layer == chan->options.layer &&
            epoll_ctl(house->epoll, EPOLL_CTL_ADD, fd, &event) == 0) {
            *self = (ipcx__guest){.at = house, .chan = chan, .fd = fd, .next = house->guests};
            house->guests = self;
            break;
        }
    }
    come = self->at != NULL; /* it may have gone again as soon as the lock is */
    ipcx__own_unlock();
    return come;
}

void ipcx__guest_go(ipcx__guest *self)
{
    ipcx__guest **link;
    if (self->at == NULL) {
        return;
    }
    for (link = &self->at->guests; *link != self; link = &(*link)->next) {
    }
    *link = self->next;
    (void)epoll_ctl(self->at->epoll, EPOLL_CTL_DEL, self->fd, NULL);
    self->at = NULL;
}

/* Edges again, of which the first is at once. */
static void show_again(ipcx__guest *self)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = self}};
    ipcx__own_lock();
    if (self->at != NULL) {
        (void)epoll_ctl(self->at->epoll, EPOLL_CTL_MOD, self->fd, &event);
    }
    ipcx__own_unlock();
}

bool ipcx__house_serve(ipcx__house *self, const void *who, bool *interrupted)
{
    ipcx__guest *found;
    ipcx_status status;
    bool inside;
    ipcx__own_lock();
    for (found = self->guests; found != NULL && found != who; found = found->next) {
    }
    inside = found != NULL && ipcx__gate_enter(&found->chan->gate);
    ipcx__own_unlock();
    if (inside) {
        ipcx_gate *gate = &found->chan->gate;
        status = ipcx__chan_stream_shake(found->chan, NULL);
        if (status == IPCX_AGAIN && ipcx__chan_stream_interrupted(found->chan)) {
            status = IPCX_INTR;
        }
        if (status == IPCX_INTR) {
            *interrupted = true;
            show_again(found);
        } else if (status != IPCX_AGAIN) {
            ipcx__own_lock();
            ipcx__guest_go(found);
            ipcx__own_unlock();
        }
        ipcx__gate_leave(gate);
    }
    return inside;
}
