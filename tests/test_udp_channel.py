# SPDX-License-Identifier: Apache-2.0
"""udp://: what is lost, late or doubled is counted; strangers, garbage and refusals do no harm.

`Relay` is a network that does as the test says; `Raw` a peer that says whatever the test wants.
What every transport does is in the contract suite (tests/contract/).
"""

import contextlib
import itertools
import os
import random
import socket
import struct

import pytest

import ipcx
from contract import wire
from socket_help import GUARD, HAS_IPV6, Background, until

EXTENSION = struct.Struct("!QQQ")


def datagram(
    payload=b"", sequence=1, *, epoch=77, to=0, sync=False, extension=None, **how
) -> bytes:
    """One frame as docs/protocol.md has it, put together by hand."""
    if extension is None:
        extension = EXTENSION.pack(epoch, to, sequence)
    if sync:
        how = {"flags": wire.SYNC, "correlation": sequence, **how}
    return wire.frame(payload, extension=extension, **how)


class Relay:
    """Between a connector and a listener; what the connector sends waits in `held`."""

    def __init__(self, url: str) -> None:
        self.near, self.far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab")
        self.near.bind(("127.0.0.1", 0))
        self.url = f"udp://127.0.0.1:{self.near.getsockname()[1]}"
        self.far.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        self.client = None
        self.held: list[bytes] = []
        for sock in (self.near, self.far):
            sock.settimeout(GUARD)

    def take(self, count: int) -> list[bytes]:
        """The next datagrams of the connector."""
        taken = []
        for _ in range(count):
            data, self.client = self.near.recvfrom(65535)
            taken.append(data)
        return taken

    def give(self, datagrams) -> None:
        for one in datagrams:
            self.far.send(one)

    def back(self, deliver: bool = True) -> bytes:
        """One datagram of the listener's side, to the connector."""
        data = self.far.recv(65535)
        if deliver:
            self.near.sendto(data, self.client)
        return data

    def close(self) -> None:
        self.near.close()
        self.far.close()


class Raw:
    """A socket that a listener takes for a peer."""

    def __init__(self, url: str) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(GUARD)
        self.sock.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        self.send, self.close = self.sock.send, self.sock.close


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def listener(stack):
    return stack.enter_context(ipcx.listen("udp://127.0.0.1:0"))


def keep(stack, channel):
    stack.callback(channel.close, 0)
    return channel


@pytest.fixture
def relayed(stack, listener):
    """(connector, relay, accepted), after the connector's announcement."""
    relay = stack.enter_context(contextlib.closing(Relay(listener.url)))
    one = keep(stack, ipcx.connect(relay.url))
    relay.give(relay.take(1))
    two = keep(stack, listener.accept(timeout=GUARD))
    relay.back()  # its PONG
    return one, relay, two


@pytest.fixture
def raw(stack, listener):
    """(a raw peer, the channel that was accepted for it) after the message "first", number 1."""
    made = stack.enter_context(contextlib.closing(Raw(listener.url)))
    made.send(datagram(b"first"))
    channel = keep(stack, listener.accept(timeout=GUARD))
    assert channel.receive(timeout=GUARD) == b"first"
    return made, channel


def losses(channel) -> tuple:
    stats = channel.stats()
    assert len(stats) == 8
    return stats.lost, stats.reordered, stats.duplicates, stats.dropped, stats.overflowed


def everything(channel) -> list:
    got = []
    while channel.poll():
        got += channel.receive_many(timeout=0)
    return got


# ---- counted exactly


