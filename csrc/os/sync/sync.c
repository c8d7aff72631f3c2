/* SPDX-License-Identifier: Apache-2.0
 * Handles of synchronisation objects: made, opened, closed, freed.
 * Invariant: the memory stays mapped until ipcx_sync_free, so who is late in a call meets a closed
 * object and never a missing one. */
#include "ipcx/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "os/map.h"
#include "os/sync/word.h"

#define AT_ONCE_NS ((int64_t)100000000)

static const char *const kinds[] = {"nothing",     "a mutex",  "a semaphore", "a read-write lock",
                                    "a condition", "an event", "a barrier"};

ipcx_status ipcx__sync_expect(const ipcx_sync *self, ipcx_sync_kind kind, ipcx_error *err)
{
    if (self->kind == kind) {
        return IPCX_OK;
    }
    return ipcx_error_set(err, IPCX_INVALID, 0, "sync", "this is %s, not %s", kinds[self->kind],
                          kinds[kind < IPCX_MUTEX || kind > IPCX_BARRIER ? 0 : kind]);
}

ipcx_status ipcx__sync_scribbled(const ipcx_sync *self, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_CORRUPT, 0, "sync", "somebody wrote over the memory of %s",
                          kinds[self->kind]);
}

ipcx_status ipcx__sync_is_open(const ipcx_sync *self, ipcx_error *err)
{
    return ipcx__gate_is_closed(&self->gate)
               ? ipcx_error_set(err, IPCX_CLOSED, EBADF, "sync", "%s", kinds[self->kind])
               : ipcx__sync_whole(self, IPCX_OK, err);
}

ipcx_status ipcx__sync_whole(const ipcx_sync *self, ipcx_status status, ipcx_error *err)
{
    return IPCX_UNLIKELY(ipcx__guard_lost(self->guard)) ? ipcx__sync_scribbled(self, err) : status;
}

ipcx_status ipcx__sync_enter(ipcx_sync *self, ipcx_error *err)
{
    if (!ipcx__gate_enter(&self->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, "sync", "%s", kinds[self->kind]);
    }
    if (IPCX_UNLIKELY(ipcx__guard_lost(self->guard))) {
        ipcx__gate_leave(&self->gate);
        return ipcx__sync_scribbled(self, err);
    }
    return IPCX_OK;
}

ipcx_status ipcx__sync_leave(ipcx_sync *self, ipcx_status status, ipcx_error *err)
{
    ipcx__gate_leave(&self->gate);
    return ipcx__sync_whole(self, status, err);
}

/* Whoever held the guard before us died with it. */
static void settle(ipcx_sync *self)
{
    if (self->kind == IPCX_SEMAPHORE) {
        ipcx__sem_repair(self);
    } else if (self->kind == IPCX_BARRIER) {
        ipcx__barrier_break(self);
    }
    (void)atomic_fetch_and(&self->memory->guard, ~IPCX__WORD_DIED);
}

bool ipcx__sync_guard_spin(ipcx_sync *self, uint32_t as)
{
    _Atomic uint32_t *guard = &self->memory->guard;
    if (!ipcx__word_try(guard, as) && !ipcx__word_spin(guard, as)) {
        return false;
    }
    if (IPCX_UNLIKELY((atomic_load(guard) & IPCX__WORD_DIED) != 0)) {
        settle(self);
    }
    return true;
}

ipcx_status ipcx__sync_guard(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    uint32_t as = atomic_load(&self->mine);
    ipcx_status status;
    if (IPCX_LIKELY(ipcx__sync_guard_spin(self, as))) {
        return IPCX_OK;
    }
    /* It is held for a few instructions: even who must not wait waits for that, within reason. */
    status = ipcx__word_lock(
        self, &self->memory->guard, as,
        deadline == IPCX_NOW
            ? ipcx_deadline_after(self->patience < AT_ONCE_NS ? self->patience : AT_ONCE_NS)
            : deadline,
        err);
    if (status == IPCX_OK && (atomic_load(&self->memory->guard) & IPCX__WORD_DIED) != 0) {
        settle(self);
    }
    return status == IPCX_TIMEOUT && deadline == IPCX_NOW ? IPCX_AGAIN : status;
}

