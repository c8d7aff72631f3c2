# SPDX-License-Identifier: Apache-2.0
"""Every call that can wait: how to make it wait and how to let it end.

`WAITS[name](kit)` gives a `Wait`. Run as a program (``socket_waits.py stdlib|ipcx TIMEOUT``) it
sends itself a signal in each of them and prints what happened, in a process that never had a second
thread: there the binding may wait in another way.
"""

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket as stdlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

from socket_help import MODULES, Kit, attempt, blocked, fill, take

WAITALL, PEEK = stdlib.MSG_WAITALL, stdlib.MSG_PEEK


@dataclasses.dataclass
class Wait:
    """`call()` waits on `sock` until `release()` lets it end."""

    sock: object
    call: Callable[[], object]
    release: Callable[[], object]
    close: Callable[[], object] | None = None
    keeps_connection: bool = True


def _reading(call: Callable, kind: str = "unix", data: bytes = b"12345678\n") -> Callable:
    def prepare(kit: Kit) -> Wait:
        one, two = kit.pair(kind)
        return Wait(one, lambda: call(one), lambda: two.sendall(data))

    return prepare


def _sending(call: Callable, kind: str = "unix", size: int = 9) -> Callable:
    def prepare(kit: Kit) -> Wait:
        one, two = kit.pair(kind)
        full = fill(one)
        if kind == "unix-dgram":
            return Wait(one, lambda: call(one, b"x" * 9), lambda: _drain(two))
        return Wait(one, lambda: call(one, b"x" * size), lambda: take(two, full))

    return prepare


def _drain(sock) -> None:
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.recv(2048)


def _sending_to(kit: Kit) -> Wait:
    one, two = kit.of("unix-dgram"), kit.bound("unix-dgram")
    name = two.getsockname()
    one.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            one.sendto(bytes(1024), name)
    one.setblocking(True)
    return Wait(one, lambda: one.sendto(b"x", name), lambda: _drain(two))


def _accepting(kind: str) -> Callable:
    def prepare(kit: Kit) -> Wait:
        listener = kit.listener(kind)
        name = listener.getsockname()

        def call():
            conn, _ = listener.accept()
            conn.close()
            return type(conn) is kit.net.socket

        return Wait(listener, call, lambda: kit.of(kind).connect(name))

    return prepare


def _connecting(kind: str, ex: bool = False) -> Callable:
    """To a listener whose backlog is full."""

    def prepare(kit: Kit) -> Wait:
        listener = kit.listener(kind, 0)
        for _ in range(1 if kind == "unix" else 4):
            filler = kit.of(kind)
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        one = kit.of(kind)
        verb = one.connect_ex if ex else one.connect
        name = listener.getsockname()
        return Wait(one, lambda: verb(name), lambda: listener.accept()[0].close())

    return prepare


def _reading_file(kit: Kit) -> Wait:
    one, two = kit.pair()
    raw = kit.keep(one.makefile("rb", buffering=0))

    def close() -> None:
        one.close()  # the file still holds the socket …
        raw.close()  # … and lets it go

    return Wait(one, lambda: raw.read(9), lambda: two.sendall(b"12345678\n"), close)


def _writing_file(kit: Kit) -> Wait:
    one, two = kit.pair()
    full = fill(one)
    raw = kit.keep(one.makefile("wb", buffering=0))

    def close() -> None:
        one.close()
        raw.close()

    return Wait(one, lambda: raw.write(b"x" * 9), lambda: take(two, full), close)


def _sending_file(kit: Kit) -> Wait:
    one, two = kit.pair()
    file = kit.keep(tempfile.TemporaryFile())
    file.write(bytes(9))
    file.seek(0)
    full = fill(one)
    return Wait(one, lambda: one.sendfile(file), lambda: take(two, full))


WAITS: dict[str, Callable[[Kit], Wait]] = {
    "recv": _reading(lambda s: s.recv(9)),
    "recv large": _reading(lambda s: s.recv(100_000)),
    "recv tcp": _reading(lambda s: s.recv(9), "tcp4"),
    "recv udp": _reading(lambda s: s.recv(9), "udp4"),
    "recv waitall": _reading(lambda s: s.recv(9, WAITALL)),
    "recv peek": _reading(lambda s: s.recv(9, PEEK)),
    "recv peek waitall": _reading(lambda s: s.recv(9, PEEK | WAITALL), "tcp4"),
    "recv_into": _reading(lambda s: s.recv_into(bytearray(9))),
    "recvfrom": _reading(lambda s: s.recvfrom(9)[0]),
    "recvfrom_into": _reading(lambda s: s.recvfrom_into(bytearray(9))[0]),
    "recvmsg": _reading(lambda s: s.recvmsg(9, 64)),
    "recvmsg_into": _reading(lambda s: s.recvmsg_into([bytearray(4), bytearray(5)])[0]),
    "send": _sending(lambda s, data: s.send(data)),
    "send large": _sending(lambda s, data: s.send(data) == len(data), size=100),
    "send datagram": _sending(lambda s, data: s.send(data), "unix-dgram"),
    "sendall": _sending(lambda s, data: s.sendall(data)),
    "sendmsg": _sending(lambda s, data: s.sendmsg([data])),
    "sendto": _sending_to,
    "accept": _accepting("unix"),
    "accept tcp": _accepting("tcp4"),
    "connect": _connecting("unix"),
    "connect_ex": _connecting("unix", ex=True),
    "makefile read": _reading_file,
    "makefile write": _writing_file,
    "sendfile": _sending_file,
}
# With a time-out connect does not wait at all: the kernel says EAGAIN at once.
NEVER_WITH_TIMEOUT = ("connect", "connect_ex")
# Of an unconnected Unix datagram socket poll(2) says that it is writable: the stdlib's spins.
SPINS_IN_THE_STDLIB = ("sendto",)
# A listener that drops a SYN hears of the client again after a second: only for what never ends.
NEVER_ANSWERED = {
    "connect tcp": _connecting("tcp4"),
    "connect_ex tcp": _connecting("tcp4", ex=True),
}
OURS_ALONE = {
    "recv_exactly": _reading(lambda s: s.recv_exactly(9)),
    "recv_until": _reading(lambda s: s.recv_until(b"\n")),
}


