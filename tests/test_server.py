"""ipcx.server: many clients, honest and not, served by one loop."""

import asyncio
import gc
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from pathlib import Path

import pytest

import ipcx
import ipcx.tls
from ipcx import aio
from ipcx import server as module
from ipcx.server import Server

URLS = ["tcp://127.0.0.1:0", "unix://", "tls://127.0.0.1:0"]
FULL = ["unix://", "tls://127.0.0.1:0"]
OURS, THEIRS = ipcx.tls.self_signed()
SOON = 10
NIGHT = os.environ.get("IPCX_NIGHT") == "1"


def connect(url, **options):
    return ipcx.connect(url, tls=THEIRS if url.startswith("tls") else None, **options)


def serving(url, **options):
    return Server(url, tls=OURS if url.startswith("tls") else None, **options)


@pytest.fixture(params=URLS)
def server(request):
    with serving(request.param) as made:
        yield made


def stranger(url):
    """A socket that may not speak the protocol."""
    scheme, _, where = url.partition("://")
    if scheme == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(where)
    else:
        host, port = where.rsplit(":", 1)
        made = socket.create_connection((host, int(port)))
    made.settimeout(SOON)
    return made


def speaker(server):
    """A stranger whose TLS, if there is any, is in order."""
    raw = stranger(server.url)
    if not server.url.startswith("tls"):
        return raw
    made = THEIRS.wrap_socket(raw, server_hostname="localhost", do_handshake_on_connect=False)
    shaking = threading.Thread(target=made.do_handshake)
    shaking.start()
    until(server, lambda: not shaking.is_alive())
    return made


def serve(server, ready):
    """Looks at events until `ready` says so; all of them."""
    seen = []
    while not ready(seen):
        seen.append(module.Event(*server._event(timeout=SOON)))
    return seen


def until(server, ready):
    """Lets the server work until `ready`, with nothing to tell."""
    for _ in range(2000):
        if ready():
            return
        with suppress(ipcx.Timeout):
            server.receive(timeout=0.005)
    raise AssertionError("it does not come about")


# ---- honest peers


def test_what_a_client_says_is_answered(server):
    with connect(server.url) as client:
        for said in ("a text", b"bytes", "", b"", "ü" * 1000, b"x" * 300_000):
            sender = threading.Thread(target=client.send, args=(said,))
            sender.start()  # a long one goes out as fast as the server takes it
            peer, got = server.receive(timeout=SOON)
            sender.join()
            assert got == said
            assert type(got) is type(said)
            assert peer.send(got) is True
            until(server, client.poll)
            assert client.receive() == said
        assert server.peers == [peer]
        assert peer.id == 1
        assert not peer.closed
        assert peer.reason is None
        assert peer.stats().received == peer.stats().sent == 6
    assert [event.kind for event in serve(server, lambda seen: seen)] == ["leave"]
    assert peer.closed
    assert peer.reason is None
    assert peer.send("too late") is False
    assert server.peers == []


def test_the_same_peer_is_the_same_object_and_keeps_its_data(server):
    with connect(server.url) as client:
        client.send(1 * b"a")
        peer, _ = server.receive(timeout=SOON)
        peer.data = {"turn": 1}
        client.send(b"b")
        again, _ = server.receive(timeout=SOON)
        assert again is peer
        assert again.data == {"turn": 1}
        assert {peer: 1}[again] == 1


def test_several_urls_are_one_server():
    with Server(*URLS, tls=OURS) as server:
        assert len(server.urls) == len(URLS)
        assert server.url == server.urls[0]
        with connect(server.urls[0]) as a, connect(server.urls[1]) as b:
            a.send("a")
            b.send("b")
            got = dict(reversed(server.receive(timeout=SOON)) for _ in range(2))
            assert set(got) == {"a", "b"}
            assert got["a"].pid is None
            assert got["b"].pid == os.getpid()
            assert got["b"].uid == os.getuid()
            assert got["a"].url.startswith("tcp://127.0.0.1:")


