"""Who may be at the other side: `authkey` over tcp:// and unix://, and `allow_uids`.

Raw sides are written here with hashlib and hmac, from docs/protocol.md alone.
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import random
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from subprocess import PIPE

import pytest
from conftest import NIGHT

import ipcx
from ipcx import aio
from ipcx.server import Server

URLS = ["tcp://127.0.0.1:0", "unix://"]
KEY = "the key to the mountain"
SOON = 10
HELLO, DATA, PING, BYE, PROOF = 11, 1, 9, 12, 14


# ---- the protocol, once more


def frame(kind, payload=b"", extension=b"", flags=0):
    return (
        b"IX\1" + bytes([kind]) + flags.to_bytes(2, "big") + len(extension).to_bytes(2, "big")
        + len(payload).to_bytes(4, "big") + extension + payload
    )  # fmt: skip


def hello(nonce=None, limit=1 << 20, behind=b"", extension=b""):
    keyed = nonce is not None
    payload = b"\1\0\0\0" + limit.to_bytes(4, "big") + (2 * keyed).to_bytes(4, "big")
    return frame(HELLO, payload + (nonce or b"") + behind, extension)


def mac(key, who, connector, listener):
    text = f"ipcx 1 {who}".encode().ljust(16, b"\0")
    text += hashlib.sha256(connector).digest() + hashlib.sha256(listener).digest()
    return hmac.new(key if isinstance(key, bytes) else key.encode(), text, "sha256").digest()


class Raw:
    """A side that says what the test wants."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(SOON)

    def send(self, data):
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def frame(self):
        """The next frame, whole; b"" at the end."""
        head = self.take(12)
        if len(head) < 12:
            return b""
        more = int.from_bytes(head[6:8], "big") + int.from_bytes(head[8:12], "big")
        return head + self.take(more + (8 if head[5] & 2 else 0))

    def take(self, size):
        data = b""
        while len(data) < size:
            try:
                piece = self.sock.recv(size - len(data))
            except ConnectionError:
                break
            if not piece:
                break
            data += piece
        return data

    def rest(self):
        return self.take(1 << 20)


def dial(url):
    scheme, _, where = url.partition("://")
    if scheme == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(where)
        return Raw(made)
    host, _, port = where.rpartition(":")
    return Raw(socket.create_connection((host, int(port))))


@contextlib.contextmanager
def raw(url):
    made = dial(url)
    with made.sock:
        yield made


@contextlib.contextmanager
def raw_listener():
    """A place, and a function that waits for the next who connects."""
    with socket.create_server(("127.0.0.1", 0)) as sock, contextlib.ExitStack() as stack:

        def accept():
            made = Raw(stack.enter_context(sock.accept()[0]))
            return made

        yield f"tcp://127.0.0.1:{sock.getsockname()[1]}", accept


def shake(side, key, own):
    """As the connector, up to the listener's PROOF."""
    side.send(own)
    its = side.frame()
    side.send(frame(PROOF, mac(key, "connector", own, its)))
    return its, side.frame()


# ---- places to connect to


class Place:
    """A Listener or a Server that says everything back, in a thread."""

    def __init__(self, stack, kind, url, **options):
        self.kind = kind
        if kind == "server":
            self.it = stack.enter_context(Server(url, **options))
        else:
            self.it = stack.enter_context(ipcx.listen(url, **options))
        self.url = self.it.url
        self.threads = [threading.Thread(target=getattr(self, kind))]
        self.threads[0].start()
        stack.callback(self.end)

    def end(self):
        self.it.close()
        for thread in self.threads:
            thread.join(SOON)

    def server(self):
        for peer, message in self.it:
            peer.send(message)

    def listener(self):
        for channel in self.it:
            self.threads.append(threading.Thread(target=self.serve, args=[channel]))
            self.threads[-1].start()

    @staticmethod
    def serve(channel):
        with channel, contextlib.suppress(ipcx.PeerClosed):
            for message in channel:
                channel.send(message)

    @property
    def strangers(self):
        return self.it.stats().strangers

    @property
    def turned_away(self):
        stats = self.it.stats()
        return stats.refused if self.kind == "server" else stats.dropped

    def serves(self, key=KEY):
        """An honest peer is served as ever."""
        with ipcx.connect(self.url, authkey=key) as channel:
            channel.send("still there?", timeout=SOON)
            return channel.receive(timeout=SOON) == "still there?"


