/* SPDX-License-Identifier: Apache-2.0
 * The ring of ring.h.
 * Invariant: cursors are multiples of 8 and published <= tail <= head + size (modulo 2^64), so a
 * place in the ring belongs to one side at a time. */
#include "link/shared/ring.h"

#include <assert.h>
#include <string.h>

#include "base/crash.h"
#include "link/shared/ring_quick.h"

/* A record's header is one word: the payload's length in the low half, what it is in the high one.
 * 0 (a hole punched into the memory) is no record. */
enum {
    RING_MESSAGE = IPCX__RING_WHOLE,
    RING_SKIP,  /* go on at the start of the next round; never at a start */
    RING_FIRST, /* fragments of one message: the first begins with the length of the whole */
    RING_MORE,
    RING_LAST
};
#define HEAD IPCX__RING_HEADER
#define WHOLE 8u             /* bytes of the length in a first fragment */
#define FRAGMENT_MAX 262144u /* bytes of a fragment's record: both sides work in the cache */
#define AGAIN_MIN 65536u     /* bytes of a record for which it matters where it lies */
#define REFUSED 64u          /* large records until growing is tried again */
#define WHOLE_KEPT                                                                                 \
    (1u << 20) /* memory a finished fragmented message leaves behind for the next                  \
                */

/* ---- the producer */

void ipcx__ring_tx_init(ipcx__ring_tx *tx, ipcx__ring_words *words, void *data, uint64_t size,
                        uint64_t limit, uint64_t start)
{
    assert(size >= 4096 && (size & (size - 1)) == 0 && size <= (UINT64_C(1) << 31));
    assert(limit <= size && size % limit == 0 && limit >= 4096 && start % size == 0);
    *tx = (ipcx__ring_tx){.words = words,
                          .data = data,
                          .size = size,
                          .limit = limit,
                          .tail = start,
                          .published = start,
                          .head = start};
}

/* Looks where the consumer is. False: it cannot be there. */
static bool look(ipcx__ring_tx *tx)
{
    uint64_t head = atomic_load_explicit(&tx->words->head, memory_order_seq_cst);
    if (head - tx->head > tx->published - tx->head || head % 8 != 0) {
        tx->broken = true;
    } else {
        tx->head = head;
    }
    return !tx->broken;
}

/* A large record that has the ring for itself goes to its start again, where the last one was: both
 * sides have that in their caches. */
static bool starts_over(ipcx__ring_tx *tx, uint64_t at, uint64_t need)
{
    return need > AGAIN_MIN && at >= need && tx->slots.used == 0 && look(tx) &&
           tx->head == tx->tail;
}

static bool fits(ipcx__ring_tx *tx, uint64_t need)
{
    uint64_t at = tx->tail & (tx->size - 1);
    /* Below a limit there is always place for one more header, for the SKIP. */
    bool here =
        (tx->limit == tx->size || at + need + HEAD <= tx->limit) && !starts_over(tx, at, need);
    uint64_t end = tx->tail + need + (tx->skip = here ? 0 : tx->size - at);
    return !tx->broken && (end - ipcx__ring_floor(tx) <= tx->size ||
                           (look(tx) && end - ipcx__ring_floor(tx) <= tx->size));
}

static void grow(ipcx__ring_tx *tx, uint64_t need)
{
    while (need > tx->limit / 4 && tx->limit < tx->size && tx->grow != NULL) {
        if (tx->refused > 0) {
            tx->refused--;
            return;
        }
        if (!tx->grow(tx->context, tx->limit, tx->limit * 2)) {
            tx->refused = REFUSED;
            return;
        }
        IPCX_CRASH_POINT("ring: grown");
        tx->limit *= 2;
    }
}

static ipcx_status no_room(const ipcx__ring_tx *tx)
{
    return tx->broken ? IPCX_PROTOCOL : IPCX_AGAIN;
}

static uint8_t *place(const ipcx__ring_tx *tx, uint64_t cursor)
{
    return tx->data + (cursor & (tx->size - 1));
}

static void put_header(ipcx__ring_tx *tx, uint64_t size, unsigned kind)
{
    uint64_t header = (uint64_t)kind << 32 | size;
    memcpy(place(tx, tx->tail), &header, HEAD);
}

