/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: URLs of channels. What parses is written, and parses again to the same; what does
 * not is refused in words that hold no control character. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipcx/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

static void again(const ipcx_url *url)
{
    char text[IPCX_URL_MAX], small[8];
    ipcx_url second = {0};
    size_t n = ipcx_url_format(url, text, sizeof text);
    must(n < sizeof text && strlen(text) == n);
    must(ipcx_url_format(url, small, sizeof small) == n);
    must(strncmp(small, text, sizeof small - 1) == 0);
    must(ipcx_url_parse(&second, text, NULL) == IPCX_OK);
    must(second.scheme == url->scheme && second.port == url->port);
    must(second.read_fd == url->read_fd && second.write_fd == url->write_fd);
    must(strcmp(second.name, url->name) == 0);
    must(second.ttl == url->ttl && second.loop == url->loop);
    must(strcmp(second.interface, url->interface) == 0);
    must(second.from_end == url->from_end && second.durable == url->durable);
    must(second.wait == url->wait);
}

static void check(const ipcx_url *url)
{
    size_t len = strnlen(url->name, sizeof url->name);
    must(len < sizeof url->name);
    must(url->scheme == IPCX_SCHEME_TCP || url->scheme == IPCX_SCHEME_TLS ||
         url->scheme == IPCX_SCHEME_UDP || url->port == -1);
    must(url->port >= -1 && url->port <= 65535);
    must((url->read_fd < 0) == (url->write_fd < 0));
    must(url->scheme == IPCX_SCHEME_PIPE || url->read_fd == -1);
    must((url->scheme != IPCX_SCHEME_FILE && url->scheme != IPCX_SCHEME_FIFO) || len == 0 ||
         (url->name[0] == '/' && url->name[len - 1] != '/' && strchr(url->name, '?') == NULL));
    must(url->scheme == IPCX_SCHEME_FIFO || !url->wait);
    must(url->scheme == IPCX_SCHEME_FILE || (!url->from_end && !url->durable));
    must(url->scheme != IPCX_SCHEME_UNIX || len == 0 || (url->name[0] == '/' && len <= 107));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    ipcx_url url = {0};
    ipcx_error err = {0};
    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    if (ipcx_url_parse(&url, text, &err) == IPCX_OK) {
        check(&url);
        again(&url);
    } else {
        must(url.scheme == 0 && strnlen(err.detail, sizeof err.detail) < sizeof err.detail);
        for (const char *at = err.detail; *at != '\0'; at++) {
            must((unsigned char)*at >= 0x20 && *at != 0x7f);
        }
    }
    free(text);
    return 0;
}
