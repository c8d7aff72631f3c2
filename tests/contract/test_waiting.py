# SPDX-License-Identifier: Apache-2.0
"""Waiting, polling, time-outs, rendezvous, readiness: nobody waits in vain and nothing is lost."""

import contextlib
import math
import select
import selectors
import time

import pytest

import ipcx
from contract import wire
from contract.kit import CHUNK, LARGE, LAST, Kit
from socket_help import GUARD

# ---- receive and poll


def test_receive_waits(kit: Kit) -> None:
    one, two = kit.pair()
    waiting = kit.waiting(two.receive)
    one.send("at last")
    assert waiting.finish() == "at last"
    assert two.stats().receive_waits >= 1 or kit.driver.name != "sync"


def test_polling(kit: Kit) -> None:
    one, two = kit.pair()
    for _ in range(3):
        with pytest.raises(ipcx.WouldBlock) as caught:
            two.receive(timeout=0)
        assert isinstance(caught.value, ipcx.Timeout | BlockingIOError)
        assert two.poll() is False
        assert two.poll(timeout=0) is False
    one.send("there")
    assert two.poll(timeout=GUARD) is True
    assert two.poll() is True  # it takes nothing
    assert two.receive(timeout=0) == "there"
    assert two.poll(0) is False


def test_poll_waits(kit: Kit) -> None:
    one, two = kit.pair()
    assert two.poll(timeout=0.001) is False
    waiting = kit.waiting(two.poll, None)
    one.send("there")
    assert waiting.finish() is True
    assert two.receive(timeout=0) == "there"


def test_poll_is_true_at_the_end(kit: Kit) -> None:
    one, two = kit.pair()
    one.send("x")
    two.receive(timeout=GUARD)
    one.close()
    assert two.poll(timeout=GUARD) is True
    with pytest.raises(ipcx.PeerClosed):
        two.receive(timeout=0)


@pytest.mark.parametrize("verb", ["receive", "receive_many", "receive_into", "poll"])
def test_a_timeout_is_not_too_early_and_no_end(kit: Kit, verb: str) -> None:
    one, two = kit.pair()
    for seconds in (0.001, 0.03):
        started = time.monotonic()
        if verb == "poll":
            assert two.poll(timeout=seconds) is False
        else:
            arguments = {"receive_many": [9], "receive_into": [bytearray(9)]}.get(verb, [])
            with pytest.raises(ipcx.Timeout) as caught:
                getattr(two, verb)(*arguments, timeout=seconds)
            assert type(caught.value) is ipcx.Timeout
            assert isinstance(caught.value, TimeoutError)
        assert time.monotonic() - started >= seconds
    kit.still_works(one, two)


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf, "1", []], ids=repr)
def test_timeouts_that_are_none(kit: Kit, timeout) -> None:
    one, two = kit.pair()
    wanted = ValueError if isinstance(timeout, float | int) else TypeError
    for call in (one.receive, one.poll, one.flush, one.receive_many):
        with pytest.raises(wanted):
            call(timeout=timeout)
    with pytest.raises(wanted):
        one.send(b"x", timeout=timeout)
    with pytest.raises(wanted):
        one.send_many([b"x"], timeout=timeout)
    with pytest.raises(ipcx.WouldBlock):
        two.receive(timeout=0)  # nothing of it was sent
    kit.still_works(one, two)


@pytest.mark.parametrize("timeout", [1, 1.5, 1e9])
def test_timeouts_of_every_kind(kit: Kit, timeout) -> None:
    one, two = kit.pair()
    one.send(b"x", timeout=timeout)
    assert two.receive(timeout=timeout) == b"x"


@pytest.mark.needs("bytes")
def test_a_timed_out_receive_loses_no_byte(kit: Kit) -> None:
    """Half a message has come when the time is over; later comes the rest."""
    channel, raw = kit.raw()
    stream = wire.frame(b"first") + wire.frame("zweiter") + wire.frame(bytes(9000))
    got = []
    for at in range(0, len(stream), 13):
        raw.send(stream[at : at + 13])
        with contextlib.suppress(ipcx.Timeout):
            while True:
                got.append(channel.receive(timeout=0 if at % 2 else 0.0005))
    while len(got) < 3:
        got.append(channel.receive(timeout=GUARD))
    assert got == [b"first", "zweiter", bytes(9000)]


# ---- send


