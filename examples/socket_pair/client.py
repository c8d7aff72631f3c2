"""A client that prints both addresses of its session: the kernel has chosen its own."""

import socket

HOST = "127.0.0.1"
PORT = 8084

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect((HOST, PORT))
    print("I am", s.getsockname(), "and talk to", s.getpeername())
    print("Received", repr(s.recv(1024).decode()))
