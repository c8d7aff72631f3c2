"""The other side of the full-duplex server: it does just the same, over the same connection."""

import socket
import threading

HOST = "127.0.0.1"
PORT = 8087
AMOUNT = 8 * 1024 * 1024


def receive(s):
    total = 0
    while data := s.recv(65536):
        total += len(data)
    print("The client has received", total, "bytes meanwhile")


with socket.create_connection((HOST, PORT)) as s:
    reader = threading.Thread(target=receive, args=(s,))
    reader.start()
    s.sendall(bytes(AMOUNT))
    s.shutdown(socket.SHUT_WR)
    reader.join()
