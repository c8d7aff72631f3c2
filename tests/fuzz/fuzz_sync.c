/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a lock or semaphore, used by two handles as two processes would, while a stranger
 * who has its memory too writes what he likes over the shared words. The first byte chooses the
 * kind; or that the rest is the memory that somebody sends us. Each three bytes after it are one
 * step. Every call must come back soon, with an outcome that the call can have. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipcx/sync_wait.h"
#include "os/sync/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a call may last beside its deadline, on a busy machine. */
#define SOON_NS ((int64_t)4000000000)
enum { STEPS = 200, WORDS = IPCX__SYNC_SIZE / 4, FIRST = 64 / 4 };

static ipcx_sync *ends[2];

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

/* One of the few that such a call can end with. */
static ipcx_status fine(ipcx_status status)
{
    must(status == IPCX_OK || status == IPCX_AGAIN || status == IPCX_TIMEOUT ||
         status == IPCX_INTR || /* libFuzzer's alarm */
         status == IPCX_INVALID || status == IPCX_CORRUPT || status == IPCX_DEADLOCK ||
         status == IPCX_NOT_OWNER || status == IPCX_BROKEN || status == IPCX_EXHAUSTED);
    return status;
}

static ipcx_deadline soon(uint8_t byte)
{
    return byte % 4 ? IPCX_NOW : ipcx_deadline_after(2000 * (int64_t)byte);
}

static void lock_mutex(ipcx_sync *end, uint8_t byte)
{
    if (fine(ipcx_mutex_lock(end, soon(byte), NULL)) == IPCX_OK) {
        must(ipcx_mutex_is_mine(end));
        must(ipcx_mutex_lock(end, IPCX_NOW, NULL) != IPCX_NOT_OWNER);
    }
}

static void unlock_mutex(ipcx_sync *end)
{
    int mine = ipcx_mutex_is_mine(end);
    ipcx_status status = fine(ipcx_mutex_unlock(end, NULL));
    must(mine ? status == IPCX_OK || status == IPCX_CORRUPT : status == IPCX_NOT_OWNER);
    must(!ipcx_mutex_is_mine(end));
}

static void use_rwlock(ipcx_sync *end, uint8_t what, uint8_t byte)
{
    int has = ipcx_rwlock_has(end);
    if (what % 3 == 0) {
        ipcx_status status = fine(ipcx_rwlock_read(end, soon(byte), NULL));
        must(status != IPCX_OK || (has == 0 && ipcx_rwlock_has(end) == 'r'));
    } else if (what % 3 == 1) {
        ipcx_status status = fine(ipcx_rwlock_write(end, soon(byte), NULL));
        /* Its word may have been freed by the stranger: then it has it twice, and gives it once. */
        must(status != IPCX_OK || (has != 'r' && ipcx_rwlock_has(end) == 'w'));
    } else {
        must((fine(ipcx_rwlock_unlock(end, NULL)) == IPCX_NOT_OWNER) == (has == 0));
        must(ipcx_rwlock_has(end) == 0);
    }
    (void)ipcx_rwlock_readers(end);
}

static void use_condition(ipcx_sync *end, uint8_t what, uint8_t byte)
{
    uint32_t sequence = ipcx_cond_begin(end);
    switch (what % 4) {
    case 0:
        lock_mutex(end, byte);
        break;
    case 1:
        unlock_mutex(end);
        break;
    case 2:
        must(fine(ipcx_cond_notify(end, byte, NULL)) == IPCX_OK);
        break;
    default:
        (void)fine(ipcx_cond_wait_from(end, sequence - byte % 2, soon(byte), NULL));
    }
}

static void use_event(ipcx_sync *end, uint8_t what, uint8_t byte)
{
    if (what % 3 == 0) {
        must(fine(ipcx_event_set(end, NULL)) == IPCX_OK && ipcx_event_is_set(end));
    } else if (what % 3 == 1) {
        must(fine(ipcx_event_clear(end, NULL)) == IPCX_OK && !ipcx_event_is_set(end));
    } else {
        int is_set = ipcx_event_is_set(end);
        must((fine(ipcx_event_wait(end, soon(byte), NULL)) == IPCX_OK) == is_set);
    }
}

static void use_barrier(ipcx_sync *end, uint8_t what, uint8_t byte)
{
    uint32_t place = 99;
    if (what % 6 == 0) {
        (void)fine(ipcx_barrier_reset(end, NULL));
    } else if (what % 6 == 1) {
        (void)fine(ipcx_barrier_abort(end, NULL));
    } else {
        ipcx_status status = fine(ipcx_barrier_wait(end, soon(byte), &place, NULL));
        must(status == IPCX_OK ? place < ipcx_barrier_parties(end) : place == 99);
    }
    (void)ipcx_barrier_waiting(end);
    (void)ipcx_barrier_is_broken(end);
}