@pytest.fixture(params=["listener", "server"])
def kind(request):
    return request.param


@pytest.fixture(params=URLS, ids=["tcp", "unix"])
def url(request):
    return request.param


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def place(stack, kind, url):
    return Place(stack, kind, url, authkey=KEY, handshake_timeout=60)


def until(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# ---- the right key


@pytest.mark.parametrize("key", [KEY, KEY.encode(), bytearray(KEY.encode())])
def test_the_same_key(place, key):
    with ipcx.connect(place.url, authkey=key) as channel:
        channel.send("hello", timeout=SOON)
        assert channel.receive(timeout=SOON) == "hello"
        channel.send(b"x" * 100_000, sync=True, timeout=SOON)
        assert channel.receive(timeout=SOON) == b"x" * 100_000
        assert channel.send_many(["a", b"b"], timeout=SOON) == 2
        assert channel.receive_many(timeout=SOON)[0] == "a"
    assert place.strangers == place.turned_away == 0


@pytest.mark.parametrize("checksum", [False, True])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_keys_of_any_length(stack, kind, size, checksum):
    key = os.urandom(size)
    place = Place(stack, kind, "unix://", authkey=key, checksum=checksum)
    assert place.serves(key)


def test_listen_connect_accept_in_one_thread(url):
    with ipcx.listen(url, authkey=KEY) as listener:
        ends = [ipcx.connect(listener.url, authkey=KEY) for _ in range(3)]
        others = [listener.accept(timeout=SOON) for _ in ends]
        for other in others:
            other.send("first", timeout=0)  # who accepts has no more to wait for
        for end in ends:
            end.send("second", timeout=SOON)
            assert end.receive(timeout=SOON) == "first"
        assert {other.receive(timeout=SOON) for other in others} == {"second"}
        for end in ends + others:
            end.close()


def test_polling_accept_in_one_thread(url):
    with ipcx.listen(url, authkey=KEY) as listener, ipcx.connect(listener.url, authkey=KEY) as end:
        until(lambda: _accepted(listener) or end.closed)


def _accepted(listener):
    try:
        listener.accept(timeout=0).close()
    except ipcx.WouldBlock:
        return False
    return True


def test_a_server_and_a_client_in_one_thread(url):
    with Server(url, authkey=KEY) as server, ipcx.connect(server.url, authkey=KEY) as client:
        with pytest.raises(ipcx.Timeout):
            server.receive(timeout=0.05)
        client.send("hello", timeout=SOON)
        assert server.receive(timeout=SOON)[1] == "hello"


def test_connect_waits_for_nobody_and_a_send_does(url):
    with ipcx.listen(url, authkey=KEY) as listener, ipcx.connect(listener.url, authkey=KEY) as end:
        for call in (
            lambda: end.send("x", timeout=0.01),
            lambda: end.send("x", sync=True, timeout=0),
            lambda: end.send_many(["x"], timeout=0.01),
            lambda: end.receive(timeout=0.01),
            lambda: end.flush(timeout=0.01),
        ):
            with pytest.raises(ipcx.Timeout) as caught:
                call()
            assert not caught.value.begun
        assert not end.poll(0)
        with listener.accept(timeout=SOON) as other:
            end.send("now", timeout=SOON)
            assert other.receive(timeout=SOON) == "now"


def test_a_send_that_waits_for_the_proof_ends_with_close(url):
    with ipcx.listen(url, authkey=KEY) as listener:
        end = ipcx.connect(listener.url, authkey=KEY)
        said = []

        def send():
            try:
                end.send("x")
            except ipcx.Closed as error:
                said.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        until(lambda: end.stats().send_waits > 0)
        end.close()
        thread.join(SOON)
        assert len(said) == 1


@pytest.mark.parametrize("url", URLS)
def test_who_awaits_the_proof_is_woken_by_an_accept_that_helped(url):
    """accept lets the ends of its own process finish, and takes in what they wait for."""

    async def main():
        with ipcx.listen(url, authkey=KEY) as listener:
            async with aio.connect(listener.url, authkey=KEY) as end:
                waiting = asyncio.ensure_future(end.flush(timeout=SOON))
                while not end._read.aside:
                    await asyncio.sleep(0)
                with listener.accept(timeout=SOON):
                    with pytest.raises(ipcx.Timeout):
                        listener.accept(timeout=0.01)
                    await waiting

    asyncio.run(main())


def test_flush_finishes_it(place):
    with ipcx.connect(place.url, authkey=KEY) as end:
        end.flush(timeout=SOON)
        assert not end._unproven
        end.flush(timeout=0)
    with ipcx.connect(place.url, authkey="valley") as end, pytest.raises(ipcx.AuthError):
        end.flush(timeout=SOON)

    async def main():
        async with aio.connect(place.url, authkey=KEY) as end:
            await end.flush(timeout=SOON)
            assert not end.core._unproven

    asyncio.run(main())


def test_who_does_not_prove_in_time_is_dropped(stack, kind, url):
    place = Place(stack, kind, url, authkey=KEY, handshake_timeout=0.5)
    with raw(place.url) as lazy:
        lazy.send(hello(nonce()))
        assert lazy.frame()[:4] == b"IX\1\x0b"
        assert lazy.rest() == b""
    until(lambda: place.turned_away == 1)
    assert place.strangers == 0
    assert place.serves()


# ---- another key, or none


@pytest.mark.parametrize(
    ("ours", "its", "words"),
    [
        ("valley", KEY, "this side's authkey is another one than its own"),
        (None, KEY, "demands an authkey, and this side has none"),
        (KEY, None, "has no authkey, and this side demands one"),
    ],
)
def test_another_key_or_none(stack, kind, url, ours, its, words):
    place = Place(stack, kind, url, authkey=its)
    with ipcx.connect(place.url, authkey=ours) as end:
        for call in (
            lambda: end.receive(timeout=SOON),
            lambda: end.send("x", timeout=SOON),
            lambda: end.send_many(["x"], timeout=SOON),
            lambda: next(iter(end)),
        ):
            with pytest.raises(ipcx.AuthError, match=words) as caught:
                call()
            assert isinstance(caught.value, PermissionError)
            assert KEY not in str(caught.value)
            assert "valley" not in str(caught.value)
    until(lambda: place.turned_away == 1)
    assert place.strangers == 1
    assert place.serves(its)


def test_what_a_stranger_sends_at_once_is_not_received(place):
    """Without a key a client may send behind its HELLO: none of it gets through."""
    with ipcx.connect(place.url) as end, pytest.raises(ipcx.AuthError):
        deque(end.send(bytes(1000), timeout=SOON) for _ in range(10_000))
    until(lambda: place.strangers == 1)
    assert place.serves()


# ---- strangers of every kind


def nonce():
    return os.urandom(32)


STRANGERS = {
    "nothing": lambda: b"",
    "garbage": lambda: os.urandom(200),
    "http": lambda: b"GET / HTTP/1.1\r\n\r\n",
    "a cut hello": lambda: hello(nonce())[:40],
    "no hello": lambda: frame(DATA, b"x"),
    "a message behind hello": lambda: hello(nonce()) + frame(DATA, b"x"),
    "a ping behind hello": lambda: hello(nonce()) + frame(PING, b"x"),
    "goodbye behind hello": lambda: hello(nonce()) + frame(BYE),
    "two hellos": lambda: hello(nonce()) + hello(nonce()),
    "a proof of nothing": lambda: hello(nonce()) + frame(PROOF, bytes(32)),
    "an empty proof": lambda: hello(nonce()) + frame(PROOF),
    "a long proof": lambda: hello(nonce()) + frame(PROOF, bytes(33)),
    "a proof with a message in it": lambda: hello(nonce()) + frame(PROOF, bytes(32), b"ext"),
    "a proof with a flag": lambda: hello(nonce()) + frame(PROOF, bytes(32), flags=8),
    "a proof first": lambda: frame(PROOF, bytes(32)),
    "a refusal": lambda: hello(nonce()) + frame(PROOF, b"\1"),
    "no challenge": lambda: hello(b""),
    "half a challenge": lambda: hello(bytes(16)),
    "a long hello": lambda: hello(nonce(), behind=bytes(4096)),
    "a long extension": lambda: hello(nonce(), extension=bytes(65535)),
    "a bomb": lambda: b"IX\1\x0b\0\0\xff\xff\xff\xff\xff\xff",
    "another version": lambda: b"IX\2\x0b" + bytes(8),
    "no key": lambda: hello() + frame(DATA, b"x"),
}


@pytest.mark.parametrize("what", STRANGERS)
def test_strangers(place, what):
    with raw(place.url) as stranger:
        stranger.send(STRANGERS[what]())
        with contextlib.suppress(OSError):
            stranger.sock.shutdown(socket.SHUT_WR)
        said = stranger.rest()
        # Its HELLO, and why it hangs up at most: no proof, and nothing of the program's.
        assert said[:4] in (b"", b"IX\1\x0b")
        assert len(said) <= 56 + 13
    until(lambda: place.turned_away == 1)
    assert place.serves()
    assert place.it.stats()[0] in (1, 0)  # accepted, or connected now: none of them


def test_a_proof_is_of_one_connection(place):
    """What was overheard proves nothing the next time."""
    own = hello(nonce())
    with raw(place.url) as first, raw(place.url) as again:
        its, its_proof = shake(first, KEY, own)
        assert its_proof == frame(PROOF, mac(KEY, "listener", own, its))
        again.send(own)
        assert again.frame() != its
        again.send(frame(PROOF, mac(KEY, "connector", own, its)))
        assert again.frame() == frame(PROOF, b"\1")
        assert again.rest() == b""
    until(lambda: place.strangers == 1)
    assert place.serves()


def test_reflected_to_the_place_itself(place):
    """Its own challenge as ours; its challenge to one as ours to it in another connection."""
    with raw(place.url) as one, raw(place.url) as other:
        its, other_its = one.frame(), other.frame()
        one.send(other_its)
        other.send(its)
        one.send(frame(PROOF, bytes(32)))
        other.send(frame(PROOF, bytes(32)))
        assert one.frame() == other.frame() == frame(PROOF, b"\1")
    with raw(place.url) as echo:
        echo.send(echo.frame())
        assert echo.rest() == b""
    until(lambda: place.strangers == 3)
    assert place.serves()


def test_changed_on_the_way(place):
    """A hand in the middle cuts the demand for a key off, or changes a limit."""
    own = hello(nonce(), limit=1 << 20)
    with raw(place.url) as middle:
        its = middle.frame()
        middle.send(hello(own[24:56], limit=1 << 30))
        middle.send(frame(PROOF, mac(KEY, "connector", own, its)))
        assert middle.frame() == frame(PROOF, b"\1")
    with raw_listener() as (url, accept), ipcx.connect(url, authkey=KEY) as end:
        fake = accept()
        fake.send(hello())
        with pytest.raises(ipcx.AuthError, match="has no authkey"):
            end.receive(timeout=SOON)
        assert fake.frame()[:4] == b"IX\1\x0b"
        assert fake.rest() == b""


# ---- listeners that are none


def test_a_listener_without_the_key(url):
    """It gets a proof that fits nothing else, and no message."""
    with raw_listener() as (url, accept), ipcx.connect(url, authkey=KEY) as end:
        fake = accept()
        own = hello(nonce())
        its = fake.frame()
        fake.send(own)
        said = []
        thread = threading.Thread(target=lambda: said.append(_failure(end)))
        thread.start()
        proof = fake.frame()
        assert proof == frame(PROOF, mac(KEY, "connector", its, own))
        fake.send(frame(PROOF, mac("valley", "listener", its, own)))
        thread.join(SOON)
        assert isinstance(said[0], ipcx.AuthError)
        assert "the peer's authkey is another one" in str(said[0])
        assert fake.rest() in (b"", frame(PROOF, b"\1"))


def _failure(end):
    try:
        end.send("secret", timeout=SOON)
    except ipcx.Error as error:
        return error


LISTENERS = {
    "hangs up at once": (lambda its: b"", ipcx.PeerDied),
    "hangs up in its hello": (lambda its: hello(nonce())[:30], ipcx.PeerDied),
    "hangs up instead of a proof": (lambda its: hello(nonce()), ipcx.PeerDied),
    "sends our hello back": (lambda its: its, ipcx.AuthError),
    "sends a message": (lambda its: hello(nonce()) + frame(DATA, b"x"), ipcx.ProtocolError),
    "sends no key": (lambda its: hello() + frame(DATA, b"x"), ipcx.AuthError),
    "refuses": (lambda its: hello(nonce()) + frame(PROOF, b"\1"), ipcx.AuthError),
    "refuses our user": (lambda its: frame(PROOF, b"\2"), ipcx.AuthError),
    "is garbage": (lambda its: b"HTTP/1.1 400 Bad Request\r\n\r\n", ipcx.ProtocolError),
    "is a bomb": (lambda its: b"IX\1\x0b\0\0\0\0\xff\xff\xff\xff", ipcx.MessageTooLarge),
}


@pytest.mark.parametrize("what", LISTENERS)
def test_listeners_that_are_none(what):
    answer, error = LISTENERS[what]
    with raw_listener() as (url, accept), ipcx.connect(url, authkey=KEY) as end:
        fake = accept()
        fake.send(answer(fake.frame()))
        fake.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(error) as caught:
            end.receive(timeout=SOON)
        assert type(caught.value) is error
        with pytest.raises(error):
            end.send("never", timeout=SOON)
        end.close()
        assert b"never" not in fake.rest()


def test_no_message_leaves_before_the_proof():
    with raw_listener() as (url, accept), ipcx.connect(url, authkey=KEY) as end:
        fake = accept()
        its = fake.frame()
        with pytest.raises(ipcx.Timeout):
            end.send("secret", timeout=0.02)
        fake.send(own := hello(nonce()))
        with pytest.raises(ipcx.Timeout):
            end.send("secret", timeout=0.02)
        assert fake.frame() == frame(PROOF, mac(KEY, "connector", its, own))
        fake.sock.settimeout(0.02)
        with pytest.raises(TimeoutError):
            fake.sock.recv(1)
        fake.sock.settimeout(SOON)
        fake.send(frame(PROOF, mac(KEY, "listener", its, own)) + frame(DATA, b"welcome"))
        end.send(b"hello", timeout=SOON)
        assert fake.frame() == frame(DATA, b"hello")
        assert end.receive(timeout=SOON) == b"welcome"


# ---- our hash against OpenSSL's


def test_against_hashlib_and_hmac():
    """Random keys, and HELLOs of every length, as both sides."""
    chance = random.Random(20)
    for _ in range(20_000 if NIGHT else 200):
        key = chance.randbytes(chance.randrange(1, 200))
        behind = chance.randbytes(chance.randrange(4000))
        own = hello(chance.randbytes(32), behind=behind)
        with ipcx.listen("unix://", authkey=key) as listener, raw(listener.url) as side:
            side.send(own)
            with pytest.raises(ipcx.WouldBlock):
                listener.accept(timeout=0)
            its = side.frame()
            side.send(frame(PROOF, mac(key, "connector", own, its)))
            with listener.accept(timeout=SOON):
                assert side.frame() == frame(PROOF, mac(key, "listener", own, its))


# ---- what may be given


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("", ValueError, "authkey is empty"),
        (b"", ValueError, "authkey is empty"),
        (5, TypeError, "bytes, a str or None, not int"),
        (["k"], TypeError, "not list"),
    ],
)
def test_what_is_no_key(given, error, words):
    for make in (ipcx.connect, ipcx.listen, Server):
        with pytest.raises(error, match=words):
            make("unix://", authkey=given)


