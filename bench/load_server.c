/* SPDX-License-Identifier: Apache-2.0
 * Load for bench_server.py, and its floor: an echo server that is nothing but an epoll loop.
 *
 *     load_server serve                                     prints its port, echoes for ever
 *     load_server requests PORT plain|ipcx CONNECTIONS MS   64 B there and back on each
 *     load_server connects PORT plain|ipcx AT_ONCE MS       connect, 64 B there and back, close
 *     load_server burst PORT plain|ipcx AT_ONCE MS PID      the same, with PID stopped meanwhile
 *     load_server idle PORT plain|ipcx CONNECTIONS          connects, prints "ready", waits for EOF
 * The middle three print answers a second, and how many in all. The client's side of a connection
 * over the loopback costs more than the server's, for the kernel does the handshake of both there;
 * so in `connects` the load is the limit. In `burst` the server is: AT_ONCE clients connect and ask
 * while it is stopped, and so they hang up; the time is what it takes for both when it goes on.
 * Invariant: each connection has one request under way, and every answer is compared. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, HEAD = 12, HELLO = 24, READY = 256, ROOM = 16384 };

typedef struct {
    int fd;
    size_t skip, got; /* bytes of the server's HELLO still to come; of the answer so far */
} client;

static bool framed;
static uint8_t request[HELLO + HEAD + SIZE], *message;
static size_t message_size;
static struct sockaddr_in to;

static void fail(const char *what)
{
    fprintf(stderr, "load_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void set(int fd, int level, int option, const void *value, socklen_t size)
{
    if (setsockopt(fd, level, option, value, size) < 0) {
        fail("setsockopt");
    }
}

static void watch(int epoll, int fd, void *who)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = who}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        fail("epoll_ctl");
    }
}

/* ---- the floor */

static void let_in(int epoll, int listener)
{
    for (;;) {
        int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        set(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(epoll, fd, (void *)(intptr_t)fd);
    }
}

static void serve(void)
{
    static uint8_t bytes[ROOM];
    struct epoll_event ready[READY];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&at, size) < 0 || listen(listener, 4096) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &size) < 0) {
        fail("listen");
    }
    watch(epoll, listener, (void *)(intptr_t)listener);
    printf("%d\n", ntohs(at.sin_port));
    (void)fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll, ready, READY, -1);
        for (int i = 0; i < n; i++) {
            int fd = (int)(intptr_t)ready[i].data.ptr;
            ssize_t got;
            if (fd == listener) {
                let_in(epoll, listener);
                continue;
            }
            got = recv(fd, bytes, sizeof bytes, 0);
            if (got <= 0 || send(fd, bytes, (size_t)got, MSG_NOSIGNAL) != got) {
                (void)close(fd);
            }
        }
    }
}

/* ---- the load */

