/* The lecture's fragment "Listening and accepting a connection", made whole.
 *
 *     cc stream_server.c -o stream_server && ./stream_server
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
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
    char buffer[1024];
    struct sockaddr_in server_address = {0};
    server_address.sin_family = AF_INET;
    server_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* 127.0.0.1 */
    server_address.sin_port = htons(PORT);

    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0)
        fail("socket");
    if (bind(s, (struct sockaddr *)&server_address, sizeof server_address) < 0)
        fail("bind");
    if (listen(s, 5) < 0) /* up to 5 clients may wait for accept() */
        fail("listen");

    struct sockaddr_in client_address; /* accept() writes the client's address here */
    socklen_t length = sizeof client_address;
    int s_new = accept(s, (struct sockaddr *)&client_address, &length);
    if (s_new < 0)
        fail("accept");

    /* A stream has no message borders: we read until the client closes its end. */
    ssize_t n;
    while ((n = read(s_new, buffer, sizeof buffer)) > 0)
        printf("Received %zd bytes: %.*s\n", n, (int)n, buffer);
    if (n < 0)
        fail("read");
    close(s_new);
    close(s);
    return 0;
}
