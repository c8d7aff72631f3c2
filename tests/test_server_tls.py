# SPDX-License-Identifier: Apache-2.0
"""ipcx.server over tls://: who joins, who does not, what each is told; nobody else cares."""

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from authority import DAY, NOW, Authority
from echo_server import echoing

import ipcx
import ipcx.tls
from ipcx import aio
from ipcx.server import Server
from socket_help import GUARD

URL = "tls://127.0.0.1:0"


@pytest.fixture(scope="module")
def lab() -> Authority:
    return Authority()


def serves(server, context) -> None:
    with ipcx.connect(server.url, tls=context) as one:
        one.send("an honest one")
        assert one.receive(timeout=GUARD) == "an honest one"


def refused(server, context, match: str, **options) -> None:
    """In connect(), or, where server and client are one process, as soon as the client asks."""
    with (
        pytest.raises(ipcx.AuthError, match=match),
        ipcx.connect(server.url, tls=context, **options) as one,
    ):
        one.receive(timeout=GUARD)


def wait_for(ready) -> None:
    """Until a thread of the server has done what `ready` looks for."""
    waiting = threading.Event()
    for _ in range(2000):
        if ready():
            return
        waiting.wait(0.005)
    raise AssertionError("it does not come about")


def port_of(server) -> int:
    return int(server.url.rpartition(":")[2])


def raw(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), timeout=GUARD)


def spoken(server, context) -> ssl.SSLSocket:
    return context.wrap_socket(raw(server), server_hostname="localhost")


def hello() -> bytes:
    payload = b"\1\0\0\0" + (1 << 20).to_bytes(4, "big") + bytes(4)
    return b"IX\x01\x0b\0\0\0\0\0\0\0\x0c" + payload


def data(payload: bytes) -> bytes:
    return b"IX\x01\x01\0\0\0\0" + len(payload).to_bytes(4, "big") + payload


# ---- what is agreed on


def test_a_peer_tells_what_was_agreed_on(lab: Authority) -> None:
    with (
        Server(URL, "tcp://127.0.0.1:0", tls=lab.strict()) as server,
        ipcx.connect(server.url, tls=lab.known(names=("client-7",))) as secret,
        ipcx.connect(server.urls[1]) as plain,
    ):
        secret.send("secret")
        plain.send("plain")
        peers = {message: peer for peer, message in (server.receive(timeout=GUARD),) * 1}
        peers |= {message: peer for peer, message in (server.receive(timeout=GUARD),)}
        assert peers["plain"].tls is None
        assert peers["plain"].url.startswith("tcp://")
        assert peers["secret"].url.startswith("tls://")
        assert peers["secret"].tls.version() == "TLSv1.3"
        assert dict(*peers["secret"].tls.getpeercert()["subject"])["commonName"] == "client-7"
        server.close(timeout=0)
        assert peers["secret"].tls.version() is not None


def test_messages_of_all_lengths_both_ways(lab: Authority) -> None:
    sizes = (0, 1, 100, 16383, 16384, 16385, 65536, 300_000, 3_000_000)
    with (
        echoing(URL, tls=lab.server()) as server,
        ipcx.connect(server.url, tls=lab.client()) as one,
    ):
        for size in sizes:
            sender = threading.Thread(target=one.send, args=(bytes(size),))
            sender.start()
            assert one.receive(timeout=GUARD) == bytes(size)
            sender.join()


def test_many_threads_and_many_peers(lab: Authority) -> None:
    context = lab.client()
    with Server(URL, tls=lab.server()) as server:

        def serve() -> None:
            with contextlib.suppress(ipcx.Closed):
                for peer, message in server:
                    peer.send(message)
                    server.broadcast(b"seen")

        def talk(name: int) -> None:
            with ipcx.connect(server.url, tls=context) as one:
                for number in range(30):
                    one.send(f"{name} {number}")
                got = []
                while len(got) < 30:
                    message = one.receive(timeout=GUARD)
                    got += [message] if message != b"seen" else []
                # Three threads serve: what one has fetched another may have sent before.
                assert sorted(got) == sorted(f"{name} {number}" for number in range(30))

        servers = [threading.Thread(target=serve) for _ in range(3)]
        clients = [threading.Thread(target=talk, args=(name,)) for name in range(6)]
        for thread in servers + clients:
            thread.start()
        for thread in clients:
            thread.join(3 * GUARD)
        server.close()
        for thread in servers:
            thread.join(GUARD)
        assert server.stats().received == 180
        assert server.stats().wrong == 0


