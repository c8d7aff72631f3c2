/* SPDX-License-Identifier: Apache-2.0
 * The floor of bench_framing.py and bench_channel.py: messages behind a length of 4 bytes, from C,
 * with nothing else.
 * Invariant: one writev a message (or a batch), reads into a buffer of 64 KiB and more. */
#include "floor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL = 64, BATCH = 100, BULK = 64 * 1024, LARGE = 1024 * 1024, ROOM = 4 * LARGE };

typedef struct {
    int fd;
    size_t head, len;
    char *room;
} stream;

typedef struct {
    const char *name;
    int family;
    size_t size, batch;
    bool across; /* another process answers each message with the same */
    bool single; /* the batch is sent message by message */
    bool flood;  /* … it takes them in and answers, with one of 1 B, only one of 1 B */
} row;

static const row rows[] = {
    {"unix", AF_UNIX, SMALL, 1, false, false, false},
    {"tcp", AF_INET, SMALL, 1, false, false, false},
    {"batch", AF_UNIX, SMALL, BATCH, false, false, false},
    {"batch-tcp", AF_INET, SMALL, BATCH, false, false, false},
    {"stream", AF_UNIX, SMALL, BATCH, false, true, false},
    {"stream-tcp", AF_INET, SMALL, BATCH, false, true, false},
    {"64k", AF_UNIX, BULK, 1, false, false, false},
    {"pingpong", AF_UNIX, SMALL, 1, true, false, false},
    {"pingpong-tcp", AF_INET, SMALL, 1, true, false, false},
    {"flood", AF_UNIX, SMALL, 1, true, false, true},
    {"flood-tcp", AF_INET, SMALL, 1, true, false, true},
    {"flood-batch", AF_UNIX, SMALL, BATCH, true, false, true},
    {"flood-batch-tcp", AF_INET, SMALL, BATCH, true, false, true},
    {"flood-64k", AF_UNIX, BULK, 1, true, false, true},
    {"flood-1m", AF_UNIX, LARGE, 1, true, false, true},
    {"flood-1m-tcp", AF_INET, LARGE, 1, true, false, true},
};

static char data[LARGE];

static void open_pair(int family, int *ends)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t size = sizeof in;
    int on = 1, listener;
    if (family == AF_UNIX) {
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
        return;
    }
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = (int)must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    must(bind(listener, (struct sockaddr *)&in, sizeof in), "bind");
    must(listen(listener, 1), "listen");
    must(getsockname(listener, (struct sockaddr *)&in, &size), "getsockname");
    ends[0] = (int)must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    must(connect(ends[0], (struct sockaddr *)&in, sizeof in), "connect");
    ends[1] = (int)must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");
    for (int i = 0; i < 2; i++) {
        must(setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
    }
    must(close(listener), "close");
}

static void send_batch(int fd, size_t size, size_t batch)
{
    static uint32_t head;
    struct iovec parts[2 * BATCH];
    size_t total = batch * (size + 4);
    head = htonl((uint32_t)size);
    for (size_t i = 0; i < batch; i++) {
        parts[2 * i] = (struct iovec){&head, 4};
        parts[2 * i + 1] = (struct iovec){data, size};
    }
    if ((size_t)must(writev(fd, parts, (int)(2 * batch)), "writev") != total) {
        printf("error a short writev\n");
        exit(1);
    }
}

/* The size of the message that was there; 0 at the end of the stream. */
static size_t receive(stream *s)
{
    for (;;) {
        uint32_t size;
        ssize_t n;
        if (s->len >= 4) {
            memcpy(&size, s->room + s->head, 4);
            size = ntohl(size);
            if (s->len >= 4 + size) {
                s->len -= 4 + size;
                s->head = s->len > 0 ? s->head + 4 + size : 0;
                return size;
            }
        }
        if (s->head > ROOM / 2) {
            memmove(s->room, s->room + s->head, s->len);
            s->head = 0;
        }
        n = must(read(s->fd, s->room + s->head + s->len, ROOM - s->head - s->len), "read");
        if (n == 0) {
            return 0;
        }
        s->len += (size_t)n;
    }
}

static void run(const row *r, int fd, stream *s, long n)
{
    if (r->flood) {
        for (long i = 0; i < n; i++) {
            send_batch(fd, r->size, r->batch);
        }
        send_batch(fd, 1, 1);
        (void)receive(s);
        return;
    }
    for (long i = 0; i < n; i++) {
        for (size_t k = 0; k < (r->single ? r->batch : 1); k++) {
            send_batch(fd, r->size, r->single ? 1 : r->batch);
        }
        for (size_t k = 0; k < r->batch; k++) {
            (void)receive(s);
        }
    }
}

static pid_t answerer(const row *r, const int *ends)
{
    stream s = {.fd = ends[1], .room = malloc(ROOM)};
    pid_t child = (pid_t)must(fork(), "fork");
    if (child == 0) {
        pin(1);
        (void)close(ends[0]);
        for (size_t size; (size = receive(&s)) > 0;) {
            if (!r->flood || size == 1) {
                send_batch(ends[1], size, 1);
            }
        }
        _exit(0);
    }
    free(s.room);
    return child;
}

static bool measure(const char *name, long ops, long slices)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const row *r = &rows[i];
        int ends[2];
        pid_t child = -1;
        stream s = {.room = malloc(ROOM)};
        if (strcmp(r->name, name) != 0) {
            free(s.room);
            continue;
        }
        open_pair(r->family, ends);
        child = r->across ? answerer(r, ends) : -1;
        s.fd = r->across ? ends[0] : ends[1];
        run(r, ends[0], &s, ops);
        for (long k = 0; k < slices; k++) {
            long long before = now();
            run(r, ends[0], &s, ops);
            printf("%lld ", now() - before);
        }
        must(close(ends[0]), "close");
        must(close(ends[1]), "close");
        if (child >= 0) {
            must(waitpid(child, NULL, 0), "waitpid");
        }
        free(s.room);
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    memset(data, 'x', sizeof data);
    return answer(argc, argv, measure);
}
