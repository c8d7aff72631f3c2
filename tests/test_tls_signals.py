# SPDX-License-Identifier: Apache-2.0
"""Signal handlers that come while TLS is at work, and use what they have interrupted.

The stdlib's ssl runs handlers within its own functions, so in the middle of a call of ours. Here
each comes at a known place: a session rings, from within the method that the test names.
"""

import contextlib
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from authority import Authority

import ipcx
from ipcx.framing import Encoder, FrameType
from ipcx.server import Server
from socket_help import GUARD

T = TypeVar("T")
URL = "tls://127.0.0.1:0"


class Rang(Exception):
    """What a handler raises."""


def ring_out() -> None:
    raise Rang


class Bells:
    """Which method of a session rings, how often, and what the handler does."""

    def __init__(self) -> None:
        self.rings: dict[str, int] = {}
        self.does: Callable[[], object] = lambda: None
        self.rang = 0

    def arm(self, method: str, does: Callable[[], object], times: int = 1) -> None:
        self.rings, self.does = {method: times}, does

    def ring(self, method: str) -> None:
        if self.rings.get(method, 0) > 0:
            self.rings[method] -= 1
            signal.raise_signal(signal.SIGUSR1)

    def handle(self, *_: object) -> None:
        self.rang += 1
        self.does()


