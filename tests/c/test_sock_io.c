/* SPDX-License-Identifier: Apache-2.0
 * The verbs that may wait: every family and type, deadlines, signals, close from another thread. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>

#include "ends.h"

static void connect_accept(const char *kind, int type)
{
    ipcx_addr addr, from = {0};
    end server = bound(kind, type, &addr);
    end client = end_make(socket(addr.u.sa.sa_family, type | SOCK_CLOEXEC, 0), type), conn;
    ipcx__io io = io_of(&client, IPCX_FOREVER);
    ipcx_error err;
    int fd = -1, on = 0;

    REQUIRE(listen(server.fd, 4) == 0);
    CHECK_OK(ipcx__io_connect(&io, &addr.u.sa, addr.len, &err));
    io = io_of(&server, IPCX_FOREVER);
    CHECK_OK(ipcx__io_accept(&io, &fd, &from, &err));
    conn = end_make(fd, type);
    CHECK_INT(from.u.sa.sa_family, addr.u.sa.sa_family);
    CHECK_OK(ipcx_fd_get_cloexec(fd, &on, NULL));
    CHECK_INT(on, 1);
    check_hello(&client, &conn);
    check_hello(&conn, &client);
    end_close(&conn);
    end_close(&client);
    end_close(&server);
    unlink_address(&addr);
}

/* ---- families and types */

TEST(streams_of_every_family)
{
    connect_accept("4", SOCK_STREAM);
    connect_accept("6", SOCK_STREAM);
    connect_accept("path", SOCK_STREAM);
    connect_accept("abstract", SOCK_STREAM);
}

TEST(seqpacket_of_unix)
{
    connect_accept("path", SOCK_SEQPACKET);
    connect_accept("abstract", SOCK_SEQPACKET);
}

static void datagram(const char *kind)
{
    ipcx_addr to, from;
    end receiver = bound(kind, SOCK_DGRAM, &to), sender = bound(kind, SOCK_DGRAM, &from);
    ipcx_addr seen = {.len = sizeof seen.u};
    char bytes[8] = {0}, expected[IPCX_ADDR_TEXT_MAX], text[IPCX_ADDR_TEXT_MAX];
    struct iovec iov = {.iov_base = (void *)(uintptr_t)"0123456789", .iov_len = 10};
    struct msghdr msg = {
        .msg_name = &to.u, .msg_namelen = to.len, .msg_iov = &iov, .msg_iovlen = 1};
    ipcx__io io = io_of(&sender, IPCX_FOREVER);
    size_t n = 0;
    CHECK_OK(ipcx__io_sendmsg(&io, &msg, 0, &n, NULL));
    CHECK_INT(n, 10);
    iov = (struct iovec){.iov_base = bytes, .iov_len = 4};
    msg = (struct msghdr){
        .msg_name = &seen.u, .msg_namelen = sizeof seen.u, .msg_iov = &iov, .msg_iovlen = 1};
    io = io_of(&receiver, IPCX_FOREVER);
    CHECK_OK(ipcx__io_recvmsg(&io, &msg, 0, &n, NULL));
    CHECK_INT(n, 4);
    CHECK_STR(bytes, "0123");
    CHECK(msg.msg_flags & MSG_TRUNC);
    seen.len = msg.msg_namelen;
    ipcx_addr_format(&from, expected, sizeof expected);
    ipcx_addr_format(&seen, text, sizeof text);
    CHECK_STR(text, expected);
    end_close(&receiver);
    end_close(&sender);
    unlink_address(&to);
    unlink_address(&from);
}

TEST(datagrams_of_every_family)
{
    datagram("4");
    datagram("6");
    datagram("path");
    datagram("abstract");
}

TEST(seqpacket_keeps_boundaries)
{
    end a, b;
    char bytes[8] = {0};
    size_t n = 0;
    pair_make(&a, &b, SOCK_SEQPACKET);
    CHECK_OK(send_bytes(&a, "one", 3, IPCX_FOREVER, &n));
    CHECK_OK(send_bytes(&a, "three", 5, IPCX_FOREVER, &n));
    CHECK_OK(recv_bytes(&b, bytes, sizeof bytes, IPCX_NOW, &n));
    CHECK_INT(n, 3);
    CHECK_OK(recv_bytes(&b, bytes, sizeof bytes, IPCX_NOW, &n));
    CHECK_INT(n, 5);
    end_close(&a);
    end_close(&b);
}

