/* SPDX-License-Identifier: Apache-2.0
 * The frame of every call on a channel: owner, gate, counters, close and fork.
 * Invariant: a transport's function runs inside the gate, in the process that owns the end; an end
 * in use stands in the list of what is this process's own. */
#include "link/chan.h"

#include <string.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/address/vigil.h"
#include "link/chan_quick.h"
#include "os/gate.h"
#include "wire/frame.h"

#define MIB ((size_t)1024 * 1024)

/* ---- making one */

#define RING_LEAST ((size_t)64 << 10)
#define RING_MOST ((size_t)1 << 30)

/* Those of shm://. */
static ipcx_status fill_shared(ipcx_chan_options *all, ipcx_error *err)
{
    size_t ring = RING_LEAST;
    if (all->ring == 0) {
        all->ring = 4 * MIB;
    }
    if (all->max_segment == 0) {
        all->max_segment = 256 * MIB;
    }
    if (all->ring < RING_LEAST || all->ring > RING_MOST) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "options",
                              "ring is %zu; it is 65536 to 1073741824 bytes", all->ring);
    }
    while (ring < all->ring) {
        ring *= 2;
    }
    all->ring = ring;
    return IPCX_OK;
}

ipcx_status ipcx__chan_options_fill(const ipcx_chan_options *given, ipcx_chan_options *filled,
                                    ipcx_error *err)
{
    ipcx_chan_options all = given != NULL ? *given : (ipcx_chan_options){0};
    if (all.max_message == 0) {
        all.max_message = 64 * MIB;
    }
    if (all.max_message < 4096 || all.max_message > IPCX__MESSAGE_MAX) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "options",
                              "max_message is %zu; it is 4096 to 2147483648 bytes",
                              all.max_message);
    }
    if (all.handshake_timeout < 0 || all.backlog < 0 || !ipcx__vigil_fill(&all.vanish_timeout)) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "options",
                              "handshake_timeout or backlog < 0, or vanish_timeout < 3 s");
    }
    if (all.authkey != NULL && all.authkey_size == 0) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "options", "an empty authkey proves nothing");
    }
    if (all.max_backlog == 0) {
        all.max_backlog = 8 * MIB;
    }
    if (all.rendezvous) {
        all.capacity = 0;
    } else if (all.capacity == 0) {
        all.capacity = 1024;
    }
    if (all.handshake_timeout == 0) {
        all.handshake_timeout = INT64_C(5000000000);
    }
    if (all.backlog == 0) {
        all.backlog = 512;
    }
    *filled = all;
    return fill_shared(filled, err);
}

/* In a child: the end was its parent's. `own` is the first member of the channel. */
static void forked(ipcx__own *own)
{
    ipcx_chan *chan = (ipcx_chan *)(void *)own;
    chan->hung_up = true;
    chan->transport->hang_up(chan);
}

ipcx_status ipcx__chan_begin(ipcx_chan *chan, const ipcx__transport *transport, const char *url,
                             const ipcx_chan_options *options, ipcx_error *err)
{
    size_t size = strlen(url) + 1;
    ipcx_status status = ipcx__chan_options_fill(options, &chan->options, err);
    if (status != IPCX_OK) {
        return status;
    }
    chan->options.authkey = chan->options.allow_uids =
        NULL; /* borrowed: not for longer than this */
    chan->url = ipcx_alloc(size);
    if (chan->url == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "channel", "no memory for a channel");
    }
    memcpy(chan->url, url, size);
    chan->transport = transport;
    chan->own.forked = forked;
    chan->forks_before = ipcx__fork_count(); /* first: a fork between the two is then seen */
    chan->made_in = ipcx__fork_generation();
    atomic_store(&chan->owner_pid, (int)getpid());
    if (transport->export != NULL) {
        ipcx__own_lock();
        ipcx__claim_make(&chan->claim);
        ipcx__own_unlock();
    }
    return IPCX_OK;
}

void ipcx__chan_end(ipcx_chan *chan)
{
    if (chan->made_in == ipcx__fork_generation()) {
        ipcx__own_lock();
        ipcx__claim_free(&chan->claim);
        ipcx__own_unlock();
    }
    ipcx_free(chan->url);
    chan->url = NULL;
}

