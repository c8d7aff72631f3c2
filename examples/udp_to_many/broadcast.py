"""Sends one datagram to everybody on this machine. Start the receivers first."""

import socket

EVERYBODY = "127.255.255.255"
PORT = 9007

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    try:
        s.sendto(b"too early", (EVERYBODY, PORT))
    except PermissionError:
        print("Broadcast must be allowed first")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"Hello, everybody!", (EVERYBODY, PORT))
    print("Sent once")
