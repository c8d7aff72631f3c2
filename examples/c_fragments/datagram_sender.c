/* The lecture's fragment "Sending a message", made whole.
 *
 *     cc datagram_sender.c -o datagram_sender && ./datagram_sender
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    const char *message = "message";
    struct sockaddr_in client_address = {0}; /* port 0: any that is free */
    client_address.sin_family = AF_INET;
    client_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    struct sockaddr_in server_address = client_address;
    server_address.sin_port = htons(PORT);

    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0)
        fail("socket");
    if (bind(s, (struct sockaddr *)&client_address, sizeof client_address) < 0)
        fail("bind");
    ssize_t n = sendto(s, message, strlen(message), 0, (struct sockaddr *)&server_address,
                       sizeof server_address);
    if (n < 0)
        fail("sendto");
    printf("Sent %zd bytes\n", n);
    close(s);
    return 0;
}
