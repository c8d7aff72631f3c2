/* SPDX-License-Identifier: Apache-2.0
 * connect: every scheme's ends meet, each refusal says what to do, and nothing is left of an
 * attempt that failed. */
#include "check.h"

#include <sched.h>
#include <sys/time.h>

#include "dialing.h"

/* The last one stays within its process. */
static const char *const SCHEMES[] = {"unix://", "tcp://", "pipe://", "inproc://"};
enum { SCHEME_COUNT = sizeof SCHEMES / sizeof SCHEMES[0] };

/* ---- pairs */

TEST(pairs_speak_both_ways)
{
    for (int i = 0; i < SCHEME_COUNT; i++) {
        ipcx_chan *a, *b;
        REQUIRE_OK(ipcx_pair(SCHEMES[i], NULL, &a, &b, NULL));
        CHECK_STR(ipcx_chan_url(a), SCHEMES[i]);
        CHECK_STR(ipcx_chan_url(b), SCHEMES[i]);
        hello(a, b);
        hello(b, a);
        ipcx_chan_free(a);
        ipcx_chan_free(b);
    }
}

TEST(an_end_of_a_pair_goes_to_a_child)
{
    for (int i = 0; i < SCHEME_COUNT - 1; i++) {
        ipcx_chan *a, *b;
        pid_t child;
        REQUIRE_OK(ipcx_pair(SCHEMES[i], NULL, &a, &b, NULL));
        child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            ipcx_message said = {.data = "hello", .size = 5};
            ipcx_status status;
            ipcx_chan_free(a);
            status = ipcx_chan_send(b, &said, SOON, NULL, NULL);
            ipcx_chan_free(b);
            _exit(status != IPCX_OK);
        }
        ipcx_chan_free(b);
        {
            ipcx_message heard;
            REQUIRE_OK(ipcx_chan_receive(a, &heard, SOON, NULL));
            CHECK_MEM(heard.data, "hello", 5);
            ipcx_chan_release(a, &heard);
        }
        CHECK(check_child(child));
        ipcx_chan_free(a);
    }
}

TEST(pairs_have_no_address)
{
    static const char *const urls[] = {"unix:///tmp/x", "tcp://127.0.0.1:5000", "inproc://x",
                                       "pipe://3,4"};
    ipcx_chan *a = NULL, *b = NULL;
    ipcx_error err;
    ipcx_chan_options small = {.max_message = 1};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        CHECK_STATUS(ipcx_pair(urls[i], NULL, &a, &b, &err), IPCX_INVALID_URL);
        CHECK(strstr(err.detail, "the scheme alone") != NULL);
    }
    CHECK_STATUS(ipcx_pair("nothing", NULL, &a, &b, NULL), IPCX_INVALID_URL);
    CHECK_STATUS(ipcx_pair("unix://", &small, &a, &b, NULL), IPCX_INVALID);
    CHECK(a == NULL && b == NULL);
}

/* ---- nobody there */

TEST(nobody_listens)
{
    folder at = folder_make();
    ipcx_addr addr;
    char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE_OK(ipcx_addr_ip(&addr, "127.0.0.1", 0, NULL));
    REQUIRE(fd >= 0 && bind(fd, &addr.u.sa, addr.len) == 0 &&
            getsockname(fd, &addr.u.sa, &addr.len) == 0);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%d", ipcx_addr_port(&addr));
    connect_fails(url, SOON, IPCX_REFUSED, url);
    connect_fails(url, SOON, IPCX_REFUSED, "start the listener first");
    connect_fails(url, IPCX_NOW, IPCX_REFUSED, url);
    connect_fails(url, IPCX_FOREVER, IPCX_REFUSED, url);
    (void)snprintf(url, sizeof url, "tcp://localhost:%d", ipcx_addr_port(&addr));
    connect_fails(url, SOON, IPCX_REFUSED, "start the listener first");
    (void)snprintf(url, sizeof url, "tcp://*:%d", ipcx_addr_port(&addr));
    connect_fails(url, SOON, IPCX_REFUSED, "start the listener first");
    close(fd);

    connect_fails(at.url, SOON, IPCX_REFUSED, at.url);
    connect_fails(at.url, SOON, IPCX_REFUSED, "start the listener first");
    file_make(at.name, "x");
    connect_fails(at.url, SOON, IPCX_REFUSED, "that is no socket");
    REQUIRE(unlink(at.name) == 0);
    connect_fails("unix:///tmp/no/such/folder/app.sock", SOON, IPCX_REFUSED, "start the listener");
    folder_remove(&at);
    connect_fails("inproc://nobody-is-here", SOON, IPCX_REFUSED, "");
}

