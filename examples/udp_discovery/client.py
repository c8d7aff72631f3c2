"""Finds a server of which it knows neither the IP address nor the port, and connects to it.

127.255.255.255 is everybody on this machine. On a network it would be 255.255.255.255.
"""

import socket

EVERYBODY = "127.255.255.255"
ASK_PORT = 9005

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)  # else: permission denied
    s.settimeout(2.0)
    s.sendto(b"Where is the service?", (EVERYBODY, ASK_PORT))
    data, addr = s.recvfrom(1024)

found = addr[0], int(data)
print("It is at", found)
with socket.create_connection(found) as s:
    print("Received", repr(s.recv(1024).decode()))