/* A record of `size` bytes is written behind the SKIP that `fits` found. */
static void put_record(ipcx__ring_tx *tx, uint64_t size, unsigned kind)
{
    if (tx->skip != 0) {
        put_header(tx, 0, RING_SKIP);
        tx->tail += tx->skip;
    }
    put_header(tx, size, kind);
    tx->tail += ipcx__ring_bytes(size);
    IPCX_CRASH_POINT("ring: written");
}

static void pass_by(ipcx__ring_tx *tx)
{
    if (IPCX_UNLIKELY(tx->slots.open != 0)) {
        ipcx__ring_overtake(tx);
    }
}

ipcx_status ipcx__ring_reserve(ipcx__ring_tx *tx, uint64_t size, uint8_t **room)
{
    /* What is larger takes the whole ring for its fragments. */
    uint64_t need = size < tx->size ? ipcx__ring_bytes(size) : tx->size;
    pass_by(tx);
    grow(tx, need);
    if (need > tx->limit / 2) {
        return IPCX_TOO_LARGE;
    }
    if (!fits(tx, need)) {
        return no_room(tx);
    }
    tx->room = size;
    *room = place(tx, tx->tail + tx->skip) + HEAD;
    return IPCX_OK;
}

void ipcx__ring_commit(ipcx__ring_tx *tx, uint64_t size, unsigned flags)
{
    assert(size <= tx->room);
    put_record(tx, size, RING_MESSAGE | flags);
    tx->room = 0;
}

void ipcx__ring_publish(ipcx__ring_tx *tx)
{
    if (tx->published != tx->tail) {
        ipcx__ring_show_tail(tx);
    }
}

void ipcx__ring_begin(ipcx__ring_tx *tx, uint64_t size)
{
    assert(size <= tx->room);
    if (tx->skip != 0) {
        put_header(tx, 0, RING_SKIP);
        tx->tail += tx->skip;
        tx->skip = 0;
    }
    put_header(tx, size, RING_MESSAGE);
    ipcx__ring_publish(tx);
}

void ipcx__ring_end(ipcx__ring_tx *tx, uint64_t size)
{
    tx->tail += ipcx__ring_bytes(size);
    tx->room = 0;
    IPCX_CRASH_POINT("ring: written");
}

/* Payload bytes that a fragment has room for. */
static uint64_t fragment_bytes(const ipcx__ring_tx *tx)
{
    uint64_t record = tx->limit / 4;
    return (record < FRAGMENT_MAX ? record : FRAGMENT_MAX) - HEAD;
}

static ipcx_status send_fragment(ipcx__ring_tx *tx, const uint8_t *data, uint64_t size,
                                 unsigned flags, uint64_t *done)
{
    uint64_t before = *done == 0 ? WHOLE : 0, n = fragment_bytes(tx) - before;
    unsigned kind = *done == 0 ? RING_FIRST : RING_MORE;
    uint8_t *to;
    pass_by(tx);
    if (n >= size - *done) {
        n = size - *done;
        kind = RING_LAST;
    }
    if (!fits(tx, ipcx__ring_bytes(before + n))) {
        return no_room(tx);
    }
    to = place(tx, tx->tail + tx->skip) + HEAD;
    memcpy(to, &size, before);
    memcpy(to + before, data + *done, n);
    put_record(tx, before + n, kind | flags);
    *done += n;
    return kind == RING_LAST ? IPCX_OK : IPCX_MORE;
}

ipcx_status ipcx__ring_send(ipcx__ring_tx *tx, const void *data, uint64_t size, unsigned flags,
                            uint64_t *done)
{
    ipcx_status status = IPCX_TOO_LARGE;
    if (*done == 0) {
        uint8_t *room;
        status = ipcx__ring_reserve(tx, size, &room);
        if (status == IPCX_OK) {
            ipcx__ring_write(tx, room, data, size, flags);
        }
    }
    if (status == IPCX_TOO_LARGE) {
        status = send_fragment(tx, data, size, flags, done);
    }
    if (status != IPCX_OK) {
        ipcx__ring_publish(tx);
    }
    return status;
}

bool ipcx__ring_room(ipcx__ring_tx *tx, uint64_t size)
{
    uint64_t need = size < tx->size ? ipcx__ring_bytes(size) : tx->size;
    pass_by(tx);
    return fits(tx, need <= tx->limit / 2 ? need : ipcx__ring_bytes(fragment_bytes(tx)));
}

bool ipcx__ring_passed(const ipcx__ring_words *words, uint64_t at)
{
    uint64_t head = atomic_load_explicit(&words->head, memory_order_seq_cst);
    return head - at < UINT64_C(1) << 63;
}