class Ringing:
    """An SSLObject that rings when it has done its work, as the stdlib's looks for signals then."""

    def __init__(self, session: ssl.SSLObject, bells: Bells) -> None:
        self.session, self.bells = session, bells

    def _rung(self, method: str, *given: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            return getattr(self.session, method)(*given)
        done = getattr(self.session, method)(*given)
        self.bells.ring(method)
        return done

    def do_handshake(self) -> object:
        return self._rung("do_handshake")

    def read(self, size: int, into: bytearray) -> object:
        return self._rung("read", size, into)

    def write(self, data: bytes) -> object:
        return self._rung("write", data)

    def shutdown(self) -> object:
        return self._rung("unwrap")

    def pending(self) -> int:
        return self.session.pending()

    def version(self) -> str | None:
        return self.session.version()


@pytest.fixture
def bells() -> Iterator[Bells]:
    made = Bells()
    old = signal.signal(signal.SIGUSR1, made.handle)
    yield made
    signal.signal(signal.SIGUSR1, old)


@pytest.fixture(scope="module")
def lab() -> Authority:
    return Authority()


def ringing(context: ssl.SSLContext, bells: Bells) -> ssl.SSLContext:
    """The context, whose sessions ring."""

    class Context(ssl.SSLContext):
        def wrap_bio(self, *given, **named):  # type: ignore[no-untyped-def]
            bells.ring("begin")
            return Ringing(context.wrap_bio(*given, **named), bells)

    return Context(context.protocol)


@pytest.fixture
def ends(lab: Authority, bells: Bells):  # type: ignore[no-untyped-def]
    """Two ends, of which the first rings."""
    context = ringing(lab.client(), bells)
    with ipcx.listen(URL, tls=lab.server()) as listener:
        one = ipcx.connect(listener.url, tls=context, server_hostname="localhost")
        with one, listener.accept(timeout=GUARD) as two:
            one.send("first")
            assert two.receive(timeout=GUARD) == "first"
            two.send("first back")
            assert one.receive(timeout=GUARD) == "first back"
            yield one, two


def receives(end: ipcx.Channel) -> list[str | bytes]:
    """All there is, in order, up to the mark that the other side sends now."""
    return list(iter(lambda: end.receive(timeout=GUARD), "mark"))


# ---- what it may do


def test_a_handler_sends(ends, bells: Bells) -> None:
    one, two = ends
    bells.arm("write", lambda: (one.send("from a handler"), one.send(bytearray(b"another"))))
    one.send("interrupted")
    one.send("mark")
    assert receives(two) == ["interrupted", "from a handler", b"another"]
    two.send("x")
    bells.arm("read", lambda: one.send("of a receive"))
    assert one.receive(timeout=GUARD) == "x"
    one.send("mark")
    assert receives(two) == ["of a receive"]
    assert bells.rang == 2


def test_a_handler_of_a_long_send_sends(ends, bells: Bells) -> None:
    """Its message never comes in the middle of another."""
    one, two = ends
    got: list[str | bytes] = []
    thread = threading.Thread(target=lambda: got.extend(receives(two)))
    thread.start()
    count = iter(range(1000))
    bells.arm("write", lambda: one.send(f"{next(count)}"), times=40)
    one.send(bytes(1 << 20))
    one.send_many([bytes(100_000)] * 10)
    one.send("mark")
    thread.join(GUARD)
    assert bells.rang > 10
    texts = [message for message in got if isinstance(message, str)]
    assert texts == [str(n) for n in range(bells.rang)]
    assert [len(m) for m in got if isinstance(m, bytes)] == [1 << 20] + [100_000] * 10


def test_what_handlers_send_keeps_its_order(ends, bells: Bells) -> None:
    """One comes within TLS, the next before what that one has sent was on its way."""
    one, two = ends

    def first() -> None:
        one.send("first of a handler")
        bells.arm("write", second)  # it comes while "first of a handler" is sealed
        signal.raise_signal(signal.SIGALRM)

    def second() -> None:
        one.send("second of a handler")

    old = signal.signal(signal.SIGALRM, lambda *_: one.send("at once after the first"))
    try:
        bells.arm("write", first)
        one.send("interrupted")
        one.send("mark")
    finally:
        signal.signal(signal.SIGALRM, old)
    assert receives(two) == [
        "interrupted", "first of a handler", "at once after the first", "second of a handler",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", ["receive", "poll", "receive_many", "receive_view"])
def test_a_handler_closes_what_receives(ends, bells: Bells, verb: str) -> None:
    """It ends, as over tcp://; what was sent before arrives."""
    one, two = ends
    one.send("before")
    two.send(b"x")
    assert one.receive(timeout=GUARD) == b"x"
    two.send(b"y")
    bells.arm("read", one.close)
    with contextlib.suppress(ipcx.Closed):  # what had come already may still be handed out
        while True:
            getattr(one, verb)(timeout=GUARD)
    assert bells.rang == 1
    assert one.closed
    assert two.receive(timeout=GUARD) == "before"
    with pytest.raises(ipcx.PeerClosed):
        two.receive(timeout=GUARD)


@pytest.mark.parametrize("verb", ["send", "send_many", "flush"])
def test_a_handler_closes_what_sends(ends, bells: Bells, verb: str) -> None:
    one, two = ends
    thread = threading.Thread(target=drain, args=(two,))
    if verb == "flush":
        with pytest.raises(ipcx.Timeout):
            one.send(bytes(1 << 24), timeout=0.01)
    bells.arm("write", lambda: (one.close(timeout=None), thread.start()))
    with contextlib.suppress(ipcx.Closed):  # where it was over with this very step
        if verb == "flush":
            one.flush()
        elif verb == "send":
            one.send(bytes(1 << 24))  # more than there is room for
        else:
            one.send_many([bytes(1 << 20)] * 16)
        one.stats()
    assert bells.rang == 1
    assert one.closed
    with pytest.raises(ipcx.Closed):
        one.send("more")
    thread.join(GUARD)
    assert not thread.is_alive()


def drain(end: ipcx.Channel) -> None:
    with contextlib.suppress(ipcx.PeerClosed):
        while True:
            end.receive(timeout=GUARD)


def test_a_handler_says_goodbye_while_the_other_end_is_silent(ends, bells: Bells) -> None:
    """A message has come in part: nothing more comes, and the wait ends all the same."""
    one, two = ends
    two.send("whole")
    bells.arm("read", lambda: (one.send("goodbye"), one.close()), times=1)
    with pytest.raises(ipcx.Closed):
        list(iter(lambda: one.receive(timeout=GUARD), None))
    assert two.receive(timeout=GUARD) == "goodbye"
    with pytest.raises(ipcx.PeerClosed):
        two.receive(timeout=GUARD)


# ---- what it may not


@pytest.mark.parametrize("method", ["write", "read"])
def test_what_would_wait_for_ever_is_refused(ends, bells: Bells, method: str) -> None:
    one, two = ends
    said: list[str] = []

    def tries() -> None:
        for call in (
            one.receive,
            one.receive_many,
            one.receive_view,
            lambda: one.receive_into(bytearray(10)),
            lambda: next(one),
            lambda: one.poll(timeout=None),
            one.flush,
            one.fileno,
            lambda: one.send("a rendezvous", sync=True),
            lambda: one.send_many(["one", "two"]),
        ):
            with pytest.raises(ipcx.Deadlock, match="its handler may send") as caught:
                call()
            said.append(str(caught.value))
        for call in (
            lambda: one.receive(timeout=0),
            lambda: one.receive_view(timeout=0),
            lambda: one.flush(timeout=0),
            lambda: one.send_many(["one", "two"], timeout=0),
            lambda: one.send("a rendezvous", sync=True, timeout=0),
        ):
            with pytest.raises(ipcx.WouldBlock):
                call()
        assert one.poll() is False
        assert one._receive_now() is NotImplemented
        assert not one._send_now("later", False, None).begun
        with pytest.raises(TypeError):
            one.send(1.5)  # type: ignore[arg-type]
        assert not one.closed
        assert one.tls.version() == "TLSv1.3"
        one.stats()
        repr(one)

    bells.arm(method, tries)
    two.send("from there")
    one.send("from here")
    assert one.receive(timeout=GUARD) == "from there"
    assert two.receive(timeout=GUARD) == "from here"
    assert len(said) == 10
    two.send("still")
    assert one.receive(timeout=GUARD) == "still"


def test_another_channel_is_not_in_the_way(ends, bells: Bells, lab: Authority) -> None:
    one, _ = ends
    here, there = ipcx.pair("tls://")
    with here, there:
        there.send("question")

        def asks() -> None:
            assert here.receive(timeout=GUARD) == "question"
            here.send("answer", timeout=GUARD)

        bells.arm("write", asks)
        one.send("interrupted")
        assert bells.rang == 1
        assert there.receive(timeout=GUARD) == "answer"


# ---- what it raises


@pytest.mark.parametrize("method", ["write", "read"])
def test_what_is_raised_arrives_although_nothing_more_comes(
    ends, bells: Bells, lab: Authority, method: str
) -> None:
    one, two = ends

    bells.arm(method, ring_out)
    if method == "read":
        two.send(b"y" * 20)
    with pytest.raises(Rang):
        one.receive(timeout=GUARD) if method == "read" else one.send(bytes(1 << 24))
    assert bells.rang == 1


def test_part_of_a_message_and_an_exception(lab: Authority, bells: Bells) -> None:
    """What was decrypted is kept, and the wait for the rest is over."""
    context = ringing(lab.server(), bells)
    hello = Encoder().encode(struct.pack("!B3xII", 1, 64 << 20, 0), type=FrameType.HELLO)
    frame = Encoder().encode(b"a whole message")
    with ipcx.listen(URL, tls=context) as listener:
        port = int(listener.url.rpartition(":")[2])
        with (
            ThreadPoolExecutor(1) as other,
            socket.create_connection(("127.0.0.1", port), GUARD) as plain,
        ):
            wrapped = other.submit(lab.client().wrap_socket, plain, server_hostname="localhost")
            accepting = other.submit(lambda: wrapped.result().sendall(hello))
            with listener.accept(timeout=GUARD) as two:
                accepting.result(GUARD)
                wrapped.result().sendall(frame[:20])
                bells.arm("read", ring_out)
                with pytest.raises(Rang):
                    two.receive()
                wrapped.result().sendall(frame[20:])
                assert two.receive(timeout=GUARD) == b"a whole message"
            wrapped.result().close()


# ---- accepting


def until(call: Callable[[], T]) -> tuple[T, int]:
    """What it gives, and how often an exception came instead."""
    rang = 0
    while True:
        try:
            return call(), rang
        except Rang:
            rang += 1


@pytest.mark.parametrize("method", ["begin", "do_handshake", "read", "write"])
@pytest.mark.parametrize("authkey", [None, "secret"])
def test_a_peer_whose_handshake_was_interrupted_stays(
    lab: Authority, bells: Bells, method: str, authkey: str | None
) -> None:
    """The exception arrives in accept(), and the next one has the peer, who cannot help it."""
    context = ringing(lab.server(), bells)

    def talk(url: str) -> str | bytes:
        with ipcx.connect(url, tls=lab.client(), authkey=authkey) as one:
            one.send("an honest one")
            return one.receive(timeout=GUARD)

    with ipcx.listen(URL, tls=context, authkey=authkey) as listener, ThreadPoolExecutor(1) as other:
        bells.arm(method, ring_out)
        talking = other.submit(talk, listener.url)
        two, rang = until(lambda: listener.accept(timeout=GUARD))
        with two:
            message, later = until(lambda: two.receive(timeout=GUARD))
            assert message == "an honest one"
            two.send("welcome")
            assert talking.result(GUARD) == "welcome"
        assert rang + later == bells.rang == 1
        assert rang == 1 or method in ("read", "write")  # there is no such step in a handshake
        assert listener.stats().dropped == 0


@pytest.mark.parametrize("method", ["do_handshake", "read", "write"])
def test_a_connecting_end_in_the_same_thread(lab: Authority, bells: Bells, method: str) -> None:
    """accept() sees to both sides; the other's handlers do not keep it waiting."""
    context = ringing(lab.client(), bells)
    with (
        ipcx.listen(URL, tls=lab.server()) as listener,
        ipcx.connect(listener.url, tls=context, server_hostname="localhost") as one,
    ):
        bells.arm(method, ring_out)
        two, rang = until(lambda: listener.accept(timeout=GUARD))
        with two:
            two.send("welcome")
            message, later = until(lambda: one.receive(timeout=GUARD))
            assert message == "welcome"
        assert rang + later == bells.rang == 1


@pytest.mark.parametrize("method", ["begin", "do_handshake", "write"])
def test_a_handler_closes_the_listener(lab: Authority, bells: Bells, method: str) -> None:
    context = ringing(lab.server(), bells)
    with ipcx.listen(URL, tls=context) as listener:
        bells.arm(method, lambda: (refuses(listener), listener.close()))
        with ipcx.connect(listener.url, tls=lab.client()):
            with contextlib.suppress(ipcx.Closed):
                listener.accept(timeout=GUARD).close()
            assert bells.rang == 1
            assert listener.closed
            with pytest.raises(ipcx.Closed):
                listener.accept(timeout=GUARD)


def refuses(listener: ipcx.Listener) -> None:
    with pytest.raises(ipcx.Deadlock, match="accept"):
        listener.accept()
    with pytest.raises(ipcx.WouldBlock):
        listener.accept(timeout=0)


# ---- a server's peers


@pytest.mark.parametrize("method", ["begin", "do_handshake", "read", "write"])
def test_a_servers_peer_stays_too(lab: Authority, bells: Bells, method: str) -> None:
    context = ringing(lab.server(), bells)

    def talk(url: str) -> str | bytes:
        with ipcx.connect(url, tls=lab.client()) as one:
            while True:  # what receive() was about to return may have gone with the exception
                one.send("an honest one")
                with contextlib.suppress(ipcx.Timeout):
                    return one.receive(timeout=0.5)

    with Server(URL, tls=context) as server, ThreadPoolExecutor(1) as other:
        bells.arm(method, ring_out)
        talking = other.submit(talk, server.url)

        def serve() -> None:
            with contextlib.suppress(ipcx.Timeout):
                peer, message = server.receive(timeout=0.1)
                peer.send(message)

        while not talking.done():
            until(serve)
        assert talking.result() == "an honest one"
        assert bells.rang == 1
        assert server.stats().refused == 0
        assert server.stats().joined == 1


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_servers_handler_cannot_receive(lab: Authority, bells: Bells, side: str) -> None:
    """A client of this very process, too, is seen to by the server until it is let in."""
    ours = ringing(lab.server(), bells) if side == "server" else lab.server()
    theirs = ringing(lab.client(), bells) if side == "client" else lab.client()
    with Server(URL, tls=ours) as server:

        def tries() -> None:
            with pytest.raises(ipcx.Deadlock, match="cannot receive"):
                server.receive()
            server.broadcast("to all")

        with ipcx.connect(server.url, tls=theirs, server_hostname="localhost") as one:
            one.send("a question")
            bells.arm("do_handshake", tries)
            peer, message = server.receive(timeout=GUARD)
            assert message == "a question"
            assert bells.rang == 1
            peer.send("an answer")
            assert one.receive(timeout=GUARD) in ("to all", "an answer")
