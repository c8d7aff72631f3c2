"""A server among those who mean harm: who does it is dropped, the others are served as before."""

import contextlib
import os
import resource
import subprocess
import sys
import threading

import pytest
from test_server import NIGHT, SOON, data, hello, stranger, until

import ipcx
from ipcx.server import Server

KIB, MIB = 1 << 10, 1 << 20


@contextlib.contextmanager
def echoing(*urls, **options):
    """A server that answers in a thread."""
    with Server(*urls, **options) as server:
        loop = threading.Thread(target=lambda: [peer.send(said) for peer, said in server])
        loop.start()
        try:
            yield server
        finally:
            server.close()
            loop.join()


def is_served(client, times=20):
    for n in range(times):
        client.send(str(n))
        assert client.receive(timeout=SOON) == str(n)


def own_memory():
    """Bytes of this process that are its alone."""
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * KIB


# ---- thousands that say nothing

SILENT = """
import socket, sys
port, many = map(int, sys.argv[1:])
silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(many)]
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def silent_ones(url, many):
    """Connections that say nothing, of a second process."""
    command = [sys.executable, "-c", SILENT, url.rpartition(":")[2], str(many)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as others:
        try:
            assert others.stdout.readline() == b"ready\n"
            yield others
        finally:
            others.stdin.close()


@pytest.mark.hang_guard(120)
def test_ten_thousand_silent_connections():
    """As many as RLIMIT_NOFILE allows; by day a tenth of them."""
    many = min(9_900, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
    many = many if NIGHT else min(many, 1000)
    with (
        echoing("tcp://127.0.0.1:0", backlog=4096, handshake_timeout=100) as server,
        ipcx.connect(server.url) as before,
    ):
        is_served(before)
        memory = own_memory()
        with silent_ones(server.url, many):
            is_served(before)
            with ipcx.connect(server.url) as newcomer:
                is_served(newcomer)
            while server.stats().waiting < many:
                is_served(before)
            assert (own_memory() - memory) / many < 8 * KIB
        is_served(before)


def test_without_a_descriptor_for_newcomers():
    """EMFILE in accept: who is there is served; the silent make room; then all goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        Server("tcp://127.0.0.1:0") as server,
        ipcx.connect(server.url) as honest,
        contextlib.ExitStack() as stack,
    ):
        until(server, lambda: server.stats().peers == 1)
        others = [ipcx.connect(server.url) for _ in range(8)]
        for other in others:
            stack.enter_context(other)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
        try:
            until(server, lambda: server.stats().crowded > 0)
            honest.send("still served")
            assert server.receive(timeout=SOON)[1] == "still served"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        until(server, lambda: server.stats().peers == 9)


# ---- memory


def header(length):
    return b"IX\x01\x01\0\0\0\0" + length.to_bytes(4, "big")


def test_length_bombs():
    """What a header promises costs nothing: what is over the limit, and what is not."""
    with (
        echoing("unix://", max_message=64 * MIB) as server,
        ipcx.connect(server.url) as honest,
        contextlib.ExitStack() as stack,
    ):
        is_served(honest)
        memory = own_memory()
        bombs = [stack.enter_context(stranger(server.url)) for _ in range(100)]
        for bomb in bombs[:50]:
            bomb.sendall(hello() + header(64 * MIB) + b"boom")
        for bomb in bombs[50:]:
            bomb.sendall(hello() + header(65 * MIB))
        while server.stats().wrong < 50:
            is_served(honest)
        assert server.stats().memory <= 50 * 64 * KIB
        assert own_memory() - memory < 16 * MIB


def test_who_holds_most_is_dropped_when_max_memory_is_used_up():
    with (
        Server("unix://", max_memory=MIB) as server,
        stranger(server.url) as little,
        stranger(server.url) as much,
        stranger(server.url) as more,
    ):
        little.sendall(hello() + data(b"x" * 20_000)[:10_000])
        much.sendall(hello() + header(MIB))
        until(server, lambda: server.stats().peers >= 2)
        much.sendall(b"x" * 160 * KIB)
        until(server, lambda: server.stats().memory >= 160 * KIB)
        assert server.stats().greedy == 0
        more.sendall(hello() + header(8 * MIB))
        with pytest.raises(OSError, match=r"reset|pipe"):
            send_on(more, server)
        assert server.stats().greedy == 1
        assert server.stats().memory <= MIB
        little.sendall(data(b"x" * 20_000)[10_000:])  # the others are not disturbed
        assert len(server.receive(timeout=SOON)[1]) == 20_000


def send_on(sock, server):
    """Bytes of one message until nobody takes them any more."""
    while True:
        sock.sendall(b"x" * 64 * KIB)
        with contextlib.suppress(ipcx.WouldBlock):
            server.receive(timeout=0)


def test_readers_that_never_read():
    """Each stays within max_backlog; together they exceed max_memory, and one by one they go."""
    options = {"max_backlog": 4 * MIB, "max_memory": 2 * MIB}
    with Server("unix://", **options) as server, contextlib.ExitStack() as stack:
        _ = [stack.enter_context(ipcx.connect(server.url)) for _ in range(5)]
        until(server, lambda: server.stats().peers == 5)
        peers = server.peers
        for _ in range(200):
            server.broadcast(b"x" * 8000)
            assert server.stats().memory <= 2 * MIB + 5 * 9000
            with contextlib.suppress(ipcx.WouldBlock):
                server.receive(timeout=0)
        stats = server.stats()
        assert 0 < stats.greedy < 5
        assert stats.slow == 0
        dropped = [peer for peer in peers if peer.closed]
        assert len(dropped) == stats.greedy
        assert {peer.reason for peer in dropped} == {
            "max_memory was used up, and it had most of it"
        }


def test_a_server_is_not_used_up_by_the_honest():
    """Many peers with a little each, far under max_memory together, are all served."""
    with echoing("unix://", max_memory=16 * MIB) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(ipcx.connect(server.url)) for _ in range(50)]
        for client in clients:
            client.send(b"x" * 100_000)
        for client in clients:
            assert len(client.receive(timeout=SOON)) == 100_000
        assert server.stats().greedy == 0
        assert server.stats().memory == 0


# ---- addresses


def test_a_taken_port_and_port_0():
    with Server("tcp://127.0.0.1:0") as one, Server("tcp://127.0.0.1:0") as other:
        assert one.url != other.url
        assert not one.url.endswith(":0")
        with pytest.raises(ipcx.AddressInUse, match="listens"):
            Server(one.url)
        with ipcx.connect(one.url) as client:  # the attempt has harmed nobody
            client.send("x")
            assert one.receive(timeout=SOON)[1] == "x"


@pytest.mark.parametrize("option", ["max_memory", "max_peers", "max_backlog"])
@pytest.mark.parametrize("value", [0, -1])
def test_bad_limits(option, value):
    with pytest.raises(ValueError, match="at least 1"):
        Server("unix://", **{option: value})