/* ---- deadlines; lower bounds only */

TEST(polling_does_not_wait)
{
    ipcx_addr addr;
    end a, b, server = bound("4", SOCK_STREAM, &addr);
    ipcx__io io = io_of(&server, IPCX_NOW);
    char bytes[8];
    size_t n = 4711;
    int fd = 4711;
    pair_make(&a, &b, SOCK_STREAM);
    CHECK_STATUS(recv_bytes(&a, bytes, sizeof bytes, IPCX_NOW, &n), IPCX_AGAIN);
    CHECK_INT(n, 4711);
    REQUIRE(listen(server.fd, 1) == 0);
    REQUIRE(fcntl(server.fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK_STATUS(ipcx__io_accept(&io, &fd, NULL, NULL), IPCX_AGAIN);
    CHECK_INT(fd, 4711);
    end_close(&a);
    end_close(&b);
    end_close(&server);
}

static void fill(end *self)
{
    static const char bytes[65536];
    size_t n;
    while (send_bytes(self, bytes, sizeof bytes, IPCX_NOW, &n) == IPCX_OK) {
    }
    CHECK_STATUS(send_bytes(self, bytes, 1, IPCX_NOW, &n), IPCX_AGAIN);
}

TEST(a_deadline_is_waited_for)
{
    ipcx_addr addr;
    end a, b, server = bound("4", SOCK_STREAM, &addr);
    ipcx__io io;
    char bytes[8];
    size_t n = 0;
    int fd = -1;
    int64_t begun = ipcx_clock_now();
    pair_make(&a, &b, SOCK_STREAM);
    CHECK_STATUS(recv_bytes(&a, bytes, 8, ipcx_deadline_after(5 * MS), &n), IPCX_TIMEOUT);
    CHECK(ipcx_clock_now() - begun >= 5 * MS);
    fill(&a);
    begun = ipcx_clock_now();
    CHECK_STATUS(send_bytes(&a, "x", 1, ipcx_deadline_after(5 * MS), &n), IPCX_TIMEOUT);
    CHECK(ipcx_clock_now() - begun >= 5 * MS);
    REQUIRE(listen(server.fd, 1) == 0);
    begun = ipcx_clock_now();
    io = io_of(&server, ipcx_deadline_after(5 * MS));
    CHECK_STATUS(ipcx__io_accept(&io, &fd, NULL, NULL), IPCX_TIMEOUT);
    CHECK(ipcx_clock_now() - begun >= 5 * MS);
    end_close(&a);
    end_close(&b);
    end_close(&server);
}

/* ---- scatter, gather, large */

TEST(scatter_and_gather)
{
    end a, b;
    char x[4] = {0}, y[8] = {0};
    struct iovec out[3] = {{(void *)(uintptr_t)"ab", 2}, {NULL, 0}, {(void *)(uintptr_t)"cde", 3}};
    struct iovec in[2] = {{x, 3}, {y, 7}};
    struct msghdr to = {.msg_iov = out, .msg_iovlen = 3}, from = {.msg_iov = in, .msg_iovlen = 2};
    ipcx__io io;
    size_t n = 0;
    pair_make(&a, &b, SOCK_STREAM);
    io = io_of(&a, IPCX_FOREVER);
    CHECK_OK(ipcx__io_sendmsg(&io, &to, 0, &n, NULL));
    CHECK_INT(n, 5);
    io = io_of(&b, IPCX_FOREVER);
    CHECK_OK(ipcx__io_recvmsg(&io, &from, 0, &n, NULL));
    CHECK_INT(n, 5);
    CHECK_STR(x, "abc");
    CHECK_STR(y, "de");
    end_close(&a);
    end_close(&b);
}

#define LARGE (4u << 20)

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 12));
}

static void *read_large(void *arg)
{
    uint8_t *bytes = malloc(LARGE);
    ipcx__io io = io_of(arg, IPCX_FOREVER);
    size_t got = 0, i;
    REQUIRE(bytes != NULL);
    CHECK_OK(ipcx__io_recv_exactly(&io, bytes, LARGE, &got, NULL));
    CHECK_INT(got, LARGE);
    for (i = 0; i < LARGE; i++) {
        if (bytes[i] != pattern(i)) {
            CHECK_INT(bytes[i], pattern(i));
            break;
        }
    }
    free(bytes);
    return NULL;
}

