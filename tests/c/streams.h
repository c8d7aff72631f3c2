/* SPDX-License-Identifier: Apache-2.0
 * Stream channels to test with: pairs of them, and one end against a bare descriptor, through which
 * a test says what no channel would say.
 * Invariant: included after check.h, in one file of a program. */
#ifndef IPCX_TESTS_STREAMS_H
#define IPCX_TESTS_STREAMS_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "ipcx/alloc.h"
#include "ipcx/chan.h"
#include "ipcx/endian.h"
#include "ipcx/frame.h"
#include "link/stream/chan_stream.h"
#include "wire/hello.h"

#define MS INT64_C(1000000)

static inline ipcx_chan *stream_on(ipcx_scheme scheme, int read_fd, int write_fd,
                                   const ipcx_chan_options *options)
{
    static const char *const urls[] = {"", "inproc://", "unix://", "tcp://", "pipe://"};
    ipcx_chan *made = NULL;
    REQUIRE_OK(
        ipcx__chan_stream_make(scheme, read_fd, write_fd, urls[scheme], options, &made, NULL));
    return made;
}

static inline void stream_sockets(int *fds)
{
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
}

static inline void stream_pair(ipcx_chan **a, ipcx_chan **b, const ipcx_chan_options *options)
{
    int fds[2];
    stream_sockets(fds);
    *a = stream_on(IPCX_SCHEME_UNIX, fds[0], fds[0], options);
    *b = stream_on(IPCX_SCHEME_UNIX, fds[1], fds[1], options);
}

/* A pair whose kernel buffers hold little. */
static inline void stream_pair_narrow(ipcx_chan **a, ipcx_chan **b,
                                      const ipcx_chan_options *options)
{
    int fds[2], size = 4096;
    stream_sockets(fds);
    for (int i = 0; i < 2; i++) {
        REQUIRE(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    }
    *a = stream_on(IPCX_SCHEME_UNIX, fds[0], fds[0], options);
    *b = stream_on(IPCX_SCHEME_UNIX, fds[1], fds[1], options);
}

static inline void stream_free(ipcx_chan *a, ipcx_chan *b)
{
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

static inline ipcx_message stream_message(const void *data, size_t size, unsigned flags)
{
    return (ipcx_message){.data = data, .size = size, .flags = flags};
}

static inline ipcx_status stream_say_by(ipcx_chan *to, const char *text, ipcx_deadline deadline)
{
    ipcx_message message = stream_message(text, strlen(text), IPCX_MESSAGE_TEXT);
    return ipcx_chan_send(to, &message, deadline, NULL, NULL);
}

static inline void stream_say(ipcx_chan *to, const char *text)
{
    CHECK_OK(stream_say_by(to, text, IPCX_FOREVER));
}

/* The next message is `text`. */
#define CHECK_HEARS(chan, text) stream_hears(__FILE__, __LINE__, chan, text, IPCX_FOREVER)
#define CHECK_HEARS_NOW(chan, text) stream_hears(__FILE__, __LINE__, chan, text, IPCX_NOW)
static inline int stream_hears(const char *file, int line, ipcx_chan *from, const char *text,
                               ipcx_deadline deadline)
{
    ipcx_message got;
    ipcx_error err = {0};
    ipcx_status status = ipcx_chan_receive(from, &got, deadline, &err);
    int same;
    if (!check_status(file, line, text, status, IPCX_OK)) {
        printf("# %s\n", err.detail);
        return 0;
    }
    same = got.size == strlen(text) && memcmp(got.data, text, got.size) == 0;
    if (!same) {
        (void)check_fail(file, line, "heard \"%.*s\", expected \"%s\"", (int)got.size,
                         (const char *)got.data, text);
    }
    ipcx_chan_release(from, &got);
    return same;
}

#define CHECK_RECEIVES(chan, deadline, status)                                                     \
    CHECK_STATUS(stream_receive_only(chan, deadline, NULL), status)
static inline ipcx_status stream_receive_only(ipcx_chan *from, ipcx_deadline deadline,
                                              ipcx_error *err)
{
    ipcx_message got;
    ipcx_status status = ipcx_chan_receive(from, &got, deadline, err);
    if (status == IPCX_OK) {
        ipcx_chan_release(from, &got);
    }
    return status;
}

static inline int stream_readable(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 1;
}

/* ---- a peer that speaks bytes */

typedef struct raw {
    uint8_t bytes[8192];
    size_t size;
} raw;

static inline void raw_frame(raw *to, int type, unsigned flags, uint64_t correlation,
                             const void *payload, size_t size)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = 1 << 20};
    ipcx_frame frame = {.type = (ipcx_frame_type)type,
                        .flags = (uint16_t)flags,
                        .correlation = correlation,
                        .payload = payload,
                        .payload_size = size};
    ipcx_envelope around;
    REQUIRE(to->size + size + 64 < sizeof to->bytes);
    REQUIRE_OK(ipcx_frame_encode(&framing, &frame, &around, NULL));
    memcpy(to->bytes + to->size, around.head, around.head_size);
    to->size += around.head_size;
    if (size > 0) {
        memcpy(to->bytes + to->size, payload, size);
    }
    to->size += size;
    memcpy(to->bytes + to->size, around.tail, around.tail_size);
    to->size += around.tail_size;
}

static inline void raw_hello(raw *to, uint32_t max_message)
{
    ipcx__hello hello = {.max_version = 1, .max_message = max_message};
    uint8_t payload[IPCX__HELLO_SIZE];
    ipcx__hello_encode(&hello, payload);
    raw_frame(to, IPCX_FRAME_HELLO, 0, 0, payload, sizeof payload);
}

static inline void raw_text(raw *to, const char *text)
{
    raw_frame(to, IPCX_FRAME_DATA, IPCX_FRAME_TEXT, 0, text, strlen(text));
}

static inline void raw_send(int fd, raw *from)
{
    REQUIRE(send(fd, from->bytes, from->size, MSG_NOSIGNAL) == (ssize_t)from->size);
    from->size = 0;
}

/* The next frame on `fd`; its payload into `payload` of 8192 bytes. */
static inline ipcx_frame raw_receive(int fd, uint8_t *payload)
{
    uint8_t head[20];
    ipcx_frame frame = {0};
    REQUIRE(recv(fd, head, 12, MSG_WAITALL) == 12);
    frame.type = (ipcx_frame_type)head[3];
    frame.flags = ipcx_endian_load16(head + 4);
    frame.payload_size = ipcx_endian_load32(head + 8);
    REQUIRE(frame.payload_size <= 8192 && !(frame.flags & IPCX_FRAME_CRC));
    if (frame.flags & IPCX_FRAME_CORRELATION) {
        REQUIRE(recv(fd, head + 12, 8, MSG_WAITALL) == 8);
        frame.correlation = ipcx_endian_load64(head + 12);
    }
    if (frame.payload_size > 0) {
        REQUIRE(recv(fd, payload, frame.payload_size, MSG_WAITALL) == (ssize_t)frame.payload_size);
    }
    frame.payload = payload;
    return frame;
}

/* One end of a channel, and the bare descriptor at the other. */
static inline ipcx_chan *stream_and_raw(int *fd, const ipcx_chan_options *options)
{
    int fds[2];
    stream_sockets(fds);
    *fd = fds[1];
    return stream_on(IPCX_SCHEME_UNIX, fds[0], fds[0], options);
}

#endif
