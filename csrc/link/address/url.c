/* SPDX-License-Identifier: Apache-2.0
 * URLs of channels from text and back.
 * Invariant: a refusal says what to write instead, and shows no byte that could confuse a terminal.
 */
#include "ipcx/url.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "link/address/url.h"

#define SCHEMES "inproc, unix, tcp, udp, pipe, shm, file, fifo, tls"
#define UNIX_PATH_MAX_BYTES 107 /* unix(7): sun_path without its NUL */
#define SHM_NAME_MAX 64         /* leaves room for the directory in a socket's path */
#define SCHEME_MAX 12           /* bytes of a scheme that is looked at for a likeness */

typedef struct scheme {
    const char *name;
    ipcx_scheme scheme;
} scheme;

static const scheme schemes[] = {
    {"inproc", IPCX_SCHEME_INPROC}, {"unix", IPCX_SCHEME_UNIX}, {"tcp", IPCX_SCHEME_TCP},
    {"pipe", IPCX_SCHEME_PIPE},     {"shm", IPCX_SCHEME_SHM},   {"udp", IPCX_SCHEME_UDP},
    {"file", IPCX_SCHEME_FILE},     {"tls", IPCX_SCHEME_TLS},   {"fifo", IPCX_SCHEME_FIFO},
};
#define SCHEME_COUNT (sizeof schemes / sizeof schemes[0])

ipcx_status ipcx__url_fail(ipcx_error *err, ipcx_status status, int sys_errno, const char *op,
                           const char *url, const char *format, ...)
{
    char why[sizeof err->detail];
    size_t room, len = strlen(url), said;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, sizeof why, format, args);
    va_end(args);
    said = strlen(why) + sizeof ": ";
    room = said < sizeof why ? sizeof why - said : 0;
    if (len <= room) {
        return ipcx_error_set(err, status, sys_errno, op, "%s: %s", url, why);
    }
    room -= room > 3 ? 3 : room;
    return ipcx_error_set(err, status, sys_errno, op, "%.*s...: %s", (int)room, url, why);
}

#define refuse(err, text, ...)                                                                     \
    ipcx__url_fail((err), IPCX_INVALID_URL, 0, "url", (text), __VA_ARGS__)

/* ---- the scheme, and what somebody may have meant by another */

/* Insertions, deletions and replacements from `a` to `b`, each of at most SCHEME_MAX bytes. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[SCHEME_MAX + 1];
    for (unsigned j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b_len];
}

/* The scheme that was most likely meant, or NULL. */
static const char *nearest(const char *name, size_t len)
{
    const char *found = NULL;
    unsigned best = 3;
    if (len == 3 && strncasecmp(name, "ipc", 3) == 0) {
        return "unix"; /* what other libraries call it */
    }
    for (size_t i = 0; i < SCHEME_COUNT && len <= SCHEME_MAX; i++) {
        unsigned d = distance(name, len, schemes[i].name, strlen(schemes[i].name));
        if (d < best && d < len) {
            best = d;
            found = schemes[i].name;
        }
    }
    return found;
}

static ipcx_status no_scheme(const char *text, ipcx_error *err)
{
    const char *colon = strchr(text, ':');
    if (text[0] == '\0') {
        return ipcx_error_set(err, IPCX_INVALID_URL, 0, "url",
                              "the text is empty: tcp://127.0.0.1:5000, unix:///run/app.sock …");
    }
    if (text[0] == '/') {
        return refuse(err, text, "no scheme; did you mean unix://%.24s?", text);
    }
    for (size_t i = 0; colon != NULL && i < SCHEME_COUNT; i++) {
        size_t len = strlen(schemes[i].name);
        if ((size_t)(colon - text) == len && strncasecmp(text, schemes[i].name, len) == 0) {
            return refuse(err, text, "two slashes must follow: %s://", schemes[i].name);
        }
    }
    if (colon != NULL) {
        return refuse(err, text, "no scheme; did you mean tcp://%.24s?", text);
    }
    return refuse(err, text, "no scheme; there are " SCHEMES ": scheme://address");
}

