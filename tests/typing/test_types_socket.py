"""What type checkers say about `ipcx.socket`, and that it is so: `make lint` checks this file with
mypy and pyright, `make test` runs it.
"""

import socket as stdlib
from io import BufferedReader, TextIOWrapper
from typing import Any, assert_type

from ipcx import socket


def test_whatever_makes_a_socket_makes_ours() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        assert_type(one, socket.socket)
        assert type(one) is socket.socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert_type(server, socket.socket)
        assert type(server) is socket.socket
        with socket.create_connection(server.getsockname()) as client:
            assert_type(client, socket.socket)
            assert type(client) is socket.socket
            conversation, address = server.accept()
            with conversation:
                assert_type(conversation, socket.socket)
                assert_type(address, Any)
                assert type(conversation) is socket.socket
    left, right = socket.socketpair()
    with left, right:
        assert_type(left, socket.socket)
        assert_type(right, socket.socket)
        assert type(left) is type(right) is socket.socket
        with left.dup() as copy:
            assert_type(copy, socket.socket)
            assert type(copy) is socket.socket
        with socket.fromfd(left.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as again:
            assert_type(again, socket.socket)
            assert type(again) is socket.socket


def test_ours_is_the_stdlibs_too() -> None:
    def takes_the_stdlibs(end: stdlib.socket) -> int:
        return end.fileno()

    with socket.socket() as ours:
        assert takes_the_stdlibs(ours) == ours.fileno()


def test_verbs() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert_type(left.send(b"a"), int)
        assert_type(left.sendall(bytearray(b"bc")), None)
        assert_type(left.sendmsg([b"d", memoryview(b"e")]), int)
        assert_type(right.recv(1), bytes)
        assert_type(right.recv_into(bytearray(1)), int)
        assert_type(right.recvmsg(2)[0], bytes)
        assert_type(right.recvfrom(1)[0], bytes)
        left.sendall(b"exact;line\nrest")
        exact = right.recv_exactly(6)
        assert_type(exact, bytes)
        assert exact == b"exact;"
        line = right.recv_until(b"\n")
        assert_type(line, bytes)
        assert line == b"line\n"
        rest = right.recv_until(memoryview(b"st"), limit=10)
        assert rest == b"rest"
        right.settimeout(1.5)
        assert_type(right.gettimeout(), float | None)


def test_makefile_keeps_its_overloads() -> None:
    left, right = socket.socketpair()
    with left, right, right.makefile("rb") as lines, right.makefile("r") as texts:
        assert_type(lines.readable(), bool)
        binary: BufferedReader = lines
        text: TextIOWrapper = texts
        assert binary is lines
        assert text is texts


def test_the_rest_is_the_stdlibs_own() -> None:
    family: stdlib.AddressFamily = socket.AF_INET
    assert family is stdlib.AF_INET
    assert_type(socket.gethostname(), str)
    assert_type(socket.inet_aton("127.0.0.1"), bytes)
    assert_type(socket.htons(1), int)
    error: type[OSError] = socket.gaierror
    assert error is stdlib.gaierror
    kind: type[stdlib.SocketKind] = socket.SocketKind
    assert kind is stdlib.SocketKind
