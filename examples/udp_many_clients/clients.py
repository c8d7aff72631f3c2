"""Fifty clients in one program: all of them ask, then each reads its own answer."""

import socket

HOST = "127.0.0.1"
PORT = 9004
CLIENTS = 50

clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(CLIENTS)]
for number, s in enumerate(clients):
    s.settimeout(5.0)  # a datagram may be lost
    s.sendto(f"client {number}".encode(), (HOST, PORT))

answered = 0
for number, s in enumerate(clients):
    with s:
        data, addr = s.recvfrom(1024)
        answered += data == f"CLIENT {number}".encode()
print(answered, "of", CLIENTS, "were answered")
