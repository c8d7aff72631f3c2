/* SPDX-License-Identifier: Apache-2.0
 * The verbs of a socket that may wait, each one call with one deadline, on a bare descriptor and a
 * gate. ipcx_sock (ipcx/sock.h) and the Python binding both stand on these.
 *
 * Try first, then wait: a verb makes its system call without blocking, whatever the descriptor's
 * mode, and waits with poll(2) only when there is nothing to do yet; `as_kernel` has the kernel
 * wait. Invariant: none of them sleeps but between ipcx__gate_sleep and ipcx__gate_wake_up. */
#ifndef IPCX_OS_SOCK_IO_H
#define IPCX_OS_SOCK_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "ipcx/addr.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

typedef struct ipcx__io {
    int fd;
    ipcx_gate *gate;
    ipcx_deadline deadline;
    bool stream;
    /* With IPCX_FOREVER only: make the kernel's own blocking call, so that O_NONBLOCK, SO_RCVTIMEO,
     * SO_SNDTIMEO, MSG_WAITALL and whatever else it heeds have their meaning. */
    bool as_kernel;
} ipcx__io;

/* All verbs answer: OK · AGAIN (deadline IPCX_NOW, or what O_NONBLOCK and the time-out options
 * say) · TIMEOUT · INTR (run the signal handlers, call again) · CLOSED · a failure with sys_errno.
 */

/* ipcx__io_recvmsg: recvmsg(2) into `msg`; *got bytes. `msg` may be used up (iovec advanced). */
ipcx_status ipcx__io_recvmsg(const ipcx__io *io, struct msghdr *msg, int flags, size_t *got,
                             ipcx_error *err);

/* ipcx__io_sendmsg: sendmsg(2) of `msg`; *sent bytes. On a stream with IPCX_FOREVER it takes all
 * of it unless a signal, an error or a time-out option ends it, and *sent > 0 is OK then, as with
 * send(2). */
ipcx_status ipcx__io_sendmsg(const ipcx__io *io, struct msghdr *msg, int flags, size_t *sent,
                             ipcx_error *err);

/* ipcx__io_skip_sent: leaves in `msg` what is behind the first `n` bytes; false when there is
 * nothing. Descriptors travel with the first byte (unix(7)), so no control data is left. */
bool ipcx__io_skip_sent(struct msghdr *msg, size_t n);

/* ipcx__io_send_all: the whole of `data` to a stream; *sent counts on from where it stands, in
 * every outcome, so the same call goes on where it was interrupted. */
ipcx_status ipcx__io_send_all(const ipcx__io *io, const void *data, size_t size, int flags,
                              size_t *sent, ipcx_error *err);

/* ipcx__io_sendfile: sendfile(2) of `count` bytes of the file `from` at *offset, which moves on;
 * *sent 0 is the file's end. */
ipcx_status ipcx__io_sendfile(const ipcx__io *io, int from, off_t *offset, size_t count,
                              size_t *sent, ipcx_error *err);

/* ipcx__io_accept: accept4(2), close-on-exec; *fd is the caller's. `addr` may be NULL. */
ipcx_status ipcx__io_accept(const ipcx__io *io, int *fd, ipcx_addr *addr, ipcx_error *err);

/* ipcx__io_connect: begins connect(2). MORE: under way (a signal may have arrived),
 * ipcx__io_connected waits for it. */
ipcx_status ipcx__io_connect(const ipcx__io *io, const struct sockaddr *addr, socklen_t len,
                             ipcx_error *err);

/* ipcx__io_connect_or_wait: both; called again, it goes on with an attempt that is under way. */
ipcx_status ipcx__io_connect_or_wait(const ipcx__io *io, const struct sockaddr *addr, socklen_t len,
                                     ipcx_error *err);

/* ipcx__io_connected: waits for a connection under way and tells how it ended (SO_ERROR). */
ipcx_status ipcx__io_connected(const ipcx__io *io, ipcx_error *err);

/* ipcx__io_recv_exactly: `size` bytes of a stream; *got counts on in every outcome. EOF: the peer
 * closed before. */
ipcx_status ipcx__io_recv_exactly(const ipcx__io *io, void *buffer, size_t size, size_t *got,
                                  ipcx_error *err);

/* ipcx__io_recv_until: bytes of a stream up to and with `delimiter`, at most `limit`, into
 * `buffer` of `limit` bytes; nothing past the delimiter is taken. *got counts on in every outcome.
 * MORE: the buffer's *room* is used up but the limit is not: enlarge it, call again. TOO_LARGE:
 * `limit` bytes without it. EOF: the peer closed before. */
ipcx_status ipcx__io_recv_until(const ipcx__io *io, char *buffer, size_t room, size_t limit,
                                const char *delimiter, size_t delimiter_size, size_t *got,
                                ipcx_error *err);

/* Shared by the verbs: what to do after EAGAIN. {0} at the start of a call. */
typedef struct ipcx__wait {
    int64_t nap; /* ns of the next nap */
    int in_vain; /* how often in a row readiness was promised at once and was not true */
} ipcx__wait;

/* ipcx__wait_ready: OK: try again. */
ipcx_status ipcx__wait_ready(const ipcx__io *io, ipcx__wait *wait, short events, ipcx_error *err);

/* ipcx__io_failed: the status of errno, AGAIN for EAGAIN and INTR for EINTR among them. */
ipcx_status ipcx__io_failed(const char *op, ipcx_error *err);

#endif
