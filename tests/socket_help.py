# SPDX-License-Identifier: Apache-2.0
"""What the socket tests share: both modules, connected pairs of every kind, outcomes to compare.

A scenario is a function of the module under test; `same` runs it over the stdlib and over ipcx and
compares what it returned or raised: type, errno, args and text. `attempt` does so for one call
inside a scenario. Invariant: whatever a `Kit` made is closed when its `with` block ends.
"""

import contextlib
import itertools
import os
import socket as stdlib
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ipcx import socket as ours

MODULES = {"stdlib": stdlib, "ipcx": ours}
both = pytest.mark.parametrize("net", MODULES.values(), ids=MODULES.keys())
ipcx_only = pytest.mark.parametrize("net", [ours], ids=["ipcx"])

STREAMS = ("unix", "tcp4", "tcp6")
DATAGRAMS = ("unix-dgram", "udp4", "udp6")
RECORDS = (*DATAGRAMS, "seqpacket")
KINDS = (*STREAMS, *RECORDS)
MODES = {"blocking": None, "timeout": 5.0, "nonblocking": 0.0}
# Seconds a helper waits for another thread before it gives up: a little less than the watchdog.
GUARD = 0.8 * float(os.environ.get("IPCX_HANG_GUARD", "10"))

_serial = itertools.count()


