# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and other signals in every call that waits; a storm of them changes nothing."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import ipcx
from contract.kit import CHUNK, LARGE, Kit
from socket_help import GUARD

pytestmark = pytest.mark.drivers("sync")  # of the others' signals test_aio.py speaks


@contextlib.contextmanager
def handler(number: int, call: Callable) -> Iterator[None]:
    before = signal.signal(number, call)
    try:
        yield
    finally:
        signal.signal(number, before)


def signalled(kit: Kit, *numbers: int) -> None:
    """Each signal comes once this thread sleeps."""
    kit.run("signals", os.getpid(), threading.get_native_id(), numbers)


READING = {
    "receive": lambda end: end.receive(),
    "receive, timed": lambda end: end.receive(timeout=60),
    "receive_many": lambda end: end.receive_many(9),
    "receive_into": lambda end: end.receive_into(bytearray(9)),
    "poll": lambda end: end.poll(None),
    "iteration": lambda end: next(iter(end)),
}
SENDING = {
    "send": lambda end: end.send(CHUNK),
    "send, timed": lambda end: end.send(CHUNK, timeout=60),
    "send_many": lambda end: end.send_many([CHUNK] * 9),
}
OWING = {
    "flush": lambda end: end.flush(),
    "close": lambda end: end.close(timeout=60),
}


