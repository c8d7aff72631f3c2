/* SPDX-License-Identifier: Apache-2.0
 * Places of a ring that are lent beyond a call: reserved by the producer and not committed yet, or
 * received by the consumer and not given back yet. Both sides go on meanwhile.
 *
 * The producer's newest reservation stands behind `tail`, where nobody looks. What is sent before
 * it is committed overtakes it: its place is published as padding, which the consumer passes over,
 * and stays out of the producer's use until its owner has done with it; its owner then sends a
 * copy. So messages keep the order of their commits, and a reservation keeps nobody waiting. The
 * consumer's places keep the shared `head` at the oldest of them, while it reads on behind.
 *
 * Whoever has the side's turn calls what follows, but for ipcx__ring_done. Invariant: no byte of a
 * lent place belongs to anybody else. */
#ifndef IPCX_LINK_RING_LOAN_H
#define IPCX_LINK_RING_LOAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IPCX__RING_HEADER 8u /* bytes of a record before its payload */
#define IPCX__RING_SLOTS 16
#define IPCX__RING_PAD 0x200u /* flag of a record: no message, a place to be passed over */

/* The lent places of a side. {0}: none. */
typedef struct ipcx__ring_slots {
    struct {
        _Atomic uint32_t state;
        uint64_t at, end; /* cursors: the record, and behind it */
        uint64_t owner;   /* the producer's: the thread that reserved it */
    } slot[IPCX__RING_SLOTS];
    unsigned used; /* slots that are not free */
    unsigned open; /* the producer's: 1 + that of the newest reservation; 0: it was overtaken */
} ipcx__ring_slots;

struct ipcx__ring_tx;
struct ipcx__ring_rx;

/* ipcx__ring_lend: as ipcx__ring_reserve; `*slot` stays the caller's until commit_lent or done.
 * TOO_LARGE also when there is no slot left.
 * ipcx__ring_commit_lent: the first `size` bytes of it are a message; false: it was overtaken.
 * ipcx__ring_done: its place is free again. Any thread, no turn.
 * ipcx__ring_overtake: before anything else is written: the newest reservation is passed by. */
ipcx_status ipcx__ring_lend(struct ipcx__ring_tx *tx, uint64_t size, unsigned *slot,
                            uint8_t **room);
bool ipcx__ring_commit_lent(struct ipcx__ring_tx *tx, unsigned slot, uint64_t size, unsigned flags);
void ipcx__ring_done(struct ipcx__ring_tx *tx, unsigned slot);
void ipcx__ring_overtake(struct ipcx__ring_tx *tx);

/* ipcx__ring_floor: what the producer may write up to, less the ring's size: the consumer's head,
 * or the oldest lent place behind which the consumer is already. */
uint64_t ipcx__ring_floor(struct ipcx__ring_tx *tx);
/* Whether what the consumer has freed already is kept from use by a place of `owner`'s. */
bool ipcx__ring_kept_by(struct ipcx__ring_tx *tx, uint64_t owner);

/* ipcx__ring_shrink: an empty ring uses its first piece only from now on; `*at`: where in it the
 * next record goes. False: it is not empty, something is lent, or it has not grown. */
bool ipcx__ring_shrink(struct ipcx__ring_tx *tx, uint64_t *at);

/* ipcx__ring_keep: instead of ipcx__ring_release: the record stays lent, in `*slot`; false: no slot
 * left. ipcx__ring_give_back: it is the producer's again. ipcx__ring_free_up_to: what the consumer
 * may tell the producer to be free. */
bool ipcx__ring_keep(struct ipcx__ring_rx *rx, unsigned *slot);
void ipcx__ring_give_back(struct ipcx__ring_rx *rx, unsigned slot);
uint64_t ipcx__ring_free_up_to(const struct ipcx__ring_rx *rx);
void ipcx__ring_pass(struct ipcx__ring_rx *rx, uint64_t bytes); /* on, and tells the producer */

#endif