TEST(urls_that_lack_something)
{
    connect_fails("tcp://", SOON, IPCX_INVALID_URL, "host and port are missing");
    connect_fails("tcp://127.0.0.1:0", SOON, IPCX_INVALID_URL, "127.0.0.1:0: only a listener may");
    connect_fails("unix://", SOON, IPCX_INVALID_URL, "the path is missing");
    connect_fails("inproc://", SOON, IPCX_INVALID_URL, "the name is missing");
    connect_fails("pipe://", SOON, IPCX_INVALID_URL, "two descriptors are missing");
    connect_fails("tpc://localhost:1", SOON, IPCX_INVALID_URL, "did you mean tcp://");
    connect_fails("tcp://no-such-host.invalid:1", SOON, IPCX_RESOLVE, "no-such-host.invalid");
}

TEST(options_out_of_range)
{
    ipcx_chan_options small = {.max_message = 1};
    ipcx_chan *chan = NULL;
    CHECK_STATUS(ipcx_connect("tcp://127.0.0.1:1", &small, SOON, &chan, NULL), IPCX_INVALID);
    CHECK(chan == NULL);
}

/* ---- somebody there who has no time */

/* A Unix socket whose backlog is full. */
static int full_listener(const folder *at, int *client)
{
    ipcx_addr addr;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE_OK(ipcx_addr_unix(&addr, at->name, strlen(at->name), NULL));
    REQUIRE(fd >= 0 && bind(fd, &addr.u.sa, addr.len) == 0 && listen(fd, 0) == 0);
    *client = stranger(at->url);
    return fd;
}

TEST(a_full_backlog_takes_until_the_deadline)
{
    folder at = folder_make();
    int client, fd = full_listener(&at, &client);
    int64_t begun = ipcx_clock_now();
    connect_fails(at.url, IPCX_NOW, IPCX_AGAIN, "");
    connect_fails(at.url, ipcx_deadline_after(20 * MS), IPCX_TIMEOUT, "");
    CHECK(ipcx_clock_now() - begun >= 20 * MS);
    close(client);
    close(fd);
    CHECK(unlink(at.name) == 0);
    folder_remove(&at);
}

static void nothing(int number)
{
    (void)number;
}

TEST(a_signal_interrupts_it)
{
    folder at = folder_make();
    int client, fd = full_listener(&at, &client);
    struct sigaction act = {.sa_handler = nothing}, old;
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    REQUIRE(sigaction(SIGALRM, &act, &old) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    connect_fails(at.url, IPCX_FOREVER, IPCX_INTR, "");
    REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0 && sigaction(SIGALRM, &old, NULL) == 0);
    close(client);
    close(fd);
    CHECK(unlink(at.name) == 0);
    folder_remove(&at);
}

/* ---- who is there */

/* Runs as another user, in a child; its exit status. */
static int as_user(uid_t uid, int (*run)(const folder *at), const folder *at)
{
    int state = -1;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        _exit(setgid(uid) == 0 && setuid(uid) == 0 ? run(at) : 99);
    }
    REQUIRE(waitpid(child, &state, 0) == child);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 100;
}

/* The connector's status, as something an exit status can be. */
static int connect_status(const folder *at)
{
    ipcx_chan *chan = NULL;
    ipcx_status status = ipcx_connect(at->url, NULL, SOON, &chan, NULL);
    ipcx_chan_free(chan);
    return -(int)status;
}

