/* SPDX-License-Identifier: Apache-2.0
 * fifo://: what is at the path, messages between two threads, and a process that is killed at each
 * marked place: what it had sent is whole, and the next listener finds nothing in its way. */
#include "check.h"

#include <pthread.h>
#include <sys/file.h>

#include "base/crash.h"
#include "dialing.h"
#include "link/fifo/well.h"

#define MANY 2000

static char home[64], path[96], url[128], runtime[96];

static void enter(void)
{
    strcpy(home, "/tmp/ipcx-fifo-XXXXXX");
    REQUIRE(mkdtemp(home) != NULL);
    snprintf(path, sizeof path, "%s/orders", home);
    snprintf(url, sizeof url, "fifo://%s", path);
    snprintf(runtime, sizeof runtime, "%s/ipcx", home); /* where the notes are */
    REQUIRE(setenv("XDG_RUNTIME_DIR", home, 1) == 0);
}

/* Everything is gone. */
static void leave(void)
{
    REQUIRE(rmdir(runtime) == 0);
    REQUIRE(rmdir(home) == 0);
}

static ipcx_status send_by(ipcx_chan *to, const void *data, size_t size, ipcx_deadline deadline,
                           ipcx_error *err)
{
    const ipcx_message message = {.data = data, .size = size};
    return ipcx_chan_send(to, &message, deadline, NULL, err);
}

static ipcx_status receive_only(ipcx_chan *from, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_message got;
    ipcx_status status = ipcx_chan_receive(from, &got, deadline, err);
    if (status == IPCX_OK) {
        ipcx_chan_release(from, &got);
    }
    return status;
}

/* ---- what is at the path */

TEST(other_kinds_of_files_are_left_alone)
{
    struct stat before, after;
    enter();
    for (int kind = 0; kind < 4; kind++) {
        int fd = kind == 0   ? open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)
                 : kind == 1 ? mkdir(path, 0700)
                 : kind == 2 ? symlink("elsewhere", path)
                             : mknod(path, S_IFSOCK | 0600, 0);
        REQUIRE(fd >= 0);
        REQUIRE(kind != 0 || (write(fd, "precious", 8) == 8 && close(fd) == 0));
        REQUIRE(lstat(path, &before) == 0);
        listen_fails(url, IPCX_SYSTEM, EPERM, kind == 2 ? "a symbolic link" : "no named pipe");
        connect_fails(url, IPCX_NOW, IPCX_SYSTEM, "");
        CHECK(lstat(path, &after) == 0 && after.st_ino == before.st_ino &&
              after.st_mode == before.st_mode && after.st_size == before.st_size);
        REQUIRE((kind == 1 ? rmdir(path) : unlink(path)) == 0);
    }
    connect_fails(url, IPCX_NOW, IPCX_REFUSED, "start the listener first");
    REQUIRE(rmdir(home) == 0);
}

TEST(a_live_reader_is_named_and_a_dead_ones_pipe_taken_over)
{
    char who[64];
    int fd;
    ipcx_listener *listener;
    struct stat found;
    enter();
    snprintf(who, sizeof who, "process %d reads it", (int)getpid());
    REQUIRE(mkfifo(path, 0666) == 0);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a program that knows nothing of ipcx */
    REQUIRE(fd >= 0);
    listen_fails(url, IPCX_ADDRESS_IN_USE, EADDRINUSE, who);
    REQUIRE(close(fd) == 0);
    listener = listening(url, NULL);
    CHECK(lstat(path, &found) == 0 && (found.st_mode & 07777) == 0600);
    listen_fails(url, IPCX_ADDRESS_IN_USE, EADDRINUSE, who);
    ipcx_listener_free(listener);
    CHECK(!exists(path));
    leave();
}

