"""A client must not wait for ever: it has a time limit, tries again, and gives up in the end.

It cannot tell a lost question from a lost answer or from a server that will not answer.
"""

import socket

HOST = "127.0.0.1"
PORT = 9003
TRIES = 3
PATIENCE = 0.3  # seconds

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(PATIENCE)
    for number in range(1, TRIES + 1):
        s.sendto(f"Question, try {number}".encode(), (HOST, PORT))
        try:
            data, addr = s.recvfrom(1024)
            print("Received", data)
            break
        except TimeoutError:
            print(f"Try {number}: no answer within {PATIENCE} seconds")
    else:
        print("Given up")
