/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: an end of shm://, used as a program would, while its peer writes what it likes over
 * the shared words and the data, punches holes, sends bytes and descriptors on the socket and
 * rings. The first byte chooses whether it is trusted; each three bytes after it are one step.
 * Every call must come back, and every message lie where it says. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link/chan_quick.h"
#include "link/shared/chan_shm.h"
#include "link/shared/chan_shm_wait.h"
#include "os/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 100000, RING = 65536 };

static ipcx_chan *ours, *theirs;
static ipcx__shm *peer;
static volatile uint8_t sink;

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

static ipcx_deadline soon(uint8_t byte)
{
    return byte % 4 ? IPCX_NOW : ipcx_deadline_after(1000 * (int64_t)byte);
}

static void send_some(ipcx_chan *end, uint32_t size, uint8_t byte)
{
    static uint8_t bytes[MOST];
    ipcx_message message = {.data = bytes, .size = size % MOST};
    ipcx_sending sending = {0};
    message.flags = byte % 8 == 1 ? IPCX_MESSAGE_SYNC : byte % 8 == 2 ? IPCX_MESSAGE_TEXT : 0;
    (void)!ipcx_chan_send(end, &message, soon(byte), &sending, NULL);
    (void)!ipcx_chan_send_many(end, &message, 1, IPCX_NOW, &sending, NULL);
}

static bool look_at(void *context, const void *data, size_t size)
{
    (void)context;
    must(size <= IPCX__QUICK_MAX);
    for (size_t k = 0; k < size; k++) {
        sink = ((const uint8_t *)data)[k];
    }
    return true;
}

static void receive_some(ipcx_chan *end, uint8_t byte)
{
    ipcx_message got;
    if (byte & 16 && end->transport->quick->pull(end, look_at, NULL) == IPCX_OK) {
        return;
    }
    if (ipcx_chan_receive(end, &got, soon(byte), NULL) != IPCX_OK) {
        return;
    }
    must(got.size <= MOST);
    for (size_t k = 0; k < got.size; k++) {
        sink = ((const uint8_t *)got.data)[k];
    }
    ipcx_chan_release(end, &got);
}

static void look(void)
{
    uint64_t number;
    ipcx_chan_stats stats;
    size_t receive, send;
    struct pollfd polled = {.events = POLLIN};
    (void)!ipcx_chan_poll(ours, IPCX_NOW, NULL);
    (void)!ipcx_chan_unreceived(ours, &number, NULL);
    ipcx_chan_get_stats(ours, &stats);
    ipcx_chan_max_message(ours, &receive, &send);
    must(receive == MOST && send <= (size_t)1 << 31);
    if (ipcx_chan_fileno(ours, &polled.fd, NULL) == IPCX_OK) {
        (void)poll(&polled, 1, 0);
    }
}

/* Bytes, perhaps with a descriptor that is none of those the end waits for. */
static void say(uint8_t first, uint8_t count)
{
    char bytes[256], space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = bytes, .iov_len = (size_t)count + 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    memset(bytes, first % 3 == 0 ? 'P' : first % 3 == 1 ? 'N' : first, sizeof bytes);
    if (first % 2) {
        struct cmsghdr *head = (struct cmsghdr *)(void *)space;
        message.msg_control = space;
        message.msg_controllen = sizeof space;
        *head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(head), &peer->memory, sizeof(int));
    }
    (void)!sendmsg(peer->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void scribble(uint32_t word, uint8_t byte)
{
    static const uint64_t values[] = {0, 1, 8, RING, 4096, UINT32_MAX, INT64_MAX, UINT64_MAX - 7};
    uint64_t *words = (uint64_t *)(void *)peer->segment;
    words[word % (sizeof(ipcx__shm_segment) / sizeof *words)] = values[byte % 8];
}

/* A whole record where our end looks next. */
static void forge(uint8_t kind, uint8_t size)
{
    const ipcx__shm *self = (const ipcx__shm *)ours;
    uint64_t header = (uint64_t)(kind % 7) << 32 | size, tail = self->rx.head + 8 + size;
    memcpy((uint8_t *)peer->rings[1] + (self->rx.head & (RING - 1)), &header, sizeof header);
    atomic_store(&peer->segment->words[1].tail, (tail + 7) & ~UINT64_C(7));
}

static void step(const uint8_t *op)
{
    uint32_t word = (uint32_t)op[1] << 8 | op[2];
    uint64_t page = (uint64_t)(word % 48) * 4096;
    switch (op[0] % 14) {
    case 0:
    case 1:
        send_some(ours, word * (op[0] % 3), op[2]);
        break;
    case 2:
    case 3:
        receive_some(ours, op[1]);
        break;
    case 4:
        send_some(theirs, word, op[2] & 0xfc);
        break;
    case 5:
        receive_some(theirs, 1);
        break;
    case 6:
        look();
        break;
    case 7:
    case 8:
        scribble(word, op[1]);
        break;
    case 9:
        memset((uint8_t *)peer->rings[op[0] / 14 % 2] + word, op[1] ^ op[2], op[2]);
        break;
    case 10:
        forge(op[1], op[2]);
        break;
    case 11:
        (void)!ipcx__memory_release(peer->memory, page, page + 4096, NULL);
        break;
    case 12:
        say(op[1], op[2]);
        break;
    default:
        memset(peer->segment, op[1], sizeof *peer->segment);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ipcx_chan_options options = {.max_message = MOST,
                                       .ring = RING,
                                       .trust = size > 0 && data[0] % 2 ? IPCX_TRUST_NONE
                                                                        : IPCX_TRUST_SAME_UID};
    must(ipcx__chan_shm_pair("shm://", &options, &ours, &theirs, NULL) == IPCX_OK);
    peer = (ipcx__shm *)theirs;
    for (size_t i = 1; i + 2 < size && i < 1500; i += 3) {
        step(data + i);
    }
    (void)!ipcx_chan_close(ours, IPCX_NOW, NULL, NULL);
    ipcx_chan_free(ours);
    ipcx_chan_free(theirs);
    return 0;
}
