"""The slide asks: can multiple clients use the server? With UDP, yes: one socket for all of them.

There is no connection and so no second socket. Each datagram brings its sender's address; the
answer goes there. You see how many datagrams and how many different clients there were.
"""

import socket

HOST = "127.0.0.1"
PORT = 9004
CLIENTS = 50

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((HOST, PORT))
    print("Waiting at port", PORT)
    seen = set()
    for _ in range(CLIENTS):
        data, addr = s.recvfrom(1024)
        seen.add(addr)
        s.sendto(data.upper(), addr)

print("Answered", len(seen), "different clients with one socket")