TEST(another_users_listener_is_not_trusted)
{
    folder at = folder_make();
    int ready[2], done[2];
    pid_t server;
    char byte;
    if (geteuid() != 0) {
        folder_remove(&at);
        return; /* only root can be two users */
    }
    REQUIRE(chmod(at.path, 0777) == 0 && pipe(ready) == 0 && pipe(done) == 0);
    server = fork();
    REQUIRE(server >= 0);
    if (server == 0) {
        ipcx_listener *listener = NULL;
        close(done[1]);
        if (setgid(65533) == 0 && setuid(65533) == 0 &&
            ipcx_listen(at.url, NULL, &listener, NULL) == IPCX_OK && chmod(at.name, 0666) == 0) {
            (void)!write(ready[1], "x", 1);
        }
        close(ready[1]);
        (void)!read(done[0], &byte, 1);
        ipcx_listener_free(listener);
        _exit(0);
    }
    close(ready[1]);
    REQUIRE(read(ready[0], &byte, 1) == 1);
    CHECK_INT(as_user(65534, connect_status, &at), -IPCX_AUTH);
    CHECK_INT(as_user(65533, connect_status, &at), 0);
    CHECK_INT(connect_status(&at), 0); /* root talks to everybody */
    REQUIRE(chmod(at.name, 0600) == 0);
    CHECK_INT(as_user(65534, connect_status, &at), -IPCX_AUTH); /* EACCES */
    close(done[0]);
    close(done[1]);
    close(ready[0]);
    CHECK(check_child(server));
    folder_remove(&at);
}

/* ---- descriptors that were inherited */

