/* Reads a line from the keyboard, sends it as a datagram, and prints the one that comes back.
 *
 *     cc client.c -o client && ./client
 *
 * Without a server it waits for ever: UDP tells nobody.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 9876

static void fail(const char *what)
{
    perror(what); /* what went wrong, in the system's words */
    exit(1);
}

int main(void)
{
    char line[65536];
    struct sockaddr_in client = {0}; /* port 0: any that is free */
    client.sin_family = AF_INET;
    client.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    struct sockaddr_in server = client;
    server.sin_port = htons(PORT);

    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0)
        fail("socket");
    if (bind(s, (struct sockaddr *)&client, sizeof client) < 0)
        fail("bind");

    if (fgets(line, sizeof line, stdin) == NULL) {
        fprintf(stderr, "There is no line to send.\n");
        return 1;
    }
    size_t length = strcspn(line, "\n"); /* a datagram needs no newline: it is one message */
    if (sendto(s, line, length, 0, (struct sockaddr *)&server, sizeof server) < 0)
        fail("sendto");

    ssize_t amount = recvfrom(s, line, 1024, 0, NULL, NULL);
    if (amount < 0)
        fail("recvfrom");
    printf("FROM SERVER:");
    fwrite(line, 1, (size_t)amount, stdout);
    printf("\n");
    close(s);
    return 0;
}
