"""The same socket on the same machine may be shared among threads (the slide).

This server reads the lines that four threads of the client send over one connection. You see that
every line is whole, because the threads take turns, and that each thread's lines are in order.
"""

import socket

HOST = "127.0.0.1"
PORT = 8088

with socket.create_server((HOST, PORT)) as s:
    conn, addr = s.accept()
    seen = {}
    with conn, conn.makefile("r") as file:
        for line in file:
            thread, number = line.split()
            seen.setdefault(thread, []).append(int(number))

for thread, numbers in sorted(seen.items()):
    in_order = numbers == list(range(len(numbers)))
    print("Thread", thread, "sent", len(numbers), "lines, in order:", in_order)
