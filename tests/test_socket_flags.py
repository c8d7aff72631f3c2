# SPDX-License-Identifier: Apache-2.0
"""Flags of one call, options of the socket and O_NONBLOCK set behind the object's back."""

import os
import socket as stdlib
import struct

import pytest

from socket_help import STREAMS, Background, Kit, attempt, both, fill, same, until

streams = pytest.mark.parametrize("kind", STREAMS)
everywhere = pytest.mark.parametrize("kind", [*STREAMS, "unix-dgram", "udp4", "seqpacket"])
TIMEOUTS = (None, 8.0, 0.0)


def readable(sock) -> None:
    import select

    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    assert poll.poll(8000)


@everywhere
def test_peek_takes_nothing(kind: str) -> None:
    def scenario(kit: Kit):
        told = []
        for timeout in TIMEOUTS:
            one, two = kit.pair(kind)
            one.send(b"message")
            readable(two)
            two.settimeout(timeout)
            buffer = bytearray(3)
            told += [
                two.recv(3, stdlib.MSG_PEEK),
                two.recv_into(buffer, 0, stdlib.MSG_PEEK),
                bytes(buffer),
                two.recvfrom(9, stdlib.MSG_PEEK)[0],
                two.recvmsg(9, 0, stdlib.MSG_PEEK)[0],
                two.recv(9),
            ]
        return told

    same(scenario)


@streams
@pytest.mark.parametrize("timeout", [None, 8.0])
@pytest.mark.parametrize("peek", [0, stdlib.MSG_PEEK])
def test_waitall_waits_for_all(kind: str, timeout: float | None, peek: int) -> None:
    """With a time-out the stdlib's gives what one recv(2) gives: ours must do the same."""

    def scenario(kit: Kit):
        told = []
        flags = stdlib.MSG_WAITALL | peek
        calls = (
            lambda sock: sock.recv(8, flags),
            lambda sock: sock.recv_into(bytearray(8), 8, flags),
            lambda sock: sock.recvfrom(8, flags)[0],
            lambda sock: sock.recvmsg(8, 0, flags)[0],
            lambda sock: sock.recvmsg_into([bytearray(3), bytearray(5)], 0, flags)[0],
        )
        for call in calls:
            one, two = kit.pair(kind)
            two.settimeout(timeout)
            thread = Background(call, two).until_blocked()
            one.sendall(b"1234")
            if timeout is None and not (peek and kind == "unix"):  # AF_UNIX gives what it peeked
                thread.until_blocked()
                one.sendall(b"5678")
            told.append(thread.finish())
            two.setblocking(False)
            told.append(attempt(two.recv, 100))
        return told

    same(scenario)


@streams
@pytest.mark.parametrize("peek", [0, stdlib.MSG_PEEK])
def test_waitall_ends_with_the_stream(kind: str, peek: int) -> None:
    def scenario(kit: Kit):
        told = []
        for timeout in (None, 8.0):
            one, two = kit.pair(kind)
            two.settimeout(timeout)
            one.sendall(b"1234")
            one.shutdown(stdlib.SHUT_WR)
            readable(two)
            told += [two.recv(8, stdlib.MSG_WAITALL | peek), two.recv(8, stdlib.MSG_WAITALL)]
        return told

    same(scenario)


@both
def test_waitall_of_much(net) -> None:
    """More than the socket's buffer holds: the kernel's own WAITALL gathers it."""
    data = os.urandom(1 << 20) * 3
    for kind in ("unix", "tcp4"):
        with Kit(net) as kit:
            one, two = kit.pair(kind)
            thread = Background(two.recv, len(data), net.MSG_WAITALL)
            one.sendall(data)
            assert thread.finish() == data


@pytest.mark.parametrize("kind", ["unix", "tcp4", "udp4", "unix-dgram"])
def test_dontwait(kind: str) -> None:
    def scenario(kit: Kit):
        told = []
        for timeout in (None, 0.0):
            one, two = kit.pair(kind)
            two.settimeout(timeout)
            told.append(attempt(two.recv, 9, stdlib.MSG_DONTWAIT))
            told.append(attempt(two.recv_into, bytearray(9), 9, stdlib.MSG_DONTWAIT))
            told.append(attempt(two.recvmsg, 9, 0, stdlib.MSG_DONTWAIT))
            one.send(b"here")
            readable(two)
            told.append(attempt(two.recv, 9, stdlib.MSG_DONTWAIT))
        return told

    same(scenario)


