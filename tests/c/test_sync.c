/* SPDX-License-Identifier: Apache-2.0
 * sync: mutex and semaphore, whose holders die, fork, end, close and write where they should not.
 */
#include "syncs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "ipcx/alloc.h"
#include "os/sync/word.h"

TEST(one_has_it)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0);
    ipcx_error err = {0};
    CHECK_INT(ipcx_sync_owner(mutex), 0);
    CHECK_OK(ipcx_mutex_lock(mutex, IPCX_NOW, &err));
    CHECK_INT(ipcx_sync_owner(mutex), getpid());
    CHECK(ipcx_mutex_is_mine(mutex));
    CHECK_STATUS(ipcx_mutex_lock(mutex, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_mutex_lock(mutex, SOON, &err), IPCX_DEADLOCK);
    CHECK_OK(ipcx_mutex_unlock(mutex, NULL));
    CHECK_STATUS(ipcx_mutex_unlock(mutex, &err), IPCX_NOT_OWNER);
    CHECK_INT(ipcx_sync_recovered(mutex), 0);
    ipcx_sync_close(mutex);
    CHECK_STATUS(ipcx_mutex_lock(mutex, SOON, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_mutex_unlock(mutex, NULL), IPCX_CLOSED);
    CHECK_INT(ipcx_sync_fd(mutex), -1);
    ipcx_sync_free(mutex);
    ipcx_sync_free(NULL);
}

TEST(two_handles_are_two_users)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0), *other = NULL, *wrong = NULL;
    CHECK_OK(ipcx_sync_from_fd(ipcx_sync_fd(mutex), IPCX_MUTEX, &other, NULL));
    CHECK_STATUS(ipcx_sync_from_fd(ipcx_sync_fd(mutex), IPCX_EVENT, &wrong, NULL), IPCX_INVALID);
    CHECK(wrong == NULL);
    CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
    CHECK_STATUS(ipcx_mutex_lock(other, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_mutex_lock(other, SOON, NULL), IPCX_DEADLOCK);
    CHECK_STATUS(ipcx_mutex_unlock(other, NULL), IPCX_NOT_OWNER);
    ipcx_sync_close(mutex); /* gives it up */
    CHECK_OK(ipcx_mutex_lock(other, SOON, NULL));
    CHECK_INT(ipcx_sync_recovered(other), 1);
    CHECK_OK(ipcx_mutex_unlock(other, NULL));
    CHECK_INT(ipcx_sync_recovered(other), 0);
    ipcx_sync_free(mutex);
    ipcx_sync_free(other);
}

static void *lock_it(void *mutex)
{
    CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
    return NULL;
}

static void *wait_a_moment(void *mutex)
{
    CHECK_STATUS(ipcx_mutex_lock(mutex, A_MOMENT, NULL), IPCX_TIMEOUT);
    CHECK_STATUS(ipcx_mutex_unlock(mutex, NULL), IPCX_NOT_OWNER);
    return NULL;
}

TEST(a_thread_that_ends_leaves_it)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0);
    pthread_t thread;
    for (int round = 0; round < 2; round++) {
        REQUIRE(pthread_create(&thread, NULL, lock_it, mutex) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        CHECK_OK(ipcx_mutex_lock(mutex, IPCX_NOW, NULL));
        CHECK_INT(ipcx_sync_recovered(mutex), 1);
        CHECK_OK(ipcx_mutex_unlock(mutex, NULL));
    }
    CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
    CHECK_INT(ipcx_sync_recovered(mutex), 0);
    REQUIRE(pthread_create(&thread, NULL, wait_a_moment, mutex) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_OK(ipcx_mutex_unlock(mutex, NULL));
    ipcx_sync_free(mutex);
}

/* Who waits for it has it at that moment, and the ending thread's place is its own, too. */
TEST(a_thread_that_ends_leaves_it_to_another)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0);
    for (int round = 0; round < (getenv("IPCX_NIGHT") != NULL ? 20000 : 1000); round++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, lock_it, mutex) == 0);
        while (ipcx_sync_owner(mutex) == 0 && ipcx_sync_recovered(mutex) == 0) {
            (void)sched_yield();
        }
        REQUIRE_OK(ipcx_mutex_lock(mutex, SOON, NULL));
        CHECK_INT(ipcx_sync_recovered(mutex), 1);
        REQUIRE(pthread_join(thread, NULL) == 0);
        REQUIRE_OK(ipcx_mutex_unlock(mutex, NULL)); /* and still has it */
    }
    ipcx_sync_free(mutex);
}

