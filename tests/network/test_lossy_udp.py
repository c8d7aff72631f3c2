# SPDX-License-Identifier: Apache-2.0
"""udp:// between two hosts over a network that loses, doubles, reorders and spoils: every count is
the network's own, and a rendezvous comes through."""

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest
from network.link import Link

import ipcx
from socket_help import GUARD, until

NIGHT = os.environ.get("IPCX_NIGHT") == "1"
COUNT = 5000 if NIGHT else 500


@pytest.fixture
def ends(link: Link) -> Iterator[tuple[ipcx.Channel, ipcx.Channel]]:
    """(on a, on b) that know each other; no packet was lost yet, none is under way."""
    with contextlib.ExitStack() as stack:
        with link.inside("b"):
            listener = stack.enter_context(ipcx.listen(f"udp://{link.b}:0", insecure=True))
        with link.inside("a"):
            one = ipcx.connect(listener.url)
        stack.callback(one.close, 0)
        with link.inside("b"):  # where the channel's own socket is made
            other = listener.accept(timeout=GUARD)
        stack.callback(other.close, 0)
        until(lambda: link.counts("ba").seen > 0, "its PONG")
        yield one, other


def settled(link: Link, ends, count: int) -> list[int]:
    """Sends so many numbers from a to b, then one that no rule is for; which arrived."""
    one, other = ends
    link.count_anew("ab")
    got: list[int] = []
    for first in range(0, count, 100):  # in pieces that fit into the receiver's buffer
        one.send_many([b"%d" % n for n in range(first, min(first + 100, count))])
        until(lambda first=first: link.counts("ab").seen == min(first + 100, count), "all seen")
        link.settle("ab")
        while other.poll():
            got += map(int, other.receive_many(timeout=0))
    link.set()
    one.send(b"%d" % count)
    while not got or got[-1] != count:
        got.append(int(other.receive(timeout=GUARD)))
    return got


@pytest.mark.parametrize(
    "rules",
    [
        {"loss": 0.2},
        {"duplicate": 0.2},
        {"reorder": 0.2},
        {"loss": 0.1, "duplicate": 0.1, "reorder": 0.1, "split": 0.1},
        {"loss": 0.3, "duplicate": 0.5, "reorder": 0.3, "gap": 10},
    ],
    ids=lambda rules: " ".join(rules),
)
def test_what_the_network_did_is_what_is_counted(link: Link, ends, rules: dict) -> None:
    link.set("ab", only="udp", **rules)
    got = settled(link, ends, COUNT)
    order, counts = link.order("ab"), link.counts("ab")
    assert order[-1] == COUNT
    seen: set[int] = set()
    late, doubles, highest = 0, 0, -1
    expected = []
    for number in order:
        if number in seen:
            doubles += 1
        else:
            late += number < highest
            expected.append(number)
        seen.add(number)
        highest = max(highest, number)
    assert got == expected
    stats = ends[1].stats()
    assert (stats.lost, stats.reordered, stats.duplicates) == (counts.lost, late, doubles)
    assert doubles == counts.duplicated
    assert (stats.dropped, stats.overflowed) == (0, 0)
    assert stats.received == COUNT + 1 - counts.lost
    assert ends[0].stats().sent == COUNT + 1


@pytest.mark.parametrize(("rule", "count"), [("corrupt", "corrupted"), ("shorten", "shortened")])
def test_what_is_spoiled_is_lost(link: Link, ends, rule: str, count: str) -> None:
    """The kernel drops it by its checksum or length, and its number is missing."""
    link.set("ab", only="udp", **{rule: 0.2})
    got = settled(link, ends, COUNT)
    spoiled = getattr(link.counts("ab"), count)
    assert 0 < spoiled < COUNT
    assert len(got) == COUNT + 1 - spoiled
    assert got == sorted(set(got))
    assert ends[1].stats().lost == spoiled


def test_what_udp_does_not_see(link: Link) -> None:
    """A bit changed together with UDP's checksum: with `checksum` ours tells, and it is dropped."""
    with contextlib.ExitStack() as stack:
        with link.inside("b"):
            url = f"udp://{link.b}:0"
            listener = stack.enter_context(ipcx.listen(url, insecure=True, checksum=True))
        with link.inside("a"):
            one = ipcx.connect(listener.url, checksum=True)
        stack.callback(one.close, 0)
        with link.inside("b"):  # where the channel's own socket is made
            other = listener.accept(timeout=GUARD)
        stack.callback(other.close, 0)
        until(lambda: link.counts("ba").seen > 0, "its PONG")
        link.set("ab", only="udp", forge=0.3)
        got = settled(link, (one, other), 200)
        forged = link.counts("ab").forged
        assert len(got) == 201 - forged
        assert got == sorted(got)
        stats = other.stats()
        assert (stats.dropped, stats.lost) == (forged, forged)


def test_large_datagrams_are_whole_or_lost(link: Link, ends) -> None:
    """Each of the longest is 41 packets: one of them lost, and it is lost."""
    one, other = ends
    link.set("ab", only="udp", loss=0.01)
    sent = [bytes([number]) * 60_000 for number in range(30)]
    got = []
    for message in sent:
        one.send(message)
        until(lambda: link.counts("ab").seen % 41 == 1, "all of its packets")
        while other.poll():
            got.append(other.receive(timeout=0))
    link.set()
    one.send(b"last")
    while not got or got[-1] != b"last":
        got.append(other.receive(timeout=GUARD))
    assert [message for message in sent if message in got] == got[:-1]
    assert 0 < len(got) - 1 < 30
    assert other.stats().lost == 31 - len(got)


@pytest.mark.hang_guard(60)
def test_rendezvous_come_through(link: Link, ends) -> None:
    """Lost messages are sent again, lost answers too: each is received once, in order."""
    one, other = ends
    link.set(only="udp", loss=0.3, duplicate=0.2, reorder=0.2)
    count = 200 if NIGHT else 8
    failed: list[BaseException] = []

    def send() -> None:
        try:
            for number in range(count):
                one.send(f"{number}", sync=True, timeout=30)
        except BaseException as error:
            failed.append(error)

    sending = threading.Thread(target=send)
    sending.start()
    got = [other.receive(timeout=30) for _ in range(count)]
    while sending.is_alive():  # the last answer may be lost: who receives answers again
        with contextlib.suppress(ipcx.Timeout):
            got.append(other.receive(timeout=0.05))
    sending.join()
    assert failed == []
    assert got == [str(number) for number in range(count)]
    assert link.counts("ab").lost + link.counts("ba").lost > 0


def test_nobody_answers_a_rendezvous(link: Link, ends) -> None:
    """Timeout means: unknown."""
    one, other = ends
    link.set("ba", only="udp", loss=1)
    with pytest.raises(ipcx.Timeout) as caught:
        one.send("received, and nobody knows", sync=True, timeout=0.3)
    assert caught.value.begun
    assert other.receive(timeout=GUARD) == "received, and nobody knows"
    link.set()
    one.send("next", sync=False)
    assert other.receive(timeout=GUARD) == "next"
