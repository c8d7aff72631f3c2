"""Reads a line from the keyboard, sends it, and prints the line that comes back.

The lecture's TCPClient, in Python.
"""

import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect(("localhost", 6789))
    with s.makefile("r", encoding="utf-8", errors="replace") as from_server:
        line = sys.stdin.readline().rstrip("\n")
        s.sendall(line.encode() + b"\n")
        answer = from_server.readline().rstrip("\n")
        print("FROM SERVER: " + answer)