def test_what_a_network_loses_doubles_and_reorders(relayed) -> None:
    one, relay, two = relayed
    one.send_many(b"%d" % n for n in range(1, 11))
    held = relay.take(10)
    order = [1, 3, 2, 2, 5, 5, 9, 4, 10]  # 6, 7 and 8 are lost
    relay.give(held[n - 1] for n in order)
    assert everything(two) == [b"1", b"3", b"2", b"5", b"9", b"4", b"10"]
    stats = two.stats()
    assert (stats.lost, stats.reordered, stats.duplicates) == (3, 2, 2)
    relay.give([held[6]])  # late is not lost
    assert two.receive(timeout=GUARD) == b"7"
    assert losses(two) == (2, 3, 2, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_network_against_a_model(relayed, seed: int) -> None:
    one, relay, two = relayed
    chance = random.Random(seed)
    sent, got, seen, late, doubles, highest = 0, [], set(), 0, 0, 0
    for _ in range(40):
        one.send_many(b"%d" % n for n in range(sent + 1, sent + 21))
        held = list(enumerate(relay.take(20), sent + 1))
        sent += 20
        arriving = [pair for pair in held for _ in range(chance.choice([0, 1, 1, 1, 2]))]
        arriving.sort(key=lambda pair: pair[0] + chance.choice([0, 0, 0, 5.5]))
        relay.give(data for _, data in arriving)
        for number, _ in arriving:
            if number in seen:
                doubles += 1
            else:
                late += number < highest
                seen.add(number)
                got.append(number)
            highest = max(highest, number)
        assert [int(message) for message in everything(two)] == got
        got.clear()
    stats = two.stats()
    assert (stats.lost, stats.reordered, stats.duplicates) == (highest - len(seen), late, doubles)


def test_a_full_receive_buffer(stack) -> None:
    """What the kernel drops is known as soon as something later arrives, to the message."""
    one, two = (keep(stack, end) for end in ipcx.pair("udp://"))
    assert one.send_many([bytes(1000)] * 20_000, timeout=GUARD) == 20_000
    got = len(everything(two))
    one.send("later")
    assert two.receive(timeout=GUARD) == "later"
    stats = two.stats()
    assert 0 < stats.lost == 20_000 - got
    assert stats.overflowed == stats.lost
    assert stats.received == got + 1


def test_a_goodbye_has_a_number(relayed) -> None:
    """So that what was lost at the end is known, too."""
    one, relay, two = relayed
    one.send_many([b"1", b"2"])
    one.close()
    first, _lost, bye = relay.take(3)
    relay.give([first, bye])
    assert list(two) == [b"1"]
    assert two.stats().lost == 1


# ---- rendezvous


def test_a_rendezvous_through_losses(relayed) -> None:
    """Lost once, its ACK lost once: sent three times, received once."""
    one, relay, two = relayed
    sending = Background(one.send, "meet me", sync=True, timeout=GUARD)
    relay.take(1)  # lost
    relay.give(relay.take(1))
    assert two.receive(timeout=GUARD) == "meet me"
    relay.back(deliver=False)
    relay.give(relay.take(1))
    assert two.poll() is False  # it only answers again
    relay.back()
    sending.finish()
    assert two.stats().received == 1
    assert two.stats().duplicates == 1


def test_a_rendezvous_that_nobody_answers(relayed) -> None:
    one, relay, two = relayed
    with pytest.raises(ipcx.Timeout) as caught:
        one.send("anybody?", sync=True, timeout=0.2)
    assert caught.value.begun
    copies = relay.take(2)
    assert copies[0] == copies[1]
    relay.give(copies)
    assert two.receive(timeout=GUARD) == "anybody?"  # a Timeout says: unknown
    relay.back()
    one.send("next")
    relay.give([data for data in relay.take(2) if b"next" in data] or relay.take(1))
    assert two.receive(timeout=GUARD) == "next"


def test_what_comes_while_a_rendezvous_waits(stack) -> None:
    one, two = (keep(stack, end) for end in ipcx.pair("udp://"))
    sending = Background(one.send, "sync", sync=True, timeout=GUARD)
    two.send_many(str(n) for n in range(100))
    assert two.receive(timeout=GUARD) == "sync"
    sending.finish()
    assert [one.receive(timeout=GUARD) for _ in range(100)] == [str(n) for n in range(100)]


# ---- strangers and garbage

GARBAGE = {
    "nothing": b"",
    "a byte": b"I",
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "a frame without numbers": wire.frame(b"x"),
    "a short extension": datagram(extension=bytes(23)),
    "another version": datagram(b"x", 2, version=2),
    "no such type": datagram(b"x", 2, type=15),
    "a hello": datagram(b"", 2, type=wire.HELLO),
    "a number on a ping": datagram(b"", 2, type=wire.PING),
    "number 0": datagram(b"x", 0),
    "epoch 0": datagram(b"x", 2, epoch=0),
    "another epoch": datagram(b"x", 2, epoch=78),
    "for another": datagram(b"x", 2, to=1),
    "a flag": datagram(b"x", 2, flags=0x10),
    "half a checksum": datagram(b"x", 2, flags=0x8000),
    "no text": datagram(b"\xff", 2, flags=wire.TEXT),
    "sync without correlation": datagram(b"x", 2, flags=wire.SYNC),
    "another correlation": datagram(b"x", 2, flags=wire.SYNC, correlation=3),
    "cut": datagram(b"xyz", 2)[:-1],
    "too much": datagram(b"x", 2) + b"y",
    "a bomb": datagram(b"x", 2, length=0xFFFFFFFF),
    "a bad checksum": datagram(b"x", 2, flags=wire.CRC)[:-1] + b"?",
    "too long": datagram(bytes(60_001), 2),
    "as long as can be": os.urandom(65_507),
    "far ahead": datagram(b"x", 1 << 40),
    "the last number": datagram(b"x", (1 << 64) - 1),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_counted_and_dropped(raw, what: str) -> None:
    peer, channel = raw
    peer.send(GARBAGE[what])
    peer.send(datagram(b"good", 2))
    assert channel.receive(timeout=GUARD) == b"good"
    assert losses(channel) == (0, 0, 0, 1, 0)
    assert channel.poll() is False


@pytest.mark.parametrize("what", GARBAGE.keys() - {"another epoch", "far ahead", "the last number"})
def test_garbage_makes_no_peer(stack, listener, what: str) -> None:
    peer = stack.enter_context(contextlib.closing(Raw(listener.url)))
    peer.send(GARBAGE[what])
    with pytest.raises(ipcx.WouldBlock):
        listener.accept(timeout=0)
    assert listener.stats()[:3] == (0, 1, 0)


def test_a_jump_that_is_confirmed_is_believed(raw) -> None:
    """After an outage in which millions were lost."""
    peer, channel = raw
    far = 1 << 30
    peer.send(datagram(b"dropped", far))
    peer.send(datagram(b"taken", far + 1))
    assert channel.receive(timeout=GUARD) == b"taken"
    assert channel.stats().lost == far - 1
    peer.send(datagram(b"ancient", 2))
    peer.send(datagram(b"next", far + 2))
    assert channel.receive(timeout=GUARD) == b"next"
    assert channel.stats().dropped == 2


@pytest.mark.parametrize("kind", [wire.ACK, wire.PONG, wire.BYE])
def test_a_forged_answer(raw, kind: int) -> None:
    """Whoever does not know the epochs can neither end nor answer anything."""
    peer, channel = raw
    sending = Background(channel.send, "sync", sync=True, timeout=GUARD)
    frame = peer.sock.recv(65535)  # the PONG
    frame = peer.sock.recv(65535)
    epoch, to, number = EXTENSION.unpack_from(frame, 20)
    assert to == 77
    how = {"type": kind, "sequence": 2 if kind == wire.BYE else 0}
    if kind == wire.ACK:
        how["correlation"] = number
    peer.send(datagram(to=epoch ^ 1, **how))
    peer.send(datagram(to=epoch, epoch=78, **how))
    until(lambda: channel.stats().dropped == 2, "both dropped")
    assert sending.is_alive()
    peer.send(datagram(type=wire.ACK, to=epoch, sequence=0, correlation=number))
    sending.finish()


def test_random_bytes_and_flipped_bits(raw) -> None:
    peer, channel = raw
    chance = random.Random(7)
    good = datagram(b"payload", 2, flags=wire.CRC)
    for _ in range(500):
        broken = bytearray(good)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        peer.send(broken)
        peer.send(chance.randbytes(chance.randrange(100)))
        assert everything(channel) == []
    peer.send(good)
    assert channel.receive(timeout=GUARD) == b"payload"
    assert channel.stats().dropped == 1000


def test_a_flood_of_newcomers(stack) -> None:
    """They fill a table of `backlog` places; the honest one is served."""
    listener = stack.enter_context(ipcx.listen("udp://127.0.0.1:0", backlog=16))
    peer = stack.enter_context(contextlib.closing(Raw(listener.url)))
    before = len(os.listdir("/proc/self/fd"))
    for epoch in range(1, 200):
        peer.send(datagram(b"x", epoch=epoch))
    one = keep(stack, ipcx.connect(listener.url))
    one.send("honest")
    keep(stack, listener.accept(timeout=GUARD))
    stats = listener.stats()
    assert stats.waiting <= 16
    assert stats.dropped >= 199 - 16
    assert len(os.listdir("/proc/self/fd")) <= before + 4
    for _ in range(16):
        channel = keep(stack, listener.accept(timeout=GUARD))
        if channel.receive(timeout=GUARD) == "honest":
            return
    raise AssertionError


# ---- peers


def test_peers_of_one_port_are_told_apart(stack, listener) -> None:
    ends = [keep(stack, ipcx.connect(listener.url)) for _ in range(20)]
    for number, end in enumerate(ends):
        end.send_many([b"%d" % number] * 3)
    accepted = [keep(stack, listener.accept(timeout=GUARD)) for _ in ends]
    assert [set(everything(channel)) for channel in accepted] == [{b"%d" % n} for n in range(20)]
    for number, channel in enumerate(accepted):
        channel.send(f"for {number}")
    assert [end.receive(timeout=GUARD) for end in ends] == [f"for {n}" for n in range(20)]
    assert len({channel.url for channel in accepted}) == 20


def test_two_epochs_at_one_address(stack, listener) -> None:
    """A program that was started anew at its port is another peer."""
    peer = stack.enter_context(contextlib.closing(Raw(listener.url)))
    peer.send(datagram(b"old", epoch=1))
    peer.send(datagram(b"new", epoch=2))
    assert [keep(stack, listener.accept(timeout=GUARD)).receive(timeout=GUARD) for _ in "ab"] == [
        b"old",
        b"new",
    ]


def test_spoofed_numbers_from_another_port(raw, stack, listener) -> None:
    """Whoever knows a channel's epoch and its next number, and sends from elsewhere, is another."""
    peer, channel = raw
    thief = stack.enter_context(contextlib.closing(Raw(listener.url)))
    thief.send(datagram(b"spoofed", 2))
    thief.send(datagram(type=wire.BYE, sequence=3))
    assert list(keep(stack, listener.accept(timeout=GUARD))) == [b"spoofed"]
    peer.send(datagram(b"second", 2))
    assert channel.receive(timeout=GUARD) == b"second"
    assert losses(channel) == (0, 0, 0, 0, 0)


def test_what_a_closed_channels_peer_sends_makes_no_new_one(raw, listener) -> None:
    peer, channel = raw
    channel.close()
    peer.send(datagram(b"late", 2))
    with pytest.raises(ipcx.Timeout):
        listener.accept(timeout=0.05)


def test_nobody_was_ever_there(stack) -> None:
    """The port closes before anything came from it: told once, by the next call."""
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))
    port = server.getsockname()[1]
    one = keep(stack, ipcx.connect(f"udp://127.0.0.1:{port}"))
    server.close()
    one.send("into the void")
    with pytest.raises(ipcx.ConnectRefused, match=str(port)):
        one.send("again")
    one.send("into the void")
    assert one.poll()
    with pytest.raises(ipcx.ConnectRefused):
        one.receive(timeout=GUARD)
    with pytest.raises(ipcx.WouldBlock):
        one.receive(timeout=0)
    with ipcx.listen(f"udp://127.0.0.1:{port}") as listener:
        one.send("at last")
        assert keep(stack, listener.accept(timeout=GUARD)).receive(timeout=GUARD) == "at last"