@pytest.mark.parametrize("key", ["the right one", "another one"])
def test_a_key_within(lab: Authority, key: str) -> None:
    """With the one that is expected, and another."""
    context = lab.client()
    with echoing(URL, tls=lab.server(), authkey="the right one") as server:
        if key == "the right one":
            with ipcx.connect(server.url, tls=context, authkey=key) as one:
                one.send("hello")
                assert one.receive(timeout=GUARD) == "hello"
        else:
            refused(server, context, "key", authkey=key)
            wait_for(lambda: server.stats().strangers == 1)


def test_async_for(lab: Authority) -> None:
    async def main() -> None:
        server = aio.Server(URL, tls=lab.server())

        async def serve() -> None:
            async for peer, message in server:
                peer.send(message)

        async with server:
            serving = asyncio.ensure_future(serve())
            async with await aio.connect(server.url, tls=lab.client()) as one:
                for size in (10, 100_000, 1_000_000):
                    sending = asyncio.ensure_future(one.send(bytes(size)))
                    assert await one.receive(timeout=GUARD) == bytes(size)
                    await sending
                await one.send_many([b"%d" % n for n in range(2000)])
                assert [await one.receive(timeout=GUARD) for _ in range(2000)] == [
                    b"%d" % n for n in range(2000)
                ]
        await serving

    asyncio.run(main())


# ---- who is not let in


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"begin": NOW - 3 * DAY, "end": NOW - DAY}, "expired"),
        ({"begin": NOW + DAY, "end": NOW + 3 * DAY}, "not yet valid"),
        ({"names": ("another.example",)}, "localhost|127.0.0.1|mismatch"),
    ],
)
def test_a_server_with_a_wrong_certificate(lab: Authority, wrong: dict, match: str) -> None:
    with echoing(URL, tls=lab.server(**wrong)) as server:
        for _ in range(2):
            refused(server, lab.client(), match)
        wait_for(lambda: server.stats().refused == 2)
        assert server.stats().joined == 0


def test_a_server_whom_the_client_does_not_trust(lab: Authority) -> None:
    with echoing(URL, tls=lab.server()) as server:
        refused(server, Authority("another").client(), "certificate")
        wait_for(lambda: server.stats().refused == 1)
        serves(server, lab.client())


@pytest.mark.parametrize("who", ["nobody", "foreign", "expired"])
def test_a_client_without_a_good_certificate(lab: Authority, who: str) -> None:
    """It learns why; and who is there is served all the while."""
    strict, honest = lab.strict(), lab.known()
    context = {
        "nobody": lab.client,
        "foreign": lambda: lab.trusted_by(Authority("another").known()),
        "expired": lambda: lab.known(begin=NOW - 3 * DAY, end=NOW - DAY),
    }[who]()
    with echoing(URL, tls=strict) as server, ipcx.connect(server.url, tls=honest) as friend:
        refused(server, context, "certificate")
        wait_for(lambda: server.stats().strangers == 1)
        friend.send("still there")
        assert friend.receive(timeout=GUARD) == "still there"
        assert server.stats().joined == 1


def speak_and_hear(one, says: int) -> None:
    for _ in range(says):
        one.send(bytes(10_000))
    one.receive(timeout=GUARD)


@pytest.mark.parametrize("says", [0, 1, 50])
def test_who_is_refused_does_not_stay_and_learns_why_later(lab: Authority, says: int) -> None:
    """It has not read when it is left; what it says meanwhile, or then, takes nothing from it."""
    with (
        echoing(URL, tls=lab.strict()) as server,
        ipcx.connect(server.url, tls=lab.client()) as one,
    ):
        wait_for(lambda: server.stats().refused == 1)
        with pytest.raises(ipcx.AuthError, match="certificate"):
            speak_and_hear(one, says)


@pytest.mark.parametrize("sends", [0, 1, 30_000])
def test_plain_to_tls(lab: Authority, sends: int) -> None:
    with echoing(URL, tls=lab.server()) as server:
        with ipcx.connect(server.url.replace("tls", "tcp")) as one:

            def talk() -> None:
                for _ in range(1000 if sends else 0):
                    one.send(bytes(sends), timeout=GUARD)
                one.receive(timeout=GUARD)

            with pytest.raises(ipcx.ProtocolError, match="tls:// on both sides"):
                talk()
        wait_for(lambda: server.stats().refused == 1)
        serves(server, lab.client())


