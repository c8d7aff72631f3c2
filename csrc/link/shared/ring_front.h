/* SPDX-License-Identifier: Apache-2.0
 * The front of a large message, while its sender still writes the rest: so the receiver copies one
 * half as the other is written, and a message takes the time of one copy instead of two.
 *
 * The producer lays the record's header, which tells the length, behind `tail`, and after each
 * piece it stores in `written` how far it has come. The consumer may copy what is there. Nothing is
 * committed by that: the message is one when `tail` is past it, as any other, and is then checked
 * as any other. A sender that stops in the middle has sent nothing, and what was copied is
 * forgotten.
 *
 * Memory order: piece, then `written` with release; `written` with acquire, then the piece. Nobody
 * sleeps for `written`, so it needs no more.
 * Invariant: what the consumer copies lies in the mapping, whatever stands in the shared memory. */
#ifndef IPCX_LINK_RING_FRONT_H
#define IPCX_LINK_RING_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#define IPCX__RING_WHOLE 1u      /* kind of a record that is a whole message */
#define IPCX__RING_FRONT 131072u /* bytes of the smallest message that shows its front */
#define IPCX__RING_PIECE 32768u  /* bytes between two stores of `written` */

struct ipcx__ring_tx;
struct ipcx__ring_rx;

/* A message that is being written, bytes only (a text is checked as a whole). */
typedef struct ipcx__ring_front {
    const uint8_t *data;
    uint64_t size, at; /* at: the record's cursor */
} ipcx__ring_front;

/* ipcx__ring_write: writes and commits the message that was reserved at `room`: in pieces, if it is
 * large and tx->show is there to be called after the first one.
 * ipcx__ring_begin: what is committed and a SKIP are published, and the message's header stands
 * behind them. ipcx__ring_end: it is committed. */
void ipcx__ring_write(struct ipcx__ring_tx *tx, uint8_t *room, const uint8_t *data, uint64_t size,
                      unsigned flags);
void ipcx__ring_begin(struct ipcx__ring_tx *tx, uint64_t size);
void ipcx__ring_end(struct ipcx__ring_tx *tx, uint64_t size);

/* ipcx__ring_front_of: the front that is there, where ipcx__ring_next has found no message; false:
 * there is none. ipcx__ring_front_bytes: how many bytes of it are there by now, at most its size.
 */
bool ipcx__ring_front_of(const struct ipcx__ring_rx *rx, ipcx__ring_front *front);
uint64_t ipcx__ring_front_bytes(const struct ipcx__ring_rx *rx, const ipcx__ring_front *front);

#endif
