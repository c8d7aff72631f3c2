/* SPDX-License-Identifier: Apache-2.0
 * The floor of bench_shm.py: a ring of bytes between two processes, from C, with nothing else: no
 * death, no time-out, no second thread, a peer that is believed. Awake it spins; on one CPU it
 * sleeps on a futex.
 * Invariant: one writer for each word; a record is a length of 8 bytes and the payload, and never
 * wraps. */
#include "floor.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL = 64, LARGE = 1024 * 1024, RING = 4 * LARGE, NEAR = 64 * 1024, BATCH = 256 };

typedef struct {
    _Alignas(128) _Atomic uint64_t tail;
    _Alignas(128) _Atomic uint64_t head;
    _Alignas(128) _Atomic uint32_t bell;
    _Alignas(128) char data[2 * RING]; /* room for a record that begins at the end */
} ring;

typedef struct {
    const char *name;
    size_t size, batch;
    bool echo;   /* every message comes back; else only one of 1 B does */
    bool sleeps; /* both on one CPU: waiting awake would keep the other from working */
} row;

static const row rows[] = {
    {"pingpong", SMALL, 1, true, false},
    {"pingpong-one-cpu", SMALL, 1, true, true},
    {"pingpong-1m", LARGE, 1, true, false},
    {"pingpong-1m-into", LARGE, 1, true, false}, /* as it does anyway */
    {"flood", SMALL, 1, false, false},
    {"flood-batch", SMALL, BATCH, false, false},
    {"flood-1m", LARGE, 1, false, false},
};

typedef struct {
    ring *shared;
    uint64_t at, other, shown; /* our cursor, theirs as last seen, and what they see of ours */
    uint64_t wraps;            /* bytes of the ring in use */
    bool sleeps;
} side;

static char data[LARGE], taken[LARGE];

static void wait_a_bit(const side *self, uint32_t seen)
{
    if (self->sleeps) {
        (void)syscall(SYS_futex, &self->shared->bell, FUTEX_WAIT, seen, NULL, NULL, 0);
    } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

static void wake(const side *self)
{
    if (self->sleeps) {
        (void)atomic_fetch_add(&self->shared->bell, 1);
        (void)syscall(SYS_futex, &self->shared->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void show(side *self)
{
    atomic_store(&self->shared->tail, self->at); /* with the fence that sleeping would need */
    self->shown = self->at;
    wake(self);
}

static void put(side *self, size_t size, bool last)
{
    uint64_t need = 8 + ((size + 7) & ~UINT64_C(7));
    char *to = self->shared->data + self->at % self->wraps;
    while (self->at + need - self->other > self->wraps) {
        uint32_t seen = atomic_load(&self->shared->bell);
        self->other = atomic_load(&self->shared->head);
        if (self->at + need - self->other > self->wraps) {
            if (self->shown != self->at) {
                show(self);
            }
            wait_a_bit(self, seen);
        }
    }
    memcpy(to, &size, sizeof size);
    memcpy(to + 8, data, size);
    self->at += need;
    if (last) {
        show(self);
    }
}

static size_t get(side *self)
{
    const char *from = self->shared->data + self->at % self->wraps;
    size_t size;
    while (self->at == self->other) {
        uint32_t seen = atomic_load(&self->shared->bell);
        self->other = atomic_load(&self->shared->tail);
        if (self->at == self->other) {
            wait_a_bit(self, seen);
        }
    }
    memcpy(&size, from, sizeof size);
    memcpy(taken, from + 8, size);
    self->at += 8 + ((size + 7) & ~UINT64_C(7));
    atomic_store(&self->shared->head, self->at);
    if (self->other - self->at == 0) {
        wake(self);
    }
    return size;
}

static void answer_all(const row *wanted, side in, side out)
{
    for (;;) {
        size_t size = get(&in);
        if (size == 2) {
            _exit(0);
        }
        if (wanted->echo || size == 1) {
            put(&out, size, true);
        }
    }
}

static void work(const row *wanted, side *out, side *in, long ops)
{
    for (long i = 0; i < ops; i++) {
        for (size_t k = 0; k < wanted->batch; k++) {
            put(out, wanted->size, k + 1 == wanted->batch);
        }
        if (wanted->echo) {
            (void)get(in);
        }
    }
    if (!wanted->echo) {
        put(out, 1, true);
        (void)get(in);
    }
}

static bool measure(const char *name, long ops, long slices)
{
    const row *wanted = rows;
    ring *rings;
    side ends[2];
    pid_t child;
    while (wanted < rows + sizeof rows / sizeof *rows && strcmp(wanted->name, name) != 0) {
        wanted++;
    }
    if (wanted == rows + sizeof rows / sizeof *rows) {
        return false;
    }
    rings =
        mmap(NULL, 2 * sizeof *rings, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(rings == MAP_FAILED ? -1 : 0, "mmap");
    for (int i = 0; i < 2; i++) {
        ends[i] = (side){.shared = &rings[i],
                         .wraps = wanted->size == LARGE ? RING : NEAR,
                         .sleeps = wanted->sleeps};
    }
    child = (pid_t)must(fork(), "fork");
    if (child == 0) {
        pin(wanted->sleeps ? 0 : 1);
        answer_all(wanted, ends[0], ends[1]);
    }
    work(wanted, &ends[0], &ends[1], ops);
    for (long i = 0; i < slices; i++) {
        long long before = now();
        work(wanted, &ends[0], &ends[1], ops);
        printf("%s%lld", i > 0 ? " " : "", now() - before);
    }
    put(&ends[0], 2, true);
    must(waitpid(child, NULL, 0), "waitpid");
    must(munmap(rings, 2 * sizeof *rings), "munmap");
    return true;
}

int main(int argc, char **argv)
{
    return answer(argc, argv, measure);
}
