/* SPDX-License-Identifier: Apache-2.0
 * Socket addresses from text and back.
 * Invariant: an address is built aside and copied out whole, and a length that came from elsewhere
 * is checked against the storage before a byte behind it is read. */
#include "ipcx/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PATH_AT offsetof(struct sockaddr_un, sun_path)
#define PATH_MAX_BYTES (sizeof((struct sockaddr_un *)0)->sun_path)

/* Text that counts what it would need and writes what fits. */
typedef struct text {
    char *buf;
    size_t cap;
    size_t len;
} text;

static void text_byte(text *out, char byte)
{
    if (out->len + 1 < out->cap) {
        out->buf[out->len] = byte;
    }
    out->len++;
}

static void text_string(text *out, const char *string)
{
    while (*string != '\0') {
        text_byte(out, *string++);
    }
}

static void text_escaped(text *out, const char *bytes, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    size_t i;
    for (i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c < 0x20 || c == 0x7f) {
            text_string(out, "\\x");
            text_byte(out, hex[c >> 4]);
            text_byte(out, hex[c & 15]);
        } else {
            if (c == '\\') {
                text_byte(out, '\\');
            }
            text_byte(out, (char)c);
        }
    }
}

static ipcx_status port_check(int port, const char *op, ipcx_error *err)
{
    if (port < 0 || port > 65535) {
        return ipcx_error_set(err, IPCX_INVALID, 0, op, "port %d is not in 0-65535", port);
    }
    return IPCX_OK;
}

static void make_in(ipcx_addr *addr, struct in_addr ip, int port)
{
    ipcx_addr made;
    memset(&made, 0, sizeof made);
    made.len = (socklen_t)sizeof made.u.in;
    made.u.in.sin_family = AF_INET;
    made.u.in.sin_port = htons((uint16_t)port);
    made.u.in.sin_addr = ip;
    *addr = made;
}

static void make_in6(ipcx_addr *addr, struct in6_addr ip, uint32_t scope, int port)
{
    ipcx_addr made;
    memset(&made, 0, sizeof made);
    made.len = (socklen_t)sizeof made.u.in6;
    made.u.in6.sin6_family = AF_INET6;
    made.u.in6.sin6_port = htons((uint16_t)port);
    made.u.in6.sin6_addr = ip;
    made.u.in6.sin6_scope_id = scope;
    *addr = made;
}

/* The scope behind the '%': an interface's name, or its number. 1 when it is one. */
static int scope_parse(const char *name, uint32_t *scope)
{
    uint64_t number = 0;
    const char *at;
    *scope = if_nametoindex(name);
    if (*scope != 0) {
        return 1;
    }
    for (at = name; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (uint64_t)(*at - '0');
        if (number > UINT32_MAX) {
            return 0;
        }
    }
    *scope = (uint32_t)number;
    return at != name && *at == '\0';
}

/* 1 and an address when `host` is a numeric address of `family`. */
static int parse_numeric(ipcx_addr *addr, int family, const char *host, int port)
{
    char bare[INET6_ADDRSTRLEN];
    struct in_addr in;
    struct in6_addr in6;
    uint32_t scope = 0;
    const char *percent = strchr(host, '%');
    size_t n = percent != NULL ? (size_t)(percent - host) : strlen(host);

    if (family != AF_INET6 && inet_pton(AF_INET, host, &in) == 1) {
        make_in(addr, in, port);
        return 1;
    }
    if (family == AF_INET || n >= sizeof bare) {
        return 0;
    }
    memcpy(bare, host, n);
    bare[n] = '\0';
    if (inet_pton(AF_INET6, bare, &in6) != 1 ||
        (percent != NULL && !scope_parse(percent + 1, &scope))) {
        return 0;
    }
    make_in6(addr, in6, scope, port);
    return 1;
}

static ipcx_status gai_fail(int code, const char *host, int *gai_code, ipcx_error *err)
{
    if (code == EAI_SYSTEM) {
        return ipcx_error_set(err, IPCX_SYSTEM, errno, "resolve", "%s", host);
    }
    if (code == EAI_MEMORY) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "resolve", "%s", host);
    }
    if (gai_code != NULL) {
        *gai_code = code;
    }
    return ipcx_error_set(err, IPCX_RESOLVE, 0, "resolve", "%s: %s", host, gai_strerror(code));
}

static ipcx_status resolve_name(ipcx_addr *addr, int family, const char *host, int port,
                                int *gai_code, ipcx_error *err)
{
    struct addrinfo hints;
    struct addrinfo *found = NULL;
    const struct addrinfo *at;
    int code;

    memset(&hints, 0, sizeof hints);
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM; /* one entry an address, not one a protocol */
    code = getaddrinfo(host, NULL, &hints, &found);
    if (code != 0) {
        return gai_fail(code, host, gai_code, err);
    }
    for (at = found; at != NULL; at = at->ai_next) {
        if (at->ai_family == AF_INET && at->ai_addrlen == sizeof(struct sockaddr_in)) {
            struct sockaddr_in in;
            memcpy(&in, at->ai_addr, sizeof in);
            make_in(addr, in.sin_addr, port);
            break;
        }
        if (at->ai_family == AF_INET6 && at->ai_addrlen == sizeof(struct sockaddr_in6)) {
            struct sockaddr_in6 in6;
            memcpy(&in6, at->ai_addr, sizeof in6);
            make_in6(addr, in6.sin6_addr, in6.sin6_scope_id, port);
            break;
        }
    }
    code = at != NULL ? 0 : EAI_FAMILY;
    freeaddrinfo(found);
    return code == 0 ? IPCX_OK : gai_fail(code, host, gai_code, err);
}

