/* SPDX-License-Identifier: Apache-2.0
 * Sockets: IPv4, IPv6 and Unix; streams, datagrams, and datagrams in order (SOCK_SEQPACKET).
 * A blocking call has one deadline (clock.h) for all it does: IPCX_NOW polls, IPCX_FOREVER waits.
 *
 *     ipcx_sock sock = {0};
 *     ipcx_error err;
 *     if (ipcx_sock_open(&sock, AF_INET, SOCK_STREAM, 0, &err) == IPCX_OK &&
 *         ipcx_sock_connect(&sock, &server, ipcx_deadline_after(5000000000), &err) == IPCX_OK) …
 *     (void)ipcx_sock_close(&sock, NULL);
 *
 * Threads: any number may use one socket; close may be called while others are blocked in it: they
 * return CLOSED. Signals: a call that one interrupts returns INTR; call again with the same
 * deadline. Answers of every call that may wait, beside those it names: AGAIN (IPCX_NOW, and it
 * would have had to wait) · TIMEOUT · INTR · CLOSED. Failures: REFUSED, ADDRESS_IN_USE, PEER_CLOSED
 * (reset, broken pipe), EXHAUSTED (descriptors, buffers), TOO_LARGE (EMSGSIZE), else SYSTEM;
 * sys_errno is set. Invariant: descriptors are close-on-exec and non-blocking from their first
 * instant. */
#ifndef IPCX_SOCK_H
#define IPCX_SOCK_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "ipcx/addr.h"
#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* {0} is a closed socket. The fields are the socket's own; do not copy an open one. */
typedef struct ipcx_sock {
    int fd;
    int open;
    int stream;
    ipcx_gate gate;
} ipcx_sock;

/* ipcx_sock_open: socket(2). `sock` must be closed. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_open(ipcx_sock *sock, int family, int type,
                                                   int protocol, ipcx_error *err);

/* ipcx_sock_pair: socketpair(2), two connected Unix sockets. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_pair(ipcx_sock *a, ipcx_sock *b, int type,
                                                   ipcx_error *err);

/* ipcx_sock_adopt: takes ownership of `fd`, which becomes non-blocking and close-on-exec. INVALID:
 * it is no socket; then it remains the caller's. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_adopt(ipcx_sock *sock, int fd, ipcx_error *err);

/* ipcx_sock_detach: gives the descriptor to the caller and closes the object only. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_detach(ipcx_sock *sock, int *fd, ipcx_error *err);

/* ipcx_sock_close: closes it; idempotent. Threads blocked in it return CLOSED first. The connection
 * itself lives on where another process or a duplicate has the descriptor. */
IPCX_API ipcx_status ipcx_sock_close(ipcx_sock *sock, ipcx_error *err);

/* ipcx_sock_bind, ipcx_sock_listen: bind(2), listen(2). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_bind(ipcx_sock *sock, const ipcx_addr *addr,
                                                   ipcx_error *err);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_listen(ipcx_sock *sock, int backlog, ipcx_error *err);

/* ipcx_sock_name, ipcx_sock_peer: the address of this end, and of the other. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_name(ipcx_sock *sock, ipcx_addr *addr,
                                                   ipcx_error *err);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_peer(ipcx_sock *sock, ipcx_addr *addr,
                                                   ipcx_error *err);

/* ipcx_sock_accept: the next client of a listening socket into `client`, which must be closed;
 * `addr` may be NULL. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_accept(ipcx_sock *sock, ipcx_sock *client,
                                                     ipcx_addr *addr, ipcx_deadline deadline,
                                                     ipcx_error *err);

/* ipcx_sock_connect: connects, or names the peer of a datagram socket. After AGAIN, TIMEOUT or INTR
 * the attempt goes on: call again with the same address. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_connect(ipcx_sock *sock, const ipcx_addr *addr,
                                                      ipcx_deadline deadline, ipcx_error *err);

/* ipcx_sock_send: one send(2); *sent may be less than `size` on a stream. Never raises SIGPIPE. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_send(ipcx_sock *sock, const void *data, size_t size,
                                                   ipcx_deadline deadline, size_t *sent,
                                                   ipcx_error *err);

/* ipcx_sock_send_all: all of it. *sent counts on from where it stands, in every outcome: set it to
 * 0 first, call again with it after INTR or TIMEOUT. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_send_all(ipcx_sock *sock, const void *data,
                                                       size_t size, ipcx_deadline deadline,
                                                       size_t *sent, ipcx_error *err);

/* ipcx_sock_sendv: gathers `count` (at most 1024) pieces into one send, to `addr` if not NULL. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_sendv(ipcx_sock *sock, const struct iovec *iov,
                                                    int count, const ipcx_addr *addr,
                                                    ipcx_deadline deadline, size_t *sent,
                                                    ipcx_error *err);

/* ipcx_sock_recv: up to `size` bytes. EOF: a stream's peer has closed its end. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_recv(ipcx_sock *sock, void *buffer, size_t size,
                                                   ipcx_deadline deadline, size_t *got,
                                                   ipcx_error *err);

/* ipcx_sock_recvv: scatters over `count` pieces and tells the sender (`addr` may be NULL).
 * TOO_LARGE: a datagram did not fit; *got bytes of it did, the rest is lost. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_recvv(ipcx_sock *sock, const struct iovec *iov,
                                                    int count, ipcx_addr *addr,
                                                    ipcx_deadline deadline, size_t *got,
                                                    ipcx_error *err);

/* ipcx_sock_recv_exactly: `size` bytes of a stream; *got counts on as in send_all. EOF: the peer
 * closed before. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_recv_exactly(ipcx_sock *sock, void *buffer,
                                                           size_t size, ipcx_deadline deadline,
                                                           size_t *got, ipcx_error *err);

#ifdef __cplusplus
}
#endif

#endif
