/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: any bytes, and descriptors, as the peer of a channel: the same is delivered however
 * the bytes come, nothing is delivered behind an error, and no descriptor is left.
 * The first byte of an input is how the peer behaves (below), the rest is what it sends. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/chan.h"
#include "ipcx/crc32c.h"
#include "link/stream/chan_stream.h"

enum { MET = 1, WATCHED = 2, CHECKSUM = 4, DESCRIPTOR = 8, TWO = 16, SHAKEN = 32 };
enum { SENT_MOST = 100000 }; /* fits the kernel's buffer: the peer never waits */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct answer {
    uint32_t sum;
    int messages, ends;
    ipcx_status status;
    uint64_t offset;
} answer;

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

/* What has come, if anything: into the sum. */
static void take(ipcx_chan *chan, answer *said)
{
    ipcx_message got;
    ipcx_error err;
    while ((said->status = ipcx_chan_receive(chan, &got, IPCX_NOW, &err)) == IPCX_OK) {
        if (got.flags & IPCX_MESSAGE_END) {
            ipcx_chan_free((ipcx_chan *)(uintptr_t)got.data);
            said->ends++;
        } else {
            said->sum = ipcx_crc32c_update(said->sum, got.data, got.size);
        }
        said->messages++;
        ipcx_chan_release(chan, &got);
    }
    must(said->status == IPCX_AGAIN || said->status == IPCX_EOF || said->status < 0);
}

static void send_piece(int fd, const uint8_t *bytes, size_t size, const int *fds, size_t count)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } with = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        msg.msg_control = &with;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        with.header.cmsg_level = SOL_SOCKET;
        with.header.cmsg_type = SCM_RIGHTS;
        with.header.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&with.header), fds, count * sizeof(int));
    }
    /* EPIPE where the channel has refused: */
    (void)!sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static answer play(unsigned how, const uint8_t *bytes, size_t size, size_t piece)
{
    ipcx_chan_options options = {.max_message = 5000, .checksum = (how & CHECKSUM) != 0};
    ipcx_message sync = {.data = "sync", .size = 4, .flags = IPCX_MESSAGE_SYNC};
    ipcx_sending sending = {0};
    answer said = {0};
    ipcx_chan *chan;
    int fds[2], gift[2], watch;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gift) == 0);
    must(ipcx__chan_stream_make(IPCX_SCHEME_UNIX, fds[0], fds[0], "unix://", &options, &chan,
                                NULL) == IPCX_OK);
    if (how & SHAKEN) {
        (void)ipcx__chan_stream_shake(chan, NULL);
    }
    if (how & WATCHED) {
        must(ipcx_chan_fileno(chan, &watch, NULL) == IPCX_OK);
    }
    if (how & MET) {
        must(ipcx_chan_send(chan, &sync, IPCX_NOW, &sending, NULL) == IPCX_AGAIN);
    }
    for (size_t at = 0; at < size; at += piece) {
        size_t n = piece < size - at ? piece : size - at;
        send_piece(fds[1], bytes + at, n, gift,
                   at > 0 || !(how & DESCRIPTOR) ? 0
                   : how & TWO                   ? 2
                                                 : 1);
        if (sending.begun) {
            (void)!ipcx_chan_send(chan, &sync, IPCX_NOW, &sending, NULL);
        }
        take(chan, &said);
    }
    must(shutdown(fds[1], SHUT_WR) == 0 || size == 0 || said.status < 0);
    take(chan, &said);
    must(said.status != IPCX_AGAIN);
    said.offset = ipcx_chan_error_offset(chan);
    must(said.offset <= size);
    (void)ipcx_chan_close(chan, IPCX_NOW, NULL, NULL);
    ipcx_chan_free(chan);
    must(close(fds[1]) == 0 && close(gift[0]) == 0 && close(gift[1]) == 0);
    return said;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int before = dup(STDERR_FILENO), after;
    if (size > 0 && size <= SENT_MOST) {
        unsigned how = data[0];
        answer whole = play(how, data + 1, size - 1, size);
        answer pieces = play(how, data + 1, size - 1, 1 + size / 7);
        /* A descriptor comes with a piece: which frame claims it depends on where that ends. */
        must((how & DESCRIPTOR) || (whole.sum == pieces.sum && whole.status == pieces.status &&
                                    whole.messages == pieces.messages &&
                                    whole.offset == pieces.offset && whole.ends == 0));
    }
    after = dup(STDERR_FILENO);
    must(after == before + 1);
    (void)close(after);
    (void)close(before);
    return 0;
}
