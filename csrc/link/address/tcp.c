/* SPDX-License-Identifier: Apache-2.0
 * TCP as channels use it: addresses, and options every socket gets. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link/address/dial.h"
#include "link/address/url.h"
#include "link/address/vigil.h"

static bool set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

ipcx_status ipcx__tcp_open(const ipcx_addr *addr, int *fd, ipcx_error *err)
{
    int made = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;
    ipcx_status status;
    if (made >= 0 && set(made, IPPROTO_TCP, TCP_NODELAY, 1) &&
        ipcx__vigil_begin(made, IPCX__VANISH_NS)) {
        *fd = made;
        return IPCX_OK;
    }
    error = errno;
    if (made >= 0) {
        (void)close(made);
    }
    status = ipcx_status_from_errno(error);
    return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, error, "socket", "a TCP socket");
}

static void add(ipcx__addresses *found, const void *addr, socklen_t len, int port)
{
    ipcx_addr *made = &found->at[found->count];
    if (found->count == IPCX__ADDRESSES_MAX || len > sizeof made->u) {
        return;
    }
    *made = (ipcx_addr){.len = len};
    memcpy(&made->u, addr, len);
    if (made->u.sa.sa_family == AF_INET) {
        made->u.in.sin_port = htons((uint16_t)port);
        found->count++;
    } else if (made->u.sa.sa_family == AF_INET6) {
        made->u.in6.sin6_port = htons((uint16_t)port);
        found->count++;
    }
}

static ipcx_status add_number(ipcx__addresses *found, const char *host, int port)
{
    ipcx_addr addr;
    ipcx_status status = ipcx_addr_ip(&addr, host, port, NULL);
    if (status == IPCX_OK) {
        found->at[found->count++] = addr;
    }
    return status;
}

/* As getaddrinfo(3) orders them; a listener at a name with both kinds takes IPv4 first, which is
 * what most people mean by "localhost". */
static ipcx_status ask(const ipcx_url *url, bool listening, ipcx__addresses *found, ipcx_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    int code = getaddrinfo(url->name, NULL, &hints, &all), saved = errno;
    if (code == EAI_SYSTEM) {
        return ipcx_error_set(err, IPCX_SYSTEM, saved, "resolve", "%.60s", url->name);
    }
    if (code == EAI_MEMORY) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "resolve", "%.60s", url->name);
    }
    for (int round = 0; code == 0 && round < (listening ? 2 : 1); round++) {
        for (const struct addrinfo *at = all; at != NULL; at = at->ai_next) {
            if (!listening || (at->ai_family == AF_INET) == (round == 0)) {
                add(found, at->ai_addr, at->ai_addrlen, url->port);
            }
        }
    }
    if (code == 0) {
        freeaddrinfo(all);
        code = found->count > 0 ? 0 : EAI_FAMILY;
    }
    return code == 0 ? IPCX_OK
                     : ipcx_error_set(err, IPCX_RESOLVE, 0, "resolve", "%.60s: %s", url->name,
                                      gai_strerror(code));
}

ipcx_status ipcx__tcp_resolve(const ipcx_url *url, bool listening, ipcx__addresses *found,
                              ipcx_error *err)
{
    found->count = 0;
    if (url->port < 0) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", "tcp://",
                              "host and port are missing: tcp://127.0.0.1:5000");
    }
    if (url->port == 0 && !listening) {
        char text[IPCX_URL_MAX];
        (void)ipcx_url_format(url, text, sizeof text);
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "only a listener may leave the port to the system");
    }
    if (url->name[0] == '\0') {
        /* An IPv6 socket at :: takes both kinds; where there is no IPv6, the second will do. */
        (void)!add_number(found, listening ? "::" : "127.0.0.1", url->port);
        (void)!add_number(found, listening ? "0.0.0.0" : "::1", url->port);
        return IPCX_OK;
    }
    if (add_number(found, url->name, url->port) == IPCX_OK) {
        return IPCX_OK;
    }
    return ask(url, listening, found, err);
}

static bool is_mapped(const ipcx_addr *addr)
{
    return addr->u.sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->u.in6.sin6_addr);
}

bool ipcx__tcp_is_loopback(const ipcx_addr *addr)
{
    if (addr->u.sa.sa_family == AF_INET) {
        return ntohl(addr->u.in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    return IN6_IS_ADDR_LOOPBACK(&addr->u.in6.sin6_addr) ||
           (is_mapped(addr) && addr->u.in6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
}

void ipcx__tcp_url(const ipcx_addr *addr, char *text)
{
    char address[IPCX_ADDR_TEXT_MAX];
    ipcx_addr plain = *addr;
    if (is_mapped(addr)) { /* an IPv4 peer of an IPv6 listener */
        plain = (ipcx_addr){.len = sizeof plain.u.in};
        plain.u.in.sin_family = AF_INET;
        plain.u.in.sin_port = addr->u.in6.sin6_port;
        memcpy(&plain.u.in.sin_addr, &addr->u.in6.sin6_addr.s6_addr[12], 4);
    }
    (void)ipcx_addr_format(&plain, address, sizeof address);
    (void)snprintf(text, IPCX_URL_MAX, "tcp://%s", address);
}

void ipcx__stream_url(ipcx_scheme scheme, bool any, const ipcx_addr *addr, char *text)
{
    if (any) {
        (void)snprintf(text, IPCX_URL_MAX, "tcp://*:%d", ipcx_addr_port(addr));
    } else {
        ipcx__tcp_url(addr, text);
    }
    if (scheme == IPCX_SCHEME_TLS) {
        text[1] = 'l';
        text[2] = 's';
    }
}
