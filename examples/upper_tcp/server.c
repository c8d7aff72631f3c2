/* Sends each client's line back in upper case: one client after the other, for ever.
 *
 *     cc server.c -o server && ./server
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 6789

static void fail(const char *what)
{
    perror(what); /* what went wrong, in the system's words */
    exit(1);
}

/* TCP carries bytes, not lines: a line may come in many pieces (Java's client sends each byte on
 * its own). So we read until the newline is there. Returns the line's length with its newline; 0 if
 * the client has gone before the newline, or if the line does not fit. */
static size_t read_line(int s, char *line, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t n = read(s, line + have, size - have);
        if (n <= 0) /* 0: the client has closed; -1: an error */
            return 0;
        char *newline = memchr(line + have, '\n', (size_t)n);
        if (newline != NULL)
            return (size_t)(newline + 1 - line);
        have += (size_t)n;
    }
    return 0;
}

/* write() may take less than it is given: we give it the rest again. */
static void write_all(int s, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(s, data, size);
        if (n < 0) { /* this client has gone; the next one is served */
            perror("write");
            return;
        }
        data += n;
        size -= (size_t)n;
    }
}

int main(void)
{
    static char line[65536];
    struct sockaddr_in server = {0};
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    server.sin_port = htons(PORT);

    /* Writing to a client that has gone shall be an error of write(), not the end of us. */
    signal(SIGPIPE, SIG_IGN);

    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0)
        fail("socket");
    int yes = 1; /* lets the server be started again at once */
    if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
        fail("setsockopt");
    if (bind(s, (struct sockaddr *)&server, sizeof server) < 0)
        fail("bind");
    if (listen(s, 5) < 0)
        fail("listen");

    for (;;) {
        int s_new = accept(s, NULL, NULL); /* a second socket, for this one client */
        if (s_new < 0)
            fail("accept");
        size_t length = read_line(s_new, line, sizeof line);
        for (size_t i = 0; i < length; i++)
            line[i] = (char)toupper((unsigned char)line[i]);
        write_all(s_new, line, length);
        close(s_new);
    }
}
