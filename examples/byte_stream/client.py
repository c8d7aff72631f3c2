"""Sends three lines at once, eight bytes in two pieces, and half a message."""

from ipcx import socket

HOST = "127.0.0.1"
PORT = 8082

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect((HOST, PORT))
    print("Sending 3 lines at once, 8 bytes in two pieces, half a message")
    s.sendall(b"one\ntwo\nthree\n")
    s.sendall(b"123")
    s.sendall(b"45678")
    s.sendall(b"half")
