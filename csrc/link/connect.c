/* SPDX-License-Identifier: Apache-2.0
 * Connecting to a listener.
 * Invariant: whatever ends an attempt, no descriptor of it is left; a failure names the URL. */
#include "ipcx/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link/fifo/chan_fifo.h"
#include "link/datagram/chan_dgram.h"
#include "link/log/chan_log.h"
#include "link/memory/chan_mem.h"
#include "link/shared/chan_shm.h"
#include "link/stream/chan_stream.h"
#include "link/address/dial.h"
#include "link/admit.h"
#include "link/address/path.h"
#include "link/address/url.h"
#include "os/gate.h"
#include "os/sock_io.h"

#define OP "connect"

ipcx_status ipcx__dial(int fd, const ipcx_addr *addr, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_gate gate = {0};
    /* With a deadline that has just passed, one look is taken at what the kernel does at once. */
    ipcx_deadline until = deadline == IPCX_NOW ? ipcx_clock_now() : deadline;
    ipcx__io io = {.fd = fd, .gate = &gate, .deadline = until, .stream = true};
    ipcx_status status = ipcx__io_connect_or_wait(&io, &addr->u.sa, addr->len, err);
    return status == IPCX_TIMEOUT && deadline == IPCX_NOW ? IPCX_AGAIN : status;
}

