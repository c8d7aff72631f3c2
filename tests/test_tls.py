# SPDX-License-Identifier: Apache-2.0
"""tls://: who is let in, who is not, and what each side is told; tests/contract has the rest."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from authority import DAY, NOW, Authority

import ipcx
import ipcx.tls
from ipcx import _certificates, aio
from ipcx.framing import Encoder, FrameType
from socket_help import GUARD

HELLO = Encoder().encode(struct.pack("!B3xII", 1, 64 << 20, 0), type=FrameType.HELLO)


@pytest.fixture(scope="module")
def lab() -> Authority:
    return Authority()


@contextlib.contextmanager
def listening(context: ssl.SSLContext, **options):
    with ipcx.listen("tls://127.0.0.1:0", tls=context, **options) as listener:
        yield listener


def connected(listener, context, **options):
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(ipcx.connect(listener.url, tls=context, **options))
        two = stack.enter_context(listener.accept(timeout=GUARD))
        stack.pop_all()
        return one, two


def still_serves(listener, context) -> None:
    one, two = connected(listener, context)
    with one, two:
        one.send("an honest one")
        assert two.receive(timeout=GUARD) == "an honest one"


# ---- what is agreed on


def test_what_was_agreed_on(lab: Authority) -> None:
    server, client = lab.strict(), lab.known(names=("client-7",))
    for context in (server, client):
        context.set_alpn_protocols(["ipcx"])
    with listening(server) as listener:
        one, two = connected(listener, client)
        with one, two:
            assert one.tls.version() == two.tls.version() == "TLSv1.3"
            assert one.tls.cipher()[2] >= 128
            assert one.tls.selected_alpn_protocol() == "ipcx"
            assert two.tls.getpeercert()["subject"] == ((("commonName", "client-7"),),)
            assert isinstance(one.tls.getpeercert(True), bytes)
            assert repr(one.tls) == "<ipcx.tls.Session TLSv1.3>"
            assert listener.url.startswith("tls://127.0.0.1:")
            assert two.url.startswith("tls://127.0.0.1:")


def test_other_channels_have_none() -> None:
    one, two = ipcx.pair()
    with one, two:
        assert one.tls is None


def test_tls_1_2_is_enough(lab: Authority) -> None:
    server = lab.server()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    with listening(server) as listener:
        one, two = connected(listener, lab.client())
        with one, two:
            one.send(bytes(100_000))
            assert two.receive(timeout=GUARD) == bytes(100_000)
            assert one.tls.version() == "TLSv1.2"


def test_a_name_for_the_certificate(lab: Authority) -> None:
    with listening(lab.server(names=("db.example",))) as listener:
        one, two = connected(listener, lab.client(), server_hostname="db.example")
        one.close()
        two.close()


def test_nothing_can_be_read_on_the_way(lab: Authority) -> None:
    """All that is said passes a relay, which looks for it."""
    with listening(lab.server()) as listener, socket.create_server(("127.0.0.1", 0)) as relay:
        port = relay.getsockname()[1]
        with ThreadPoolExecutor() as pool:
            passed = pool.submit(_relay, relay, int(listener.url.rpartition(":")[2]))
            two = pool.submit(listener.accept, GUARD)
            with ipcx.connect(f"tls://127.0.0.1:{port}", tls=lab.client()) as one:
                one.send("the secret word " * 100)
                with two.result() as peer:
                    assert peer.receive(timeout=GUARD) == "the secret word " * 100
            assert b"secret" not in passed.result(GUARD)


def _relay(relay: socket.socket, port: int, size: int = 1 << 16) -> bytes:
    """Passes bytes both ways until both sides have ended; what it saw."""
    seen = bytearray()
    one, _ = relay.accept()
    with one, socket.create_connection(("127.0.0.1", port)) as two:

        def pass_on(source: socket.socket, to: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(size):
                    seen.extend(data)
                    to.sendall(data)
                to.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=pass_on, args=way) for way in ((one, two), (two, one))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GUARD)
    return bytes(seen)


def test_a_byte_at_a_time(lab: Authority) -> None:
    with listening(lab.server()) as listener, socket.create_server(("127.0.0.1", 0)) as relay:
        relay.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = relay.getsockname()[1]
        with ThreadPoolExecutor() as pool:
            passed = pool.submit(_relay, relay, int(listener.url.rpartition(":")[2]), 1)
            two = pool.submit(listener.accept, GUARD)
            url = f"tls://127.0.0.1:{port}"
            with ipcx.connect(url, tls=lab.client()) as one, two.result() as peer:
                for size in (0, 1, 300):
                    one.send(bytes(size))
                    assert peer.receive(timeout=GUARD) == bytes(size)
                    peer.send(bytes(size))
                    assert one.receive(timeout=GUARD) == bytes(size)
            passed.result(GUARD)


# ---- who is not let in


def until_dropped(listener, count: int = 1) -> None:
    """Accepts, in vain, until so many were turned away."""
    deadline = time.monotonic() + GUARD
    while listener.stats().dropped < count:
        with pytest.raises(ipcx.Timeout):
            listener.accept(timeout=0.01)
        assert time.monotonic() < deadline, "nobody is turned away"
    assert listener.stats().dropped == count


def refused(listener, context, match: str, status=ipcx.AuthError, **options):
    """Connects, and is told; what was raised."""
    before = listener.stats().dropped
    with ipcx.connect(listener.url, tls=context, **options) as one:
        until_dropped(listener, before + 1)
        with pytest.raises(status, match=match) as caught:
            one.receive(timeout=GUARD)
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    return caught.value


def test_an_expired_certificate(lab: Authority) -> None:
    with listening(lab.server(begin=NOW - 9 * DAY, end=NOW - DAY)) as listener:
        refused(listener, lab.client(), match="has expired; it must be renewed")
        assert listener.stats().dropped == 1


def test_a_certificate_of_tomorrow(lab: Authority) -> None:
    with listening(lab.server(begin=NOW + DAY, end=NOW + 2 * DAY)) as listener:
        refused(listener, lab.client(), match="not yet valid; is this machine's clock right")


def test_a_foreign_certificate(lab: Authority) -> None:
    with listening(Authority("somebody").server()) as listener:
        refused(listener, lab.client(), match="load_verify_locations")


def test_a_certificate_for_another_host(lab: Authority) -> None:
    with listening(lab.server(names=("db.example",))) as listener:
        refused(listener, lab.client(), match="server_hostname= is the name")
        refused(listener, lab.client(), match="[Hh]ostname", server_hostname="web.example")
        still_serves_by_name(listener, lab.client())


def still_serves_by_name(listener, context) -> None:
    one, two = connected(listener, context, server_hostname="db.example")
    one.close()
    two.close()


def test_a_client_without_a_certificate(lab: Authority) -> None:
    with listening(lab.strict()) as listener:
        refused(listener, lab.client(), match=r"requires a certificate: context.load_cert_chain")
        assert listener.stats().dropped == 1
        still_serves(listener, lab.known())


def test_a_client_with_a_foreign_certificate(lab: Authority) -> None:
    stranger = lab.client()
    _certificates.load(stranger, *Authority("somebody").identity())
    with listening(lab.strict()) as listener:
        refused(listener, stranger, match="issuer")
        still_serves(listener, lab.known())


def test_a_client_with_an_expired_certificate(lab: Authority) -> None:
    with listening(lab.strict()) as listener:
        refused(listener, lab.known(begin=NOW - 9 * DAY, end=NOW - DAY), match="has expired")
        still_serves(listener, lab.known())


def test_no_version_in_common(lab: Authority) -> None:
    old, new = lab.server(), lab.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    with listening(old) as listener:
        refused(listener, new, match="no version of TLS", status=ipcx.ProtocolError)


def test_a_listener_without_a_certificate(lab: Authority) -> None:
    with listening(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as listener:
        refused(listener, lab.client(), match="HANDSHAKE|handshake", status=ipcx.ProtocolError)


def test_tls_to_a_plain_listener(lab: Authority) -> None:
    with ipcx.listen("tcp://127.0.0.1:0") as listener:
        url = listener.url.replace("tcp", "tls")
        with ThreadPoolExecutor() as pool:
            accepting = pool.submit(until_dropped, listener)
            with pytest.raises(ipcx.ProtocolError, match="tls:// on both sides"):
                ipcx.connect(url, tls=lab.client())
            accepting.result()


def test_plain_to_a_tls_listener(lab: Authority) -> None:
    with listening(lab.server()) as listener:
        with ipcx.connect(listener.url.replace("tls", "tcp")) as one:
            until_dropped(listener)
            with pytest.raises((ipcx.ProtocolError, ipcx.PeerDied)):
                one.receive(timeout=GUARD)
        still_serves(listener, lab.client())


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", bytes(99)])
def test_strangers(lab: Authority, garbage: bytes) -> None:
    with listening(lab.server(), handshake_timeout=1.0) as listener:
        port = int(listener.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(garbage)
            still_serves(listener, lab.client())
            until_dropped(listener)
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(4096):
                    pass


def test_a_handshake_cut_off(lab: Authority) -> None:
    hello, _ = ssl.MemoryBIO(), None
    client = lab.client().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    first = hello.read()
    with listening(lab.server()) as listener:
        port = int(listener.url.rpartition(":")[2])
        for end in (1, 5, len(first) - 1, len(first)):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(first[:end])
        until_dropped(listener, 4)
        still_serves(listener, lab.client())


# ---- ends


def test_a_stream_that_is_cut_is_a_death(lab: Authority) -> None:
    with listening(lab.server()) as listener:
        one, two = connected(listener, lab.client())
        with one, two:
            one.send("whole")
            with socket.socket(fileno=os.dup(one._send_fileno())) as its:
                its.shutdown(socket.SHUT_WR)
            assert two.receive(timeout=GUARD) == "whole"
            with pytest.raises(ipcx.PeerDied):
                two.receive(timeout=GUARD)


def test_goodbye_arrives_though_much_was_unread(lab: Authority) -> None:
    """What our end has sealed last ends our side of TLS: the peer's data after it is no error."""
    with listening(lab.server()) as listener:
        one, two = connected(listener, lab.client())
        with one, two:
            for _ in range(30):
                two.send(bytes(20_000))
            one.receive(timeout=GUARD)
            one.send("last")
            one.close()
            assert two.receive(timeout=GUARD) == "last"
            with pytest.raises(ipcx.PeerClosed) as caught:
                two.receive(timeout=GUARD)
            assert type(caught.value) is ipcx.PeerClosed


