"""Fifty clients in one program, all connected at the same time.

Each sends a line with its number and reads the answer. You see how many got their own line back.
"""

import socket

HOST = "127.0.0.1"
PORT = 8083
CLIENTS = 50

conns = [socket.create_connection((HOST, PORT)) for _ in range(CLIENTS)]
print(len(conns), "clients are connected at the same time")

for number, conn in enumerate(conns):
    conn.sendall(f"client {number}\n".encode())

answered = 0
for number, conn in enumerate(conns):
    with conn, conn.makefile("rb") as file:
        if file.readline() == f"CLIENT {number}\n".encode():
            answered += 1
print(answered, "of", CLIENTS, "were answered")