/* A stream channel over a connected `fd`, which it takes, or which is closed here. */
static ipcx_status begin(ipcx_scheme scheme, int port, int fd, const char *url,
                         const ipcx_chan_options *options, ipcx_deadline deadline, ipcx_chan **chan,
                         ipcx_error *err)
{
    ipcx_chan *made;
    ipcx_status status = ipcx__chan_stream_make(scheme, fd, fd, url, options, &made, err);
    if (status != IPCX_OK) {
        (void)close(fd);
        return status;
    }
    if (options->authkey != NULL) {
        status = ipcx__chan_stream_guard(made, false, options->authkey, options->authkey_size, err);
        if (status == IPCX_OK && scheme != IPCX_SCHEME_TLS) { /* a guest: see guest.h */
            ipcx__chan_stream_offer(made);
        }
    }
    if (status == IPCX_OK && scheme == IPCX_SCHEME_TLS) {
        status = ipcx__chan_stream_attach(made, false, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__chan_stream_greet(made, err);
    }
    if (status == IPCX_OK && scheme == IPCX_SCHEME_TLS) {
        status = ipcx__chan_stream_secure(made, port, deadline, err);
    }
    if (status != IPCX_OK) {
        ipcx_chan_free(made);
        return status;
    }
    *chan = made;
    return IPCX_OK;
}

/* ---- tcp://host:port */

/* Linux connects a socket to itself when the port it is given happens to be the one it wants. */
static bool is_own_echo(int fd)
{
    ipcx_addr own = {.len = sizeof own.u}, peer = {.len = sizeof peer.u};
    return getsockname(fd, &own.u.sa, &own.len) == 0 &&
           getpeername(fd, &peer.u.sa, &peer.len) == 0 && own.len == peer.len &&
           memcmp(&own.u, &peer.u, own.len) == 0;
}

static ipcx_status dial_tcp(const ipcx_addr *addr, ipcx_deadline deadline, int *fd, ipcx_error *err)
{
    ipcx_status status = ipcx__tcp_open(addr, fd, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__dial(*fd, addr, deadline, err);
    if (status == IPCX_OK && is_own_echo(*fd)) {
        status = ipcx_error_set(err, IPCX_REFUSED, ECONNREFUSED, OP, "connected to itself");
    }
    if (status != IPCX_OK) {
        (void)close(*fd);
    }
    return status;
}

/* The share of an address: an even part of what is left, so that one that never answers leaves
 * time for the next. */
static ipcx_deadline share(ipcx_deadline deadline, int addresses)
{
    if (deadline == IPCX_NOW || deadline == IPCX_FOREVER || addresses == 1) {
        return deadline;
    }
    return ipcx_clock_now() + ipcx_deadline_left(deadline) / addresses;
}

static ipcx_status connect_tcp(const ipcx_url *url, const char *text,
                               const ipcx_chan_options *options, ipcx_deadline deadline,
                               ipcx_chan **chan, ipcx_error *err)
{
    ipcx__addresses found;
    ipcx_error why = {0}, best = {0};
    int fd = -1;
    ipcx_status status = ipcx__tcp_resolve(url, false, &found, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = IPCX_TIMEOUT;
    for (int i = 0; i < found.count; i++) {
        ipcx_status now = dial_tcp(&found.at[i], share(deadline, found.count - i), &fd, &why);
        if (now == IPCX_OK) {
            return begin(url->scheme, url->port, fd, text, options, deadline, chan, err);
        }
        if (now == IPCX_INTR) {
            return now;
        }
        /* Of several, one that might have worked with more time speaks for all; then a host that
         * was there. */
        if (i == 0 || now > 0 || (status < 0 && status != IPCX_REFUSED)) {
            status = now;
            best = why;
        }
    }
    if (status == IPCX_REFUSED) {
        return ipcx__url_fail(err, status, best.sys_errno, OP, text, "start the listener first");
    }
    return status > 0 ? status : ipcx_error_set(err, status, best.sys_errno, OP, "%s", text);
}

/* ---- unix:///path */

static ipcx_status unix_failed(const char *path, const char *text, ipcx_status status, int error,
                               ipcx_error *err)
{
    struct stat found;
    if (error == ENOENT) {
        return ipcx__url_fail(err, IPCX_REFUSED, ECONNREFUSED, OP, text,
                              "start the listener first");
    }
    if (error == EACCES || error == EPERM) {
        return ipcx__url_fail(err, IPCX_AUTH, error, OP, text, "it is another user's");
    }
    if (status == IPCX_REFUSED) {
        bool is_socket = stat(path, &found) != 0 || S_ISSOCK(found.st_mode);
        return ipcx__url_fail(err, status, error, OP, text, "%s",
                              is_socket ? "start the listener first" : "that is no socket");
    }
    return ipcx_error_set(err, status, error, OP, "%s", text);
}

static ipcx_status dial_unix(const char *path, const char *text, const ipcx_chan_options *options,
                             ipcx_deadline deadline, int *made, ipcx_error *err)
{
    ipcx_error why = {0};
    ipcx_addr addr;
    unsigned uid;
    int fd;
    ipcx_status status = ipcx_addr_unix(&addr, path, strlen(path), err);
    if (status != IPCX_OK) {
        return status;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        status = ipcx_status_from_errno(errno);
        return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, OP, "%s", text);
    }
    status = ipcx__dial(fd, &addr, deadline, &why);
    if (status == IPCX_OK && !ipcx__admit_user(fd, options, &uid)) {
        status = ipcx__url_fail(err, IPCX_AUTH, EPERM, OP, text, "user %u listens there", uid);
    } else if (status < 0) {
        status = unix_failed(path, text, status, why.sys_errno, err);
    }
    if (status != IPCX_OK) {
        (void)close(fd);
        return status;
    }
    *made = fd;
    return status;
}

static ipcx_status connect_unix(const ipcx_url *url, const char *text,
                                const ipcx_chan_options *options, ipcx_deadline deadline,
                                ipcx_chan **chan, ipcx_error *err)
{
    int fd = -1;
    ipcx_status status;
    if (url->name[0] == '\0') {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "the path is missing: unix:///run/app.sock");
    }
    status = dial_unix(url->name, text, options, deadline, &fd, err);
    return status == IPCX_OK ? begin(IPCX_SCHEME_UNIX, -1, fd, text, options, deadline, chan, err)
                             : status;
}

/* ---- shm://name */

static ipcx_status connect_shm(const ipcx_url *url, const char *text,
                               const ipcx_chan_options *options, ipcx_deadline deadline,
                               ipcx_chan **chan, ipcx_error *err)
{
    char path[108]; /* unix(7): sun_path */
    int fd = -1;
    ipcx_status status;
    if (url->name[0] == '\0') {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "the name is missing: shm://camera");
    }
    status = ipcx__runtime_named(url->name, false, path, sizeof path, err);
    if (status == IPCX_OK) {
        status = dial_unix(path, text, options, deadline, &fd, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__chan_shm_connect(fd, text, options, chan, err);
    if (status != IPCX_OK) {
        (void)close(fd);
    }
    return status;
}

/* ---- pipe://R,W */

/* What a stray print() would spoil: stdin becomes empty, stdout goes where stderr goes. */
static void replace_standard(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
            (void)dup2(null, STDOUT_FILENO);
        }
        (void)close(null);
    }
}

/* `fd` if the mode it was opened in allows `wanted`: O_RDONLY or O_WRONLY. */
static ipcx_status check_descriptor(int fd, int wanted, const char *text, ipcx_error *err)
{
    int mode = fcntl(fd, F_GETFL);
    if (mode < 0) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, EBADF, OP, text, "descriptor %d is not open",
                              fd);
    }
    mode &= O_ACCMODE;
    if (mode != wanted && mode != O_RDWR) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, EBADF, OP, text,
                              "descriptor %d is not open for %s", fd,
                              wanted == O_RDONLY ? "reading" : "writing");
    }
    return IPCX_OK;
}

