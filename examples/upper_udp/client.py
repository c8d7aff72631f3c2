"""Reads a line from the keyboard, sends it as a datagram, and prints the one that comes back.

The lecture's UDPClient, in Python. Without a server it waits for ever: UDP tells nobody.
"""

import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    line = sys.stdin.readline().rstrip("\n")
    s.sendto(line.encode(), ("localhost", 9876))
    answer, address = s.recvfrom(1024)
    print("FROM SERVER:" + answer.decode(errors="replace"))
