/* SPDX-License-Identifier: Apache-2.0
 * What connecting, listening and pairing share: addresses and sockets. */
#ifndef IPCX_LINK_DIAL_H
#define IPCX_LINK_DIAL_H

#include <stdbool.h>

#include "ipcx/addr.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/url.h"

/* The addresses a host's name stands for. */
#define IPCX__ADDRESSES_MAX 16
typedef struct ipcx__addresses {
    int count; /* at least 1 */
    ipcx_addr at[IPCX__ADDRESSES_MAX];
} ipcx__addresses;

/* ipcx__tcp_resolve: where to connect to, or to listen at: no host means this one's loopback, or
 * all of its interfaces. Numbers are not asked about; a name may block in the resolver. INVALID_URL
 * (no port) · RESOLVE · NOMEM · SYSTEM. */
ipcx_status ipcx__tcp_resolve(const ipcx_url *url, bool listening, ipcx__addresses *found,
                              ipcx_error *err);

/* ipcx__tcp_open: a socket for `addr`, non-blocking, without Nagle's delay, that notices when its
 * peer's host has gone; those accepted from it are so too. */
ipcx_status ipcx__tcp_open(const ipcx_addr *addr, int *fd, ipcx_error *err);

/* ipcx__tcp_is_loopback: whether no other host can reach `addr`. */
bool ipcx__tcp_is_loopback(const ipcx_addr *addr);

/* ipcx__tcp_url: "tcp://127.0.0.1:5000" of an address as the kernel gives it. `text` has room for
 * IPCX_URL_MAX bytes. */
void ipcx__tcp_url(const ipcx_addr *addr, char *text);

/* ipcx__stream_url: the same of a listener or a channel of that kind, "tls://…" where it has a
 * layer; `any`: of one at all addresses of this host. */
void ipcx__stream_url(ipcx_scheme scheme, bool any, const ipcx_addr *addr, char *text);

/* ipcx__is_tcp: whether it is carried by TCP. */
static inline bool ipcx__is_tcp(ipcx_scheme scheme)
{
    return scheme == IPCX_SCHEME_TCP || scheme == IPCX_SCHEME_TLS;
}

/* ipcx__dial: connects `fd`, a non-blocking socket, by the deadline (IPCX_NOW: if it can be done at
 * once). OK · AGAIN · TIMEOUT · INTR, or a failure with its errno. */
ipcx_status ipcx__dial(int fd, const ipcx_addr *addr, ipcx_deadline deadline, ipcx_error *err);

#endif
