# SPDX-License-Identifier: Apache-2.0
"""Time-outs: what may be set, what it does to the descriptor, how long each verb waits."""

import decimal
import fractions
import os
import socket as stdlib
import time

import pytest

from socket_help import Background, Kit, attempt, both, fill, same


@pytest.mark.parametrize(
    "value",
    [None, 0, 0.0, -0.0, 1, 2.5, 1e-9, 1e-7, 0.0001, True, False, 1e6, 1e9, 9.2e9, 9.3e9, 1e10,
     1e18, 1e19, 1e300, float("inf"), float("-inf"), float("nan"), -1, -0.5, -1e-12, -1e300,
     1 << 31, 1 << 62, 1 << 64, 1 << 200, -(1 << 200), "1", b"1", [], (), 1j, object,
     decimal.Decimal("1.5"), fractions.Fraction(1, 2), decimal.Decimal("-1")],
    ids=repr,
)  # fmt: skip
def test_settimeout(value) -> None:
    def scenario(kit: Kit):
        sock = kit.socket()
        told = [attempt(sock.settimeout, value), repr(sock.gettimeout()), sock.getblocking()]
        told.append(os.get_blocking(sock.fileno()))
        if told[0][0] == "returned" and value not in (0, None):
            one, two = kit.pair("unix")
            one.settimeout(value)
            two.send(b"x")
            told.append(attempt(one.recv, 1))
        return told

    same(scenario)


class Index:
    def __index__(self) -> int:
        return 3


class Float:
    def __float__(self) -> float:
        return 2.5


class Broken:
    def __float__(self) -> float:
        raise ZeroDivisionError("broken")

    __index__ = __bool__ = __float__


@pytest.mark.parametrize("value", [Index(), Float(), Broken()], ids=lambda v: type(v).__name__)
def test_settimeout_with_objects_that_are_numbers(value) -> None:
    def scenario(kit: Kit):
        sock = kit.socket()
        return attempt(sock.settimeout, value), sock.gettimeout()

    same(scenario)


@pytest.mark.parametrize(
    "value", [True, False, 1, 0, -7, 1 << 40, 1.5, "x", None, [], Broken()], ids=repr
)
def test_setblocking(value) -> None:
    def scenario(kit: Kit):
        sock = kit.socket()
        told = [attempt(sock.setblocking, value), sock.gettimeout(), sock.getblocking()]
        return [*told, os.get_blocking(sock.fileno())]

    same(scenario)


@pytest.mark.parametrize("default", [None, 0.0, 4.5])
def test_default_timeout(default: float | None) -> None:
    """Of the stdlib's module: one copy of the truth, for new, accepted and paired sockets."""

    def scenario(kit: Kit):
        net = kit.net
        assert net.getdefaulttimeout() is None
        listener = kit.listener("unix")
        client = kit.of("unix")
        client.connect(listener.getsockname())
        stdlib.setdefaulttimeout(default)
        try:
            made = [
                kit.socket(),
                *kit.pair("unix"),
                kit.keep(listener.accept()[0]),
                kit.keep(listener.dup()),
                kit.keep(net.create_server(("127.0.0.1", 0))),
                kit.keep(net.fromfd(listener.fileno(), net.AF_UNIX, net.SOCK_STREAM)),
                kit.keep(net.socket(fileno=os.dup(client.fileno()))),
            ]
        finally:
            stdlib.setdefaulttimeout(None)
        return [(sock.gettimeout(), os.get_blocking(sock.fileno())) for sock in made]

    same(scenario)


@pytest.mark.parametrize("listening", [None, 0.0, 4.5])
@pytest.mark.parametrize("default", [None, 0.0, 2.5])
def test_accepted_socket_blocks_as_the_stdlibs(listening, default) -> None:
    def scenario(kit: Kit):
        listener = kit.listener("tcp4")
        client = kit.of("tcp4")
        client.connect(listener.getsockname())
        import select

        select.select([listener.fileno()], [], [], 8)
        listener.settimeout(listening)
        stdlib.setdefaulttimeout(default)
        try:
            conn = kit.keep(listener.accept()[0])
        finally:
            stdlib.setdefaulttimeout(None)
        return conn.gettimeout(), os.get_blocking(conn.fileno()), conn.get_inheritable()

    same(scenario)