TEST(two_descriptors_are_a_channel)
{
    int to[2], from[2];
    char near_url[64], far_url[64];
    ipcx_chan *a, *b;
    REQUIRE(pipe(to) == 0 && pipe(from) == 0);
    (void)snprintf(near_url, sizeof near_url, "pipe://%d,%d", from[0], to[1]);
    (void)snprintf(far_url, sizeof far_url, "pipe://%d,%d", to[0], from[1]);
    a = connected(near_url);
    b = connected(far_url);
    CHECK_STR(ipcx_chan_url(a), near_url);
    hello(a, b);
    hello(b, a);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

TEST(descriptors_that_will_not_do)
{
    int ends[2];
    char url[64];
    REQUIRE(pipe(ends) == 0);
    (void)snprintf(url, sizeof url, "pipe://%d,%d", ends[1], ends[1]);
    connect_fails(url, SOON, IPCX_INVALID_URL, "not open for reading");
    (void)snprintf(url, sizeof url, "pipe://%d,%d", ends[0], ends[0]);
    connect_fails(url, SOON, IPCX_INVALID_URL, "not open for writing");
    (void)snprintf(url, sizeof url, "pipe://%d,2000000000", ends[0]);
    connect_fails(url, SOON, IPCX_INVALID_URL, "descriptor 2000000000 is not open");
    /* They are still ours. */
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

/* A program whose standard input and output are the channel; what it prints is not. */
static int filter(void)
{
    ipcx_chan *chan = NULL;
    ipcx_message heard;
    ipcx_status status = ipcx_connect("pipe://-", NULL, SOON, &chan, NULL);
    char byte;
    if (status == IPCX_OK) {
        (void)!write(STDOUT_FILENO, "printed\n", 8);
        status = ipcx_chan_receive(chan, &heard, SOON, NULL);
    }
    if (status == IPCX_OK) {
        ipcx_message back = {.data = "hello", .size = 5};
        ipcx_chan_release(chan, &heard);
        status = ipcx_chan_send(chan, &back, SOON, NULL, NULL);
    }
    if (status == IPCX_OK && read(STDIN_FILENO, &byte, 1) != 0) {
        status = IPCX_SYSTEM;
    }
    ipcx_chan_free(chan);
    return -(int)status;
}

TEST(standard_input_and_output)
{
    int to[2], from[2], errors[2];
    char url[64], printed[16] = {0};
    ipcx_message said = {.data = "hello", .size = 5}, heard;
    ipcx_chan *chan;
    pid_t child;
    REQUIRE(pipe(to) == 0 && pipe(from) == 0 && pipe(errors) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        (void)dup2(to[0], STDIN_FILENO);
        (void)dup2(from[1], STDOUT_FILENO);
        (void)dup2(errors[1], STDERR_FILENO);
        for (int fd = 3; fd < 64; fd++) {
            (void)close(fd);
        }
        _exit(filter());
    }
    close(to[0]);
    close(from[1]);
    close(errors[1]);
    (void)snprintf(url, sizeof url, "pipe://%d,%d", from[0], to[1]);
    chan = connected(url);
    CHECK_OK(ipcx_chan_send(chan, &said, SOON, NULL, NULL));
    REQUIRE_OK(ipcx_chan_receive(chan, &heard, SOON, NULL));
    CHECK_MEM(heard.data, "hello", 5);
    ipcx_chan_release(chan, &heard);
    CHECK(read(errors[0], printed, sizeof printed - 1) > 0);
    CHECK_STR(printed, "printed\n");
    CHECK(check_child(child));
    ipcx_chan_free(chan);
    close(errors[0]);
}

/* ---- what runs out */

typedef ipcx_status (*attempt)(const char *url);

static ipcx_status try_connect(const char *url)
{
    ipcx_chan *chan = NULL;
    ipcx_status status = ipcx_connect(url, NULL, SOON, &chan, NULL);
    ipcx_chan_free(chan);
    return status;
}

static ipcx_status try_pair(const char *url)
{
    ipcx_chan *a = NULL, *b = NULL;
    ipcx_status status = ipcx_pair(url, NULL, &a, &b, NULL);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    return status;
}

static void each_allocation_fails(attempt run, const char *url)
{
    int fds = check_fds();
    CHECK_OK(run(url));
    for (uint64_t k = 1;; k++) {
        ipcx_status status;
        ipcx_alloc_fail_at(k);
        status = run(url);
        if (ipcx_alloc_count() < k) {
            ipcx_alloc_fail_at(0);
            CHECK_OK(status);
            break;
        }
        /* OK: it was the goodbye that found none. */
        CHECK(status == IPCX_NOMEM || (status == IPCX_OK && k > 1));
        CHECK_INT(check_fds(), fds);
    }
    ipcx_alloc_fail_at(0);
}

/* With `k` descriptors left, for every k, until it works. */
static void each_descriptor_is_missing(attempt run, const char *url)
{
    struct rlimit old, low;
    int fds = check_fds(), highest = dup(0);
    ipcx_status status = IPCX_EXHAUSTED;
    REQUIRE(highest >= 0 && close(highest) == 0);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    for (int k = 0; k < 16 && status != IPCX_OK; k++) {
        low.rlim_cur = (rlim_t)(highest + k);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
        status = run(url);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
        if (status != IPCX_OK) {
            CHECK_STATUS(status, IPCX_EXHAUSTED);
        }
        CHECK_INT(check_fds(), fds);
    }
    CHECK_OK(status);
}

TEST(pairs_without_memory_or_descriptors)
{
    for (int i = 0; i < SCHEME_COUNT; i++) {
        each_allocation_fails(try_pair, SCHEMES[i]);
        if (!check_valgrind()) {
            each_descriptor_is_missing(try_pair, SCHEMES[i]);
        }
    }
}

TEST(connecting_without_memory_or_descriptors)
{
    folder at = folder_make();
    ipcx_listener *local = listening(at.url, NULL), *net = listening("tcp://127.0.0.1:0", NULL);
    const char *urls[] = {at.url, ipcx_listener_url(net)};
    for (int i = 0; i < 2; i++) {
        each_allocation_fails(try_connect, urls[i]);
        if (!check_valgrind()) {
            each_descriptor_is_missing(try_connect, urls[i]);
        }
    }
    ipcx_listener_free(local);
    ipcx_listener_free(net);
    folder_remove(&at);
}
