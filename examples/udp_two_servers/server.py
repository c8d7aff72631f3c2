"""A packet reaches the machine's IP address; the port says which socket it is for.

Two servers on one machine, told apart by their ports and by nothing else. Each answers one
datagram and says from where it came.
"""

import socket
import sys

HOST = "127.0.0.1"
PORTS = {"red": 9001, "blue": 9002}

name = sys.argv[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((HOST, PORTS[name]))
    print("Waiting at port", PORTS[name])
    data, addr = s.recvfrom(1024)
    print("Received", data, "from", addr)
    s.sendto(b"I am the " + name.encode() + b" server", addr)
