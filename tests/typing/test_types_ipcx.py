"""What type checkers say about `ipcx` itself and its core, and that it is so."""

from typing import Any, assert_type

import pytest

import ipcx
from ipcx import _core, socket


def test_an_exception_is_ours_and_the_built_in_one() -> None:
    as_error: type[ipcx.Error] = ipcx.PeerClosed
    as_connection_error: type[ConnectionError] = ipcx.PeerClosed
    as_eof: type[EOFError] = ipcx.PeerClosed
    as_timeout: type[TimeoutError] = ipcx.Timeout
    as_blocking: type[BlockingIOError] = ipcx.WouldBlock
    as_refused: type[ConnectionRefusedError] = ipcx.ConnectRefused
    as_value: type[ValueError] = ipcx.MessageTooLarge
    pairs = [
        (ipcx.PeerClosed, as_error),
        (ipcx.PeerClosed, as_connection_error),
        (ipcx.PeerClosed, as_eof),
        (ipcx.Timeout, as_timeout),
        (ipcx.WouldBlock, as_blocking),
        (ipcx.ConnectRefused, as_refused),
        (ipcx.MessageTooLarge, as_value),
    ]
    assert all(ours is seen for ours, seen in pairs)
    assert issubclass(ipcx.WouldBlock, ipcx.Timeout)


def test_what_was_taken_is_bytes() -> None:
    left, right = socket.socketpair()
    with right:
        with left:
            left.sendall(b"ab")
        with pytest.raises(ipcx.PeerClosed) as caught:
            right.recv_exactly(3)
        assert_type(caught.value, ipcx.PeerClosed)
        assert_type(caught.value.partial, bytes)
        assert caught.value.partial == b"ab"


def test_hooks() -> None:
    told: list[tuple[str, Any]] = []

    def trace(op: str, sock: socket.socket, detail: Any, error: BaseException | None) -> None:
        told.append((op, detail))

    left, right = socket.socketpair()
    with left, right:
        _core.set_trace(trace)
        try:
            left.send(b"abc")
        finally:
            _core.set_trace(None)
    assert told == [("send", 3)]


def test_the_table() -> None:
    row = _core.status_table()[0]
    assert_type(row["name"], str)
    assert_type(row["value"], int)
    assert_type(row["causes"], tuple[str, ...])
    assert isinstance(row["causes"], tuple)
    assert_type(_core.socket_prefix_trusted(), bool)