static ipcx_status copy(int fd, int *out, const char *text, ipcx_error *err)
{
    *out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return *out >= 0 ? IPCX_OK : ipcx_error_system(err, errno, OP, "%s", text);
}

static ipcx_status connect_standard(const char *text, const ipcx_chan_options *options,
                                    ipcx_chan **chan, ipcx_error *err)
{
    int in, out;
    ipcx_status status = copy(STDIN_FILENO, &in, text, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = copy(STDOUT_FILENO, &out, text, err);
    if (status == IPCX_OK) {
        status = ipcx__chan_stream_make(IPCX_SCHEME_PIPE, in, out, text, options, chan, err);
        if (status == IPCX_OK) {
            replace_standard();
            return status;
        }
        (void)close(out);
    }
    (void)close(in);
    return status;
}

static ipcx_status connect_pipe(const ipcx_url *url, const char *text,
                                const ipcx_chan_options *options, ipcx_chan **chan, ipcx_error *err)
{
    ipcx_status status;
    if (url->read_fd < 0) {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "two descriptors are missing: pipe://R,W or pipe://-");
    }
    status = check_descriptor(url->read_fd, O_RDONLY, text, err);
    if (status == IPCX_OK) {
        status = check_descriptor(url->write_fd, O_WRONLY, text, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (url->read_fd == STDIN_FILENO && url->write_fd == STDOUT_FILENO) {
        return connect_standard(text, options, chan, err);
    }
    return ipcx__chan_stream_make(IPCX_SCHEME_PIPE, url->read_fd, url->write_fd, text, options,
                                  chan, err);
}

/* ---- all of them */

static ipcx_status connect_inproc(const ipcx_url *url, const char *text,
                                  const ipcx_chan_options *options, ipcx_deadline deadline,
                                  ipcx_chan **chan, ipcx_error *err)
{
    if (url->name[0] == '\0') {
        return ipcx__url_fail(err, IPCX_INVALID_URL, 0, "url", text,
                              "the name is missing: inproc://name");
    }
    return ipcx__mem_connect(url->name, options, deadline, chan, err);
}

static ipcx_status connect_any(const ipcx_url *url, const ipcx_chan_options *options,
                               ipcx_deadline deadline, ipcx_chan **chan, ipcx_error *err)
{
    char text[IPCX_URL_MAX];
    (void)ipcx_url_format(url, text, sizeof text);
    switch (url->scheme) {
    case IPCX_SCHEME_TCP:
    case IPCX_SCHEME_TLS:
        return connect_tcp(url, text, options, deadline, chan, err);
    case IPCX_SCHEME_UDP:
        return ipcx__chan_dgram_connect(url, text, options, chan, err);
    case IPCX_SCHEME_UNIX:
        return connect_unix(url, text, options, deadline, chan, err);
    case IPCX_SCHEME_SHM:
        return connect_shm(url, text, options, deadline, chan, err);
    case IPCX_SCHEME_PIPE:
        return connect_pipe(url, text, options, chan, err);
    case IPCX_SCHEME_FILE:
        return ipcx__chan_log_append(url, text, options, deadline, chan, err);
    case IPCX_SCHEME_FIFO:
        return ipcx__chan_fifo_connect(url, text, options, deadline, chan, err);
    case IPCX_SCHEME_INPROC:
        break;
    }
    return connect_inproc(url, text, options, deadline, chan, err);
}

ipcx_status ipcx_connect(const char *url, const ipcx_chan_options *options, ipcx_deadline deadline,
                         ipcx_chan **chan, ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    ipcx_chan_options filled;
    ipcx_url parsed;
    ipcx_status status = ipcx_url_parse(&parsed, url, err);
    if (status == IPCX_OK) {
        status = ipcx__chan_options_fill(options, &filled, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__admit_scheme(parsed.scheme, &filled, OP, url, err);
    }
    if (status == IPCX_OK) {
        status = connect_any(&parsed, &filled, deadline, chan, err);
    }
    if (IPCX_UNLIKELY(begun != 0)) {
        ipcx__trace_end(begun, &(ipcx_trace_event){
                                   .op = OP,
                                   .url = url,
                                   .fd = -1,
                                   .status = status,
                                   .sys_errno = status < 0 && err != NULL ? err->sys_errno : 0,
                               });
    }
    return status;
}
