"""The lecture's client: sends its first argument and prints the reply."""

import socket
import sys

HOST = "127.0.0.1"
PORT = 65432

inputStr = sys.argv[1]
with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect((HOST, PORT))
    s.sendall(inputStr.encode())
    data = s.recv(1024)

print("Received", repr(data.decode()))
