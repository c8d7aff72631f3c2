/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a ring, its honest producer and consumer against a queue of what should come out,
 * and between them somebody who scribbles over every shared byte and word. The first byte says
 * whether they do; each three bytes after it are one step: sending, receiving, lending places to
 * either side for a while. After the first scribble nothing is
 * promised but that every access stays inside the mapping and every call comes back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "link/shared/ring.h"
#include "os/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE = 16384, LIMIT = 4096, MOST = 20000, QUEUE = 4096 };

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

/* What was sent and not received yet: its size and its first byte. */
typedef struct queue {
    uint32_t sizes[QUEUE];
    uint8_t marks[QUEUE];
    unsigned first, count;
} queue;

static uint8_t *map;
static ipcx__ring_words *words;
static ipcx__ring_tx tx;
static ipcx__ring_rx rx;
static queue sent;
static int trusted;

/* Places lent to the producer, and messages kept by the consumer: data, and what is in them. */
enum { LENT = 24 };
typedef struct lent {
    unsigned slot; /* 0: none */
    uint8_t *data;
    uint32_t size;
    uint8_t mark;
} lent;
static lent loans[LENT], views[LENT];
static unsigned viewed;
static volatile uint8_t sink;

static bool grow(void *context, uint64_t from, uint64_t to)
{
    (void)from;
    (void)to;
    return *(const uint8_t *)context % 2 == 0;
}

static void enqueue(uint32_t size, uint8_t mark)
{
    if (sent.count < QUEUE) {
        unsigned last = (sent.first + sent.count++) % QUEUE;
        sent.sizes[last] = size;
        sent.marks[last] = mark;
    }
}

static void send_some(uint32_t size, uint8_t mark, int pieces)
{
    static uint8_t bytes[MOST];
    uint64_t done = 0;
    ipcx_status status = IPCX_MORE;
    memset(bytes, mark, size);
    while (status == IPCX_MORE && pieces-- > 0) {
        status = ipcx__ring_send(&tx, bytes, size, 0, &done);
    }
    ipcx__ring_publish(&tx);
    must(status == IPCX_OK || status == IPCX_AGAIN || status == IPCX_MORE ||
         (!trusted && status == IPCX_PROTOCOL));
    if (status == IPCX_OK) {
        enqueue(size, mark);
    }
}

static void inside(const ipcx__ring_message *got)
{
    size_t k;
    must(got->size <= MOST);
    must(!got->shared || (got->data >= map && got->data + got->size <= map + 2 * (size_t)SIZE));
    for (k = 0; k < got->size; k++) {
        sink = got->data[k];
        must(!trusted || got->data[k] == sent.marks[sent.first]);
    }
}

/* The next message, released at once or kept in `view`. */
static void receive_some(lent *view)
{
    ipcx__ring_message got;
    ipcx_status status = ipcx__ring_next(&rx, &got);
    must(status == IPCX_OK || status == IPCX_AGAIN || !trusted);
    if (trusted) {
        must(viewed > 0 || ipcx__ring_unreceived(&tx) == sent.count);
        must((status == IPCX_OK) == (sent.count > 0));
    }
    if (status != IPCX_OK) {
        return;
    }
    must(!trusted || got.size == sent.sizes[sent.first]);
    inside(&got);
    if (view != NULL && got.shared && ipcx__ring_keep(&rx, &view->slot)) {
        view->data = (uint8_t *)(uintptr_t)got.data;
        view->size = (uint32_t)got.size;
        view->mark = sent.marks[sent.first];
        viewed++;
    } else {
        ipcx__ring_release(&rx);
    }
    sent.first = (sent.first + 1) % QUEUE;
    sent.count -= sent.count > 0;
}

static void check_lent(const lent *one)
{
    must(one->data >= map && one->data + one->size <= map + 2 * (size_t)SIZE);
    for (uint32_t k = 0; k < one->size; k++) {
        sink = one->data[k];
        must(!trusted || one->data[k] == one->mark);
    }
}