def test_plain_to_a_listener_with_tls(lab: Authority) -> None:
    with ipcx.listen(URL, tls=lab.server()) as listener:
        accepting = threading.Thread(target=lambda: list(listener))
        accepting.start()
        with (
            ipcx.connect(listener.url.replace("tls", "tcp")) as one,
            pytest.raises(ipcx.ProtocolError, match="tls:// on both sides"),
        ):
            one.send_many([bytes(30_000)] * 1000, timeout=GUARD)
        listener.close()
        accepting.join(GUARD)


def test_tls_to_plain(lab: Authority) -> None:
    with echoing("tcp://127.0.0.1:0") as server:
        for _ in range(5):
            with pytest.raises(ipcx.ProtocolError, match="tls:// on both sides"):
                ipcx.connect(server.url.replace("tcp", "tls"), tls=lab.client())
        wait_for(lambda: server.stats().refused == 5)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", bytes(99)])
def test_garbage(lab: Authority, garbage: bytes) -> None:
    with echoing(URL, tls=lab.server()) as server:
        with raw(server) as stranger:
            stranger.sendall(garbage)
            serves(server, lab.client())
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(4096):  # what is wrong, and the end
                    pass
        wait_for(lambda: server.stats().refused == 1)


# ---- who takes its time


def first_words(context: ssl.SSLContext) -> bytes:
    """What a client says first."""
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


def test_a_byte_now_and_then_in_the_handshake(lab: Authority) -> None:
    words = iter(first_words(lab.client()))
    with echoing(URL, tls=lab.server(), handshake_timeout=1.0) as server, raw(server) as slow:
        serves(server, lab.client())

        def is_gone() -> bool:
            with contextlib.suppress(OSError):
                slow.send(bytes([next(words, 0)]))
            return server.stats().refused == 1

        wait_for(is_gone)
        serves(server, lab.client())


def test_a_byte_now_and_then_in_a_record(lab: Authority) -> None:
    """Encrypted bytes that are no message yet are progress of nothing."""
    with (
        echoing(URL, tls=lab.server(), progress_timeout=0.1) as server,
        spoken(server, lab.client()) as slow,
    ):
        slow.sendall(hello())
        wait_for(lambda: server.stats().peers == 1)
        with socket.socket(fileno=slow.detach()) as below:
            below.sendall(b"\x17\x03\x03\x40\x00")

            def is_gone() -> bool:
                with contextlib.suppress(OSError):
                    below.send(b"x")
                return server.stats().late == 1

            wait_for(is_gone)
        serves(server, lab.client())


def test_strangers_cost_what_they_send_and_make_room(lab: Authority) -> None:
    words = first_words(lab.client())
    with Server(URL, tls=lab.server(), max_peers=3) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(raw(server)).sendall(words[:-1])

        def all_have_spoken() -> bool:
            with pytest.raises(ipcx.Timeout):
                server.receive(timeout=0.005)
            return server.stats().memory >= 3 * (len(words) - 1)

        wait_for(all_have_spoken)
        assert server.stats().waiting == 3
        with ipcx.connect(server.url, tls=lab.client()) as honest:
            honest.send("served")
            assert server.receive(timeout=GUARD)[1] == "served"
        assert server.stats().refused == 1


# ---- who is in, and does not behave


def test_a_forged_record(lab: Authority) -> None:
    with (
        Server(URL, tls=lab.server()) as server,
        ipcx.connect(server.url, tls=lab.client()) as honest,
        ThreadPoolExecutor() as pool,
    ):
        joining = pool.submit(spoken, server, lab.client())
        while not joining.done():
            with contextlib.suppress(ipcx.Timeout):
                server.receive(timeout=0.005)
        other = joining.result()
        other.sendall(hello() + data(b"good"))
        peer, message = server.receive(timeout=GUARD)
        assert message == b"good"
        with socket.socket(fileno=other.detach()) as below:
            below.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))

            def is_gone() -> bool:
                with contextlib.suppress(ipcx.Timeout):
                    server.receive(timeout=0.005)
                return peer.closed

            wait_for(is_gone)
            assert "TLS" in peer.reason
            assert peer.send("too late") is False
            while below.recv(4096):  # an alert is among it; and no reset
                pass
        honest.send("still there")
        assert server.receive(timeout=GUARD)[1] == "still there"
        assert server.stats().wrong == 1


