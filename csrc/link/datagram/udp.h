/* SPDX-License-Identifier: Apache-2.0
 * UDP sockets as channels use them: addresses, groups, options. */
#ifndef IPCX_LINK_UDP_H
#define IPCX_LINK_UDP_H

#include <stdbool.h>

#include "ipcx/addr.h"
#include "ipcx/error.h"
#include "ipcx/url.h"

/* ipcx__udp_open: a non-blocking socket for `addr`, with as large a buffer as the system grants. */
ipcx_status ipcx__udp_open(const ipcx_addr *addr, int *fd, ipcx_error *err);

/* ipcx__udp_is_group: whether `addr` is a multicast group. */
bool ipcx__udp_is_group(const ipcx_addr *addr);

/* ipcx__udp_is_private: whether nothing that other hosts send can come to `addr`. */
bool ipcx__udp_is_private(const ipcx_addr *addr, const ipcx_url *url);

/* ipcx__udp_join: receives what is sent to the group, from the URL's interface. ipcx__udp_aim:
 * what is sent to the group goes out with the URL's ttl, loop and interface. */
ipcx_status ipcx__udp_join(int fd, const ipcx_addr *addr, const ipcx_url *url, ipcx_error *err);
ipcx_status ipcx__udp_aim(int fd, const ipcx_addr *addr, const ipcx_url *url, ipcx_error *err);

/* ipcx__udp_same: whether it is one address and port. */
bool ipcx__udp_same(const ipcx_addr *a, const ipcx_addr *b);

/* ipcx__udp_url: "udp://127.0.0.1:5000". `text` has room for IPCX_URL_MAX bytes. */
void ipcx__udp_url(const ipcx_addr *addr, char *text);

#endif
