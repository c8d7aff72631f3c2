"""Full duplex: data may flow both ways at the same time (the slide's definition of a socket).

Both sides send 8 MiB, more than the buffers hold. Were each to read only after it has sent, both
would wait for ever; so a second thread reads from the same socket meanwhile.
"""

import socket
import threading

HOST = "127.0.0.1"
PORT = 8087
AMOUNT = 8 * 1024 * 1024


def receive(conn):
    total = 0
    while data := conn.recv(65536):
        total += len(data)
    print("The server has received", total, "bytes meanwhile")


with socket.create_server((HOST, PORT)) as s:
    conn, addr = s.accept()
    with conn:
        reader = threading.Thread(target=receive, args=(conn,))
        reader.start()
        conn.sendall(bytes(AMOUNT))
        conn.shutdown(socket.SHUT_WR)  # this direction is done; the other one goes on
        reader.join()