/* ---- whose it is */

static ipcx_status closed(const ipcx_chan *chan, const char *op, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_CLOSED, 0, op, "%s is closed", chan->url);
}

static ipcx_status not_ours(const ipcx_chan *chan, const char *op, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_FORKED, 0, op,
                          "process %d owns this end of %s; each process uses an end of its own",
                          atomic_load(&chan->owner_pid), chan->url);
}

/* Under ipcx__own_lock: OK when this process may use the end. */
static ipcx_status usable(const ipcx_chan *chan, const char *op, ipcx_error *err)
{
    uint32_t mine = ipcx__fork_generation(), owner = atomic_load(&chan->owner);
    if (atomic_load(&chan->closed)) {
        return closed(chan, op, err);
    }
    if (atomic_load(&chan->exported)) {
        return ipcx_error_set(err, IPCX_FORKED, 0, op,
                              "this end of %s was handed over: another process owns it", chan->url);
    }
    if (owner == mine ||
        (owner == 0 && (chan->transport->export != NULL || chan->made_in == mine))) {
        return IPCX_OK;
    }
    return not_ours(chan, op, err);
}

/* Under ipcx__own_lock, of an end that is unused here: whether nobody else used it before us, our
 * parent or a child of ours or of its. */
static ipcx_status be_first(ipcx_chan *chan, const char *op, ipcx_error *err)
{
    int pid = (int)getpid(), holder;
    bool first = ipcx__claim_take(&chan->claim, pid, &holder);
    atomic_store(&chan->owner_pid, first ? pid : holder);
    return first ? IPCX_OK : not_ours(chan, op, err);
}

/* The first use of an end makes this process its owner. */
static ipcx_status claim(ipcx_chan *chan, const char *op, ipcx_error *err)
{
    ipcx_status status;
    ipcx__own_lock();
    status = usable(chan, op, err);
    if (status == IPCX_OK && atomic_load(&chan->owner) == 0) {
        status = be_first(chan, op, err);
        if (status == IPCX_OK) {
            atomic_store(&chan->owner, ipcx__fork_generation());
            ipcx__own_add(IPCX__OWN_ENDS, &chan->own);
        }
    }
    ipcx__own_unlock();
    return status;
}

/* ---- into a call and out of it */

typedef ipcx__call call;

/* Through the gate, if there is one; false: it is closed. */
static inline bool pass(ipcx_chan *chan)
{
    return chan->transport->ungated ? !atomic_load_explicit(&chan->closed, memory_order_relaxed)
                                    : ipcx__gate_enter(&chan->gate);
}

static inline void pass_out(ipcx_chan *chan)
{
    if (!chan->transport->ungated) {
        ipcx__gate_leave(&chan->gate);
    }
}

bool ipcx__chan_pass(ipcx_chan *chan)
{
    return pass(chan);
}

void ipcx__chan_pass_out(ipcx_chan *chan)
{
    pass_out(chan);
}