def _has_ipv6() -> bool:
    try:
        with stdlib.socket(stdlib.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


HAS_IPV6 = _has_ipv6()


def family_of(kind: str) -> int:
    if kind.endswith("4"):
        return stdlib.AF_INET
    return stdlib.AF_INET6 if kind.endswith("6") else stdlib.AF_UNIX


def type_of(kind: str) -> int:
    if kind == "seqpacket":
        return stdlib.SOCK_SEQPACKET
    return stdlib.SOCK_STREAM if kind in STREAMS else stdlib.SOCK_DGRAM


def abstract_name() -> str:
    return f"\0ipcx-{os.getpid()}-{next(_serial)}-{os.urandom(4).hex()}"


class Kit(contextlib.ExitStack):
    """Makes sockets of one module and closes them."""

    def __init__(self, net) -> None:
        super().__init__()
        self.net = net

    def keep(self, thing):
        self.callback(thing.close)
        return thing

    def socket(self, *args, **kwargs):
        return self.keep(self.net.socket(*args, **kwargs))

    def of(self, kind: str):
        """A fresh socket of `kind`."""
        if kind.endswith("6") and not HAS_IPV6:
            pytest.skip("no IPv6 loopback on this machine")
        return self.socket(family_of(kind), type_of(kind))

    def folder(self) -> str:
        return self.enter_context(tempfile.TemporaryDirectory(prefix="s"))

    def address(self, kind: str):
        """Where a socket of `kind` can be bound without asking anybody."""
        if kind.endswith("4"):
            return ("127.0.0.1", 0)
        return ("::1", 0) if kind.endswith("6") else abstract_name()

    def bound(self, kind: str):
        made = self.of(kind)
        made.bind(self.address(kind))
        return made

    def listener(self, kind: str, backlog: int | None = None):
        made = self.bound(kind)
        made.listen() if backlog is None else made.listen(backlog)
        return made

    def connected(self, kind: str):
        """(client, server): the server's end through accept where there is one."""
        if kind in STREAMS or kind == "seqpacket":
            listener = self.listener(kind)
            client = self.of(kind)
            client.connect(listener.getsockname())
            server = self.keep(listener.accept()[0])
            listener.close()
            return client, server
        one, two = self.bound(kind), self.bound(kind)
        one.connect(two.getsockname())
        two.connect(one.getsockname())
        return one, two

    def pair(self, kind: str = "unix"):
        if family_of(kind) == stdlib.AF_UNIX:
            return tuple(map(self.keep, self.net.socketpair(stdlib.AF_UNIX, type_of(kind))))
        return self.connected(kind)


def name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def plain(value):
    """`value` as something that can be compared between the two modules."""
    if isinstance(value, stdlib.socket):
        kind = "socket" if type(value) in (stdlib.socket, ours.socket) else type(value).__name__
        return (kind, value.family, value.type, value.proto, value.gettimeout())
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    if isinstance(value, (bytearray, memoryview)):
        return (type(value).__name__, bytes(value))
    return value


def raised(error: BaseException):
    """What can be told of an exception."""
    told = ["raised", name_of(type(error)), error.args, str(error)]
    if isinstance(error, OSError):
        told += [error.errno, error.strerror, error.filename, error.filename2]
    if isinstance(error, BaseExceptionGroup):
        told.append([raised(each) for each in error.exceptions])
    return told


def attempt(call: Callable, *args, **kwargs):
    """What `call` returned or raised, comparable."""
    try:
        return ["returned", plain(call(*args, **kwargs))]
    except (Exception, KeyboardInterrupt) as error:
        return raised(error)


def outcome(scenario: Callable, net, *args):
    def run():
        with Kit(net) as kit:
            return scenario(kit, *args)

    return attempt(run)


def same(scenario: Callable, *args) -> None:
    """`scenario(kit, *args)` gives over ipcx what it gives over the stdlib."""
    expected, got = outcome(scenario, stdlib, *args), outcome(scenario, ours, *args)
    if got != expected:
        raise AssertionError("ipcx differs from the stdlib:\n" + difference(expected, got))


def difference(expected, got, where: str = "") -> str:
    """The innermost places where two results differ."""
    if (
        isinstance(expected, (list, tuple))
        and type(expected) is type(got)
        and len(expected) == len(got)
    ):
        pairs = enumerate(zip(expected, got, strict=True))
        return "".join(difference(a, b, f"{where}[{i}]") for i, (a, b) in pairs if a != b)
    return f"{where}: stdlib {shorten(expected)}\n{' ' * len(where)}    ipcx {shorten(got)}\n"


def shorten(value) -> str:
    text = repr(value)
    return text if len(text) < 600 else text[:300] + " … " + text[-300:]


# ---- other threads


def blocked(tid: int) -> bool:
    """Whether thread `tid` of this process sleeps inside a system call other than a lock's."""
    try:
        with open(f"/proc/self/task/{tid}/stat") as source:
            state = source.read().rpartition(")")[2].split()[0]
        with open(f"/proc/self/task/{tid}/syscall") as source:
            number = source.read().split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    futex, running = "202", "running"
    return state == "S" and number not in (futex, running)


def until(true: Callable[[], object], what: str = "the condition") -> None:
    """Waits for `true()`; the guard is for a test that would hang."""
    deadline = time.monotonic() + GUARD
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true")
        time.sleep(0.001)


class Background(threading.Thread):
    """Runs a call in a thread and keeps what came of it."""

    def __init__(self, call: Callable, *args, **kwargs) -> None:
        super().__init__(daemon=True)
        self.call, self.args, self.kwargs = call, args, kwargs
        self.result = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.call(*self.args, **self.kwargs)
        except BaseException as error:
            self.error = error

    def until_blocked(self) -> "Background":
        """Returns once the thread sleeps in the kernel; fails if it ended instead."""
        until(
            lambda: not self.is_alive() or (self.native_id and blocked(self.native_id)),
            "the thread's sleep",
        )
        assert self.is_alive(), f"it did not wait: {self.result!r} {self.error!r}"
        return self

    def finish(self):
        """Its result, or its exception raised here."""
        self.join(GUARD)
        assert not self.is_alive(), "the call did not end"
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # the traceback's frames hold sockets
        return self.result


@contextlib.contextmanager
def background(call: Callable, *args, **kwargs) -> Iterator[Background]:
    thread = Background(call, *args, **kwargs)
    yield thread
    thread.join(GUARD)
    assert not thread.is_alive(), "the call did not end"


def on_its_way() -> bool:
    """Whether a TCP connection of this process waits for an acknowledgement; asks for it, too.

    One that is delayed takes 40 ms, unless its socket is told to be quick.
    """
    waits = False
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # no socket, or none of TCP
            fd = os.dup(int(name))
            try:
                sock = stdlib.socket(fileno=fd)
            except OSError:
                os.close(fd)
                continue
            with sock:
                sock.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_QUICKACK, 1)
                info = sock.getsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_INFO, 28)
                waits |= struct.unpack_from("I", info, 24)[0] > 0  # tcpi_unacked
    return waits


def fill(sock) -> int:
    """Sends until nothing more fits; returns how much did."""
    before = sock.gettimeout()
    sock.setblocking(False)
    sent, flags = 0, 0
    stream = sock.type == stdlib.SOCK_STREAM
    tcp = stream and sock.family != stdlib.AF_UNIX
    chunks = [bytes(1 << 16), b"x"] if stream else [bytes(1024)]
    if tcp:
        # Records of their own, each less than a segment: of a larger one the kernel sends what fits
        # into the rest of the window, but 200 ms later, and then there is room again.
        chunks, flags = [bytes(1 << 12)], stdlib.MSG_EOR
    for chunk in chunks:
        moving = True
        while moving:
            # What is on its way makes room once it has arrived: full is what stays full.
            moving = tcp and on_its_way()
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += sock.send(chunk, flags)
                    moving = tcp
    sock.settimeout(before)
    return sent


def take(sock, size: int) -> bytes:
    """Receives `size` bytes through the operating system alone."""
    got = bytearray()
    while len(got) < size:
        piece = os.read(sock.fileno(), min(1 << 20, size - len(got)))
        if not piece:
            break
        got += piece
    return bytes(got)


def open_descriptors() -> dict[int, str]:
    """Number → what it is, of each descriptor of this process."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
    return found
