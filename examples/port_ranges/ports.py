"""Ports: well-known (1-1023), registered (1024-49151), dynamic or private (49152-65535).

You see a service's well-known port by its name; what happens when a program of yours wants that
port (not everybody may have it); and the port that the kernel chooses when you ask for port 0.
Linux chooses from a range of its own, which begins below 49152.
"""

import socket

HOST = "127.0.0.1"


def kind(port):
    return "well-known" if port < 1024 else "registered" if port < 49152 else "dynamic"


for name in ("http", "https"):
    try:
        port = socket.getservbyname(name, "tcp")
        print(f"getservbyname: {name} is port {port}, {kind(port)}")
    except OSError as error:  # no such line in the file /etc/services
        print(f"getservbyname: {name}: {error}")

for port in (80, 0):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        try:
            s.bind((HOST, port))
            got = s.getsockname()[1]
            print(f"bind to port {port}: got {got}, {kind(got)}")
        except OSError as error:  # PermissionError: below 1024 only for the administrator
            print(f"bind to port {port}: {type(error).__name__}: {error.strerror}")

for port in (-1, 65536):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        try:
            s.bind((HOST, port))
        except OverflowError:
            print(f"bind to port {port}: a port is a number of 16 bits")
