"""Sockets are easy to use: they mimic file operations (the slide). Let us take it at its word.

makefile() gives a file object, with lines. fileno() gives the descriptor, and os.read() and
os.write() do not care what it belongs to. A socket is a "file" without a position: no seek().
"""

import os
import socket

HOST = "127.0.0.1"
PORT = 0  # any free port

with socket.create_server((HOST, PORT)) as s:
    client = socket.create_connection(s.getsockname())
    conn, addr = s.accept()

with client, conn:
    with client.makefile("w", encoding="utf-8") as file:
        print("first line", file=file)
        print("second line", file=file)
    client.shutdown(socket.SHUT_WR)  # "end of file" for the other side
    with conn.makefile("r", encoding="utf-8") as file:
        for line in file:
            print("A line of the file:", repr(line))

    print("os.write() wrote", os.write(conn.fileno(), b"straight to the descriptor"), "bytes")
    print("os.read() read", os.read(client.fileno(), 1024))

    try:
        os.lseek(conn.fileno(), 0, os.SEEK_SET)
    except OSError as error:
        print("os.lseek():", error.strerror)
