"""recv() and send() are read() and write() with extra flags (the slide): three of them.

MSG_PEEK looks and does not take; MSG_WAITALL waits until all the bytes are there; MSG_OOB sends
one urgent byte that overtakes the others.
"""

import select
import socket
import threading

HOST = "127.0.0.1"
PORT = 0  # any free port

with socket.create_server((HOST, PORT)) as s:
    client = socket.create_connection(s.getsockname())
    conn, addr = s.accept()

with client, conn:
    client.sendall(b"hello")
    print("MSG_PEEK    ", conn.recv(5, socket.MSG_PEEK))
    print("once more   ", conn.recv(5))

    client.sendall(b"one half,")
    print("MSG_PEEK    ", conn.recv(19, socket.MSG_PEEK))
    later = threading.Timer(0.1, client.sendall, [b" the other"])
    later.start()
    print("MSG_WAITALL ", conn.recv(19, socket.MSG_WAITALL))
    later.join()

    client.sendall(b"in order")
    client.send(b"!", socket.MSG_OOB)
    select.select([], [], [conn])  # waits until something urgent is there
    print("MSG_OOB     ", conn.recv(1, socket.MSG_OOB))
    print("after it    ", conn.recv(100))
