# SPDX-License-Identifier: Apache-2.0
"""How a channel ends: goodbye, death, unsent messages, the end of the interpreter."""

import signal

import pytest

import ipcx
from contract import wire
from contract.kit import CHUNK, LARGE, Kit
from socket_help import GUARD

# ---- goodbye


def test_what_was_sent_arrives_then_the_end(kit: Kit) -> None:
    one, two = kit.pair()
    one.send_many([b"1", b"2", "3"])
    one.close()
    assert [two.receive(timeout=GUARD) for _ in range(3)] == [b"1", b"2", "3"]
    for timeout in (GUARD, None, 0):
        with pytest.raises(ipcx.PeerClosed) as caught:
            two.receive(timeout=timeout)
        assert type(caught.value) is ipcx.PeerClosed
        assert isinstance(caught.value, ConnectionError | EOFError)
    with pytest.raises(ipcx.PeerClosed):
        two.receive_many(timeout=GUARD)
    with pytest.raises(ipcx.PeerClosed):
        two.receive_into(bytearray(9), timeout=GUARD)


def test_iteration_ends_at_a_goodbye(kit: Kit) -> None:
    one, two = kit.pair()
    one.send_many([b"1", b"2", "3"])
    one.close()
    assert list(two) == [b"1", b"2", "3"]
    assert list(two) == []


def test_receive_many_gives_what_is_there_before_the_end(kit: Kit) -> None:
    one, two = kit.pair()
    one.send_many([b"1", b"2"])
    one.close()
    got = two.receive_many(timeout=GUARD)
    if len(got) == 1:
        got += two.receive_many(timeout=GUARD)
    assert got == [b"1", b"2"]
    with pytest.raises(ipcx.PeerClosed):
        two.receive_many(timeout=GUARD)


@pytest.mark.needs("duplex")
def test_a_send_after_the_peers_goodbye(kit: Kit) -> None:
    """What the peer had sent can still be received."""
    one, two = kit.pair()
    two.send_many([b"last", b"words"])
    two.close()
    with pytest.raises(ipcx.PeerClosed) as caught:
        kit.send_on(one)
    assert type(caught.value) is ipcx.PeerClosed
    assert [one.receive(timeout=GUARD) for _ in range(2)] == [b"last", b"words"]
    with pytest.raises(ipcx.PeerClosed) as caught:
        one.receive(timeout=GUARD)
    assert type(caught.value) is ipcx.PeerClosed


@pytest.mark.needs("long", "sync")
@pytest.mark.parametrize("verb", ["sync", "send_many"])
def test_other_sends_after_the_peers_goodbye(kit: Kit, verb: str) -> None:
    one, two = kit.pair()
    two.close()
    with pytest.raises(ipcx.PeerClosed) as caught:
        kit.send_on(one, sync=True) if verb == "sync" else one.send_many([CHUNK[:50_000]] * 10_000)
    assert type(caught.value) is ipcx.PeerClosed