@pytest.mark.needs("reliable", "long")
def test_a_full_send_waits(kit: Kit) -> None:
    one, two = kit.narrow()
    count = kit.fill(one)
    sending = kit.waiting(one.send, LAST)
    assert all(two.receive(timeout=GUARD) == CHUNK for _ in range(count))
    assert two.receive(timeout=GUARD) == LAST
    sending.finish()
    assert one.stats().send_waits >= 1 or kit.driver.name != "sync"


@pytest.mark.needs("reliable", "long")
def test_what_began_arrives_and_what_did_not_does_not(kit: Kit) -> None:
    """The one rule about every send that timed out."""
    one, two = kit.narrow()
    arriving = []
    for number in range(40):
        for size in (3, 200_000):
            message = b"%d %s" % (number, bytes(size))
            try:
                one.send(message, timeout=0 if number % 3 else 0.001)
            except ipcx.Timeout as error:
                begun = error.begun
                if not begun:
                    continue
            arriving.append(message)
        if number > 20:
            with contextlib.suppress(ipcx.WouldBlock):
                assert two.receive(timeout=0) == arriving.pop(0)
    assert kit.drain(one, two, len(arriving)) == arriving
    kit.still_works(one, two)


@pytest.mark.needs("reliable", "long")
def test_a_timed_out_send_waits_for_its_time(kit: Kit) -> None:
    one, two = kit.narrow()
    kit.fill(one)
    for seconds in (0.001, 0.03):
        started = time.monotonic()
        with pytest.raises(ipcx.Timeout) as caught:
            one.send(CHUNK, timeout=seconds)
        assert type(caught.value) is ipcx.Timeout
        assert time.monotonic() - started >= seconds
    assert one.stats().timeouts >= 2 or kit.driver.name != "sync"
    del two


@pytest.mark.needs("reliable", "long")
def test_a_timed_out_send_many_says_how_far_it_came(kit: Kit) -> None:
    one, two = kit.narrow()
    messages = [b"%d" % n + CHUNK for n in range(300)]
    with pytest.raises(ipcx.Timeout) as caught:
        one.send_many(messages, timeout=0.01)
    sent, begun = caught.value.sent, caught.value.begun
    assert 0 < sent < 300
    if not kit.transport.can("rest"):
        assert begun is False
    # Go on with messages[sent:]: what has begun is among those that are done with.
    assert kit.drain(one, two, sent) == messages[:sent]
    kit.still_works(one, two)


@pytest.mark.needs("rest")
def test_a_rest_is_sent_before_anything_else(kit: Kit) -> None:
    one, two = kit.pair()
    count = kit.owe(one, two)
    assert one.stats().owed > 0
    with pytest.raises(ipcx.WouldBlock) as caught:
        one.send(b"next", timeout=0)
    assert caught.value.begun is False
    sending = kit.waiting(one.send, b"next")
    for _ in range(count):
        assert two.receive(timeout=GUARD) == LARGE
    assert two.receive(timeout=GUARD) == b"next"
    sending.finish()
    assert one.stats().owed == 0


FLUSHING = {
    "receive": lambda end: end.receive(),
    "receive, timed": lambda end: end.receive(timeout=GUARD),
    "receive_many": lambda end: end.receive_many()[0],
    "poll": lambda end: end.poll(None) and end.receive(),
    "iteration": lambda end: next(iter(end)),
}


@pytest.mark.needs("rest")
@pytest.mark.parametrize("name", FLUSHING)
def test_every_wait_sends_the_rest(kit: Kit, name: str) -> None:
    """Who only waits for an answer pushes on what the answer is waiting for."""
    one, two = kit.pair()
    count = kit.owe(one, two)
    waiting = kit.waiting(FLUSHING[name], one)
    for _ in range(count):
        assert two.receive(timeout=GUARD) == LARGE
    two.send("the answer")
    assert waiting.finish() == "the answer"


@pytest.mark.needs("rest")
def test_a_wait_that_began_earlier_sends_the_rest(kit: Kit) -> None:
    """A thread slept in receive() before another one left the rest."""
    one, two = kit.pair()
    waiting = kit.waiting(one.receive)
    count = kit.owe(one, two)
    for _ in range(count):
        assert two.receive(timeout=GUARD) == LARGE
    two.send("the answer")
    assert waiting.finish() == "the answer"


