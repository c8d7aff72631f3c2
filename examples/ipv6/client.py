"""The client over IPv6: only the family and the address differ."""

import socket

HOST = "::1"
PORT = 8086

with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
    s.connect((HOST, PORT))
    print("Connected to", s.getpeername())
    print("Received", repr(s.recv(1024).decode()))
