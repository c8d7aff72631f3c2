"""The slide asks: can multiple clients use the server? Yes: one thread that waits for all of them.

select() says which sockets have something to read, so no recv() has to wait. What a client has
said so far is kept until its line is whole. You see how many were served.
"""

import selectors
import socket

HOST = "127.0.0.1"
PORT = 8083
CLIENTS = 50


def answer(conn, line):
    """Reads what has come. True: a line, answered. False: the client is lost. None: not yet."""
    try:
        data = conn.recv(1024)
        line += data
        if line.endswith(b"\n"):
            conn.send(line.upper())  # so short that it always fits
            return True
    except OSError as error:  # gone without a good-bye
        print("A client was given up:", error)
        return False
    return None if data and len(line) < 1024 else False


left, served = CLIENTS, 0
with socket.create_server((HOST, PORT), backlog=CLIENTS) as s, selectors.DefaultSelector() as ready:
    print("Listening")
    ready.register(s, selectors.EVENT_READ)
    while left > 0:
        for key, _ in ready.select():
            if key.fileobj is s:
                conn, addr = s.accept()
                ready.register(conn, selectors.EVENT_READ, bytearray())
                continue
            done = answer(key.fileobj, key.data)
            if done is not None:
                ready.unregister(key.fileobj)
                key.fileobj.close()
                left, served = left - 1, served + done

print("Served", served, "of", CLIENTS, "clients by one thread that waits for all")