uint64_t ipcx__ring_unreceived(const ipcx__ring_tx *tx)
{
    uint64_t at = atomic_load_explicit(&tx->words->head, memory_order_seq_cst), count = 0;
    if (at - tx->head > tx->published - tx->head || at % 8 != 0) {
        at = tx->head; /* it cannot be there */
    }
    while (at != tx->published) {
        const uint64_t *from = (const uint64_t *)(const void *)place(tx, at);
        uint64_t header = __atomic_load_n(from, __ATOMIC_RELAXED), step;
        unsigned kind = (unsigned)(header >> 32) & 0xff;
        count +=
            (kind == RING_MESSAGE && (header >> 32 & IPCX__RING_PAD) == 0) || kind == RING_LAST;
        step = kind == RING_SKIP ? tx->size - (at & (tx->size - 1))
                                 : ipcx__ring_bytes(header & UINT32_MAX);
        if (step > tx->published - at) {
            break; /* the other side has scribbled over our records */
        }
        at += step;
    }
    return count;
}

/* ---- the consumer */

void ipcx__ring_rx_init(ipcx__ring_rx *rx, ipcx__ring_words *words, const void *data, uint64_t size,
                        size_t max_message, uint64_t start)
{
    *rx = (ipcx__ring_rx){.words = words,
                          .data = data,
                          .size = size,
                          .head = start,
                          .tail = start,
                          .told = start,
                          .freed = start,
                          .max_message = max_message};
    ipcx_buf_init(&rx->whole, max_message);
}

void ipcx__ring_rx_fini(ipcx__ring_rx *rx)
{
    ipcx_buf_fini(&rx->whole);
}

static ipcx_status broken(ipcx__ring_rx *rx, ipcx_status status, const char *why)
{
    rx->failed = status;
    rx->why = why;
    return status;
}

void ipcx__ring_pass(ipcx__ring_rx *rx, uint64_t bytes)
{
    uint64_t before = rx->freed;
    rx->head += bytes;
    rx->freed = ipcx__ring_free_up_to(rx);
    if (rx->freed != before) {
        IPCX_CRASH_POINT("ring: to be freed");
        atomic_store_explicit(&rx->words->head, rx->freed, memory_order_seq_cst);
        IPCX_CRASH_POINT("ring: freed");
    }
}

/* One record, checked against the memory it may lie in. */
typedef struct record {
    const uint8_t *data;
    uint64_t size;
    uint64_t bytes; /* until the next record */
    unsigned kind, flags;
} record;

static ipcx_status look_at(ipcx__ring_rx *rx, record *found)
{
    uint64_t at = rx->head & (rx->size - 1), left = rx->tail - rx->head, header;
    if (left == 0) {
        uint64_t tail = atomic_load_explicit(&rx->words->tail, memory_order_seq_cst);
        left = tail - rx->head;
        if (left == 0) {
            return IPCX_AGAIN;
        }
        if (left > rx->size || tail % 8 != 0) {
            return broken(rx, IPCX_PROTOCOL, "the producer's cursor is outside the ring");
        }
        rx->tail = tail;
        rx->most = left > rx->most ? left : rx->most;
    }
    header = __atomic_load_n((const uint64_t *)(const void *)(rx->data + at), __ATOMIC_RELAXED);
    *found = (record){.data = rx->data + at + HEAD,
                      .size = header & UINT32_MAX,
                      .kind = (unsigned)(header >> 32) & 0xff,
                      .flags = (unsigned)(header >> 32) & ~0xffu};
    found->bytes = found->kind == RING_SKIP ? rx->size - at : ipcx__ring_bytes(found->size);
    if (found->kind < RING_MESSAGE || found->kind > RING_LAST ||
        found->flags & ~(IPCX__RING_TEXT | IPCX__RING_PAD)) {
        return broken(rx, IPCX_PROTOCOL, "a record of an unknown kind");
    }
    if (found->bytes > left) {
        return broken(rx, IPCX_PROTOCOL, "a record is longer than what was committed");
    }
    if (found->kind == RING_SKIP && at == 0) {
        return broken(rx, IPCX_PROTOCOL, "a skip at the start of a round");
    }
    return IPCX_OK;
}