TEST(a_blocking_send_takes_all_of_it)
{
    end a, b;
    pthread_t reader;
    uint8_t *bytes = malloc(LARGE);
    size_t i, n = 0;
    struct iovec iov[2];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ipcx__io io;
    REQUIRE(bytes != NULL);
    for (i = 0; i < LARGE; i++) {
        bytes[i] = pattern(i);
    }
    iov[0] = (struct iovec){bytes, 12345};
    iov[1] = (struct iovec){bytes + 12345, LARGE - 12345};
    pair_make(&a, &b, SOCK_STREAM);
    io = io_of(&a, IPCX_FOREVER);
    REQUIRE(pthread_create(&reader, NULL, read_large, &b) == 0);
    CHECK_OK(ipcx__io_sendmsg(&io, &msg, 0, &n, NULL));
    CHECK_INT(n, LARGE);
    pthread_join(reader, NULL);
    REQUIRE(pthread_create(&reader, NULL, read_large, &b) == 0);
    n = 0;
    CHECK_OK(ipcx__io_send_all(&io, bytes, LARGE, 0, &n, NULL));
    CHECK_INT(n, LARGE);
    pthread_join(reader, NULL);
    free(bytes);
    end_close(&a);
    end_close(&b);
}

TEST(send_all_counts_what_was_taken)
{
    static const char bytes[LARGE];
    end a, b;
    ipcx__io io;
    size_t sent = 0, before;
    pair_make(&a, &b, SOCK_STREAM);
    io = io_of(&a, IPCX_NOW);
    CHECK_STATUS(ipcx__io_send_all(&io, bytes, LARGE, 0, &sent, NULL), IPCX_AGAIN);
    CHECK(sent > 0 && sent < LARGE);
    before = sent;
    io.deadline = ipcx_deadline_after(2 * MS);
    CHECK_STATUS(ipcx__io_send_all(&io, bytes, LARGE, 0, &sent, NULL), IPCX_TIMEOUT);
    CHECK(sent >= before);
    end_close(&a);
    end_close(&b);
}

/* ---- peers that are not there */

TEST(nobody_listens)
{
    ipcx_addr addr;
    end nobody = bound("4", SOCK_STREAM, &addr);
    end client = end_make(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), SOCK_STREAM);
    ipcx__io io = io_of(&client, IPCX_FOREVER);
    ipcx_error err = {0};
    CHECK(ipcx__io_connect(&io, &addr.u.sa, addr.len, &err) < 0);
    CHECK_INT(err.sys_errno, ECONNREFUSED);
    CHECK_STR(err.op, "connect");
    end_close(&client);
    end_close(&nobody);
}

TEST(a_peer_that_closed)
{
    end a, b;
    char bytes[4];
    size_t n = 4711;
    pair_make(&a, &b, SOCK_STREAM);
    end_close(&b);
    CHECK_OK(recv_bytes(&a, bytes, 4, IPCX_FOREVER, &n));
    CHECK_INT(n, 0);
    CHECK(send_bytes(&a, "x", 1, IPCX_FOREVER, &n) < 0);
    CHECK_INT(errno, EPIPE);
    end_close(&a);
}

TEST(connecting_under_a_deadline)
{
    ipcx_addr addr;
    end server = bound("4", SOCK_STREAM, &addr);
    end client =
        end_make(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), SOCK_STREAM);
    ipcx__io io = io_of(&client, ipcx_deadline_after(10000 * MS));
    ipcx_status status;
    REQUIRE(listen(server.fd, 1) == 0);
    status = ipcx__io_connect(&io, &addr.u.sa, addr.len, NULL);
    CHECK(status == IPCX_OK || status == IPCX_MORE);
    if (status == IPCX_MORE) {
        CHECK_OK(ipcx__io_connected(&io, NULL));
    }
    end_close(&client);
    end_close(&server);
}

/* ---- signals */

static void on_alarm(int signal)
{
    (void)signal;
}