static void prepare(const char *protocol)
{
    static const uint8_t hello[HELLO] = {'I', 'X', 1, 11, 0, 0, 0, 0, 0, 0, 0, 12,
                                         1,   0,   0, 0,  4, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t head[HEAD] = {'I', 'X', 1, 1, 0, 0, 0, 0, 0, 0, 0, SIZE};
    framed = strcmp(protocol, "ipcx") == 0;
    memcpy(request, hello, HELLO);
    memcpy(request + HELLO, head, HEAD);
    memset(request + HELLO + HEAD, 'x', SIZE);
    message = framed ? request + HELLO : request + HELLO + HEAD;
    message_size = framed ? HEAD + SIZE : SIZE;
}

/* The first request goes with our HELLO. */
static void begin(client *self, int epoll)
{
    const struct linger reset = {.l_onoff = 1}; /* so that no port stays in TIME_WAIT */
    int on = 1;
    size_t size = message_size + (framed ? HELLO : 0);
    self->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    self->skip = framed ? HELLO : 0;
    self->got = 0;
    if (self->fd < 0 || connect(self->fd, (struct sockaddr *)&to, sizeof to) < 0) {
        fail("connect");
    }
    set(self->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set(self->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    watch(epoll, self->fd, self);
    if (send(self->fd, message - (framed ? HELLO : 0), size, MSG_NOSIGNAL) != (ssize_t)size) {
        fail("send");
    }
}

/* True: the answer is there, whole. */
static bool answered(client *self)
{
    uint8_t bytes[HELLO + HEAD + SIZE], *at = bytes;
    ssize_t n = recv(self->fd, bytes, self->skip + message_size - self->got, MSG_DONTWAIT);
    size_t left;
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) {
            return false;
        }
        fail("the server hung up");
    }
    left = (size_t)n;
    if (self->skip > 0) {
        size_t skipped = left < self->skip ? left : self->skip;
        self->skip -= skipped;
        at += skipped;
        left -= skipped;
    }
    if (memcmp(at, message + self->got, left) != 0) {
        fail("another answer than was asked for");
    }
    self->got += left;
    return self->skip == 0 && self->got == message_size;
}

static void again(client *self)
{
    self->got = 0;
    if (send(self->fd, message, message_size, MSG_NOSIGNAL) != (ssize_t)message_size) {
        fail("send");
    }
}

static uint64_t all; /* answers so far */

/* Answers for `ms`; how many a second. */
static double load(int epoll, long ms, bool reconnect)
{
    struct epoll_event ready[READY];
    int64_t begun = now(), end = begun + ms * 1000000;
    uint64_t answers = 0;
    while (now() < end) {
        int n = epoll_wait(epoll, ready, READY, 100);
        for (int i = 0; i < n; i++) {
            client *self = ready[i].data.ptr;
            if (!answered(self)) {
                continue;
            }
            answers++;
            if (reconnect) {
                (void)close(self->fd);
                begin(self, epoll);
            } else {
                again(self);
            }
        }
    }
    all += answers;
    return (double)answers * 1e9 / (double)(now() - begun);
}

/* Until the process is in that state, or out of it. */
static void until(int pid, bool stopped)
{
    char path[64], line[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (;;) {
        FILE *file = fopen(path, "r");
        if (file == NULL || fgets(line, sizeof line, file) == NULL) {
            fail("the server has gone");
        }
        (void)fclose(file);
        if ((strrchr(line, ')')[2] == 'T') == stopped) {
            return;
        }
    }
}

static void pause_server(int pid, bool pauses)
{
    (void)kill(pid, pauses ? SIGSTOP : SIGCONT);
    if (pauses) {
        until(pid, true);
    }
}

static void answer_all(int epoll, int left)
{
    struct epoll_event ready[READY];
    while (left > 0) {
        int n = epoll_wait(epoll, ready, READY, 0); /* asleep, each answer would wake it: an IPI */
        for (int i = 0; i < n; i++) {
            left -= answered(ready[i].data.ptr);
        }
    }
}

/* One more than `count`: the last is answered when all others have been closed. */
static int64_t burst(int epoll, client *clients, int count, int pid)
{
    int64_t begun, spent;
    pause_server(pid, true);
    for (int i = 0; i < count; i++) {
        begin(&clients[i], epoll);
    }
    begun = now();
    pause_server(pid, false);
    answer_all(epoll, count);
    spent = now() - begun;
    pause_server(pid, true);
    for (int i = 0; i < count; i++) {
        (void)close(clients[i].fd);
    }
    begun = now();
    pause_server(pid, false);
    begin(clients, epoll);
    answer_all(epoll, 1);
    (void)close(clients->fd);
    return spent + now() - begun;
}

static double bursts(int epoll, client *clients, int count, long ms, int pid)
{
    int64_t spent = 0;
    uint64_t answers = 0;
    (void)burst(epoll, clients, count, pid); /* warm */
    while (spent < ms * 1000000) {
        spent += burst(epoll, clients, count, pid);
        answers += (uint64_t)count + 1;
    }
    all = answers + (uint64_t)count + 1;
    return (double)answers * 1e9 / (double)spent;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    client *clients;
    int count, epoll = epoll_create1(0);
    char byte;
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (argc > 1 && strcmp(argv[1], "serve") == 0) {
        serve();
    }
    if (argc < 5) {
        fprintf(stderr, "load_server: see the head of its source\n");
        return 2;
    }
    to = (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)atoi(argv[2])),
                              .sin_addr = {htonl(INADDR_LOOPBACK)}};
    prepare(argv[3]);
    count = atoi(argv[4]);
    clients = calloc((size_t)count, sizeof *clients);
    if (clients == NULL) {
        fail("calloc");
    }
    if (strcmp(argv[1], "burst") == 0 && argc > 6) {
        printf("%.0f", bursts(epoll, clients, count, atol(argv[5]), atoi(argv[6])));
        printf(" %llu\n", (unsigned long long)all);
        return 0;
    }
    for (int i = 0; i < count; i++) {
        begin(&clients[i], epoll);
        while (i % 64 == 63 && !answered(&clients[i])) { /* no faster than it lets them in */
        }
        if (i % 64 == 63) {
            again(&clients[i]);
        }
    }
    if (strcmp(argv[1], "idle") == 0) {
        for (int i = 0; i < count; i++) {
            while (!answered(&clients[i])) {
            }
        }
        printf("ready\n");
        (void)fflush(stdout);
        (void)!read(0, &byte, 1);
        return 0;
    }
    {
        bool connects = strcmp(argv[1], "connects") == 0;
        double rate;
        (void)load(epoll, 200, connects); /* warm */
        rate = load(epoll, argc > 5 ? atol(argv[5]) : 1000, connects);
        printf("%.0f %llu\n", rate, (unsigned long long)(all + (uint64_t)count));
    }
    return 0;
}
