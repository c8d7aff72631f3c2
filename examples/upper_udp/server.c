/* Sends each datagram back in upper case, to whoever sent it, for ever.
 *
 *     cc server.c -o server && ./server
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define PORT 9876

static void fail(const char *what)
{
    perror(what); /* what went wrong, in the system's words */
    exit(1);
}

int main(void)
{
    char buffer[1024]; /* of a longer datagram the rest is cut off */
    struct sockaddr_in server = {0};
    server.sin_family = AF_INET;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    server.sin_port = htons(PORT);

    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0)
        fail("socket");
    if (bind(s, (struct sockaddr *)&server, sizeof server) < 0)
        fail("bind");

    for (;;) {
        struct sockaddr_in from; /* recvfrom() writes the sender's address here */
        socklen_t from_length = sizeof from;
        ssize_t amount =
            recvfrom(s, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &from_length);
        if (amount < 0)
            fail("recvfrom");
        for (ssize_t i = 0; i < amount; i++)
            buffer[i] = (char)toupper((unsigned char)buffer[i]);
        /* An answer that cannot be sent is that client's loss only. */
        if (sendto(s, buffer, (size_t)amount, 0, (struct sockaddr *)&from, from_length) < 0)
            perror("sendto");
    }
}
