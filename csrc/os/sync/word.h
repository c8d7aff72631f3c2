/* SPDX-License-Identifier: Apache-2.0
 * Robust words: taken and released with one instruction, waited for on a futex, taken back from the
 * dead. 0 is free. And what the uncontended calls are made of.
 * Invariant: who holds a word stands in it by its place, whose byte it has locked. */
#ifndef IPCX_OS_SYNC_WORD_H
#define IPCX_OS_SYNC_WORD_H

#include "os/sync/parts.h"

#define IPCX__WORD_WAITED (1u << 31) /* somebody sleeps on it */
#define IPCX__WORD_DIED (1u << 30)   /* a holder died, and nobody has held and released it since */
#define IPCX__WORD_OWNER 0xffffu     /* the holder's place and one */

/* ipcx__word_try: takes it as `as` if it is free; true: it is ours. */
static inline bool ipcx__word_try(_Atomic uint32_t *word, uint32_t as)
{
    uint32_t seen = 0;
    return atomic_compare_exchange_strong_explicit(word, &seen, as, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

/* ipcx__word_spin: the same for about a microsecond, or as what a dead holder has left. */
bool ipcx__word_spin(_Atomic uint32_t *word, uint32_t as);

/* ipcx__word_lock: the same, waiting for it. AGAIN (IPCX_NOW; a dead holder was looked for),
 * TIMEOUT, INTR, CLOSED; CORRUPT: what stands there is nobody's place. Inside the gate. */
ipcx_status ipcx__word_lock(ipcx_sync *self, _Atomic uint32_t *word, uint32_t as,
                            ipcx_deadline deadline, ipcx_error *err);

/* ipcx__word_free: what `as` holds becomes `next` (0, or IPCX__WORD_DIED), and who waits is woken:
 * one, or all. False: it was not ours. */
bool ipcx__word_free(_Atomic uint32_t *word, uint32_t as, uint32_t next, int wake);

/* ipcx__mutex_try: ipcx_mutex_lock where it is free and nothing else is to be done; false: call
 * that. No gate, for nothing here sleeps and the memory stays until ipcx_sync_free. */
static inline bool ipcx__mutex_try(ipcx_sync *self)
{
    uint32_t mine = atomic_load_explicit(&self->mine, memory_order_relaxed);
    if (IPCX_UNLIKELY(mine == 0 || !ipcx__word_try(&self->memory->word, mine))) {
        return false;
    }
    if (IPCX_UNLIKELY(ipcx__guard_lost(self->guard))) {
        return false; /* zeros are free, and nobody else sees them */
    }
    if (IPCX_UNLIKELY(atomic_load_explicit(&self->mine, memory_order_relaxed) != mine)) {
        (void)ipcx__word_free(&self->memory->word, mine, 0, 1);
        return false; /* closed meanwhile: the place may be somebody else's already */
    }
    atomic_store_explicit(&self->owner, ipcx__thread(), memory_order_relaxed);
    return true;
}

/* ipcx__mutex_give: ipcx_mutex_unlock where nobody waits; false: call that, nothing is changed. */
static inline bool ipcx__mutex_give(ipcx_sync *self)
{
    uint32_t mine = atomic_load_explicit(&self->mine, memory_order_relaxed), seen = mine;
    uintptr_t me = ipcx__thread();
    if (IPCX_UNLIKELY(atomic_load_explicit(&self->owner, memory_order_relaxed) != me ||
                      mine == 0)) {
        return false;
    }
    atomic_store_explicit(&self->owner, 0, memory_order_relaxed);
    if (IPCX_UNLIKELY(!atomic_compare_exchange_strong(&self->memory->word, &seen, 0))) {
        atomic_store_explicit(&self->owner, me, memory_order_relaxed);
        return false;
    }
    return true;
}

/* ipcx__mutex_is_waited: whether releasing it will wake somebody. */
static inline bool ipcx__mutex_is_waited(const ipcx_sync *self)
{
    return (atomic_load_explicit(&self->memory->word, memory_order_relaxed) & IPCX__WORD_WAITED) !=
           0;
}

/* ipcx__sem_try, ipcx__sem_give: the same for ipcx_sem_wait, of permits that are nobody's own, and
 * for ipcx_sem_post of one such where nobody seems to wait: whoever came to wait just then is
 * woken.
 */
static inline bool ipcx__sem_try(ipcx_sync *self)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t seen = atomic_load_explicit(value, memory_order_relaxed);
    return IPCX_LIKELY(atomic_load_explicit(&self->plain, memory_order_relaxed) != 0 &&
                       seen - 1 < self->limit) &&
           atomic_compare_exchange_strong(value, &seen, seen - 1) &&
           IPCX_LIKELY(!ipcx__guard_lost(self->guard));
}
static inline bool ipcx__sem_give(ipcx_sync *self)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t seen = atomic_load_explicit(value, memory_order_relaxed);
    if (IPCX_UNLIKELY(atomic_load_explicit(&self->plain, memory_order_relaxed) == 0 ||
                      seen >= self->limit || atomic_load(&self->memory->waiters) != 0 ||
                      !atomic_compare_exchange_strong(value, &seen, seen + 1))) {
        return false;
    }
    if (IPCX_UNLIKELY(atomic_load(&self->memory->waiters) != 0)) {
        (void)ipcx__futex_wake(value, 1, IPCX__SHARED);
    }
    return IPCX_LIKELY(!ipcx__guard_lost(self->guard));
}

/* ipcx__sem_try_owned: of permits that belong to who takes them, if no other has the guard. */
bool ipcx__sem_try_owned(ipcx_sync *self);

/* ipcx__mutex_lock_slowly: ipcx_mutex_lock inside the gate. */
ipcx_status ipcx__mutex_lock_slowly(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err);

#endif
