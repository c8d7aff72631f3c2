# SPDX-License-Identifier: Apache-2.0
"""Peers that go away, reset, close one half, or were never there; limits of the process."""

import errno
import os
import select
import socket as stdlib
import struct

import pytest
from test_socket_transfer import RECEIVERS, SENDERS

from ipcx import socket as ours
from socket_help import STREAMS, Background, Kit, attempt, both, same, until

TIMEOUTS = (None, 8.0, 0.0)
streams = pytest.mark.parametrize("kind", STREAMS)
each_timeout = pytest.mark.parametrize("timeout", TIMEOUTS)
LINGER_0 = struct.pack("ii", 1, 0)


def seen(sock, events: int) -> None:
    poll = select.poll()
    poll.register(sock.fileno(), events)
    assert poll.poll(8000)


def reset_by_peer(kit: Kit):
    one, two = kit.pair("tcp4")
    two.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, LINGER_0)
    two.close()
    seen(one, select.POLLIN)
    return one


@each_timeout
@pytest.mark.parametrize("verb", [*RECEIVERS, *SENDERS])
def test_peer_resets(verb: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        one = reset_by_peer(kit)
        one.settimeout(timeout)
        if verb in RECEIVERS:
            return [attempt(RECEIVERS[verb], one) for _ in range(2)]
        return [attempt(SENDERS[verb], one, b"message") for _ in range(2)]

    same(scenario)


@each_timeout
def test_extras_tell_a_reset(timeout: float | None) -> None:
    for verb, args in [("recv_exactly", (8,)), ("recv_until", (b"\n",))]:
        with Kit(ours) as kit:
            one = reset_by_peer(kit)
            one.settimeout(timeout)
            with pytest.raises(ConnectionResetError, match="Errno 104"):
                getattr(one, verb)(*args)


@pytest.mark.parametrize("timeout", [None, 8.0])
def test_peer_resets_while_one_waits(timeout: float | None) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("tcp4")
        one.settimeout(timeout)
        waiter = Background(one.recv, 1).until_blocked()
        two.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, LINGER_0)
        two.close()
        return attempt(waiter.finish), one.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_ERROR)

    same(scenario)


@pytest.mark.parametrize("timeout", [None, 8.0])
def test_unix_peer_closes_with_unread_data(timeout: float | None) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("unix")
        one.send(b"unread")
        two.close()
        one.settimeout(timeout)
        return attempt(one.recv, 9), attempt(one.recv, 9), attempt(one.send, b"x")

    same(scenario)


@streams
@each_timeout
@pytest.mark.parametrize("verb", SENDERS)
def test_send_to_a_closed_peer(kind: str, timeout: float | None, verb: str) -> None:
    """EPIPE at the latest with the second one, and no SIGPIPE."""

    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        two.close()
        seen(one, select.POLLIN)
        one.settimeout(timeout)
        told = [attempt(SENDERS[verb], one, b"message")]
        if kind != "unix":
            seen(one, select.POLLHUP)
        return [*told, attempt(SENDERS[verb], one, b"message")]

    same(scenario)