static inline ipcx_status enter(call *self)
{
    self->begun = ipcx__trace_begin();
    if (!ipcx__chan_is_mine(self->chan)) {
        ipcx_status status = claim(self->chan, self->op, self->err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    return pass(self->chan) ? IPCX_OK : closed(self->chan, self->op, self->err);
}

ipcx_status ipcx__call_enter(call *self)
{
    return enter(self);
}

/* What the caller gets to see of `status`, counted and traced. */
ipcx_status ipcx__call_answer(const call *self, ipcx_status status, size_t bytes)
{
    if (status == IPCX_TIMEOUT) {
        if (self->deadline == IPCX_NOW) {
            status = IPCX_AGAIN;
        } else {
            (void)atomic_fetch_add_explicit(&self->chan->timeouts, 1, memory_order_relaxed);
        }
    }
    if (IPCX_UNLIKELY(self->begun != 0)) {
        ipcx__trace_end(self->begun, &(ipcx_trace_event){.op = self->op,
                                                         .fd = -1,
                                                         .url = self->chan->url,
                                                         .status = status,
                                                         .bytes = bytes});
    }
    return status;
}

ipcx_status ipcx__call_leave(const call *self, ipcx_status status, size_t bytes)
{
    status = ipcx__call_answer(self, status, bytes);
    ipcx__chan_pass_out(self->chan);
    return status;
}

static void count_sent(ipcx_chan *chan, uint64_t messages, uint64_t bytes)
{
    if (chan->transport->count == NULL) {
        ipcx__tally(&chan->sent, messages);
        ipcx__tally(&chan->sent_bytes, bytes);
    }
}

static void count_received(ipcx_chan *chan, uint64_t bytes)
{
    if (chan->transport->count == NULL) {
        ipcx__tally(&chan->received, 1);
        ipcx__tally(&chan->received_bytes, bytes);
    }
}

/* ---- the verbs */

ipcx_status ipcx_chan_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                           ipcx_sending *sending, ipcx_error *err)
{
    ipcx_sending local = {0};
    call self = {.chan = chan, .op = "send", .deadline = deadline, .err = err};
    int before = sending != NULL ? sending->begun : 0;
    ipcx_status status;
    if (ipcx__quick_send(chan, message, sending)) {
        return IPCX_OK;
    }
    status = enter(&self);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&self, status, 0);
    }
    do {
        status =
            chan->transport->send(chan, message, deadline, sending != NULL ? sending : &local, err);
    } while (status == IPCX_INTR && sending == NULL);
    if (before == 0 &&
        (status == IPCX_OK || (sending != NULL ? sending->begun : local.begun) != 0)) {
        count_sent(chan, 1, message->size);
    }
    return ipcx__call_leave(&self, status, status == IPCX_OK ? message->size : 0);
}

ipcx_status ipcx_chan_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t number,
                                ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    call self = {.chan = chan, .op = "send_many", .deadline = deadline, .err = err};
    size_t before = sending->taken, i;
    uint64_t bytes = 0;
    ipcx_status status = enter(&self);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&self, status, 0);
    }
    status = chan->transport->send_many(chan, messages, number, deadline, sending, err);
    for (i = before; i < sending->taken; i++) {
        bytes += messages[i].size;
    }
    count_sent(chan, sending->taken - before, bytes);
    return ipcx__call_leave(&self, status, (size_t)bytes);
}

ipcx_status ipcx_chan_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                              ipcx_error *err)
{
    call self = {.chan = chan, .op = "receive", .deadline = deadline, .err = err};
    ipcx_status status = enter(&self);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&self, status, 0);
    }
    status = chan->transport->receive(chan, message, deadline, err);
    if (status != IPCX_OK) {
        return ipcx__call_leave(&self, status, 0);
    }
    count_received(chan, message->size);
    return ipcx__call_answer(&self, status,
                             message->size); /* stays inside: see ipcx_chan_release */
}

void ipcx_chan_release(ipcx_chan *chan, ipcx_message *message)
{
    if (!ipcx__chan_is_mine(chan)) {
        return; /* received before the fork: the child is in no gate, and nothing is its own */
    }
    if (IPCX_UNLIKELY(message->flags & IPCX__MESSAGE_KEEP) && chan->transport->count == NULL) {
        (void)atomic_fetch_sub_explicit(&chan->received, 1, memory_order_relaxed);
        (void)atomic_fetch_sub_explicit(&chan->received_bytes, message->size, memory_order_relaxed);
    }
    chan->transport->release(chan, message);
    pass_out(chan);
}

ipcx_status ipcx_chan_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    call self = {.chan = chan, .op = "poll", .deadline = deadline, .err = err};
    ipcx_status status = ipcx__call_enter(&self);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&self, status, 0);
    }
    return ipcx__call_leave(&self, chan->transport->poll(chan, deadline, err), 0);
}

ipcx_status ipcx_chan_flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    call self = {.chan = chan, .op = "flush", .deadline = deadline, .err = err};
    ipcx_status status = ipcx__call_enter(&self);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&self, status, 0);
    }
    return ipcx__call_leave(&self, chan->transport->flush(chan, deadline, err), 0);
}

ipcx_status ipcx_chan_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    call self = {.chan = chan, .op = "fileno", .deadline = IPCX_NOW, .err = err};
    ipcx_status status = ipcx__call_enter(&self);
    if (status != IPCX_OK) {
        return status;
    }
    status = chan->transport->fileno(chan, fd, err);
    ipcx__chan_pass_out(chan);
    return status;
}

