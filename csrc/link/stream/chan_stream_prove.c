/* SPDX-License-Identifier: Apache-2.0
 * The proof of a key over a stream (wire/proof.h): who receives judges what the peer says in it,
 * who sends waits for it. Invariant: up to the proof nothing of ours leaves but HELLO and PROOF,
 * and no more is kept of what the peer sends than IPCX__BEFORE_PROOF. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "ipcx/alloc.h"
#include "ipcx/endian.h"
#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "os/gate.h"
#include "wire/frame.h"
#include "wire/hello.h"

static void let_be(ipcx__own *own)
{
    (void)own; /* in a child: whoever uses the end there proves for itself */
}

ipcx_status ipcx__chan_stream_guard(ipcx_chan *chan, bool listens, const void *key, size_t size,
                                    ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    uint8_t nonce[IPCX__NONCE_SIZE];
    if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce) {
        return ipcx_error_system(err, errno, "handshake", "no random bytes for a challenge");
    }
    self->proof = ipcx_alloc(sizeof *self->proof);
    if (self->proof == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "handshake", "no memory for a key");
    }
    ipcx__proof_begin(self->proof, listens ? IPCX__LISTENER : IPCX__CONNECTOR, key, size, nonce);
    ipcx__decoder_bound(&self->decoder, IPCX__BEFORE_PROOF);
    atomic_store(&self->unproven, true);
    return IPCX_OK;
}

void ipcx__stream_unguard(ipcx__stream *self)
{
    if (self->proof != NULL) {
        ipcx__proof_end(self->proof);
        ipcx_free(self->proof);
        self->proof = NULL;
    }
}

ipcx_status ipcx__stream_greet(ipcx__stream *self, ipcx_error *err)
{
    uint8_t bytes[IPCX__HELLO_FRAME], *room;
    ipcx__hello hello = {.max_version = IPCX_FRAME_VERSION,
                         .max_message = (uint32_t)self->chan.options.max_message};
    ipcx_frame frame = {.type = IPCX_FRAME_HELLO, .payload = bytes + IPCX_FRAME_HEADER};
    int checksum = self->chan.options.checksum;
    ipcx_status status = IPCX_OK;
    (void)pthread_mutex_lock(&self->tx);
    if (!atomic_load(&self->greeted)) {
        status = ipcx_buf_reserve(&self->owed, sizeof bytes, &room, err);
        if (status == IPCX_OK) {
            (void)(self->proof != NULL ? ipcx__proof_greet(self->proof, &hello, checksum, bytes)
                                       : ipcx__hello_frame(&hello, checksum, bytes));
            frame.payload_size = ipcx_endian_load32(bytes + 8); /* where a header has it */
            atomic_store(&self->greeted, true);
            (void)ipcx__stream_frame(self, &frame); /* that the peer has gone, the verb finds out */
        }
    }
    (void)pthread_mutex_unlock(&self->tx);
    return status;
}

/* The least that is due has a HELLO's size; a PROOF is longer. */
ipcx_status ipcx__stream_read_hello(ipcx__stream *self, ipcx_error *err)
{
    size_t held = ipcx_decoder_pending(&self->decoder);
    size_t least = IPCX_FRAME_HEADER + IPCX__HELLO_SIZE;
    return ipcx__stream_fill(self, held < least ? least - held : self->decoder.missing, err);
}

static void say(ipcx__stream *self, const ipcx__proof_answer *answer)
{
    ipcx_frame frame = {
        .type = IPCX_FRAME_PROOF, .payload = answer->payload, .payload_size = answer->size};
    (void)pthread_mutex_lock(&self->tx);
    (void)ipcx__stream_frame(self, &frame);
    (void)pthread_mutex_unlock(&self->tx);
}

/* From here on it is a peer as any other. */
static void believe(ipcx__stream *self)
{
    ipcx__stream_unguard(self);
    ipcx__decoder_bound(&self->decoder, 0);
    ipcx__decoder_limit(&self->decoder, self->chan.options.max_message);
    atomic_store(&self->heard, true);
    atomic_store(&self->unproven, false);
    atomic_fetch_add(&self->chan.answers, 1);
    ipcx__stream_tell(self);
}