def test_a_peer_that_has_gone(raw) -> None:
    """Its port is closed and no goodbye came: what it had sent, then PeerDied, for good."""
    peer, channel = raw
    peer.send(datagram(b"last", 2))
    peer.close()
    channel.send("who is there?")
    with pytest.raises(ipcx.PeerDied):
        channel.send("hello?")
    assert channel.receive(timeout=GUARD) == b"last"
    for _ in range(2):
        with pytest.raises(ipcx.PeerDied):
            channel.receive(timeout=GUARD)


# ---- addresses


def test_ports(stack, listener) -> None:
    with pytest.raises(ipcx.InvalidURL, match="listener"):
        ipcx.connect("udp://127.0.0.1:0")
    with pytest.raises(ipcx.InvalidURL, match="port"):
        ipcx.listen("udp://")
    with pytest.raises(ipcx.InvalidURL):
        ipcx.listen("udp://127.0.0.1:65536")
    with pytest.raises(ipcx.AddressInUse, match=f"process {os.getpid()} listens"):
        ipcx.listen(listener.url)
    taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    taken.bind(("127.0.0.1", 0))
    url = f"udp://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ipcx.AddressInUse, match=f"process {os.getpid()} listens"):
        ipcx.listen(url)
    taken.connect(("127.0.0.1", 9))
    with pytest.raises(ipcx.AddressInUse, match=f"process {os.getpid()} has the port"):
        ipcx.listen(url)
    keep(stack, ipcx.connect(listener.url))
    keep(stack, listener.accept(timeout=GUARD))
    with pytest.raises(ipcx.AddressInUse):  # nor while channels share it
        ipcx.listen(listener.url)


