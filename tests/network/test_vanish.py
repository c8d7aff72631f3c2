# SPDX-License-Identifier: Apache-2.0
"""Hosts that vanish, and hosts that are merely slow: who waits learns of the first, never is wrong
about the second.

Everything that takes seconds happens at once: one cut, and all that wait see it, each in its way.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable

import pytest
from network.link import Link

import ipcx
import ipcx.tls
from ipcx import aio
from ipcx.server import Server
from socket_help import GUARD, until

NIGHT = os.environ.get("IPCX_NIGHT") == "1"
QUICK = 3  # seconds: the least vanish_timeout there is
TCP_RTO_MAX_MS = 44  # linux/tcp.h
LARGE = bytes(60_000)


class Hosts:
    """Makes connected ends on the hosts of a link and closes them again."""

    def __init__(self, link: Link, stack: contextlib.ExitStack, seconds: float) -> None:
        self.link, self.stack, self.seconds = link, stack, seconds

    def ends(
        self, swapped: bool = False, scheme: str = "tcp", **options
    ) -> tuple[ipcx.Channel, ipcx.Channel]:
        """(an end on a, one on b), b's accepted; `swapped`: a's."""
        one, other = "ba" if swapped else "ab"
        options = {"vanish_timeout": self.seconds, **options}
        server, client = {}, {}
        if scheme == "tls":
            contexts = ipcx.tls.self_signed((self.link.a, self.link.b))
            server, client = ({"tls": context} for context in contexts)
        with self.link.inside(other):
            url = f"{scheme}://{getattr(self.link, other)}:0"
            listener = ipcx.listen(url, insecure=True, **options, **server)
        with listener:
            with self.link.inside(one):
                connected = ipcx.connect(listener.url, **options, **client)
            connecting = Sees(connected.flush)  # TLS: its side of the handshake
            accepted = listener.accept(timeout=GUARD)
            assert connecting.finish() is None
        for end in (connected, accepted):
            self.stack.callback(end.close, 0)
            other_end = accepted if end is connected else connected
            end.send("hello")  # both handshakes are done, nothing is under way
            assert other_end.receive(timeout=GUARD) == "hello"
        for end in (connected, accepted):
            until(lambda end=end: unacknowledged(end) == 0)  # or it would ask, and be heard
        return (accepted, connected) if swapped else (connected, accepted)

    def server(self, **options) -> tuple[Server, ipcx.Channel]:
        """A server on b and its client on a, which has said hello and got an answer."""
        with self.link.inside("b"):
            url = f"tcp://{self.link.b}:0"
            server = Server(url, insecure=True, vanish_timeout=self.seconds, **options)
        self.stack.callback(server.close, 0)
        with self.link.inside("a"):
            client = ipcx.connect(server.urls[0], vanish_timeout=self.seconds)
        self.stack.callback(client.close, 0)
        client.send("hello")
        peer, _ = server.receive(timeout=GUARD)
        peer.send("hello")
        assert client.receive(timeout=GUARD) == "hello"
        return server, client


def unacknowledged(channel: ipcx.Channel) -> int:
    """Bytes that the kernel has sent, or is to send, and nobody has acknowledged: tcp(7)."""
    answer = fcntl.ioctl(channel._send_fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def hosts(link: Link, stack) -> Hosts:
    return Hosts(link, stack, QUICK)


def fill(channel: ipcx.Channel) -> int:
    """Sends until the peer, which does not read, takes no more; how many messages it will get."""
    sent = 0
    try:
        while True:
            channel.send(LARGE, timeout=0.2)
            sent += 1
    except ipcx.Timeout as error:
        return sent + error.begun


def as_before_linux_6_15(channel: ipcx.Channel) -> None:
    """The kernel waits longer and longer before it asks again, up to two minutes."""
    with socket.socket(fileno=os.dup(channel._send_fileno())) as sock, contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 120_000)


class Sees:
    """A thread that waits until its peer's host is gone, and what it got."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self.error: BaseException | None = None
        self.answer: object = None
        self.after = 0.0
        self._wait, self._begun = wait, time.monotonic()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._wait()
        except BaseException as error:
            self.error = error
        self.after = time.monotonic() - self._begun

    def finish(self, longest: float = GUARD) -> BaseException | None:
        self._thread.join(longest)
        assert not self._thread.is_alive(), "it has not noticed"
        return self.error