static ipcx_status unknown_scheme(const char *text, size_t len, ipcx_error *err)
{
    const char *likely = nearest(text, len);
    if (likely != NULL) {
        return refuse(err, text, "no such scheme; did you mean %s://? There are " SCHEMES, likely);
    }
    return refuse(err, text, "no such scheme; there are " SCHEMES);
}

/* ---- what follows the scheme; `rest` is part of `text` */

static ipcx_status parse_name(ipcx_url *url, const char *text, const char *rest, size_t most,
                              ipcx_error *err)
{
    size_t len = strlen(rest);
    if (len > most) {
        return refuse(err, text, "the name has %zu bytes, at most %zu are possible", len, most);
    }
    memcpy(url->name, rest, len + 1);
    return IPCX_OK;
}

static ipcx_status parse_unix(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    size_t len = strlen(rest);
    if (len > 0 && rest[0] != '/') {
        return refuse(err, text, "unix:// needs an absolute path: unix:///run/app.sock");
    }
    if (len > 0 && rest[len - 1] == '/') {
        return refuse(err, text, "that is a directory; name a file in it");
    }
    return parse_name(url, text, rest, UNIX_PATH_MAX_BYTES, err);
}

static bool host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

/* A name, a dotted IPv4 address, "" or "*". What looks like numbers is an address or refused: the
 * resolver would read "127.1" or "2130706433" as one. */
static ipcx_status parse_host(ipcx_url *url, const char *text, const char *host, size_t len,
                              ipcx_error *err)
{
    struct in_addr in;
    if (len >= sizeof url->name) {
        return refuse(err, text, "the host has %zu bytes, at most %zu are possible", len,
                      sizeof url->name - 1);
    }
    if (len == 1 && host[0] == '*') {
        len = 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (!host_byte(host[i])) {
            return refuse(err, text, "'%c' cannot be in a host's name",
                          (unsigned char)host[i] < 0x80 ? host[i] : '?');
        }
    }
    memcpy(url->name, host, len);
    url->name[len] = '\0';
    if (len > 0 && strspn(url->name, "0123456789.") == len &&
        inet_pton(AF_INET, url->name, &in) != 1) {
        return refuse(err, text, "that is no IPv4 address: four numbers, 0 to 255");
    }
    return IPCX_OK;
}

/* "::1" or "fe80::1%eth0" out of the brackets. */
static ipcx_status parse_ipv6(ipcx_url *url, const char *text, const char *host, size_t len,
                              ipcx_error *err)
{
    char bare[INET6_ADDRSTRLEN];
    struct in6_addr in6;
    const char *percent = memchr(host, '%', len);
    size_t n = percent != NULL ? (size_t)(percent - host) : len, at = n + 1;
    bool good = len < sizeof url->name && n < sizeof bare && at != len;
    if (good) {
        memcpy(bare, host, n);
        bare[n] = '\0';
        good = inet_pton(AF_INET6, bare, &in6) == 1;
    }
    while (good && at < len) {
        good = host_byte(host[at++]);
    }
    if (!good) {
        return refuse(err, text, "no IPv6 address is in the brackets: tcp://[::1]:5000");
    }
    memcpy(url->name, host, len);
    url->name[len] = '\0';
    return IPCX_OK;
}

/* Digits to their end; -1: other bytes, none, or more than `most`. */
static int number(const char *digits, size_t len, int most)
{
    int64_t value = 0;
    if (len == 0 || len > 10) {
        return -1;
    }
    for (size_t i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9') {
            return -1;
        }
        value = value * 10 + (digits[i] - '0');
    }
    return value <= most ? (int)value : -1;
}

static ipcx_status parse_port(ipcx_url *url, const char *text, const char *port, ipcx_error *err)
{
    size_t digits = strspn(port, "0123456789");
    if (digits == 0) {
        return refuse(err, text, "the port is missing: tcp://127.0.0.1:5000");
    }
    if (port[digits] != '\0') {
        return refuse(err, text, "nothing may follow the port, a number");
    }
    url->port = number(port, digits, 65535);
    return url->port >= 0 ? IPCX_OK : refuse(err, text, "the port is not in 0 to 65535");
}

