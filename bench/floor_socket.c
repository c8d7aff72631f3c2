/* SPDX-License-Identifier: Apache-2.0
 * The floor of bench_socket.py: the same system calls for the same rows, from C, with nothing else.
 * Invariant: where a time-out is set in Python the descriptor is non-blocking here, is tried first
 * and polled only when it would block; a call that fails ends the program with one line. */
#include "floor.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL = 64, ROOM = 4096, BULK = 64 * 1024, MEBI = 1024 * 1024, LINES = 64 };

/* What a row works on; `open` fills it, `run` uses it, `done` empties it. */
typedef struct {
    int a, b; /* the two ends, or the one descriptor */
    int listener;
    struct sockaddr_storage to;
    socklen_t to_size;
    pid_t child;
    pthread_t thread;
    int cpu; /* the thread runs on the first CPU or the second */
    bool has_thread, quiet_thread;
    bool nonblocking;
    int family, type;
} fixture;

typedef struct {
    const char *name;
    void (*open)(fixture *f);
    void (*run)(fixture *f, long n);
    int family, type;
    bool nonblocking; /* a time-out is set, or the socket does not block */
    bool threaded;    /* another thread sleeps meanwhile */
} row;

static char data[MEBI], room[MEBI];

/* Fixtures. */

static void set_mode(const fixture *f, int fd)
{
    int on = f->nonblocking;
    must(ioctl(fd, FIONBIO, &on), "ioctl");
}

static void open_pair(fixture *f)
{
    int ends[2];
    must(socketpair(AF_UNIX, f->type | SOCK_CLOEXEC, 0, ends), "socketpair");
    f->a = ends[0];
    f->b = ends[1];
    set_mode(f, f->a);
    set_mode(f, f->b);
}

static void name_it(fixture *f, int fd)
{
    if (f->family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET};
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(bind(fd, (struct sockaddr *)&in, sizeof in), "bind");
    } else {
        struct sockaddr_un un = {.sun_family = AF_UNIX}; /* no path: the kernel picks a name */
        must(bind(fd, (struct sockaddr *)&un, sizeof un.sun_family), "bind");
    }
    f->to_size = sizeof f->to;
    must(getsockname(fd, (struct sockaddr *)&f->to, &f->to_size), "getsockname");
}

