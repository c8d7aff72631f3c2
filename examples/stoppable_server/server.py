"""A server that one thread runs and another thread stops, by closing the listening socket.

On the stdlib's socket close() does not wake a thread that waits in accept(): run this with plain
`python`, press Enter, and it hangs. On ipcx's socket accept() ends with OSError, and so does it.
"""

import socket
import sys
import threading

HOST = "127.0.0.1"
PORT = 8081


def serve(listener):
    while True:
        try:
            conn, _ = listener.accept()
        except OSError as error:
            print("accept ended:", error)
            return
        with conn:
            conn.sendall(b"Hello from the thread!")


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.bind((HOST, PORT))
listener.listen()
thread = threading.Thread(target=serve, args=(listener,))
thread.start()

print("Press Enter to stop the server")
sys.stdin.readline()
listener.close()  # the thread is waiting in accept() on this very socket
thread.join()
print("The thread has ended")
