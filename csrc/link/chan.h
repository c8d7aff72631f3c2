/* SPDX-License-Identifier: Apache-2.0
 * What every kind of channel has in common, and the table of what each does in its own way.
 * chan.c owns the frame of a call: it looks after owner, fork and close; a transport's functions
 * (chan_stream.c, chan_mem.c) run inside the gate and do the work and the waiting.
 * Invariant: no function of the table runs in a process that does not own the end, nor after the
 * gate was closed. */
#ifndef IPCX_LINK_CHAN_H
#define IPCX_LINK_CHAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/process.h"
#include "ipcx/chan.h"
#include "ipcx/connect.h"
#include "ipcx/gate.h"
#include "ipcx/loan.h"
#include "ipcx/url.h"

/* The most descriptors an end has: those of shm://. */
#define IPCX__END_FDS 4

typedef struct ipcx__transport {
    ipcx_scheme scheme;
    /* The gate is left out: close may happen while others are inside, who find out by themselves;
     * up to `destroy` any function may be called, and answers CLOSED. */
    bool ungated;
    /* As in ipcx/chan.h; called inside the gate, in the process that owns the end. `sending` is
     * never NULL. */
    ipcx_status (*send)(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                        ipcx_sending *sending, ipcx_error *err);
    ipcx_status (*send_many)(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                             ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err);
    /* After an OK the thread is inside the gate until its release: what is lent outlives close() */
    ipcx_status (*receive)(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                           ipcx_error *err);
    void (*release)(ipcx_chan *chan, ipcx_message *message);
    ipcx_status (*poll)(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err);
    ipcx_status (*flush)(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err);
    ipcx_status (*fileno)(ipcx_chan *chan, int *fd, ipcx_error *err);
    ipcx_status (*send_fileno)(ipcx_chan *chan, int *fd, ipcx_error *err);
    /* goodbye: inside the gate, before it closes: sends what is owed, and BYE; a send in another
     * thread answers CLOSED from then on. TIMEOUT and failures: the channel closes all the same. */
    ipcx_status (*goodbye)(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent,
                           ipcx_error *err);
    /* wake: the gate has just been turned to closed: wakes who sleeps in another way than in the
     * gate's own (a futex). May be NULL. */
    void (*wake)(ipcx_chan *chan);
    /* hang_up: once; nobody is inside any more: closes descriptors; after it only `discard`,
     * `unreceived`, `max_message` and `destroy` are called. Under ipcx__own_lock, so that no child
     * is forked meanwhile: calls nobody's code. Also what an at-fork handler calls in a child for
     * an end in use: async-signal-safe there, and other threads' locks may be held for ever. */
    void (*hang_up)(ipcx_chan *chan);
    /* discard: after hang_up, under no lock: gives back what nobody will receive. May be NULL. */
    void (*discard)(ipcx_chan *chan);
    void (*destroy)(ipcx_chan *chan); /* frees the whole object, after ipcx__chan_end */
    /* As in ipcx/chan.h, of an end that is unused; never waits; under ipcx__own_lock. NULL: it
     * cannot leave the process, and a child that inherits it unused gets FORKED too. */
    ipcx_status (*export)(ipcx_chan *chan, ipcx_chan_end *end, ipcx_error *err);
    /* The rest at any time up to destroy. unreceived: NULL: the transport cannot know. */
    void (*max_message)(ipcx_chan *chan, size_t *receive, size_t *send);
    /* count: puts in what was sent and received, for a transport that counts that itself; NULL:
     * chan.c does, with an atomic addition for each. */
    void (*count)(ipcx_chan *chan, ipcx_chan_stats *stats);
    uint64_t (*unreceived)(ipcx_chan *chan);
    /* Loans; all NULL: private memory does. reserve, receive_view: may answer with such a loan,
     * too. commit: OK ends it, all else leaves it. cancel: at any time, from any thread, never
     * waits. return_view: inside the gate; AGAIN with IPCX_NOW alone. */
    ipcx_status (*reserve)(ipcx_chan *chan, size_t size, ipcx_deadline deadline, ipcx_loan *loan,
                           ipcx_error *err);
    ipcx_status (*commit)(ipcx_chan *chan, ipcx_loan *loan, const ipcx_message *message,
                          ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err);
    void (*cancel)(ipcx_chan *chan, ipcx_loan *loan);
    ipcx_status (*receive_view)(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline,
                                ipcx_error *err);
    ipcx_status (*return_view)(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline);
    const struct ipcx__fronts *fronts; /* see chan_front.h; NULL: there are none */
    const struct ipcx__quick *quick;   /* see chan_quick.h; NULL: there is none */
    /* trim: gives memory back. lossy: puts in what became of datagrams. NULL: there is none. */
    ipcx_status (*trim)(ipcx_chan *chan, size_t *bytes, ipcx_error *err);
    void (*lossy)(ipcx_chan *chan, ipcx_chan_stats *stats);
} ipcx__transport;

