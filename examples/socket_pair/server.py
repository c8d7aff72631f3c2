"""A socket pair identifies a session: two clients at once, and all the addresses.

The slide on C says of accept() that the new socket has its own port. New it is; its port is the
listener's, as you see. What tells two sessions apart is the client's half of the pair.
"""

import socket

HOST = "127.0.0.1"
PORT = 8084

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((HOST, PORT))
    s.listen()
    print("Listening at", s.getsockname())

    first, addr = s.accept()
    print("Session 1:", first.getsockname(), "+", first.getpeername())
    second, addr = s.accept()
    print("Session 2:", second.getsockname(), "+", second.getpeername())

    with first, second:
        print("Three different sockets:", len({s.fileno(), first.fileno(), second.fileno()}) == 3)
        ports = {conn.getsockname()[1] for conn in (s, first, second)}
        print("All three have port", *ports)
        # Each answer finds its way, although both leave from the same address and port.
        first.sendall(b"You are session 1")
        second.sendall(b"You are session 2")
