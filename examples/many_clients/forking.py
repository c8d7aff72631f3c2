"""The slide asks: can multiple clients use the server? Yes: a child process for each client.

fork() copies the process: the child talks to its client, the parent goes back to accept(). The
child's exit status tells the parent how it went. You see how many were served.
"""

import os
import socket

HOST = "127.0.0.1"
PORT = 8083
CLIENTS = 50


def answer(conn):
    """A line comes in, the same line in capitals goes out. Says whether a whole line came."""
    try:
        with conn.makefile("rb") as file:
            line = file.readline(1024)
            if line.endswith(b"\n"):
                conn.sendall(line.upper())
                return True
    except OSError as error:  # gone without a good-bye
        print("A client was given up:", error)
    return False


children = []
with socket.create_server((HOST, PORT), backlog=CLIENTS) as s:
    print("Listening", flush=True)  # else each child would have a copy of the text to print
    for _ in range(CLIENTS):
        conn, addr = s.accept()
        child = os.fork()
        if child == 0:
            s.close()  # the child's copy of the listening socket
            os._exit(0 if answer(conn) else 1)
        children.append(child)
        conn.close()  # the parent's copy; the client sees the end when both are closed

statuses = [os.waitpid(child, 0)[1] for child in children]
print("Served", statuses.count(0), "of", CLIENTS, "clients, each by a process")
