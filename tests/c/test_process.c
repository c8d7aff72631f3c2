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
