/* SPDX-License-Identifier: Apache-2.0
 * url: what is one, what is none, and whether the refusal helps. */
#include "check.h"

#include <limits.h>

#include "ipcx/url.h"

static ipcx_url parsed(const char *text)
{
    ipcx_url url = {0};
    ipcx_error err = {0};
    if (ipcx_url_parse(&url, text, &err) != IPCX_OK) {
        check_fail(__FILE__, __LINE__, "\"%s\": %s", text, err.detail);
    }
    return url;
}

/* Writes `url` and compares. */
static void writes(const ipcx_url *url, const char *expected)
{
    char text[IPCX_URL_MAX], small[6];
    size_t n = ipcx_url_format(url, text, sizeof text);
    CHECK_STR(text, expected);
    CHECK_INT(n, strlen(expected));
    CHECK_INT(ipcx_url_format(url, small, sizeof small), n);
    CHECK_INT(strlen(small), n < sizeof small ? n : sizeof small - 1);
    CHECK_INT(ipcx_url_format(url, NULL, 0), n);
}

/* `text` is refused, with every one of the words in the detail, and `url` left alone. */
static void refused(const char *text, const char *word, const char *other)
{
    ipcx_url url = {.port = 77};
    ipcx_error err = {0};
    CHECK_STATUS(ipcx_url_parse(&url, text, &err), IPCX_INVALID_URL);
    CHECK_STATUS(err.status, IPCX_INVALID_URL);
    if (strstr(err.detail, word) == NULL || (other != NULL && strstr(err.detail, other) == NULL)) {
        check_fail(__FILE__, __LINE__, "\"%s\": \"%s\" lacks \"%s\" or \"%s\"", text, err.detail,
                   word, other);
    }
    CHECK_INT(url.port, 77);
    CHECK_STATUS(ipcx_url_parse(&url, text, NULL), IPCX_INVALID_URL);
}

TEST(names_of_threads_meeting_places)
{
    ipcx_url url = parsed("inproc://a name/with:all, sorts");
    CHECK_INT(url.scheme, IPCX_SCHEME_INPROC);
    CHECK_STR(url.name, "a name/with:all, sorts");
    CHECK_INT(url.port, -1);
    writes(&url, "inproc://a name/with:all, sorts");
    url = parsed("inproc://");
    CHECK_STR(url.name, "");
    writes(&url, "inproc://");
}

TEST(named_pipes)
{
    ipcx_url url = parsed("fifo:///run/orders");
    CHECK_INT(url.scheme, IPCX_SCHEME_FIFO);
    CHECK_STR(url.name, "/run/orders");
    CHECK_INT(url.wait, 0);
    writes(&url, "fifo:///run/orders");
    url = parsed("FIFO:///run/orders?wait=1");
    CHECK_STR(url.name, "/run/orders");
    CHECK_INT(url.wait, 1);
    writes(&url, "fifo:///run/orders?wait=1");
    url = parsed("fifo:///run/orders?wait=0");
    writes(&url, "fifo:///run/orders");
    refused("fifo://orders", "absolute path", "fifo:///");
    refused("fifo:///run/", "directory", NULL);
    refused("fifo:///run/orders?wait", "wait=0|1", NULL);
    refused("fifo:///run/orders?wait=1&wait=1", "wait=0|1", NULL);
}

TEST(paths)
{
    char text[IPCX_URL_MAX] = "unix://";
    ipcx_url url = parsed("unix:///run/app.sock");
    CHECK_INT(url.scheme, IPCX_SCHEME_UNIX);
    CHECK_STR(url.name, "/run/app.sock");
    writes(&url, "unix:///run/app.sock");
    url = parsed("unix://");
    CHECK_STR(url.name, "");
    writes(&url, "unix://");
    url = parsed("UNIX:///tmp/a://b c");
    CHECK_STR(url.name, "/tmp/a://b c");

    memset(text + 7, 'p', 107);
    text[7] = '/';
    CHECK_INT(strlen(parsed(text).name), 107);
    text[7 + 107] = 'p';
    refused(text, "108 bytes, at most 107", NULL);
    refused("unix://run/app.sock", "unix:// needs an absolute path: unix:///run/app.sock", NULL);
    refused("unix://@abstract", "absolute path", NULL);
    refused("unix:///run/", "directory", NULL);
    refused("unix:///", "directory", NULL);
}

