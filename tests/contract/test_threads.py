# SPDX-License-Identifier: Apache-2.0
"""Many threads (or tasks) on one channel; close() while others wait in it; use after close."""

import collections
import threading

import pytest

import ipcx
from contract.kit import CHUNK, LARGE, LAST, NIGHT, Kit
from socket_help import GUARD


@pytest.mark.hang_guard(30)
def test_many_senders_and_many_receivers(kit: Kit) -> None:
    """Each message arrives exactly once."""
    one, two = kit.pair()
    count = (20_000 if NIGHT else 500) if kit.driver.name == "sync" else 60

    # A datagram is kept while there is room: no more are under way than any kernel has room for.
    room = threading.Semaphore(4 * count if kit.transport.can("reliable") else 100)

    def send(name: int) -> None:
        for number in range(count):
            room.acquire()
            one.send(b"%d %d" % (name, number))

    def receive() -> list:
        got = []
        for _ in range(count):
            got.append(two.receive(timeout=GUARD))
            room.release()
        return got

    receivers = [kit.background(receive) for _ in range(4)]
    senders = [kit.background(send, name) for name in range(4)]
    for thread in senders:
        thread.finish()
    got = collections.Counter(message for thread in receivers for message in thread.finish())
    assert got == {b"%d %d" % (name, number): 1 for name in range(4) for number in range(count)}


@pytest.mark.needs("reliable", "long")
def test_many_senders_keep_their_own_order(kit: Kit) -> None:
    """Messages of different sizes, larger than what the transport holds among them."""
    one, two = kit.pair()
    sizes = (1, 100, 5000, 150_000)

    def send(name: int) -> None:
        for number in range(20):
            one.send(b"%d %d %s" % (name, number, b"." * sizes[(name + number) % 4]))

    senders = [kit.background(send, name) for name in range(4)]
    seen: dict[int, list[int]] = {name: [] for name in range(4)}
    for _ in range(80):
        name, number, dots = two.receive(timeout=GUARD).split(b" ")
        assert len(dots) == sizes[(int(name) + int(number)) % 4]
        seen[int(name)].append(int(number))
    assert all(numbers == list(range(20)) for numbers in seen.values())
    for thread in senders:
        thread.finish()


def test_many_receivers_get_one_each(kit: Kit) -> None:
    one, two = kit.pair()
    receivers = [kit.waiting(two.receive) for _ in range(5)]
    one.send_many([b"%d" % n for n in range(5)])
    assert {thread.finish() for thread in receivers} == {b"%d" % n for n in range(5)}


def test_one_message_wakes_one_receiver(kit: Kit) -> None:
    one, two = kit.pair()
    receivers = [kit.waiting(two.receive) for _ in range(3)]
    for number in range(3):
        one.send(b"%d" % number)
    assert {thread.finish() for thread in receivers} == {b"0", b"1", b"2"}


@pytest.mark.needs("reliable", "long")
def test_a_receiver_and_a_sender_at_once(kit: Kit) -> None:
    """A full send() and a receive() wait on the same end; each is served on its own."""
    one, two = kit.narrow()
    count = kit.fill(one)
    receiving = kit.waiting(one.receive)
    sending = kit.background(one.send, LAST)
    two.send(b"for the receiver")
    assert receiving.finish() == b"for the receiver"
    expected = [CHUNK] * count + [LAST]
    assert [two.receive(timeout=GUARD) for _ in expected] == expected
    sending.finish()


@pytest.mark.needs("reliable", "long")
def test_a_batch_is_out_when_it_has_been_sent(kit: Kit) -> None:
    """The last of it, larger than what the transport holds, too: nobody else sees to its rest."""
    one, two = kit.narrow()
    sending = kit.background(one.send_many, [b"first", LARGE])
    assert two.receive(timeout=GUARD) == b"first"
    assert two.receive(timeout=GUARD) == LARGE
    assert sending.finish() == 2


# ---- close


WAITING = {
    "receive": lambda end: end.receive(),
    "receive, timed": lambda end: end.receive(timeout=60),
    "receive_many": lambda end: end.receive_many(9),
    "receive_into": lambda end: end.receive_into(bytearray(9)),
    "poll": lambda end: end.poll(None),
    "iteration": lambda end: next(iter(end)),
    "rendezvous": lambda end: end.send(b"x", sync=True),
}
FULL = {
    "send": lambda end: end.send(CHUNK),
    "send, timed": lambda end: end.send(CHUNK, timeout=60),
    "send_many": lambda end: end.send_many([CHUNK] * 99),
    "full rendezvous": lambda end: end.send(b"x", sync=True),
}


def again_and_again(call, end) -> None:
    """A full TCP connection takes some more now and then: its probes of a closed window do."""
    while True:
        call(end)


