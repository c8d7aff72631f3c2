"""The slide asks: can multiple clients use the server? Yes: a thread for each client.

A client that says nothing keeps only its own thread waiting. You see how many were served.
"""

import socket
import threading

HOST = "127.0.0.1"
PORT = 8083
CLIENTS = 50

served = []


def answer(conn):
    """A line comes in, the same line in capitals goes out."""
    try:
        with conn, conn.makefile("rb") as file:
            line = file.readline(1024)
            if line.endswith(b"\n"):
                conn.sendall(line.upper())
                served.append(line)
    except OSError as error:  # gone without a good-bye
        print("A client was given up:", error)


threads = []
with socket.create_server((HOST, PORT), backlog=CLIENTS) as s:
    print("Listening")
    for _ in range(CLIENTS):
        conn, addr = s.accept()
        thread = threading.Thread(target=answer, args=(conn,))
        thread.start()
        threads.append(thread)

for thread in threads:
    thread.join()
print("Served", len(served), "of", CLIENTS, "clients, each by a thread")