def test_a_rendezvous_ends_when_the_message_is_handed_out(server):
    with connect(server.url) as client:
        with pytest.raises(ipcx.Timeout) as caught:
            client.send("first", sync=True, timeout=0)
        assert caught.value.begun
        done = threading.Event()

        def meet():
            client.send("second", sync=True)
            done.set()

        thread = threading.Thread(target=meet)
        thread.start()
        assert server.receive(timeout=SOON)[1] == "first"
        assert not done.is_set()
        assert server.receive(timeout=SOON)[1] == "second"
        assert done.wait(SOON)
        thread.join()


def test_batches(server):
    with connect(server.url) as client:
        client.send_many([b"%d" % n for n in range(1000)])
        got = []
        while len(got) < 1000:
            some = server.receive_many(max=300, timeout=SOON)
            assert 1 <= len(some) <= 300
            got += [message for _, message in some]
        assert got == [b"%d" % n for n in range(1000)]
        with pytest.raises(ipcx.WouldBlock):
            server.receive_many(timeout=0)


def test_time_outs(server):
    with pytest.raises(ipcx.WouldBlock):
        server.receive(timeout=0)
    with pytest.raises(ipcx.Timeout):
        server.receive(timeout=0.001)
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            server.receive(timeout=bad)


def test_a_broadcast_reaches_all_but_one(server):
    clients = [connect(server.url) for _ in range(5)]
    events = serve(server, lambda seen: len(seen) == 5)
    assert server.broadcast("news") == 5
    assert server.broadcast(b"gossip", except_=events[-1].peer) == 4
    for number, client in enumerate(clients):
        assert client.receive(timeout=SOON) == "news"
        if number < 4:
            assert client.receive(timeout=SOON) == b"gossip"
        client.close()
    with pytest.raises(TypeError):
        server.broadcast("x", except_="nobody")


def test_events_tell_who_comes_and_goes(server):
    with connect(server.url) as client:
        client.send("hello")
        events = serve(server, lambda seen: seen and seen[-1].kind == "message")
    events += serve(server, lambda seen: seen)
    assert [event.kind for event in events] == ["join", "message", "leave"]
    assert [event.message for event in events] == [None, "hello", None]
    assert len({event.peer for event in events}) == 1
    server.close()
    assert list(server.events()) == []


# ---- threads, signals, processes


def test_close_ends_the_loops_of_other_threads(server):
    echoed = []

    def loop():
        for peer, message in server:
            echoed.append(message)
            peer.send(message)

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    with connect(server.url) as client:
        client.send_many(str(n) for n in range(100))
        assert sorted(client.receive(timeout=SOON) for _ in range(100)) == sorted(
            map(str, range(100))
        )
    server.close()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()
    assert sorted(echoed, key=int) == [str(n) for n in range(100)]
    with pytest.raises(ipcx.Closed):
        server.receive()
    assert list(server) == []


def test_what_one_thread_is_busy_with_keeps_no_other_waiting(server):
    """A batch that one thread has fetched is handed to the others, too."""
    first, second = threading.Event(), threading.Event()

    def loop():
        for _, message in server:
            if message == "wait":
                first.set()
                assert second.wait(SOON)
            elif message == "go":
                second.set()

    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    with connect(server.url) as client:
        client.send_many(["wait", "go"])
        assert second.wait(SOON)
        server.close()
    for thread in threads:
        thread.join(SOON)


def test_a_signal_interrupts(server):
    class Enough(Exception):
        pass

    def handler(number, frame):
        raise Enough

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        with pytest.raises(Enough):
            server.receive(timeout=SOON)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with connect(server.url) as client:
        client.send("still usable")
        assert server.receive(timeout=SOON)[1] == "still usable"