static int notes(char *target, size_t cap)
{
    int count = 0;
    char name[400];
    const struct dirent *entry;
    DIR *dir = opendir(runtime);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strstr(entry->d_name, ".fifo") != NULL) {
            ssize_t n;
            snprintf(name, sizeof name, "%s/%s", runtime, entry->d_name);
            n = readlink(name, target, cap - 1);
            target[n > 0 ? n : 0] = '\0';
            count++;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

/* Who is killed between removing the pipe and its note leaves the note, until somebody looks. */
static void remove_notes(void)
{
    char command[200];
    snprintf(command, sizeof command, "rm -f %s/*.fifo", runtime);
    REQUIRE(system(command) == 0);
}

TEST(a_note_for_ls_as_long_as_it_listens)
{
    char target[128] = "";
    ipcx_listener *listener;
    enter();
    listener = listening(url, NULL);
    CHECK_INT(notes(target, sizeof target), 1);
    CHECK_STR(target, path);
    ipcx_listener_free(listener);
    CHECK_INT(notes(target, sizeof target), 0);
    /* Where no note can be left it listens all the same. */
    REQUIRE(chmod(runtime, 0500) == 0);
    listener = listening(url, NULL);
    ipcx_listener_free(listener);
    REQUIRE(chmod(runtime, 0700) == 0);
    leave();
}

/* ---- messages */

TEST(sizes_ends_and_directions)
{
    static const char data[IPCX__FIFO_PAYLOAD + 1];
    ipcx_error err = {0};
    ipcx_listener *listener;
    ipcx_chan *writer, *reader;
    ipcx_message got;
    enter();
    listener = listening(url, NULL);
    writer = connected(url);
    reader = accepted(listener);
    hello(writer, reader);
    CHECK_OK(send_by(writer, data, IPCX__FIFO_PAYLOAD, IPCX_NOW, NULL));
    CHECK_OK(ipcx_chan_receive(reader, &got, SOON, NULL));
    CHECK_INT(got.size, IPCX__FIFO_PAYLOAD);
    ipcx_chan_release(reader, &got);
    CHECK_STATUS(send_by(writer, data, sizeof data, IPCX_NOW, &err), IPCX_TOO_LARGE);
    CHECK_STATUS(send_by(reader, data, 1, IPCX_NOW, &err), IPCX_UNSUPPORTED);
    CHECK_STATUS(receive_only(writer, IPCX_NOW, &err), IPCX_UNSUPPORTED);
    CHECK_STATUS(receive_only(reader, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(receive_only(reader, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    ipcx_listener_free(listener);
    CHECK_STATUS(receive_only(reader, IPCX_NOW, NULL), IPCX_AGAIN); /* the writer is there yet */
    ipcx_chan_free(writer);
    CHECK_STATUS(receive_only(reader, SOON, NULL), IPCX_EOF);
    ipcx_chan_free(reader);
    leave();
}

TEST(a_stranger_who_writes_what_is_no_message)
{
    static const struct {
        const char *bytes;
        size_t size;
        ipcx_status status;
    } wrong[] = {
        {"garbage, and more of it", 23, IPCX_PROTOCOL},
        {"IX\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00", 12, IPCX_VERSION},
        {"IX\x01\x01\x00\x00\x00\x00\xff\xff\xff\xff", 12, IPCX_TOO_LARGE},
        {"IX\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00", 12, IPCX_PROTOCOL}, /* no DATA */
    };
    enter();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ipcx_listener *listener = listening(url, NULL);
        ipcx_chan *honest = connected(url), *reader = accepted(listener);
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        REQUIRE(fd >= 0);
        CHECK(write(fd, wrong[i].bytes, wrong[i].size) == (ssize_t)wrong[i].size);
        CHECK_OK(send_by(honest, "next", 4, IPCX_NOW, NULL));
        CHECK_STATUS(receive_only(reader, SOON, NULL), wrong[i].status);
        CHECK_STATUS(receive_only(reader, SOON, NULL), wrong[i].status); /* for good */
        ipcx_chan_free(reader);
        reader = accepted(listener); /* the next channel goes on behind it */
        CHECK_OK(receive_only(reader, SOON, NULL));
        ipcx_chan_free(reader);
        ipcx_chan_free(honest);
        CHECK(close(fd) == 0);
        ipcx_listener_free(listener);
    }
    leave();
}

/* ---- threads: TSan looks at these */

typedef struct sender {
    pthread_t thread;
    ipcx_chan *chan;
    unsigned char name;
} sender;

static void *send_many(void *given)
{
    const sender *self = given;
    unsigned char data[64] = {self->name};
    for (uint32_t i = 0; i < MANY; i++) {
        memcpy(data + 1, &i, sizeof i);
        CHECK_OK(send_by(self->chan, data, 5 + i % 60, IPCX_FOREVER, NULL));
    }
    return NULL;
}

/* Two threads over one writing end, a third over another; one reads. */
TEST(threads_on_both_ends)
{
    uint32_t next[3] = {0}, i;
    ipcx_listener *listener;
    ipcx_chan *one, *other, *reader;
    sender senders[3];
    ipcx_message got;
    enter();
    listener = listening(url, NULL);
    one = connected(url);
    other = connected(url);
    reader = accepted(listener);
    for (unsigned n = 0; n < 3; n++) {
        senders[n] = (sender){.chan = n == 2 ? other : one, .name = (unsigned char)n};
        REQUIRE(pthread_create(&senders[n].thread, NULL, send_many, &senders[n]) == 0);
    }
    for (int left = 3 * MANY; left > 0; left--) {
        const unsigned char *data;
        REQUIRE_OK(ipcx_chan_receive(reader, &got, SOON, NULL));
        data = got.data;
        REQUIRE(got.size >= 5 && data[0] < 3);
        memcpy(&i, data + 1, sizeof i);
        CHECK_INT(i, next[data[0]]);
        CHECK_INT(got.size, 5 + i % 60);
        next[data[0]]++;
        ipcx_chan_release(reader, &got);
    }
    for (unsigned n = 0; n < 3; n++) {
        REQUIRE(pthread_join(senders[n].thread, NULL) == 0);
    }
    ipcx_chan_free(one);
    ipcx_chan_free(other);
    ipcx_chan_free(reader);
    ipcx_listener_free(listener);
    leave();
}

static void *close_it(void *chan)
{
    CHECK_OK(ipcx_chan_close(chan, SOON, NULL, NULL));
    return NULL;
}

static void *stop_it(void *listener)
{
    CHECK_OK(ipcx_listener_close(listener, NULL));
    return NULL;
}

/* Each end, and the listener, while a thread waits in it; more often than not it waits already. */
TEST(closed_while_another_thread_waits)
{
    static const char data[IPCX__FIFO_PAYLOAD];
    enter();
    for (int turn = 0; turn < 60; turn++) {
        pthread_t closer;
        ipcx_listener *listener = listening(url, NULL);
        ipcx_chan *writer = connected(url), *reader = accepted(listener), *none = NULL;
        ipcx_status status = IPCX_OK;
        REQUIRE(pthread_create(&closer, NULL, turn % 3 == 2 ? stop_it : close_it,
                               turn % 3 == 0   ? (void *)reader
                               : turn % 3 == 1 ? (void *)writer
                                               : (void *)listener) == 0);
        while (status == IPCX_OK) {
            status = turn % 3 == 0   ? receive_only(reader, SOON, NULL)
                     : turn % 3 == 1 ? send_by(writer, data, sizeof data, SOON, NULL)
                                     : ipcx_listener_accept(listener, &none, SOON, NULL);
        }
        CHECK_STATUS(status, IPCX_CLOSED);
        REQUIRE(pthread_join(closer, NULL) == 0);
        ipcx_chan_free(reader);
        ipcx_chan_free(writer);
        ipcx_listener_free(listener);
    }
    leave();
}

/* ---- killed at each marked place */

static const char *armed;

void ipcx__crash_point(const char *name)
{
    if (armed != NULL && strcmp(name, armed) == 0) {
        (void)raise(SIGKILL);
    }
}

static bool was_killed(pid_t child)
{
    int state;
    return child > 0 && waitpid(child, &state, 0) == child && WIFSIGNALED(state) &&
           WTERMSIG(state) == SIGKILL;
}

/* Whatever a listener was about, the next one has the path, and leaves nothing behind. */
TEST(a_listener_killed_at_each_marked_place)
{
    static const char *const places[] = {"listen: made", "listen: claimed", "listen: noted",
                                         "receive: read", "close: path gone"};
    enter();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char target[128];
        ipcx_listener *listener;
        ipcx_chan *writer, *reader;
        pid_t child = fork();
        if (child == 0) {
            armed = places[i];
            listener = listening(url, NULL);
            writer = connected(url);
            (void)!send_by(writer, "read by the dead", 16, IPCX_NOW, NULL);
            reader = accepted(listener);
            (void)!receive_only(reader, SOON, NULL);
            ipcx_listener_free(listener);
            _exit(1);
        }
        CHECK(was_killed(child));
        listener = listening(url, NULL);
        CHECK(notes(target, sizeof target) >= 1);
        writer = connected(url);
        reader = accepted(listener);
        hello(writer, reader);
        ipcx_chan_free(writer);
        ipcx_listener_free(listener);
        CHECK_STATUS(receive_only(reader, SOON, NULL), IPCX_EOF);
        ipcx_chan_free(reader);
    }
    remove_notes();
    leave();
}

TEST(a_writer_killed_at_each_marked_place)
{
    static const char *const places[] = {"connect: open", "send: to be written", "send: written"};
    enter();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        ipcx_listener *listener = listening(url, NULL);
        ipcx_chan *honest = connected(url), *reader = accepted(listener);
        pid_t child = fork();
        if (child == 0) {
            ipcx_chan *writer;
            armed = i == 2 ? NULL : places[i]; /* not its greeting */
            writer = connected(url);
            armed = places[i];
            (void)!send_by(writer, "hello", 5, SOON, NULL);
            _exit(1);
        }
        CHECK(was_killed(child));
        if (i == 2) { /* what was written is there, though its writer is not */
            CHECK_OK(receive_only(reader, IPCX_NOW, NULL));
        }
        CHECK_STATUS(receive_only(reader, IPCX_NOW, NULL), IPCX_AGAIN);
        hello(honest, reader);
        ipcx_chan_free(honest);
        ipcx_listener_free(listener);
        CHECK_STATUS(receive_only(reader, SOON, NULL), IPCX_EOF);
        ipcx_chan_free(reader);
    }
    leave();
}

/* ---- memory */

TEST(each_allocation_refused_once)
{
    enter();
    for (uint64_t k = 1;; k++) {
        ipcx_listener *listener = NULL;
        ipcx_chan *writer = NULL, *reader = NULL;
        ipcx_status status;
        bool last;
        ipcx_alloc_fail_at(k);
        status = ipcx_listen(url, NULL, &listener, NULL);
        status = status != IPCX_OK ? status : ipcx_connect(url, NULL, IPCX_NOW, &writer, NULL);
        status = status != IPCX_OK ? status : ipcx_listener_accept(listener, &reader, SOON, NULL);
        status = status != IPCX_OK ? status : send_by(writer, "hello", 5, IPCX_NOW, NULL);
        status = status != IPCX_OK ? status : receive_only(reader, IPCX_NOW, NULL);
        last = ipcx_alloc_count() < k;
        ipcx_alloc_fail_at(0);
        CHECK_STATUS(status, last ? IPCX_OK : IPCX_NOMEM);
        ipcx_chan_free(reader);
        ipcx_chan_free(writer);
        ipcx_listener_free(listener);
        CHECK(!exists(path));
        if (last) {
            CHECK(k > 4);
            break;
        }
    }
    leave();
}
