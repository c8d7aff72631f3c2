"""Connects to the server that can be stopped, and prints what it says."""

import socket

HOST = "127.0.0.1"
PORT = 8081

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect((HOST, PORT))
    print("Received", s.recv(1024))