TEST(a_signal_comes_back_and_the_call_goes_on)
{
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval once = {.it_value = {.tv_usec = 3000}}, off = {0};
    end a, b;
    char bytes[4];
    size_t n = 0;
    pair_make(&a, &b, SOCK_STREAM);
    REQUIRE(sigaction(SIGALRM, &action, &before) == 0);
    REQUIRE(setitimer(ITIMER_REAL, &once, NULL) == 0);
    CHECK_STATUS(recv_bytes(&a, bytes, 4, IPCX_FOREVER, &n), IPCX_INTR);
    fill(&a);
    REQUIRE(setitimer(ITIMER_REAL, &once, NULL) == 0);
    CHECK_STATUS(send_bytes(&a, "x", 1, IPCX_FOREVER, &n), IPCX_INTR);
    REQUIRE(setitimer(ITIMER_REAL, &off, NULL) == 0);
    REQUIRE(sigaction(SIGALRM, &before, NULL) == 0);
    CHECK_OK(send_bytes(&b, "x", 1, IPCX_NOW, &n));
    CHECK_OK(recv_bytes(&a, bytes, 4, IPCX_FOREVER, &n));
    end_close(&a);
    end_close(&b);
}

/* ---- close from another thread */

typedef struct call {
    end *on;
    ipcx_status (*run)(end *self);
    atomic_int begun;
    ipcx_status status;
} call;

static ipcx_status do_recv(end *self)
{
    char bytes[4];
    size_t n;
    return recv_bytes(self, bytes, 4, IPCX_FOREVER, &n);
}

static ipcx_status do_send(end *self)
{
    size_t n;
    return send_bytes(self, "x", 1, IPCX_FOREVER, &n);
}

static ipcx_status do_accept(end *self)
{
    ipcx__io io = io_of(self, IPCX_FOREVER);
    int fd;
    return ipcx__io_accept(&io, &fd, NULL, NULL);
}

static ipcx_status do_exactly(end *self)
{
    ipcx__io io = io_of(self, IPCX_FOREVER);
    char bytes[4];
    size_t got = 0;
    return ipcx__io_recv_exactly(&io, bytes, 4, &got, NULL);
}

static void *run_call(void *arg)
{
    call *self = arg;
    REQUIRE(ipcx__gate_enter(&self->on->gate));
    atomic_store(&self->begun, 1);
    self->status = self->run(self->on);
    ipcx__gate_leave(&self->on->gate);
    return NULL;
}

static void close_during(end *on, ipcx_status (*run)(end *self))
{
    call self = {.on = on, .run = run};
    pthread_t thread;
    int copy = -1;
    CHECK_OK(ipcx_fd_dup(on->fd, &copy, NULL));
    REQUIRE(pthread_create(&thread, NULL, run_call, &self) == 0);
    while (atomic_load(&self.begun) == 0) {
        sched_yield();
    }
    end_close(on);
    pthread_join(thread, NULL);
    CHECK_STATUS(self.status, IPCX_CLOSED);
    /* The other copy of the socket has noticed nothing. */
    CHECK_INT(fcntl(copy, F_GETFL) & O_NONBLOCK, 0);
    CHECK_OK(ipcx_fd_close(copy, NULL));
}

TEST(close_ends_every_waiting_call)
{
    ipcx_addr addr;
    end a, b, server = bound("4", SOCK_STREAM, &addr);
    REQUIRE(listen(server.fd, 1) == 0);
    close_during(&server, do_accept);
    pair_make(&a, &b, SOCK_STREAM);
    close_during(&a, do_recv);
    end_close(&b);
    pair_make(&a, &b, SOCK_STREAM);
    close_during(&a, do_exactly);
    end_close(&b);
    pair_make(&a, &b, SOCK_STREAM);
    fill(&a);
    close_during(&a, do_send);
    end_close(&b);
}

TEST(parent_and_child_share_a_socket)
{
    end a, b;
    pid_t child;
    char bytes[4] = {0};
    size_t n = 0;
    pair_make(&a, &b, SOCK_STREAM);
    child = fork();
    if (child == 0) {
        int sent = send_bytes(&a, "kid", 3, IPCX_FOREVER, &n) == IPCX_OK;
        end_close(&a);
        _exit(!sent);
    }
    CHECK_OK(recv_bytes(&b, bytes, 3, IPCX_FOREVER, &n));
    CHECK_STR(bytes, "kid");
    CHECK(check_child(child));
    check_hello(&a, &b); /* the child closed its own */
    end_close(&a);
    end_close(&b);
}