def timed(call, *args) -> tuple[float, object]:
    started = time.monotonic()
    told = attempt(call, *args)
    return time.monotonic() - started, told


VERBS = {
    "recv": lambda s: s.recv(1),
    "recv large": lambda s: s.recv(50_000),
    "recv waitall": lambda s: s.recv(4, stdlib.MSG_WAITALL),
    "recv peek": lambda s: s.recv(4, stdlib.MSG_PEEK),
    "recv peek waitall": lambda s: s.recv(4, stdlib.MSG_PEEK | stdlib.MSG_WAITALL),
    "recv_into": lambda s: s.recv_into(bytearray(1)),
    "recvfrom": lambda s: s.recvfrom(1),
    "recvfrom_into": lambda s: s.recvfrom_into(bytearray(1)),
    "recvmsg": lambda s: s.recvmsg(1),
    "recvmsg_into": lambda s: s.recvmsg_into([bytearray(1)]),
    "readline": lambda s: s.makefile("rb").readline(),
}


@both
@pytest.mark.parametrize("verb", VERBS)
def test_waits_as_long_as_it_was_told(net, verb: str) -> None:
    with Kit(net) as kit:
        one, _two = kit.pair("unix")
        one.settimeout(0.05)
        took, told = timed(VERBS[verb], one)
        assert told[1:4] == ["builtins.TimeoutError", ("timed out",), "timed out"]
        assert took >= 0.05


@both
def test_accept_and_sends_wait_as_long_as_they_were_told(net) -> None:
    with Kit(net) as kit:
        listener = kit.listener("unix")
        one, _two = kit.pair("unix")
        fill(one)
        for call, args in [
            (listener.accept, ()),
            (one.send, (b"x",)),
            (one.sendall, (b"x",)),
            (one.sendmsg, ([b"x"],)),
        ]:
            call.__self__.settimeout(0.05)
            took, told = timed(call, *args)
            assert told[1:4] == ["builtins.TimeoutError", ("timed out",), "timed out"]
            assert took >= 0.05


@both
def test_timeout_is_an_oserror_without_errno(net) -> None:
    with Kit(net) as kit:
        one, _ = kit.pair()
        one.settimeout(0.001)
        with pytest.raises(net.timeout) as info:
            one.recv(1)
        assert type(info.value) is TimeoutError
        assert info.value.errno is None
        assert info.value.args == ("timed out",)


@both
def test_socket_works_after_a_timeout(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.settimeout(0.001)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                one.recv(1)
            two.send(b"x")
            assert one.recv(1) == b"x"


@both
def test_timeout_changed_by_another_thread_does_not_touch_a_running_call(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.settimeout(8.0)
        waiter = Background(one.recv, 9).until_blocked()
        one.settimeout(0.001)
        two.send(b"later")
        assert waiter.finish() == b"later"


@both
def test_makefile_refuses_after_a_timeout(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.settimeout(0.001)
        file = kit.keep(one.makefile("rb"))
        with pytest.raises(TimeoutError):
            file.read(1)
        two.send(b"x")
        with pytest.raises(OSError, match="cannot read from timed out object"):
            file.read(1)


@both
def test_the_objects_truth_is_seen_by_the_base_class(net) -> None:
    with Kit(net) as kit:
        sock = kit.socket()
        sock.settimeout(2.5)
        assert stdlib.socket.gettimeout(sock) == 2.5
        stdlib.socket.settimeout(sock, 1.5)
        assert sock.gettimeout() == 1.5
        sock.setblocking(False)
        assert stdlib.SocketType.getblocking(sock) is False
