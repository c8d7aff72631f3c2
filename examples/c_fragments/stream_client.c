/* The lecture's fragment "Requesting a connection", made whole.
 *
 *     cc stream_client.c -o stream_client && ./stream_client
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 6790

static void fail(const char *what)
{
    perror(what); /* what went wrong, in the system's words */
    exit(1);
}

int main(void)
{
    const char *message = "message";
    struct sockaddr_in server_address = {0};
    server_address.sin_family = AF_INET;
    server_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    server_address.sin_port = htons(PORT);

    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0)
        fail("socket");
    if (connect(s, (struct sockaddr *)&server_address, sizeof server_address) < 0)
        fail("connect");
    ssize_t n = write(s, message, strlen(message));
    if (n < 0)
        fail("write");
    printf("Sent %zd bytes\n", n);
    close(s);
    return 0;
}
