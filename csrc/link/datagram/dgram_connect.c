/* SPDX-License-Identifier: Apache-2.0
 * Datagram channels by connecting, and in pairs.
 * There is no handshake: a connector announces itself by a PING, so that accept knows of it before
 * the first message does, and so that a host that refuses can say so.
 * Invariant: a pair's ends are connected to each other before either may be used. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipcx/frame.h"
#include "link/datagram/chan_dgram.h"
#include "link/datagram/dgram_listen.h"
#include "link/address/dial.h"
#include "link/datagram/udp.h"
#include "link/address/url.h"

#define OP "connect"

ipcx_status ipcx__dgram_resolve(const ipcx_url *url, const char *text, bool listening,
                                ipcx__addresses *found, ipcx_error *err)
{
    ipcx_status status;
    if (url->port < 0) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "host and port are missing: udp://127.0.0.1:5000");
    }
    status = ipcx__tcp_resolve(url, listening, found, err);
    if (status == IPCX_OK && !ipcx__udp_is_group(&found->at[0]) &&
        (url->ttl >= 0 || url->loop >= 0 || url->interface[0] != '\0')) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "ttl, loop and if are a multicast group's");
    }
    if (status == IPCX_OK && ipcx__udp_is_group(&found->at[0]) && url->port == 0) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "a group's port is agreed upon: no 0");
    }
    return status;
}

static bool is_own_echo(int fd, const ipcx_addr *addr)
{
    ipcx_addr own = {.len = sizeof own.u};
    return getsockname(fd, &own.u.sa, &own.len) == 0 && ipcx__udp_same(&own, addr);
}

static ipcx_status reach(const ipcx_addr *addr, const ipcx_url *url, int *fd, ipcx_error *err)
{
    ipcx_status status = ipcx__udp_open(addr, fd, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (ipcx__udp_is_group(addr)) {
        status = ipcx__udp_aim(*fd, addr, url, err);
    }
    if (status == IPCX_OK && connect(*fd, &addr->u.sa, addr->len) < 0) {
        status = ipcx_error_system(err, errno, OP, "no way there");
    }
    if (status == IPCX_OK && is_own_echo(*fd, addr)) {
        status = ipcx_error_set(err, IPCX_REFUSED, ECONNREFUSED, OP, "connected to itself");
    }
    if (status != IPCX_OK) {
        (void)close(*fd);
    }
    return status;
}

static ipcx_status connect_to(const ipcx_addr *addr, const ipcx_url *url, const char *text,
                              const ipcx_chan_options *options, ipcx_chan **chan, ipcx_error *err)
{
    bool group = ipcx__udp_is_group(addr);
    ipcx__dgram_role role = {.sends = true, .receives = !group};
    ipcx_chan *made;
    int fd;
    ipcx_status status = ipcx__dgram_epoch(&role.epoch, err);
    if (status == IPCX_OK) {
        status = reach(addr, url, &fd, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__chan_dgram_make(fd, &role, text, options, &made, err);
    if (status != IPCX_OK) {
        (void)close(fd);
        return status;
    }
    ipcx__chan_dgram_say(made, IPCX_FRAME_PING);
    if (!group && ipcx__chan_dgram_refused(made)) {
        ipcx_chan_free(made);
        return ipcx_error_set(err, IPCX_REFUSED, ECONNREFUSED, OP, "nobody is there");
    }
    *chan = made;
    return IPCX_OK;
}

ipcx_status ipcx__chan_dgram_connect(const ipcx_url *url, const char *text,
                                     const ipcx_chan_options *options, ipcx_chan **chan,
                                     ipcx_error *err)
{
    ipcx__addresses found;
    ipcx_error why = {0};
    ipcx_status status = ipcx__dgram_resolve(url, text, false, &found, err);
    if (status != IPCX_OK) {
        return status;
    }
    for (int i = 0; i < found.count; i++) {
        ipcx_status now = connect_to(&found.at[i], url, text, options, chan, &why);
        if (now == IPCX_OK) {
            return now;
        }
        status = i == 0 || now == IPCX_REFUSED ? now : status;
    }
    if (status == IPCX_REFUSED) {
        return ipcx__url_fail(err, status, ECONNREFUSED, OP, text, "start the listener first");
    }
    return ipcx__url_fail(err, status, why.sys_errno, OP, text, "%s", why.detail);
}

/* ---- pairs */

static ipcx_status bind_own(int *fd, ipcx_addr *addr, ipcx_error *err)
{
    ipcx_status status = ipcx_addr_ip(addr, "127.0.0.1", 0, err);
    if (status == IPCX_OK) {
        status = ipcx__udp_open(addr, fd, err);
    }
    if (status == IPCX_OK &&
        (bind(*fd, &addr->u.sa, addr->len) < 0 || getsockname(*fd, &addr->u.sa, &addr->len) < 0)) {
        status = ipcx_error_system(err, errno, "pair", "udp://");
        (void)close(*fd);
    }
    return status;
}

/* Forgets what strangers sent before the socket was connected. */
static bool connect_own(int fd, const ipcx_addr *peer)
{
    char byte;
    if (connect(fd, &peer->u.sa, peer->len) < 0) {
        return false;
    }
    while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0) {
    }
    return true;
}

static ipcx_status connect_both(const int *fds, const ipcx_addr *addrs, ipcx_error *err)
{
    return connect_own(fds[0], &addrs[1]) && connect_own(fds[1], &addrs[0])
               ? IPCX_OK
               : ipcx_error_system(err, errno, "pair", "udp://");
}

ipcx_status ipcx__chan_dgram_pair(const char *url, const ipcx_chan_options *options, ipcx_chan **a,
                                  ipcx_chan **b, ipcx_error *err)
{
    ipcx__dgram_role role = {.sends = true, .receives = true}, other = role;
    ipcx_addr addrs[2];
    ipcx_chan *first = NULL;
    int fds[2] = {-1, -1};
    ipcx_status status = bind_own(&fds[0], &addrs[0], err);
    if (status != IPCX_OK) {
        return status;
    }
    status = bind_own(&fds[1], &addrs[1], err);
    if (status != IPCX_OK) {
        (void)close(fds[0]);
        return status;
    }
    status = connect_both(fds, addrs, err);
    if (status == IPCX_OK) {
        status = ipcx__dgram_epoch(&role.epoch, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__dgram_epoch(&other.epoch, err);
    }
    role.peer = other.epoch;
    other.peer = role.epoch;
    if (status == IPCX_OK) {
        status = ipcx__chan_dgram_make(fds[0], &role, url, options, &first, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__chan_dgram_make(fds[1], &other, url, options, b, err);
    }
    if (status == IPCX_OK) {
        *a = first;
        return status;
    }
    if (first != NULL) {
        ipcx_chan_free(first);
    } else {
        (void)close(fds[0]);
    }
    (void)close(fds[1]);
    return status;
}