def test_a_reader_that_never_reads(lab: Authority) -> None:
    with echoing(URL, tls=lab.server(), max_backlog=200_000) as server:
        with ipcx.connect(server.url, tls=lab.client()) as lazy, pytest.raises(ipcx.PeerClosed):
            lazy.send_many([bytes(50_000)] * 1000, timeout=GUARD)
        wait_for(lambda: server.stats().slow == 1)
        serves(server, lab.client())
        wait_for(lambda: server.stats().peers == 0)
        assert server.stats().memory == 0


# ---- ends


def test_goodbye_comes_after_everything(lab: Authority) -> None:
    with (
        Server(URL, tls=lab.server()) as server,
        ipcx.connect(server.url, tls=lab.client()) as one,
    ):
        one.send("hello")
        peer, _ = server.receive(timeout=GUARD)
        for number in range(50):
            peer.send(b"%d" % number * 10_000)
        closing = threading.Thread(target=server.close)
        closing.start()
        assert sum(1 for _ in one) == 50  # and no PeerDied
        closing.join(GUARD)


def test_nothing_leaks(lab: Authority) -> None:
    made = []

    class Counted(ssl.SSLObject):
        def __new__(cls, *args):
            self = super().__new__(cls, *args)
            made.append(weakref.ref(self))
            return self

    context = lab.strict()
    context.sslobject_class = Counted
    with echoing(URL, tls=context) as server:
        for _ in range(5):
            serves(server, lab.known())
            refused(server, lab.client(), "certificate")
        wait_for(lambda: server.stats().refused == 5 and server.stats().left == 5)
    assert server.closed
    server = None
    gc.collect()
    assert len(made) == 10
    assert not any(one() for one in made)


class Rang(Exception):
    pass


@pytest.mark.parametrize("does", ["close", "raise", "send"])
def test_signal_handlers_while_tls_is_at_work(lab: Authority, does: str) -> None:
    """OpenSSL's callers in the stdlib run them in the middle: no lock of ours may be in the way."""
    server = Server(URL, tls=lab.server())
    context = lab.client()
    rang, serving, talking = 0, False, True

    def talk() -> None:
        with (
            contextlib.suppress(ipcx.PeerClosed, ipcx.Closed),
            ipcx.connect(server.url, tls=context) as one,
        ):
            while talking:
                one.send_many([b"x" * 1000] * 20)
                with contextlib.suppress(ipcx.Timeout):
                    one.receive_many(1000, timeout=0.1)  # what is raised may lose an answer

    def ring(*_) -> None:
        nonlocal rang, serving
        rang += 1
        if does == "close" and rang == 30:
            server.close(timeout=0)
        elif does == "raise" and serving:
            serving = False
            raise Rang
        elif does == "send":
            server.broadcast(b"rang")
            server.stats()
            repr(server.peers)

    def serve() -> None:
        nonlocal serving
        with contextlib.suppress(Rang):
            serving = True
            for peer, message in server:
                peer.send(message)
                if rang >= 60:
                    break
            serving = False

    clients = [threading.Thread(target=talk) for _ in range(3)]
    for client in clients:
        client.start()
    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
    try:
        while rang < 60 and not server.closed:
            serve()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    talking = False
    server.close(timeout=0)
    for client in clients:
        client.join(GUARD)
        assert not client.is_alive()
    assert server.stats().wrong == 0


# ---- what cannot be


def test_misuse(lab: Authority) -> None:
    with pytest.raises(TypeError, match="needs tls="):
        Server(URL)
    with pytest.raises(TypeError, match="SSLContext"):
        Server(URL, tls="please")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="other side"):
        Server(URL, tls=lab.client())
    with pytest.raises(ValueError, match="for tls:// addresses"):
        Server("tcp://127.0.0.1:0", tls=lab.server())
    with pytest.raises(ipcx.InsecureAddress):
        Server("tls://127.0.0.1:0", "tcp://0.0.0.0:0", tls=lab.server())
    with Server("tls://0.0.0.0:0", tls=lab.server()) as server:
        assert server.url.startswith("tls://")
