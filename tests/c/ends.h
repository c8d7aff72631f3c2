/* SPDX-License-Identifier: Apache-2.0
 * Sockets to test with: one end with its gate, pairs, addresses nobody else has.
 * Invariant: included after check.h, in one file of a program. */
#ifndef IPCX_TESTS_ENDS_H
#define IPCX_TESTS_ENDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ipcx/addr.h"
#include "ipcx/fd.h"
#include "os/gate.h"
#include "os/sock_io.h"

#include "addresses.h"

#define MS INT64_C(1000000)

typedef struct end {
    int fd;
    ipcx_gate gate;
    bool stream;
} end;

static inline ipcx__io io_of(end *self, ipcx_deadline deadline)
{
    return (ipcx__io){
        .fd = self->fd, .gate = &self->gate, .deadline = deadline, .stream = self->stream};
}

static inline end end_make(int fd, int type)
{
    REQUIRE(fd >= 0);
    return (end){.fd = fd, .stream = type == SOCK_STREAM};
}

static inline void pair_make(end *a, end *b, int type)
{
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) == 0);
    *a = end_make(fds[0], type);
    *b = end_make(fds[1], type);
}

static inline void end_close(end *self)
{
    ipcx__gate_close(&self->gate);
    CHECK_OK(ipcx_fd_close(self->fd, NULL));
}

static inline ipcx_status send_bytes(end *self, const void *bytes, size_t n, ipcx_deadline deadline,
                                     size_t *sent)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ipcx__io io = io_of(self, deadline);
    return ipcx__io_sendmsg(&io, &msg, MSG_NOSIGNAL, sent, NULL);
}

static inline ipcx_status recv_bytes(end *self, void *bytes, size_t n, ipcx_deadline deadline,
                                     size_t *got)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ipcx__io io = io_of(self, deadline);
    return ipcx__io_recvmsg(&io, &msg, 0, got, NULL);
}

static inline void check_hello(end *from, end *to)
{
    char bytes[16] = {0};
    size_t n = 0;
    CHECK_OK(send_bytes(from, "hello", 5, IPCX_FOREVER, &n));
    CHECK_INT(n, 5);
    CHECK_OK(recv_bytes(to, bytes, sizeof bytes, IPCX_FOREVER, &n));
    CHECK_INT(n, 5);
    CHECK_STR(bytes, "hello");
}

/* A socket bound to a new address, which is put into *addr as the kernel has it. */
static inline end bound(const char *kind, int type, ipcx_addr *addr)
{
    end self;
    *addr = address(kind);
    self = end_make(socket(addr->u.sa.sa_family, type | SOCK_CLOEXEC, 0), type);
    REQUIRE(bind(self.fd, &addr->u.sa, addr->len) == 0);
    addr->len = sizeof addr->u;
    REQUIRE(getsockname(self.fd, &addr->u.sa, &addr->len) == 0);
    return self;
}

#endif
