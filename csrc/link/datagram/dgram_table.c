/* SPDX-License-Identifier: Apache-2.0
 * The table of a UDP listener. */
#include "link/datagram/dgram_table.h"

#include <string.h>

#include "ipcx/alloc.h"
#include "link/datagram/udp.h"

#define SILENCE INT64_C(60000000000) /* of a peer that waits, or was accepted */

void ipcx__dgram_table_begin(ipcx__dgram_table *self, int most, size_t most_bytes)
{
    memset(self, 0, sizeof *self);
    self->newest = &self->oldest;
    self->most = most;
    self->most_bytes = most_bytes;
}

ipcx__dgram_caller *ipcx__dgram_table_find(ipcx__dgram_table *self, const ipcx_addr *from,
                                           uint64_t epoch)
{
    for (ipcx__dgram_caller *at = self->oldest; at != NULL; at = at->next) {
        if (at->epoch == epoch && ipcx__udp_same(&at->from, from)) {
            return at;
        }
    }
    return NULL;
}

void ipcx__dgram_table_remove(ipcx__dgram_table *self, ipcx__dgram_caller *caller)
{
    ipcx__dgram_caller **at = &self->oldest;
    while (*at != caller) {
        at = &(*at)->next;
    }
    *at = caller->next;
    if (self->newest == &caller->next) {
        self->newest = at;
    }
    self->count--;
    while (caller->first != NULL) {
        ipcx__dgram_letter *letter = caller->first;
        caller->first = letter->next;
        self->bytes -= sizeof *letter + letter->size;
        ipcx_free(letter);
    }
    ipcx_free(caller);
}

ipcx__dgram_caller *ipcx__dgram_table_add(ipcx__dgram_table *self, const ipcx_addr *from,
                                          uint64_t epoch, int *dropped)
{
    ipcx__dgram_caller *made = ipcx_alloc(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    if (self->count >= self->most) {
        ipcx__dgram_table_remove(self, self->oldest);
        ++*dropped;
    }
    *made =
        (ipcx__dgram_caller){.from = *from, .epoch = epoch, .until = ipcx_deadline_after(SILENCE)};
    made->last = &made->first;
    *self->newest = made;
    self->newest = &made->next;
    self->count++;
    return made;
}

bool ipcx__dgram_table_keep(ipcx__dgram_table *self, ipcx__dgram_caller *caller, const void *bytes,
                            size_t size)
{
    ipcx__dgram_letter *letter;
    if (self->bytes + sizeof *letter + size > self->most_bytes) {
        return false;
    }
    letter = ipcx_alloc(sizeof *letter + size);
    if (letter == NULL) {
        return false;
    }
    letter->next = NULL;
    letter->size = size;
    memcpy(letter->bytes, bytes, size);
    *caller->last = letter;
    caller->last = &letter->next;
    caller->until = ipcx_deadline_after(SILENCE);
    self->bytes += sizeof *letter + size;
    return true;
}

int ipcx__dgram_table_age(ipcx__dgram_table *self)
{
    int64_t now = ipcx_clock_now();
    int gone = 0;
    for (ipcx__dgram_caller *at = self->oldest, *next; at != NULL; at = next) {
        next = at->next;
        if (at->until <= now) {
            ipcx__dgram_table_remove(self, at);
            gone++;
        }
    }
    return gone;
}

/* ---- those that were accepted */

/* Address and epoch in one number: the epoch is 64 random bits already. */
static uint64_t number_of(const ipcx_addr *from, uint64_t epoch)
{
    uint64_t mixed = epoch;
    const uint8_t *bytes = from->u.sa.sa_family == AF_INET
                               ? (const uint8_t *)&from->u.in.sin_addr
                               : (const uint8_t *)&from->u.in6.sin6_addr;
    size_t size = from->u.sa.sa_family == AF_INET ? 4 : 16;
    for (size_t i = 0; i < size; i++) {
        mixed = (mixed ^ bytes[i]) * UINT64_C(1099511628211); /* FNV-1a */
    }
    mixed = (mixed ^ from->u.in.sin_port) * UINT64_C(1099511628211);
    return mixed != 0 ? mixed : 1;
}

static ipcx__dgram_known *set_of(ipcx__dgram_table *self, uint64_t who)
{
    return self->known[(who >> 32) % IPCX__DGRAM_SETS];
}

bool ipcx__dgram_table_knows(ipcx__dgram_table *self, const ipcx_addr *from, uint64_t epoch)
{
    uint64_t who = number_of(from, epoch);
    ipcx__dgram_known *set = set_of(self, who);
    for (int i = 0; i < IPCX__DGRAM_WAYS; i++) {
        if (set[i].who == who && ipcx_deadline_left(set[i].until) > 0) {
            set[i].until = ipcx_deadline_after(SILENCE);
            return true;
        }
    }
    return false;
}

void ipcx__dgram_table_know(ipcx__dgram_table *self, const ipcx_addr *from, uint64_t epoch)
{
    uint64_t who = number_of(from, epoch);
    ipcx__dgram_known *set = set_of(self, who), *oldest = set;
    for (int i = 1; i < IPCX__DGRAM_WAYS; i++) {
        oldest = set[i].until < oldest->until ? &set[i] : oldest;
    }
    *oldest = (ipcx__dgram_known){.who = who, .until = ipcx_deadline_after(SILENCE)};
}
