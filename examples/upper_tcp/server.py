"""Sends each client's line back in upper case: one client after the other, for ever.

The lecture's TCPServer, in Python. A line may arrive in any pieces (Java's writeBytes() sends byte
by byte), so the server reads until the newline.
"""

import socket

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
    # Lets the server be started again at once. (Java's ServerSocket does it by itself.)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("localhost", 6789))
    listener.listen()
    while True:
        conn, addr = listener.accept()
        with conn, conn.makefile("rb") as from_client:
            try:
                line = from_client.readline(65536)
                if line.endswith(b"\n"):  # else the client has gone in mid-line
                    conn.sendall(line.upper())
            except OSError as error:  # this client has gone; the next one is served
                print("A client is gone:", error)