def test_a_peer_that_ends_tls_alone_has_died(lab: Authority) -> None:
    """The goodbye is BYE, and not TLS's close_notify: docs/protocol.md."""
    with listening(lab.server()) as listener:
        port = int(listener.url.rpartition(":")[2])
        with ThreadPoolExecutor() as pool:
            accepting = pool.submit(listener.accept, GUARD)
            raw = socket.create_connection(("127.0.0.1", port))
            with lab.client().wrap_socket(raw, server_hostname="localhost") as foreign:
                foreign.sendall(HELLO)
                with accepting.result() as one:
                    ending = pool.submit(foreign.unwrap)
                    with pytest.raises(ipcx.PeerDied):
                        one.receive(timeout=GUARD)
                with contextlib.suppress(OSError):
                    ending.result()


def test_a_forged_record_is_an_error(lab: Authority) -> None:
    with listening(lab.server()) as listener:
        one, two = connected(listener, lab.client())
        with one, two:
            fd = os.dup(one._send_fileno())
            os.write(fd, b"\x17\x03\x03\x00\x20" + bytes(32))
            os.close(fd)
            with pytest.raises(ipcx.ProtocolError) as caught:
                two.receive(timeout=GUARD)
            assert isinstance(caught.value.__cause__, ssl.SSLError)
            with pytest.raises(ipcx.ProtocolError):
                one.receive(timeout=GUARD)


