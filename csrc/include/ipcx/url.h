/* SPDX-License-Identifier: Apache-2.0
 * The address of a channel, as one writes it: the scheme names the transport.
 *
 *     inproc://name          threads of this process      pipe://R,W   two descriptors of ours
 *     unix:///run/app.sock   processes of this host       pipe://-     stdin and stdout
 *     shm://name             processes of this user on this host, through shared memory
 *     tcp://host:port        any host; tcp://[::1]:5000   inproc://    no name: a pair's
 *     tls://host:port        any host, encrypted, the listener certified
 *     udp://host:port        any host, one datagram a message
 *     udp://239.1.2.3:5000?ttl=1&loop=0&if=eth0           a multicast group, and how to reach it
 *     file:///var/log/app.log                             a log (ipcx/log.h): who connects appends
 *     file:///var/log/app.log?from=end&durable=1          … and who accepts follows
 *     fifo:///run/orders?wait=1                           a named pipe: many write, one reads
 *
 * Parsing asks nobody and opens nothing. Invariant: what is accepted has no NUL and nothing left
 * over; a name is refused, never cut. */
#ifndef IPCX_URL_H
#define IPCX_URL_H

#include <stddef.h>

#include "ipcx/api.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ipcx_scheme {
    IPCX_SCHEME_INPROC = 1,
    IPCX_SCHEME_UNIX,
    IPCX_SCHEME_TCP,
    IPCX_SCHEME_PIPE,
    IPCX_SCHEME_SHM,
    IPCX_SCHEME_UDP,
    IPCX_SCHEME_FILE,
    IPCX_SCHEME_TLS,
    IPCX_SCHEME_FIFO
} ipcx_scheme;

/* Bytes of a URL with its NUL; a longer one is refused. */
#define IPCX_URL_MAX 512

/* The parts of a URL. */
typedef struct ipcx_url {
    ipcx_scheme scheme;
    char name[256]; /* inproc, shm: the name; unix, file, fifo: the path; tcp, tls, udp: the host
                       without brackets; or "" */
    int port;       /* tcp, tls, udp: 0…65535, else -1 */
    int read_fd, write_fd; /* pipe: the two descriptors, -1 for none */
    int ttl, loop;         /* udp: of what goes to a group; -1: the system's */
    char interface[16];    /* udp: the group's, "" for the system's choice */
    int from_end, durable; /* file: 1 if so */
    int wait;              /* fifo: 1: connect waits for a reader, as long as its deadline says */
} ipcx_url;

/* ipcx_url_parse: INVALID_URL: the text is none; the detail says what is wrong and, for an unknown
 * scheme, which there are and the nearest of them. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_url_parse(ipcx_url *url, const char *text,
                                                   ipcx_error *err);

/* ipcx_url_format: writes the URL, at most `cap` bytes with its NUL; returns its whole length. */
IPCX_API size_t ipcx_url_format(const ipcx_url *url, char *text, size_t cap);

#ifdef __cplusplus
}
#endif

#endif
