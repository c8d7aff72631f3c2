/* SPDX-License-Identifier: Apache-2.0
 * What only Unix sockets can do: hand over descriptors, and say who is at the other end (unix(7)).
 * Statuses are those of sock.h.
 * Invariant: a descriptor that arrives is handed out close-on-exec or closed again; none leaks. */
#ifndef IPCX_SOCK_UNIX_H
#define IPCX_SOCK_UNIX_H

#include "ipcx/sock.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As many descriptors as one message may carry: SCM_MAX_FD, unix(7). */
#define IPCX_SOCK_FDS_MAX 253

/* ipcx_sock_send_fds: `size` bytes (at least 1) and `count` descriptors with them, which remain the
 * caller's. INVALID: no byte, or too many descriptors. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_send_fds(ipcx_sock *sock, const void *data,
                                                       size_t size, const int *fds, int count,
                                                       ipcx_deadline deadline, size_t *sent,
                                                       ipcx_error *err);

/* ipcx_sock_recv_fds: bytes, and up to `*count` descriptors, which become the caller's; *count is
 * how many came. PROTOCOL: more came than there was room for; all of them are closed again, *count
 * is 0 and the bytes are lost. TOO_LARGE: a datagram did not fit; the descriptors are yours all the
 * same. EOF: a stream's peer has closed its end. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_recv_fds(ipcx_sock *sock, void *buffer, size_t size,
                                                       int *fds, int *count, ipcx_deadline deadline,
                                                       size_t *got, ipcx_error *err);

/* Who created the other end, as the kernel saw it then. A pid may have been reused since. */
typedef struct ipcx_cred {
    pid_t pid;
    uid_t uid;
    gid_t gid;
} ipcx_cred;

/* ipcx_sock_peer_cred: SO_PEERCRED. UNSUPPORTED: not a connected Unix socket. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sock_peer_cred(ipcx_sock *sock, ipcx_cred *cred,
                                                        ipcx_error *err);

#ifdef __cplusplus
}
#endif

#endif
