"""Sends one datagram to the members of a group. Start the receivers first."""

import socket
import sys

GROUP = "239.1.2.3"
PORT = 9007
INTERFACE = "127.0.0.1"

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    try:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(INTERFACE))
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)  # not beyond this machine
        s.sendto(b"Hello, members!", (GROUP, PORT))
        print("Sent once")
    except OSError as error:
        sys.exit(f"This machine has no route for multicast: {error.strerror}")