ipcx_status ipcx_addr_ip(ipcx_addr *addr, const char *host, int port, ipcx_error *err)
{
    ipcx_status status = port_check(port, "addr_ip", err);
    if (status != IPCX_OK) {
        return status;
    }
    if (!parse_numeric(addr, AF_UNSPEC, host, port)) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "addr_ip", "\"%.64s\" is no IP address", host);
    }
    return IPCX_OK;
}

ipcx_status ipcx_addr_unix(ipcx_addr *addr, const char *path, size_t len, ipcx_error *err)
{
    ipcx_addr made;
    int named = len > 0 && path[0] != '\0';
    size_t most = PATH_MAX_BYTES - (named ? 1 : 0);

    if (len > most) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "addr_unix",
                              "%zu bytes, a Unix socket's %s has at most %zu", len,
                              named ? "path" : "name", most);
    }
    if (named && memchr(path, '\0', len) != NULL) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "addr_unix", "NUL in the path %s", path);
    }
    memset(&made, 0, sizeof made);
    made.u.un.sun_family = AF_UNIX;
    if (len > 0) {
        memcpy(made.u.un.sun_path, path, len);
    }
    /* A path is passed with its NUL, an abstract name without: unix(7). */
    made.len = (socklen_t)(PATH_AT + len + (named ? 1 : 0));
    *addr = made;
    return IPCX_OK;
}

ipcx_status ipcx_addr_resolve(ipcx_addr *addr, int family, const char *host, int port,
                              int *gai_code, ipcx_error *err)
{
    ipcx_status status = port_check(port, "resolve", err);
    if (gai_code != NULL) {
        *gai_code = 0;
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (family != AF_INET && family != AF_INET6 && family != AF_UNSPEC) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "resolve", "address family %d", family);
    }
    if (host[0] == '\0') {
        host = family == AF_INET6 ? "::" : "0.0.0.0";
    }
    if (parse_numeric(addr, family, host, port)) {
        return IPCX_OK;
    }
    return resolve_name(addr, family, host, port, gai_code, err);
}

static void format_unix(text *out, const ipcx_addr *addr)
{
    const char *path = addr->u.un.sun_path;
    size_t n = addr->len < PATH_AT ? 0 : addr->len - PATH_AT;
    if (n > PATH_MAX_BYTES) {
        n = PATH_MAX_BYTES;
    }
    if (n > 0 && path[0] == '\0') {
        text_byte(out, '@');
        text_escaped(out, path + 1, n - 1);
    } else {
        text_escaped(out, path, strnlen(path, n));
    }
}

static void format_ip(text *out, const ipcx_addr *addr)
{
    char part[INET6_ADDRSTRLEN];
    if (addr->u.sa.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &addr->u.in.sin_addr, part, sizeof part);
        text_string(out, part);
    } else {
        (void)inet_ntop(AF_INET6, &addr->u.in6.sin6_addr, part, sizeof part);
        text_byte(out, '[');
        text_string(out, part);
        if (addr->u.in6.sin6_scope_id != 0) {
            (void)snprintf(part, sizeof part, "%%%u", (unsigned)addr->u.in6.sin6_scope_id);
            text_string(out, part);
        }
        text_byte(out, ']');
    }
    (void)snprintf(part, sizeof part, ":%d", ipcx_addr_port(addr));
    text_string(out, part);
}

size_t ipcx_addr_format(const ipcx_addr *addr, char *buf, size_t cap)
{
    text out = {buf, cap, 0};
    char family[32];
    if (addr->len >= sizeof addr->u.sa.sa_family) {
        if (ipcx_addr_port(addr) >= 0) {
            format_ip(&out, addr);
        } else if (addr->u.sa.sa_family == AF_UNIX) {
            format_unix(&out, addr);
        } else if (addr->u.sa.sa_family != AF_UNSPEC) {
            (void)snprintf(family, sizeof family, "(address family %d)", addr->u.sa.sa_family);
            text_string(&out, family);
        }
    }
    if (cap > 0) {
        buf[out.len < cap ? out.len : cap - 1] = '\0';
    }
    return out.len;
}

int ipcx_addr_port(const ipcx_addr *addr)
{
    if (addr->u.sa.sa_family == AF_INET && addr->len >= sizeof addr->u.in) {
        return ntohs(addr->u.in.sin_port);
    }
    if (addr->u.sa.sa_family == AF_INET6 && addr->len >= sizeof addr->u.in6) {
        return ntohs(addr->u.in6.sin6_port);
    }
    return -1;
}
