# SPDX-License-Identifier: Apache-2.0
"""listen, connect, accept: in one thread, with silent and rude peers, twice on an address."""

import os
import resource
import select
import socket
import stat
import time

import pytest

import ipcx
from contract import wire
from contract.kit import NIGHT, Kit
from socket_help import GUARD, until

pytestmark = pytest.mark.needs("listen")


@pytest.mark.needs("duplex")
def test_listen_connect_accept_in_one_thread(kit: Kit) -> None:
    listener = kit.listener()
    one = kit.connect(listener.url)
    two = kit.accept(listener)
    one.send(b"there")
    assert two.receive(timeout=GUARD) == b"there"
    two.send(b"and back")
    assert one.receive(timeout=GUARD) == b"and back"
    assert two.url.startswith(kit.transport.url)
    assert one.url == listener.url


@pytest.mark.needs("peers")
def test_sending_before_accept(kit: Kit) -> None:
    listener = kit.listener()
    one = kit.connect(listener.url)
    one.send(b"early")
    one.send("bird")
    two = kit.accept(listener)
    one.close()
    assert list(two) == [b"early", "bird"]


@pytest.mark.needs("leaves", "peers")
def test_goodbye_before_accept(kit: Kit) -> None:
    listener = kit.listener()
    one = kit.connect(listener.url)
    one.send(b"early")
    one.send("bird")
    one.close()
    assert list(kit.accept(listener)) == [b"early", "bird"]


@pytest.mark.needs("peers")
def test_several_peers(kit: Kit) -> None:
    listener = kit.listener()
    ends = [kit.connect(listener.url) for _ in range(5)]
    for number, end in enumerate(ends):
        end.send(b"%d" % number)
    accepted = [kit.accept(listener) for _ in range(5)]
    for one in accepted:
        one.send(one.receive(timeout=GUARD))
    assert [end.receive(timeout=GUARD) for end in ends] == [b"%d" % n for n in range(5)]
    assert listener.stats().accepted == 5
    assert listener.stats().dropped == 0


def test_the_url_is_the_real_one(kit: Kit) -> None:
    listener = kit.listener()
    assert listener.url.startswith(kit.transport.url)
    assert not listener.url.endswith(":0")


def test_accept_times_out(kit: Kit) -> None:
    listener = kit.listener()
    with pytest.raises(ipcx.WouldBlock):
        listener.accept(timeout=0)
    for seconds in (0.001, 0.03):
        started = time.monotonic()
        with pytest.raises(ipcx.Timeout) as caught:
            listener.accept(timeout=seconds)
        assert type(caught.value) is ipcx.Timeout
        assert time.monotonic() - started >= seconds
    with pytest.raises(ValueError, match="timeout"):
        listener.accept(timeout=-1)
    kit.still_works(*kit.connected(listener))


def test_accept_waits(kit: Kit) -> None:
    listener = kit.listener()
    waiting = kit.waiting(listener.accept)
    one = kit.connect(listener.url)
    kit.still_works(one, kit.keep(waiting.finish()))


@pytest.mark.needs("peers")
def test_several_threads_accept(kit: Kit) -> None:
    listener = kit.listener()
    threads = [kit.waiting(listener.accept) for _ in range(3)]
    ends = [kit.connect(listener.url) for _ in range(3)]
    for number, end in enumerate(ends):
        end.send(b"%d" % number)
    got = [kit.keep(thread.finish()).receive(timeout=GUARD) for thread in threads]
    assert sorted(got) == [b"0", b"1", b"2"]


def test_close_ends_accept(kit: Kit) -> None:
    listener = kit.listener()
    threads = [kit.waiting(listener.accept) for _ in range(2)]
    threads.append(kit.waiting(listener.accept, timeout=60))
    listener.close()
    for thread in threads:
        with pytest.raises(ipcx.Closed):
            thread.finish()
    assert listener.closed
    listener.close()
    with pytest.raises(ipcx.Closed):
        listener.accept(timeout=0)


@pytest.mark.needs("peers")
def test_iteration_until_closed(kit: Kit) -> None:
    listener = kit.listener()
    got: list = []

    def serve() -> None:
        for channel in listener:
            got.append(kit.keep(channel).receive(timeout=GUARD))

    serving = kit.waiting(serve)
    for word in ("one", "two"):
        kit.connect(listener.url).send(word)
    until(lambda: len(got) == 2, "the second message")
    listener.close()
    serving.finish()
    assert sorted(got) == ["one", "two"]


def test_with_closes(kit: Kit) -> None:
    with kit.listener() as listener:
        url = listener.url
        one, two = kit.connected(listener)
    assert listener.closed
    kit.still_works(one, two)  # those it has accepted live on
    with pytest.raises(ipcx.ConnectRefused):
        kit.connect(url)


