"""Four threads share one connected socket. The lock makes one line one turn.

sendall() may need several system calls; without the lock another thread's bytes could come between.
"""

import socket
import threading

HOST = "127.0.0.1"
PORT = 8088
THREADS = "ABCD"
LINES = 100

turn = threading.Lock()


def talk(s, name):
    for number in range(LINES):
        with turn:
            s.sendall(f"{name} {number}\n".encode())


with socket.create_connection((HOST, PORT)) as s:
    threads = [threading.Thread(target=talk, args=(s, name)) for name in THREADS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(len(THREADS), "threads have shared one socket")
