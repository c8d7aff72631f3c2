"""And if no server is there at all? With sendto() nothing is ever heard of it.

A socket that is connected to one address is told: the other machine's "port unreachable" becomes
an error. connect() on a UDP socket sends nothing; it only fixes the other side.
"""

import socket

HOST = "127.0.0.1"
PORT = 9003  # nobody is there: start this one without the server

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(2.0)
    s.connect((HOST, PORT))
    print("connect() went well")
    print("send() went well, too:", s.send(b"Is anybody there?"), "bytes")
    try:
        print("Received", s.recv(1024))
    except ConnectionRefusedError as error:
        print("recv():", error.strerror)
