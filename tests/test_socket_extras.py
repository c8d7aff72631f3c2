# SPDX-License-Identifier: Apache-2.0
"""recv_exactly and recv_until: whole pieces of a byte stream, and not a byte more."""

import os
import select
import signal
import threading
import time

import pytest
from socket_waits import signalled

import ipcx
from ipcx import socket as net
from socket_help import STREAMS, Background, Kit

streams = pytest.mark.parametrize("kind", STREAMS)
each_timeout = pytest.mark.parametrize("timeout", [None, 8.0])


def later(sock, *pieces: bytes) -> Background:
    """Sends each piece once the one before it was taken by the other end."""

    def send() -> None:
        for piece in pieces:
            sock.sendall(piece)
            while sock.family == net.AF_UNIX and unread(sock):
                time.sleep(0.0005)

    return Background(send)


def unread(sock) -> int:
    import array
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]


@streams
@each_timeout
@pytest.mark.parametrize("size", [0, 1, 100, 16384, 16385, 1 << 20])
def test_recv_exactly(kind: str, timeout: float | None, size: int) -> None:
    data = os.urandom(size)
    with Kit(net) as kit:
        one, two = kit.pair(kind)
        two.settimeout(timeout)
        sender = Background(one.sendall, data + b"rest")
        assert two.recv_exactly(size) == data
        assert two.recv_exactly(4) == b"rest"
        sender.finish()


@each_timeout
@pytest.mark.parametrize("split", range(1, 8))
def test_recv_exactly_of_pieces(timeout: float | None, split: int) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        two.settimeout(timeout)
        sender = later(one, b"12345678"[:split], b"12345678"[split:])
        assert two.recv_exactly(8) == b"12345678"
        sender.finish()


@streams
@each_timeout
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"abab", b"\0", b"<end>"])
def test_recv_until(kind: str, timeout: float | None, delimiter: bytes) -> None:
    with Kit(net) as kit:
        one, two = kit.pair(kind)
        two.settimeout(timeout)
        one.sendall(b"first" + delimiter + delimiter + b"rest")
        assert two.recv_until(delimiter) == b"first" + delimiter
        assert two.recv_until(delimiter) == delimiter
        assert two.recv(99) == b"rest"


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"abab", b"aab", b"xyzxyzxyz"])
def test_recv_until_split_at_every_byte(delimiter: bytes) -> None:
    message = b"aaaba" + delimiter
    rest = b"not to be taken" + delimiter
    with Kit(net) as kit:
        one, two = kit.pair()
        expected = (message + rest).partition(delimiter)[0] + delimiter
        for split in range(1, len(message)):
            sender = later(one, message[:split], message[split:] + rest)
            assert two.recv_until(delimiter) == expected
            assert (
                two.recv_exactly(len(message + rest) - len(expected))
                == ((message + rest)[len(expected) :])
            )
            sender.finish()


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"abab"])
def test_recv_until_byte_by_byte(delimiter: bytes) -> None:
    message = b"ababa\r\r" + delimiter + b"x"
    with Kit(net) as kit:
        one, two = kit.pair()
        sender = later(one, *(bytes([letter]) for letter in message))
        expected = message[: message.index(delimiter) + len(delimiter)]
        assert two.recv_until(delimiter) == expected
        rest = message[len(expected) :]
        assert two.recv_exactly(len(rest)) == rest
        sender.finish()


@pytest.mark.parametrize("size", [100, 4095, 4096, 4097, 65535, 65536, 65537, 300_000])
def test_recv_until_of_much(size: int) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        sender = Background(one.sendall, b"x" * (size - 1) + b"\nrest")
        assert two.recv_until(b"\n", limit=size) == b"x" * (size - 1) + b"\n"
        assert two.recv_exactly(4) == b"rest"
        sender.finish()


@pytest.mark.parametrize("limit", [1, 2, 10, 4096, 65536])
def test_recv_until_limit(limit: int) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.sendall(b"x" * limit + b"\n")
        with pytest.raises(ipcx.MessageTooLarge) as info:
            two.recv_until(b"\n", limit)
        assert isinstance(info.value, ValueError)
        assert isinstance(info.value, ipcx.Error)
        assert info.value.partial == b"x" * limit
        assert two.recv(9) == b"\n"


def test_default_limit() -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        sender = Background(one.sendall, b"x" * 65536 + b"\n")
        with pytest.raises(ipcx.MessageTooLarge):
            two.recv_until(b"\n")
        assert two.recv(9) == b"\n"
        sender.finish()
        one.sendall(b"x" * 65535 + b"\n")
        assert len(two.recv_until(b"\n")) == 65536


@streams
@each_timeout
def test_peer_closes_before_the_end(kind: str, timeout: float | None) -> None:
    with Kit(net) as kit:
        one, two = kit.pair(kind)
        two.settimeout(timeout)
        one.sendall(b"1234")
        one.close()
        with pytest.raises(ipcx.PeerClosed) as info:
            two.recv_exactly(8)
        assert isinstance(info.value, EOFError)
        assert isinstance(info.value, ConnectionError)
        assert info.value.partial == b"1234"
        with pytest.raises(ipcx.PeerClosed) as again:
            two.recv_until(b"\n")
        assert again.value.partial == b""
        assert two.recv_exactly(0) == b""