def test_transports_without_a_key():
    for scheme in ("inproc://name", "shm://name", "udp://127.0.0.1:0", "pipe://0,1"):
        with pytest.raises(ipcx.Unsupported, match="unix:// only"):
            ipcx.connect(scheme.replace(":0", ":9"), authkey=KEY)
        if "pipe" not in scheme:
            with pytest.raises(ipcx.Unsupported, match="unix:// only"):
                ipcx.listen(scheme, authkey=KEY)


def test_an_address_open_to_the_network_may_have_a_key():
    with pytest.raises(ipcx.InsecureAddress, match="give an authkey"):
        ipcx.listen("tcp://0.0.0.0:0")
    with ipcx.listen("tcp://0.0.0.0:0", authkey=KEY) as listener:
        port = listener.url.rpartition(":")[2]
        with ipcx.connect(f"tcp://127.0.0.1:{port}", authkey=KEY), listener.accept(timeout=SOON):
            pass
    Server("tcp://0.0.0.0:0", authkey=KEY).close()


# ---- with await


def test_with_await(url):
    async def main():
        async with aio.listen(url, authkey=KEY) as listener:
            async with aio.connect(listener.url, authkey=KEY) as end:
                with pytest.raises(ipcx.Timeout) as caught:
                    await end.send("x", timeout=0.05)
                assert not caught.value.begun
                with pytest.raises(ipcx.WouldBlock):
                    await end.send("x", timeout=0)
                sending = asyncio.create_task(end.send("first"))
                async with await listener.accept() as other:
                    assert await other.receive() == "first"
                    await sending
                    assert await end.send_many(["a", "b"]) == 2
                    assert [await other.receive(), await other.receive()] == ["a", "b"]
            async with aio.connect(listener.url, authkey="valley") as end:
                accepting = asyncio.create_task(listener.accept())
                with pytest.raises(ipcx.AuthError):
                    await end.send("x")
                with pytest.raises(ipcx.AuthError):
                    await end.receive()
                accepting.cancel()

    asyncio.run(main())