# ---- signals


class Raised(Exception):
    """What a signal handler raises."""


Raised.__module__ = "tests"  # the same whether this file is a module or the program


@contextlib.contextmanager
def handler(number: int, call: Callable) -> Iterator[None]:
    before = signal.signal(number, call)
    try:
        yield
    finally:
        signal.signal(number, before)


def _is_blocked(pid: int, tid: int) -> bool:
    with open(f"/proc/{pid}/task/{tid}/stat") as source:
        state = source.read().rpartition(")")[2].split()[0]
    with open(f"/proc/{pid}/task/{tid}/syscall") as source:
        number = source.read().split()[0]
    futex, wait4 = "202", "61"  # a lock of Python, and `signalled` itself
    return state == "S" and number not in (futex, wait4, "running")


@contextlib.contextmanager
def signalled(*steps: int | Callable) -> Iterator[None]:
    """A child process that does each step once this thread sleeps in the kernel.

    A number is a signal for this thread's process; a callable runs in the child.
    """
    pid, tid = os.getpid(), threading.get_native_id()
    over, keep = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(keep)
            deadline = time.monotonic() + 8
            for step in steps:
                asleep = 0
                # Twice in a row: what it slept in may be on its way out.
                while asleep < 3 and time.monotonic() < deadline:
                    asleep = asleep + 1 if _is_blocked(pid, tid) else 0
                    if select.select([over], [], [], 0.002)[0]:
                        return  # the parent has done what it wanted to
                if asleep < 3:
                    break
                if callable(step):
                    step()
                else:
                    os.kill(pid, step)
        finally:
            os._exit(0)
    os.close(over)
    try:
        yield
    finally:
        os.close(keep)
        os.waitpid(child, 0)


def interrupted(kit: Kit, wait: Wait) -> list:
    """Ctrl-C while it waits: KeyboardInterrupt, and the socket is usable afterwards."""
    with handler(signal.SIGINT, signal.default_int_handler), signalled(signal.SIGINT):
        told = [attempt(wait.call)]
    return told


def resumed(kit: Kit, wait: Wait) -> list:
    """A handler that returns: the call goes on, and ends when it may."""
    calls: list[int] = []
    steps = (signal.SIGUSR1, wait.release)
    with handler(signal.SIGUSR1, lambda *_: calls.append(1)), signalled(*steps):
        told = [attempt(wait.call)]
    return [*told, calls]


def broken_off(kit: Kit, wait: Wait) -> list:
    """A handler that raises something else: that is what the call raises."""

    def stop(*_: object) -> None:
        raise Raised("stop")

    with handler(signal.SIGUSR1, stop), signalled(signal.SIGUSR1):
        return [attempt(wait.call)]


def after_its_time(kit: Kit, wait: Wait) -> list:
    """A handler that returns does not give the call more time than it had."""
    started = time.monotonic()
    with handler(signal.SIGUSR1, lambda *_: None), signalled(signal.SIGUSR1):
        wait.sock.settimeout(0.1)
        told = [attempt(wait.call)]
    return [*told, time.monotonic() - started >= 0.1]


ACTIONS = {
    "interrupted": interrupted,
    "resumed": resumed,
    "broken off": broken_off,
    "after its time": after_its_time,
}


def run(net, name: str, action: str, timeout: float | None) -> list:
    with Kit(net) as kit:
        wait = {**WAITS, **OURS_ALONE}[name](kit)
        wait.sock.settimeout(timeout)
        told = ACTIONS[action](kit, wait)
        if action in ("interrupted", "broken off") and "peek" not in name:
            # The socket is as it was: the same call again, and this time it ends.
            poll = select.poll()
            poll.register(wait.sock.fileno(), select.POLLERR | select.POLLHUP)
            told.append(wait.sock.fileno() >= 0)
            with signalled(wait.release):
                told.append(attempt(wait.call))
        return told


def main(module: str, timeout: str) -> None:
    net = MODULES[module]
    for action in ACTIONS:
        if action == "after its time" and timeout == "None":
            continue
        for name in [*WAITS, *(OURS_ALONE if module == "ipcx" else ())]:
            if timeout != "None" and name in NEVER_WITH_TIMEOUT:
                continue
            if timeout != "None" and name in SPINS_IN_THE_STDLIB and module == "stdlib":
                continue
            told = run(net, name, action, None if timeout == "None" else float(timeout))
            print(json.dumps([name, action, repr(told)]), flush=True)
    assert threading.active_count() == 1
    assert not blocked(threading.get_native_id())


if __name__ == "__main__":
    main(*sys.argv[1:])
