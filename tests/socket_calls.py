# SPDX-License-Identifier: Apache-2.0
"""One small use of each API that can be repeated for ever, for leaks and injected faults.

``CALLS[name](kit)`` gives the call. Invariant: a call leaves everything as it found it, so that the
thousandth does what the first did.
"""

import array
import contextlib
import os
import tempfile
from collections.abc import Callable

from socket_help import Kit


def _transfer(send: Callable, receive: Callable, kind: str = "unix", timeout=None) -> Callable:
    def prepare(kit: Kit) -> Callable:
        one, two = kit.pair(kind)
        one.settimeout(timeout)
        two.settimeout(timeout)

        def call() -> None:
            send(one)
            receive(two)

        return call

    return prepare


def _send(sock) -> None:
    sock.send(b"message\n")


def _recv(sock) -> None:
    sock.recv(64)


def _refused(kit: Kit) -> Callable:
    nobody = kit.bound("tcp4")
    name = nobody.getsockname()

    def call() -> None:
        with kit.net.socket() as sock, contextlib.suppress(ConnectionRefusedError):
            sock.connect(name)

    return call


def _connection(kit: Kit) -> Callable:
    listener = kit.listener("tcp4")
    name = listener.getsockname()

    def call() -> None:
        with kit.net.socket() as client:
            client.connect(name)
            conn, _ = listener.accept()
            conn.close()

    return call


def _unix_connection(kit: Kit) -> Callable:
    listener = kit.listener("unix")
    name = listener.getsockname()

    def call() -> None:
        with kit.net.socket(kit.net.AF_UNIX) as client:
            if code := client.connect_ex(name):
                raise OSError(code, os.strerror(code))
            conn, _ = listener.accept()
            conn.close()

    return call


def _functions(kit: Kit) -> Callable:
    def call() -> None:
        net = kit.net
        server = net.create_server(("127.0.0.1", 0))
        client = net.create_connection(server.getsockname(), 5)
        conn, _ = server.accept()
        with server, client, conn, conn.dup() as copy:
            client.sendall(b"x")
            copy.recv(1)

    return call


def _making(*args: int) -> Callable:
    def prepare(kit: Kit) -> Callable:
        def call() -> None:
            kit.net.socket(*args).close()

        return call

    return prepare


def _keyword(kit: Kit) -> Callable:
    def call() -> None:
        with kit.net.socket(type=kit.net.SOCK_DGRAM) as sock:
            kit.net.socket(fileno=os.dup(sock.fileno())).close()

    return call


def _pair(kit: Kit) -> Callable:
    def call() -> None:
        for sock in kit.net.socketpair():
            sock.close()

    return call


def _detach(kit: Kit) -> Callable:
    def call() -> None:
        os.close(kit.net.socket().detach())

    return call


def _times_out(kit: Kit) -> Callable:
    one, _two = kit.pair()
    one.settimeout(1e-6)

    def call() -> None:
        with contextlib.suppress(TimeoutError):
            one.recv(1)
        with contextlib.suppress(TimeoutError):
            one.recvmsg(1)

    return call


def _would_block(kit: Kit) -> Callable:
    one, _two = kit.pair()
    one.setblocking(False)

    def call() -> None:
        with contextlib.suppress(BlockingIOError):
            one.recv(1)

    return call


def _wrong(kit: Kit) -> Callable:
    one, _two = kit.pair()
    closed = kit.socket()
    closed.close()

    def call() -> None:
        for verb, args in [
            ("recv", ("x",)), ("recv", (-1,)), ("send", ("text",)), ("sendmsg", ([1],)),
            ("connect", (5,)), ("bind", (("a",),)), ("recv_into", (b"",)), ("sendto", (b"x", 1)),
            ("settimeout", (-1,)), ("recv_until", (b"",)), ("recvmsg", (1, -1)),
        ]:  # fmt: skip
            with contextlib.suppress(TypeError, ValueError, OSError, AttributeError):
                getattr(one, verb)(*args)
            with contextlib.suppress(TypeError, ValueError, OSError, AttributeError):
                getattr(closed, verb)(*args)

    return call