def test_a_server_with_await(url):
    async def main():
        async with aio.Server(url, authkey=KEY) as server:  # noqa: SIM117
            async with aio.connect(server.url, authkey=KEY) as end:
                sending = asyncio.create_task(end.send("hello"))
                peer, message = await server.receive()
                await sending
                assert (peer.closed, message) == (False, "hello")

    asyncio.run(main())


# ---- processes


def test_an_end_that_was_proven_goes_to_another_process(url):
    with ipcx.listen(url, authkey=KEY) as listener, ipcx.connect(listener.url, authkey=KEY) as end:
        accepted = listener.accept(timeout=SOON)
        here, there = ipcx.pair("unix://")
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                there.receive(timeout=SOON).send("from the child", timeout=SOON)
                os._exit(0)
            os._exit(1)
        here.send(accepted)
        assert end.receive(timeout=SOON) == "from the child"
        assert os.waitpid(pid, 0)[1] == 0
        here.close()
        there.close()


def test_one_that_was_not_stays(url):
    here, there = ipcx.pair("unix://")
    with here, there, ipcx.listen(url, authkey=KEY) as listener:  # noqa: SIM117
        with ipcx.connect(listener.url, authkey=KEY) as end:
            with pytest.raises(TypeError, match="half done"):
                here.send(end)


