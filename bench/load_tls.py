"""The load of bench_server.py's rows over TLS: what load_server.c is for the others.

    load_tls.py requests|handshakes PORT ipcx|plain CONNECTIONS MS PEM

Prints answers (handshakes) a second, and how many there were. One request of 64 B is under way on
each connection; a handshake is followed by one request, and then by the next on a new connection.
It is a Python program over the stdlib's ssl, so it costs more than most servers: what compares
servers is their CPU time for each answer.
"""

import contextlib
import select
import socket
import ssl
import sys
import time

PAYLOAD = bytes(64)


def request(protocol):
    """(what is said first, a request, how long an answer is, what comes before the first)."""
    if protocol == "plain":
        return b"", PAYLOAD, 64, 0
    from ipcx.framing import Encoder, FrameType

    limits = b"\1\0\0\0" + (64 << 20).to_bytes(4, "big") + bytes(4)
    hello = Encoder().encode(limits, type=FrameType.HELLO)
    frame = Encoder().encode(PAYLOAD)
    return hello, frame, len(frame), len(hello)


class Line:
    """One connection, never waiting."""

    def __init__(self, context, port, said):
        hello, self.request, self.size, before = said
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setblocking(False)
        self.socket = context.wrap_socket(
            plain, server_hostname="localhost", do_handshake_on_connect=False
        )
        self.first = hello + self.request
        self.due = before + self.size
        self.shaken = False

    def go_on(self):
        """How many answers have come; BlockingIOError's kin are none."""
        if not self.shaken:
            self.socket.do_handshake()
            self.shaken = True
            self.socket.sendall(self.first)
        got = self.socket.recv(16384)
        if not got:
            raise ConnectionError("the server has hung up")
        self.due -= len(got)
        if self.due > 0:
            return 0
        self.due += self.size
        return 1

    def ask(self):
        self.socket.sendall(self.request)


def run(verb, port, said, connections, ms, context):
    poll = select.epoll()
    lines = {}

    def open_one():
        line = Line(context, port, said)
        lines[line.socket.fileno()] = line
        poll.register(line.socket, select.EPOLLIN)
        with contextlib.suppress(ssl.SSLWantReadError):
            line.go_on()

    for _ in range(connections):
        open_one()
    answers, counted, begin = 0, verb == "handshakes", time.monotonic()
    end = begin + ms / 1000
    while (now := time.monotonic()) < end or not counted:
        for fd, _ in poll.poll(0.1):
            line = lines[fd]
            try:
                answered = line.go_on()
                while not answered and line.socket.pending():
                    answered = line.go_on()
            except ssl.SSLWantReadError:
                continue
            answers += answered
            if not answered:
                continue
            if verb == "requests":
                line.ask()
            else:
                del lines[fd]
                line.socket.close()
                open_one()
        if not counted and all(line.shaken for line in lines.values()):
            counted, answers, begin = True, 0, time.monotonic()  # the handshakes do not count
            end = begin + ms / 1000
    print(f"{answers / (now - begin):.0f} {answers}")


def main():
    verb, port, protocol, connections, ms, pem = sys.argv[1:7]
    context = ssl.create_default_context(cafile=pem)
    run(verb, int(port), request(protocol), int(connections), int(ms), context)


main()