TEST(a_killed_holder_leaves_it)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0);
    atomic_int *told = shared(sizeof *told);
    pid_t pid, second;
    if (in_child(&pid)) {
        REQUIRE_OK(ipcx_mutex_lock(mutex, SOON, NULL));
        tell_and_wait(told);
    }
    wait_until(told, 1);
    CHECK_INT(ipcx_sync_owner(mutex), pid);
    CHECK_STATUS(ipcx_mutex_lock(mutex, A_MOMENT, NULL), IPCX_TIMEOUT);
    if (in_child(&second)) { /* waits as the first one is killed; dies with it in turn */
        _exit(ipcx_mutex_lock(mutex, SOON, NULL) != IPCX_OK || !ipcx_sync_recovered(mutex));
    }
    CHECK(killed(pid));
    CHECK(check_child(second));
    CHECK_OK(ipcx_mutex_lock(mutex, IPCX_NOW, NULL));
    CHECK_INT(ipcx_sync_recovered(mutex), 1);
    CHECK_OK(ipcx_mutex_unlock(mutex, NULL));
    CHECK_OK(ipcx_mutex_lock(mutex, IPCX_NOW, NULL));
    CHECK_INT(ipcx_sync_recovered(mutex), 0);
    ipcx_sync_free(mutex);
    REQUIRE(munmap(told, sizeof *told) == 0);
}

/* The one that is killed has a child, which has all that it had but the lock. */
TEST(a_child_keeps_no_lock_alive)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0), *own = NULL;
    atomic_int *told = shared(2 * sizeof *told);
    pid_t pid, inner;
    if (in_child(&pid)) {
        REQUIRE_OK(ipcx_sync_from_fd(ipcx_sync_fd(mutex), IPCX_MUTEX, &own, NULL));
        mutex = own; /* a map of its own, which its child inherits with the rest */
        REQUIRE_OK(ipcx_mutex_lock(mutex, SOON, NULL));
        if (in_child(&inner)) {
            REQUIRE(ipcx_mutex_unlock(mutex, NULL) == IPCX_NOT_OWNER);
            REQUIRE(!ipcx_mutex_is_mine(mutex));
            REQUIRE(ipcx_mutex_lock(mutex, IPCX_NOW, NULL) == IPCX_AGAIN);
            atomic_store(&told[1], getpid());
            tell_and_wait(&told[0]);
        }
        for (;;) {
            (void)pause();
        }
    }
    wait_until(&told[0], 1);
    CHECK(killed(pid));
    CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
    CHECK_INT(ipcx_sync_recovered(mutex), 1);
    CHECK(kill(atomic_load(&told[1]), SIGKILL) == 0);
    ipcx_sync_free(mutex);
    REQUIRE(munmap(told, 2 * sizeof *told) == 0);
}

TEST(grandchildren_have_places_of_their_own)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0);
    pid_t pid, inner;
    CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
    if (in_child(&pid)) { /* does not use it itself */
        if (in_child(&inner)) {
            _exit(ipcx_mutex_lock(mutex, SOON, NULL) != IPCX_OK ||
                  ipcx_sync_owner(mutex) != getpid() || ipcx_mutex_unlock(mutex, NULL) != IPCX_OK);
        }
        _exit(!check_child(inner) || ipcx_mutex_lock(mutex, SOON, NULL) != IPCX_OK ||
              ipcx_sync_recovered(mutex) || ipcx_mutex_unlock(mutex, NULL) != IPCX_OK);
    }
    CHECK_OK(ipcx_mutex_unlock(mutex, NULL));
    CHECK(check_child(pid));
    ipcx_sync_free(mutex);
}

typedef struct job {
    ipcx_sync *sync;
    int *counter; /* two of them, equal while nobody has the mutex */
    int rounds;
} job;