def test_a_child_gets_forked_error(server):
    with connect(server.url) as client:
        client.send("x")
        peer, _ = server.receive(timeout=SOON)
        child = os.fork()
        if child == 0:
            wrong = 0
            for call in (server.receive, lambda: peer.send("x"), lambda: server.broadcast("x")):
                try:
                    call()
                except ipcx.ForkedError:
                    continue
                wrong += 1
            server.close()
            os._exit(wrong)
        assert os.waitpid(child, 0)[1] == 0
        client.send("the parent's still")
        assert server.receive(timeout=SOON)[1] == "the parent's still"


def test_two_servers_share_a_port():
    with Server("tcp://127.0.0.1:0", reuse_port=True) as one:
        with Server(one.url, reuse_port=True) as other:
            assert other.url == one.url
        with pytest.raises(ipcx.AddressInUse):
            Server(one.url)


# ---- who does not behave


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"IX\x02", b"IX\x01\x01" + bytes(8)])
def test_who_speaks_something_else_is_turned_away_alone(server, said):
    with connect(server.url) as honest, stranger(server.url) as other:
        other.sendall(said)
        until(server, lambda: server.stats().refused == 1)
        honest.send("served")
        assert server.receive(timeout=SOON)[1] == "served"
        with suppress(ConnectionResetError):
            while other.recv(100):
                pass


def hello(max_message=1 << 20):
    payload = b"\1\0\0\0" + max_message.to_bytes(4, "big") + bytes(4)
    return b"IX\x01\x0b\0\0\0\0\0\0\0\x0c" + payload


def data(payload):
    return b"IX\x01\x01\0\0\0\0" + len(payload).to_bytes(4, "big") + payload


def test_a_peer_that_breaks_the_protocol_leaves_with_a_reason(server):
    with speaker(server) as other:
        other.sendall(hello() + data(b"good") + b"nonsense")
        events = serve(server, lambda seen: seen and seen[-1].kind == "leave")
        assert [event.kind for event in events] == ["join", "message", "leave"]
        assert "no frame" in events[-1].peer.reason
        assert server.stats().wrong == 1


def test_silence_and_a_byte_now_and_then():
    server = Server("unix://", handshake_timeout=0.5, progress_timeout=0.5)
    with server, stranger(server.url), stranger(server.url) as slow:
        honest = connect(server.url)
        slow.sendall(hello() + data(b"x" * 100)[:50])
        honest.send("served")
        assert server.receive(timeout=SOON)[1] == "served"
        trickle = iter(range(40))

        def both_are_gone():
            with suppress(OSError):
                if next(trickle, None) is not None:
                    slow.send(b"x")
            return server.stats().refused == server.stats().late == 1

        until(server, both_are_gone)
        assert server.stats().peers == 1
        honest.close()


def test_idle_peers_are_dropped_when_that_was_asked_for():
    with Server("unix://", idle_timeout=0.05) as server, connect(server.url) as client:
        events = serve(server, lambda seen: seen and seen[-1].kind == "leave")
        assert "silent" in events[-1].peer.reason
        assert server.stats().late == 1
        with pytest.raises(ipcx.PeerClosed):
            client.receive(timeout=SOON)


def full(rule, url="unix://"):
    server = serving(url, on_full=rule, max_backlog=100_000)
    client = connect(server.url)
    (event,) = serve(server, lambda seen: seen)
    return server, client, event.peer


@pytest.mark.parametrize("url", FULL)
def test_who_does_not_read_is_disconnected(url):
    server, client, peer = full("disconnect", url)
    with server, client:
        while peer.send(b"x" * 8000):
            assert peer.stats().owed <= 100_000
        assert peer.closed
        assert "did not read" in peer.reason
        assert server.stats().slow + (len(serve(server, lambda seen: seen)) == 1) >= 1