TEST(hosts_and_ports)
{
    ipcx_url url = parsed("tcp://127.0.0.1:5000");
    CHECK_INT(url.scheme, IPCX_SCHEME_TCP);
    CHECK_STR(url.name, "127.0.0.1");
    CHECK_INT(url.port, 5000);
    CHECK_INT(url.read_fd, -1);
    writes(&url, "tcp://127.0.0.1:5000");
    CHECK_INT(parsed("tcp://localhost:0").port, 0);
    CHECK_INT(parsed("Tcp://a-b_c.example:65535").port, 65535);
    url = parsed("tcp://[::1]:80");
    CHECK_STR(url.name, "::1");
    writes(&url, "tcp://[::1]:80");
    url = parsed("tcp://[fe80::1%eth0]:80");
    CHECK_STR(url.name, "fe80::1%eth0");
    writes(&url, "tcp://[fe80::1%eth0]:80");
    url = parsed("tcp://*:80");
    CHECK_STR(url.name, "");
    writes(&url, "tcp://*:80");
    url = parsed("tcp://:80");
    CHECK_STR(url.name, "");
    CHECK_INT(url.port, 80);
    url = parsed("udp://239.1.2.3:5000?if=lo&ttl=7&loop=0");
    CHECK_INT(url.scheme, IPCX_SCHEME_UDP);
    CHECK_INT(url.ttl, 7);
    CHECK_INT(url.loop, 0);
    CHECK_STR(url.interface, "lo");
    writes(&url, "udp://239.1.2.3:5000?ttl=7&loop=0&if=lo");
    url = parsed("udp://[::1]:80");
    CHECK_INT(url.ttl, -1);
    writes(&url, "udp://[::1]:80");
    url = parsed("tcp://");
    CHECK_INT(url.port, -1);
    writes(&url, "tcp://");
}

TEST(hosts_and_ports_that_are_none)
{
    char text[IPCX_URL_MAX] = "tcp://";
    refused("tcp://localhost", "the port is missing: tcp://127.0.0.1:5000", "tcp://localhost:");
    refused("tcp://localhost:", "the port is missing", NULL);
    refused("tcp://[::1]", "the port is missing: tcp://[::1]:5000", NULL);
    refused("tcp://[::1]:", "the port is missing", NULL);
    refused("tcp://[::1]x:5", "the port is missing", NULL);
    refused("tcp://localhost:65536", "0 to 65535", NULL);
    refused("tcp://localhost:99999999999999999999", "0 to 65535", NULL);
    refused("tcp://localhost:-1", "the port is missing", NULL);
    refused("tcp://localhost:+1", "the port is missing", NULL);
    refused("tcp://localhost:http", "the port is missing", NULL);
    refused("tcp://localhost:80/", "nothing may follow the port", NULL);
    refused("tcp://localhost:80 ", "nothing may follow the port", NULL);
    refused("tcp://::1:5000", "brackets: tcp://[::1]:5000", NULL);
    refused("tcp://[::1:5000", "the ] is missing", NULL);
    refused("tcp://[127.0.0.1]:5000", "no IPv6 address", NULL);
    refused("tcp://[]:5000", "no IPv6 address", NULL);
    refused("tcp://[::1%]:5000", "no IPv6 address", NULL);
    refused("tcp://[::1%a b]:5000", "no IPv6 address", NULL);
    refused("tcp://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:1", "no IPv6 address", NULL);
    refused("tcp://me@host:5000", "'@'", NULL);
    refused("tcp://h\xc3\xb6st:5000", "'?'", NULL);
    refused("tcp://a b:5000", "' '", NULL);
    refused("tcp://**:5000", "'*'", NULL);
    /* The resolver takes all of these for 127.0.0.1. */
    refused("tcp://127.1:5000", "no IPv4 address", NULL);
    refused("tcp://2130706433:5000", "no IPv4 address", NULL);
    refused("tcp://127.0.0.256:5000", "no IPv4 address", NULL);

    memset(text + 6, 'h', 256);
    memcpy(text + 6 + 255, ":1", 3);
    CHECK_INT(strlen(parsed(text).name), 255);
    memcpy(text + 6 + 255, "h:1", 4);
    refused(text, "256 bytes, at most 255", NULL);
}

