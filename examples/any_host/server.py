"""HOST can be a hostname, an IP address, or an empty string (the slide on bind()).

Empty means: all IPv4 interfaces of this machine. You see at which of its addresses each client
found the server; every 127.x.y.z is this machine.
"""

import socket

HOST = ""
PORT = 8085

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((HOST, PORT))
    s.listen()
    print("Listening at", s.getsockname())
    for _ in range(3):
        conn, addr = s.accept()
        with conn:
            print("Somebody came to", conn.getsockname())
            conn.sendall(b"Welcome!")
