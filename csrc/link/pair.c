/* SPDX-License-Identifier: Apache-2.0
 * Two connected ends at once. They greet each other when they are used first, so either may go to
 * another process before.
 * Invariant: the two ends are connected to each other and to nobody else, also over TCP, where a
 * stranger may come in between. */
#include "ipcx/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link/datagram/chan_dgram.h"
#include "link/memory/chan_mem.h"
#include "link/shared/chan_shm.h"
#include "link/stream/chan_stream.h"
#include "link/address/dial.h"
#include "link/address/url.h"
#include "os/gate.h"

#define OP "pair"
#define TCP_BACKLOG 16
#define TCP_WITHIN INT64_C(5000000000)

/* Descriptors of the two ends: a reads a[0] and writes a[1]. */
typedef struct ends {
    int a[2], b[2];
} ends;

static ipcx_status failed(const char *url, ipcx_error *err)
{
    ipcx_status status = ipcx_status_from_errno(errno);
    return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, OP, "%s", url);
}

static void close_end(const int *fds)
{
    (void)close(fds[0]);
    if (fds[1] != fds[0]) {
        (void)close(fds[1]);
    }
}

static ipcx_status make_unix(ends *made, ipcx_error *err)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
        return failed("unix://", err);
    }
    *made = (ends){{fds[0], fds[0]}, {fds[1], fds[1]}};
    return IPCX_OK;
}

static ipcx_status make_pipes(ends *made, ipcx_error *err)
{
    int one[2], two[2];
    if (pipe2(one, O_CLOEXEC | O_NONBLOCK) < 0) {
        return failed("pipe://", err);
    }
    if (pipe2(two, O_CLOEXEC | O_NONBLOCK) < 0) {
        ipcx_status status = failed("pipe://", err);
        close_end(one);
        return status;
    }
    *made = (ends){{one[0], two[1]}, {two[0], one[1]}};
    return IPCX_OK;
}

/* ---- TCP: anybody on this host may connect to the listener before we do */

