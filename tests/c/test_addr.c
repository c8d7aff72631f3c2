/* SPDX-License-Identifier: Apache-2.0
 * addr: text to address to text, every refusal, and input that ends at a guard page. */
#include "check.h"

#include <net/if.h>
#include <netdb.h>

#include "ipcx/addr.h"

static const char *text_of(const ipcx_addr *addr)
{
    static char text[IPCX_ADDR_TEXT_MAX];
    size_t n = ipcx_addr_format(addr, text, sizeof text);
    CHECK_INT(strlen(text), n);
    return text;
}

TEST(ip_there_and_back)
{
    static const struct {
        const char *host;
        int port;
        const char *text;
    } rows[] = {
        {"127.0.0.1", 80, "127.0.0.1:80"},
        {"0.0.0.0", 0, "0.0.0.0:0"},
        {"255.255.255.255", 65535, "255.255.255.255:65535"},
        {"::", 0, "[::]:0"},
        {"::1", 8080, "[::1]:8080"},
        {"0:0:0:0:0:0:0:1", 1, "[::1]:1"},
        {"::ffff:10.0.0.1", 5, "[::ffff:10.0.0.1]:5"},
        {"fe80::1%1", 80, "[fe80::1%1]:80"},
        {"::1%4294967295", 80, "[::1%4294967295]:80"},
        {"fe80::1%lo", 80, "[fe80::1%1]:80"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535,
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {"FE80::ABCD%0", 7, "[fe80::abcd]:7"},
    };
    size_t i;
    CHECK_INT(if_nametoindex("lo"), 1);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ipcx_addr addr = {0};
        size_t size = strlen(rows[i].host) + 1;
        char *host = check_guarded(rows[i].host, size);
        CHECK_OK(ipcx_addr_ip(&addr, host, rows[i].port, NULL));
        CHECK_STR(text_of(&addr), rows[i].text);
        CHECK_INT(ipcx_addr_port(&addr), rows[i].port);
        CHECK_OK(ipcx_addr_resolve(&addr, AF_UNSPEC, host, rows[i].port, NULL, NULL));
        CHECK_STR(text_of(&addr), rows[i].text);
        check_unguard(host, size);
    }
}

TEST(what_is_no_ip)
{
    static const char *const hosts[] = {
        "",
        "localhost",
        "127.0.0.1 ",
        " 127.0.0.1",
        "127.0.0.256",
        "127.1",
        "1.2.3",
        "1.2.3.4.5",
        "0x7f.0.0.1",
        "127.0.0.1%1",
        ":",
        ":::",
        "[::1]",
        "::1%",
        "::1%1x",
        "::1%nosuch0",
        "::1%-1",
        "::1%4294967296",
        "1::2::3",
        "::12345",
        "%1",
        "::g",
        "::1%1%1",
        "\xff",
        "1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20:21:22:23",
    };
    size_t i;
    for (i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        ipcx_addr addr = {0};
        ipcx_error err;
        size_t size = strlen(hosts[i]) + 1;
        char *host = check_guarded(hosts[i], size);
        if (!CHECK_STATUS(ipcx_addr_ip(&addr, host, 80, &err), IPCX_INVALID)) {
            printf("# host \"%s\"\n", hosts[i]);
        }
        CHECK_STR(err.op, "addr_ip");
        CHECK_INT(addr.len, 0);
        check_unguard(host, size);
    }
}

TEST(ports_outside)
{
    static const int ports[] = {-1, 65536, INT32_MAX, INT32_MIN};
    size_t i;
    for (i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        ipcx_addr addr = {0};
        ipcx_error err;
        CHECK_STATUS(ipcx_addr_ip(&addr, "127.0.0.1", ports[i], &err), IPCX_INVALID);
        CHECK_STATUS(ipcx_addr_resolve(&addr, AF_INET, "127.0.0.1", ports[i], NULL, &err),
                     IPCX_INVALID);
        CHECK_INT(addr.len, 0);
    }
}

TEST(unix_paths)
{
    ipcx_addr addr = {0};
    char path[108];
    memset(path, 'p', sizeof path);
    CHECK_OK(ipcx_addr_unix(&addr, "/tmp/x", 6, NULL));
    CHECK_INT(addr.len, 2 + 6 + 1);
    CHECK_STR(text_of(&addr), "/tmp/x");
    CHECK_INT(ipcx_addr_port(&addr), -1);
    CHECK_OK(ipcx_addr_unix(&addr, path, 107, NULL));
    CHECK_INT(addr.len, sizeof(struct sockaddr_un));
    CHECK_INT(strlen(text_of(&addr)), 107);
    CHECK_STATUS(ipcx_addr_unix(&addr, path, 108, NULL), IPCX_INVALID);
    CHECK_STATUS(ipcx_addr_unix(&addr, path, SIZE_MAX, NULL), IPCX_INVALID);
    CHECK_INT(strlen(text_of(&addr)), 107);
}

TEST(unix_paths_have_no_nul_inside)
{
    ipcx_addr addr = {0};
    ipcx_error err;
    CHECK_STATUS(ipcx_addr_unix(&addr, "a\0b", 3, &err), IPCX_INVALID);
    CHECK_STR(err.detail, "NUL in the path a");
    CHECK_STATUS(ipcx_addr_unix(&addr, "ab\0", 3, &err), IPCX_INVALID);
    CHECK_INT(addr.len, 0);
}

