/* SPDX-License-Identifier: Apache-2.0
 * URLs of channels as text.
 * Invariant: what is written here is parsed to the same again. */
#include <stdio.h>
#include <string.h>

#include "ipcx/url.h"

/* What of a group's options was chosen. */
static void format_group(const ipcx_url *url, char text[64])
{
    size_t at = 0;
    text[0] = '\0';
    if (url->ttl >= 0) {
        at += (size_t)snprintf(text + at, 64 - at, "?ttl=%d", url->ttl);
    }
    if (url->loop >= 0) {
        at += (size_t)snprintf(text + at, 64 - at, "%cloop=%d", at > 0 ? '&' : '?', url->loop);
    }
    if (url->interface[0] != '\0') {
        (void)snprintf(text + at, 64 - at, "%cif=%s", at > 0 ? '&' : '?', url->interface);
    }
}

static int format_host(const ipcx_url *url, const char *prefix, char *text, size_t cap)
{
    char group[64];
    if (url->port < 0) {
        return snprintf(text, cap, "%s://", prefix);
    }
    format_group(url, group);
    if (strchr(url->name, ':') != NULL) {
        return snprintf(text, cap, "%s://[%s]:%d%s", prefix, url->name, url->port, group);
    }
    return snprintf(text, cap, "%s://%s:%d%s", prefix, url->name[0] == '\0' ? "*" : url->name,
                    url->port, group);
}

size_t ipcx_url_format(const ipcx_url *url, char *text, size_t cap)
{
    int written = 0;
    switch (url->scheme) {
    case IPCX_SCHEME_INPROC:
        written = snprintf(text, cap, "inproc://%s", url->name);
        break;
    case IPCX_SCHEME_UNIX:
        written = snprintf(text, cap, "unix://%s", url->name);
        break;
    case IPCX_SCHEME_SHM:
        written = snprintf(text, cap, "shm://%s", url->name);
        break;
    case IPCX_SCHEME_FILE:
        written = snprintf(text, cap, "file://%s%s%s", url->name, url->from_end ? "?from=end" : "",
                           !url->durable   ? ""
                           : url->from_end ? "&durable=1"
                                           : "?durable=1");
        break;
    case IPCX_SCHEME_FIFO:
        written = snprintf(text, cap, "fifo://%s%s", url->name, url->wait ? "?wait=1" : "");
        break;
    case IPCX_SCHEME_TCP:
        written = format_host(url, "tcp", text, cap);
        break;
    case IPCX_SCHEME_TLS:
        written = format_host(url, "tls", text, cap);
        break;
    case IPCX_SCHEME_UDP:
        written = format_host(url, "udp", text, cap);
        break;
    case IPCX_SCHEME_PIPE:
        if (url->read_fd < 0) {
            written = snprintf(text, cap, "pipe://");
        } else if (url->read_fd == 0 && url->write_fd == 1) {
            written = snprintf(text, cap, "pipe://-");
        } else {
            written = snprintf(text, cap, "pipe://%d,%d", url->read_fd, url->write_fd);
        }
        break;
    }
    return written > 0 ? (size_t)written : 0;
}
