"""Reaches one server by two addresses and by a name.

A name is looked up first, by DNS or in the file /etc/hosts: getaddrinfo() does it, and connect()
would, too.
"""

import socket

HOSTS = ["127.0.0.1", "127.0.0.2", "localhost"]
PORT = 8085

for host in HOSTS:
    found = socket.getaddrinfo(host, PORT, socket.AF_INET, socket.SOCK_STREAM)
    family, kind, protocol, name, address = found[0]
    with socket.socket(family, kind, protocol) as s:
        s.connect(address)
        print(host, "is", address[0], "and says", repr(s.recv(1024).decode()))