def ctrl_c(kit: Kit, call: Callable, *args) -> None:
    signalled(kit, signal.SIGINT)
    with handler(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
        call(*args)


@pytest.mark.needs("duplex")
@pytest.mark.parametrize("name", READING)
def test_ctrl_c_while_receiving(kit: Kit, name: str) -> None:
    one, two = kit.pair()
    ctrl_c(kit, READING[name], one)
    two.send(b"after")
    assert one.receive(timeout=GUARD) == b"after"
    kit.still_works(one, two)


@pytest.mark.needs("reliable", "long")
@pytest.mark.parametrize("name", SENDING)
def test_ctrl_c_while_sending(kit: Kit, name: str) -> None:
    """What had begun arrives whole, and nothing twice."""
    one, two = kit.narrow()
    count = kit.fill(one)
    ctrl_c(kit, SENDING[name], one)
    assert kit.drain(one, two, count) == [CHUNK] * count
    with contextlib.suppress(ipcx.WouldBlock):
        for _ in range(9):
            assert two.receive(timeout=0) == CHUNK
    kit.still_works(one, two)


@pytest.mark.needs("sync")
def test_ctrl_c_in_a_rendezvous(kit: Kit) -> None:
    """Like a time-out: the message stays queued."""
    one, two = kit.pair()
    ctrl_c(kit, lambda: one.send(b"stays", sync=True))
    assert two.receive(timeout=GUARD) == b"stays"
    kit.still_works(one, two)


@pytest.mark.needs("rest")
@pytest.mark.parametrize("name", OWING)
def test_ctrl_c_while_a_rest_is_owed(kit: Kit, name: str) -> None:
    one, two = kit.pair()
    count = kit.owe(one, two)
    ctrl_c(kit, OWING[name], one)
    assert not one.closed
    assert kit.drain(one, two, count) == [LARGE] * count
    kit.still_works(one, two)


@pytest.mark.needs("listen")
def test_ctrl_c_in_accept(kit: Kit) -> None:
    listener = kit.listener()
    ctrl_c(kit, listener.accept)
    ctrl_c(kit, lambda: listener.accept(timeout=60))
    ctrl_c(kit, lambda: next(iter(listener)))
    kit.still_works(*kit.connected(listener))


@pytest.mark.needs("listen", "process")
@pytest.mark.schemes("unix://")
def test_ctrl_c_in_connect(kit: Kit) -> None:
    """To a listener whose backlog is full."""
    listener = kit.listener(backlog=1)
    waiting = []
    with contextlib.suppress(ipcx.Timeout):
        while len(waiting) < 20:
            waiting.append(kit.connect(listener.url, timeout=0.02))
    ctrl_c(kit, lambda: kit.connect(listener.url, timeout=60))
    ctrl_c(kit, lambda: kit.connect(listener.url, timeout=None))
    for one in waiting:
        kit.still_works(one, kit.accept(listener))


# ---- handlers that return, raise, use the channel


@pytest.mark.needs("duplex")
def test_a_handler_that_returns_does_not_end_the_call(kit: Kit) -> None:
    one, two = kit.pair()
    calls: list[int] = []

    def handle(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            two.send(b"from the handler")

    signalled(kit, *[signal.SIGUSR1] * 3)
    with handler(signal.SIGUSR1, handle):
        assert one.receive() == b"from the handler"
    assert len(calls) == 3


@pytest.mark.needs("duplex")
def test_a_handler_does_not_lengthen_a_timeout(kit: Kit) -> None:
    one, _two = kit.pair()
    calls: list[int] = []
    signalled(kit, *[signal.SIGUSR1] * 2)
    started = time.monotonic()
    with handler(signal.SIGUSR1, lambda *_: calls.append(1)), pytest.raises(ipcx.Timeout):
        one.receive(timeout=0.3)
    assert time.monotonic() - started >= 0.3
    assert calls


@pytest.mark.needs("reliable", "long")
def test_a_handler_goes_on_with_the_same_message(kit: Kit) -> None:
    """A large send is interrupted over and over, and its message arrives once."""
    one, two = kit.narrow()
    count = kit.fill(one)
    got: list = []

    inside: list = []

    def handle(*_: object) -> None:
        if inside:  # slower than the timer, it is interrupted by itself, maybe within receive()
            return
        inside.append(1)
        with contextlib.suppress(ipcx.WouldBlock):
            got.append(two.receive(timeout=0))
        inside.clear()

    message = b"the one" * 100_000
    with handler(signal.SIGALRM, handle):
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        try:
            one.send(message)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    got += kit.drain(one, two, count + 1 - len(got))
    assert got == [CHUNK] * count + [message]
    kit.still_works(one, two)


@pytest.mark.needs("sync")
def test_a_rendezvous_goes_on_with_the_same_message(kit: Kit) -> None:
    one, two = kit.pair()
    calls: list[int] = []
    got: list = []

    def handle(*_: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            got.append(two.receive(timeout=GUARD))

    signalled(kit, *[signal.SIGUSR1] * 4)
    with handler(signal.SIGUSR1, handle):
        one.send(b"once", sync=True)
    assert got == [b"once"]
    kit.still_works(one, two)


@pytest.mark.needs("duplex")
def test_what_a_handler_raises_comes_out(kit: Kit) -> None:
    one, two = kit.pair()

    def handle(*_: object) -> None:
        raise LookupError("the handler's own")

    signalled(kit, signal.SIGUSR1)
    with handler(signal.SIGUSR1, handle), pytest.raises(LookupError, match="own"):
        one.receive()
    kit.still_works(one, two)


@pytest.mark.needs("duplex")
def test_a_handler_may_close_the_channel(kit: Kit) -> None:
    one, _two = kit.pair()
    signalled(kit, signal.SIGUSR1)
    with handler(signal.SIGUSR1, lambda *_: one.close(timeout=0)), pytest.raises(ipcx.Closed):
        one.receive()


@pytest.mark.needs("duplex")
def test_a_handler_may_take_the_message(kit: Kit) -> None:
    """receive() was interrupted before it had anything: it waits for the next one."""
    one, two = kit.pair()
    calls: list = []

    def handle(*_: object) -> None:
        if calls:
            two.send(b"second")
            calls.append(b"")
        else:
            two.send(b"first")
            calls.append(one.receive(timeout=GUARD))

    signalled(kit, signal.SIGUSR1, signal.SIGUSR1)
    with handler(signal.SIGUSR1, handle):
        assert one.receive() == b"second"
    assert calls[0] == b"first"


# ---- a storm


@pytest.mark.needs("duplex")
@pytest.mark.parametrize(
    "seconds", [0.25, pytest.param(60.0, marks=[pytest.mark.night, pytest.mark.hang_guard(120)])]
)
def test_a_storm_of_signals(kit: Kit, seconds: float) -> None:
    """SIGALRM at 1 kHz: messages are whole and in order, time-outs are not early."""
    calls: list[int] = []
    one, two = kit.narrow()
    stop = b"stop"

    def echo() -> None:
        while (message := two.receive()) != stop:
            two.send(message)

    thread = kit.background(echo)
    with handler(signal.SIGALRM, lambda *_: calls.append(1)):
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            deadline, number = time.monotonic() + seconds, 0
            # On a loaded machine one that waits is seldom interrupted a thousand times a second.
            while time.monotonic() < deadline or len(calls) < seconds * 50:
                number += 1
                for message in (b"%d" % number, b"%d" % number * 10_000):
                    one.send(message)
                    assert one.receive() == message
                started = time.monotonic()
                with pytest.raises(ipcx.Timeout):
                    one.receive(timeout=0.004)
                assert time.monotonic() - started >= 0.004
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    one.send(stop)
    thread.finish()