def test_nobody_listens(kit: Kit) -> None:
    """Refused at once, with the address in the text."""
    listener = kit.listener()
    url = listener.url
    listener.close()
    with pytest.raises(ipcx.ConnectRefused) as caught:
        kit.connect(url)
    assert isinstance(caught.value, ConnectionRefusedError)
    assert url in str(caught.value)


def test_two_listeners_on_one_address(kit: Kit) -> None:
    """The second is refused and the first does not notice; later the address is free."""
    first = kit.listener()
    with pytest.raises(ipcx.AddressInUse) as caught:
        kit.listener(first.url)
    assert isinstance(caught.value, OSError)
    kit.still_works(*kit.connected(first))
    first.close()
    kit.still_works(*kit.connected(kit.listener(first.url)))


@pytest.mark.needs("duplex")
def test_a_peer_that_never_was_accepted(kit: Kit) -> None:
    """It sees the end when the listener closes."""
    listener = kit.listener()
    one = kit.connect(listener.url)
    one.send(b"anybody?")
    listener.close()
    with pytest.raises(ipcx.PeerClosed):
        one.receive(timeout=GUARD)


@pytest.mark.drivers("sync")
def test_the_listeners_fileno(kit: Kit) -> None:
    listener = kit.listener()
    fd = listener.fileno()
    assert fd == listener.fileno() >= 0
    assert not select.select([fd], [], [], 0)[0]
    one = kit.connect(listener.url)
    two = None
    while two is None:
        assert select.select([fd], [], [], GUARD)[0]
        try:
            two = kit.accept(listener, timeout=0)
        except ipcx.WouldBlock:
            continue
    kit.still_works(one, two)
    listener.close()
    with pytest.raises(ipcx.Closed):
        listener.fileno()


def test_connect_takes_a_timeout(kit: Kit) -> None:
    listener = kit.listener()
    for timeout in (0.5, None, GUARD):
        kit.connect(listener.url, timeout=timeout)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            kit.connect(listener.url, timeout=timeout)


@pytest.mark.needs("copies", "limits")
def test_limits_of_both_sides(kit: Kit) -> None:
    """A sender is refused what its peer does not take, once it knows."""
    listener = kit.listener(max_message=5000)
    one = kit.connect(listener.url, max_message=20_000)
    two = kit.accept(listener)
    two.send(bytes(20_000))
    assert len(one.receive(timeout=GUARD)) == 20_000
    with pytest.raises(ipcx.MessageTooLarge):
        one.send(bytes(5001))
    one.send(bytes(5000))
    assert len(two.receive(timeout=GUARD)) == 5000
    with pytest.raises(ipcx.MessageTooLarge):
        two.send(bytes(20_001))


# ---- Unix paths


@pytest.mark.schemes("unix://")
def test_unix_makes_a_path_of_its_own(kit: Kit, monkeypatch) -> None:
    """In the user's runtime directory, for the user alone, and takes it away again."""
    folder = kit.folder()
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    listener = kit.listener("unix://")
    path = listener.url.removeprefix("unix://")
    assert path.startswith(folder)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    kit.still_works(*kit.connected(listener))
    listener.close()
    assert not os.path.exists(path)


@pytest.mark.schemes("unix://")
def test_a_path_that_is_something_else(kit: Kit) -> None:
    """Not ours to remove."""
    path = f"{kit.folder()}/file"
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(OSError, match="left alone"):
        kit.listener(f"unix://{path}")
    with open(path) as file:
        assert file.read() == "precious"
    with pytest.raises(ipcx.ConnectRefused):
        kit.connect(f"unix://{kit.folder()}/missing")


@pytest.mark.schemes("unix://")
def test_a_path_that_is_too_long(kit: Kit) -> None:
    """Refused, never cut."""
    url = f"unix://{kit.folder()}/{'x' * 200}"
    with pytest.raises((ipcx.InvalidURL, OSError)):
        kit.listener(url)
    with pytest.raises((ipcx.InvalidURL, OSError)):
        kit.connect(url)
    assert os.listdir(kit.folder()) == []


# ---- the network


@pytest.mark.schemes("tcp://")
def test_an_address_that_is_open_to_the_network(kit: Kit) -> None:
    for host in ("0.0.0.0", "[::]"):
        with pytest.raises(ipcx.InsecureAddress):
            kit.listener(f"tcp://{host}:0")
    listener = kit.listener("tcp://0.0.0.0:0", insecure=True)
    port = listener.url.rpartition(":")[2]
    one = kit.connect(f"tcp://127.0.0.1:{port}")
    kit.still_works(one, kit.accept(listener))


@pytest.mark.schemes("tcp://")
def test_names_of_the_loopback(kit: Kit) -> None:
    listener = kit.listener("tcp://localhost:0")
    kit.still_works(*kit.connected(listener))


# ---- peers that do not speak the protocol


