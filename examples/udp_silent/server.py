"""The server may never send a response (the slide). This one reads three questions, silently."""

import socket

HOST = "127.0.0.1"
PORT = 9003

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((HOST, PORT))
    print("Waiting at port", PORT)
    for _ in range(3):
        data, addr = s.recvfrom(1024)
        print("Received", data, "and say nothing")
