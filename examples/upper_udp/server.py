"""Sends each datagram back in upper case, to whoever sent it, for ever.

The lecture's UDPServer, in Python. One socket serves all clients: each datagram brings its
sender's address along.
"""

import socket

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("localhost", 9876))
    while True:
        line, address = s.recvfrom(1024)  # what is longer is cut off
        s.sendto(line.upper(), address)