def test_a_child_proves_for_itself(url):
    with ipcx.listen(url, authkey=KEY) as listener:
        end = ipcx.connect(listener.url, authkey=KEY)
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                end.send("from the child", timeout=SOON)
                end.close()
                os._exit(0)
            os._exit(1)
        with listener.accept(timeout=SOON) as other:  # keeps off an end that a child may use
            assert other.receive(timeout=SOON) == "from the child"
        assert os.waitpid(pid, 0)[1] == 0
        end.close()


# ---- users


@contextlib.contextmanager
def open_folder():
    """One that other users may look into."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield folder


def as_nobody(function):
    """What it says, or the error's name, in a child that is user 65534."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            said = str(function())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writes, said.encode())
        os._exit(0)
    os.close(writes)
    with open(reads) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def _ask(url, **options):
    with ipcx.connect(url, **options) as end:
        end.send("x", timeout=SOON)
        return end.receive(timeout=SOON)


def test_another_user_cannot_connect(stack, kind):
    folder = stack.enter_context(open_folder())
    place = Place(stack, kind, f"unix://{folder}/s")
    assert as_nobody(lambda: _ask(place.url)).startswith("AuthError")
    assert place.serves(None)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_user_that_is_allowed(stack, kind, key):
    folder = stack.enter_context(open_folder())
    place = Place(stack, kind, f"unix://{folder}/s", allow_uids=[7, 65534], authkey=key)
    assert stat.S_IMODE(os.stat(f"{folder}/s").st_mode) == 0o666
    assert as_nobody(lambda: _ask(place.url, authkey=key)) == "x"
    assert place.strangers == 0


