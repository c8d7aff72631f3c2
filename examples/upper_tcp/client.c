/* Reads a line from the keyboard, sends it, and prints the line that comes back.
 *
 *     cc client.c -o client && ./client
 */
#include <arpa/inet.h>
#include <netinet/in.h>
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

int main(void)
{
    static char line[65536];
    struct sockaddr_in server = {0};
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    server.sin_port = htons(PORT);

    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0)
        fail("socket");
    if (connect(s, (struct sockaddr *)&server, sizeof server) < 0)
        fail("connect");

    if (fgets(line, sizeof line, stdin) == NULL) {
        fprintf(stderr, "There is no line to send.\n");
        return 1;
    }
    size_t length = strcspn(line, "\n");
    line[length++] = '\n'; /* also where the keyboard's last line had none */

    for (size_t sent = 0; sent < length;) { /* write() may take less than it is given */
        ssize_t n = write(s, line + sent, length - sent);
        if (n < 0)
            fail("write");
        sent += (size_t)n;
    }

    /* The answer may come in many pieces: each is printed as it comes, until the newline. */
    printf("FROM SERVER: ");
    for (;;) {
        ssize_t n = read(s, line, sizeof line);
        if (n < 0)
            fail("read");
        if (n == 0) /* the server has closed without a newline */
            break;
        char *newline = memchr(line, '\n', (size_t)n);
        if (newline != NULL)
            n = newline - line;
        fwrite(line, 1, (size_t)n, stdout);
        if (newline != NULL)
            break;
    }
    printf("\n");
    close(s);
    return 0;
}
