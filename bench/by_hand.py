"""Messages over a stream socket with the standard library: two peers of several benches."""

import struct
from itertools import repeat


class Struct:
    """What a program does by hand."""

    import socket

    def __init__(self, sock):
        self.sock = sock

    def send(self, message):
        self.sock.sendall(struct.pack(">I", len(message)) + message)

    def send_many(self, messages):
        self.sock.sendall(b"".join([struct.pack(">I", len(m)) + m for m in messages]))

    def exactly(self, size):
        piece = self.sock.recv(size)
        if len(piece) == size:
            return piece
        pieces = [piece]
        while piece and (size := size - len(piece)):
            piece = self.sock.recv(size)
            pieces.append(piece)
        if not piece:
            raise EOFError
        return b"".join(pieces)

    def receive(self):
        (size,) = struct.unpack(">I", self.exactly(4))
        return self.exactly(size)

    def receive_count(self, count):
        for _ in repeat(None, count):
            self.receive()

    def close(self):
        self.sock.close()


class Multiprocessing(Struct):
    def __init__(self, sock):
        from multiprocessing.connection import Connection

        self.connection = Connection(sock.detach())
        self.send, self.receive = self.connection.send_bytes, self.connection.recv_bytes
        self.close = self.connection.close

    def send_many(self, messages):
        for message in messages:
            self.send(message)
