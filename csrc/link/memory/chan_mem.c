/* SPDX-License-Identifier: Apache-2.0
 * Channels between threads of one process: two lanes, one each way, shared by two ends.
 * Invariant: the lanes live until both ends are freed, and a lane's latch guards all of it, its
 * descriptors too; so these channels need no gate. In a child of fork(2) they are not touched
 * again but to be given back. */
#include "link/memory/chan_mem.h"

#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/alloc.h"
#include "link/memory/lane.h"
#include "wire/frame.h"

typedef struct core {
    _Atomic int ends; /* not freed yet */
    ipcx__lane lanes[2];
} core;

typedef struct mem {
    ipcx_chan chan;
    core *core;
    ipcx__lane *out, *in;
} mem;

static mem *of(ipcx_chan *chan)
{
    return (mem *)(void *)chan; /* its first member */
}

/* The lanes as a child of fork(2) has them may be half done, their latches held for ever. */
static bool in_child(const ipcx_chan *chan)
{
    return chan->made_in != ipcx__fork_generation();
}

/* ---- send */

static ipcx_status check(const mem *self, const ipcx_message *message, ipcx_error *err)
{
    const unsigned known = IPCX_MESSAGE_TEXT | IPCX_MESSAGE_SYNC | IPCX_MESSAGE_OBJECT;
    size_t valid;
    if ((message->flags & ~known) != 0) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                              "inproc hands over no ends: pass the end itself to the thread");
    }
    if (message->flags & IPCX_MESSAGE_OBJECT) {
        return !self->chan.options.copy
                   ? IPCX_OK
                   : ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                                    "this channel copies messages and passes no objects");
    }
    if (message->size > self->out->limit) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "send",
                              "the message has %zu bytes, the peer takes %zu", message->size,
                              self->out->limit);
    }
    if (message->flags & IPCX_MESSAGE_TEXT) {
        valid = ipcx__utf8_valid(message->data, message->size);
        if (valid != message->size) {
            return ipcx_error_set(err, IPCX_INVALID, 0, "send",
                                  "the text is no UTF-8 from byte %zu on", valid);
        }
    }
    return IPCX_OK;
}

/* What goes into the lane: the object itself, or a copy of the bytes. */
static ipcx_status make_item(const mem *self, const ipcx_message *message, ipcx_message *item,
                             ipcx_error *err)
{
    void *copy;
    *item = *message;
    if (self->chan.options.rendezvous) {
        item->flags |= IPCX_MESSAGE_SYNC;
    }
    if (message->flags & IPCX_MESSAGE_OBJECT) {
        return IPCX_OK;
    }
    copy = ipcx_alloc(message->size);
    if (copy == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "send", "no memory for %zu bytes", message->size);
    }
    if (message->size > 0) {
        memcpy(copy, message->data, message->size);
    }
    item->data = copy;
    return IPCX_OK;
}

static void unmake_item(const ipcx_message *item)
{
    if ((item->flags & IPCX_MESSAGE_OBJECT) == 0) {
        ipcx_free((void *)(uintptr_t)item->data);
    }
}

static ipcx__lane_call call_of(mem *self, ipcx_deadline deadline, bool sends, ipcx_error *err)
{
    return (ipcx__lane_call){.deadline = deadline,
                             .waits = sends ? &self->chan.send_waits : &self->chan.receive_waits,
                             .err = err};
}

/* Copying so many bytes for nothing is worth a look first. */
#define LARGE 4096

static ipcx_status mem_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                            ipcx_sending *sending, ipcx_error *err)
{
    mem *self = of(chan);
    ipcx__lane_call call = call_of(self, deadline, true, err);
    ipcx_message item;
    size_t put;
    ipcx_status status;
    if (!sending->begun) {
        status = check(self, message, err);
        if (status == IPCX_OK && deadline == IPCX_NOW && message->size > LARGE &&
            !ipcx__lane_has_room(self->out)) {
            return IPCX_TIMEOUT;
        }
        if (status == IPCX_OK) {
            status = make_item(self, message, &item, err);
        }
        if (status != IPCX_OK) {
            return status;
        }
        status = ipcx__lane_put(self->out, &call, &item, 1, &put, &sending->ticket);
        if (status != IPCX_OK) {
            unmake_item(&item);
            return status;
        }
        if ((item.flags & IPCX_MESSAGE_SYNC) == 0) {
            return IPCX_OK;
        }
        sending->begun = 1;
    }
    return ipcx__lane_await_ack(self->out, &call, sending->ticket);
}