def test_dontwait_with_a_timeout_still_waits() -> None:
    """The stdlib polls before it receives, so the flag does not matter there."""

    def scenario(kit: Kit):
        one, two = kit.pair("unix")
        two.settimeout(0.02)
        told = [attempt(two.recv, 9, stdlib.MSG_DONTWAIT)]
        two.settimeout(8.0)
        thread = Background(two.recv, 9, stdlib.MSG_DONTWAIT).until_blocked()
        one.send(b"later")
        return [*told, thread.finish()]

    same(scenario)


def test_dontwait_when_nothing_fits() -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair("unix")
        fill(one)
        one.settimeout(None)
        told = [
            attempt(one.send, b"x", stdlib.MSG_DONTWAIT),
            attempt(one.sendall, b"x", stdlib.MSG_DONTWAIT),
            attempt(one.sendmsg, [b"x"], (), stdlib.MSG_DONTWAIT),
        ]
        one.settimeout(0.02)
        return [*told, attempt(one.send, b"x", stdlib.MSG_DONTWAIT)]

    same(scenario)


@pytest.mark.parametrize("kind", ["udp4", "unix-dgram", "seqpacket"])
def test_trunc_tells_the_real_size(kind: str) -> None:
    def scenario(kit: Kit):
        told = []
        for timeout in TIMEOUTS:
            one, two = kit.pair(kind)
            two.settimeout(timeout)
            buffer = bytearray(4)
            for _ in range(3):
                one.send(b"0123456789")
            readable(two)
            told.append(two.recv_into(buffer, 4, stdlib.MSG_TRUNC))
            told.append(bytes(buffer))
            told.append(two.recvfrom_into(buffer, 4, stdlib.MSG_TRUNC)[0])
            told.append(two.recvmsg(4, 0, stdlib.MSG_TRUNC)[2] & stdlib.MSG_TRUNC)
        return told

    same(scenario)


@both
def test_trunc_with_recv_never_shows_foreign_memory(net) -> None:
    """The stdlib answers as many bytes as there were; ours pads with zeros, never garbage."""
    with Kit(net) as kit:
        one, two = kit.pair("udp4")
        one.send(b"0123456789")
        readable(two)
        got = two.recv(4, net.MSG_TRUNC)
        assert got[:4] == b"0123"
        assert len(got) in (4, 10)


@pytest.mark.parametrize("kind", ["tcp4", "tcp6", "unix"])
def test_out_of_band(kind: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        told = [attempt(two.recv, 1, stdlib.MSG_OOB)]
        one.sendall(b"in")
        one.send(b"!", stdlib.MSG_OOB)
        until(lambda: attempt(two.recv, 1, stdlib.MSG_OOB | stdlib.MSG_PEEK)[0] == "returned")
        return [
            *told,
            two.recv(1, stdlib.MSG_OOB),
            two.recv(9),
            attempt(two.recv, 1, stdlib.MSG_OOB),
        ]

    same(scenario)


def test_errqueue() -> None:
    """The kernel's own error message for a datagram nobody took."""

    def scenario(kit: Kit):
        nobody = kit.bound("udp4")
        address = nobody.getsockname()
        nobody.close()
        sock = kit.of("udp4")
        sock.setsockopt(stdlib.IPPROTO_IP, getattr(stdlib, "IP_RECVERR", 11), 1)
        sock.connect(address)
        told = [attempt(sock.recvmsg, 9, 512, stdlib.MSG_ERRQUEUE)]
        sock.send(b"lost")
        readable_error(sock)
        data, ancillary, flags, name = sock.recvmsg(64, 512, stdlib.MSG_ERRQUEUE)
        told.append((data, [(a[0], a[1]) for a in ancillary], flags, name == address))
        told.append(struct.unpack("IBBB", ancillary[0][2][:7]))
        return told

    same(scenario)


def readable_error(sock) -> None:
    import select

    poll = select.poll()
    poll.register(sock.fileno(), 0)
    assert poll.poll(8000)


@pytest.mark.parametrize("kind", ["unix", "tcp4", "udp4"])
def test_receive_timeout_of_the_kernel(kind: str) -> None:
    """SO_RCVTIMEO on a blocking socket: EAGAIN after it, as the kernel says."""

    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        two.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, struct.pack("ll", 0, 20_000))
        told = [
            attempt(two.recv, 9),
            attempt(two.recv_into, bytearray(9)),
            attempt(two.recvfrom, 9),
            attempt(two.recvmsg, 9),
            attempt(two.recv, 9, stdlib.MSG_WAITALL),
            attempt(two.recv, 40_000),
        ]
        one.send(b"here")
        return [*told, two.recv(9)]

    same(scenario)