@pytest.mark.parametrize("url", FULL)
@pytest.mark.parametrize("rule", ["drop_newest", "drop_oldest"])
def test_messages_are_dropped_and_counted(rule, url):
    server, client, peer = full(rule, url)
    many = 200 if url == "unix://" else 2000  # TCP's buffers grow
    with server, client:
        answers = [peer.send(b"%06d" % n + b"x" * 8000) for n in range(many)]
        dropped = peer.stats().dropped
        assert dropped > 0
        assert server.stats().dropped == dropped
        assert answers.count(False) == (dropped if rule == "drop_newest" else 0)
        taken = [n for n in range(many) if answers[n]]  # TCP may make room again in between
        got = []
        while len(got) < many - dropped:
            until(server, client.poll)
            got.append(int(client.receive()[:6]))
        assert got == sorted(got)
        assert got[-1] == many - 1 if rule == "drop_oldest" else got == taken


def send_until_it_raises(peer, **options):
    for _ in range(3000):
        peer.send(b"x" * 8000, **options)


@pytest.mark.parametrize("url", FULL)
def test_error_and_block(url):
    server, client, peer = full("error", url)
    with server, client, pytest.raises(ipcx.WouldBlock):
        send_until_it_raises(peer)
    server, client, peer = full("block", url)
    with client:
        with pytest.raises(ipcx.Timeout):
            send_until_it_raises(peer, timeout=0.01)
        sent = peer.stats().sent
        if url == "unix://":  # TCP may take a rest after all
            with pytest.raises(ipcx.Timeout) as caught:
                server.close(timeout=0.01)
            assert 0 < caught.value.unsent < sent
        server.close(timeout=0)
        assert server.closed


def test_a_limit_that_a_peer_names_harms_itself_only(server):
    with speaker(server) as other, connect(server.url) as honest:
        other.sendall(hello(max_message=10) + data(b"more than ten bytes"))
        peer, message = server.receive(timeout=SOON)
        assert peer.send(message) is False
        assert "limit" in peer.reason
        honest.send("served")
        assert server.receive(timeout=SOON)[1] == "served"


def test_no_more_than_max_peers():
    server = Server("tcp://127.0.0.1:0", max_peers=2)
    with server, connect(server.url), connect(server.url):
        serve(server, lambda seen: len(seen) == 2)
        with connect(server.url) as third:
            until(server, lambda: server.stats().refused == 1)
            with pytest.raises(ipcx.PeerClosed):
                third.receive(timeout=SOON)


def test_silent_connections_keep_no_honest_one_out():
    """As many as the limit of descriptors allows, in both ends of one process."""
    many = min(1000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100) // 2 - 50)
    with Server("tcp://127.0.0.1:0", backlog=4096, max_peers=many) as server:
        silent = []
        for n in range(many):
            silent.append(stranger(server.url))
            if n % 100 == 0:
                with pytest.raises(ipcx.WouldBlock):
                    server.receive(timeout=0)
        with connect(server.url) as honest:
            honest.send("served")
            peer, message = server.receive(timeout=SOON)
            assert peer.send(message)
            assert honest.receive(timeout=SOON) == "served"
        assert server.stats().waiting >= many - 2
        for each in silent:
            each.close()


# ---- the end


@pytest.mark.parametrize("url", FULL)
def test_close_sends_what_is_queued_and_says_goodbye(url):
    server, client, peer = full("disconnect", url)
    with client:
        while peer.stats().owed == 0:
            peer.send(b"x" * 8000)
        sent = peer.stats().sent
        closer = threading.Thread(target=server.close, args=(SOON,))
        closer.start()
        assert sum(1 for _ in client) == sent
        closer.join()
    server.close()
    assert server.closed


def test_a_peer_can_be_closed(server):
    with connect(server.url) as client:
        client.send("bye")
        peer, _ = server.receive(timeout=SOON)
        peer.send("last words")
        peer.close()
        assert peer.closed
        assert peer.send("more") is False
        assert list(client) == ["last words"]


