/* SPDX-License-Identifier: Apache-2.0
 * Listeners and who connects to them, honest or not, for tests.
 * Invariant: included after check.h, in one file of a program. */
#ifndef IPCX_TESTS_DIALING_H
#define IPCX_TESTS_DIALING_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipcx/addr.h"
#include "ipcx/alloc.h"
#include "ipcx/chan.h"
#include "ipcx/connect.h"
#include "ipcx/url.h"

#define MS INT64_C(1000000)
#define SOON ipcx_deadline_after(10000 * MS)

/* One message from `a` to `b`. */
static inline void hello(ipcx_chan *a, ipcx_chan *b)
{
    ipcx_message said = {.data = "hello", .size = 5}, heard = {0};
    ipcx_error err = {0};
    if (!CHECK_OK(ipcx_chan_send(a, &said, SOON, NULL, &err)) ||
        !CHECK_OK(ipcx_chan_receive(b, &heard, SOON, &err))) {
        check_fail(__FILE__, __LINE__, "%s", err.detail);
        return;
    }
    CHECK_INT(heard.size, 5);
    CHECK_MEM(heard.data, "hello", 5);
    ipcx_chan_release(b, &heard);
}

static inline ipcx_listener *listening(const char *url, const ipcx_chan_options *options)
{
    ipcx_listener *listener = NULL;
    ipcx_error err = {0};
    if (ipcx_listen(url, options, &listener, &err) != IPCX_OK) {
        check_fail(__FILE__, __LINE__, "listen %s: %s: %s (errno %d)", url,
                   ipcx_status_name(err.status), err.detail, err.sys_errno);
    }
    REQUIRE(listener != NULL);
    return listener;
}

static inline ipcx_chan *connected(const char *url)
{
    ipcx_chan *chan = NULL;
    ipcx_error err = {0};
    if (ipcx_connect(url, NULL, SOON, &chan, &err) != IPCX_OK) {
        check_fail(__FILE__, __LINE__, "connect %s: %s: %s (errno %d)", url,
                   ipcx_status_name(err.status), err.detail, err.sys_errno);
    }
    REQUIRE(chan != NULL);
    return chan;
}

static inline ipcx_chan *accepted(ipcx_listener *listener)
{
    ipcx_chan *chan = NULL;
    REQUIRE_OK(ipcx_listener_accept(listener, &chan, SOON, NULL));
    return chan;
}

/* connect fails with `status`, and the detail holds `word`. */
static inline void connect_fails(const char *url, ipcx_deadline deadline, ipcx_status status,
                                 const char *word)
{
    ipcx_chan *chan = (ipcx_chan *)(void *)&chan;
    ipcx_error err = {0};
    CHECK_STATUS(ipcx_connect(url, NULL, deadline, &chan, &err), status);
    CHECK(chan == (ipcx_chan *)(void *)&chan);
    if (status < 0 && strstr(err.detail, word) == NULL) {
        check_fail(__FILE__, __LINE__, "%s: \"%s\" lacks \"%s\"", url, err.detail, word);
    }
    CHECK(status != IPCX_REFUSED || err.sys_errno == ECONNREFUSED);
}

static inline void listen_fails(const char *url, ipcx_status status, int error, const char *word)
{
    ipcx_listener *listener = NULL;
    ipcx_error err = {0};
    CHECK_STATUS(ipcx_listen(url, NULL, &listener, &err), status);
    CHECK(listener == NULL);
    CHECK_INT(err.sys_errno, error);
    if (strstr(err.detail, word) == NULL) {
        check_fail(__FILE__, __LINE__, "%s: \"%s\" lacks \"%s\"", url, err.detail, word);
    }
    ipcx_listener_free(listener);
}

/* A connection of somebody who may not speak the protocol. */
static inline int stranger(const char *url)
{
    ipcx_url to;
    ipcx_addr addr;
    int fd;
    REQUIRE_OK(ipcx_url_parse(&to, url, NULL));
    if (to.scheme == IPCX_SCHEME_TCP) {
        REQUIRE_OK(ipcx_addr_ip(&addr, to.name, to.port, NULL));
    } else {
        REQUIRE_OK(ipcx_addr_unix(&addr, to.name, strlen(to.name), NULL));
    }
    fd = socket(addr.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0 && connect(fd, &addr.u.sa, addr.len) == 0);
    return fd;
}

/* Reads to the end of what the other side sends; true when it has hung up. */
static inline int hung_up(int fd)
{
    char bytes[256];
    ssize_t n;
    do {
        n = read(fd, bytes, sizeof bytes);
    } while (n > 0);
    return n == 0 || errno == ECONNRESET;
}

static inline int is_readable(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 1;
}

/* A folder of this test's own, and names in it. */
typedef struct folder {
    char path[64];
    char name[96], url[128], lock[112];
} folder;

static inline folder folder_make(void)
{
    folder made = {.path = "/tmp/ipcx-test-XXXXXX"};
    REQUIRE(mkdtemp(made.path) != NULL);
    (void)snprintf(made.name, sizeof made.name, "%s/app.sock", made.path);
    (void)snprintf(made.url, sizeof made.url, "unix://%s", made.name);
    (void)snprintf(made.lock, sizeof made.lock, "%s.lock", made.name);
    return made;
}

/* It must be empty. */
static inline void folder_remove(const folder *self)
{
    CHECK(rmdir(self->path) == 0);
}

static inline int exists(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0;
}

static inline void file_make(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static inline void file_is(const char *path, const char *text)
{
    char bytes[64] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && read(fd, bytes, sizeof bytes - 1) >= 0 && close(fd) == 0);
    CHECK_STR(bytes, text);
}

#endif
