/* SPDX-License-Identifier: Apache-2.0
 * Addresses nobody else has, for tests.
 * Invariant: included after check.h, in one file of a program. */
#ifndef IPCX_TESTS_ADDRESSES_H
#define IPCX_TESTS_ADDRESSES_H

#include <sys/socket.h>

#include "ipcx/addr.h"

/* An address nobody else has; `kind` is "4", "6", "path" or "abstract". */
static inline ipcx_addr address(const char *kind)
{
    static int serial;
    ipcx_addr addr = {0};
    char name[64];
    if (kind[0] == '4' || kind[0] == '6') {
        REQUIRE_OK(ipcx_addr_ip(&addr, kind[0] == '4' ? "127.0.0.1" : "::1", 0, NULL));
        return addr;
    }
    (void)snprintf(name, sizeof name, "%s/ipcx-test-%d-%d", kind[0] == 'p' ? "/tmp" : "",
                   (int)getpid(), serial++);
    if (kind[0] == 'a') {
        name[0] = '\0';
        REQUIRE_OK(ipcx_addr_unix(&addr, name, 1 + strlen(name + 1), NULL));
    } else {
        REQUIRE_OK(ipcx_addr_unix(&addr, name, strlen(name), NULL));
    }
    return addr;
}

static inline void unlink_address(const ipcx_addr *addr)
{
    if (addr->u.sa.sa_family == AF_UNIX && addr->u.un.sun_path[0] != '\0') {
        REQUIRE(unlink(addr->u.un.sun_path) == 0);
    }
}

#endif
