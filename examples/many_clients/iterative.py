"""The slide asks: can multiple clients use the server? Yes, one after the other.

While one is answered, the others wait in the kernel's queue (the backlog). A client that says
nothing would stop them all, so each has PATIENCE seconds. You see how many were served.
"""

import socket

HOST = "127.0.0.1"
PORT = 8083
CLIENTS = 50
PATIENCE = 2.0


def answer(conn):
    """A line comes in, the same line in capitals goes out. Says whether a whole line came."""
    try:
        with conn, conn.makefile("rb") as file:
            conn.settimeout(PATIENCE)
            line = file.readline(1024)
            if line.endswith(b"\n"):
                conn.sendall(line.upper())
                return True
    except OSError as error:  # too slow, or gone without a good-bye
        print("A client was given up:", error)
    return False


with socket.create_server((HOST, PORT), backlog=CLIENTS) as s:
    print("Listening")
    served = 0
    for _ in range(CLIENTS):
        conn, addr = s.accept()
        served += answer(conn)

print("Served", served, "of", CLIENTS, "clients, one after the other")