@pytest.mark.needs("rest")
def test_flush(kit: Kit) -> None:
    one, two = kit.pair()
    one.flush()  # nothing is owed
    count = kit.owe(one, two)
    with pytest.raises(ipcx.WouldBlock):
        one.flush(timeout=0)
    with pytest.raises(ipcx.Timeout):
        one.flush(timeout=0.001)
    flushing = kit.waiting(one.flush)
    for _ in range(count):
        assert two.receive(timeout=GUARD) == LARGE
    flushing.finish()
    assert one.stats().owed == 0


@pytest.mark.needs("rest")
def test_close_sends_the_rest(kit: Kit) -> None:
    one, two = kit.pair()
    count = kit.owe(one, two)
    closing = kit.waiting(one.close)
    for _ in range(count):
        assert two.receive(timeout=GUARD) == LARGE
    with pytest.raises(ipcx.PeerClosed) as caught:
        two.receive(timeout=GUARD)
    assert type(caught.value) is ipcx.PeerClosed
    two.close()
    closing.finish()


# ---- rendezvous


RECEIVING = {
    "receive": lambda end: end.receive(timeout=GUARD),
    "receive_many": lambda end: end.receive_many(timeout=GUARD)[0],
    "iteration": lambda end: next(iter(end)),
}


@pytest.mark.needs("sync")
@pytest.mark.parametrize("name", RECEIVING)
def test_a_rendezvous_ends_when_it_was_received(kit: Kit, name: str) -> None:
    one, two = kit.pair()
    for message in (b"now", "text", b"", CHUNK if kit.transport.can("large") else CHUNK[:50_000]):
        sending = kit.waiting(one.send, message, sync=True)
        assert RECEIVING[name](two) == message
        sending.finish()


@pytest.mark.needs("copies", "sync")
def test_a_rendezvous_with_receive_into(kit: Kit) -> None:
    one, two = kit.pair()
    sending = kit.waiting(one.send, b"now", sync=True)
    assert two.receive_into(bytearray(3), timeout=GUARD) == 3
    sending.finish()


@pytest.mark.needs("sync")
def test_polling_receives_nothing(kit: Kit) -> None:
    one, two = kit.pair()
    sending = kit.waiting(one.send, b"now", sync=True)
    assert two.poll(timeout=GUARD) is True
    sending.until_waiting()
    assert two.receive(timeout=0) == b"now"
    sending.finish()


@pytest.mark.needs("sync")
def test_a_rendezvous_waits_for_what_was_sent_before(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"before")
    sending = kit.waiting(one.send, b"sync", sync=True)
    assert two.receive(timeout=GUARD) == b"before"
    sending.until_waiting()
    assert two.receive(timeout=GUARD) == b"sync"
    sending.finish()


@pytest.mark.needs("sync")
def test_a_timed_out_rendezvous_stays_queued(kit: Kit) -> None:
    one, two = kit.pair()
    with pytest.raises(ipcx.Timeout) as caught:
        one.send(b"stays", sync=True, timeout=0.01)
    assert caught.value.begun is True
    with contextlib.suppress(ipcx.WouldBlock):
        one.send(b"behind it", timeout=0)
    assert two.receive(timeout=GUARD) == b"stays"
    assert two.receive(timeout=GUARD) == b"behind it"
    # What is left of the first one does not let a second one go early.
    sending = kit.waiting(one.send, b"again", sync=True)
    assert two.receive(timeout=GUARD) == b"again"
    sending.finish()
    kit.still_works(one, two)


@pytest.mark.needs("sync")
def test_a_polled_rendezvous_keeps_the_rule(kit: Kit) -> None:
    one, two = kit.pair()
    with pytest.raises(ipcx.WouldBlock) as caught:
        one.send(b"perhaps", sync=True, timeout=0)
    if caught.value.begun:
        assert two.receive(timeout=GUARD) == b"perhaps"
    kit.still_works(one, two)


@pytest.mark.needs("reliable", "long")
def test_a_full_rendezvous_that_never_began(kit: Kit) -> None:
    one, two = kit.narrow()
    count = kit.fill(one)
    with pytest.raises(ipcx.Timeout) as caught:
        one.send(b"no room", sync=True, timeout=0.01)
    got = kit.drain(one, two, count + caught.value.begun)
    assert got == [CHUNK] * count + [b"no room"] * caught.value.begun
    kit.still_works(one, two)