/* A flag for ipcx_chan_release: it was not taken after all, the next receive lends it again. Not
 * for an END. */
#define IPCX__MESSAGE_KEEP 0x100u

/* The head of every channel object. chan.c counts sent, received and timeouts; the waits, what
 * is owed, and the answers (each ACK, a PROOF) it has taken in are the transport's to count. */
struct ipcx_chan {
    ipcx__own own; /* in the list of ends in use, for the at-fork handler; first: see chan.c */
    const ipcx__transport *transport;
    ipcx_gate gate;
    ipcx_chan_options options; /* defaults filled in */
    char *url;
    _Atomic uint32_t owner; /* fork generation of the process that used it first; 0: unused */
    _Atomic int owner_pid;  /* its pid; before: that of the process that made it */
    ipcx__claim claim;      /* what the processes that may hold this end know of its owner */
    uint32_t made_in;       /* fork generation when it was made here */
    uint32_t forks_before; /* ipcx__fork_count() then: as long as it is the same nobody inherited */
    _Atomic bool closed;
    _Atomic bool exported; /* on its way to another process: no use of it here */
    bool hung_up;          /* under ipcx__own_lock */
    _Atomic uint64_t sent, sent_bytes, received, received_bytes;
    _Atomic uint64_t send_waits, receive_waits, timeouts, owed, answers;
    _Atomic uint64_t error_offset; /* where in what it received the error is: the transport's */
};

/* ipcx__chan_begin: fills in the head of a new channel (zeroed memory of the transport's own);
 * `options` need not be filled in yet. INVALID, NOMEM. ipcx__chan_end: frees what begin made, for a
 * transport whose own part of making it failed; the memory itself is the transport's. */
ipcx_status ipcx__chan_begin(ipcx_chan *chan, const ipcx__transport *transport, const char *url,
                             const ipcx_chan_options *options, ipcx_error *err);
void ipcx__chan_end(ipcx_chan *chan);

/* ipcx__chan_options_fill: the options with every default in its place. INVALID: out of range. */
ipcx_status ipcx__chan_options_fill(const ipcx_chan_options *given, ipcx_chan_options *filled,
                                    ipcx_error *err);

/* One call on a channel, for who implements verbs in another file than chan.c: enter: OK: inside
 * the gate, of an end that is ours. answer: what the caller gets to see, counted and traced; leave:
 * the same, out of the gate. */
typedef struct ipcx__call {
    ipcx_chan *chan;
    const char *op;
    ipcx_deadline deadline;
    int64_t begun; /* 0: the trace is off */
    ipcx_error *err;
} ipcx__call;
ipcx_status ipcx__call_enter(ipcx__call *self);
ipcx_status ipcx__call_answer(const ipcx__call *self, ipcx_status status, size_t bytes);
ipcx_status ipcx__call_leave(const ipcx__call *self, ipcx_status status, size_t bytes);
/* The parts of it: whether this process uses the end; into the gate (false: closed) and out. */
static inline bool ipcx__chan_is_mine(const ipcx_chan *chan)
{
    return IPCX_LIKELY(atomic_load_explicit(&chan->owner, memory_order_acquire) ==
                       ipcx__fork_generation());
}
bool ipcx__chan_pass(ipcx_chan *chan);
void ipcx__chan_pass_out(ipcx_chan *chan);

/* ipcx__loan_private: a loan of private memory. TOO_LARGE, NOMEM. */
ipcx_status ipcx__loan_private(ipcx_chan *chan, size_t size, ipcx_loan *loan, ipcx_error *err);

/* ipcx__chan_never_shared: true if no other process can hold this end: then closing it unused says
 * goodbye; else it is only let go of. */
bool ipcx__chan_never_shared(const ipcx_chan *chan);

#endif