def test_an_end_cannot_leave(lab: Authority) -> None:
    one, two = ipcx.pair("tls://")
    with one, two, contextlib.ExitStack() as stack:
        near, far = map(stack.enter_context, ipcx.pair("unix://"))
        with pytest.raises(ipcx.Unsupported, match="its keys"):
            near.send(one)
        assert not far.poll()
        one.send("still here")
        assert two.receive(timeout=GUARD) == "still here"


# ---- what may be given


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ipcx.listen("tls://127.0.0.1:0"), TypeError, "self_signed"),
        (lambda: ipcx.listen("tls://127.0.0.1:0", tls="x"), TypeError, "not str"),
        (
            lambda: ipcx.listen("tls://127.0.0.1:0", tls=ssl.create_default_context()),
            ValueError,
            "other side",
        ),
        (lambda: ipcx.listen("tcp://127.0.0.1:0", tls=1), ValueError, "tls://"),
        (lambda: ipcx.connect("unix:///x", server_hostname="x"), ValueError, "tls://"),
        (lambda: ipcx.pair("unix://", tls=(1, 2)), ValueError, "tls://"),
        (lambda: ipcx.connect("tls://127.0.0.1:1", tls=_old()), ValueError, "TLSv1_2"),
        (
            lambda: ipcx.connect("tls://127.0.0.1:1", tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)),
            ValueError,
            "other side",
        ),
        (lambda: ipcx.connect("tls://127.0.0.1:1"), ipcx.ConnectRefused, "tls://127.0.0.1:1"),
        (lambda: ipcx.tls.self_signed(()), ValueError, "name"),
    ],
)
def test_what_cannot_be(call, error, match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def _old() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3,), reason="OpenSSL 3 or newer")
def test_a_minimum_may_be_left_to_openssl(lab: Authority) -> None:
    """As Debian's CPython 3.13 leaves it: at its security level there is nothing before TLS 1.2."""
    server, client = lab.server(), lab.client()
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with ipcx.listen("tls://127.0.0.1:0", tls=server) as listener:
        still_serves(listener, client)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = ssl.TLSVersion.TLSv1_1  # asked for by name
    with pytest.raises(ValueError, match="TLSv1_2"):
        ipcx.connect("tls://127.0.0.1:1", tls=client)