TEST(unix_abstract)
{
    ipcx_addr addr = {0};
    char name[109] = {0};
    memset(name + 1, 1, sizeof name - 1);
    CHECK_OK(ipcx_addr_unix(&addr, "\0name", 5, NULL));
    CHECK_INT(addr.len, 2 + 5);
    CHECK_STR(text_of(&addr), "@name");
    CHECK_OK(ipcx_addr_unix(&addr, "\0a\0\n\\\x7f\xc3\xa9", 8, NULL));
    CHECK_STR(text_of(&addr), "@a\\x00\\x0a\\\\\\x7f\xc3\xa9");
    CHECK_OK(ipcx_addr_unix(&addr, name, 108, NULL));
    CHECK_INT(addr.len, sizeof(struct sockaddr_un));
    CHECK_INT(strlen(text_of(&addr)), 1 + 107 * 4);
    CHECK_STATUS(ipcx_addr_unix(&addr, name, 109, NULL), IPCX_INVALID);
    CHECK_OK(ipcx_addr_unix(&addr, NULL, 0, NULL));
    CHECK_INT(addr.len, 2);
    CHECK_STR(text_of(&addr), "");
}

TEST(unix_path_at_a_guard_page)
{
    size_t n;
    char bytes[112];
    memset(bytes, 'x', sizeof bytes);
    for (n = 0; n <= sizeof bytes; n++) {
        ipcx_addr addr = {0};
        ipcx_error err;
        char *path = check_guarded(bytes, n);
        CHECK_STATUS(ipcx_addr_unix(&addr, path, n, &err), n <= 107 ? IPCX_OK : IPCX_INVALID);
        check_unguard(path, n);
    }
}

TEST(resolve)
{
    ipcx_addr addr = {0};
    ipcx_error err;
    int code = 4711;
    CHECK_OK(ipcx_addr_resolve(&addr, AF_UNSPEC, "", 1, &code, NULL));
    CHECK_STR(text_of(&addr), "0.0.0.0:1");
    CHECK_INT(code, 0);
    CHECK_OK(ipcx_addr_resolve(&addr, AF_INET6, "", 2, &code, NULL));
    CHECK_STR(text_of(&addr), "[::]:2");
    CHECK_OK(ipcx_addr_resolve(&addr, AF_INET, "localhost", 3, &code, NULL));
    CHECK_STR(text_of(&addr), "127.0.0.1:3");
    CHECK_OK(ipcx_addr_resolve(&addr, AF_INET, "127.1", 4, &code, NULL));
    CHECK_STR(text_of(&addr), "127.0.0.1:4");
    CHECK_STATUS(ipcx_addr_resolve(&addr, AF_INET, "::1", 5, &code, &err), IPCX_RESOLVE);
    CHECK(code != 0);
    CHECK_STATUS(ipcx_addr_resolve(&addr, AF_UNSPEC, "no host at all", 5, &code, &err),
                 IPCX_RESOLVE);
    CHECK(code != 0);
    CHECK_STR(err.op, "resolve");
    CHECK_STATUS(ipcx_addr_resolve(&addr, AF_UNIX, "x", 5, &code, &err), IPCX_INVALID);
    CHECK_INT(code, 0);
    CHECK_STR(text_of(&addr), "127.0.0.1:4");
}

TEST(format_writes_what_fits_and_counts_all)
{
    ipcx_addr addr = {0};
    size_t cap;
    CHECK_OK(ipcx_addr_ip(&addr, "fe80::1%1", 80, NULL));
    CHECK_INT(ipcx_addr_format(&addr, NULL, 0), 14);
    for (cap = 1; cap <= 20; cap++) {
        char zeros[20] = {0};
        char *buf = check_guarded(zeros, cap);
        CHECK_INT(ipcx_addr_format(&addr, buf, cap), 14);
        CHECK_INT(strlen(buf), cap < 15 ? cap - 1 : 14);
        CHECK(strncmp(buf, "[fe80::1%1]:80", cap - 1) == 0);
        check_unguard(buf, cap);
    }
}

TEST(format_of_odd_addresses)
{
    ipcx_addr addr = {0};
    CHECK_STR(text_of(&addr), "");
    CHECK_INT(ipcx_addr_port(&addr), -1);
    addr.len = 2;
    CHECK_STR(text_of(&addr), "");
    addr.u.sa.sa_family = AF_INET; /* too short for an IPv4 address */
    CHECK_STR(text_of(&addr), "(address family 2)");
    CHECK_INT(ipcx_addr_port(&addr), -1);
    addr.u.sa.sa_family = AF_PACKET;
    addr.len = 20;
    CHECK_STR(text_of(&addr), "(address family 17)");
    /* recvfrom(2) may give a length over the storage's: a path without its NUL. */
    memset(&addr.u, 'q', sizeof addr.u);
    addr.u.sa.sa_family = AF_UNIX;
    addr.len = UINT32_MAX;
    CHECK_INT(strlen(text_of(&addr)), 108);
}
