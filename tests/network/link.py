# SPDX-License-Identifier: Apache-2.0
"""Two hosts and the network between them, which does what a test says, on one machine.

    with Link(seed=1) as link:
        with link.inside("b"):
            listener = ipcx.listen(f"tcp://{link.b}:0", insecure=True)
        with link.inside("a"):
            channel = ipcx.connect(listener.url)
        link.set(loss=0.1, reorder=0.1)        # both directions; link.set("ab", …): one
        link.cut("ba")                         # nothing arrives any more, until link.mend()

A host is a network namespace with lo and one TUN device; the network is a process that reads one
and writes the other (forwarder.py). A socket belongs to the host in which it was made, wherever it
is used afterwards: so one test, even one thread, holds both ends. Needs root and /dev/net/tun;
`open_link()` and the fixture `link` skip with the reason where they are refused. Chances come from
a seeded generator; which packet they hit depends on how the kernels cut their streams into packets.
Invariant: nothing has a name; when the test's process is gone, killed or not, so is all of this.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

FORWARDER = Path(__file__).with_name("forwarder.py")
CLONE_NEWNET = 0x40000000
WAYS = {"ab": ["ab"], "ba": ["ba"], "both": ["ab", "ba"]}
_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This machine refuses namespaces or TUN devices."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """Packets of one direction that the rules were for, except `cut`: any that met a cut wire."""

    seen: int
    passed: int  # once each, however often they were doubled
    lost: int
    cut: int
    duplicated: int
    reordered: int
    corrupted: int
    forged: int
    split: int
    shortened: int


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Link:
    """Hosts "a" and "b"; `a`, `b`, `a6`, `b6` are their addresses. `ways`: "ab", "ba", "both"."""

    a, b = "10.77.0.1", "10.77.0.2"
    a6, b6 = "fd77::1", "fd77::2"

    def __init__(self, seed: object = 0) -> None:
        if os.geteuid() != 0:
            raise Unavailable("only root may make network namespaces")
        ours, its = socket.socketpair()
        with its:
            self._forwarder = subprocess.Popen(
                [sys.executable, "-I", FORWARDER, str(its.fileno())],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._orders = ours
        self._namespaces: dict[str, int] = {}
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        start = {
            "seed": str(seed),
            "addresses": {"a": [self.a, self.a6], "b": [self.b, self.b6]},
        }
        ours.sendall(json.dumps(start).encode() + b"\n")
        try:
            for side in "ab":
                self._receive_namespace(side)
        except BaseException:
            self.close()
            raise

    def _receive_namespace(self, side: str) -> None:
        data, fds, _, _ = socket.recv_fds(self._orders, 1, 1)
        if not fds:
            rest = self._orders.recv(4096).decode() if data else "the forwarder ended"
            raise Unavailable(f"no network of namespaces and TUN devices: {rest}")
        os.set_inheritable(fds[0], False)
        if side in self._namespaces:
            os.close(self._namespaces[side])
        self._namespaces[side] = fds[0]

    def close(self) -> None:
        self._orders.close()
        self._forwarder.wait()
        for fd in (self._home, *self._namespaces.values()):
            os.close(fd)
        self._namespaces.clear()

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        assert kind or self._forwarder.returncode == 0, "the network broke down by itself"

    @contextlib.contextmanager
    def inside(self, side: str) -> Iterator[None]:
        """What this thread opens, and who it starts, is on that host."""
        _enter(self._namespaces[side])
        try:
            yield
        finally:
            _enter(self._home)

    # ---- the network

    def set(self, ways: str = "both", **rules: object) -> None:
        """These rules, and no others, from now on; without any a faultless wire.

        Chances from 0 to 1: `loss`, `duplicate`, `corrupt` (a bit, which the checksum shows),
        `forge` (a bit of the payload, the checksum mended), `split` (IPv4 fragments), `shorten`
        (its end is cut off), `reorder` (it leaves behind the next `gap`=3 packets, or 50 ms late).
        Seconds: `delay`, and `jitter` more at random, which reorders too. `drop=[0, 5]`: these
        packets, counted from count_anew(). `only="tcp"` or `"udp"`: the rules are for no others.
        """
        self._do("set", ways, rules=rules)

    def cut(self, ways: str = "both") -> None:
        """Every packet is lost, those under way too: the host at the other end has vanished."""
        self._do("cut", ways)

    def mend(self, ways: str = "both") -> None:
        """Not cut any more."""
        self._do("mend", ways)

    def hold(self, ways: str = "both") -> None:
        """Packets wait in the wire, in their order, for release()."""
        self._do("hold", ways)

    def release(self, ways: str = "both") -> None:
        """What was held goes on, and what comes as well."""
        self._do("release", ways)

    def reboot(self, side: str) -> None:
        """A new host at the address of the old one, which is cut off with all of its sockets."""
        self._orders.sendall(json.dumps({"do": "reboot", "side": side}).encode() + b"\n")
        self._receive_namespace(side)
        self._answer()

    # ---- what became of packets

    def counts(self, way: str) -> Counts:
        return Counts(**self._do("look", way)["counts"])

    def order(self, way: str) -> list[int]:
        """The numbers of the packets that passed, as they left the wire; doubled ones twice."""
        return self._do("look", way)["order"]

    def count_anew(self, ways: str = "both") -> None:
        """Counts and numbers begin at 0 again."""
        self._do("count_anew", ways)

    def settle(self, ways: str = "both") -> None:
        """Returns when nothing is under way any more."""
        while any(self._do("look", way)["rest"] for way in WAYS[ways]):
            time.sleep(0.005)

    def _do(self, what: str, ways: str = "both", **more: object) -> dict:
        order = {"do": what, "ways": WAYS[ways], **more}
        self._orders.sendall(json.dumps(order).encode() + b"\n")
        return self._answer()

    def _answer(self) -> dict:
        line = b""
        while not line.endswith(b"\n"):
            part = self._orders.recv(65536)
            assert part, f"the forwarder has ended: {self._forwarder.wait()}"
            line += part
        return json.loads(line)


def open_link(seed: object = 0) -> Link:
    """A Link, or the test is skipped."""
    try:
        return Link(seed)
    except Unavailable as error:
        pytest.skip(str(error))
