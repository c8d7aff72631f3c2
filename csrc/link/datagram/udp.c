/* SPDX-License-Identifier: Apache-2.0
 * UDP sockets: opened, joined to groups, compared. */
#include "link/datagram/udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link/address/dial.h"
#include "link/address/url.h"

#define OP "socket"
#define BUFFER (4 << 20) /* the kernel grants net.core.rmem_max at most */

static bool set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static ipcx_status failed(ipcx_error *err, const char *what)
{
    ipcx_status status = ipcx_status_from_errno(errno);
    return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, OP, "%s", what);
}

ipcx_status ipcx__udp_open(const ipcx_addr *addr, int *fd, ipcx_error *err)
{
    int made = socket(addr->u.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0) {
        return failed(err, "a UDP socket");
    }
    (void)set(made, SOL_SOCKET, SO_RCVBUF, BUFFER);
    (void)set(made, SOL_SOCKET, SO_SNDBUF, BUFFER);
    *fd = made;
    return IPCX_OK;
}

bool ipcx__udp_is_group(const ipcx_addr *addr)
{
    return addr->u.sa.sa_family == AF_INET ? IN_MULTICAST(ntohl(addr->u.in.sin_addr.s_addr))
                                           : IN6_IS_ADDR_MULTICAST(&addr->u.in6.sin6_addr);
}

bool ipcx__udp_is_private(const ipcx_addr *addr, const ipcx_url *url)
{
    return ipcx__udp_is_group(addr) ? strcmp(url->interface, "lo") == 0
                                    : ipcx__tcp_is_loopback(addr);
}

static ipcx_status find_interface(const ipcx_url *url, unsigned *index, ipcx_error *err)
{
    *index = url->interface[0] != '\0' ? if_nametoindex(url->interface) : 0;
    if (*index == 0 && url->interface[0] != '\0') {
        return ipcx_error_set(err, IPCX_SYSTEM, ENODEV, OP, "no interface %s", url->interface);
    }
    return IPCX_OK;
}

ipcx_status ipcx__udp_join(int fd, const ipcx_addr *addr, const ipcx_url *url, ipcx_error *err)
{
    bool four = addr->u.sa.sa_family == AF_INET;
    struct group_req group = {0};
    unsigned index;
    ipcx_status status = find_interface(url, &index, err);
    if (status != IPCX_OK) {
        return status;
    }
    group.gr_interface = index;
    memcpy(&group.gr_group, &addr->u, addr->len);
    /* What other programs of this host have joined is not for this socket. */
    if ((four && !set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0)) ||
        setsockopt(fd, four ? IPPROTO_IP : IPPROTO_IPV6, MCAST_JOIN_GROUP, &group, sizeof group) <
            0) {
        return failed(err, "joining the group");
    }
    return IPCX_OK;
}

ipcx_status ipcx__udp_aim(int fd, const ipcx_addr *addr, const ipcx_url *url, ipcx_error *err)
{
    bool four = addr->u.sa.sa_family == AF_INET, done;
    struct ip_mreqn out = {0};
    unsigned index;
    ipcx_status status = find_interface(url, &index, err);
    if (status != IPCX_OK) {
        return status;
    }
    out.imr_ifindex = (int)index;
    if (four) {
        done = (index == 0 || setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) == 0) &&
               (url->ttl < 0 || set(fd, IPPROTO_IP, IP_MULTICAST_TTL, url->ttl)) &&
               (url->loop < 0 || set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, url->loop));
    } else {
        done = (index == 0 || set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)index)) &&
               (url->ttl < 0 || set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, url->ttl)) &&
               (url->loop < 0 || set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, url->loop));
    }
    return done ? IPCX_OK : failed(err, "the group's options");
}

bool ipcx__udp_same(const ipcx_addr *a, const ipcx_addr *b)
{
    if (a->u.sa.sa_family != b->u.sa.sa_family) {
        return false;
    }
    if (a->u.sa.sa_family == AF_INET) {
        return a->u.in.sin_port == b->u.in.sin_port &&
               a->u.in.sin_addr.s_addr == b->u.in.sin_addr.s_addr;
    }
    return a->u.in6.sin6_port == b->u.in6.sin6_port &&
           a->u.in6.sin6_scope_id == b->u.in6.sin6_scope_id &&
           memcmp(&a->u.in6.sin6_addr, &b->u.in6.sin6_addr, sizeof a->u.in6.sin6_addr) == 0;
}

void ipcx__udp_url(const ipcx_addr *addr, char *text)
{
    ipcx__tcp_url(addr, text);
    memcpy(text, "udp", 3);
}
