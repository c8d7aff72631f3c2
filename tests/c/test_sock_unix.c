/* SPDX-License-Identifier: Apache-2.0
 * sock between threads and processes: descriptors in messages, credentials, adopt and detach, close
 * while others wait, fork. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "addresses.h"
#include "ipcx/fd.h"
#include "ipcx/sock_unix.h"

/* ---- descriptors in messages */

static ipcx_status send_fds(ipcx_sock *sock, const int *fds, int count)
{
    size_t n = 0;
    return ipcx_sock_send_fds(sock, "x", 1, fds, count, IPCX_FOREVER, &n, NULL);
}

static ipcx_status recv_fds(ipcx_sock *sock, int *fds, int *count, ipcx_error *err)
{
    char byte;
    size_t n = 0;
    return ipcx_sock_recv_fds(sock, &byte, 1, fds, count, IPCX_FOREVER, &n, err);
}

static void pass(int type)
{
    ipcx_sock a = {0}, b = {0};
    int sent[3], came[8], i, on, count = 8;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, type, NULL));
    for (i = 0; i < 3; i++) {
        sent[i] = open("/dev/null", O_RDWR);
    }
    CHECK_OK(send_fds(&a, sent, 3));
    CHECK_OK(recv_fds(&b, came, &count, NULL));
    CHECK_INT(count, 3);
    for (i = 0; i < count; i++) {
        CHECK_OK(ipcx_fd_get_cloexec(came[i], &on, NULL));
        CHECK_INT(on, 1);
        CHECK_INT(write(came[i], "x", 1), 1);
        CHECK_OK(ipcx_fd_close(came[i], NULL));
        CHECK_OK(ipcx_fd_close(sent[i], NULL));
    }
    count = 0;
    CHECK_OK(send_fds(&a, NULL, 0)); /* a message without any is fine */
    CHECK_OK(recv_fds(&b, NULL, &count, NULL));
    CHECK_OK(ipcx_sock_close(&a, NULL));
    CHECK_OK(ipcx_sock_close(&b, NULL));
}

TEST(descriptors_travel)
{
    pass(SOCK_STREAM);
    pass(SOCK_DGRAM);
    pass(SOCK_SEQPACKET);
}

TEST(the_most_descriptors)
{
    static int sent[IPCX_SOCK_FDS_MAX + 1], came[IPCX_SOCK_FDS_MAX];
    ipcx_sock a = {0}, b = {0};
    int count = IPCX_SOCK_FDS_MAX, i;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    CHECK_STATUS(send_fds(&a, sent, IPCX_SOCK_FDS_MAX + 1), IPCX_INVALID);
    for (i = 0; i < IPCX_SOCK_FDS_MAX; i++) {
        sent[i] = a.fd;
    }
    CHECK_OK(send_fds(&a, sent, IPCX_SOCK_FDS_MAX));
    CHECK_OK(recv_fds(&b, came, &count, NULL));
    CHECK_INT(count, IPCX_SOCK_FDS_MAX);
    for (i = 0; i < count; i++) {
        CHECK_OK(ipcx_fd_close(came[i], NULL));
    }
    CHECK_OK(ipcx_sock_close(&a, NULL));
    CHECK_OK(ipcx_sock_close(&b, NULL));
}

/* More than this process may open: the kernel cuts the list (MSG_CTRUNC). */
static void recv_fds_without_room(ipcx_sock *from, ipcx_sock *to)
{
    struct rlimit before, few;
    int fds[4] = {from->fd, from->fd, from->fd, from->fd}, came[4], count = 4;
    int free_fd = open("/dev/null", O_RDONLY);
    close(free_fd);
    CHECK_OK(send_fds(from, fds, 4));
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = (rlim_t)free_fd + 2;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_STATUS(recv_fds(to, came, &count, NULL), IPCX_PROTOCOL);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_INT(count, 0);
}

TEST(a_refused_message_leaks_no_descriptor)
{
    ipcx_sock a = {0}, b = {0};
    ipcx_error err;
    int sent[4], came[4] = {-7, -7, -7, -7}, fds, i, count = 2;
    size_t n = 0;
    char byte;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    for (i = 0; i < 4; i++) {
        sent[i] = a.fd;
    }
    fds = check_fds();
    /* More than there is room for. */
    CHECK_OK(send_fds(&a, sent, 4));
    CHECK_STATUS(recv_fds(&b, came, &count, &err), IPCX_PROTOCOL);
    CHECK_STR(err.detail, "more descriptors came than the 2 there is room for");
    CHECK_INT(count, 0);
    CHECK_INT(check_fds(), fds);
    if (!check_valgrind()) {
        recv_fds_without_room(&a, &b);
        CHECK_INT(check_fds(), fds);
    }
    /* Who does not ask for descriptors gets the bytes, and none. */
    CHECK_OK(send_fds(&a, sent, 4));
    CHECK_OK(ipcx_sock_recv(&b, &byte, 1, IPCX_FOREVER, &n, NULL));
    CHECK_INT(byte, 'x');
    CHECK_INT(check_fds(), fds);
    CHECK_OK(ipcx_sock_close(&a, NULL));
    CHECK_OK(ipcx_sock_close(&b, NULL));
}