TEST(descriptors)
{
    ipcx_url url = parsed("pipe://3,4");
    CHECK_INT(url.scheme, IPCX_SCHEME_PIPE);
    CHECK_INT(url.read_fd, 3);
    CHECK_INT(url.write_fd, 4);
    writes(&url, "pipe://3,4");
    url = parsed("pipe://-");
    CHECK_INT(url.read_fd, 0);
    CHECK_INT(url.write_fd, 1);
    writes(&url, "pipe://-");
    url = parsed("pipe://2147483647,0");
    CHECK_INT(url.read_fd, INT_MAX);
    url = parsed("pipe://");
    CHECK_INT(url.read_fd, -1);
    CHECK_INT(url.write_fd, -1);
    writes(&url, "pipe://");
    refused("pipe://3", "two descriptors: pipe://R,W", NULL);
    refused("pipe://3,", "two descriptors", NULL);
    refused("pipe://,4", "two descriptors", NULL);
    refused("pipe://3,4,5", "two descriptors", NULL);
    refused("pipe://-1,4", "two descriptors", NULL);
    refused("pipe://3, 4", "two descriptors", NULL);
    refused("pipe://2147483648,4", "two descriptors", NULL);
    refused("pipe://99999999999999999999,4", "two descriptors", NULL);
    refused("pipe://stdin", "two descriptors", NULL);
}

TEST(schemes_that_are_none)
{
    refused("udp://?if=lo", "options follow a group", "udp://239.1.2.3:5000?ttl=1");
    refused("tpc://localhost:5000", "did you mean tcp://?", "inproc, unix, tcp, udp, pipe");
    refused("unics:///run/x", "did you mean unix://?", NULL);
    refused("ipc:///run/x", "did you mean unix://?", NULL);
    refused("inprog://x", "did you mean inproc://?", NULL);
    refused("pipes://-", "did you mean pipe://?", NULL);
    refused("websocket://x", "no such scheme; there are inproc, unix, tcp, udp, pipe, shm", NULL);
    refused("a-very-long-scheme-indeed://x", "no such scheme; there are", NULL);
    refused("/run/app.sock", "did you mean unix:///run/app.sock?", NULL);
    refused("localhost:5000", "did you mean tcp://localhost:5000?", NULL);
    refused("tcp:localhost:5000", "two slashes must follow: tcp://", NULL);
    refused("unix:/run/app.sock", "two slashes must follow: unix://", NULL);
    refused("smh://x", "did you mean shm://?", NULL);
    refused("shm://a/b", "a name, no path", NULL);
    refused("shm://..", "dots alone", NULL);
    refused("shm://0123456789012345678901234567890123456789012345678901234567890123x", "at most 64",
            NULL);
    refused("hello", "no scheme; there are inproc, unix, tcp, udp, pipe, shm", NULL);
    refused("://x", "no scheme", NULL);
    refused("", "the text is empty", NULL);
    refused(" tcp://localhost:1", "did you mean tcp://?", NULL);
}

TEST(bytes_that_confuse_a_terminal)
{
    char text[IPCX_URL_MAX + 8];
    refused("tcp://localhost:5000\n", "a control character, 0x0a, at byte 20", NULL);
    refused("unix:///tmp/\x1b[2J", "0x1b, at byte 12", NULL);
    refused("inproc://\x7f", "0x7f, at byte 9", NULL);
    memset(text, 'x', sizeof text);
    memcpy(text, "inproc://", 9);
    text[IPCX_URL_MAX] = '\0';
    refused(text, "longer than 511 bytes", NULL);
    text[IPCX_URL_MAX - 1] = '\0';
    refused(text, "502 bytes, at most 255", "inproc://xxx");
    text[9 + 255] = '\0';
    CHECK_INT(strlen(parsed(text).name), 255);
}

TEST(nothing_is_read_behind_the_text)
{
    static const char *texts[] = {"tcp://localhost:80", "unix:///a", "pipe://3,4", "inproc://x",
                                  "tcp://[::1",         "tc",        "tcp:/",      ""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t n = strlen(texts[i]) + 1;
        char *copy = check_guarded(texts[i], n);
        ipcx_url url;
        ipcx_error err;
        (void)!ipcx_url_parse(&url, copy, &err);
        check_unguard(copy, n);
    }
}