static void open_listener(fixture *f)
{
    f->listener = (int)must(socket(f->family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    if (f->family == AF_INET) {
        struct linger reset = {1, 0};
        must(setsockopt(f->listener, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), "SO_LINGER");
    }
    name_it(f, f->listener);
    must(listen(f->listener, 16), "listen");
    set_mode(f, f->listener);
}

static void open_tcp_pair(fixture *f)
{
    int on = 1;
    bool nonblocking = f->nonblocking;
    f->nonblocking = false;
    open_listener(f);
    f->nonblocking = nonblocking;
    f->a = (int)must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    must(connect(f->a, (struct sockaddr *)&f->to, f->to_size), "connect");
    f->b = (int)must(accept4(f->listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
    must(setsockopt(f->a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    must(setsockopt(f->b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    set_mode(f, f->a);
    set_mode(f, f->b);
}

static void open_datagrams(fixture *f)
{
    f->a = (int)must(socket(f->family, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    f->b = (int)must(socket(f->family, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    name_it(f, f->a);
    name_it(f, f->b);
    set_mode(f, f->a);
    set_mode(f, f->b);
}

static void open_nothing(fixture *f)
{
    (void)f;
}

/* The other side of the rows with two processes or two threads. */

static ssize_t take(int fd, void *into, size_t size)
{
    ssize_t got;
    while ((got = recv(fd, into, size, 0)) < 0 && errno == EAGAIN) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        must(poll(&wait, 1, 5000), "poll");
    }
    return must(got, "recv");
}

static void take_all(int fd, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t more = take(fd, room + got, size - got);
        if (more == 0) {
            return;
        }
        got += (size_t)more;
    }
}

static void echo(int fd)
{
    char small[ROOM];
    ssize_t size;
    while ((size = take(fd, small, sizeof small)) > 0) {
        must(send(fd, small, (size_t)size, 0), "send");
    }
}

static void drain(int fd)
{
    for (;;) {
        for (size_t got = 0; got < MEBI;) {
            ssize_t more = take(fd, room + got, MEBI - got);
            if (more == 0) {
                return;
            }
            got += (size_t)more;
        }
        must(send(fd, ".", 1, 0), "send");
    }
}

static void send_all(int fd, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        sent += (size_t)must(send(fd, data + sent, size - sent, 0), "send");
    }
}

static void supply(int fd)
{
    char demand;
    while (take(fd, &demand, 1) > 0) {
        send_all(fd, MEBI);
    }
}

static void open_across(fixture *f, void (*work)(int fd), int cpu)
{
    open_pair(f);
    f->child = (pid_t)must(fork(), "fork");
    if (f->child == 0) {
        pin(cpu);
        close(f->a);
        work(f->b);
        _exit(0);
    }
    close(f->b);
    f->b = -1;
}

static void open_echo(fixture *f)
{
    open_across(f, echo, 1);
}

static void open_echo_here(fixture *f)
{
    open_across(f, echo, 0);
}

static void open_drain(fixture *f)
{
    open_across(f, drain, 1);
}

static void open_drain_here(fixture *f)
{
    open_across(f, drain, 0);
}

static void open_supply(fixture *f)
{
    open_across(f, supply, 1);
}

static void *echo_thread(void *argument)
{
    fixture *f = argument;
    pin(f->cpu);
    echo(f->b);
    return NULL;
}

static void open_threads_here(fixture *f)
{
    open_pair(f);
    must(-pthread_create(&f->thread, NULL, echo_thread, f), "pthread_create");
    f->has_thread = true;
}

static void open_threads(fixture *f)
{
    f->cpu = 1;
    open_threads_here(f);
}

static void *sleep_thread(void *unused)
{
    (void)unused;
    (void)pause();
    return NULL;
}

static void done(fixture *f)
{
    int *all[] = {&f->a, &f->b, &f->listener};
    if (f->quiet_thread) {
        (void)pthread_cancel(f->thread);
        (void)pthread_join(f->thread, NULL);
    }
    if (f->has_thread) {
        (void)shutdown(f->a, SHUT_WR);
        (void)pthread_join(f->thread, NULL);
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (*all[i] >= 0) {
            (void)close(*all[i]);
        }
    }
    if (f->child > 0) {
        (void)waitpid(f->child, NULL, 0);
    }
}

/* The work itself. */

static void run_send_recv(fixture *f, long n)
{
    while (n-- > 0) {
        must(send(f->a, data, SMALL, 0), "send");
        must(recv(f->b, room, ROOM, 0), "recv");
    }
}

static void run_messages(fixture *f, long n)
{
    while (n-- > 0) {
        struct iovec out[2] = {{data, 8}, {data + 8, 56}}, in = {room, ROOM};
        struct msghdr sent = {.msg_iov = out, .msg_iovlen = 2};
        struct msghdr got = {.msg_iov = &in, .msg_iovlen = 1};
        must(sendmsg(f->a, &sent, 0), "sendmsg");
        must(recvmsg(f->b, &got, MSG_CMSG_CLOEXEC), "recvmsg");
    }
}

static void run_datagrams(fixture *f, long n)
{
    struct sockaddr_storage from;
    while (n-- > 0) {
        socklen_t size = sizeof from;
        must(sendto(f->a, data, SMALL, 0, (struct sockaddr *)&f->to, f->to_size), "sendto");
        must(recvfrom(f->b, room, ROOM, 0, (struct sockaddr *)&from, &size), "recvfrom");
    }
}

static void run_bulk(fixture *f, long n)
{
    while (n-- > 0) {
        send_all(f->a, BULK);
        take_all(f->b, BULK);
    }
}

static void run_bulk_send(fixture *f, long n)
{
    while (n-- > 0) {
        send_all(f->a, MEBI);
        (void)take(f->a, room, 1);
    }
}

static void run_bulk_recv(fixture *f, long n)
{
    while (n-- > 0) {
        must(send(f->a, ".", 1, 0), "send");
        take_all(f->a, MEBI);
    }
}

static void run_socket(fixture *f, long n)
{
    while (n-- > 0) {
        must(close((int)must(socket(f->family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")), "close");
    }
}

static void run_socketpair(fixture *f, long n)
{
    int ends[2];
    (void)f;
    while (n-- > 0) {
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
        must(close(ends[0]), "close");
        must(close(ends[1]), "close");
    }
}

static void run_dup(fixture *f, long n)
{
    while (n-- > 0) {
        must(close((int)must(fcntl(f->a, F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")), "close");
    }
}

static void connect_it(const fixture *f, int fd, const struct sockaddr *to, socklen_t size)
{
    if (connect(fd, to, size) < 0) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        int error = 0;
        socklen_t error_size = sizeof error;
        must(f->nonblocking && errno == EINPROGRESS ? 0 : -1, "connect");
        must(poll(&wait, 1, 5000), "poll");
        must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size), "SO_ERROR");
        must(-error, "connect");
    }
}

static void accept_and_close(fixture *f, int near)
{
    struct sockaddr_storage from;
    socklen_t size = sizeof from;
    int far =
        (int)must(accept4(f->listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC), "accept4");
    must(close(far), "close");
    must(close(near), "close");
}

static void run_connect(fixture *f, long n)
{
    int kind = SOCK_STREAM | SOCK_CLOEXEC | (f->nonblocking ? SOCK_NONBLOCK : 0);
    while (n-- > 0) {
        int near = (int)must(socket(f->family, kind, 0), "socket");
        connect_it(f, near, (struct sockaddr *)&f->to, f->to_size);
        accept_and_close(f, near);
    }
}

static void run_create_connection(fixture *f, long n)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%d", ntohs(((struct sockaddr_in *)&f->to)->sin_port));
    while (n-- > 0) {
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
        must(getaddrinfo("127.0.0.1", port, &hints, &found) == 0 ? 0 : -1, "getaddrinfo");
        int near = (int)must(
            socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol),
            "socket");
        connect_it(f, near, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
        accept_and_close(f, near);
    }
}

static void run_mode(fixture *f, long n)
{
    int on = 1;
    while (n-- > 0) {
        must(ioctl(f->a, FIONBIO, &on), "ioctl");
    }
}

static void run_mode_switch(fixture *f, long n)
{
    int on = 1, off = 0;
    while (n-- > 0) {
        must(ioctl(f->a, FIONBIO, &off), "ioctl");
        must(ioctl(f->a, FIONBIO, &on), "ioctl");
    }
}

static void run_ask(fixture *f, long n)
{
    while (n-- > 0) {
        must(send(f->a, data, SMALL, 0), "send");
        (void)take(f->a, room, ROOM);
    }
}

static void read_lines(fixture *f, long n, size_t lines)
{
    while (n-- > 0) {
        send_all(f->a, lines * SMALL);
        for (size_t have = 0, at = 0, seen = 0; seen < lines; seen++) {
            char *end;
            while ((end = memchr(room + at, '\n', have - at)) == NULL) {
                have += (size_t)take(f->b, room + have, 8192);
            }
            at = (size_t)(end - room) + 1;
        }
    }
}

static void run_line(fixture *f, long n)
{
    read_lines(f, n, 1);
}

static void run_lines(fixture *f, long n)
{
    read_lines(f, n, LINES);
}

static void run_exactly(fixture *f, long n)
{
    while (n-- > 0) {
        must(send(f->a, data, 1024, 0), "send");
        take_all(f->b, 1024);
    }
}

static void run_until(fixture *f, long n)
{
    while (n-- > 0) {
        must(send(f->a, data, SMALL, 0), "send");
        size_t seen = (size_t)must(recv(f->b, room, ROOM, MSG_PEEK), "recv");
        char *end = memchr(room, '\n', seen);
        must(recv(f->b, room, (size_t)(end - room) + 1, 0), "recv");
    }
}

#define STREAM AF_UNIX, SOCK_STREAM
static const row rows[] = {
    {"unix", open_pair, run_send_recv, STREAM, false, false},
    {"unix-timeout", open_pair, run_send_recv, STREAM, true, false},
    {"unix-nonblocking", open_pair, run_send_recv, STREAM, true, false},
    {"unix-threaded", open_pair, run_send_recv, STREAM, false, true},
    {"recv-into", open_pair, run_send_recv, STREAM, false, false},
    {"recv-into-timeout", open_pair, run_send_recv, STREAM, true, false},
    {"msg", open_pair, run_messages, STREAM, false, false},
    {"msg-timeout", open_pair, run_messages, STREAM, true, false},
    {"seqpacket", open_pair, run_send_recv, AF_UNIX, SOCK_SEQPACKET, false, false},
    {"dgram", open_datagrams, run_datagrams, AF_UNIX, SOCK_DGRAM, false, false},
    {"udp", open_datagrams, run_datagrams, AF_INET, SOCK_DGRAM, false, false},
    {"udp-timeout", open_datagrams, run_datagrams, AF_INET, SOCK_DGRAM, true, false},
    {"tcp", open_tcp_pair, run_send_recv, AF_INET, SOCK_STREAM, false, false},
    {"tcp-timeout", open_tcp_pair, run_send_recv, AF_INET, SOCK_STREAM, true, false},
    {"sendall-64k", open_pair, run_bulk, STREAM, false, false},
    {"sendall-64k-timeout", open_pair, run_bulk, STREAM, true, false},
    {"bulk-send", open_drain, run_bulk_send, STREAM, false, false},
    {"bulk-send-one-cpu", open_drain_here, run_bulk_send, STREAM, false, false},
    {"bulk-recv", open_supply, run_bulk_recv, STREAM, false, false},
    {"socket-unix", open_nothing, run_socket, STREAM, false, false},
    {"socket-tcp", open_nothing, run_socket, AF_INET, SOCK_STREAM, false, false},
    {"socketpair", open_nothing, run_socketpair, STREAM, false, false},
    {"dup", open_pair, run_dup, STREAM, false, false},
    {"connect-unix", open_listener, run_connect, STREAM, false, false},
    {"connect-unix-timeout", open_listener, run_connect, STREAM, true, false},
    {"connect-unix-threaded", open_listener, run_connect, STREAM, false, true},
    {"connect-tcp", open_listener, run_connect, AF_INET, SOCK_STREAM, false, false},
    {"connect-tcp-timeout", open_listener, run_connect, AF_INET, SOCK_STREAM, true, false},
    {"create-connection", open_listener, run_create_connection, AF_INET, SOCK_STREAM, false, false},
    {"settimeout", open_pair, run_mode, STREAM, true, false},
    {"settimeout-switch", open_pair, run_mode_switch, STREAM, true, false},
    {"pingpong", open_echo, run_ask, STREAM, false, false},
    {"pingpong-timeout", open_echo, run_ask, STREAM, true, false},
    {"pingpong-one-cpu", open_echo_here, run_ask, STREAM, false, false},
    {"pingpong-threads", open_threads, run_ask, STREAM, false, false},
    {"pingpong-threads-one-cpu", open_threads_here, run_ask, STREAM, false, false},
    {"pingpong-threads-timeout", open_threads, run_ask, STREAM, true, false},
    {"readline", open_pair, run_line, STREAM, false, false},
    {"readline-64", open_pair, run_lines, STREAM, false, false},
    {"exactly", open_pair, run_exactly, STREAM, false, false},
    {"until", open_pair, run_until, STREAM, false, false},
};

static const row *find(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool measure(const char *name, long ops, long slices)
{
    const row *r = find(name);
    fixture f = {.a = -1, .b = -1, .listener = -1, .child = -1};
    if (r == NULL) {
        return false;
    }
    f.nonblocking = r->nonblocking;
    f.family = r->family;
    f.type = r->type;
    if (r->threaded) {
        must(-pthread_create(&f.thread, NULL, sleep_thread, NULL), "pthread_create");
        f.quiet_thread = true;
    }
    r->open(&f);
    r->run(&f, ops);
    for (long i = 0; i < slices; i++) {
        long long before = now();
        r->run(&f, ops);
        printf("%lld ", now() - before);
    }
    done(&f);
    return true;
}

int main(int argc, char **argv)
{
    memset(data, 'x', sizeof data);
    for (size_t at = SMALL - 1; at < (size_t)LINES * SMALL; at += SMALL) {
        data[at] = '\n';
    }
    return answer(argc, argv, measure);
}