static void lend_or_end(lent *one, uint32_t size, uint8_t mark, int cancels)
{
    if (one->slot == 0) {
        if (ipcx__ring_lend(&tx, size, &one->slot, &one->data) == IPCX_OK) {
            one->size = size;
            one->mark = mark;
            memset(one->data, mark, size);
        } else {
            one->slot = 0;
        }
        return;
    }
    check_lent(one);
    if (cancels || !ipcx__ring_commit_lent(&tx, one->slot, one->size / 2, 0)) {
        ipcx__ring_done(&tx, one->slot);
    } else {
        enqueue(one->size / 2, one->mark);
        ipcx__ring_publish(&tx);
    }
    one->slot = 0;
}

static void keep_or_end(lent *one)
{
    if (one->slot == 0) {
        receive_some(one);
        return;
    }
    check_lent(one);
    ipcx__ring_give_back(&rx, one->slot);
    one->slot = 0;
    viewed--;
}

static void step(const uint8_t *op)
{
    uint32_t word = (uint32_t)op[1] << 8 | op[2];
    uint64_t header;
    uint8_t *room;
    switch (op[0] % 16) {
    case 0:
    case 1:
        send_some(op[1], op[2], 1);
        break;
    case 2:
        send_some(word % MOST, op[2], 100);
        break;
    case 3:
        send_some(word % MOST, op[2], 1 + op[1] % 3); /* perhaps abandoned */
        break;
    case 4:
        if (ipcx__ring_reserve(&tx, word % LIMIT, &room) == IPCX_OK) {
            must(room >= map && room + word % LIMIT <= map + 2 * (size_t)SIZE);
            memset(room, 0xff, word % LIMIT); /* given up */
        }
        break;
    case 5:
    case 6:
    case 7:
        receive_some(NULL);
        break;
    case 8:
        atomic_store(&words->tail, atomic_load(&words->tail) + (uint64_t)(int64_t)(int16_t)word);
        trusted = 0;
        break;
    case 9:
        atomic_store(&words->head, atomic_load(&words->head) + (uint64_t)(int64_t)(int16_t)word);
        trusted = 0;
        break;
    case 10: /* a record where the consumer looks next */
        header = (uint64_t)(op[1] % 7) << 32 | op[2];
        memcpy(map + (rx.head & (SIZE - 1)), &header, sizeof header);
        trusted = 0;
        break;
    case 12:
    case 13:
        lend_or_end(&loans[op[1] % LENT], word % LIMIT, op[2], op[0] % 3 == 0);
        break;
    case 14:
    case 15:
        keep_or_end(&views[op[1] % LENT]);
        break;
    default:
        memset(map + word % SIZE, op[1] ^ op[2], op[2]);
        trusted = 0;
    }
}

static void make_map(void)
{
    static ipcx__ring_words the_words;
    void *at;
    int fd;
    must(ipcx__memory_make("fuzz", SIZE, &fd, NULL) == IPCX_OK);
    must(ipcx__memory_map(fd, 0, SIZE, true, &at, NULL) == IPCX_OK);
    (void)close(fd);
    map = at;
    words = &the_words;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t start = (UINT64_C(1) << 32) - SIZE;
    size_t i;
    if (size == 0) {
        return 0;
    }
    if (map == NULL) {
        make_map();
    }
    atomic_store(&words->head, start);
    atomic_store(&words->tail, start);
    ipcx__ring_tx_init(&tx, words, map, SIZE, LIMIT, start);
    tx.grow = grow;
    tx.context = (void *)(uintptr_t)data;
    ipcx__ring_rx_init(&rx, words, map, SIZE, MOST, start);
    sent.first = sent.count = viewed = 0;
    memset(loans, 0, sizeof loans);
    memset(views, 0, sizeof views);
    trusted = 1;
    for (i = 1; i + 2 < size && i < 3000; i += 3) {
        if (data[0] % 4 == 0 && data[i] % 16 >= 8 && data[i] % 16 < 12) {
            continue; /* all honest */
        }
        step(data + i);
    }
    ipcx__ring_rx_fini(&rx);
    return 0;
}