@pytest.mark.parametrize("url", ["udp://*:0", "udp://0.0.0.0:0", "udp://[::]:0"])
def test_open_to_the_network(stack, url: str) -> None:
    if not HAS_IPV6 and "[" in url:
        return
    with pytest.raises(ipcx.InsecureAddress):
        ipcx.listen(url)
    listener = stack.enter_context(ipcx.listen(url, insecure=True))
    one = keep(stack, ipcx.connect(f"udp://127.0.0.1:{listener.url.rpartition(':')[2]}"))
    two = keep(stack, listener.accept(timeout=GUARD))
    two.send("from where it was sent to")
    assert one.receive(timeout=GUARD) == "from where it was sent to"
    assert two.url.startswith("udp://127.0.0.1:")


def test_ipv6(stack) -> None:
    if not HAS_IPV6:
        return
    listener = stack.enter_context(ipcx.listen("udp://[::1]:0"))
    one = keep(stack, ipcx.connect(listener.url))
    two = keep(stack, listener.accept(timeout=GUARD))
    one.send("six")
    assert two.receive(timeout=GUARD) == "six"
    assert two.url.startswith("udp://[::1]:")


# ---- groups

_ports = itertools.count()


def group(options: str = "if=lo") -> str:
    """A group of the documentation's range (RFC 5771) that no other test run has."""
    chance = random.Random(f"{os.getpid()} {next(_ports)}")
    return f"udp://233.252.0.{chance.randrange(1, 255)}:{chance.randrange(20000, 60000)}?{options}"