@pytest.mark.needs("bytes")
@pytest.mark.hang_guard(60)
def test_silent_peers_delay_nobody(kit: Kit) -> None:
    listener = kit.listener()
    silent = [kit.raw_to(listener.url) for _ in range(400 if NIGHT else 20)]
    for number, raw in enumerate(silent):
        raw.send(wire.hello()[: number % 24])  # some have begun to say hello
    kit.still_works(*kit.connected(listener))
    stats = listener.stats()
    assert (stats.accepted, stats.dropped) == (1, 0)
    assert stats.waiting == len(silent)
    # Who speaks late is welcome.
    silent[5].send(wire.hello()[5:] + wire.frame(b"late"))
    assert kit.accept(listener).receive(timeout=GUARD) == b"late"


@pytest.mark.needs("bytes")
def test_silent_peers_are_dropped(kit: Kit) -> None:
    listener = kit.listener(handshake_timeout=0.05)
    silent = [kit.raw_to(listener.url) for _ in range(10)]
    for raw in silent[5:]:
        raw.send(wire.hello()[:11])
    with pytest.raises(ipcx.Timeout):
        listener.accept(timeout=0.3)
    assert listener.stats().dropped == 10
    assert listener.stats().waiting == 0
    for raw in silent:
        raw.until_end()
    kit.still_works(*kit.connected(listener))


@pytest.mark.needs("bytes")
def test_an_accept_that_waits_drops_silent_peers(kit: Kit) -> None:
    """Without a time-out of its own, too."""
    listener = kit.listener(handshake_timeout=0.05)
    waiting = kit.waiting(listener.accept)
    raw = kit.raw_to(listener.url)
    raw.until_end()
    one = kit.connect(listener.url)
    kit.still_works(one, kit.keep(waiting.finish()))
    assert listener.stats().dropped == 1


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(4096),
    "tls": bytes.fromhex("16030100f0010000ec0303") + os.urandom(64),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a message without hello": wire.frame(b"hello?"),
    "goodbye": wire.frame(type=wire.BYE),
    "an empty hello": wire.frame(type=wire.HELLO),
    "version 0": wire.hello(max_version=0),
    "a hello of version 2": wire.hello().replace(b"IX\x01", b"IX\x02", 1),
    "a long hello": wire.frame(bytes(8192), wire.HELLO),
    "a bomb": wire.frame(b"", wire.HELLO, length=0xFFFFFFFF),
    "a half hello, and the end": None,
}


@pytest.mark.needs("bytes")
@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_speakers_are_dropped(kit: Kit, what: str) -> None:
    listener = kit.listener()
    raw = kit.raw_to(listener.url)
    raw.send(GARBAGE[what] or wire.hello()[:10])
    if GARBAGE[what] is None:
        raw.close()
    kit.still_works(*kit.connected(listener))
    with pytest.raises(ipcx.WouldBlock):
        listener.accept(timeout=0)
    stats = listener.stats()
    assert (stats.accepted, stats.dropped, stats.waiting) == (1, 1, 0)
    if GARBAGE[what]:
        raw.until_end()


@pytest.mark.needs("bytes")
def test_a_hello_byte_by_byte(kit: Kit) -> None:
    listener = kit.listener()
    raw = kit.raw_to(listener.url)
    for at in range(len(wire.hello())):
        with pytest.raises(ipcx.WouldBlock):
            listener.accept(timeout=0)
        raw.send(wire.hello()[at : at + 1])
    channel = kit.accept(listener)
    raw.send(wire.frame(b"x"))
    assert channel.receive(timeout=GUARD) == b"x"


@pytest.mark.needs("bytes")
def test_a_connector_that_meets_something_else(kit: Kit) -> None:
    """Somebody listens there, and it is no channel."""
    unix = kit.transport.url == "unix://"
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as server:
        server.bind(f"{kit.folder()}/other" if unix else ("127.0.0.1", 0))
        server.listen()
        name = server.getsockname()
        one = kit.connect(f"unix://{name}" if unix else f"tcp://127.0.0.1:{name[1]}")
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"220 mail.example.org ESMTP\r\n")
            with pytest.raises(ipcx.ProtocolError, match="at byte 0") as caught:
                one.receive(timeout=GUARD)
            assert caught.value.offset == 0


@pytest.mark.night
@pytest.mark.needs("bytes")
@pytest.mark.drivers("sync")
@pytest.mark.hang_guard(60)
def test_a_thousand_silent_peers(kit: Kit) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        listener = kit.listener(handshake_timeout=2.0, backlog=1100)
        silent = [kit.raw_to(listener.url) for _ in range(1000)]
        kit.still_works(*kit.connected(listener))
        with pytest.raises(ipcx.Timeout):
            listener.accept(timeout=4.0)
        assert listener.stats().dropped == 1000
        for raw in silent:
            raw.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