def test_a_user_that_is_not_allowed(stack, kind):
    folder = stack.enter_context(open_folder())
    place = Place(stack, kind, f"unix://{folder}/s", allow_uids=[7])
    said = as_nobody(lambda: _ask(place.url))
    assert said.startswith("AuthError")
    assert "does not serve this user" in said
    until(lambda: place.strangers == 1)
    assert place.serves(None)


def test_a_listener_of_another_user(stack):
    """Who connects looks, too: root says whom it expects."""
    folder = stack.enter_context(open_folder())
    os.chmod(folder, 0o777)
    ready, go = os.pipe(), os.pipe()
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        with contextlib.suppress(BaseException), ipcx.listen(f"unix://{folder}/s") as listener:
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            listener.close()
        os._exit(0)
    os.read(ready[0], 1)
    with pytest.raises(ipcx.AuthError, match="user 65534 listens there"):
        ipcx.connect(f"unix://{folder}/s", allow_uids=[])
    ipcx.connect(f"unix://{folder}/s", allow_uids=[65534]).close()
    ipcx.connect(f"unix://{folder}/s").close()  # root talks to everybody
    os.write(go[1], b"x")
    os.waitpid(pid, 0)
    for fd in ready + go:
        os.close(fd)


@pytest.mark.parametrize("given", [["root"], [-1], 5, [1 << 40]])
def test_what_are_no_users(given):
    with pytest.raises((ValueError, TypeError), match="allow_uids"):
        ipcx.listen("unix://", allow_uids=given)