def test_receive_timeout_of_the_kernel_with_other_threads() -> None:
    """The same in a process of several threads, where ours may wait in another way."""

    def scenario(kit: Kit):
        one, two = kit.pair("unix")
        _three, four = kit.pair("unix")
        waiter = Background(four.recv, 1).until_blocked()
        two.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, struct.pack("ll", 0, 20_000))
        told = [attempt(two.recv, 9), attempt(two.recvmsg, 9), attempt(one.recv, 9, 64)]
        _three.send(b"x")
        waiter.finish()
        return told

    same(scenario)


def test_send_timeout_of_the_kernel() -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair("unix")
        one.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_SNDTIMEO, struct.pack("ll", 0, 20_000))
        fill(one)
        one.settimeout(None)
        return [
            attempt(one.send, b"x"),
            attempt(one.sendall, b"x"),
            attempt(one.sendmsg, [b"x"]),
        ]

    same(scenario)


def test_accept_timeout_of_the_kernel() -> None:
    def scenario(kit: Kit):
        listener = kit.listener("unix")
        listener.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVTIMEO, struct.pack("ll", 0, 20_000))
        return attempt(listener.accept)

    same(scenario)


@pytest.mark.parametrize("kind", ["unix", "tcp4", "udp4"])
def test_nonblocking_behind_the_objects_back(kind: str) -> None:
    """O_NONBLOCK set on the descriptor of a socket that thinks it blocks."""

    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        os.set_blocking(two.fileno(), False)
        told = [
            two.gettimeout(),
            attempt(two.recv, 9),
            attempt(two.recv, 40_000),
            attempt(two.recv_into, bytearray(9)),
            attempt(two.recvfrom, 9),
            attempt(two.recvmsg, 9),
        ]
        one.send(b"here")
        readable(two)
        return [*told, two.recv(9)]

    same(scenario)


def test_nonblocking_behind_the_back_of_a_sender_and_a_listener() -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair("unix")
        fill(one)
        one.settimeout(None)
        os.set_blocking(one.fileno(), False)
        listener = kit.listener("unix")
        os.set_blocking(listener.fileno(), False)
        return [
            attempt(one.send, b"x"),
            attempt(one.sendall, b"x"),
            attempt(one.sendmsg, [b"x"]),
            attempt(listener.accept),
        ]

    same(scenario)


def test_blocking_behind_the_back_of_a_nonblocking_one() -> None:
    """O_NONBLOCK taken away from a socket with a time-out: the time-out still holds."""

    def scenario(kit: Kit):
        _one, two = kit.pair("unix")
        two.settimeout(0.02)
        os.set_blocking(two.fileno(), True)
        return attempt(two.recv, 9), os.get_blocking(two.fileno())

    same(scenario)


@pytest.mark.parametrize("value", [None, 0, 0.5, 5, True, 1e6])
def test_o_nonblock_is_as_the_stdlib_leaves_it(value) -> None:
    def scenario(kit: Kit):
        told = []
        for before in (None, 0, 3):
            sock = kit.socket()
            sock.settimeout(before)
            sock.settimeout(value)
            told.append((os.get_blocking(sock.fileno()), sock.gettimeout(), sock.getblocking()))
            sock.setblocking(bool(value))
            told.append((os.get_blocking(sock.fileno()), sock.gettimeout(), sock.getblocking()))
        return told

    same(scenario)


def test_getsockopt_and_setsockopt() -> None:
    def scenario(kit: Kit):
        sock = kit.socket()
        get, put = sock.getsockopt, sock.setsockopt
        level, reuse = stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR
        return [
            put(level, reuse, 1),
            get(level, reuse),
            put(level, reuse, struct.pack("i", 0)),
            get(level, reuse, 4),
            attempt(get, level, reuse, 1 << 20),
            attempt(get, level, 9999),
            attempt(put, level, 9999, 1),
            attempt(put, level, reuse, None),
            attempt(put, level, reuse, None, 4),
            attempt(put, level, reuse),
            attempt(put, level, reuse, "x"),
            get(level, stdlib.SO_TYPE) == stdlib.SOCK_STREAM,
            get(level, stdlib.SO_ERROR),
        ]

    same(scenario)


@both
def test_peer_credentials(net) -> None:
    with Kit(net) as kit:
        one, _ = kit.pair("unix")
        told = struct.unpack("3i", one.getsockopt(net.SOL_SOCKET, net.SO_PEERCRED, 12))
        assert told == (os.getpid(), os.getuid(), os.getgid())