ipcx_status ipcx_chan_send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    call self = {.chan = chan, .op = "send_fileno", .deadline = IPCX_NOW, .err = err};
    ipcx_status status = ipcx__call_enter(&self);
    if (status != IPCX_OK) {
        return status;
    }
    status = chan->transport->send_fileno(chan, fd, err);
    ipcx__chan_pass_out(chan);
    return status;
}

/* ---- closing */

/* Who gets here first shuts it for everybody; false for the others. */
static bool hang_up(ipcx_chan *chan)
{
    bool mine;
    if (atomic_exchange(&chan->closed, true)) {
        return false;
    }
    ipcx__gate_shut(&chan->gate);
    if (chan->transport->wake != NULL && ipcx__chan_is_mine(chan)) {
        chan->transport->wake(chan);
    }
    ipcx__gate_close(&chan->gate);
    ipcx__own_lock();
    mine = !chan->hung_up;
    chan->hung_up = true;
    if (mine) {
        chan->transport->hang_up(chan);
        ipcx__own_remove(&chan->own);
    }
    ipcx__own_unlock();
    if (mine && chan->transport->discard != NULL) {
        chan->transport->discard(chan);
    }
    return true;
}

/* Whether the peer is to hear a goodbye from us: not from who merely lets go of an end that another
 * process has or may have. */
static bool says_goodbye(ipcx_chan *chan)
{
    if (atomic_load(&chan->owner) == 0 && !ipcx__chan_never_shared(chan)) {
        return false;
    }
    return claim(chan, "close", NULL) == IPCX_OK && ipcx__chan_pass(chan);
}

ipcx_status ipcx_chan_close(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent,
                            ipcx_error *err)
{
    call self = {.chan = chan, .op = "close", .deadline = deadline, .err = err};
    size_t lost = 0;
    ipcx_status status = IPCX_OK;
    if (unsent != NULL) {
        *unsent = 0;
    }
    if (atomic_load(&chan->closed)) {
        return IPCX_OK;
    }
    self.begun = ipcx__trace_begin();
    if (says_goodbye(chan)) {
        status = chan->transport->goodbye(chan, deadline, &lost, err);
        ipcx__chan_pass_out(chan);
        if (status == IPCX_INTR) {
            return status;
        }
    }
    if (!hang_up(chan)) {
        return IPCX_OK; /* another thread's close was faster, and answers for what was lost */
    }
    if (unsent != NULL) {
        *unsent = lost;
    }
    /* IPCX_NOW was asked to drop what cannot be sent at once: no time has run out. */
    return ipcx__call_answer(&self, deadline == IPCX_NOW && status > 0 ? IPCX_OK : status, 0);
}

void ipcx_chan_free(ipcx_chan *chan)
{
    if (chan == NULL) {
        return;
    }
    while (ipcx_chan_close(chan, IPCX_NOW, NULL, NULL) == IPCX_INTR) {
    }
    ipcx__chan_end(chan);
    chan->transport->destroy(chan);
}

/* ---- on its way to another process */

ipcx_status ipcx_chan_export(ipcx_chan *chan, ipcx_chan_end *end, ipcx_error *err)
{
    ipcx_status status;
    ipcx__own_lock();
    if (atomic_load(&chan->closed)) {
        status = closed(chan, "export", err);
    } else if (chan->transport->export == NULL) {
        status = ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "export",
                                "an end of %s stays in the process that made it", chan->url);
    } else if (atomic_load(&chan->owner) == ipcx__fork_generation()) {
        status = ipcx_error_set(err, IPCX_INVALID, 0, "export",
                                "this end of %s is in use: only an unused one can be handed over",
                                chan->url);
    } else if (atomic_load(&chan->owner) != 0) {
        status = not_ours(chan, "export", err);
    } else {
        status = chan->transport->export(chan, end, err);
        if (status == IPCX_OK && !atomic_load(&chan->exported)) {
            /* Who inherited it by fork shall not use it either. */
            status = be_first(chan, "export", err);
            atomic_store(&chan->exported, status == IPCX_OK);
        }
    }
    ipcx__own_unlock();
    return status;
}