def test_the_whole_network_may_be_listened_to(lab: Authority) -> None:
    with ipcx.listen("tls://*:0", tls=lab.server()) as listener:
        assert listener.url.startswith("tls://*:")
        still_serves(listener, lab.client())


def test_without_cryptography_one_sentence() -> None:
    code = "import sys; sys.modules['cryptography'] = None; import ipcx.tls; ipcx.tls.self_signed()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: ipcx.tls.self_signed() needs the package cryptography: "
        "python -m pip install cryptography"
    )


def test_ssl_is_imported_only_for_tls() -> None:
    code = "import ipcx, sys; ipcx.pair(); print('ssl' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


# ---- threads, signals, leaks


def test_both_ways_and_close_from_another_thread() -> None:
    for _ in range(5):
        one, two = ipcx.pair("tls://")

        def talk(end) -> None:
            with contextlib.suppress(ipcx.Closed, ipcx.PeerClosed):
                while True:
                    end.send(bytes(50_000))

        def listen(end) -> None:
            with contextlib.suppress(ipcx.Closed, ipcx.PeerClosed):
                while True:
                    assert len(end.receive()) == 50_000

        threads = [
            threading.Thread(target=call, args=(end,))
            for call in (talk, listen)
            for end in (one, two)
        ]
        for thread in threads:
            thread.start()
        for _ in range(20):
            one.stats()
        one.close(timeout=0)
        two.close(timeout=0)
        for thread in threads:
            thread.join(GUARD)
            assert not thread.is_alive()


SIGNALLED = """
import signal, sys, threading, ipcx
one, two = ipcx.pair("tls://")
class Rang(Exception): pass
rings, armed = 0, False
def ring(*_):
    global rings, armed
    rings += 1
    if armed:
        armed = False
        raise Rang
signal.signal(signal.SIGALRM, ring)
count = int(sys.argv[1])
def sends():
    for number in range(count):
        two.send(number.to_bytes(4, "big") * 10)
thread = threading.Thread(target=sends)
thread.start()
got, going = [], True
def take():
    global going
    while going:
        message = one._receive_now()
        if message is not NotImplemented:
            got.append(message)
        else:
            going = one.stats().received < count
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
while going:
    try:
        armed = True
        take()
        armed = False
    except Rang:
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 0)
thread.join()
print(len(got), got == sorted(got), rings > 0)
one.send("after all that")
print(two.receive(timeout=5))
"""