static void *count(void *arg)
{
    job *mine = arg;
    for (int i = 0; i < mine->rounds; i++) {
        ipcx_deadline by = i % 5 == 0 ? ipcx_deadline_after(30000) : SOON;
        ipcx_status status = ipcx_mutex_lock(mine->sync, i % 7 == 0 ? IPCX_NOW : by, NULL);
        if (status == IPCX_OK) {
            mine->counter[0]++;
            mine->counter[1]++;
            CHECK_OK(ipcx_mutex_unlock(mine->sync, NULL));
        } else if (!CHECK(status == IPCX_AGAIN || status == IPCX_TIMEOUT)) {
            break;
        }
    }
    return NULL;
}

TEST(threads_and_processes_take_turns)
{
    int rounds = getenv("IPCX_NIGHT") != NULL ? 250000 : 20000;
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0);
    int *counter = shared(2 * sizeof *counter);
    job mine = {mutex, counter, rounds};
    pthread_t threads[2];
    pid_t pids[2];
    for (int i = 0; i < 2; i++) {
        if (in_child(&pids[i])) {
            count(&mine);
            _exit(0);
        }
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, count, &mine) == 0);
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        CHECK(check_child(pids[i]));
    }
    CHECK_INT(counter[0], counter[1]);
    CHECK(counter[0] > rounds);
    ipcx_sync_free(mutex);
    REQUIRE(munmap(counter, 2 * sizeof *counter) == 0);
}

/* What a death in the middle left unequal, the next holder puts right: it is told. */
static void count_for_ever(ipcx_sync *mutex, volatile int *counter)
{
    for (;;) {
        REQUIRE_OK(ipcx_mutex_lock(mutex, SOON, NULL));
        if (counter[0] != counter[1]) {
            REQUIRE(ipcx_sync_recovered(mutex));
            counter[1] = counter[0];
        }
        counter[0]++;
        counter[1]++;
        REQUIRE_OK(ipcx_mutex_unlock(mutex, NULL));
    }
}

static void nap(int microseconds)
{
    const struct timespec time = {.tv_nsec = microseconds * 1000L};
    (void)nanosleep(&time, NULL);
}

TEST(killed_at_any_moment)
{
    int kills = getenv("IPCX_NIGHT") != NULL ? 2000 : 60;
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0);
    int *counter = shared(2 * sizeof *counter);
    pid_t pids[3];
    srand(7);
    for (int i = 0; i < 3; i++) {
        if (in_child(&pids[i])) {
            count_for_ever(mutex, counter);
        }
    }
    for (int i = 0; i < kills; i++) {
        int which = rand() % 3;
        nap(rand() % 1500);
        CHECK(killed(pids[which]));
        CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
        CHECK(counter[0] == counter[1] || ipcx_sync_recovered(mutex));
        counter[1] = counter[0];
        CHECK_OK(ipcx_mutex_unlock(mutex, NULL));
        if (in_child(&pids[which])) {
            count_for_ever(mutex, counter);
        }
    }
    for (int i = 0; i < 3; i++) {
        CHECK(killed(pids[i]));
    }
    CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
    ipcx_sync_free(mutex);
    REQUIRE(munmap(counter, 2 * sizeof *counter) == 0);
}

static void *close_it(void *sync)
{
    nap(20000);
    ipcx_sync_close(sync);
    return NULL;
}

TEST(close_wakes_who_waits)
{
    ipcx_sync *semaphore = make(IPCX_SEMAPHORE, 0, 0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, close_it, semaphore) == 0);
    CHECK_STATUS(ipcx_sem_wait(semaphore, SOON, NULL), IPCX_CLOSED);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(ipcx_sem_wait(semaphore, SOON, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_sem_post(semaphore, 1, NULL), IPCX_CLOSED);
    ipcx_sync_free(semaphore);
}

/* ---- semaphores */

