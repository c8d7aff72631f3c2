/* SPDX-License-Identifier: Apache-2.0
 * pipe: written to, full, and without a reader. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

#include "ipcx/pipe.h"

TEST(what_is_written_is_read)
{
    int ends[2];
    char text[8] = {0};
    size_t written;
    REQUIRE_OK(ipcx_pipe(ends, NULL));
    CHECK(fcntl(ends[0], F_GETFD) == FD_CLOEXEC && fcntl(ends[1], F_GETFD) == FD_CLOEXEC);
    CHECK_OK(ipcx_pipe_write(ends[1], "bytes", 5, &written, NULL));
    CHECK_INT(written, 5);
    CHECK_INT(read(ends[0], text, sizeof text), 5);
    CHECK_STR(text, "bytes");
    REQUIRE(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    while (ipcx_pipe_write(ends[1], "more", 4, &written, NULL) == IPCX_OK) {
    }
    CHECK_STATUS(ipcx_pipe_write(ends[1], "more", 4, &written, NULL), IPCX_AGAIN);
    CHECK_INT(written, 0);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

static volatile sig_atomic_t pipes;

static void count(int number)
{
    (void)number;
    pipes++;
}

TEST(no_reader_is_an_answer_and_no_signal)
{
    int ends[2];
    size_t written;
    ipcx_error err = {0};
    REQUIRE(signal(SIGPIPE, count) == SIG_DFL);
    REQUIRE_OK(ipcx_pipe(ends, NULL));
    CHECK(close(ends[0]) == 0);
    CHECK_STATUS(ipcx_pipe_write(ends[1], "x", 1, &written, &err), IPCX_PEER_CLOSED);
    CHECK_INT(err.sys_errno, EPIPE);
    CHECK_INT(pipes, 0);
    CHECK(raise(SIGPIPE) == 0);
    CHECK_INT(pipes, 1);
    CHECK(close(ends[1]) == 0);
    CHECK_STATUS(ipcx_pipe_write(ends[1], "x", 1, &written, &err), IPCX_CLOSED);
    (void)signal(SIGPIPE, SIG_DFL);
}

typedef struct end {
    int fd;
    ipcx_gate gate;
} end;

static void *close_end(void *given)
{
    end *self = given;
    ipcx_pipe_close(self->fd, &self->gate);
    return NULL;
}

/* More often than not the other thread waits already. */
TEST(an_end_is_closed_while_another_thread_waits)
{
    static const char data[65536];
    for (int turn = 0; turn < 40; turn++) {
        int ends[2];
        end mine = {0};
        char text[8];
        size_t got;
        pthread_t closer;
        REQUIRE_OK(ipcx_pipe(ends, NULL));
        mine.fd = ends[turn % 2];
        if (turn % 2) {
            REQUIRE(write(ends[1], data, sizeof data) == sizeof data);
        }
        REQUIRE(pthread_create(&closer, NULL, close_end, &mine) == 0);
        CHECK_STATUS(turn % 2 ? ipcx_pipe_wait_room(mine.fd, &mine.gate, IPCX_FOREVER, NULL)
                              : ipcx_pipe_read(mine.fd, &mine.gate, text, sizeof text, IPCX_FOREVER,
                                               &got, NULL),
                     IPCX_CLOSED);
        REQUIRE(pthread_join(closer, NULL) == 0);
        CHECK_STATUS(ipcx_pipe_read(mine.fd, &mine.gate, text, 8, IPCX_NOW, &got, NULL),
                     IPCX_CLOSED);
        CHECK(close(ends[1 - turn % 2]) == 0);
    }
}

static char folder[64], path[96];