/* Accepts until it is the one that `client` is the other end of. */
static ipcx_status accept_own(int listener, int client, ipcx_deadline deadline, int *fd,
                              ipcx_error *err)
{
    ipcx_gate gate = {0};
    ipcx_addr own = {.len = sizeof own.u}, peer;
    if (getsockname(client, &own.u.sa, &own.len) < 0) {
        return failed("tcp://", err);
    }
    for (;;) {
        int accepted;
        peer.len = sizeof peer.u;
        accepted = accept4(listener, &peer.u.sa, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (accepted >= 0 && peer.len == own.len && memcmp(&peer.u, &own.u, own.len) == 0) {
            *fd = accepted;
            return IPCX_OK;
        }
        if (accepted >= 0) {
            (void)close(accepted);
        } else if (errno == EAGAIN) {
            ipcx_status status = ipcx__gate_poll(&gate, listener, POLLIN, deadline, err);
            if (status != IPCX_OK && status != IPCX_INTR) {
                return status;
            }
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return failed("tcp://", err);
        }
    }
}

static ipcx_status connect_own(int listener, const ipcx_addr *addr, ends *made, ipcx_error *err)
{
    ipcx_deadline deadline = ipcx_deadline_after(TCP_WITHIN);
    int client, accepted = -1;
    ipcx_status status = ipcx__tcp_open(addr, &client, err);
    if (status != IPCX_OK) {
        return status;
    }
    do {
        status = ipcx__dial(client, addr, deadline, err);
    } while (status == IPCX_INTR);
    if (status == IPCX_OK) {
        status = accept_own(listener, client, deadline, &accepted, err);
    }
    if (status != IPCX_OK) {
        (void)close(client);
        return status > 0 ? ipcx_error_set(err, IPCX_SYSTEM, ETIMEDOUT, OP, "tcp://") : status;
    }
    *made = (ends){{client, client}, {accepted, accepted}};
    return IPCX_OK;
}

static ipcx_status make_tcp(ends *made, ipcx_error *err)
{
    ipcx_addr addr;
    int listener;
    ipcx_status status = ipcx_addr_ip(&addr, "127.0.0.1", 0, err);
    if (status == IPCX_OK) {
        status = ipcx__tcp_open(&addr, &listener, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (bind(listener, &addr.u.sa, addr.len) < 0 || listen(listener, TCP_BACKLOG) < 0 ||
        getsockname(listener, &addr.u.sa, &addr.len) < 0) {
        status = failed("tcp://", err);
    } else {
        status = connect_own(listener, &addr, made, err);
    }
    (void)close(listener);
    return status;
}

/* ---- TLS: the ends agree on their keys while they are in one process */

static ipcx_status agree(ipcx_chan *a, ipcx_chan *b, ipcx_error *err)
{
    ipcx_gate gate = {0};
    ipcx_deadline deadline = ipcx_deadline_after(TCP_WITHIN);
    ipcx_status of_a, of_b, status = ipcx__chan_stream_attach(a, false, err);
    if (status == IPCX_OK) {
        status = ipcx__chan_stream_attach(b, true, err);
    }
    while (status == IPCX_OK || status == IPCX_INTR) {
        struct pollfd either[] = {{.fd = ipcx__chan_stream_fd(a), .events = POLLIN},
                                  {.fd = ipcx__chan_stream_fd(b), .events = POLLIN}};
        of_a = ipcx__chan_stream_shake(a, err);
        of_b = of_a < 0 ? of_a : ipcx__chan_stream_shake(b, err);
        if ((of_a == IPCX_OK && of_b == IPCX_OK) || of_b < 0) {
            return of_b;
        }
        status = ipcx__gate_poll_set(&gate, either, 2, deadline, err);
    }
    return status > 0 ? ipcx_error_set(err, IPCX_SYSTEM, ETIMEDOUT, OP, "tls://") : status;
}

/* ---- all of them */

static ipcx_status make(const ipcx_url *url, ends *made, ipcx_error *err)
{
    switch (url->scheme) {
    case IPCX_SCHEME_TCP:
    case IPCX_SCHEME_TLS:
        return make_tcp(made, err);
    case IPCX_SCHEME_PIPE:
        return make_pipes(made, err);
    case IPCX_SCHEME_UNIX:
    case IPCX_SCHEME_INPROC:
    case IPCX_SCHEME_SHM:
    case IPCX_SCHEME_UDP:
    case IPCX_SCHEME_FILE:
    case IPCX_SCHEME_FIFO:
        break;
    }
    return make_unix(made, err);
}

static ipcx_status pair_streams(const ipcx_url *url, const char *text,
                                const ipcx_chan_options *options, ipcx_chan **a, ipcx_chan **b,
                                ipcx_error *err)
{
    ends made = {{-1, -1}, {-1, -1}};
    ipcx_chan *first, *second;
    ipcx_status status = make(url, &made, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__chan_stream_make(url->scheme, made.a[0], made.a[1], text, options, &first, err);
    if (status != IPCX_OK) {
        close_end(made.a);
        close_end(made.b);
        return status;
    }
    status = ipcx__chan_stream_make(url->scheme, made.b[0], made.b[1], text, options, &second, err);
    if (status != IPCX_OK) {
        ipcx_chan_free(first);
        close_end(made.b);
        return status;
    }
    if (url->scheme == IPCX_SCHEME_TLS) {
        status = agree(first, second, err);
        if (status != IPCX_OK) {
            ipcx_chan_free(first);
            ipcx_chan_free(second);
            return status;
        }
    }
    *a = first;
    *b = second;
    return IPCX_OK;
}

ipcx_status ipcx_pair(const char *url, const ipcx_chan_options *options, ipcx_chan **a,
                      ipcx_chan **b, ipcx_error *err)
{
    char text[IPCX_URL_MAX];
    ipcx_chan_options filled;
    ipcx_url parsed;
    ipcx_status status = ipcx_url_parse(&parsed, url, err);
    if (status == IPCX_OK) {
        status = ipcx__chan_options_fill(options, &filled, err);
    }
    if (status == IPCX_OK && filled.authkey != NULL) {
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, OP, url,
                              "the two ends of a pair are connected to nobody else: no key");
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (parsed.scheme == IPCX_SCHEME_FILE) {
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "pair", url,
                              "a file has no two ends: listen and connect to one path");
    }
    if (parsed.scheme == IPCX_SCHEME_FIFO) {
        return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, "pair", url,
                              "a named pipe goes one way, between who finds its path; pipe:// "
                              "makes a pair");
    }
    if (parsed.name[0] != '\0' || parsed.port >= 0 || parsed.read_fd >= 0) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", url,
                              "a pair has no address: the scheme alone, as in unix://");
    }
    (void)ipcx_url_format(&parsed, text, sizeof text);
    if (parsed.scheme == IPCX_SCHEME_INPROC) {
        return ipcx__chan_mem_pair(text, &filled, a, b, err);
    }
    if (parsed.scheme == IPCX_SCHEME_SHM) {
        return ipcx__chan_shm_pair(text, &filled, a, b, err);
    }
    if (parsed.scheme == IPCX_SCHEME_UDP) {
        return ipcx__chan_dgram_pair(text, &filled, a, b, err);
    }
    return pair_streams(&parsed, text, &filled, a, b, err);
}
