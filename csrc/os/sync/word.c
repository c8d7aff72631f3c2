/* SPDX-License-Identifier: Apache-2.0
 * Robust words: taken with one instruction, waited for on a futex, taken back from the dead.
 * Invariant: WAITED is set before anybody sleeps, and whoever has slept sets it as it takes the
 * word, for there may be more who sleep; a wake too many is harmless, one too few is made up for
 * when the others next look around. */
#include <limits.h>

#include "os/sync/word.h"

/* The holder is a few instructions from its end, as a rule. */
#define SPINS 60

/* How long to sleep before looking around: short at first, an eighth of the time waited, and not so
 * long that a death goes unseen. */
#define FIRST_NS ((int64_t)2000000)
#define LONGEST_NS ((int64_t)50000000)

/* A restless caller comes back within so much time after its INTR, to wait on. */
#define AGAIN_NS ((int64_t)20000000)
#define RESTLESS_NS ((int64_t)40000000)

/* The wait of this thread that was last ended by an INTR of our own making. */
static _Thread_local struct {
    const ipcx_sync *sync;
    int64_t begun, ended;
} broken_off;

/* Since when this call's wait has lasted, with the calls before that it goes on with. */
static int64_t begun_with(const ipcx_sync *self, int64_t begun)
{
    return self->restless && broken_off.sync == self && begun - broken_off.ended < AGAIN_NS
               ? broken_off.begun
               : begun;
}

static ipcx_status slice_is_over(const ipcx_sync *self, int64_t begun, int64_t since,
                                 ipcx_deadline deadline)
{
    int64_t now = ipcx_clock_now();
    if (deadline <= now) {
        return IPCX_TIMEOUT;
    }
    if (!self->restless || now - begun < RESTLESS_NS) {
        return IPCX_OK;
    }
    broken_off.sync = self;
    broken_off.begun = since;
    broken_off.ended = now;
    return IPCX_INTR;
}

ipcx_status ipcx__sync_sleep(ipcx_sync *self, const _Atomic uint32_t *word, uint32_t expected,
                             int64_t begun, ipcx_deadline deadline, bool *look, ipcx_error *err)
{
    ipcx__sleeper sleeper;
    ipcx_status status = IPCX_OK;
    int64_t now = ipcx_clock_now(), since = begun_with(self, begun), slice = (now - since) / 8;
    slice = slice < FIRST_NS ? FIRST_NS : slice > LONGEST_NS ? LONGEST_NS : slice;
    *look = false;
    if (deadline <= now) {
        return IPCX_TIMEOUT;
    }
    if (ipcx__gate_sleep(&self->gate, &sleeper)) {
        status = ipcx__futex_wait(word, expected, deadline - now < slice ? deadline : now + slice,
                                  IPCX__SHARED, err);
    }
    ipcx__gate_wake_up(&self->gate, &sleeper);
    if (ipcx__gate_is_closed(&self->gate)) {
        return ipcx__gate_closed("wait", err);
    }
    if (status == IPCX_TIMEOUT) {
        *look = true;
        status = slice_is_over(self, begun, since, deadline);
    }
    return status;
}

/* Nobody holds it: takes it. `slept`: there may be others who sleep. */
static bool take(_Atomic uint32_t *word, uint32_t seen, uint32_t as, bool slept)
{
    uint32_t next =
        as | (seen & (IPCX__WORD_DIED | IPCX__WORD_WAITED)) | (slept ? IPCX__WORD_WAITED : 0);
    return atomic_compare_exchange_strong(word, &seen, next);
}

bool ipcx__word_spin(_Atomic uint32_t *word, uint32_t as)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t seen = atomic_load_explicit(word, memory_order_relaxed);
        if ((seen & IPCX__WORD_OWNER) == 0 && take(word, seen, as, false)) {
            return true;
        }
        ipcx__pause_cpu();
    }
    return false;
}

/* What is there to be seen in the word: OK: it is free; AGAIN: somebody has it. */
static ipcx_status judge(const ipcx_sync *self, uint32_t seen, ipcx_error *err)
{
    uint32_t owner = seen & IPCX__WORD_OWNER;
    if (owner > IPCX__SYNC_PLACES ||
        (seen & ~(IPCX__WORD_OWNER | IPCX__WORD_DIED | IPCX__WORD_WAITED)) != 0) {
        return ipcx__sync_scribbled(self, err);
    }
    return owner == 0 ? IPCX_OK : IPCX_AGAIN;
}

ipcx_status ipcx__word_lock(ipcx_sync *self, _Atomic uint32_t *word, uint32_t as,
                            ipcx_deadline deadline, ipcx_error *err)
{
    int64_t begun = 0;
    bool slept = false, look = true;
    for (;;) {
        uint32_t seen = atomic_load(word);
        ipcx_status status = judge(self, seen, err);
        if (status == IPCX_OK && take(word, seen, as, slept)) {
            return IPCX_OK;
        }
        if (status == IPCX_OK) {
            continue;
        }
        if (status != IPCX_AGAIN) {
            return status;
        }
        if (deadline == IPCX_NOW || (slept && look)) {
            look = false;
            if (ipcx__sync_sweep(self, (seen & IPCX__WORD_OWNER) - 1)) {
                continue;
            }
            if (deadline == IPCX_NOW) {
                return IPCX_AGAIN;
            }
        }
        if ((seen & IPCX__WORD_WAITED) == 0 &&
            !atomic_compare_exchange_strong(word, &seen, seen | IPCX__WORD_WAITED)) {
            continue;
        }
        begun = begun != 0 ? begun : ipcx_clock_now();
        status =
            ipcx__sync_sleep(self, word, seen | IPCX__WORD_WAITED, begun, deadline, &look, err);
        if (status != IPCX_OK) {
            return status;
        }
        slept = true;
    }
}

bool ipcx__word_free(_Atomic uint32_t *word, uint32_t as, uint32_t next, int wake)
{
    uint32_t seen = as;
    while (!atomic_compare_exchange_strong(word, &seen, next)) {
        if ((seen & IPCX__WORD_OWNER) != as) {
            return false;
        }
    }
    if ((seen & IPCX__WORD_WAITED) != 0) {
        (void)ipcx__futex_wake(word, wake, IPCX__SHARED);
    }
    return true;
}