static ipcx_status parse_tcp(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    const char *colon = strrchr(rest, ':'), *end;
    ipcx_status status;
    if (rest[0] == '\0') {
        return IPCX_OK; /* a pair's */
    }
    if (rest[0] == '[') {
        end = strchr(rest, ']');
        if (end == NULL) {
            return refuse(err, text, "the ] is missing: tcp://[::1]:5000");
        }
        status = parse_ipv6(url, text, rest + 1, (size_t)(end - rest) - 1, err);
        if (status == IPCX_OK && end[1] != ':') {
            return refuse(err, text, "the port is missing: tcp://[::1]:5000");
        }
        return status == IPCX_OK ? parse_port(url, text, end + 2, err) : status;
    }
    if (colon == NULL) {
        return refuse(err, text, "the port is missing: tcp://127.0.0.1:5000");
    }
    if (memchr(rest, ':', (size_t)(colon - rest)) != NULL) {
        return refuse(err, text, "an IPv6 address stands in brackets: tcp://[::1]:5000");
    }
    status = parse_host(url, text, rest, (size_t)(colon - rest), err);
    return status == IPCX_OK ? parse_port(url, text, colon + 1, err) : status;
}

/* "ttl=1&loop=0&if=eth0", behind the question mark. */
static ipcx_status parse_group(ipcx_url *url, const char *text, const char *options,
                               ipcx_error *err)
{
    for (const char *at = options; at != NULL; at = strchr(at, '&')) {
        const char *value;
        size_t len;
        at += *at == '&';
        value = at + strcspn(at, "=&");
        value += *value == '=';
        len = strcspn(value, "&");
        if (strncmp(at, "ttl=", 4) == 0 && number(value, len, 255) >= 0) {
            url->ttl = number(value, len, 255);
        } else if (strncmp(at, "loop=", 5) == 0 && number(value, len, 1) >= 0) {
            url->loop = number(value, len, 1);
        } else if (strncmp(at, "if=", 3) == 0 && len > 0 && len < sizeof url->interface) {
            memcpy(url->interface, value, len);
            url->interface[len] = '\0';
        } else {
            return refuse(err, text, "a group's options are ttl=0…255, loop=0|1, if=NAME");
        }
    }
    return IPCX_OK;
}

static ipcx_status parse_udp(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    char address[IPCX_URL_MAX];
    const char *question = strchr(rest, '?');
    size_t len = question != NULL ? (size_t)(question - rest) : strlen(rest);
    ipcx_status status;
    memcpy(address, rest, len);
    address[len] = '\0';
    if (question != NULL && len == 0) {
        return refuse(err, text, "options follow a group: udp://239.1.2.3:5000?ttl=1");
    }
    status = parse_tcp(url, text, address, err);
    return status == IPCX_OK && question != NULL ? parse_group(url, text, question + 1, err)
                                                 : status;
}

static ipcx_status parse_pipe(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    const char *comma = strchr(rest, ',');
    if (rest[0] == '\0') {
        return IPCX_OK;
    }
    if (strcmp(rest, "-") == 0) {
        url->read_fd = 0;
        url->write_fd = 1;
        return IPCX_OK;
    }
    if (comma != NULL) {
        url->read_fd = number(rest, (size_t)(comma - rest), INT32_MAX);
        url->write_fd = number(comma + 1, strlen(comma + 1), INT32_MAX);
    }
    if (url->read_fd < 0 || url->write_fd < 0) {
        return refuse(err, text, "two descriptors: pipe://R,W, or pipe://- for stdin and stdout");
    }
    return IPCX_OK;
}

static bool option_is(const char *option, size_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(option, wanted, size) == 0;
}

/* An absolute path, up to the question mark or the end; *options is what follows the path. */
static ipcx_status parse_path(ipcx_url *url, const char *text, const char *rest,
                              const char **options, ipcx_error *err)
{
    char path[IPCX_URL_MAX];
    size_t len = strcspn(rest, "?");
    memcpy(path, rest, len);
    path[len] = '\0';
    *options = rest + len;
    if (len > 0 && path[0] != '/') {
        return refuse(err, text, "%.4s:// needs an absolute path: %.4s:///var/tmp/app", text, text);
    }
    if (len > 0 && path[len - 1] == '/') {
        return refuse(err, text, "that is a directory; name a file in it");
    }
    return parse_name(url, text, path, sizeof url->name - 1, err);
}