/* So many are copied before the latch is taken once for all of them. */
#define BATCH 32

/* One batch of messages that nobody waits for. `sending->taken` counts on. */
static ipcx_status send_batch(mem *self, const ipcx_message *messages, size_t count,
                              ipcx__lane_call *call, ipcx_sending *sending)
{
    ipcx_message items[BATCH];
    ipcx_status status = IPCX_OK;
    size_t made = 0, put = 0, i;
    while (status == IPCX_OK && made < count) {
        status = check(self, &messages[made], call->err);
        if (status == IPCX_OK) {
            status = make_item(self, &messages[made], &items[made], call->err);
        }
        made += status == IPCX_OK;
    }
    if (made > 0) { /* what is wrong with the one behind them, the next batch will say */
        status = ipcx__lane_put(self->out, call, items, made, &put, &sending->ticket);
    }
    for (i = put; i < made; i++) {
        unmake_item(&items[i]);
    }
    sending->taken += put;
    return status;
}

static ipcx_status mem_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                 ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    mem *self = of(chan);
    ipcx__lane_call call = call_of(self, deadline, true, err);
    ipcx_status status = IPCX_OK;
    if (sending->begun) { /* a rendezvous that the last call left in the lane */
        status = ipcx__lane_await_ack(self->out, &call, sending->ticket);
        sending->begun = status != IPCX_OK;
    }
    while (status == IPCX_OK && sending->taken < count) {
        size_t left = count - sending->taken;
        const ipcx_message *next = messages + sending->taken;
        if (!chan->options.rendezvous && (next->flags & IPCX_MESSAGE_SYNC) == 0) {
            status = send_batch(self, next, left < BATCH ? left : BATCH, &call, sending);
            continue;
        }
        status = mem_send(chan, next, deadline, sending, err);
        sending->taken += status == IPCX_OK || sending->begun;
        sending->begun = status != IPCX_OK && sending->begun;
    }
    return status;
}

/* ---- receive */

static ipcx_status mem_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                               ipcx_error *err)
{
    ipcx__lane_call call = call_of(of(chan), deadline, false, err);
    return ipcx__lane_take(of(chan)->in, &call, message);
}

static void mem_release(ipcx_chan *chan, ipcx_message *message)
{
    if (IPCX_UNLIKELY(message->flags & IPCX__MESSAGE_KEEP)) {
        message->flags &= ~IPCX__MESSAGE_KEEP;
        if (ipcx__lane_put_back(of(chan)->in, message)) {
            return;
        }
        if ((message->flags & IPCX_MESSAGE_OBJECT) && chan->options.drop != NULL) {
            chan->options.drop((void *)(uintptr_t)message->data);
        }
    }
    if (message->flags & IPCX_MESSAGE_SYNC) {
        ipcx__lane_ack(of(chan)->in, message->ticket);
    }
    unmake_item(message);
}

static ipcx_status mem_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__lane_call call = call_of(of(chan), deadline, false, err);
    ipcx_status status = ipcx__lane_peek(of(chan)->in, &call);
    return status == IPCX_EOF ? IPCX_OK : status; /* receive would not wait either */
}

/* What was begun is in the lane already. */
static ipcx_status mem_flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)chan, (void)deadline, (void)err;
    return IPCX_OK;
}

static ipcx_status mem_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    return ipcx__lane_reader_fd(of(chan)->in, fd, err);
}

static ipcx_status mem_send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    return ipcx__lane_writer_fd(of(chan)->out, fd, err);
}

/* ---- the end */

/* What was sent stays in the lane for the peer, and after it the end. */
static ipcx_status mem_goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent,
                               ipcx_error *err)
{
    (void)deadline, (void)err;
    *unsent = 0;
    ipcx__lane_stop(of(chan)->out);
    return IPCX_OK;
}

static void mem_hang_up(ipcx_chan *chan)
{
    mem *self = of(chan);
    if (in_child(chan)) {
        ipcx__lane_forked_reader(self->in);
        ipcx__lane_forked_writer(self->out);
        return;
    }
    ipcx__lane_close_writer(self->out);
    ipcx__lane_close_reader(self->in);
}