@pytest.mark.needs("sync")
def test_messages_come_while_a_rendezvous_waits(kit: Kit) -> None:
    """They are kept, in order, and the one that waits is let go all the same."""
    one, two = kit.pair()
    sending = kit.waiting(one.send, b"sync", sync=True)
    for number in range(200):
        two.send(b"%d" % number)
    assert two.receive(timeout=GUARD) == b"sync"
    two.send(b"200")
    sending.finish()
    assert [one.receive(timeout=GUARD) for _ in range(201)] == [b"%d" % n for n in range(201)]


@pytest.mark.needs("duplex")
def test_a_receiver_is_served_while_a_rendezvous_waits(kit: Kit) -> None:
    one, two = kit.pair()
    receiving = kit.waiting(one.receive)
    sending = kit.waiting(one.send, b"sync", sync=True)
    two.send(b"for the other thread")
    assert receiving.finish() == b"for the other thread"
    sending.until_waiting()
    assert two.receive(timeout=GUARD) == b"sync"
    sending.finish()


@pytest.mark.needs("sync")
def test_rendezvous_of_several_threads(kit: Kit) -> None:
    one, two = kit.pair()
    sending = [kit.waiting(one.send, b"%d" % n, sync=True) for n in range(4)]
    order = [int(two.receive(timeout=GUARD)) for _ in range(4)]
    assert sorted(order) == [0, 1, 2, 3]
    for thread in sending:
        thread.finish()


@pytest.mark.needs("sync")
def test_rendezvous_from_both_sides(kit: Kit) -> None:
    """With a receiving thread each it works; without, the deadline ends it."""
    one, two = kit.pair()
    threads = [kit.background(end.send, b"x", sync=True) for end in (one, two)]
    threads += [kit.background(end.receive) for end in (one, two)]
    assert [thread.finish() for thread in threads] == [None, None, b"x", b"x"]

    both = [kit.background(end.send, b"y", sync=True, timeout=0.05) for end in (one, two)]
    for thread in both:
        with pytest.raises(ipcx.Timeout):
            thread.finish()
    assert [end.receive(timeout=GUARD) for end in (one, two)] == [b"y", b"y"]
    kit.still_works(one, two)


@pytest.mark.schemes("inproc://")
def test_capacity_0_makes_every_send_a_rendezvous(kit: Kit) -> None:
    one, two = kit.pair(capacity=0)
    sending = kit.waiting(one.send, b"first")
    assert two.receive(timeout=GUARD) == b"first"
    sending.finish()
    with pytest.raises(ipcx.Timeout):
        two.send(b"other way", timeout=0.01)
    assert one.receive(timeout=GUARD) == b"other way"
    waiting = kit.waiting(two.receive)
    one.send(b"he waits", timeout=GUARD)
    assert waiting.finish() == b"he waits"


# ---- fileno()


def readable(channel, timeout: float = 0) -> bool:
    return bool(select.select([channel.fileno()], [], [], timeout)[0])


def until_quiet(channel) -> None:
    """Spurious readiness is allowed, once: a try takes it away."""
    with pytest.raises(ipcx.WouldBlock):
        channel.receive(timeout=0)


@pytest.mark.needs("duplex")
@pytest.mark.drivers("sync")
def test_fileno_is_one_and_the_same(kit: Kit) -> None:
    one, two = kit.pair()
    assert one.fileno() == one.fileno() >= 0
    assert one.fileno() != two.fileno()
    one.send(b"x")
    before = two.fileno()
    two.receive(timeout=GUARD)
    assert two.fileno() == before


@pytest.mark.needs("long")
@pytest.mark.drivers("sync")
@pytest.mark.parametrize("early", [True, False], ids=["asked early", "asked late"])
@pytest.mark.parametrize("size", [1, 3000, 50_000])
def test_one_receive_for_each_readiness(kit: Kit, early: bool, size: int) -> None:
    """Several messages that arrive at once, and are read ahead, are each told of."""
    one, two = kit.pair()
    if early:
        two.fileno()
    messages = [b"%d" % n * size for n in range(8)]
    sending = kit.background(one.send_many, messages)
    got = []
    if not early:
        got.append(two.receive(timeout=GUARD))
    while len(got) < 8:
        assert readable(two, GUARD)
        with contextlib.suppress(ipcx.WouldBlock):
            got.append(two.receive(timeout=0))
    assert got == messages
    sending.finish()
    until_quiet(two)