def test_a_group(stack) -> None:
    url = group()
    listeners = [stack.enter_context(ipcx.listen(url)) for _ in range(2)]
    senders = [keep(stack, ipcx.connect(url)) for _ in range(2)]
    for number, sender in enumerate(senders):
        sender.send_many([b"%d" % number] * 3)
    for listener in listeners:
        assert listener.url == url
        heard = [keep(stack, listener.accept(timeout=GUARD)) for _ in senders]
        senders[0].send("more")
        assert everything(heard[0]) == [b"0"] * 3 + ["more"] * (1 + listeners.index(listener))
        assert everything(heard[1]) == [b"1"] * 3
        with pytest.raises(ipcx.Unsupported):
            heard[0].send("back")
    with pytest.raises(ipcx.Unsupported):
        senders[0].receive(timeout=0)
    with pytest.raises(ipcx.Unsupported):
        senders[0].send("x", sync=True)
    senders[0].close()
    assert list(heard[0]) == []


def test_who_joins_late_has_lost_nothing(stack) -> None:
    url = group()
    sender = keep(stack, ipcx.connect(url))
    sender.send_many(["before"] * 50)
    listener = stack.enter_context(ipcx.listen(url))
    sender.send("after")
    heard = keep(stack, listener.accept(timeout=GUARD))
    assert heard.receive(timeout=GUARD) == "after"
    assert heard.stats().lost == 0


