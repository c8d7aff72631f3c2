/* SPDX-License-Identifier: Apache-2.0
 * Which of a sender's numbers have come: what is lost, what came late, what came twice.
 * Invariant: seen + lost is the number of those from the first to the highest; none is seen twice.
 */
#ifndef IPCX_LINK_TRACK_H
#define IPCX_LINK_TRACK_H

#include <stdint.h>

#define IPCX__TRACK_WINDOW 16384u /* so far behind the highest a number may come */

typedef struct ipcx__track {
    uint64_t before;  /* the last number that was not to come */
    uint64_t highest; /* so far, or `before` */
    uint64_t seen;    /* different ones */
    uint64_t suspect; /* a number too far ahead to be believed, yet */
    uint64_t reordered, duplicates;
    uint64_t bits[IPCX__TRACK_WINDOW / 64];
} ipcx__track;

typedef enum ipcx__track_verdict {
    IPCX__TRACK_NEW,
    IPCX__TRACK_DUPLICATE, /* it came before */
    IPCX__TRACK_OLD,       /* too far behind to tell whether it came before */
    IPCX__TRACK_ASTRAY     /* too far ahead, until another says the same (RFC 3550, A.1) */
} ipcx__track_verdict;

/* ipcx__track_look: what `number` is; counts duplicates and strays. ipcx__track_take: it has come;
 * after NEW only. ipcx__track_lost: how many have not come, so far. */
ipcx__track_verdict ipcx__track_look(ipcx__track *self, uint64_t number);
void ipcx__track_take(ipcx__track *self, uint64_t number);
static inline uint64_t ipcx__track_lost(const ipcx__track *self)
{
    return self->highest - self->before - self->seen;
}

#endif