def test_what_cannot_be_served_is_not_opened(tmp_path):
    for url in (
        f"file://{tmp_path}/log",
        f"fifo://{tmp_path}/pipe",
        "udp://127.0.0.1:0",
        "shm://a",
    ):
        with pytest.raises(ipcx.Unsupported, match="together with others"):
            Server(url)
    assert list(tmp_path.iterdir()) == []


def test_misuse():
    with pytest.raises(ValueError, match="no URL"):
        Server()
    with pytest.raises(TypeError, match="URL"):
        Server(5)
    with pytest.raises(ipcx.InvalidURL):
        Server("tcp://127.0.0.1:0\0")
    with pytest.raises(ipcx.Unsupported):
        Server("inproc://name")
    with pytest.raises(ipcx.InsecureAddress):
        Server("tcp://0.0.0.0:0")
    with pytest.raises(ValueError, match="on_full"):
        Server("unix://", on_full="explode")
    for name in ("max_peers", "max_backlog", "max_message", "backlog"):
        with pytest.raises(ValueError, match=name):
            Server("unix://", **{name: 0})
    for name in ("idle_timeout", "progress_timeout", "handshake_timeout"):
        with pytest.raises(ValueError, match="timeout"):
            Server("unix://", **{name: -1})
    with Server("unix://") as server, connect(server.url) as client:
        client.send("x")
        peer, _ = server.receive(timeout=SOON)
        with pytest.raises(TypeError, match="str or bytes-like"):
            peer.send({"a": 1})
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(server)
        with pytest.raises(ValueError, match="less than 1"):
            server.receive_many(max=0)


def test_an_unclosed_server_is_collected_with_its_peers():
    server = Server("unix://")
    client = connect(server.url)
    client.send("x")
    peer, _ = server.receive(timeout=SOON)
    peer.data = server
    gone = weakref.ref(peer)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del server, peer
        gc.collect()
        assert ["unclosed" in str(each.message) for each in said] == [True]
        said.clear()  # the warning holds the server
        gc.collect()
    assert gone() is None
    with pytest.raises(ipcx.PeerClosed):
        client.receive(timeout=SOON)
    client.close()


# ---- asyncio


def test_async_for():
    async def main():
        async with aio.Server("tcp://127.0.0.1:0", "unix://") as server:

            async def echo():
                async for peer, message in server:
                    peer.send(message.upper())

            task = asyncio.create_task(echo())
            for url in server.urls:
                async with aio.connect(url) as client:
                    for _ in range(3):
                        await client.send("hello")
                        assert await client.receive() == "HELLO"
            assert server.stats().received == 6
            await server.close()
            await task
            assert server.closed
            with pytest.raises(ipcx.Closed):
                await server.receive()

    asyncio.run(main())


def test_async_time_outs():
    async def main():
        async with aio.Server("unix://") as server:
            with pytest.raises(ipcx.Timeout):
                await server.receive(timeout=0.001)
            with pytest.raises(ipcx.WouldBlock):
                await server.receive(timeout=0)
            assert server.broadcast("nobody") == 0
            assert server.peers == []
            assert server.fileno() >= 0

    asyncio.run(main())


# ---- the example


def test_the_chat_room():
    folder = Path(__file__).parent.parent / "examples/server"

    def start(name, *arguments):
        return subprocess.Popen(
            [sys.executable, folder / f"{name}.py", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    with start("chat_server") as room:
        url = room.stdout.readline().strip()
        with start("chat_client", url) as ada:
            assert ada.stdout.readline() == "You are guest 1, of 1.\n"
            with start("chat_client", url) as bob:
                assert bob.stdout.readline() == "You are guest 2, of 2.\n"
                bob.stdin.write("hello\n")
                bob.stdin.close()
                assert ada.stdout.readline() == "guest 2: hello\n"
                assert ada.stdout.readline() == "guest 2 has left.\n"
            ada.stdin.write("the end\n")
            ada.stdin.close()
        assert room.stdout.read() == "served 2\n"
        assert room.wait() == 0
