/* The lecture's fragment "Receiving a message", made whole.
 *
 *     cc datagram_receiver.c -o datagram_receiver && ./datagram_receiver
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 9877

static void fail(const char *what)
{
    perror(what); /* what went wrong, in the system's words */
    exit(1);
}

int main(void)
{
    char buffer[1024]; /* of a longer datagram the rest is cut off */
    struct sockaddr_in server_address = {0};
    server_address.sin_family = AF_INET;
    server_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    server_address.sin_port = htons(PORT);                   /* a port that the sender knows */

    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0)
        fail("socket");
    if (bind(s, (struct sockaddr *)&server_address, sizeof server_address) < 0)
        fail("bind");

    struct sockaddr_in from; /* recvfrom() writes the sender's address here */
    socklen_t length = sizeof from;
    ssize_t amount = recvfrom(s, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
    if (amount < 0)
        fail("recvfrom");
    printf("Received %zd bytes: %.*s\n", amount, (int)amount, buffer);
    printf("Sent by %s, port %d\n", inet_ntoa(from.sin_addr), ntohs(from.sin_port));
    close(s);
    return 0;
}