/* "from=start|end", "durable=0|1", behind the question mark. */
static ipcx_status parse_file(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    const char *at;
    ipcx_status status = parse_path(url, text, rest, &at, err);
    for (; status == IPCX_OK && *at != '\0'; at += 1 + strcspn(at + 1, "&")) {
        size_t size = strcspn(at + 1, "&");
        if (option_is(at + 1, size, "from=end")) {
            url->from_end = 1;
        } else if (option_is(at + 1, size, "durable=1")) {
            url->durable = 1;
        } else if (!option_is(at + 1, size, "from=start") &&
                   !option_is(at + 1, size, "durable=0")) {
            return refuse(err, text, "a file's options are from=start|end, durable=0|1");
        }
    }
    return status;
}

/* "wait=0|1". */
static ipcx_status parse_fifo(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    const char *at;
    ipcx_status status = parse_path(url, text, rest, &at, err);
    if (status == IPCX_OK && *at != '\0') {
        url->wait = option_is(at + 1, strlen(at + 1), "wait=1");
        if (!url->wait && !option_is(at + 1, strlen(at + 1), "wait=0")) {
            return refuse(err, text, "a named pipe's option is wait=0|1");
        }
    }
    return status;
}

/* A file of that name is made in the user's runtime directory: so no path, and no name that means
 * another place. */
static ipcx_status parse_shm(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    if (strchr(rest, '/') != NULL) {
        return refuse(err, text, "shm:// takes a name, no path: shm://camera");
    }
    if (rest[0] != '\0' && rest[strspn(rest, ".")] == '\0') {
        return refuse(err, text, "dots alone are no name");
    }
    return parse_name(url, text, rest, SHM_NAME_MAX, err);
}

static ipcx_status parse_rest(ipcx_url *url, const char *text, const char *rest, ipcx_error *err)
{
    switch (url->scheme) {
    case IPCX_SCHEME_UNIX:
        return parse_unix(url, text, rest, err);
    case IPCX_SCHEME_TCP:
    case IPCX_SCHEME_TLS:
        return parse_tcp(url, text, rest, err);
    case IPCX_SCHEME_UDP:
        return parse_udp(url, text, rest, err);
    case IPCX_SCHEME_PIPE:
        return parse_pipe(url, text, rest, err);
    case IPCX_SCHEME_SHM:
        return parse_shm(url, text, rest, err);
    case IPCX_SCHEME_FILE:
        return parse_file(url, text, rest, err);
    case IPCX_SCHEME_FIFO:
        return parse_fifo(url, text, rest, err);
    case IPCX_SCHEME_INPROC:
        break;
    }
    return parse_name(url, text, rest, sizeof url->name - 1, err);
}

ipcx_status ipcx_url_parse(ipcx_url *url, const char *text, ipcx_error *err)
{
    ipcx_url parsed = {.port = -1, .read_fd = -1, .write_fd = -1, .ttl = -1, .loop = -1};
    size_t len = strnlen(text, IPCX_URL_MAX);
    const char *slashes;
    ipcx_status status;
    if (len == IPCX_URL_MAX) {
        return ipcx_error_set(err, IPCX_INVALID_URL, 0, "url", "longer than %d bytes",
                              IPCX_URL_MAX - 1);
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return ipcx_error_set(err, IPCX_INVALID_URL, 0, "url",
                                  "a control character, 0x%02x, at byte %zu", text[i], i);
        }
    }
    slashes = strstr(text, "://");
    if (slashes == NULL || slashes == text) {
        return no_scheme(text, err);
    }
    for (size_t i = 0; i < SCHEME_COUNT; i++) {
        size_t n = strlen(schemes[i].name);
        if ((size_t)(slashes - text) == n && strncasecmp(text, schemes[i].name, n) == 0) {
            parsed.scheme = schemes[i].scheme;
            status = parse_rest(&parsed, text, slashes + 3, err);
            if (status == IPCX_OK) {
                *url = parsed;
            }
            return status;
        }
    }
    return unknown_scheme(text, (size_t)(slashes - text), err);
}