TEST(descriptors_need_a_byte)
{
    ipcx_sock a = {0}, b = {0};
    int fd;
    size_t n = 0;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    fd = a.fd;
    CHECK_STATUS(ipcx_sock_send_fds(&a, "", 0, &fd, 1, IPCX_FOREVER, &n, NULL), IPCX_INVALID);
    CHECK_STATUS(ipcx_sock_send_fds(&a, "x", 1, &fd, -1, IPCX_FOREVER, &n, NULL), IPCX_INVALID);
    fd = -1;
    CHECK_STATUS(send_fds(&a, &fd, 1), IPCX_CLOSED); /* EBADF */
    CHECK_OK(ipcx_sock_close(&a, NULL));
    CHECK_OK(ipcx_sock_close(&b, NULL));
}

TEST(scatter_and_gather)
{
    ipcx_sock a = {0}, b = {0};
    char x[4] = {0}, y[8] = {0};
    struct iovec out[3] = {{(void *)(uintptr_t)"ab", 2}, {NULL, 0}, {(void *)(uintptr_t)"cde", 3}};
    struct iovec in[2] = {{x, 3}, {y, 7}};
    size_t n = 0;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    CHECK_OK(ipcx_sock_sendv(&a, out, 3, NULL, IPCX_FOREVER, &n, NULL));
    CHECK_INT(n, 5);
    CHECK_OK(ipcx_sock_recvv(&b, in, 2, NULL, IPCX_FOREVER, &n, NULL));
    CHECK_INT(n, 5);
    CHECK_STR(x, "abc");
    CHECK_STR(y, "de");
    CHECK_OK(ipcx_sock_close(&a, NULL));
    CHECK_STATUS(ipcx_sock_recvv(&b, in, 2, NULL, IPCX_FOREVER, &n, NULL), IPCX_EOF);
    CHECK_OK(ipcx_sock_close(&b, NULL));
}

/* ---- who is there */