ipcx_status ipcx__sync_guard_soon(ipcx_sync *self, ipcx_error *err)
{
    ipcx_deadline limit = 0;
    ipcx_status status;
    if (IPCX_LIKELY(ipcx__sync_guard_spin(self, atomic_load(&self->mine)))) {
        return IPCX_OK;
    }
    limit = ipcx_deadline_after(self->patience);
    do {
        status = ipcx__sync_guard(self, limit, err);
    } while (status == IPCX_INTR);
    return status == IPCX_TIMEOUT
               ? ipcx_error_set(err, IPCX_TIMEOUT, 0, "sync",
                                "a process is stopped in the middle of a call, or somebody wrote "
                                "over the memory of %s",
                                kinds[self->kind])
               : status;
}

void ipcx__sync_unguard(ipcx_sync *self, uint32_t as)
{
    (void)ipcx__word_free(&self->memory->guard, as, 0, 1);
}

/* ---- making and opening */

ipcx_status ipcx__sync_format(int fd, const ipcx_sync_options *options, ipcx_error *err)
{
    bool is_semaphore = options->kind == IPCX_SEMAPHORE;
    uint32_t limit = options->maximum != 0 ? options->maximum : IPCX__SYNC_MOST;
    ipcx__sync_memory *memory;
    void *at;
    ipcx_status status;
    if (options->kind < IPCX_MUTEX || options->kind > IPCX_BARRIER || limit > IPCX__SYNC_MOST) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "sync", "at most %u", IPCX__SYNC_MOST);
    }
    if (is_semaphore && options->value > limit) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "sync", "%u permits, but at most %u",
                              options->value, limit);
    }
    if (options->kind == IPCX_BARRIER && (options->value == 0 || options->value > limit)) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "sync", "a barrier needs at least one party");
    }
    status = ipcx__memory_map(fd, 0, IPCX__SYNC_SIZE, false, &at, err);
    if (status != IPCX_OK) {
        return status;
    }
    memory = at;
    memory->header = (ipcx__sync_header){
        .magic = IPCX__SYNC_MAGIC,
        .version = IPCX__SYNC_VERSION,
        .kind = (uint32_t)options->kind,
        .owned = options->owned != 0,
        .persist = options->persist != 0,
        .total = options->value,
        .limit = is_semaphore && options->owned ? options->value : limit,
    };
    atomic_store(&memory->value, is_semaphore ? options->value : 0);
    ipcx__memory_unmap(at, IPCX__SYNC_SIZE, false);
    return IPCX_OK;
}

/* The memory says what it is; from here on the handle does. */
static ipcx_status read_header(ipcx_sync *self, ipcx_sync_kind kind, ipcx_error *err)
{
    ipcx__sync_header header;
    memcpy(&header, (const void *)&self->memory->header, sizeof header);
    if (header.magic != IPCX__SYNC_MAGIC) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "sync", "there is no lock in this memory");
    }
    if (header.version != IPCX__SYNC_VERSION) {
        return ipcx_error_set(err, IPCX_VERSION, 0, "sync", "made by another version of ipcx");
    }
    if (header.kind < IPCX_MUTEX || header.kind > IPCX_BARRIER || header.limit > IPCX__SYNC_MOST ||
        header.total > header.limit) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "sync", "there is no lock in this memory");
    }
    self->kind = (ipcx_sync_kind)header.kind;
    self->owned = header.owned != 0;
    self->persist = header.persist != 0;
    self->total = header.total;
    self->limit = header.limit;
    atomic_store(&self->plain, self->kind == IPCX_SEMAPHORE && !self->owned);
    return ipcx__sync_expect(self, kind, err);
}