def _options(kit: Kit) -> Callable:
    sock = kit.socket()

    def call() -> None:
        sock.settimeout(3.5)
        sock.setblocking(True)
        sock.settimeout(None)
        sock.gettimeout()
        sock.getsockname()
        sock.fileno()
        repr(sock)

    return call


def _rights(kit: Kit) -> Callable:
    one, two = kit.pair()

    def call() -> None:
        one.sendmsg([b"a", b"b"], [(1, 1, array.array("i", [0, 0]))])
        _, ancillary, _, _ = two.recvmsg(9, 64)
        for _, _, data in ancillary:
            for fd in array.array("i", data):
                os.close(fd)

    return call


def _shutdown(kit: Kit) -> Callable:
    def call() -> None:
        one, two = kit.net.socketpair()
        with one, two:
            one.shutdown(kit.net.SHUT_WR)
            two.recv(1)

    return call


def _file(kit: Kit) -> Callable:
    one, two = kit.pair()

    def call() -> None:
        with one.makefile("rwb") as file:
            file.write(b"x\n")
            file.flush()
            two.recv(9)
            two.send(b"y\n")
            file.readline()

    return call


def _sendfile(kit: Kit) -> Callable:
    one, two = kit.pair()
    file = kit.keep(tempfile.TemporaryFile())
    file.write(b"content")
    file.flush()

    def call() -> None:
        file.seek(0)
        one.sendfile(file)
        two.recv(9)

    return call


def _partial(kit: Kit) -> Callable:
    def call() -> None:
        one, two = kit.net.socketpair()
        with one, two:
            one.send(b"abc")
            one.close()
            with contextlib.suppress(EOFError):
                two.recv_exactly(8)
            with contextlib.suppress(EOFError):
                two.recv_until(b"\n")

    return call


CALLS: dict[str, Callable[[Kit], Callable[[], None]]] = {
    "socket": _making(),
    "socket udp": _making(2, 2),
    "socket of keywords and fileno": _keyword,
    "socketpair": _pair,
    "detach": _detach,
    "send recv": _transfer(_send, _recv),
    "send recv with a time-out": _transfer(_send, _recv, timeout=5.0),
    "send recv tcp": _transfer(_send, _recv, "tcp4"),
    "recv large": _transfer(lambda s: s.sendall(bytes(40_000)), lambda s: s.recv(1 << 16)),
    "recv waitall": _transfer(_send, lambda s: s.recv(8, 256)),
    "recv peek": _transfer(_send, lambda s: (s.recv(8, 2), s.recv(8))),
    "recv_into": _transfer(_send, lambda s: s.recv_into(bytearray(64))),
    "recvfrom unix": _transfer(_send, lambda s: s.recvfrom(64), "unix-dgram"),
    "recvfrom": _transfer(_send, lambda s: s.recvfrom(64), "udp4"),
    "recvfrom_into": _transfer(_send, lambda s: s.recvfrom_into(bytearray(64)), "udp6"),
    "recvmsg": _transfer(_send, lambda s: s.recvmsg(64, 64), "udp4"),
    "recvmsg_into": _transfer(_send, lambda s: s.recvmsg_into([bytearray(4), bytearray(9)])),
    "sendall": _transfer(lambda s: s.sendall(b"xyz"), _recv),
    "sendmsg": _transfer(lambda s: s.sendmsg([b"x", b"y"]), _recv),
    "sendto": _transfer(lambda s: s.sendto(b"x", s.getpeername()), _recv, "udp4"),
    "recv_exactly": _transfer(_send, lambda s: s.recv_exactly(8)),
    "recv_until": _transfer(_send, lambda s: s.recv_until(b"\n")),
    "partial": _partial,
    "descriptors": _rights,
    "connect accept": _connection,
    "connect_ex accept unix": _unix_connection,
    "refused": _refused,
    "functions": _functions,
    "time-out": _times_out,
    "would block": _would_block,
    "wrong arguments": _wrong,
    "options": _options,
    "shutdown": _shutdown,
    "makefile": _file,
    "sendfile": _sendfile,
}
OURS_ALONE = ("recv_exactly", "recv_until", "partial")
# Whoever called loses it: the descriptor was made by a call that succeeded, and what failed was of
# the caller.
LOST_BY_THE_CALLER = {
    "socket of keywords and fileno",
    "partial",
    "shutdown",
    "descriptors",
    "functions",
}