# ---- the example


def test_the_example():
    folder = Path(__file__).parent.parent / "examples/keys"
    server = subprocess.Popen([sys.executable, folder / "server.py"], stdout=PIPE, text=True)
    with server:
        url = server.stdout.readline().strip()
        said = subprocess.run(
            [sys.executable, folder / "client.py", url], stdout=PIPE, text=True, check=True
        ).stdout.splitlines()
        rest = server.stdout.read()
    assert "this side has none" in said[0]
    assert "another one than its own" in said[1]
    assert said[2:] == ["Hello, James"]
    assert rest == "served 1 and turned away 2\n"


# ---- many


def memory():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


@pytest.mark.hang_guard(900 if NIGHT else 60)
def test_a_hundred_thousand_handshakes(stack, kind, url):
    """By day a few hundred of each; right ones and wrong ones leave nothing."""
    rounds = 12_500 if NIGHT else 250
    place = Place(stack, kind, url, authkey=KEY)
    held, before = 0, len(os.listdir("/proc/self/fd"))
    for i in range(rounds):
        if i == rounds // 5:
            held = memory()
        with ipcx.connect(place.url, authkey=KEY) as end:
            end.send("x", timeout=SOON)
            assert end.receive(timeout=SOON) == "x"
        with ipcx.connect(place.url, authkey="valley") as end, pytest.raises(ipcx.AuthError):
            end.send("x", timeout=SOON)
    until(lambda: place.strangers == rounds)
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + 8)
    assert memory() - held < 24 << 20