ipcx_status ipcx__stream_stranger(ipcx__stream *self)
{
    ipcx__proof_answer answer;
    ipcx__hello hello = {0};
    bool met = self->proof->met;
    size_t at;
    ipcx_status status =
        ipcx__proof_take(self->proof, &self->front, ipcx_buf_data(&self->decoder.buf),
                         self->decoder.lent, &hello, &answer, &at, &self->over_error);
    if (answer.size > 0) {
        say(self, &answer);
    }
    if (status < 0) {
        return ipcx__stream_end(self, status, self->decoder.offset + at);
    }
    if (!met) {
        atomic_store(&self->peer_limit, hello.max_message);
    }
    if (status == IPCX_OK) {
        believe(self);
    }
    return IPCX_OK;
}

ipcx_status ipcx__stream_prove(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    if (IPCX_LIKELY(!atomic_load_explicit(&self->unproven, memory_order_acquire))) {
        return IPCX_OK;
    }
    if (!atomic_load(&self->greeted)) {
        ipcx_status status = ipcx__stream_greet(self, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    return ipcx__stream_await(self, 0, deadline, err);
}

bool ipcx__chan_stream_unproven(const ipcx_chan *chan)
{
    ipcx_scheme scheme = chan->transport->scheme;
    return (scheme == IPCX_SCHEME_TCP || scheme == IPCX_SCHEME_UNIX || scheme == IPCX_SCHEME_TLS) &&
           atomic_load(&((const ipcx__stream *)(const void *)chan)->unproven);
}

/* ---- connect and accept in one thread */

void ipcx__chan_stream_offer(ipcx_chan *chan)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    self->offered.forked = let_be;
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_UNPROVEN, &self->offered);
    ipcx__own_unlock();
}

/* Under ipcx__own_lock: an end that only this process has. */
static bool is_ours(const ipcx_chan *chan)
{
    uint32_t owner = atomic_load(&chan->owner);
    return !chan->hung_up &&
           (owner == 0 ? ipcx__chan_never_shared(chan) : owner == ipcx__fork_generation());
}

/* Under ipcx__own_lock: whether it wants help, and stays while it gets it. Who uses the end has
 * pump: then that thread sees to it. */
static bool visit(ipcx__stream *self)
{
    if (!is_ours(&self->chan) || !ipcx__gate_enter(&self->chan.gate)) {
        return false;
    }
    if (!ipcx__turn_take(&self->pump)) {
        ipcx__gate_leave(&self->chan.gate);
        return false;
    }
    return true;
}

/* Of one that is visited. Not under ipcx__own_lock: a layer may wait for a lock of the program's.
 */
static bool help(ipcx__stream *self)
{
    ipcx_gate *gate = &self->chan.gate;
    uint64_t before = self->decoder.offset;
    bool moved;
    ipcx_status status = IPCX_OK;
    if (!atomic_load(&self->greeted)) {
        status =
            ipcx__stream_greet(self, NULL); /* connect is about to; the proof is of our HELLO */
    }
    while (status == IPCX_OK && self->proof != NULL) {
        status = ipcx__stream_front(self, NULL);
        if (status == IPCX_MORE) {
            status = ipcx__stream_read_hello(self, NULL);
        }
    }
    moved = self->decoder.offset != before || self->proof == NULL;
    if (self->proof == NULL || ipcx__stream_is_over(self)) {
        ipcx__own_lock();
        ipcx__own_remove(&self->offered);
        ipcx__own_unlock();
    }
    ipcx__stream_leave_pump(self);
    if (moved) {
        ipcx__stream_raise_bell(self); /* what was read here, its descriptor shows no more */
    }
    ipcx__gate_leave(gate);
    return moved;
}

/* All that want help, visited; *count of them. NULL: none, or no memory. */
static ipcx__stream **visit_all(size_t *count)
{
    ipcx__stream **all = NULL;
    size_t there = 0;
    *count = 0;
    ipcx__own_lock();
    for (ipcx__own *own = ipcx__own_first(IPCX__OWN_UNPROVEN); own != NULL; own = own->next) {
        there++;
    }
    all = there > 0 ? ipcx_alloc(there * sizeof *all) : NULL;
    for (ipcx__own *own = ipcx__own_first(IPCX__OWN_UNPROVEN); all != NULL && own != NULL;
         own = own->next) {
        char *at = (char *)own - offsetof(ipcx__stream, offered);
        all[*count] = (ipcx__stream *)(void *)at;
        *count += visit(all[*count]);
    }
    ipcx__own_unlock();
    return all;
}

bool ipcx__chan_stream_help(void)
{
    bool moved = false;
    size_t count;
    ipcx__stream **all = visit_all(&count);
    for (size_t i = 0; i < count; i++) {
        moved = help(all[i]) || moved;
    }
    ipcx_free(all);
    return moved;
}