static ipcx_status first_fragment(ipcx__ring_rx *rx, record *found)
{
    uint64_t due;
    if (found->size < WHOLE) {
        return broken(rx, IPCX_PROTOCOL, "a first fragment without the length of the whole");
    }
    due = __atomic_load_n((const uint64_t *)(const void *)found->data, __ATOMIC_RELAXED);
    if (due > rx->max_message) {
        return broken(rx, IPCX_TOO_LARGE, "the message is over the limit");
    }
    ipcx_buf_consume(&rx->whole, ipcx_buf_len(&rx->whole)); /* what was abandoned */
    found->data += WHOLE;
    found->size -= WHOLE;
    rx->due = due;
    return IPCX_OK;
}

/* OK: that was the last one, and the message is whole. MORE: it is not. */
static ipcx_status add_fragment(ipcx__ring_rx *rx, record *found)
{
    ipcx_status status = found->kind == RING_FIRST ? first_fragment(rx, found) : IPCX_OK;
    uint64_t left;
    if (status != IPCX_OK) {
        return status;
    }
    left = rx->due - ipcx_buf_len(&rx->whole);
    if (found->size == 0 || found->size > left ||
        (found->size == left) != (found->kind == RING_LAST)) {
        return broken(rx, IPCX_PROTOCOL, "fragments that do not make up the whole");
    }
    status = ipcx_buf_append(&rx->whole, found->data, found->size, NULL);
    if (status != IPCX_OK) {
        return status; /* NOMEM: the fragment stays where it is */
    }
    return found->kind == RING_LAST ? IPCX_OK : IPCX_MORE;
}

static void forget_fragments(ipcx__ring_rx *rx)
{
    rx->due = 0;
    ipcx_buf_consume(&rx->whole, ipcx_buf_len(&rx->whole));
    if (rx->whole.cap > WHOLE_KEPT) {
        ipcx_buf_fini(&rx->whole);
        ipcx_buf_init(&rx->whole, rx->max_message);
    }
}

/* A record with which a message is whole is lent; of the others it takes what they say. */
static ipcx_status take(ipcx__ring_rx *rx, record *found, ipcx__ring_message *message)
{
    ipcx_status status = IPCX_MORE;
    bool text = (found->flags & IPCX__RING_TEXT) != 0;
    if (IPCX_UNLIKELY(found->flags & IPCX__RING_PAD)) {
        ipcx__ring_pass(rx, found->bytes);
        return status;
    }
    if (found->kind == RING_MESSAGE) {
        if (found->size > rx->max_message) {
            return broken(rx, IPCX_TOO_LARGE, "the message is over the limit");
        }
        if (IPCX_UNLIKELY(rx->due != 0)) {
            forget_fragments(rx);
        }
        *message = (ipcx__ring_message){found->data, found->size, text, true};
        rx->lent = found->bytes;
        return IPCX_OK;
    }
    if (found->kind != RING_SKIP) {
        status = add_fragment(rx, found);
        if (status == IPCX_OK) {
            *message = (ipcx__ring_message){ipcx_buf_data(&rx->whole), rx->due, text, false};
            rx->lent = found->bytes;
        }
    }
    if (status == IPCX_MORE) {
        ipcx__ring_pass(rx, found->bytes);
    }
    return status;
}

ipcx_status ipcx__ring_next(ipcx__ring_rx *rx, ipcx__ring_message *message)
{
    uint64_t before = rx->head;
    ipcx_status status = rx->failed;
    record found;
    assert(rx->lent == 0);
    while (status == IPCX_OK) {
        status = look_at(rx, &found);
        if (status == IPCX_OK) {
            status = take(rx, &found, message);
            if (status == IPCX_OK) {
                return IPCX_OK;
            }
        }
        if (status == IPCX_MORE) {
            status = rx->head - before < rx->size ? IPCX_OK : IPCX_AGAIN;
        }
    }
    return status;
}

void ipcx__ring_release(ipcx__ring_rx *rx)
{
    uint64_t bytes = rx->lent;
    rx->lent = 0;
    if (IPCX_UNLIKELY(rx->due != 0)) {
        forget_fragments(rx);
    }
    ipcx__ring_pass(rx, bytes);
}

bool ipcx__ring_freed(ipcx__ring_rx *rx)
{
    bool freed = rx->told != rx->freed;
    rx->told = rx->freed;
    return freed;
}

bool ipcx__ring_empty(const ipcx__ring_rx *rx)
{
    return atomic_load_explicit(&rx->words->tail, memory_order_seq_cst) == rx->head;
}