TEST(credentials_of_the_peer)
{
    ipcx_sock server = {0}, conn = {0}, tcp = {0}, lone = {0};
    ipcx_addr addr = address("abstract");
    ipcx_cred cred = {0};
    ipcx_error err;
    pid_t child;
    REQUIRE_OK(ipcx_sock_open(&server, AF_UNIX, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_bind(&server, &addr, NULL));
    REQUIRE_OK(ipcx_sock_listen(&server, 1, NULL));
    child = fork();
    if (child == 0) {
        ipcx_sock client = {0};
        int good = ipcx_sock_open(&client, AF_UNIX, SOCK_STREAM, 0, NULL) == IPCX_OK &&
                   ipcx_sock_connect(&client, &addr, IPCX_FOREVER, NULL) == IPCX_OK &&
                   ipcx_sock_peer_cred(&client, &cred, NULL) == IPCX_OK && cred.pid == getppid();
        _exit(!good);
    }
    CHECK_OK(ipcx_sock_accept(&server, &conn, NULL, IPCX_FOREVER, NULL));
    CHECK_OK(ipcx_sock_peer_cred(&conn, &cred, NULL));
    CHECK_INT(cred.pid, child);
    CHECK_INT(cred.uid, getuid());
    CHECK_INT(cred.gid, getgid());
    CHECK(check_child(child));
    REQUIRE_OK(ipcx_sock_open(&tcp, AF_INET, SOCK_STREAM, 0, NULL));
    CHECK_STATUS(ipcx_sock_peer_cred(&tcp, &cred, &err), IPCX_UNSUPPORTED);
    REQUIRE_OK(ipcx_sock_open(&lone, AF_UNIX, SOCK_STREAM, 0, NULL));
    CHECK_STATUS(ipcx_sock_peer_cred(&lone, &cred, &err), IPCX_UNSUPPORTED);
    CHECK_OK(ipcx_sock_close(&server, NULL));
    CHECK_OK(ipcx_sock_close(&conn, NULL));
    CHECK_OK(ipcx_sock_close(&tcp, NULL));
    CHECK_OK(ipcx_sock_close(&lone, NULL));
}

/* ---- whose descriptor it is */

TEST(adopt_and_detach)
{
    ipcx_sock sock = {0};
    ipcx_error err;
    int fds[2], on = -1;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK_OK(ipcx_sock_adopt(&sock, fds[0], &err));
    CHECK_OK(ipcx_fd_get_cloexec(fds[0], &on, NULL));
    CHECK_INT(on, 1);
    CHECK_OK(ipcx_fd_get_nonblocking(fds[0], &on, NULL));
    CHECK_INT(on, 1);
    CHECK_OK(ipcx_sock_detach(&sock, &on, &err));
    CHECK_INT(on, fds[0]);
    CHECK_INT(sock.open, 0);
    CHECK_INT(write(fds[0], "x", 1), 1);
    close(fds[0]);
    close(fds[1]);
}

TEST(what_cannot_be_adopted_stays_as_it_was)
{
    ipcx_sock sock = {0};
    ipcx_error err;
    int fd = open("/dev/null", O_RDWR), on = -1;
    CHECK_STATUS(ipcx_sock_adopt(&sock, fd, &err), IPCX_INVALID);
    CHECK_OK(ipcx_fd_get_cloexec(fd, &on, NULL));
    CHECK_INT(on, 0);
    CHECK_OK(ipcx_fd_close(fd, NULL));
    CHECK_STATUS(ipcx_sock_adopt(&sock, fd, &err), IPCX_INVALID);
    CHECK_INT(sock.open, 0);
}

/* ---- close while others wait */

typedef struct call {
    ipcx_sock *sock;
    ipcx_status (*run)(struct call *self);
    atomic_int begun;
    ipcx_status status;
} call;

static ipcx_status do_recv(call *self)
{
    char bytes[4];
    size_t n;
    return ipcx_sock_recv(self->sock, bytes, 4, IPCX_FOREVER, &n, NULL);
}

static ipcx_status do_recv_fds(call *self)
{
    int fd, count = 1;
    return recv_fds(self->sock, &fd, &count, NULL);
}

static ipcx_status do_exactly(call *self)
{
    char bytes[4];
    size_t n = 0;
    return ipcx_sock_recv_exactly(self->sock, bytes, 4, IPCX_FOREVER, &n, NULL);
}

/* More than any buffer takes. */
static const char large[8 << 20];

static ipcx_status do_send(call *self)
{
    size_t n;
    return ipcx_sock_send(self->sock, large, sizeof large, IPCX_FOREVER, &n, NULL);
}

static ipcx_status do_send_all(call *self)
{
    size_t n = 0;
    return ipcx_sock_send_all(self->sock, large, sizeof large, IPCX_FOREVER, &n, NULL);
}

static ipcx_status do_accept(call *self)
{
    ipcx_sock conn = {0};
    return ipcx_sock_accept(self->sock, &conn, NULL, IPCX_FOREVER, NULL);
}

static void *run_call(void *arg)
{
    call *self = arg;
    atomic_store(&self->begun, 1);
    self->status = self->run(self);
    return NULL;
}

static void *close_it(void *sock)
{
    CHECK_OK(ipcx_sock_close(sock, NULL));
    return NULL;
}

/* Two threads wait, two close. */
static void close_during(ipcx_sock *sock, ipcx_status (*run)(call *self))
{
    call calls[2];
    pthread_t threads[2], closer;
    int i;
    for (i = 0; i < 2; i++) {
        calls[i] = (call){.sock = sock, .run = run};
        REQUIRE(pthread_create(&threads[i], NULL, run_call, &calls[i]) == 0);
    }
    for (i = 0; i < 2; i++) {
        while (atomic_load(&calls[i].begun) == 0) {
            sched_yield();
        }
    }
    REQUIRE(pthread_create(&closer, NULL, close_it, sock) == 0);
    CHECK_OK(ipcx_sock_close(sock, NULL));
    pthread_join(closer, NULL);
    for (i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK_STATUS(calls[i].status, IPCX_CLOSED);
    }
}

TEST(close_ends_every_verb)
{
    static ipcx_status (*const verbs[])(call *) = {do_recv, do_recv_fds, do_exactly, do_send,
                                                   do_send_all};
    size_t i;
    for (i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        ipcx_sock a = {0}, b = {0};
        REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
        close_during(&a, verbs[i]);
        CHECK_OK(ipcx_sock_close(&b, NULL));
    }
}

TEST(close_ends_accept)
{
    ipcx_sock server = {0};
    ipcx_addr addr = address("abstract");
    REQUIRE_OK(ipcx_sock_open(&server, AF_UNIX, SOCK_STREAM, 0, NULL));
    REQUIRE_OK(ipcx_sock_bind(&server, &addr, NULL));
    REQUIRE_OK(ipcx_sock_listen(&server, 1, NULL));
    close_during(&server, do_accept);
}

TEST(a_child_has_its_own)
{
    ipcx_sock a = {0}, b = {0};
    call parked = {.sock = &b, .run = do_recv};
    pthread_t thread;
    pid_t child;
    size_t n = 0;
    REQUIRE_OK(ipcx_sock_pair(&a, &b, SOCK_STREAM, NULL));
    REQUIRE(pthread_create(&thread, NULL, run_call, &parked) == 0);
    while (atomic_load(&parked.begun) == 0) {
        sched_yield();
    }
    child = fork();
    if (child == 0) {
        /* The parent's thread is in b's gate, and here nobody is. */
        int good = ipcx_sock_close(&b, NULL) == IPCX_OK &&
                   ipcx_sock_send(&a, "kid", 3, IPCX_FOREVER, &n, NULL) == IPCX_OK &&
                   ipcx_sock_close(&a, NULL) == IPCX_OK;
        _exit(!good);
    }
    pthread_join(thread, NULL);
    CHECK_OK(parked.status);
    CHECK(check_child(child));
    CHECK_OK(ipcx_sock_send(&a, "x", 1, IPCX_NOW, &n, NULL));
    CHECK_OK(ipcx_sock_close(&a, NULL));
    CHECK_OK(ipcx_sock_close(&b, NULL));
}