@pytest.mark.needs("reliable", "duplex", "long", "sync")
@pytest.mark.parametrize("name", [*WAITING, *FULL])
def test_close_ends_every_wait(kit: Kit, name: str) -> None:
    one, _two = kit.narrow()
    if name in FULL:
        kit.fill(one)
        thread = kit.waiting(again_and_again, FULL[name], one)
    else:
        thread = kit.waiting(WAITING[name], one)
    one.close(timeout=0)
    with pytest.raises(ipcx.Closed):
        thread.finish()
    assert one.closed


@pytest.mark.needs("reliable", "long")
def test_close_ends_all_waits_at_once(kit: Kit) -> None:
    one, _two = kit.narrow()
    kit.fill(one)
    threads = [kit.waiting(one.receive) for _ in range(3)]
    threads += [kit.waiting(again_and_again, FULL["send"], one) for _ in range(3)]
    one.close(timeout=0)
    for thread in threads:
        with pytest.raises(ipcx.Closed):
            thread.finish()


@pytest.mark.needs("duplex", "sync")
@pytest.mark.parametrize("name", ["receive", "receive_many", "receive_into", "rendezvous"])
def test_the_peers_goodbye_ends_every_wait(kit: Kit, name: str) -> None:
    one, two = kit.pair()
    thread = kit.waiting(WAITING[name], one)
    two.close()
    with pytest.raises(ipcx.PeerClosed) as caught:
        thread.finish()
    assert type(caught.value) is ipcx.PeerClosed


@pytest.mark.needs("reliable", "long")
@pytest.mark.parametrize("name", FULL)
def test_the_peers_close_ends_a_full_send(kit: Kit, name: str) -> None:
    """Over TCP it may let go of one or two of them, while the closing peer takes in what comes."""
    one, two = kit.narrow()
    kit.fill(one)
    thread = kit.waiting(again_and_again, FULL[name], one)
    two.close()
    with pytest.raises(ipcx.PeerClosed) as caught:
        thread.finish()
    assert caught.value.unreceived is None or caught.value.unreceived >= 4


def test_closing_twice_and_in_two_threads(kit: Kit) -> None:
    one, two = kit.pair()
    threads = [kit.background(one.close) for _ in range(4)]
    for thread in threads:
        thread.finish()
    one.close()
    one.close(timeout=0)
    assert one.closed
    assert not two.closed
    with pytest.raises(ipcx.PeerClosed):
        two.receive(timeout=GUARD)


AFTER = {
    "send": lambda end: end.send(b"x"),
    "send, sync": lambda end: end.send(b"x", sync=True),
    "receive": lambda end: end.receive(),
    "receive, polling": lambda end: end.receive(timeout=0),
    "receive_many": lambda end: end.receive_many(),
    "receive_into": lambda end: end.receive_into(bytearray(9)),
    "send_many": lambda end: end.send_many([b"x"]),
    "poll": lambda end: end.poll(),
    "flush": lambda end: end.flush(),
    "iteration": lambda end: next(iter(end)),
}


@pytest.mark.needs("duplex")
@pytest.mark.parametrize("name", AFTER)
def test_use_after_close(kit: Kit, name: str) -> None:
    one, two = kit.pair()
    two.send(b"unread")
    one.close()
    with pytest.raises(ipcx.Closed) as caught:
        AFTER[name](one)
    assert isinstance(caught.value, ValueError)


@pytest.mark.needs("duplex")
@pytest.mark.drivers("sync")
def test_fileno_after_close(kit: Kit) -> None:
    one, _two = kit.pair()
    one.fileno()
    one.close()
    with pytest.raises(ipcx.Closed):
        one.fileno()


def test_what_can_be_asked_after_close(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"12345")
    one.close()
    assert one.closed is True
    assert one.stats().sent == 1
    assert one.url.startswith(kit.transport.url)
    assert two.receive(timeout=GUARD) == b"12345"


def test_with_closes(kit: Kit) -> None:
    one, two = kit.pair()
    with one as same:
        same.send(b"inside")
    assert one.closed
    assert two.receive(timeout=GUARD) == b"inside"
    with pytest.raises(ipcx.PeerClosed):
        two.receive(timeout=GUARD)


@pytest.mark.needs("reliable", "long")
@pytest.mark.hang_guard(60)
@pytest.mark.drivers("sync")
def test_closing_in_the_middle_of_everything(kit: Kit) -> None:
    """Whatever the threads are at, each ends with an exception it may end with."""
    for _ in range(300 if NIGHT else 10):
        one, two = kit.narrow()

        def send(end) -> None:
            while True:
                end.send(CHUNK)

        def receive(end) -> None:
            while True:
                end.receive()

        threads = [kit.background(call, end) for call in (send, receive) for end in (one, two)]
        threads.append(kit.background(one.close, timeout=0))
        for thread in threads[:-1]:
            with pytest.raises((ipcx.Closed, ipcx.PeerClosed)):
                thread.finish()
        threads[-1].finish()
        two.close(timeout=0)
