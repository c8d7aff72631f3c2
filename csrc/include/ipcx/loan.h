/* SPDX-License-Identifier: Apache-2.0
 * Loans: messages written and read where they lie, without a copy, over a channel (chan.h).
 *
 *     ipcx_loan page = {0}, seen = {0};
 *     if (ipcx_chan_reserve(a, 1 << 20, IPCX_FOREVER, &page, &err) == IPCX_OK) {
 *         … write page.size bytes to page.data …
 *         status = ipcx_chan_commit(&page, page.size, 0, IPCX_FOREVER, NULL, &err);   sent
 *         ipcx_chan_cancel(&page);                      if it could not be; else nothing
 *     }
 *     if (ipcx_chan_receive_view(b, &seen, IPCX_FOREVER, &err) == IPCX_OK) {
 *         … read seen.size bytes from seen.data …
 *         (void)ipcx_chan_return_view(&seen, IPCX_FOREVER);
 *     }
 *
 * Over shm:// the data lie in the memory of both processes. Where a transport cannot lend (and for
 * what is larger than a ring lends), the same calls work on private memory and copy once. Both ends
 * go on while something is lent: messages are sent in the order of their commits, received in the
 * order of their sending. A loan keeps its place, though: who holds one for long holds up the peer
 * once the rest of the ring is full.
 *
 * The status of each call is as in chan.h. Invariant: lent memory stays mapped until its loan ends,
 * whatever becomes of the channel meanwhile; only ipcx_chan_free must come after. What the peer
 * lends can change under the reader if the peer is malicious: check a copy, or trust it. */
#ifndef IPCX_LOAN_H
#define IPCX_LOAN_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"
#include "ipcx/chan.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One loan; {0} is none. One thread at a time; whoever ends it need not be who began it. */
typedef struct ipcx_loan {
    void *data; /* aligned to 8 bytes; of a view: to be read only */
    size_t size;
    unsigned flags;  /* of a view: those of the message */
    int in_place;    /* it lies in the channel's own memory: nothing is copied */
    ipcx_chan *chan; /* NULL: none, or over */
    void *memory;    /* private, to be freed at its end */
    unsigned slot;   /* the channel's own */
} ipcx_loan;

/* ipcx_chan_reserve: memory for a message of `size` bytes, to be written. Waits for room as long as
 * the deadline allows. TOO_LARGE: over the peer's limit. EXHAUSTED: there is none left but for what
 * this very thread has reserved and not committed. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_reserve(ipcx_chan *chan, size_t size,
                                                      ipcx_deadline deadline, ipcx_loan *loan,
                                                      ipcx_error *err);

/* ipcx_chan_commit: sends the first `size` bytes, as ipcx_chan_send does, and ends the loan. All
 * but OK: it is as before: commit again (with the same `sending`), or cancel. INVALID: more than
 * was reserved, or no loan. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_commit(ipcx_loan *loan, size_t size, unsigned flags,
                                                     ipcx_deadline deadline, ipcx_sending *sending,
                                                     ipcx_error *err);

/* ipcx_chan_cancel: ends a reservation; nothing is sent. Never waits; idempotent. */
IPCX_API void ipcx_chan_cancel(ipcx_loan *loan);

/* ipcx_chan_receive_view: as ipcx_chan_receive, lent until its return; more may be received
 * meanwhile. Over shm:// that is when a SYNC sender goes on. An OBJECT or END is the caller's. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_receive_view(ipcx_chan *chan, ipcx_loan *view,
                                                           ipcx_deadline deadline, ipcx_error *err);

/* ipcx_chan_return_view: ends it; idempotent. AGAIN (IPCX_NOW alone): another thread is at it: once
 * more, with IPCX_FOREVER, which is soon. */
IPCX_API ipcx_status ipcx_chan_return_view(ipcx_loan *view, ipcx_deadline deadline);

/* ipcx_chan_trim: gives back memory that this end's messages have needed and do not need now; what
 * is lent or not received yet stays. *bytes (may be NULL): how much. The rest is the peer's to
 * give back. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_trim(ipcx_chan *chan, size_t *bytes, ipcx_error *err);

#ifdef __cplusplus
}
#endif

#endif
