/* SPDX-License-Identifier: Apache-2.0
 * The mutex: a robust word, and which thread of this process took it.
 * Invariant: self->owner is a thread only while the word names our place; it is set after the word
 * and cleared before it. */
#include "os/sync/word.h"

#define OP "lock"

bool ipcx__sync_elsewhere(const ipcx_sync *self, uintptr_t me)
{
    bool found = false;
    ipcx__own_lock();
    for (ipcx__own *own = ipcx__own_first(IPCX__OWN_SYNCS); own != NULL && !found;
         own = own->next) {
        ipcx_sync *other = (ipcx_sync *)(void *)((char *)own - offsetof(ipcx_sync, own));
        found = other != self && other->inode == self->inode && other->device == self->device &&
                (atomic_load_explicit(&other->owner, memory_order_relaxed) == me ||
                 ipcx__rwlock_reads(other, me));
    }
    ipcx__own_unlock();
    return found;
}

ipcx_status ipcx__mutex_lock_slowly(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    _Atomic uint32_t *word = &self->memory->word;
    uintptr_t me = ipcx__thread();
    ipcx_status status = ipcx__sync_join(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (deadline == IPCX_NOW || !ipcx__word_spin(word, atomic_load(&self->mine))) {
        if (deadline != IPCX_NOW &&
            (atomic_load(&self->owner) == me || ipcx__sync_elsewhere(self, me))) {
            return ipcx_error_set(err, IPCX_DEADLOCK, 0, OP, "this thread has it already");
        }
        status = ipcx__word_lock(self, word, atomic_load(&self->mine), deadline, err);
    }
    if (status == IPCX_OK) {
        atomic_store_explicit(&self->owner, me, memory_order_relaxed);
    }
    return status;
}

ipcx_status ipcx_mutex_lock(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status;
    if (IPCX_LIKELY(ipcx__mutex_try(self))) {
        return IPCX_OK;
    }
    if ((status = ipcx__sync_enter(self, err)) != IPCX_OK) {
        return status;
    }
    status = ipcx__mutex_lock_slowly(self, deadline, err);
    return ipcx__sync_leave(self, status, err);
}

static ipcx_status not_mine(const ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_is_open(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    return ipcx_error_set(err, IPCX_NOT_OWNER, 0, "unlock",
                          ipcx_sync_owner(self) == 0 ? "nobody has it"
                                                     : "another process or thread has it");
}

ipcx_status ipcx_mutex_unlock(ipcx_sync *self, ipcx_error *err)
{
    int wake = self->kind == IPCX_RWLOCK ? INT32_MAX : 1;
    if (IPCX_LIKELY(ipcx__mutex_give(self))) {
        return IPCX_OK;
    }
    if (atomic_load(&self->mine) == 0 ||
        atomic_load_explicit(&self->owner, memory_order_relaxed) != ipcx__thread()) {
        return not_mine(self, err);
    }
    atomic_store_explicit(&self->owner, 0, memory_order_relaxed);
    if (IPCX_UNLIKELY(!ipcx__word_free(&self->memory->word, atomic_load(&self->mine), 0, wake))) {
        return ipcx__sync_scribbled(self, err);
    }
    return IPCX_OK;
}

int ipcx_mutex_is_mine(const ipcx_sync *self)
{
    return atomic_load_explicit(&self->owner, memory_order_relaxed) == ipcx__thread();
}

int ipcx_sync_owner(const ipcx_sync *self)
{
    uint32_t owner = atomic_load(&self->memory->word) & IPCX__WORD_OWNER;
    return owner == 0 || owner > IPCX__SYNC_PLACES
               ? 0
               : (int)atomic_load(&self->memory->places[owner - 1].pid);
}

int ipcx_sync_recovered(const ipcx_sync *self)
{
    return (atomic_load(&self->memory->word) & IPCX__WORD_DIED) != 0;
}
