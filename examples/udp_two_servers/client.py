"""Asks two servers with one socket; the sender's address says who has answered."""

import socket

HOST = "127.0.0.1"
PORTS = {"red": 9001, "blue": 9002}

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for port in PORTS.values():
        s.sendto(b"Who are you?", (HOST, port))
        data, addr = s.recvfrom(1024)
        print("Port", addr[1], "says", repr(data.decode()))