def test_signal_handlers_that_raise_break_no_stream() -> None:
    """A message may go with the exception between the call and its assignment, as everywhere; the
    stream stays whole."""
    ran = subprocess.run(
        [sys.executable, "-c", SIGNALLED, "3000"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    first, last = ran.stdout.splitlines()
    assert int(first.split()[0]) > 2000
    assert first.endswith("True True")
    assert last == "after all that"


@pytest.mark.parametrize("verb", ["receive", "send", "accept", "flush", "close", "connect"])
def test_ctrl_c(verb: str, lab: Authority) -> None:
    """KeyboardInterrupt ends each wait, and the object is still usable."""
    one, two = ipcx.pair("tls://")
    mute = socket.create_server(("127.0.0.1", 0))
    with one, two, listening(lab.server()) as listener, mute:
        if verb in ("send", "flush", "close"):
            with contextlib.suppress(ipcx.WouldBlock):
                while True:
                    one.send(bytes(1 << 20), timeout=0)
        calls = {
            "receive": one.receive,
            "send": lambda: one.send(bytes(1 << 26)),
            "accept": listener.accept,
            "flush": one.flush,
            "close": lambda: one.close(timeout=None),
            "connect": lambda: ipcx.connect(
                f"tls://127.0.0.1:{mute.getsockname()[1]}", None, tls=lab.client()
            ),
        }
        timer = threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            calls[verb]()
        timer.join()
        if verb not in ("send", "flush", "close"):
            one.send("still")
            assert two.receive(timeout=GUARD) == "still"
        one.close(timeout=0)


def test_nothing_leaks(lab: Authority) -> None:
    with listening(lab.server()) as listener:
        client = lab.client()

        def once() -> None:
            still_serves(listener, client)
            with pytest.raises(ipcx.AuthError):
                ipcx.pair("tls://", tls=(Authority.server(lab), ssl.create_default_context()))

        for _ in range(3):
            once()
        gc.collect()
        before = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
        for _ in range(20):
            once()
        gc.collect()
        after = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    assert after[0] == before[0]
    assert after[1] - before[1] < 100


def test_an_end_in_use_is_closed_in_a_child() -> None:
    one, two = ipcx.pair("tls://")
    with one, two:
        one.send("used")
        assert two.receive(timeout=GUARD) == "used"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                one.send("x")
            except ipcx.ForkedError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        one.send("after")
        assert two.receive(timeout=GUARD) == "after"


@pytest.mark.parametrize("key", ["the right one", "another one"])
def test_a_key_within(lab: Authority, key: str) -> None:
    """authkey= is proven over the encrypted stream."""
    with (
        listening(lab.server(), authkey="the right one") as listener,
        ThreadPoolExecutor() as pool,
        ipcx.connect(listener.url, tls=lab.client(), authkey=key) as one,
    ):
        accepting = pool.submit(listener.accept, GUARD if key == "the right one" else 0.5)
        if key == "the right one":
            one.send("proven", timeout=GUARD)
            with accepting.result() as two:
                assert two.receive(timeout=GUARD) == "proven"
        else:
            with pytest.raises(ipcx.AuthError, match="authkey"):
                one.send("a stranger's", timeout=GUARD)
            assert isinstance(accepting.exception(), ipcx.Timeout)


@pytest.mark.parametrize("key", [None, "a key"])
def test_a_coroutine_is_woken_by_an_accept_that_helped(lab: Authority, key: str | None) -> None:
    """accept sees to the ends of its own process, and takes in what their coroutines wait for."""

    async def main() -> None:
        with listening(lab.server(), authkey=key) as listener:
            core = ipcx.connect(listener.url, tls=lab.client(), authkey=key, vanish_timeout=None)
            async with aio.Channel(core) as end:
                waiting = asyncio.ensure_future(
                    end.flush(timeout=GUARD) if key else end.receive(timeout=GUARD)
                )
                while not end._read:
                    await asyncio.sleep(0)
                with listener.accept(timeout=GUARD) as there:
                    there.send("welcome")
                    with pytest.raises(ipcx.Timeout):
                        listener.accept(timeout=0.01)
                    await waiting
                    assert key or waiting.result() == "welcome"

    asyncio.run(main())


def test_the_lab_of_the_examples() -> None:
    program = Path(__file__).parent.parent / "examples/mutual_tls/lab.py"
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    first, last = ran.stdout.splitlines()
    assert first == "hello, client; this is TLSv1.3"
    assert last.startswith("another one: ")