def test_peer_closes_in_the_middle_of_a_line() -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        waiter = Background(two.recv_until, b"\n").until_blocked()
        one.sendall(b"half a li")
        one.close()
        with pytest.raises(ipcx.PeerClosed) as info:
            waiter.finish()
        assert info.value.partial == b"half a li"


def test_timeout_of_the_whole_call() -> None:
    """A byte now and then does not prolong it."""
    with Kit(net) as kit:
        one, two = kit.pair()
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.01):
                one.send(b"x")

        sender = Background(trickle)
        two.settimeout(0.1)
        for call in (lambda: two.recv_exactly(1 << 20), lambda: two.recv_until(b"\n")):
            started = time.monotonic()
            with pytest.raises(TimeoutError, match=r"^timed out$") as info:
                call()
            assert time.monotonic() - started >= 0.1
            assert set(info.value.partial) <= set(b"x")
            assert type(info.value) is TimeoutError
        stop.set()
        sender.finish()


def test_nonblocking() -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        two.setblocking(False)
        one.sendall(b"1234")
        for call in (lambda: two.recv_exactly(8), lambda: two.recv_until(b"\n")):
            with pytest.raises(BlockingIOError) as info:
                call()
            assert info.value.partial in (b"1234", b"")
        one.sendall(b"line\n")
        assert two.recv_until(b"\n") == b"line\n"


def test_closed_by_another_thread_tells_what_it_had() -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.sendall(b"1234")
        waiter = Background(two.recv_exactly, 8).until_blocked()
        two.close()
        with pytest.raises(OSError, match="Errno 9") as info:
            waiter.finish()
        assert info.value.partial == b"1234"


def test_ctrl_c_tells_what_it_had() -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.sendall(b"1234")
        with signalled(signal.SIGINT), pytest.raises(KeyboardInterrupt) as info:
            two.recv_exactly(8)
        assert info.value.partial == b"1234"
        one.sendall(b"5678")
        assert two.recv_exactly(4) == b"5678"


@pytest.mark.parametrize("args", [(), ("x",), (1.5,), (None,), (1, 2), (b"1",)], ids=repr)
def test_recv_exactly_wrong_types(args: tuple) -> None:
    with Kit(net) as kit:
        one, _two = kit.pair()
        with pytest.raises(TypeError):
            one.recv_exactly(*args)


@pytest.mark.parametrize(
    "args", [(), (1,), ("x",), (None,), (b"x", "y"), (b"x", 1.5), (b"x", 1, 2), ([],)], ids=repr
)
def test_recv_until_wrong_types(args: tuple) -> None:
    with Kit(net) as kit:
        one, _two = kit.pair()
        with pytest.raises(TypeError):
            one.recv_until(*args)


def test_wrong_values() -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        two.sendall(b"stays")
        for call in (
            lambda: one.recv_exactly(-1),
            lambda: one.recv_until(b""),
            lambda: one.recv_until(b"abc", 2),
            lambda: one.recv_until(b"x", 0),
            lambda: one.recv_until(b"x", -1),
        ):
            with pytest.raises(ValueError, match=r"recv_(exactly|until)"):
                call()
        for call in (
            lambda: one.recv_exactly(1 << 70),
            lambda: one.recv_until(b"x", 1 << 70),
        ):
            with pytest.raises(OverflowError):
                call()
        with pytest.raises((MemoryError, OverflowError)):
            one.recv_exactly((1 << 63) - 1)
        assert one.recv(9) == b"stays"


def test_keywords_and_buffers() -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        two.sendall(b"1234line\nanother\n")
        assert one.recv_exactly(n=4) == b"1234"
        assert one.recv_until(delimiter=bytearray(b"\n"), limit=9) == b"line\n"
        assert one.recv_until(memoryview(b"\n")) == b"another\n"


@pytest.mark.parametrize("kind", ["udp4", "unix-dgram", "seqpacket"])
def test_only_of_streams(kind: str) -> None:
    with Kit(net) as kit:
        one, two = kit.pair(kind)
        two.send(b"message\n")
        with pytest.raises(ValueError, match="byte stream"):
            one.recv_exactly(3)
        with pytest.raises(ValueError, match="byte stream"):
            one.recv_until(b"\n")
        assert one.recv(99) == b"message\n"


def test_closed_socket() -> None:
    sock = net.socket()
    sock.close()
    with pytest.raises(OSError, match="Errno 9"):
        sock.recv_exactly(1)
    with pytest.raises(OSError, match="Errno 9"):
        sock.recv_until(b"x")


def test_not_connected() -> None:
    with net.socket() as sock, pytest.raises(OSError, match="Errno 107"):
        sock.recv_exactly(1)


def test_a_long_silence_costs_nothing() -> None:
    """While it waits for the delimiter it sleeps: what was looked through is not seen again."""
    with Kit(net) as kit:
        one, two = kit.pair()
        one.sendall(b"no end yet")
        waiter = Background(two.recv_until, b"\n").until_blocked()
        poll = select.poll()
        poll.register(two, select.POLLIN)
        assert poll.poll(0) == []
        one.sendall(b"\n")
        assert waiter.finish() == b"no end yet\n"