def again(call: Callable[[], object], pause: float = 0) -> Callable[[], object]:
    """Calls that time out, one after the other."""

    def run() -> None:
        while True:
            with contextlib.suppress(ipcx.Timeout):
                call()
            time.sleep(pause)

    return run


def in_a_loop(make: Callable[[], object]) -> Callable[[], object]:
    return lambda: asyncio.run(make())


async def sends_for_ever(channel: aio.Channel) -> None:
    while True:
        await channel.send(LARGE)


# ---- everybody who waits


def waiters(hosts: Hosts, old: bool) -> dict[str, Callable[[], object]]:
    """Every way to wait for a host that will be gone, on either side, prepared up to the wait."""
    found: dict[str, Callable[[], object]] = {}

    def ends(swapped: bool = False) -> tuple[ipcx.Channel, ipcx.Channel]:
        made = hosts.ends(swapped)
        if old:
            as_before_linux_6_15(made[0])
            as_before_linux_6_15(made[1])
        return made

    def idle() -> None:
        a, b = ends()
        found["idle, connected"] = a.receive
        found["idle, accepted"] = b.receive

    def busy(name: str, of: Callable[[ipcx.Channel], Callable[[], object]]) -> None:
        for swapped in (False, True):
            mine = ends(swapped)[0]
            found[f"{name}{', accepted' * swapped}"] = busy_first(mine, of(mine))

    def busy_first(mine: ipcx.Channel, wait: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            mine.send("is anybody there?")  # into the void
            wait()

        return run

    idle()
    for swapped in (False, True):
        mine, other = hosts.ends(swapped, "tls")
        found[f"tls, idle{', accepted' * swapped}"] = other.receive if swapped else mine.receive
        mine, _ = hosts.ends(swapped, "tls")
        found[f"tls, busy{', accepted' * swapped}"] = busy_first(mine, mine.receive)
    busy("busy", lambda mine: mine.receive)
    busy("rendezvous", lambda mine: lambda: mine.send("meet me", sync=True))
    busy("in short calls", lambda mine: again(lambda: mine.receive(timeout=0.05)))
    busy("polling", lambda mine: again(lambda: mine.receive(timeout=0), 0.02))
    busy("poll()", lambda mine: again(lambda: mine.poll(0.1) and mine.receive(timeout=0)))
    busy("coroutine", lambda mine: in_a_loop(lambda: aio.Channel(mine).receive()))
    sender, _ = ends()
    found["sending"] = again(lambda: sender.send(LARGE, timeout=1))
    sender2, _ = ends()
    found["coroutine that sends"] = in_a_loop(lambda: sends_for_ever(aio.Channel(sender2)))
    return found


def leaves(server: Server) -> str | None:
    """Why its peer has left, when it has."""
    return next(event.peer.reason for event in server.events() if event.kind == "leave")


@pytest.mark.parametrize(("ways", "old"), [("both", False), ("ba", True)])
def test_whoever_waits_notices(hosts: Hosts, ways: str, old: bool) -> None:
    """And says so: a host that is silent although it was asked has vanished."""
    prepared = waiters(hosts, old)
    servers = [hosts.server()[0] for _ in range(2)]
    hosts.link.cut(ways)
    for peer in servers[1].peers:
        peer.send("is anybody there?")
    seen = {name: Sees(wait) for name, wait in prepared.items()}
    for reason in [Sees(lambda server=server: leaves(server)) for server in servers]:
        assert reason.finish() is None
        if ways == "both":  # else the reset of a, which has given up, may be first
            assert reason.answer == "its host has vanished: nothing was heard from it for too long"
    for name, one in seen.items():
        error = one.finish()
        assert type(error) is ipcx.PeerDied, (name, error)
        assert error.errno is not None, name
        if ways == "both" or "accepted" not in name:  # a's reset still reaches b
            assert "its host has vanished: nothing was heard from it for" in str(error), name


def test_a_server_that_waits_for_a_peer_notices(hosts: Hosts) -> None:
    """Nobody asks for messages meanwhile: its only thread sends, or closes the server."""
    sending, closing = (hosts.server(on_full="block", max_backlog=100_000)[0] for _ in range(2))
    peers = [next(iter(server.peers)) for server in (sending, closing)]
    hosts.link.cut()
    for peer in peers:
        with contextlib.suppress(ipcx.Timeout):
            while True:
                peer.send(LARGE, timeout=0)
    seen = [Sees(lambda: peers[0].send(LARGE)), Sees(lambda: closing.close(None))]
    for one in seen:
        assert one.finish() is None
    assert seen[0].answer is False
    assert peers[0].reason == "its host has vanished: nothing was heard from it for too long"


@pytest.mark.hang_guard(90)
def test_it_takes_15_seconds_unless_told_otherwise(link: Link, stack) -> None:
    """And who waits sleeps through them, but for a look every five seconds."""
    hosts = Hosts(link, stack, 15)
    (idle, other), (busy, _), (old, _) = (hosts.ends() for _ in range(3))
    as_before_linux_6_15(old)
    link.cut()
    seen = [Sees(idle.receive), Sees(other.receive)]
    for end in (busy, old):
        end.send("is anybody there?")
        seen.append(Sees(end.receive))
    for one in seen:
        assert type(one.finish(60)) is ipcx.PeerDied
        assert one.after >= 5
    for end in (idle, other, busy, old):
        assert end.stats().receive_waits <= 12


# ---- nobody who lives


@pytest.mark.hang_guard(90)
def test_a_peer_that_does_not_read_lives(hosts: Hosts) -> None:
    """Its kernel answers each probe of its closed window, however long that takes."""
    seconds = 40 if NIGHT else 2 * QUICK
    pairs = [hosts.ends() for _ in range(2)]
    as_before_linux_6_15(pairs[1][0])
    server, client = hosts.server()
    sent = [fill(one) for one, _ in pairs]
    peer = next(iter(server.peers))
    peer.send(bytes(7_000_000))
    waiting = [Sees(lambda one=one: one.receive(timeout=seconds)) for one, _ in pairs]
    with contextlib.suppress(ipcx.Timeout):
        server.receive(timeout=seconds)
    for one in waiting:
        assert type(one.finish(seconds + GUARD)) is ipcx.Timeout
    for (one, other), count in zip(pairs, sent, strict=True):
        rest = Sees(one.flush)
        for _ in range(count):
            assert other.receive(timeout=GUARD) == LARGE
        assert rest.finish() is None
        one.send("alive")
        assert other.receive(timeout=GUARD) == "alive"
    serving = Sees(server.receive)
    assert len(client.receive(timeout=GUARD)) == 7_000_000
    client.send("alive")
    assert serving.finish() is None
    assert serving.answer == (peer, "alive")


def test_a_short_silence_loses_nothing(link: Link, stack) -> None:
    """What was lost is sent again, what was held comes late."""
    hosts = Hosts(link, stack, 2 * QUICK)
    ends = [hosts.ends() for _ in range(4)]
    for stop, go in ((link.cut, link.mend), (link.hold, link.release)):
        stop()
        for number in range(10):
            for a, b in ends:
                a.send(f"{number} to b")
                b.send(f"{number} to a")
        waiting = [Sees(lambda a=a: a.receive_many(1)) for a, _ in ends]
        time.sleep(QUICK / 2)  # the silence itself, not a synchronisation
        go()
        for one in waiting:
            assert one.finish() is None
        for (a, b), one in zip(ends, waiting, strict=True):
            got = [*one.answer, *(a.receive(timeout=GUARD) for _ in range(9))]
            assert got == [f"{n} to a" for n in range(10)]
            assert [b.receive(timeout=GUARD) for _ in range(10)] == [f"{n} to b" for n in range(10)]


def test_nobody_looks_when_told_so(link: Link, stack) -> None:
    one, other = Hosts(link, stack, None).ends()
    with socket.socket(fileno=os.dup(one._send_fileno())) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    link.cut()
    one.send("lost for now")
    with pytest.raises(ipcx.Timeout):
        one.receive(timeout=1.2 * QUICK)
    link.mend()
    assert other.receive(timeout=GUARD) == "lost for now"


@pytest.mark.parametrize("seconds", [0, 2.9, -1])
def test_too_short_a_time(seconds: float) -> None:
    for make in (ipcx.listen, Server):
        with pytest.raises(ValueError, match=r"vanish_timeout|timeout"):
            make("tcp://127.0.0.1:0", vanish_timeout=seconds)
    with ipcx.listen("tcp://127.0.0.1:0") as listener, pytest.raises(ValueError, match="timeout"):
        ipcx.connect(listener.url, vanish_timeout=seconds)


# ---- hosts that come back


def test_a_host_that_was_started_anew(hosts: Hosts) -> None:
    """It knows of no connection, and says so when it is asked: by data, by a probe."""
    (busy, _), (idle, _) = hosts.ends(), hosts.ends()
    hosts.link.reboot("b")
    with contextlib.suppress(ipcx.PeerDied):  # a probe may have been first
        busy.send("do you remember me?")
    for one in (busy, idle):
        with pytest.raises(ipcx.PeerDied, match="it hung up"):
            one.receive(timeout=GUARD)


def test_half_open(hosts: Hosts) -> None:
    """The peer's end is gone, and what told of it was lost on the way."""
    one, other = hosts.ends()
    hosts.link.cut()
    with socket.socket(fileno=os.dup(other._send_fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close(0)
    until(lambda: hosts.link.counts("ba").cut > 0, "its reset is lost")
    hosts.link.mend()
    with contextlib.suppress(ipcx.PeerDied):
        one.send("are you there?")
    with pytest.raises(ipcx.PeerDied, match="it hung up"):
        one.receive(timeout=GUARD)


def test_a_cut_in_the_middle_of_a_message(hosts: Hosts) -> None:
    """Half a message is none: the receiver gets what was whole, then PeerDied."""
    one, other = hosts.ends()
    one.send("whole")
    with pytest.raises(ipcx.Timeout) as caught:
        one.send(os.urandom(30_000_000), timeout=0.3)
    assert caught.value.begun
    hosts.link.cut()
    assert other.receive(timeout=GUARD) == "whole"
    with pytest.raises(ipcx.PeerDied, match=r"vanished.*in the middle of a message"):
        other.receive(timeout=GUARD)
    with pytest.raises(ipcx.PeerDied, match="vanished"):
        one.send("more", timeout=GUARD)


# ---- a bad line


@pytest.mark.hang_guard(90)
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_a_bad_line_changes_nothing(hosts: Hosts, scheme: str) -> None:
    """TCP repairs it: each message comes, as it was, in order, and no checksum of ours is wrong."""
    link = hosts.link
    one, other = hosts.ends(scheme=scheme, checksum=True, vanish_timeout=15)
    link.set(
        loss=0.1, reorder=0.1, duplicate=0.1, corrupt=0.05, shorten=0.02, split=0.1, jitter=0.002
    )
    count = 300 if NIGHT else 100
    messages = [os.urandom(size * 97 % 5000) for size in range(count)]
    there = Sees(lambda: [one.send(message) for message in messages])
    back = Sees(lambda: [other.send(message) for message in messages])
    assert [other.receive(timeout=60) for _ in messages] == messages
    assert [one.receive(timeout=60) for _ in messages] == messages
    assert there.finish() is back.finish() is None
    counts = link.counts("ab")
    assert min(counts.lost, counts.reordered, counts.duplicated, counts.corrupted) > 0


def test_what_tcp_does_not_see(hosts: Hosts) -> None:
    """A bit that was changed together with TCP's checksum: ours tells."""
    one, other = hosts.ends(checksum=True)
    hosts.link.set("ab", forge=1)
    one.send(bytes(1000))
    with pytest.raises(ipcx.ProtocolError):
        other.receive(timeout=GUARD)


@pytest.mark.parametrize(
    "profile", [{"loss": 0.3}, {"reorder": 0.5, "delay": 0.02}, {"corrupt": 0.2}]
)
def test_handshakes_over_a_bad_line(link: Link, stack, profile: dict) -> None:
    hosts = Hosts(link, stack, 15)
    link.set(**profile)
    for _ in range(2):
        one, other = hosts.ends()
        one.send("meet me", timeout=GUARD)
        assert other.receive(timeout=GUARD) == "meet me"