/* A handle around `fd`, which is its own from here on, whatever comes. */
static ipcx_status adopt(int fd, const char *name, bool sealed, ipcx_sync_kind kind,
                         ipcx_sync **out, ipcx_error *err)
{
    ipcx_sync *self = ipcx_alloc(sizeof *self);
    struct stat found;
    ipcx_status status;
    void *at;
    if (self == NULL) {
        (void)close(fd);
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "sync", "the handle");
    }
    memset(self, 0, sizeof *self);
    self->fd = fd;
    self->patience = IPCX__SYNC_PATIENCE_NS;
    self->opened_in = ipcx__fork_generation();
    status = ipcx__memory_map(fd, 0, IPCX__SYNC_SIZE, false, &at, err);
    if (status == IPCX_OK) {
        self->memory = at;
        if (!sealed) { /* somebody may truncate it: then zeros, and a note */
            self->guard = ipcx__guard_watch(at, IPCX__SYNC_SIZE, PROT_READ | PROT_WRITE);
        }
        (void)strcpy(self->name, name);
        self->named = name[0] != '\0';
        if (fstat(fd, &found) == 0) {
            self->device = found.st_dev;
            self->inode = found.st_ino;
        }
        status = read_header(self, kind, err);
    }
    if (status == IPCX_OK && !ipcx__sync_reopen(self, true)) {
        status = ipcx_error_system(err, errno, "open", "/proc/self/fd/%d", self->fd);
    }
    if (status != IPCX_OK) {
        self->named = false; /* what is not a lock of ours keeps its name */
        ipcx_sync_free(self);
        return status;
    }
    *out = self;
    return IPCX_OK;
}

ipcx_status ipcx_sync_anonymous(const ipcx_sync_options *options, ipcx_sync **out, ipcx_error *err)
{
    int fd;
    ipcx_status status = ipcx__memory_make("ipcx-sync", IPCX__SYNC_SIZE, &fd, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__memory_reserve(fd, 0, IPCX__SYNC_SIZE, err);
    if (status == IPCX_OK) {
        status = ipcx__sync_format(fd, options, err);
    }
    if (status != IPCX_OK) {
        (void)close(fd);
        return status;
    }
    return adopt(fd, "", true, options->kind, out, err);
}

ipcx_status ipcx_sync_from_fd(int fd, ipcx_sync_kind kind, ipcx_sync **out, ipcx_error *err)
{
    size_t size;
    char path[40];
    int own;
    ipcx_status status = ipcx__memory_check(fd, IPCX__SYNC_SIZE, IPCX__SYNC_SIZE, &size, err);
    if (status != IPCX_OK) {
        return status;
    }
    /* An open file of its own: the sender's has the sender's locks. */
    ipcx__sync_path_of(fd, path);
    own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0) {
        return ipcx_error_system(err, errno, "open", "%s", path);
    }
    return adopt(own, "", true, kind, out, err);
}

ipcx_status ipcx_sync_open(const char *name, unsigned flags, const ipcx_sync_options *options,
                           ipcx_sync **out, ipcx_error *err)
{
    int fd;
    ipcx_status status = ipcx__sync_file(name, flags, options, &fd, err);
    return status == IPCX_OK ? adopt(fd, name, false, options->kind, out, err) : status;
}

/* ---- and letting go */

int ipcx_sync_fd(const ipcx_sync *self)
{
    return ipcx__gate_is_closed(&self->gate) ? -1 : self->fd;
}

const char *ipcx_sync_name(const ipcx_sync *self)
{
    return self->name;
}

void ipcx_sync_close(ipcx_sync *self)
{
    if (atomic_exchange(&self->closing, 1) != 0) {
        return;
    }
    atomic_store(&self->plain, 0);
    ipcx__gate_close(&self->gate);
    if (self->memory != NULL) {
        ipcx__sync_quit(self);
    }
    if (self->named && !self->persist && self->opened_in == ipcx__fork_generation()) {
        ipcx__sync_unlink_unused(self->fd, self->name);
    }
    if (self->fd >= 0) {
        (void)close(self->fd);
        self->fd = -1;
    }
}

void ipcx_sync_free(ipcx_sync *self)
{
    if (self == NULL) {
        return;
    }
    ipcx_sync_close(self);
    ipcx__guard_release(self->guard);
    ipcx__memory_unmap(self->memory, IPCX__SYNC_SIZE, false);
    ipcx_free(self->readers);
    ipcx_free(self);
}
