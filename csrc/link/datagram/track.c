/* SPDX-License-Identifier: Apache-2.0
 * Sequence numbers in a sliding window of bits. */
#include "link/datagram/track.h"

#include <stdbool.h>
#include <string.h>

/* A sender is not believed to have lost more than so many in a row on one number's word. */
#define JUMP (UINT64_C(1) << 20)

static uint64_t bit_of(uint64_t number)
{
    return UINT64_C(1) << (number % 64);
}

static uint64_t *word_of(ipcx__track *self, uint64_t number)
{
    return &self->bits[number / 64 % (IPCX__TRACK_WINDOW / 64)];
}

ipcx__track_verdict ipcx__track_look(ipcx__track *self, uint64_t number)
{
    if (number > self->highest) {
        if (number - self->highest > JUMP && (self->suspect == 0 || number <= self->suspect ||
                                              number - self->suspect > IPCX__TRACK_WINDOW)) {
            self->suspect = number;
            return IPCX__TRACK_ASTRAY;
        }
        return IPCX__TRACK_NEW;
    }
    if (number <= self->before || self->highest - number >= IPCX__TRACK_WINDOW) {
        return IPCX__TRACK_OLD;
    }
    if (*word_of(self, number) & bit_of(number)) {
        self->duplicates++;
        return IPCX__TRACK_DUPLICATE;
    }
    return IPCX__TRACK_NEW;
}

void ipcx__track_take(ipcx__track *self, uint64_t number)
{
    self->seen++;
    if (number < self->highest) {
        self->reordered++;
    } else if (number - self->highest >= IPCX__TRACK_WINDOW) {
        memset(self->bits, 0, sizeof self->bits);
    } else {
        for (uint64_t between = self->highest + 1; between < number; between++) {
            *word_of(self, between) &= ~bit_of(between);
        }
    }
    if (number > self->highest) {
        self->highest = number;
        self->suspect = 0;
    }
    *word_of(self, number) |= bit_of(number);
}