@pytest.mark.needs("unreceived")
def test_a_sender_learns_what_was_not_received(kit: Kit) -> None:
    one, two = kit.pair()
    one.send_many([b"%d" % n for n in range(10)])
    assert [two.receive(timeout=GUARD) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    two.close()
    with pytest.raises(ipcx.PeerClosed) as caught:
        one.send(b"more")
    assert caught.value.unreceived == 6


@pytest.mark.needs("duplex")
def test_closing_with_unread_messages_loses_nothing_that_was_sent(kit: Kit) -> None:
    """Over TCP a close with unread data sends a reset, which would take what we said with it."""
    one, two = kit.pair()
    for _ in range(100):
        two.send(b"never read " * 50)
    for number in range(100):
        one.send(b"%d" % number)
    one.close()
    assert list(two) == [b"%d" % number for number in range(100)]


@pytest.mark.needs("duplex")
@pytest.mark.drivers("sync")
def test_an_end_that_is_dropped(kit: Kit) -> None:
    """No close(), the object is gone: what had been sent arrives, and the peer does not hang."""
    one, two = ipcx.pair(kit.transport.url, **kit.transport.options)
    with two:
        one.send(b"left")
        with pytest.warns(ResourceWarning, match="unclosed"):
            del one
        assert two.receive(timeout=GUARD) == b"left"
        with pytest.raises(ipcx.PeerClosed):
            two.receive(timeout=GUARD)


# ---- unsent messages


@pytest.mark.needs("rest")
def test_close_reports_what_was_not_sent(kit: Kit) -> None:
    one, two = kit.pair()
    count = kit.owe(one, two)
    with pytest.raises(ipcx.Timeout) as caught:
        one.close(timeout=0.02)
    assert caught.value.unsent == 1
    assert one.closed
    one.close()  # nothing more to say
    got, error = kit.receive_all(two)
    assert type(error) is ipcx.PeerDied
    assert all(one == LARGE for one in got)
    if kit.transport.url == "tcp://":
        assert len(got) < count  # whoever writes to a closed socket loses what it had not read
    else:
        assert len(got) == count - 1


@pytest.mark.needs("rest")
def test_close_at_once_drops_silently(kit: Kit) -> None:
    one, two = kit.pair()
    count = kit.owe(one, two)
    one.close(timeout=0)
    assert one.closed
    got, error = kit.receive_all(two)
    assert all(one == LARGE for one in got)
    assert len(got) < count
    assert type(error) is ipcx.PeerDied  # in the middle of a message: that is no goodbye


def test_close_at_once_says_goodbye_if_it_can(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"x")
    one.close(timeout=0)
    assert list(two) == [b"x"]


def test_close_with_an_unread_peer(kit: Kit) -> None:
    """What is on its way is not waited for, only what has not left yet."""
    one, two = kit.pair()
    one.send_many([b"%d" % n for n in range(50)])
    one.close()
    assert len(list(two)) == 50


# ---- death


@pytest.mark.needs("process", "death")
def test_a_peer_killed_while_idle(kit: Kit) -> None:
    channel, peer = kit.peer("idles", "its", "words")
    peer.told()
    waiting = kit.background(lambda: [channel.receive() for _ in range(3)])
    peer.kill()
    with pytest.raises(ipcx.PeerDied) as caught:
        waiting.finish()
    assert isinstance(caught.value, ipcx.PeerClosed)
    for timeout in (None, 0):
        with pytest.raises(ipcx.PeerDied):
            channel.receive(timeout=timeout)


@pytest.mark.needs("process", "death")
def test_what_a_killed_peer_had_sent_arrives(kit: Kit) -> None:
    channel, peer = kit.peer("answers", *(f"word {n}" for n in range(20)))
    channel.send("speak")
    peer.told()
    peer.kill()
    words = iter(channel)
    assert [next(words) for _ in range(20)] == [f"word {n}" for n in range(20)]
    with pytest.raises(ipcx.PeerDied):
        next(words)


@pytest.mark.needs("process", "death")
@pytest.mark.parametrize("what", ["receive", "iteration", "rendezvous", "send", "poll"])
def test_a_death_ends_every_wait(kit: Kit, what: str) -> None:
    channel, peer = kit.peer("idles")
    peer.told()

    def poll() -> None:
        channel.poll(None)
        channel.receive(timeout=0)

    calls = {
        "receive": channel.receive,
        "iteration": lambda: next(iter(channel)),
        "rendezvous": lambda: channel.send(b"x", sync=True),
        "send": lambda: kit.send_on(channel),
        "poll": poll,
    }
    waiting = kit.waiting(calls[what])
    peer.kill()
    with pytest.raises(ipcx.PeerDied) as caught:
        waiting.finish()
    if what in ("rendezvous", "send"):
        assert caught.value.unreceived is None or caught.value.unreceived >= 1


@pytest.mark.needs("process", "death")
def test_a_send_after_a_death(kit: Kit) -> None:
    """What the dead peer had sent can still be received."""
    channel, peer = kit.peer("idles", "its", "words")
    peer.told()
    peer.kill()
    with pytest.raises(ipcx.PeerDied):
        kit.send_on(channel)
    assert [channel.receive(timeout=GUARD) for _ in range(2)] == ["its", "words"]
    with pytest.raises(ipcx.PeerDied):
        channel.receive(timeout=GUARD)


@pytest.mark.needs("process", "death")
def test_a_peer_that_exits_without_goodbye(kit: Kit) -> None:
    channel, peer = kit.peer("exits_without_goodbye", "word")
    assert channel.receive(timeout=GUARD) == "word"
    with pytest.raises(ipcx.PeerDied):
        channel.receive(timeout=GUARD)
    peer.until_gone()


@pytest.mark.needs("process")
def test_a_peer_that_says_goodbye_and_is_killed_then(kit: Kit) -> None:
    channel, peer = kit.peer("says_goodbye", "word")
    peer.told()
    peer.kill()
    assert list(channel) == ["word"]
    with pytest.raises(ipcx.PeerClosed) as caught:
        channel.receive()
    assert type(caught.value) is ipcx.PeerClosed


@pytest.mark.needs("process", "duplex")
def test_a_stopped_peer_is_not_dead(kit: Kit) -> None:
    channel, peer = kit.peer("echoes")
    channel.send("before")
    assert channel.receive(timeout=GUARD) == "before"
    peer.kill(signal.SIGSTOP)
    channel.send("asleep")
    with pytest.raises(ipcx.Timeout):
        channel.receive(timeout=0.05)
    peer.kill(signal.SIGCONT)
    assert channel.receive(timeout=GUARD) == "asleep"


@pytest.mark.needs("bytes")
@pytest.mark.drivers("sync")
def test_a_stream_cut_at_every_byte(kit: Kit) -> None:
    """Without BYE the end is a death, in a frame or between two; what was whole arrives."""
    first, second = wire.frame(b"whole"), wire.frame("halb", flags=wire.CRC)
    stream = first + second
    for at in range(len(stream) + 1):
        channel, raw = kit.raw()
        raw.send(stream[:at])
        raw.close()
        whole = (at >= len(first)) + (at == len(stream))
        got, error = kit.receive_all(channel)
        assert got == [b"whole", "halb"][:whole]
        assert type(error) is ipcx.PeerDied
        channel.close(timeout=0)


@pytest.mark.needs("bytes")
def test_killed_in_the_middle_of_a_frame(kit: Kit) -> None:
    """By a process that has half a frame out when it is killed."""
    channel, raw = kit.raw()
    half = wire.frame(b"whole") + wire.frame(bytes(1000))[:500]
    peer = kit.run("writes_and_idles", half.hex(), fds=[raw.reading, raw.writing])
    raw.close()
    peer.told()
    assert channel.receive(timeout=GUARD) == b"whole"
    waiting = kit.waiting(channel.receive)
    peer.kill()
    with pytest.raises(ipcx.PeerDied):
        waiting.finish()


@pytest.mark.needs("bytes")
def test_bye_and_then_the_end(kit: Kit) -> None:
    channel, raw = kit.raw()
    raw.send(wire.frame(b"x") + wire.frame(type=wire.BYE))
    raw.close()
    assert list(channel) == [b"x"]


@pytest.mark.needs("bytes")
def test_bye_is_a_goodbye_while_the_stream_is_open(kit: Kit) -> None:
    """The peer has nothing more to say, and still listens."""
    channel, raw = kit.raw()
    raw.send(wire.frame(b"x") + wire.frame(type=wire.BYE))
    assert list(channel) == [b"x"]
    with pytest.raises(ipcx.PeerClosed):
        channel.send(b"too late", timeout=GUARD)


@pytest.mark.needs("bytes")
def test_our_goodbye_is_the_last_frame(kit: Kit) -> None:
    channel, raw = kit.raw()
    channel.send(b"x")
    channel.close()
    kinds = [one[0] for one in wire.frames(raw.until_end())]
    assert kinds == [wire.HELLO, wire.DATA, wire.BYE]


# ---- the interpreter's end

EXIT = """
import os, sys, threading, ipcx
one = ipcx.connect(sys.argv[1])
def blocked(): one.receive()
for _ in range(2): threading.Thread(target=blocked, daemon=True).start()
one.send("ready")
"""
UNSENT = """
try: one.send(bytes(64 << 20), timeout=0.01)
except ipcx.Timeout as error: assert error.begun
"""
WAYS_OUT = {
    "the end": "",
    "sys.exit": "sys.exit(0)",
    "an exception": "raise SystemExit",
}


@pytest.mark.schemes("unix://", "tcp://")
@pytest.mark.needs("listen", "process")
@pytest.mark.drivers("sync")
@pytest.mark.parametrize("way", WAYS_OUT)
def test_the_interpreter_ends_with_blocked_threads(kit: Kit, spawn, way: str) -> None:
    """The exit does not wait for them, and says goodbye."""
    listener = kit.listener()
    child = spawn("-c", EXIT + WAYS_OUT[way], listener.url)
    channel = kit.accept(listener)
    assert channel.receive(timeout=GUARD) == "ready"
    assert child.wait(GUARD) == 0
    with pytest.raises(ipcx.PeerClosed):
        channel.receive(timeout=GUARD)


@pytest.mark.schemes("unix://", "tcp://")
@pytest.mark.needs("listen", "process")
@pytest.mark.drivers("sync")
def test_the_interpreter_ends_with_unsent_data(kit: Kit, spawn) -> None:
    """Nobody reads: a second is granted, no more."""
    listener = kit.listener()
    child = spawn("-c", EXIT + UNSENT, listener.url)
    channel = kit.accept(listener)
    assert channel.receive(timeout=GUARD) == "ready"
    assert child.wait(GUARD) == 0
    with pytest.raises(ipcx.PeerDied):
        channel.receive(timeout=GUARD)


@pytest.mark.schemes("unix://")
@pytest.mark.drivers("sync")
@pytest.mark.needs("listen", "process")
def test_the_interpreters_end_is_a_goodbye(kit: Kit, spawn) -> None:
    listener = kit.listener()
    code = "import ipcx, sys; one = ipcx.connect(sys.argv[1]); one.send('1'); one.send('2')"
    child = spawn("-c", code, listener.url)
    channel = kit.accept(listener)
    assert list(channel) == ["1", "2"]
    assert child.wait(GUARD) == 0


@pytest.mark.drivers("sync")
@pytest.mark.schemes("unix://")
def test_a_thread_blocked_at_exit_in_every_transport(kit: Kit, spawn) -> None:
    code = """
import ipcx, threading
for url in ("inproc://", "unix://", "pipe://", "tcp://"):
    ends = ipcx.pair(url)
    for end in ends:
        threading.Thread(target=end.receive, daemon=True).start()
        threading.Thread(target=lambda end=end: end.send("x", sync=True), daemon=True).start()
listener = ipcx.listen("tcp://127.0.0.1:0")
threading.Thread(target=listener.accept, daemon=True).start()
"""
    assert spawn("-c", code).wait(GUARD) == 0