static void enter(void)
{
    strcpy(folder, "/tmp/ipcx-pipe-XXXXXX");
    REQUIRE(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/orders", folder);
}

static void leave(void)
{
    (void)unlink(path);
    REQUIRE(rmdir(folder) == 0);
}

static void *read_soon(void *unused)
{
    char text[8] = {0};
    size_t got;
    int fd;
    (void)unused;
    CHECK_OK(ipcx_fifo_open(path, 0, IPCX_NOW, &fd, NULL));
    CHECK_OK(ipcx_pipe_read(fd, NULL, text, sizeof text, IPCX_FOREVER, &got, NULL));
    CHECK_STR(text, "order");
    CHECK_STATUS(ipcx_pipe_read(fd, NULL, text, sizeof text, IPCX_FOREVER, &got, NULL), IPCX_EOF);
    CHECK(close(fd) == 0);
    return NULL;
}

TEST(a_writer_waits_for_a_reader_and_no_longer_than_told)
{
    pthread_t thread;
    size_t written;
    int fd;
    enter();
    REQUIRE_OK(ipcx_fifo_make(path, 0600, NULL));
    CHECK_STATUS(ipcx_fifo_open(path, 1, IPCX_NOW, &fd, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_fifo_open(path, 1, ipcx_deadline_after(1000000), &fd, NULL), IPCX_TIMEOUT);
    REQUIRE(pthread_create(&thread, NULL, read_soon, NULL) == 0);
    REQUIRE_OK(ipcx_fifo_open(path, 1, IPCX_FOREVER, &fd, NULL));
    CHECK_OK(ipcx_pipe_wait_room(fd, NULL, IPCX_NOW, NULL));
    CHECK_OK(ipcx_pipe_write(fd, "order", 5, &written, NULL));
    CHECK(close(fd) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    leave();
}

TEST(a_reader_waits_for_a_first_writer)
{
    char text[8];
    size_t got;
    int fd, other;
    enter();
    REQUIRE_OK(ipcx_fifo_make(path, 0600, NULL));
    REQUIRE_OK(ipcx_fifo_open(path, 0, IPCX_NOW, &fd, NULL));
    CHECK_STATUS(ipcx_pipe_read(fd, NULL, text, 8, IPCX_NOW, &got, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_pipe_read(fd, NULL, text, 8, ipcx_deadline_after(1000000), &got, NULL),
                 IPCX_TIMEOUT);
    REQUIRE_OK(ipcx_fifo_open(path, 1, IPCX_NOW, &other, NULL));
    CHECK(close(other) == 0);
    CHECK_STATUS(ipcx_pipe_read(fd, NULL, text, 8, IPCX_NOW, &got, NULL), IPCX_EOF);
    CHECK(close(fd) == 0);
    leave();
}

TEST(what_is_there_already)
{
    ipcx_error err = {0};
    int fd;
    enter();
    REQUIRE_OK(ipcx_fifo_make(path, 0600, NULL));
    CHECK_STATUS(ipcx_fifo_make(path, 0600, &err), IPCX_SYSTEM);
    CHECK(strstr(err.detail, "left behind") != NULL);
    REQUIRE_OK(ipcx_fifo_open(path, 0, IPCX_NOW, &fd, NULL));
    CHECK_STATUS(ipcx_fifo_make(path, 0600, &err), IPCX_ADDRESS_IN_USE);
    CHECK(close(fd) == 0 && unlink(path) == 0);
    CHECK_STATUS(ipcx_fifo_open(path, 0, IPCX_NOW, &fd, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENOENT);
    REQUIRE(symlink("/dev/null", path) == 0);
    CHECK_STATUS(ipcx_fifo_open(path, 0, IPCX_NOW, &fd, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ELOOP);
    CHECK_STATUS(ipcx_fifo_make(path, 0600, &err), IPCX_SYSTEM);
    CHECK(strstr(err.detail, "no named pipe") != NULL);
    REQUIRE(unlink(path) == 0);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && close(fd) == 0);
    CHECK_STATUS(ipcx_fifo_open(path, 1, IPCX_NOW, &fd, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EINVAL);
    leave();
}