TEST(permits_are_counted)
{
    ipcx_sync_options options = {.kind = IPCX_SEMAPHORE, .value = 3, .maximum = 2};
    ipcx_sync *semaphore = NULL;
    CHECK_STATUS(ipcx_sync_anonymous(&options, &semaphore, NULL), IPCX_INVALID);
    options.value = 2;
    REQUIRE_OK(ipcx_sync_anonymous(&options, &semaphore, NULL));
    CHECK_OK(ipcx_sem_wait(semaphore, SOON, NULL));
    CHECK_OK(ipcx_sem_wait(semaphore, IPCX_NOW, NULL));
    CHECK_STATUS(ipcx_sem_wait(semaphore, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_sem_wait(semaphore, A_MOMENT, NULL), IPCX_TIMEOUT);
    CHECK_STATUS(ipcx_sem_post(semaphore, 3, NULL), IPCX_INVALID);
    CHECK_OK(ipcx_sem_post(semaphore, 2, NULL));
    CHECK_STATUS(ipcx_sem_post(semaphore, 1, NULL), IPCX_INVALID);
    CHECK_INT(ipcx_sem_value(semaphore), 2);
    CHECK_STATUS(ipcx_event_set(semaphore, NULL), IPCX_INVALID);
    ipcx_sync_free(semaphore);
}

TEST(owned_permits_come_back)
{
    ipcx_sync *semaphore = make(IPCX_SEMAPHORE, 3, 1);
    atomic_int *told = shared(sizeof *told);
    pid_t pid;
    CHECK_STATUS(ipcx_sem_post(semaphore, 1, NULL), IPCX_NOT_OWNER);
    CHECK_OK(ipcx_sem_wait(semaphore, SOON, NULL));
    if (in_child(&pid)) {
        REQUIRE(ipcx_sem_post(semaphore, 1, NULL) == IPCX_NOT_OWNER);
        REQUIRE_OK(ipcx_sem_wait(semaphore, SOON, NULL));
        REQUIRE_OK(ipcx_sem_wait(semaphore, SOON, NULL));
        tell_and_wait(told);
    }
    wait_until(told, 1);
    CHECK_STATUS(ipcx_sem_wait(semaphore, A_MOMENT, NULL), IPCX_TIMEOUT);
    CHECK(killed(pid));
    CHECK_OK(ipcx_sem_wait(semaphore, IPCX_NOW, NULL));
    CHECK_OK(ipcx_sem_wait(semaphore, SOON, NULL));
    CHECK_STATUS(ipcx_sem_wait(semaphore, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_OK(ipcx_sem_post(semaphore, 3, NULL));
    CHECK_INT(ipcx_sem_value(semaphore), 3);
    ipcx_sync_free(semaphore);
    REQUIRE(munmap(told, sizeof *told) == 0);
}

/* Dies at each marked place of each operation; afterwards all permits are there. */
TEST(killed_at_each_crash_point)
{
    static const char *const points[] = {"sem-taken",      "sem-shared",      "sem-unshared",
                                         "sync-abandoned", "sync-taken-back", "sync-place-locked"};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        ipcx_sync *semaphore = make(IPCX_SEMAPHORE, 2, 1);
        pid_t pid;
        int state = 0;
        if (in_child(&pid)) { /* leaves something to be swept */
            (void)!ipcx_sem_wait(semaphore, SOON, NULL);
            _exit(0);
        }
        CHECK(check_child(pid));
        if (in_child(&pid)) {
            crash_at = points[i];
            ipcx__sync_sweep_all(semaphore);
            (void)!ipcx_sem_wait(semaphore, SOON, NULL);
            (void)!ipcx_sem_wait(semaphore, SOON, NULL);
            (void)ipcx_sem_post(semaphore, 1, NULL);
            _exit(0);
        }
        CHECK(waitpid(pid, &state, 0) == pid);
        if (!CHECK(WIFSIGNALED(state))) {
            printf("# it did not come to %s\n", points[i]);
        }
        CHECK_OK(ipcx_sem_wait(semaphore, SOON, NULL));
        CHECK_OK(ipcx_sem_wait(semaphore, SOON, NULL));
        CHECK_STATUS(ipcx_sem_wait(semaphore, IPCX_NOW, NULL), IPCX_AGAIN);
        CHECK_OK(ipcx_sem_post(semaphore, 2, NULL));
        CHECK_INT(ipcx_sem_value(semaphore), 2);
        ipcx_sync_free(semaphore);
    }
}

static void *take_and_give(void *arg)
{
    job *mine = arg;
    for (int i = 0; i < mine->rounds; i++) {
        ipcx_status status =
            ipcx_sem_wait(mine->sync, i % 7 == 0 ? ipcx_deadline_after(30000) : SOON, NULL);
        if (status == IPCX_OK) {
            CHECK(atomic_fetch_add((_Atomic int *)mine->counter, 1) < 2);
            (void)atomic_fetch_sub((_Atomic int *)mine->counter, 1);
            CHECK_OK(ipcx_sem_post(mine->sync, 1, NULL));
        } else if (!CHECK_STATUS(status, IPCX_TIMEOUT)) {
            break;
        }
    }
    return NULL;
}

TEST(never_more_than_permitted)
{
    for (int owned = 0; owned < 2; owned++) {
        ipcx_sync *semaphore = make(IPCX_SEMAPHORE, 2, owned);
        int *inside = shared(sizeof *inside);
        job mine = {semaphore, inside, getenv("IPCX_NIGHT") != NULL ? 200000 : 8000};
        pthread_t threads[3];
        pid_t pid;
        if (in_child(&pid)) {
            take_and_give(&mine);
            _exit(0);
        }
        for (int i = 0; i < 3; i++) {
            REQUIRE(pthread_create(&threads[i], NULL, take_and_give, &mine) == 0);
        }
        for (int i = 0; i < 3; i++) {
            REQUIRE(pthread_join(threads[i], NULL) == 0);
        }
        CHECK(check_child(pid));
        CHECK_INT(ipcx_sem_value(semaphore), 2);
        ipcx_sync_free(semaphore);
        REQUIRE(munmap(inside, sizeof *inside) == 0);
    }
}

/* ---- a peer that writes where it likes */

static void use_all_of(ipcx_sync *sync)
{
    uint32_t place;
    (void)!ipcx_sem_wait(sync, A_MOMENT, NULL);
    (void)ipcx_sem_post(sync, 1, NULL);
    if (ipcx_mutex_lock(sync, A_MOMENT, NULL) == IPCX_OK) {
        (void)ipcx_mutex_unlock(sync, NULL);
    }
    (void)!ipcx_rwlock_read(sync, A_MOMENT, NULL);
    (void)ipcx_rwlock_unlock(sync, NULL);
    (void)!ipcx_rwlock_write(sync, A_MOMENT, NULL);
    (void)ipcx_rwlock_unlock(sync, NULL);
    (void)!ipcx_barrier_wait(sync, A_MOMENT, &place, NULL);
    (void)ipcx_barrier_reset(sync, NULL);
    (void)!ipcx_event_wait(sync, A_MOMENT, NULL);
    (void)ipcx_event_set(sync, NULL);
    (void)ipcx_cond_notify(sync, 1, NULL);
    (void)!ipcx_cond_wait_from(sync, 0, A_MOMENT, NULL);
    (void)ipcx_sync_owner(sync);
    (void)ipcx_rwlock_readers(sync);
}

TEST(written_over_it_is_an_error)
{
    srand(11);
    for (int kind = IPCX_MUTEX; kind <= IPCX_BARRIER; kind++) {
        for (int round = 0; round < 8; round++) {
            ipcx_sync *sync = make((ipcx_sync_kind)kind, 2, round % 2);
            uint32_t *words;
            if (round % 3 == 0) {
                use_all_of(sync);
            }
            words = (uint32_t *)(void *)sync->memory;
            for (size_t i = 0; i < IPCX__SYNC_SIZE / sizeof *words; i++) {
                words[i] = (uint32_t)rand() << 8 ^ (uint32_t)rand();
            }
            use_all_of(sync);
            ipcx_sync_free(sync);
        }
    }
}

TEST(it_is_told)
{
    ipcx_sync *mutex = make(IPCX_MUTEX, 0, 0), *semaphore = make(IPCX_SEMAPHORE, 1, 0);
    CHECK_OK(ipcx_mutex_lock(mutex, SOON, NULL));
    atomic_store(&mutex->memory->word, 7777);
    CHECK_STATUS(ipcx_mutex_unlock(mutex, NULL), IPCX_CORRUPT);
    CHECK_STATUS(ipcx_mutex_lock(mutex, SOON, NULL), IPCX_CORRUPT);
    atomic_store(&semaphore->memory->value, UINT32_MAX);
    CHECK_STATUS(ipcx_sem_wait(semaphore, SOON, NULL), IPCX_CORRUPT);
    ipcx_sync_free(mutex);
    ipcx_sync_free(semaphore);
}

TEST(every_place_taken)
{
    ipcx_sync *first = make(IPCX_MUTEX, 0, 0), *all[IPCX__SYNC_PLACES];
    for (int i = 0; i < IPCX__SYNC_PLACES; i++) {
        REQUIRE_OK(ipcx_sync_from_fd(ipcx_sync_fd(first), IPCX_MUTEX, &all[i], NULL));
        REQUIRE_OK(ipcx_mutex_lock(all[i], SOON, NULL));
        REQUIRE_OK(ipcx_mutex_unlock(all[i], NULL));
    }
    CHECK_STATUS(ipcx_mutex_lock(first, SOON, NULL), IPCX_EXHAUSTED);
    ipcx_sync_free(all[77]);
    CHECK_OK(ipcx_mutex_lock(first, SOON, NULL));
    CHECK_INT(ipcx_sync_owner(first), getpid());
    for (int i = 0; i < IPCX__SYNC_PLACES; i++) {
        if (i != 77) {
            ipcx_sync_free(all[i]);
        }
    }
    ipcx_sync_free(first);
}

TEST(a_descriptor_of_something_else)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    ipcx_sync *sync = NULL;
    CHECK_STATUS(ipcx_sync_from_fd(fd, IPCX_MUTEX, &sync, NULL), IPCX_PROTOCOL);
    CHECK_STATUS(ipcx_sync_from_fd(-1, IPCX_MUTEX, &sync, NULL), IPCX_PROTOCOL);
    (void)close(fd);
    fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    REQUIRE(ftruncate(fd, IPCX__SYNC_SIZE) == 0);
    CHECK_STATUS(ipcx_sync_from_fd(fd, IPCX_MUTEX, &sync, NULL), IPCX_PROTOCOL);
    REQUIRE(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    CHECK_STATUS(ipcx_sync_from_fd(fd, IPCX_MUTEX, &sync, NULL), IPCX_PROTOCOL); /* zeros */
    CHECK(sync == NULL);
    (void)close(fd);
}

TEST(no_memory_is_said)
{
    ipcx_sync_options options = {.kind = IPCX_MUTEX};
    ipcx_sync *mutex = NULL;
    ipcx_alloc_fail_at(1);
    CHECK_STATUS(ipcx_sync_anonymous(&options, &mutex, NULL), IPCX_NOMEM);
    CHECK(mutex == NULL);
    ipcx_alloc_fail_at(0);
}

/* ---- names */

static const char *fresh_name(void)
{
    static char name[64];
    static int number;
    (void)snprintf(name, sizeof name, "ipcx-c%d-%d", (int)getpid(), number++);
    return name;
}

static ipcx_status open_it(const char *name, unsigned flags, int persist, ipcx_sync **out)
{
    ipcx_sync_options options = {.kind = IPCX_SEMAPHORE, .value = 2, .persist = persist};
    return ipcx_sync_open(name, flags, &options, out, NULL);
}

TEST(a_name_goes_with_its_last_user)
{
    const char *name = fresh_name();
    ipcx_sync *first = NULL, *second = NULL, *third = NULL;
    CHECK_STATUS(open_it(name, 0, 0, &first), IPCX_SYSTEM);
    REQUIRE_OK(open_it(name, IPCX_SYNC_CREATE, 0, &first));
    CHECK_STR(ipcx_sync_name(first), name);
    CHECK_STATUS(open_it(name, IPCX_SYNC_CREATE | IPCX_SYNC_EXCLUSIVE, 0, &third), IPCX_SYSTEM);
    REQUIRE_OK(open_it(name, 0, 0, &second));
    CHECK_OK(ipcx_sem_wait(first, SOON, NULL));
    CHECK_INT(ipcx_sem_value(second), 1);
    ipcx_sync_free(first);
    ipcx_sync_sweep(NULL, NULL);
    REQUIRE_OK(open_it(name, 0, 0, &first)); /* it is there still */
    CHECK_INT(ipcx_sem_value(first), 1);
    CHECK_OK(ipcx_sync_unlink(second, NULL));
    CHECK_STATUS(ipcx_sync_unlink(first, NULL), IPCX_SYSTEM);
    REQUIRE_OK(open_it(name, IPCX_SYNC_EXCLUSIVE, 0, &third)); /* another of that name */
    CHECK_INT(ipcx_sem_value(third), 2);
    ipcx_sync_free(first);
    ipcx_sync_free(second);
    ipcx_sync_free(third);
    CHECK_STATUS(open_it(name, 0, 0, &first), IPCX_SYSTEM);
}

TEST(a_name_may_stay)
{
    const char *name = fresh_name();
    ipcx_sync *sync = NULL;
    pid_t pid;
    REQUIRE_OK(open_it(name, IPCX_SYNC_CREATE, 1, &sync));
    CHECK_OK(ipcx_sem_wait(sync, SOON, NULL));
    ipcx_sync_free(sync);
    ipcx_sync_sweep(NULL, NULL);
    REQUIRE_OK(open_it(name, 0, 0, &sync));
    CHECK_INT(ipcx_sem_value(sync), 1);
    CHECK_OK(ipcx_sync_unlink(sync, NULL));
    ipcx_sync_free(sync);
    if (in_child(&pid)) { /* killed: its name is swept */
        REQUIRE_OK(open_it(name, IPCX_SYNC_CREATE, 0, &sync));
        (void)raise(SIGKILL);
    }
    CHECK(killed(pid));
    ipcx_sync_sweep(NULL, NULL);
    CHECK_STATUS(open_it(name, 0, 0, &sync), IPCX_SYSTEM);
}

TEST(a_name_that_is_none)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/a"};
    char longest[300], path[400];
    const char *name = fresh_name();
    ipcx_sync *sync = NULL, *mutex = NULL;
    ipcx_sync_options options = {.kind = IPCX_MUTEX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(open_it(bad[i], IPCX_SYNC_CREATE, 0, &sync), IPCX_INVALID);
    }
    memset(longest, 'x', sizeof longest);
    longest[255] = '\0';
    CHECK_STATUS(open_it(longest, IPCX_SYNC_CREATE, 0, &sync), IPCX_INVALID);
    REQUIRE_OK(open_it(name, IPCX_SYNC_CREATE, 0, &sync));
    CHECK_STATUS(ipcx_sync_open(name, IPCX_SYNC_CREATE, &options, &mutex, NULL), IPCX_INVALID);
    /* Truncated by somebody: an error, no SIGBUS. */
    (void)snprintf(path, sizeof path, "/dev/shm/ipcx-%d/sync/%s", (int)geteuid(), name);
    REQUIRE(truncate(path, 0) == 0);
    CHECK(ipcx_sem_wait(sync, A_MOMENT, NULL) != IPCX_OK);
    CHECK_STATUS(open_it(name, IPCX_SYNC_CREATE, 0, &mutex), IPCX_PROTOCOL);
    CHECK_OK(ipcx_sync_unlink(sync, NULL));
    ipcx_sync_free(sync);
    REQUIRE_OK(open_it(fresh_name(), IPCX_SYNC_CREATE, 0, &sync)); /* keeps the folder */
    REQUIRE(symlink("/dev/null", path) == 0);
    name = strrchr(path, '/') + 1;
    CHECK_STATUS(open_it(name, IPCX_SYNC_CREATE, 0, &mutex), IPCX_SYSTEM);
    (void)unlink(path);
    ipcx_sync_free(sync);
}

TEST(many_make_the_same_name)
{
    const char *name = fresh_name();
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        if (in_child(&pids[i])) {
            for (int round = 0; round < 50; round++) {
                ipcx_sync *sync = NULL;
                ipcx_sync_options options = {.kind = IPCX_MUTEX};
                REQUIRE_OK(ipcx_sync_open(name, IPCX_SYNC_CREATE, &options, &sync, NULL));
                REQUIRE_OK(ipcx_mutex_lock(sync, SOON, NULL));
                REQUIRE_OK(ipcx_mutex_unlock(sync, NULL));
                ipcx_sync_free(sync);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 8; i++) {
        CHECK(check_child(pids[i]));
    }
}
