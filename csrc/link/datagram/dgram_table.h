/* SPDX-License-Identifier: Apache-2.0
 * Who has sent to a listener's port: those that wait to be accepted, with what they sent, and those
 * that were, so that what they sent late does not look like somebody new.
 * Invariant: both are bounded, in peers and in bytes; of too many the oldest goes. */
#ifndef IPCX_LINK_DGRAM_TABLE_H
#define IPCX_LINK_DGRAM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipcx/addr.h"
#include "ipcx/clock.h"

/* A datagram, as it came. */
typedef struct ipcx__dgram_letter {
    struct ipcx__dgram_letter *next;
    size_t size;
    uint8_t bytes[];
} ipcx__dgram_letter;

/* A peer that waits. */
typedef struct ipcx__dgram_caller {
    struct ipcx__dgram_caller *next; /* who came after it */
    ipcx_addr from, at;              /* its address; ours that it wrote to, or {0} */
    uint64_t epoch;
    ipcx_deadline until; /* heard of no more by then, it is forgotten */
    ipcx__dgram_letter *first, **last;
} ipcx__dgram_caller;

#define IPCX__DGRAM_SETS 256
#define IPCX__DGRAM_WAYS 4

/* One that was accepted. */
typedef struct ipcx__dgram_known {
    uint64_t who; /* 0: none */
    ipcx_deadline until;
} ipcx__dgram_known;

typedef struct ipcx__dgram_table {
    ipcx__dgram_caller *oldest, **newest;
    int count, most;
    size_t bytes, most_bytes;
    ipcx__dgram_known known[IPCX__DGRAM_SETS][IPCX__DGRAM_WAYS];
} ipcx__dgram_table;

void ipcx__dgram_table_begin(ipcx__dgram_table *self, int most, size_t most_bytes);

/* ipcx__dgram_table_find: who waits under this address and epoch, or NULL. …_add: a newcomer; the
 * oldest goes if there are too many (*dropped); NULL: no memory. …_keep: its datagram; false: no
 * room. …_remove: out of the table; the first who waits by default. */
ipcx__dgram_caller *ipcx__dgram_table_find(ipcx__dgram_table *self, const ipcx_addr *from,
                                           uint64_t epoch);
ipcx__dgram_caller *ipcx__dgram_table_add(ipcx__dgram_table *self, const ipcx_addr *from,
                                          uint64_t epoch, int *dropped);
bool ipcx__dgram_table_keep(ipcx__dgram_table *self, ipcx__dgram_caller *caller, const void *bytes,
                            size_t size);
void ipcx__dgram_table_remove(ipcx__dgram_table *self, ipcx__dgram_caller *caller);

/* ipcx__dgram_table_age: forgets who was silent for too long; how many. */
int ipcx__dgram_table_age(ipcx__dgram_table *self);

/* ipcx__dgram_table_knows: whether it was accepted not long ago; …_know: it is. */
bool ipcx__dgram_table_knows(ipcx__dgram_table *self, const ipcx_addr *from, uint64_t epoch);
void ipcx__dgram_table_know(ipcx__dgram_table *self, const ipcx_addr *from, uint64_t epoch);

#endif