static void mem_discard(ipcx_chan *chan)
{
    if (!in_child(chan)) {
        (void)ipcx__lane_discard(of(chan)->in, chan->options.drop);
    }
}

static void mem_destroy(ipcx_chan *chan)
{
    mem *self = of(chan);
    core *shared = self->core;
    bool last = atomic_fetch_sub(&shared->ends, 1) == 1;
    if (last && in_child(chan)) {
        /* What a thread of the parent was at work on at the fork is left as it is. */
        last = !ipcx__lane_is_busy(&shared->lanes[0]) && !ipcx__lane_is_busy(&shared->lanes[1]);
    }
    if (last) {
        for (int i = 0; i < 2; i++) {
            (void)ipcx__lane_discard(&shared->lanes[i], chan->options.drop);
            ipcx__lane_fini(&shared->lanes[i]);
        }
        ipcx_free(shared);
    }
    ipcx_free(self);
}

static void mem_max_message(ipcx_chan *chan, size_t *receive, size_t *send)
{
    *receive = of(chan)->in->limit;
    *send = of(chan)->out->limit;
}

static void mem_count(ipcx_chan *chan, ipcx_chan_stats *stats)
{
    if (!in_child(chan)) {
        ipcx__lane_count_put(of(chan)->out, &stats->sent, &stats->sent_bytes);
        ipcx__lane_count_taken(of(chan)->in, &stats->received, &stats->received_bytes);
    }
}

static uint64_t mem_unreceived(ipcx_chan *chan)
{
    return in_child(chan) ? 0 : ipcx__lane_untaken(of(chan)->out);
}

static const ipcx__transport MEM = {
    .scheme = IPCX_SCHEME_INPROC,
    .ungated = true,
    .send = mem_send,
    .send_many = mem_send_many,
    .receive = mem_receive,
    .release = mem_release,
    .poll = mem_poll,
    .flush = mem_flush,
    .fileno = mem_fileno,
    .send_fileno = mem_send_fileno,
    .goodbye = mem_goodbye,
    .hang_up = mem_hang_up,
    .discard = mem_discard,
    .destroy = mem_destroy,
    .max_message = mem_max_message,
    .count = mem_count,
    .unreceived = mem_unreceived,
};

int ipcx__chan_mem_each(ipcx_chan *chan, int (*visit)(void *object, void *context), void *context)
{
    return in_child(chan) ? 0 : ipcx__lane_each(of(chan)->in, visit, context);
}

/* ---- making both ends */

static ipcx_status make_end(const char *url, const ipcx_chan_options *options, core *shared,
                            int side, mem **made, ipcx_error *err)
{
    ipcx_status status;
    mem *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "channel", "no memory for a channel");
    }
    *self = (mem){.core = shared, .out = &shared->lanes[side], .in = &shared->lanes[1 - side]};
    status = ipcx__chan_begin(&self->chan, &MEM, url, options, err);
    if (status != IPCX_OK) {
        ipcx_free(self);
        return status;
    }
    *made = self;
    return IPCX_OK;
}

ipcx_status ipcx__chan_mem_ends(const char *url, const ipcx_chan_options *options_a,
                                const ipcx_chan_options *options_b, ipcx_chan **a, ipcx_chan **b,
                                ipcx_error *err)
{
    mem *first, *second;
    ipcx_status status;
    core *shared = ipcx_alloc(sizeof *shared);
    if (shared == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "channel", "no memory for a channel");
    }
    status = make_end(url, options_a, shared, 0, &first, err);
    if (status != IPCX_OK) {
        goto fail;
    }
    status = make_end(url, options_b, shared, 1, &second, err);
    if (status != IPCX_OK) {
        ipcx__chan_end(&first->chan);
        ipcx_free(first);
        goto fail;
    }
    atomic_init(&shared->ends, 2);
    ipcx__lane_init(&shared->lanes[0], first->chan.options.capacity,
                    second->chan.options.max_message);
    ipcx__lane_init(&shared->lanes[1], second->chan.options.capacity,
                    first->chan.options.max_message);
    *a = &first->chan;
    *b = &second->chan;
    return IPCX_OK;
fail:
    ipcx_free(shared);
    return status;
}

ipcx_status ipcx__chan_mem_pair(const char *url, const ipcx_chan_options *options, ipcx_chan **a,
                                ipcx_chan **b, ipcx_error *err)
{
    return ipcx__chan_mem_ends(url, options, options, a, b, err);
}
