/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: recv_until over a socket pair. The first three bytes say how long the delimiter is,
 * the limit, and into pieces of what size the rest is cut. Whatever the pieces, the answer is what
 * memmem(3) says of the whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/gate.h"
#include "os/sock_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

/* Feeds `size` bytes in pieces until recv_until has an answer. */
static ipcx_status receive(int to, const ipcx__io *from, const uint8_t *data, size_t size,
                           size_t piece, char *buffer, size_t limit, const char *delimiter,
                           size_t delimiter_size, size_t *got)
{
    size_t fed = 0;
    ipcx_status status = IPCX_AGAIN;
    while (status == IPCX_AGAIN && fed < size) {
        size_t n = size - fed < piece ? size - fed : piece;
        must(send(to, data + fed, n, 0) == (ssize_t)n);
        fed += n;
        status =
            ipcx__io_recv_until(from, buffer, limit, limit, delimiter, delimiter_size, got, NULL);
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ipcx_gate gate = {0};
    ipcx__io io = {.gate = &gate, .deadline = IPCX_NOW, .stream = true};
    char delimiter[4], *buffer;
    const uint8_t *at;
    size_t delimiter_size, limit, piece, got = 0;
    ipcx_status status;
    int fds[2];

    if (size < 7 || size > 1000) {
        return 0;
    }
    delimiter_size = 1 + data[0] % 4;
    limit = 1 + data[1];
    piece = 1 + data[2];
    memcpy(delimiter, data + 3, 4);
    data += 7;
    size -= 7;
    buffer = malloc(limit);
    must(buffer != NULL && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    io.fd = fds[1];
    status =
        receive(fds[0], &io, data, size, piece, buffer, limit, delimiter, delimiter_size, &got);
    at = size > 0 ? memmem(data, size, delimiter, delimiter_size) : NULL;
    must(got <= limit && (got == 0 || memcmp(buffer, data, got) == 0));
    if (at != NULL && (size_t)(at - data) + delimiter_size <= limit) {
        must(status == IPCX_OK && got == (size_t)(at - data) + delimiter_size);
    } else if (size >= limit) {
        must(status == IPCX_TOO_LARGE && got == limit);
    } else {
        must(status == IPCX_AGAIN && got == size);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
    free(buffer);
    return 0;
}
