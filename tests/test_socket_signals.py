# SPDX-License-Identifier: Apache-2.0
"""Signals in every call that waits, in a process of one thread and in one of several."""

import json
import os
import signal
import socket as stdlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import socket_waits
from socket_waits import NEVER_WITH_TIMEOUT, OURS_ALONE, SPINS_IN_THE_STDLIB, WAITS, signalled

from ipcx import socket as ours
from socket_help import Background, Kit, attempt, both, take

TIMEOUTS = (None, 6.0)
CASES = [
    (action, name, timeout)
    for action in socket_waits.ACTIONS
    for name in (*WAITS, *OURS_ALONE)
    for timeout in TIMEOUTS
    if not (timeout is None and action == "after its time")
    and not (timeout and name in NEVER_WITH_TIMEOUT)
]
each_case = pytest.mark.parametrize(("action", "name", "timeout"), CASES)


@pytest.fixture(scope="module")
def alone() -> dict:
    """What happened in processes of one thread: (module, time-out, action, name) → text."""
    children = {
        (module, timeout): subprocess.Popen(
            [sys.executable, socket_waits.__file__, module, str(timeout)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for module in ("stdlib", "ipcx")
        for timeout in TIMEOUTS
    }
    told = {}
    for key, child in children.items():
        output, _ = child.communicate(timeout=60)
        for line in output.splitlines():
            name, action, text = json.loads(line)
            told[(*key, action, name)] = text
        assert child.returncode == 0, (key, output[-500:])
    return told


def expected(alone: dict, action: str, name: str, timeout: float | None) -> str:
    """The stdlib's outcome, or for what it has not that of the nearest it has."""
    if timeout and name in SPINS_IN_THE_STDLIB:
        return alone["stdlib", timeout, action, "send"].replace("9", "1")
    nearest = "recv" if name in OURS_ALONE else name
    return alone["stdlib", timeout, action, nearest]


@each_case
@pytest.mark.hang_guard(60)
def test_one_thread(alone: dict, action: str, name: str, timeout: float | None) -> None:
    assert alone["ipcx", timeout, action, name] == expected(alone, action, name, timeout)


@each_case
@pytest.mark.hang_guard(60)
def test_several_threads(alone: dict, action: str, name: str, timeout: float | None) -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        other = Background(one.recv, 1).until_blocked()
        told = socket_waits.run(ours, name, action, timeout)
        two.send(b"x")
        other.finish()
    assert repr(told) == expected(alone, action, name, timeout)


def test_ctrl_c_is_what_it_means(alone: dict) -> None:
    """The comparisons above compare something."""
    assert "KeyboardInterrupt" in alone["ipcx", None, "interrupted", "recv"]
    assert "[1]" in alone["ipcx", 6.0, "resumed", "sendall"]


# ---- what was done before the signal came


@both
@pytest.mark.parametrize("raises", [False, True])
def test_waitall_that_had_a_part(net, raises: bool) -> None:
    """recv(2) gives what it has when a signal comes: so does the call, and no byte is lost."""
    calls: list[int] = []

    def handle(*_: object) -> None:
        calls.append(1)
        if raises:
            raise socket_waits.Raised

    with Kit(net) as kit:
        one, two = kit.pair()
        steps = (lambda: two.send(b"1234"), signal.SIGUSR1)
        with socket_waits.handler(signal.SIGUSR1, handle), signalled(*steps):
            told = attempt(one.recv, 8, net.MSG_WAITALL)
        one.setblocking(False)
        rest = attempt(one.recv, 8)
        assert calls == [1]
        if raises:
            # The bytes were taken before the handler ran; with the stdlib's they are gone too.
            assert told[1] == "tests.Raised"
        else:
            assert told == ["returned", b"1234"]
            assert rest[1] == "builtins.BlockingIOError"


@both
def test_send_that_had_a_part(net) -> None:
    """A blocking send broken by a signal says how much went out; sendall goes on."""
    size = 8 << 20
    with Kit(net) as kit:
        one, two = kit.pair()
        with socket_waits.handler(signal.SIGUSR1, lambda *_: None):
            with signalled(signal.SIGUSR1):
                sent = one.send(bytes(size))
            assert 0 < sent < size
            assert len(take(two, sent)) == sent

            with signalled(signal.SIGUSR1, lambda: take(two, size)):
                assert one.sendall(bytes(size)) is None


@both
def test_sendall_broken_off_has_sent_a_part(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        with signalled(signal.SIGINT), pytest.raises(KeyboardInterrupt):
            one.sendall(bytes(8 << 20))
        one.shutdown(net.SHUT_WR)
        assert 0 < len(take(two, 8 << 20)) < 8 << 20


@both
def test_handler_may_use_the_socket(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()

        def handle(*_: object) -> None:
            two.send(b"from the handler")

        with socket_waits.handler(signal.SIGUSR1, handle), signalled(signal.SIGUSR1):
            assert one.recv(99) == b"from the handler"


@both
def test_handler_may_change_the_timeout(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()

        def handle(*_: object) -> None:
            one.settimeout(0.001)
            two.send(b"x")

        with socket_waits.handler(signal.SIGUSR1, handle), signalled(signal.SIGUSR1):
            assert one.recv(1) == b"x"
        with pytest.raises(TimeoutError):
            one.recv(1)


@pytest.mark.parametrize("timeout", [None, 6.0])
def test_handler_may_close_the_socket(timeout: float | None) -> None:
    with Kit(ours) as kit:
        one, _two = kit.pair()
        one.settimeout(timeout)
        close = socket_waits.handler(signal.SIGUSR1, lambda *_: one.close())
        with close, signalled(signal.SIGUSR1), pytest.raises(OSError, match="Errno 9"):
            one.recv(1)


@both
def test_wakeup_descriptor_is_written(net) -> None:
    """signal.set_wakeup_fd works while the main thread waits in a socket."""
    with Kit(net) as kit:
        one, two = kit.pair()
        wake, woken = kit.pair()
        wake.setblocking(False)
        before = signal.set_wakeup_fd(wake.fileno())
        try:
            steps = (signal.SIGUSR1, lambda: two.send(b"x"))
            with socket_waits.handler(signal.SIGUSR1, lambda *_: None), signalled(*steps):
                assert one.recv(1) == b"x"
        finally:
            signal.set_wakeup_fd(before)
        assert woken.recv(9) == bytes([signal.SIGUSR1])


@both
def test_signal_for_another_thread_does_not_disturb(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        waiter = Background(one.recv, 9).until_blocked()
        calls: list[int] = []
        with socket_waits.handler(signal.SIGUSR1, lambda *_: calls.append(1)):
            for _ in range(20):
                signal.pthread_kill(waiter.ident, signal.SIGUSR1)
                waiter.until_blocked()
        assert calls
        two.send(b"still")
        assert waiter.finish() == b"still"


# ---- EINTR storm


def storm(net, enough: Callable[[], bool]) -> None:
    """SIGALRM at 1 kHz: data is whole, time-outs hold."""
    rounds = 0
    block = os.urandom(1 << 16)
    while not enough() or rounds < 3:
        rounds += 1
        with Kit(net) as kit:
            for kind in ("unix", "tcp4"):
                one, two = kit.pair(kind)
                echo = Background(echo_all, two)
                one.sendall(block)
                got = bytearray()
                while len(got) < len(block):
                    got += one.recv(len(block) - len(got))
                assert got == block
                one.settimeout(0.02)
                started = time.monotonic()
                with pytest.raises(TimeoutError):
                    one.recv(1)
                assert time.monotonic() - started >= 0.02
                one.settimeout(None)
                one.shutdown(net.SHUT_WR)
                assert one.recv(1) == b""
                echo.finish()
            listener = kit.listener("tcp4")
            client = kit.of("tcp4")
            client.settimeout(8)
            client.connect(listener.getsockname())
            listener.accept()[0].close()


def echo_all(sock) -> None:
    while data := sock.recv(4096):
        sock.sendall(data)
    sock.shutdown(stdlib.SHUT_WR)


@pytest.mark.parametrize(
    "seconds", [1.0, pytest.param(60.0, marks=[pytest.mark.night, pytest.mark.hang_guard(120)])]
)
def test_eintr_storm(seconds: float) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    deadline = time.monotonic() + seconds
    with socket_waits.handler(signal.SIGALRM, count):
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            # So many, too: a loaded machine interrupts less often.
            storm(ours, lambda: time.monotonic() > deadline and calls > 100 * seconds)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert threading.current_thread() is threading.main_thread()
