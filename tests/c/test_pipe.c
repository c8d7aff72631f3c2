/* SPDX-License-Identifier: Apache-2.0
 * pipe: written to, full, and without a reader. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>

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