static void use(ipcx_sync *end, uint8_t what, uint8_t byte)
{
    switch (end->kind) {
    case IPCX_MUTEX:
        if (what % 2) {
            lock_mutex(end, byte);
        } else {
            unlock_mutex(end);
        }
        break;
    case IPCX_SEMAPHORE:
        if (what % 2) {
            (void)fine(ipcx_sem_wait(end, soon(byte), NULL));
        } else {
            (void)fine(ipcx_sem_post(end, what == 2 ? UINT32_MAX : what % 5, NULL));
        }
        (void)ipcx_sem_value(end);
        break;
    case IPCX_RWLOCK:
        use_rwlock(end, what, byte);
        break;
    case IPCX_CONDITION:
        use_condition(end, what, byte);
        break;
    case IPCX_EVENT:
        use_event(end, what, byte);
        break;
    case IPCX_BARRIER:
        use_barrier(end, what, byte);
        break;
    }
    (void)ipcx_sync_owner(end);
    (void)ipcx_sync_recovered(end);
}

static void scribble(uint32_t word, uint8_t byte)
{
    static const uint32_t values[] = {0,          1,          2,         3,
                                      480,        481,        0xffff,    1u << 31,
                                      1u << 30,   UINT32_MAX, INT32_MAX, (1u << 30) | 1,
                                      (3u << 30), 1u << 16,   4,         (1u << 31) | 2};
    uint32_t *words = (uint32_t *)(void *)ends[0]->memory;
    /* More often one of the few words that mean something than one of the many places. */
    static const uint32_t known[] = {16, 17,  32,  33,  48,  49,  50, 51,
                                     52, 128, 129, 130, 132, 133, 134};
    word = word & 1 ? known[(word >> 1) % (sizeof known / sizeof *known)] : (word >> 1) % WORDS;
    words[word] = byte & 0x80 ? words[word] + (byte & 0x7fu) - 64 : values[byte % 16];
}

static void step(const uint8_t *op)
{
    uint32_t word = (uint32_t)op[1] << 8 | op[2];
    int64_t begun = ipcx_clock_now();
    if (op[0] % 4 == 3) {
        scribble(word, op[0] / 4 ^ op[1]);
    } else if (op[0] == 128) { /* all of it but what says what it is */
        memset((uint32_t *)(void *)ends[0]->memory + FIRST, op[1], IPCX__SYNC_SIZE - 64);
    } else {
        use(ends[op[0] % 2], op[1], op[2]);
    }
    must(ipcx_clock_now() - begun < SOON_NS);
}

/* What somebody sends us as a lock: any size, with any seals, with anything in it. */
static void adopt(const uint8_t *data, size_t size)
{
    int fd = memfd_create("sent", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    static const int seals[] = {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
                                F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE};
    size_t whole = data[0] & 4 ? IPCX__SYNC_SIZE : (size_t)data[1] * 64;
    must(fd >= 0 && ftruncate(fd, (off_t)whole) == 0);
    must(pwrite(fd, data + 2, size - 2 < whole ? size - 2 : whole, 0) >= 0);
    must(fcntl(fd, F_ADD_SEALS, seals[data[0] & 3]) == 0);
    for (int kind = 0; kind <= IPCX_BARRIER + 1; kind++) {
        ipcx_sync *got = NULL;
        ipcx_status status = ipcx_sync_from_fd(fd, (ipcx_sync_kind)kind, &got, NULL);
        must((status == IPCX_OK) == (got != NULL));
        if (got != NULL) {
            got->patience = 1000000;
            for (uint8_t i = 0; i < 8; i++) {
                use(got, i, i);
            }
            ipcx_sync_free(got);
        }
    }
    (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ipcx_sync_options options = {.value = 2};
    if (size < 3) {
        return 0;
    }
    if (data[0] % 8 == 7) {
        adopt(data + 1, size - 1);
        return 0;
    }
    options.kind = (ipcx_sync_kind)(1 + data[0] % 8 % IPCX_BARRIER);
    options.owned = data[0] >> 7;
    must(ipcx_sync_anonymous(&options, &ends[0], NULL) == IPCX_OK);
    must(ipcx_sync_from_fd(ipcx_sync_fd(ends[0]), options.kind, &ends[1], NULL) == IPCX_OK);
    ends[0]->patience = ends[1]->patience = 1000000;
    for (size_t i = 1; i + 2 < size && i < 3 * STEPS; i += 3) {
        step(data + i);
    }
    ipcx_sync_free(ends[1]);
    ipcx_sync_free(ends[0]);
    return 0;
}