@streams
@each_timeout
def test_half_open_peer(kind: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        one.shutdown(stdlib.SHUT_WR)
        one.settimeout(timeout)
        told = [attempt(SENDERS[name], one, b"x") for name in SENDERS]
        told.append(two.recv(9))
        two.send(b"still here")
        seen(one, select.POLLIN)
        told.append(one.recv(99))
        one.shutdown(stdlib.SHUT_RD)
        told.append(attempt(one.recv, 9))
        return [*told, attempt(one.shutdown, stdlib.SHUT_RDWR), attempt(two.shutdown, 1)]

    same(scenario)


@streams
def test_shutdown_of_what_is_not_connected(kind: str) -> None:
    def scenario(kit: Kit):
        return [attempt(kit.of(kind).shutdown, how) for how in (0, 1, 2, 3)]

    same(scenario)


@pytest.mark.parametrize("kind", ["udp4", "udp6"])
@each_timeout
def test_datagram_to_nobody(kind: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        told = []
        for verb in [*RECEIVERS, *SENDERS]:
            nobody = kit.bound(kind)
            one = kit.of(kind)
            one.connect(nobody.getsockname())
            nobody.close()
            one.send(b"lost")
            seen(one, select.POLLERR)
            one.settimeout(timeout)
            call = RECEIVERS.get(verb)
            told.append(attempt(call, one) if call else attempt(SENDERS[verb], one, b"x"))
            told.append(one.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_ERROR))
        return told

    same(scenario)


@each_timeout
def test_unix_datagram_to_nobody(timeout: float | None) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("unix-dgram")
        two.close()
        one.settimeout(timeout)
        told = [attempt(SENDERS[name], one, b"x") for name in SENDERS]
        three = kit.of("unix-dgram")
        three.settimeout(timeout)
        return [*told, attempt(three.sendto, b"x", "\0ipcx-nobody"), attempt(three.send, b"x")]

    same(scenario)


def test_unix_datagram_whose_peer_talks_to_another() -> None:
    def scenario(kit: Kit):
        one, two = kit.bound("unix-dgram"), kit.bound("unix-dgram")
        three = kit.bound("unix-dgram")
        two.connect(three.getsockname())
        return attempt(one.sendto, b"x", two.getsockname()), attempt(
            one.connect_ex, two.getsockname()
        )

    same(scenario)


def test_names_of_the_gone() -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("tcp4")
        two.close()
        seen(one, select.POLLIN)
        return attempt(one.getpeername)[0], attempt(kit.of("tcp4").getpeername)

    same(scenario)


@both
def test_accepted_connection_that_was_reset_before(net) -> None:
    with Kit(net) as kit:
        listener, client = kit.listener("tcp4"), kit.of("tcp4")
        client.connect(listener.getsockname())
        client.setsockopt(net.SOL_SOCKET, net.SO_LINGER, LINGER_0)
        client.close()
        conn = kit.keep(listener.accept()[0])
        with pytest.raises(ConnectionResetError):
            conn.recv(1)


@both
def test_type_of_each_error(net) -> None:
    """The subclass of OSError follows errno."""
    with Kit(net) as kit:
        one, two = kit.pair()
        two.close()
        with pytest.raises(BrokenPipeError) as info:
            one.send(b"x")
        assert info.value.errno == errno.EPIPE
        with pytest.raises(FileNotFoundError):
            kit.of("unix").connect("/nonexistent/name")
        with pytest.raises(PermissionError):
            kit.of("udp4").sendto(b"x", ("255.255.255.255", 9))
        three = kit.bound("tcp4")
        with pytest.raises(OSError, match="Errno 98") as other:
            kit.of("tcp4").bind(three.getsockname())
        assert type(other.value) is OSError


@both
def test_half_read_connection_keeps_the_rest(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair("tcp4")
        two.sendall(b"0123456789")
        two.close()
        assert one.recv(4) == b"0123"
        assert one.recv_into(bytearray(2)) == 2
        assert one.recv(99) == b"6789"
        assert one.recv(99) == b""


# ---- limits of the process


LIMITED = """
import os, resource, socket as stdlib, sys
sys.path.insert(0, "tests")
from socket_help import MODULES, Kit, attempt, raised
net = MODULES[sys.argv[1]]
import select, array
with Kit(net) as kit:
    listener = kit.listener("tcp4")
    client = kit.of("tcp4")
    client.connect(listener.getsockname())
    one, two = kit.pair()
    used = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    told = [
        attempt(net.socket), attempt(net.socket, net.AF_UNIX), attempt(net.socketpair),
        attempt(one.dup), attempt(net.fromfd, 0, 1, 1), attempt(listener.accept),
        attempt(net.create_server, ("127.0.0.1", 0)),
        attempt(net.create_connection, listener.getsockname()),
    ]
    listener.settimeout(1)
    told.append(attempt(listener.accept))
    one.settimeout(0.01)
    told += [attempt(one.recv, 1), attempt(one.send, b"x"), two.recv(9)]
    one.settimeout(None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in held:
        os.close(fd)
    conn, _ = listener.accept()
    conn.close()
    assert len(os.listdir("/proc/self/fd")) == used
print(told)
"""


def test_no_descriptor_left(spawn) -> None:
    """EMFILE wherever one is made, and what needs none goes on working."""
    children = [spawn("-c", LIMITED, module) for module in ("stdlib", "ipcx")]
    theirs, ours = (child.communicate(timeout=10)[0] for child in children)
    assert "Errno 24" in theirs
    assert ours == theirs


THREADS_WITHOUT_DESCRIPTORS = """
import os, resource, sys, threading, time
sys.path.insert(0, "tests")
from socket_help import MODULES, Background, Kit
net = MODULES[sys.argv[1]]
with Kit(net) as kit:
    one, two = kit.pair()
    warm, up = kit.pair()
    waiter = Background(warm.recv, 1).until_blocked()
    go = threading.Event()
    reader = threading.Thread(target=lambda: (go.wait(), print(one.recv(9))))
    reader.start()
    state = os.open(f"/proc/self/task/{reader.native_id}/syscall", os.O_RDONLY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    go.set()
    while os.pread(state, 99, 0).split()[0] in (b"202", b"running"):
        time.sleep(0.001)
    two.send(b"came")
    reader.join()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in held:
        os.close(fd)
    up.send(b"x")
    waiter.finish()
"""


@pytest.mark.parametrize("module", ["stdlib", "ipcx"])
def test_a_wait_without_a_descriptor_left_still_receives(spawn, module: str) -> None:
    """The wake-up descriptor of a wait cannot be made: the call waits as the stdlib's does."""
    out, _ = spawn("-c", THREADS_WITHOUT_DESCRIPTORS, module).communicate(timeout=10)
    assert out == "b'came'\n"


@both
def test_open_files_of_this_process_are_as_many_as_before(net) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with Kit(net) as kit:
        for kind in (*STREAMS, "udp4", "unix-dgram", "seqpacket"):
            kit.pair(kind)
    until(lambda: set(os.listdir("/proc/self/fd")) == before)