def test_options_of_a_group(stack) -> None:
    url = group()
    for ttl, loop in ((0, 0), (7, 1), (255, 0)):
        one = keep(stack, ipcx.connect(f"{url}&ttl={ttl}&loop={loop}"))
        with socket.socket(fileno=os.dup(one._send_fileno())) as sock:
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == ttl
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == loop
    with pytest.raises(ipcx.InsecureAddress, match="if=lo"):
        ipcx.listen(url.partition("?")[0])
    for bad in ("ttl=256", "loop=2", "if=", "hops=3", "ttl", "", "if=no-such-interface0"):
        with pytest.raises(ipcx.InvalidURL):
            ipcx.connect(group(bad))
    with pytest.raises(OSError, match="no interface"):
        ipcx.connect(group("if=nosuch0"))
    with pytest.raises(ipcx.InvalidURL, match="multicast"):
        ipcx.connect("udp://127.0.0.1:9?ttl=1")
    with pytest.raises(ipcx.InvalidURL, match="agreed"):
        ipcx.listen("udp://233.252.0.1:0?if=lo")


# ---- many, and too large


def test_a_message_too_large_among_many(stack) -> None:
    one, two = (keep(stack, end) for end in ipcx.pair("udp://"))
    with pytest.raises(ipcx.MessageTooLarge) as caught:
        one.send_many([b"1", b"2", bytes(60_001), b"4"])
    assert caught.value.sent == 2
    assert everything(two) == [b"1", b"2"]
    one.send(bytes(60_000))
    assert len(two.receive(timeout=GUARD)) == 60_000
    assert one.max_message == 60_000


SIZES = {
    "one size": [64] * 200,
    "a shorter one ends a row": [64] * 9 + [10] + [64] * 9 + [65] * 3,
    "every size": [*range(100), *reversed(range(100))],
    "nothing": [0] * 70,
    "long": [20_000] * 7 + [60_000, 60_000, 1],
    "up and down": [100, 100, 100, 100, 50, 50, 50, 50, 100] * 10,
}


@pytest.mark.parametrize("refuses", [False, True], ids=["rows", "no rows"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_many_are_a_datagram_each(relayed, sizes: list[int], refuses: bool) -> None:
    """Also when they go through the kernel in rows of one size, and when it takes no rows."""
    one, relay, two = relayed
    if refuses:
        for sock in sockets_to(relay.near.getsockname()):
            sock.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: UDP_SEGMENT is refused
            sock.close()
    relay.near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    messages = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    assert one.send_many(messages, timeout=GUARD) == len(messages)
    held = relay.take(len(messages))
    assert [len(data) - len(held[0]) + sizes[0] for data in held] == sizes
    sequences = [EXTENSION.unpack_from(data, 12)[2] for data in held]
    assert sequences == list(range(1, len(messages) + 1))
    for data in held:
        relay.give([data])
        assert two.receive(timeout=GUARD) == messages[sequences[0] - 1]
        del sequences[0]
    assert losses(two) == (0, 0, 0, 0, 0)


def sockets_to(address) -> list[socket.socket]:
    """Copies of this process's UDP sockets that are connected to the address."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                sock = socket.socket(fileno=os.dup(int(name)))
                with contextlib.suppress(OSError):
                    if sock.type == socket.SOCK_DGRAM and sock.getpeername() == address:
                        found.append(sock)
                        continue
                sock.close()
    assert found
    return found


def test_who_has_gone_is_known_in_the_middle_of_many(raw) -> None:
    made, channel = raw
    made.close()

    def send_on():
        while True:
            channel.send_many([b"x" * 64] * 100, timeout=GUARD)

    with pytest.raises(ipcx.PeerDied):
        send_on()


def test_a_receiver_that_takes_less(stack) -> None:
    """It drops what is longer, and counts it."""
    one, two = (keep(stack, end) for end in ipcx.pair("udp://", max_message=5000))
    one.send(bytes(5001))
    one.send(bytes(5000))
    assert len(two.receive(timeout=GUARD)) == 5000
    assert two.stats().dropped == two.stats().lost == 1
