"""TCP carries a stream of bytes, not messages: who wants messages must say where they end.

recv_until() and recv_exactly() are ipcx's; with the stdlib you would write a loop and a buffer.
"""

import ipcx
from ipcx import socket

HOST = "127.0.0.1"
PORT = 8082

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.bind((HOST, PORT))
    s.listen()
    conn, addr = s.accept()
    with conn:
        # recv() cuts where it likes: here after 7 bytes. (MSG_PEEK looks without taking.)
        print("recv(7)           ", conn.recv(7, socket.MSG_PEEK))

        # A message that ends with a delimiter: three of them came in one send.
        for _ in range(3):
            print("recv_until(b'\\n') ", conn.recv_until(b"\n"))

        # A message of a known size: it came in two sends.
        print("recv_exactly(8)   ", conn.recv_exactly(8))

        # A message that its sender did not finish.
        try:
            conn.recv_exactly(8)
        except ipcx.PeerClosed as error:
            print("recv_exactly(8)    PeerClosed; until then:", error.partial)
