# SPDX-License-Identifier: Apache-2.0
"""The network of these tests does what it is told, to the packet, and leaves nothing behind."""

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections import Counter

import pytest
from network.link import Link, Unavailable, open_link

from socket_help import GUARD, HAS_IPV6, until


@contextlib.contextmanager
def datagrams(link: Link, six: bool = False):
    """Sockets on a and b that are connected to each other; b's takes all that comes."""
    kind = socket.AF_INET6 if six else socket.AF_INET
    ends = []
    with contextlib.ExitStack() as stack:
        for side, host in (("a", link.a6 if six else link.a), ("b", link.b6 if six else link.b)):
            with link.inside(side):
                ends.append(stack.enter_context(socket.socket(kind, socket.SOCK_DGRAM)))
            ends[-1].settimeout(GUARD)
            ends[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            ends[-1].bind((host, 0))
        ends[0].connect(ends[1].getsockname())
        ends[1].connect(ends[0].getsockname())
        yield ends


@contextlib.contextmanager
def stream(link: Link):
    """A TCP connection: (the connector's end on a, the accepted one on b)."""
    with link.inside("b"):
        server = socket.create_server((link.b, 0))
    with server:
        with link.inside("a"):
            client = socket.create_connection(server.getsockname(), GUARD)
        with client, server.accept()[0] as accepted:
            yield client, accepted


def everything(sock: socket.socket) -> list[bytes]:
    """What has come."""
    got = []
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            got.append(sock.recv(65535))
    sock.settimeout(GUARD)
    return got


def numbers(sock: socket.socket) -> list[int]:
    return [int(data.split()[0]) for data in everything(sock)]


def send(link: Link, sock: socket.socket, count: int) -> None:
    """And waits until the network has them all."""
    sent = link.counts("ab").seen
    for number in range(count):
        sock.send(b"%d data" % number)
    until(lambda: link.counts("ab").seen == sent + count, "all seen")
    link.settle("ab")


@pytest.mark.parametrize("six", [False, True])
def test_two_hosts(link: Link, six: bool) -> None:
    if six and not HAS_IPV6:
        return
    with datagrams(link, six) as (one, two):
        one.send(b"to b")
        assert two.recv(100) == b"to b"
        two.send(b"to a")
        assert one.recv(100) == b"to a"
    with link.inside("a"), socket.create_server((link.a, 0)) as server:  # one's own address
        socket.create_connection(server.getsockname(), GUARD).close()


def test_a_stream_through_the_link(link: Link) -> None:
    link.set(loss=0.02, reorder=0.05, duplicate=0.05, corrupt=0.02, split=0.1, shorten=0.02)
    data = os.urandom(200_000)
    with stream(link) as (client, accepted):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        with accepted.makefile("rb") as whole:
            assert whole.read() == data
    counts = link.counts("ab")
    assert counts.lost + counts.reordered + counts.duplicated + counts.corrupted + counts.split


@pytest.mark.parametrize(
    ("rules", "count"),
    [
        ({"loss": 0.3}, "lost"),
        ({"corrupt": 0.3}, "corrupted"),
        ({"shorten": 0.3}, "shortened"),
        ({"duplicate": 0.3}, "duplicated"),
        ({"reorder": 0.3}, "reordered"),
        ({"split": 0.3}, "split"),
        ({"forge": 0.3}, "forged"),
    ],
)
def test_what_it_did_is_what_is_seen(link: Link, rules: dict, count: str) -> None:
    link.set("ab", **rules)
    with datagrams(link) as (one, two):
        send(link, one, 200)
        counts, order = link.counts("ab"), link.order("ab")
        did = getattr(counts, count)
        assert 30 < did < 90
        if count == "forged":
            got = everything(two)
            whole = [data for data in got if data in {b"%d data" % n for n in range(200)}]
            assert len(got) == 200
            assert 200 - did <= len(whole) <= 200 - did * 0.9  # "1" may have become "3"
            return
        got = numbers(two)
    if count in ("corrupted", "shortened"):
        assert len(got) == 200 - did  # the kernel drops them
        assert order == list(range(200))
        return
    assert got == order
    assert len(got) == 200 + counts.duplicated - counts.lost
    assert sum(times - 1 for times in Counter(got).values()) == counts.duplicated
    assert (got == sorted(got)) == (count != "reordered")


def test_everything_at_once(link: Link) -> None:
    """Whatever becomes of a packet, the network lives on."""
    every = dict.fromkeys(
        ("loss", "duplicate", "reorder", "corrupt", "forge", "split", "shorten"), 0.4
    )
    link.set("ab", **every)
    with datagrams(link) as (one, two):
        send(link, one, 200)
        everything(two)
        link.set()
        one.send(b"200")
        assert int(two.recv(100)) == 200


def test_by_rule_and_by_kind(link: Link) -> None:
    link.set("ab", drop=[0, 3], only="udp")
    with datagrams(link) as (one, two):
        send(link, one, 5)
        assert numbers(two) == [1, 2, 4]
        link.set("ab", loss=1, only="tcp")
        link.count_anew("ab")
        one.send(b"5")
        assert int(two.recv(100)) == 5
        assert link.counts("ab").seen == 0


def test_holding_cutting_and_mending(link: Link) -> None:
    with datagrams(link) as (one, two):
        link.hold("ab")
        for number in range(3):
            one.send(b"%d" % number)
        two.send(b"the other way")
        assert one.recv(100) == b"the other way"
        assert numbers(two) == []
        link.release("ab")
        assert [int(two.recv(100)) for _ in range(3)] == [0, 1, 2]
        link.cut()
        one.send(b"3")
        two.send(b"4")
        until(lambda: link.counts("ab").cut and link.counts("ba").cut, "both are cut")
        link.mend()
        one.send(b"5")
        assert int(two.recv(100)) == 5
        assert everything(one) == []


def test_delay(link: Link) -> None:
    link.set("ab", delay=0.05)
    with datagrams(link) as (one, two):
        begun = time.monotonic()
        one.send(b"x")
        assert two.recv(100) == b"x"
        assert time.monotonic() - begun >= 0.05


def test_a_reboot(link: Link) -> None:
    """The new host knows nothing of what the old one had open."""
    with stream(link) as (client, accepted):
        link.reboot("b")
        client.send(b"who are you?")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        accepted.setblocking(False)
        with pytest.raises(BlockingIOError):
            accepted.recv(1)


def test_this_thread_is_at_home_again(link: Link) -> None:
    home = os.readlink("/proc/thread-self/ns/net")
    with contextlib.suppress(RuntimeError), link.inside("a"):
        assert os.readlink("/proc/thread-self/ns/net") != home
        raise RuntimeError
    assert os.readlink("/proc/thread-self/ns/net") == home


def test_nothing_is_left_by_who_is_killed(spawn) -> None:
    open_link().close()  # or skip
    child = spawn(
        "-c",
        "import sys; sys.path.insert(0, 'tests')\n"
        "from network.link import Link\n"
        "link = Link()\n"
        "print(link._forwarder.pid, flush=True)\n"
        "input()\n",
    )
    forwarder = os.pidfd_open(int(child.stdout.readline()))
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert select.select([forwarder], [], [], GUARD)[0], "the forwarder has ended"
    os.close(forwarder)


def test_refusals_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="root"):
        Link()
    with pytest.raises(pytest.skip.Exception, match="only root may make network namespaces"):
        open_link()
    monkeypatch.undo()
    monkeypatch.setattr(Link, "a", "not an address")
    if os.geteuid() == 0:
        with pytest.raises(Unavailable, match="no network of namespaces and TUN devices"):
            Link()
    assert sys.platform == "linux"
