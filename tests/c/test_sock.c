/* SPDX-License-Identifier: Apache-2.0
 * sock: every family and type, each refusal, deadlines, descriptors, and who may close when. */
#include "check.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "addresses.h"
#include "ipcx/fd.h"
#include "ipcx/sock_unix.h"
#include "ipcx/trace.h"

#define MS INT64_C(1000000)

static void close_all(ipcx_sock *a, ipcx_sock *b, ipcx_sock *c)
{
    CHECK_OK(ipcx_sock_close(a, NULL));
    CHECK_OK(ipcx_sock_close(b, NULL));
    if (c != NULL) {
        CHECK_OK(ipcx_sock_close(c, NULL));
    }
}

static void server_open(ipcx_sock *server, const char *kind, int type, ipcx_addr *addr, int backlog)
{
    *addr = address(kind);
    REQUIRE_OK(ipcx_sock_open(server, addr->u.sa.sa_family, type, 0, NULL));
    REQUIRE_OK(ipcx_sock_bind(server, addr, NULL));
    REQUIRE_OK(ipcx_sock_name(server, addr, NULL));
    if (type != SOCK_DGRAM) {
        REQUIRE_OK(ipcx_sock_listen(server, backlog, NULL));
    }
}

static void check_modern(const ipcx_sock *sock)
{
    int on = 0;
    CHECK_OK(ipcx_fd_get_cloexec(sock->fd, &on, NULL));
    CHECK_INT(on, 1);
    CHECK_OK(ipcx_fd_get_nonblocking(sock->fd, &on, NULL));
    CHECK_INT(on, 1);
}

static void check_hello(ipcx_sock *from, ipcx_sock *to)
{
    char bytes[8] = {0};
    size_t n = 0;
    CHECK_OK(ipcx_sock_send(from, "hello", 5, IPCX_FOREVER, &n, NULL));
    CHECK_INT(n, 5);
    CHECK_OK(ipcx_sock_recv(to, bytes, sizeof bytes, IPCX_FOREVER, &n, NULL));
    CHECK_INT(n, 5);
    CHECK_STR(bytes, "hello");
}

static void check_same(const ipcx_addr *a, const ipcx_addr *b)
{
    char left[IPCX_ADDR_TEXT_MAX], right[IPCX_ADDR_TEXT_MAX];
    ipcx_addr_format(a, left, sizeof left);
    ipcx_addr_format(b, right, sizeof right);
    CHECK_STR(left, right);
}

/* Sends until there is no room. */
static void fill(ipcx_sock *sock)
{
    static const char bytes[65536];
    size_t n;
    while (ipcx_sock_send(sock, bytes, sizeof bytes, IPCX_NOW, &n, NULL) == IPCX_OK) {
    }
}

/* ---- families and types */

