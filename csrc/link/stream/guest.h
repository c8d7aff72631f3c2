/* SPDX-License-Identifier: Apache-2.0
 * Connecting ends of this very process, as their listener sees them. A handshake like TLS needs
 * both sides to act in turn, and a program may listen, connect and accept in one thread: then
 * accept() sees to both. So such an end is a guest of the listener's lobby until its handshake is
 * done: the lobby's epoll shows what comes for it, and a round advances it.
 * Invariant: the lists are changed under ipcx__own_lock; a guest leaves before its descriptor is
 * closed; a child of fork(2) is nobody's guest. */
#ifndef IPCX_LINK_GUEST_H
#define IPCX_LINK_GUEST_H

#include <stdbool.h>

#include "link/chan.h"

/* A lobby, as far as its guests are concerned; embedded in it. */
typedef struct ipcx__house {
    ipcx__own own; /* first; in the list of houses */
    int port, epoll;
    const ipcx_layer *layer; /* guests have the same */
    struct ipcx__guest *guests;
} ipcx__house;

/* An end; embedded in it. */
typedef struct ipcx__guest {
    ipcx__house *at; /* NULL: nobody's guest */
    ipcx_chan *chan;
    int fd;
    struct ipcx__guest *next;
} ipcx__guest;

/* ipcx__house_open: for ends that connect to `port`, from now on. close: under ipcx__own_lock. */
void ipcx__house_open(ipcx__house *self, int port, int epoll, const ipcx_layer *layer);
void ipcx__house_close(ipcx__house *self);

/* ipcx__house_serve: epoll has shown `who`. True: a guest, which was advanced, or who has left.
 * *interrupted is set if a signal came meanwhile: it is shown again when its handlers have run. */
bool ipcx__house_serve(ipcx__house *self, const void *who, bool *interrupted);

/* ipcx__guest_come: `chan` has connected to `port` of this or another host. False: nobody in this
 * process listens there. ipcx__guest_go: under
 * ipcx__own_lock. */
bool ipcx__guest_come(ipcx__guest *self, ipcx_chan *chan, int fd, int port);
void ipcx__guest_go(ipcx__guest *self);

#endif
