/* SPDX-License-Identifier: Apache-2.0
 * Where a socket is: an IPv4, IPv6 or Unix address in storage of the caller's, to be made from
 * text, handed to the kernel, and shown to people.
 * Invariant: `len` bytes of `u` are the address exactly as the kernel takes and gives it; {0} is
 * "no address". A failed call leaves the old address as it was. */
#ifndef IPCX_ADDR_H
#define IPCX_ADDR_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ipcx/api.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ipcx_addr {
    socklen_t len;
    union {
        struct sockaddr sa; /* sa.sa_family says which of the others it is */
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage ss;
    } u;
} ipcx_addr;

/* Room for any text of ipcx_addr_format, the NUL included: a Unix path of 108 bytes, each of which
 * may be shown as \xNN, and one for the '@'. */
#define IPCX_ADDR_TEXT_MAX 448

/* ipcx_addr_ip: an address from numbers alone: "127.0.0.1", "::1", "fe80::1%eth0", "fe80::1%2".
 * Never asks a name server, never blocks. INVALID when `host` is no such number (names are for
 * ipcx_addr_resolve), the scope names no interface, or port is outside 0…65535. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_addr_ip(ipcx_addr *addr, const char *host, int port,
                                                 ipcx_error *err);

/* ipcx_addr_unix: a Unix socket's address from `len` bytes at `path`: a path in the file system (at
 * most 107 bytes); an abstract name when the first byte is NUL (at most 108 with it, any bytes);
 * with len 0 the kernel chooses an abstract name at bind. INVALID when it is too long or a path
 * has a NUL inside. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_addr_unix(ipcx_addr *addr, const char *path, size_t len,
                                                   ipcx_error *err);

/* ipcx_addr_resolve: like ipcx_addr_ip, but `host` may be a name; "" is the wildcard (every address
 * of this machine). `family` is AF_INET, AF_INET6 or AF_UNSPEC (whichever comes first). Numbers are
 * tried first, so only a name may block: in the resolver, for as long as that likes, no deadline.
 * Statuses: OK, INVALID (port, family), NOMEM, SYSTEM, RESOLVE: then *gai_code (which may be NULL)
 * is getaddrinfo's EAI_ code; it is 0 otherwise. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_addr_resolve(ipcx_addr *addr, int family, const char *host,
                                                      int port, int *gai_code, ipcx_error *err);

/* ipcx_addr_format: the address for people: "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80", "/path",
 * "@abstract"; unprintable bytes as \xNN, backslash doubled; "" for an unnamed Unix socket or none.
 * Writes at most `cap` bytes, NUL included (cap 0 writes nothing, buf may be NULL); returns the
 * length the whole text has, without its NUL. */
IPCX_API size_t ipcx_addr_format(const ipcx_addr *addr, char *buf, size_t cap);

/* ipcx_addr_port: 0…65535, or -1 for an address without a port. */
IPCX_API int ipcx_addr_port(const ipcx_addr *addr);

#ifdef __cplusplus
}
#endif

#endif