@pytest.mark.drivers("sync")
def test_fileno_with_receive_many(kit: Kit) -> None:
    one, two = kit.pair()
    one.send_many([b"%d" % n for n in range(100)])
    got: list = []
    while len(got) < 100:
        assert readable(two, GUARD)
        with contextlib.suppress(ipcx.WouldBlock):
            got += two.receive_many(7, timeout=0)
    assert got == [b"%d" % n for n in range(100)]


@pytest.mark.drivers("sync")
def test_fileno_is_quiet_when_nothing_is_there(kit: Kit) -> None:
    """At most one spurious wake: a loop over it does not spin."""
    one, two = kit.pair()
    one.send(b"x")
    assert readable(two, GUARD)
    assert two.receive(timeout=0) == b"x"
    for _ in range(5):
        if not readable(two):
            break
        until_quiet(two)
    assert not readable(two)


@pytest.mark.drivers("sync")
@pytest.mark.parametrize("kind", ["SelectSelector", "PollSelector", "EpollSelector"])
def test_selectors_over_many_channels(kit: Kit, kind: str) -> None:
    pairs = [kit.pair() for _ in range(5)]
    with getattr(selectors, kind)() as selector:
        for number, (_, two) in enumerate(pairs):
            selector.register(two.fileno(), selectors.EVENT_READ, number)
        for number, (one, _) in enumerate(pairs):
            one.send(b"%d" % number)
        missing = set(range(5))
        while missing:
            ready = selector.select(GUARD)
            assert ready
            for key, _ in ready:
                with contextlib.suppress(ipcx.WouldBlock):
                    assert pairs[key.data][1].receive(timeout=0) == b"%d" % key.data
                    missing.remove(key.data)


@pytest.mark.drivers("sync")
def test_selectors_take_the_channel_itself(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"x")
    assert select.select([two], [], [], GUARD)[0] == [two]


@pytest.mark.drivers("sync")
def test_epoll_from_before_the_first_message(kit: Kit) -> None:
    one, two = kit.pair()
    with select.epoll() as epoll:
        epoll.register(two.fileno(), select.EPOLLIN)
        for _ in range(3):
            one.send(b"x")
            assert epoll.poll(GUARD)
            while True:
                try:
                    assert two.receive(timeout=0) == b"x"
                    break
                except ipcx.WouldBlock:
                    assert epoll.poll(GUARD)


@pytest.mark.drivers("sync")
def test_the_end_is_readable(kit: Kit) -> None:
    one, two = kit.pair()
    fd = two.fileno()
    one.send(b"last")
    one.close()
    assert select.select([fd], [], [], GUARD)[0]
    assert two.receive(timeout=GUARD) == b"last"
    for _ in range(3):
        assert select.select([fd], [], [], GUARD)[0]
        with pytest.raises(ipcx.PeerClosed):
            two.receive(timeout=GUARD)


@pytest.mark.drivers("sync")
def test_another_thread_may_wait_in_receive_meanwhile(kit: Kit) -> None:
    """Each message goes to one of them: the loop, or the thread."""
    one, two = kit.pair()
    two.fileno()
    thread = kit.waiting(two.receive)
    one.send_many([b"1", b"2"])
    got = {thread.finish()}
    while len(got) < 2:
        assert readable(two, GUARD)
        with contextlib.suppress(ipcx.WouldBlock):
            got.add(two.receive(timeout=0))
    assert got == {b"1", b"2"}


@pytest.mark.needs("duplex")
@pytest.mark.drivers("sync")
def test_a_message_read_while_a_rendezvous_waited_is_told_of(kit: Kit) -> None:
    """The sender took it in from the transport, where select() would have seen it."""
    one, two = kit.pair()
    two.send(b"came meanwhile")
    sending = kit.waiting(one.send, b"sync", sync=True)
    assert two.receive(timeout=GUARD) == b"sync"
    sending.finish()
    assert readable(one, GUARD)
    assert one.receive(timeout=GUARD) == b"came meanwhile"


@pytest.mark.drivers("sync")
@pytest.mark.needs("rest")
def test_select_while_a_rest_is_owed_and_a_thread_flushes(kit: Kit) -> None:
    one, two = kit.pair()
    one.fileno()
    count = kit.owe(one, two)
    flushing = kit.waiting(one.flush)
    for _ in range(count):
        assert two.receive(timeout=GUARD) == LARGE
    flushing.finish()
    two.send(b"answer")
    assert readable(one, GUARD)
    assert kit.drain(one, one, 1) == [b"answer"]