static void conversation(const char *kind, int type)
{
    ipcx_sock server = {0}, client = {0}, conn = {0};
    ipcx_addr addr, from = {0}, peer = {0};
    char bytes[4];
    size_t n = 4711;
    server_open(&server, kind, type, &addr, 4);
    CHECK_OK(ipcx_sock_open(&client, addr.u.sa.sa_family, type, 0, NULL));
    CHECK_STATUS(ipcx_sock_accept(&server, &conn, NULL, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_INT(conn.open, 0);
    CHECK_OK(ipcx_sock_connect(&client, &addr, IPCX_FOREVER, NULL));
    CHECK_OK(ipcx_sock_accept(&server, &conn, &from, IPCX_FOREVER, NULL));
    check_modern(&server);
    check_modern(&client);
    check_modern(&conn);
    check_hello(&client, &conn);
    check_hello(&conn, &client);
    CHECK_OK(ipcx_sock_peer(&client, &peer, NULL));
    check_same(&peer, &addr);
    CHECK_OK(ipcx_sock_name(&client, &peer, NULL));
    check_same(&peer, &from);
    REQUIRE(shutdown(client.fd, SHUT_WR) == 0);
    /* An empty packet looks the same, so only a stream has an end. */
    CHECK_STATUS(ipcx_sock_recv(&conn, bytes, 4, IPCX_FOREVER, &n, NULL),
                 type == SOCK_STREAM ? IPCX_EOF : IPCX_OK);
    CHECK_INT(n, 0);
    check_hello(&conn, &client); /* half open: the other direction still works */
    close_all(&server, &client, &conn);
    unlink_address(&addr);
}

TEST(connections_of_every_family)
{
    conversation("4", SOCK_STREAM);
    conversation("6", SOCK_STREAM);
    conversation("path", SOCK_STREAM);
    conversation("abstract", SOCK_STREAM);
    conversation("path", SOCK_SEQPACKET);
    conversation("abstract", SOCK_SEQPACKET);
}

static void datagrams(const char *kind)
{
    ipcx_sock a = {0}, b = {0};
    ipcx_addr at_a, at_b, from = {0};
    char bytes[8] = {0};
    struct iovec out = {(void *)(uintptr_t)"hello", 5}, in = {bytes, sizeof bytes};
    ipcx_error err;
    size_t n = 0;
    server_open(&a, kind, SOCK_DGRAM, &at_a, 0);
    server_open(&b, kind, SOCK_DGRAM, &at_b, 0);
    CHECK_OK(ipcx_sock_sendv(&a, &out, 1, &at_b, IPCX_FOREVER, &n, NULL));
    CHECK_OK(ipcx_sock_recvv(&b, &in, 1, &from, IPCX_FOREVER, &n, NULL));
    CHECK_INT(n, 5);
    CHECK_STR(bytes, "hello");
    check_same(&from, &at_a);
    /* Connected, plain send and receive do; an empty datagram is one too. */
    CHECK_OK(ipcx_sock_connect(&a, &at_b, IPCX_FOREVER, NULL));
    CHECK_OK(ipcx_sock_send(&a, NULL, 0, IPCX_FOREVER, &n, NULL));
    CHECK_OK(ipcx_sock_recv(&b, bytes, sizeof bytes, IPCX_FOREVER, &n, NULL));
    CHECK_INT(n, 0);
    CHECK_OK(ipcx_sock_send(&a, "0123456789", 10, IPCX_FOREVER, &n, NULL));
    CHECK_STATUS(ipcx_sock_recv(&b, bytes, 4, IPCX_FOREVER, &n, &err), IPCX_TOO_LARGE);
    CHECK_STR(err.detail, "the datagram has more than 4 bytes");
    CHECK_STATUS(ipcx_sock_recv(&b, bytes, 4, IPCX_NOW, &n, NULL), IPCX_AGAIN);
    close_all(&a, &b, NULL);
    unlink_address(&at_a);
    unlink_address(&at_b);
}

TEST(datagrams_of_every_family)
{
    datagrams("4");
    datagrams("6");
    datagrams("path");
    datagrams("abstract");
}

TEST(seqpacket_keeps_boundaries)
{
    ipcx_sock a = {0}, b = {0};
    char bytes[8];
    size_t n = 0;
    CHECK_OK(ipcx_sock_pair(&a, &b, SOCK_SEQPACKET, NULL));
    CHECK_OK(ipcx_sock_send(&a, "one", 3, IPCX_FOREVER, &n, NULL));
    CHECK_OK(ipcx_sock_send(&a, "three", 5, IPCX_FOREVER, &n, NULL));
    CHECK_OK(ipcx_sock_recv(&b, bytes, sizeof bytes, IPCX_NOW, &n, NULL));
    CHECK_INT(n, 3);
    CHECK_STATUS(ipcx_sock_recv(&b, bytes, 2, IPCX_NOW, &n, NULL), IPCX_TOO_LARGE);
    close_all(&a, &b, NULL);
}

TEST(autobind_makes_an_abstract_name)
{
    ipcx_sock sock = {0};
    ipcx_addr addr = {0};
    char text[IPCX_ADDR_TEXT_MAX];
    CHECK_OK(ipcx_sock_open(&sock, AF_UNIX, SOCK_STREAM, 0, NULL));
    CHECK_OK(ipcx_addr_unix(&addr, NULL, 0, NULL));
    CHECK_OK(ipcx_sock_bind(&sock, &addr, NULL));
    CHECK_OK(ipcx_sock_name(&sock, &addr, NULL));
    ipcx_addr_format(&addr, text, sizeof text);
    CHECK_INT(text[0], '@');
    CHECK_INT(strlen(text), 6);
    CHECK_OK(ipcx_sock_close(&sock, NULL));
}

/* ---- refusals */

TEST(a_closed_socket_does_nothing)
{
    ipcx_sock sock = {0}, other = {0};
    ipcx_addr addr = address("4");
    struct iovec iov = {NULL, 0};
    ipcx_cred cred;
    ipcx_error err;
    char bytes[4];
    size_t n = 0;
    int round, fd = -7, count = 1;
    for (round = 0; round < 2; round++) {
        CHECK_STATUS(ipcx_sock_bind(&sock, &addr, &err), IPCX_CLOSED);
        CHECK_STR(err.op, "bind");
        CHECK_INT(err.sys_errno, EBADF);
        CHECK_STATUS(ipcx_sock_listen(&sock, 1, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_connect(&sock, &addr, IPCX_FOREVER, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_accept(&sock, &other, NULL, IPCX_FOREVER, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_send(&sock, "x", 1, IPCX_FOREVER, &n, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_send_all(&sock, "x", 1, IPCX_FOREVER, &n, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_sendv(&sock, &iov, 1, NULL, IPCX_FOREVER, &n, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_recv(&sock, bytes, 4, IPCX_FOREVER, &n, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_recv_exactly(&sock, bytes, 4, IPCX_FOREVER, &n, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_recvv(&sock, &iov, 1, NULL, IPCX_FOREVER, &n, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_name(&sock, &addr, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_peer(&sock, &addr, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_peer_cred(&sock, &cred, NULL), IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_send_fds(&sock, "x", 1, &fd, 1, IPCX_FOREVER, &n, NULL),
                     IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_recv_fds(&sock, bytes, 4, &fd, &count, IPCX_FOREVER, &n, NULL),
                     IPCX_CLOSED);
        CHECK_STATUS(ipcx_sock_detach(&sock, &fd, NULL), IPCX_CLOSED);
        CHECK_OK(ipcx_sock_close(&sock, NULL));
        /* Again after it was open and closed. */
        CHECK_OK(ipcx_sock_open(&sock, AF_INET, SOCK_STREAM, 0, NULL));
        CHECK_OK(ipcx_sock_close(&sock, NULL));
    }
}

TEST(refusals_by_name)
{
    ipcx_sock a = {0}, b = {0}, c = {0};
    ipcx_addr addr;
    ipcx_error err;
    char text[IPCX_ADDR_TEXT_MAX], bytes[1];
    static const char large[65508];
    size_t n = 0;
    CHECK_STATUS(ipcx_sock_open(&a, 4711, SOCK_STREAM, 0, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EAFNOSUPPORT);
    /* Nobody listens, then somebody else has the address. */
    addr = address("4");
    REQUIRE_OK(ipcx_sock_open(&a, AF_INET, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_bind(&a, &addr, NULL));
    REQUIRE_OK(ipcx_sock_name(&a, &addr, NULL));
    ipcx_addr_format(&addr, text, sizeof text);
    REQUIRE_OK(ipcx_sock_open(&b, AF_INET, SOCK_STREAM, 0, NULL));
    CHECK_STATUS(ipcx_sock_connect(&b, &addr, IPCX_FOREVER, &err), IPCX_REFUSED);
    CHECK_STR(err.op, "connect");
    CHECK_INT(err.sys_errno, ECONNREFUSED);
    REQUIRE_OK(ipcx_sock_open(&c, AF_INET, SOCK_STREAM, 0, NULL));
    CHECK_STATUS(ipcx_sock_bind(&c, &addr, &err), IPCX_ADDRESS_IN_USE);
    CHECK_STR(err.detail, text);
    CHECK_STATUS(ipcx_sock_recv(&c, bytes, 1, IPCX_FOREVER, &n, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENOTCONN);
    CHECK_STATUS(ipcx_sock_peer(&c, &addr, &err), IPCX_SYSTEM);
    close_all(&a, &b, &c);
    REQUIRE_OK(ipcx_sock_open(&a, AF_INET, SOCK_DGRAM, 0, NULL));
    CHECK_STATUS(ipcx_sock_listen(&a, 1, &err), IPCX_UNSUPPORTED);
    REQUIRE_OK(ipcx_sock_connect(&a, &addr, IPCX_FOREVER, NULL));
    CHECK_STATUS(ipcx_sock_send(&a, large, sizeof large, IPCX_FOREVER, &n, &err), IPCX_TOO_LARGE);
    CHECK_INT(err.sys_errno, EMSGSIZE);
    CHECK_OK(ipcx_sock_close(&a, NULL));
}

TEST(peers_that_have_gone)
{
    ipcx_sock a = {0}, b = {0}, server = {0};
    ipcx_addr addr;
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    ipcx_error err;
    char bytes[4];
    size_t n = 0;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    CHECK_OK(ipcx_sock_close(&b, NULL));
    CHECK_STATUS(ipcx_sock_recv(&a, bytes, 4, IPCX_FOREVER, &n, NULL), IPCX_EOF);
    CHECK_STATUS(ipcx_sock_send(&a, "x", 1, IPCX_FOREVER, &n, &err), IPCX_PEER_CLOSED);
    CHECK_INT(err.sys_errno, EPIPE);
    CHECK_OK(ipcx_sock_close(&a, NULL));
    server_open(&server, "4", SOCK_STREAM, &addr, 1);
    REQUIRE_OK(ipcx_sock_open(&a, AF_INET, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_connect(&a, &addr, IPCX_FOREVER, NULL));
    REQUIRE_OK(ipcx_sock_accept(&server, &b, NULL, IPCX_FOREVER, NULL));
    REQUIRE(setsockopt(b.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    CHECK_OK(ipcx_sock_close(&b, NULL));
    CHECK_STATUS(ipcx_sock_recv(&a, bytes, 4, IPCX_FOREVER, &n, &err), IPCX_PEER_CLOSED);
    CHECK_INT(err.sys_errno, ECONNRESET);
    close_all(&a, &server, NULL);
}

TEST(no_descriptor_left)
{
    struct rlimit before, full;
    ipcx_sock a = {0}, b = {0}, server = {0}, client = {0}, second = {0};
    ipcx_addr addr;
    ipcx_error err;
    if (check_valgrind()) {
        return;
    }
    server_open(&server, "4", SOCK_STREAM, &addr, 2);
    REQUIRE_OK(ipcx_sock_open(&client, AF_INET, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_connect(&client, &addr, IPCX_FOREVER, NULL));
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    full = before;
    full.rlim_cur = 1;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &full) == 0);
    CHECK_STATUS(ipcx_sock_open(&a, AF_INET, SOCK_STREAM, 0, &err), IPCX_EXHAUSTED);
    CHECK_INT(err.sys_errno, EMFILE);
    CHECK_STATUS(ipcx_sock_pair(&a, &b, SOCK_STREAM, &err), IPCX_EXHAUSTED);
    CHECK_STATUS(ipcx_sock_accept(&server, &a, NULL, IPCX_FOREVER, &err), IPCX_EXHAUSTED);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_INT(a.open, 0);
    /* The listener still works. */
    REQUIRE_OK(ipcx_sock_open(&second, AF_INET, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_connect(&second, &addr, IPCX_FOREVER, NULL));
    CHECK_OK(ipcx_sock_accept(&server, &a, NULL, IPCX_FOREVER, &err));
    close_all(&a, &server, &client);
    CHECK_OK(ipcx_sock_close(&second, NULL));
}

/* ---- waiting */

TEST(deadlines)
{
    ipcx_sock a = {0}, b = {0};
    char bytes[4];
    size_t n = 0;
    int64_t begun = ipcx_clock_now();
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    CHECK_STATUS(ipcx_sock_recv(&a, bytes, 4, IPCX_NOW, &n, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_sock_recv(&a, bytes, 4, ipcx_deadline_after(4 * MS), &n, NULL), IPCX_TIMEOUT);
    CHECK(ipcx_clock_now() - begun >= 4 * MS);
    fill(&a);
    begun = ipcx_clock_now();
    CHECK_STATUS(ipcx_sock_send(&a, "x", 1, ipcx_deadline_after(4 * MS), &n, NULL), IPCX_TIMEOUT);
    CHECK(ipcx_clock_now() - begun >= 4 * MS);
    close_all(&a, &b, NULL);
}

TEST(connecting_to_a_full_queue_waits)
{
    ipcx_sock server = {0}, first = {0}, late = {0}, conn = {0};
    ipcx_addr addr;
    int64_t begun;
    server_open(&server, "abstract", SOCK_STREAM, &addr, 0);
    REQUIRE_OK(ipcx_sock_open(&first, AF_UNIX, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_open(&late, AF_UNIX, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_connect(&first, &addr, IPCX_FOREVER, NULL));
    CHECK_STATUS(ipcx_sock_connect(&late, &addr, IPCX_NOW, NULL), IPCX_AGAIN);
    begun = ipcx_clock_now();
    CHECK_STATUS(ipcx_sock_connect(&late, &addr, ipcx_deadline_after(4 * MS), NULL), IPCX_TIMEOUT);
    CHECK(ipcx_clock_now() - begun >= 4 * MS);
    REQUIRE_OK(ipcx_sock_accept(&server, &conn, NULL, IPCX_FOREVER, NULL));
    CHECK_OK(ipcx_sock_connect(&late, &addr, IPCX_FOREVER, NULL));
    close_all(&conn, &first, &late);
    CHECK_OK(ipcx_sock_close(&server, NULL));
}

TEST(a_polling_connect_ends_connected)
{
    ipcx_sock server = {0}, client = {0};
    ipcx_addr addr;
    ipcx_status status = IPCX_AGAIN;
    server_open(&server, "4", SOCK_STREAM, &addr, 1);
    REQUIRE_OK(ipcx_sock_open(&client, AF_INET, SOCK_STREAM, 0, NULL));
    while (status == IPCX_AGAIN) {
        status = ipcx_sock_connect(&client, &addr, IPCX_NOW, NULL);
        sched_yield();
    }
    CHECK_OK(status);
    CHECK_OK(ipcx_sock_peer(&client, &addr, NULL));
    close_all(&server, &client, NULL);
}

static void on_alarm(int number)
{
    (void)number;
}

TEST(a_signal_comes_back)
{
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval soon = {.it_value = {.tv_usec = 3000}};
    ipcx_sock a = {0}, b = {0};
    char bytes[4];
    size_t n = 0;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    REQUIRE(sigaction(SIGALRM, &action, &before) == 0);
    REQUIRE(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK_STATUS(ipcx_sock_recv(&a, bytes, 4, IPCX_FOREVER, &n, NULL), IPCX_INTR);
    REQUIRE(sigaction(SIGALRM, &before, NULL) == 0);
    check_hello(&b, &a);
    close_all(&a, &b, NULL);
}

/* ---- whole messages, and the hook */

TEST(send_all_and_recv_exactly_continue)
{
    ipcx_sock a = {0}, b = {0};
    char bytes[8] = {0};
    size_t got = 0, sent = 0;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    CHECK_OK(ipcx_sock_send_all(&a, "abc", 3, IPCX_FOREVER, &sent, NULL));
    CHECK_STATUS(ipcx_sock_recv_exactly(&b, bytes, 6, IPCX_NOW, &got, NULL), IPCX_AGAIN);
    CHECK_INT(got, 3);
    sent = 0;
    CHECK_OK(ipcx_sock_send_all(&a, "defg", 4, IPCX_FOREVER, &sent, NULL));
    CHECK_OK(ipcx_sock_recv_exactly(&b, bytes, 6, IPCX_NOW, &got, NULL));
    CHECK_STR(bytes, "abcdef");
    CHECK_OK(ipcx_sock_close(&a, NULL));
    got = 0;
    CHECK_STATUS(ipcx_sock_recv_exactly(&b, bytes, 6, IPCX_NOW, &got, NULL), IPCX_EOF);
    CHECK_INT(got, 1);
    CHECK_OK(ipcx_sock_close(&b, NULL));
}

typedef struct journal {
    char text[512];
} journal;

static void write_down(void *ctx, const ipcx_trace_event *event)
{
    journal *all = ctx;
    size_t at = strlen(all->text);
    CHECK(event->duration >= 0);
    (void)snprintf(all->text + at, sizeof all->text - at, "%s %s %zu%s\n", event->op,
                   ipcx_status_name(event->status), event->bytes,
                   event->addr_len > 0 ? " addr" : "");
}

TEST(the_hook_sees_each_verb)
{
    journal all = {{0}};
    ipcx_trace_hook hook = {write_down, &all};
    ipcx_sock server = {0}, a = {0}, b = {0};
    ipcx_addr addr = address("4");
    char bytes[4];
    size_t n = 0;
    ipcx_trace_set(&hook);
    REQUIRE_OK(ipcx_sock_open(&server, AF_INET, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_bind(&server, &addr, NULL));
    REQUIRE_OK(ipcx_sock_listen(&server, 1, NULL));
    REQUIRE_OK(ipcx_sock_name(&server, &addr, NULL));
    REQUIRE_OK(ipcx_sock_open(&a, AF_INET, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_connect(&a, &addr, IPCX_FOREVER, NULL));
    REQUIRE_OK(ipcx_sock_accept(&server, &b, NULL, IPCX_FOREVER, NULL));
    CHECK_OK(ipcx_sock_send(&a, "abc", 3, IPCX_FOREVER, &n, NULL));
    CHECK_OK(ipcx_sock_recv(&b, bytes, 4, IPCX_FOREVER, &n, NULL));
    CHECK_STATUS(ipcx_sock_recv(&b, bytes, 4, IPCX_NOW, &n, NULL), IPCX_AGAIN);
    CHECK_OK(ipcx_sock_close(&b, NULL));
    ipcx_trace_set(NULL);
    CHECK_STR(all.text, "socket OK 0\nbind OK 0 addr\nlisten OK 0\ngetsockname OK 0\nsocket OK 0\n"
                        "connect OK 0 addr\naccept OK 0 addr\nsend OK 3\nrecv OK 3\n"
                        "recv AGAIN 0\nclose OK 0\n");
    close_all(&a, &server, NULL);
}
