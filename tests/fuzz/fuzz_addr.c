/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: addresses. The first byte chooses: a numeric host, a Unix path, or the raw bytes of
 * an address as a kernel or a peer might give them. What parses must format, and parse again to the
 * same address. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipcx/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

static void format(const ipcx_addr *addr, char *text)
{
    char small[8];
    size_t n = ipcx_addr_format(addr, text, IPCX_ADDR_TEXT_MAX);
    must(n < IPCX_ADDR_TEXT_MAX && strlen(text) == n);
    must(ipcx_addr_format(addr, small, sizeof small) == n);
    must(strncmp(small, text, sizeof small - 1) == 0);
    (void)ipcx_addr_port(addr);
}

static void fuzz_ip(const uint8_t *data, size_t size)
{
    char text[IPCX_ADDR_TEXT_MAX], again[IPCX_ADDR_TEXT_MAX], host[IPCX_ADDR_TEXT_MAX];
    ipcx_addr addr = {0}, second = {0};
    ipcx_error err;
    char *name = malloc(size + 1);
    must(name != NULL);
    if (size > 0) {
        memcpy(name, data, size);
    }
    name[size] = '\0';
    if (ipcx_addr_ip(&addr, name, 80, &err) == IPCX_OK) {
        char *end;
        format(&addr, text);
        end = strrchr(text, ':');
        must(end != NULL && strcmp(end, ":80") == 0);
        *end = '\0';
        snprintf(host, sizeof host, "%s", text[0] == '[' ? text + 1 : text);
        if (text[0] == '[') {
            host[strlen(host) - 1] = '\0';
        }
        *end = ':';
        must(ipcx_addr_ip(&second, host, 80, &err) == IPCX_OK);
        format(&second, again);
        must(strcmp(text, again) == 0);
    } else {
        must(addr.len == 0 && err.detail[sizeof err.detail - 1] == '\0');
    }
    free(name);
}

static void fuzz_unix(const uint8_t *data, size_t size)
{
    char text[IPCX_ADDR_TEXT_MAX];
    ipcx_addr addr = {0};
    ipcx_error err;
    if (ipcx_addr_unix(&addr, (const char *)data, size, &err) == IPCX_OK) {
        must(addr.len <= sizeof addr.u.un);
        format(&addr, text);
    } else {
        must(addr.len == 0);
    }
}

static void fuzz_raw(const uint8_t *data, size_t size)
{
    char text[IPCX_ADDR_TEXT_MAX];
    ipcx_addr addr = {0};
    if (size < sizeof addr.len) {
        return;
    }
    memcpy(&addr.len, data, sizeof addr.len);
    data += sizeof addr.len;
    size -= sizeof addr.len;
    memcpy(&addr.u, data, size < sizeof addr.u ? size : sizeof addr.u);
    format(&addr, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    switch (data[0] % 3) {
    case 0:
        fuzz_ip(data + 1, size - 1);
        break;
    case 1:
        fuzz_unix(data + 1, size - 1);
        break;
    default:
        fuzz_raw(data + 1, size - 1);
    }
    return 0;
}
