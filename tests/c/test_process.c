/* SPDX-License-Identifier: Apache-2.0
 * process: the fork mark is one for all threads, and another in each child. */
#include "check.h"

#include <pthread.h>

#include "base/process.h"

static void *read_mark(void *arg)
{
    *(uint32_t *)arg = ipcx__fork_generation();
    return NULL;
}

/* First: several threads race to be the first reader. */
TEST(one_mark_for_all_threads)
{
    pthread_t threads[4];
    uint32_t marks[4] = {0};
    int i;
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, read_mark, &marks[i]) == 0);
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(marks[i] != 0);
        CHECK_INT(marks[i], ipcx__fork_generation());
    }
}

TEST(another_in_each_child_and_grandchild)
{
    uint32_t mark = ipcx__fork_generation();
    pid_t child = fork();
    if (child == 0) {
        uint32_t mine = ipcx__fork_generation();
        pid_t grandchild;
        if (mine == mark || mine == 0) {
            _exit(1);
        }
        grandchild = fork();
        if (grandchild == 0) {
            uint32_t its = ipcx__fork_generation();
            _exit(its == mine || its == mark || its == 0);
        }
        _exit(!check_child(grandchild));
    }
    CHECK(check_child(child));
    CHECK_INT(ipcx__fork_generation(), mark);
}

TEST(the_mark_is_never_zero)
{
    uint32_t before = ipcx__fork_generation();
    pid_t child;
    atomic_store(&ipcx__fork_mark, UINT32_MAX);
    child = fork();
    if (child == 0) {
        _exit(ipcx__fork_generation() != 1);
    }
    CHECK(check_child(child));
    atomic_store(&ipcx__fork_mark, before);
}

TEST(the_cpu_is_asked_once)
{
    int has = ipcx__cpu_has_crc32c();
    CHECK(has == 0 || has == 1);
    CHECK_INT(ipcx__cpu_has_crc32c(), has);
}

/* ---- what is this process's own */

typedef struct thing {
    ipcx__own own;
    int let_go;
} thing;

static void let_go(ipcx__own *own)
{
    ((thing *)(void *)own)->let_go++;
}

static int listed(ipcx__own_list list)
{
    int n = 0;
    ipcx__own_lock();
    for (ipcx__own *own = ipcx__own_first(list); own != NULL; own = own->next) {
        n++;
    }
    ipcx__own_unlock();
    return n;
}

TEST(a_child_lets_go_of_what_is_its_parents_own)
{
    thing things[3] = {{.own.forked = let_go}, {.own.forked = let_go}, {.own.forked = let_go}};
    uint32_t forks = ipcx__fork_count();
    pid_t child;
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_ENDS, &things[0].own);
    ipcx__own_add(IPCX__OWN_ENDS, &things[1].own);
    ipcx__own_add(IPCX__OWN_NAMES, &things[2].own);
    ipcx__own_unlock();
    child = fork();
    if (child == 0) {
        int held = listed(IPCX__OWN_ENDS) + listed(IPCX__OWN_NAMES);
        _exit(held != 0 || things[0].let_go + things[1].let_go + things[2].let_go != 3);
    }
    CHECK(check_child(child));
    CHECK_INT(ipcx__fork_count(), forks + 1);
    CHECK_INT(listed(IPCX__OWN_ENDS), 2);
    CHECK_INT(things[0].let_go, 0);
    ipcx__own_lock();
    ipcx__own_remove(&things[0].own); /* the last of its list */
    ipcx__own_remove(&things[0].own); /* in none */
    ipcx__own_remove(&things[1].own);
    ipcx__own_remove(&things[2].own);
    ipcx__own_unlock();
    CHECK_INT(listed(IPCX__OWN_ENDS) + listed(IPCX__OWN_NAMES), 0);
}

static void *list_and_unlist(void *arg)
{
    thing own = {.own.forked = let_go};
    while (!atomic_load((atomic_int *)arg)) {
        ipcx__own_lock();
        ipcx__own_add(IPCX__OWN_ENDS, &own.own);
        ipcx__own_unlock();
        ipcx__own_lock();
        ipcx__own_remove(&own.own);
        ipcx__own_unlock();
    }
    return NULL;
}

TEST(a_child_finds_the_lock_free)
{
    atomic_int stop = 0;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, list_and_unlist, &stop) == 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(listed(IPCX__OWN_ENDS) != 0);
        }
        CHECK(check_child(child));
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
}
