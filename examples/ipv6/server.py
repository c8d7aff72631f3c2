"""The same server with IPv6: another address family, and addresses of four parts.

addr holds (host, port) for IPv4, says the slide. For IPv6 two numbers follow: the flow information
and the scope (which interface an address that begins with fe80: belongs to).
"""

import socket

HOST = "::1"  # this machine, as 127.0.0.1 is in IPv4
PORT = 8086

with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((HOST, PORT))
    s.listen()
    print("Listening at", s.getsockname())
    conn, addr = s.accept()
    with conn:
        print("Connected by", addr)
        conn.sendall(b"Hello over IPv6!")
