# SPDX-License-Identifier: Apache-2.0
"""Data through every verb, over every kind of socket and in every mode, compared verb by verb."""

import array
import errno
import os
import socket as stdlib
import threading

import pytest

from socket_help import (
    DATAGRAMS,
    KINDS,
    MODES,
    STREAMS,
    Background,
    Kit,
    attempt,
    both,
    fill,
    same,
    take,
    until,
)

kinds = pytest.mark.parametrize("kind", KINDS)
modes = pytest.mark.parametrize("mode", MODES)
streams = pytest.mark.parametrize("kind", STREAMS)

SENDERS = {
    "send": lambda sock, data: sock.send(data),
    "sendall": lambda sock, data: sock.sendall(data),
    "sendmsg": lambda sock, data: sock.sendmsg([data]),
    "sendmsg in parts": lambda sock, data: sock.sendmsg([data[:1], b"", bytearray(data[1:])]),
    "send of bytearray": lambda sock, data: sock.send(bytearray(data)),
    "send of memoryview": lambda sock, data: sock.send(memoryview(b"[" + data + b"]")[1:-1]),
    "send of array": lambda sock, data: sock.send(array.array("B", data)),
    "send with flags": lambda sock, data: sock.send(data, stdlib.MSG_NOSIGNAL),
}


def _into(verb: str, size: int, *args):
    def receive(sock):
        buffer = bytearray(b"." * size)
        return getattr(sock, verb)(buffer, *args), bytes(buffer)

    return receive


def _msg_into(sock, *sizes: int):
    buffers = [bytearray(b"." * size) for size in sizes]
    return sock.recvmsg_into(buffers), list(map(bytes, buffers))


RECEIVERS = {
    "recv": lambda sock: sock.recv(64),
    "recv 0": lambda sock: (sock.recv(0), sock.recv(64)),
    "recv of a large size": lambda sock: sock.recv(1 << 20),
    "recv with flags": lambda sock: sock.recv(64, 0),
    "recv_into": _into("recv_into", 16),
    "recv_into nbytes": _into("recv_into", 16, 8),
    "recv_into nbytes flags": _into("recv_into", 16, 8, 0),
    "recv_into large": _into("recv_into", 100_000),
    "recvfrom": lambda sock: sock.recvfrom(64),
    "recvfrom large": lambda sock: sock.recvfrom(100_000),
    "recvfrom_into": _into("recvfrom_into", 16),
    "recvfrom_into nbytes": _into("recvfrom_into", 16, 8, 0),
    "recvmsg": lambda sock: sock.recvmsg(64),
    "recvmsg ancillary": lambda sock: sock.recvmsg(64, 128),
    "recvmsg_into": lambda sock: _msg_into(sock, 16),
    "recvmsg_into parts": lambda sock: _msg_into(sock, 1, 0, 2, 16),
}
# recv(0) of a stream never waits: see test_receive_zero.
waiting = pytest.mark.parametrize("receiver", [name for name in RECEIVERS if name != "recv 0"])


def told(sock, value):
    """Addresses of the peer are named, because no two runs have the same."""
    try:
        name = sock.getpeername()
    except OSError:
        name = None
    if value and value == name:
        return "peer"
    return tuple(told(sock, part) for part in value) if isinstance(value, tuple) else value


@kinds
@modes
@pytest.mark.parametrize("sender", SENDERS)
def test_send(kind: str, mode: str, sender: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        one.settimeout(MODES[mode])
        sent = attempt(SENDERS[sender], one, b"message")
        return sent, os.read(two.fileno(), 64)

    same(scenario)


@kinds
@modes
@pytest.mark.parametrize("receiver", RECEIVERS)
def test_receive(kind: str, mode: str, receiver: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        if kind == "unix" or not (kind in STREAMS or kind == "seqpacket"):
            os.write(one.fileno(), b"message")
        else:
            one.send(b"message")
        if receiver == "recv 0" and kind not in STREAMS:
            os.write(one.fileno(), b"another")
        select_until_readable(two)
        two.settimeout(MODES[mode])
        got = RECEIVERS[receiver](two)
        return told(two, got), one.fileno() == two.fileno()

    same(scenario)


def select_until_readable(sock) -> None:
    import select

    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    assert poll.poll(8000)


@kinds
@waiting
def test_receive_when_there_is_nothing(kind: str, receiver: str) -> None:
    def scenario(kit: Kit):
        _, two = kit.pair(kind)
        two.setblocking(False)
        told = [attempt(RECEIVERS[receiver], two)]
        two.settimeout(0.02)
        return [*told, attempt(RECEIVERS[receiver], two)]

    same(scenario)


@kinds
@waiting
def test_receive_waits_for_what_comes_later(kind: str, receiver: str) -> None:
    def scenario(kit: Kit):
        told_all = []
        for timeout in (None, 8.0):
            one, two = kit.pair(kind)
            two.settimeout(timeout)
            thread = Background(RECEIVERS[receiver], two).until_blocked()
            os.write(one.fileno(), b"message")
            told_all.append(told(two, thread.finish()))
        return told_all

    same(scenario)


@kinds
def test_receive_zero(kind: str) -> None:
    def scenario(kit: Kit):
        told = []
        for mode in MODES.values():
            one, two = kit.pair(kind)
            os.write(one.fileno(), b"message")
            two.settimeout(mode)
            told += [two.recv(0), two.recv_into(bytearray()), two.recv_into(bytearray(9), 0)]
            two.setblocking(False)
            told.append(attempt(two.recv, 100))
        return told

    same(scenario)


@pytest.mark.parametrize("kind", [*STREAMS, "seqpacket"])
@modes
@waiting
def test_end_of_stream(kind: str, mode: str, receiver: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        one.close()
        select_until_readable(two)
        two.settimeout(MODES[mode])
        return attempt(RECEIVERS[receiver], two), attempt(RECEIVERS[receiver], two)

    same(scenario)


# UDP never runs full on the loopback.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("udp")])
@pytest.mark.parametrize("timeout", [0, 0.02])
def test_send_when_nothing_fits(kind: str, timeout: float) -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair(kind)
        one.settimeout(timeout)
        data = b"x" if kind in STREAMS else bytes(1024)
        told = []
        for name in SENDERS:
            until(lambda: fill(one) == 0)  # TCP makes room for a little more now and then
            told.append(attempt(SENDERS[name], one, data))
        return told

    same(scenario)


@streams
@pytest.mark.parametrize("timeout", [None, 8.0])
def test_blocking_send_waits_for_room(kind: str, timeout: float | None) -> None:
    """Without a time-out it takes all of it; with one, what fits when there is room."""

    def scenario(kit: Kit):
        told = []
        for name in ("send", "sendall", "sendmsg"):
            one, two = kit.pair(kind)
            full = fill(one)
            one.settimeout(timeout)
            thread = Background(SENDERS[name], one, b"message").until_blocked()
            take(two, full)
            told.append(thread.finish())
            told.append(take(two, 7))
        return told

    same(scenario)


@streams
@pytest.mark.parametrize("size", [1, 4096, 16384, 16385, 262_144, 4 << 20])
@pytest.mark.parametrize("name", ["send", "sendmsg", "sendall"])
def test_blocking_send_takes_all_of_it(kind: str, size: int, name: str) -> None:
    data = os.urandom(4096) * (size // 4096) + bytes(size % 4096)

    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        reader = Background(take, two, size)
        sent = SENDERS[name](one, data)
        return sent, reader.finish() == data

    same(scenario)


@both
@streams
def test_sendall_of_much_with_a_timeout(net, kind: str) -> None:
    data = os.urandom(1 << 20) * 4
    with Kit(net) as kit:
        one, two = kit.pair(kind)
        one.settimeout(8.0)
        reader = Background(take, two, len(data))
        assert one.sendall(data) is None
        assert reader.finish() == data


@both
def test_sendall_times_out_as_a_whole(net) -> None:
    """The time-out counts from the start of the call, not from the last byte that went out."""
    with Kit(net) as kit:
        one, two = kit.pair("unix")
        one.settimeout(0.1)
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.005):
                if not two.recv(4096):
                    break

        reader = Background(trickle)
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            one.sendall(bytes(64 << 20))
        stop.set()
        one.close()
        reader.finish()


def test_sendall_nonblocking_sends_what_fits() -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("unix")
        one.setblocking(False)
        told = attempt(one.sendall, bytes(8 << 20))
        one.close()
        return told, len(take(two, 8 << 20)) > 0

    same(scenario)


@pytest.mark.parametrize("kind", ["unix-dgram", "udp4", "udp6"])
@modes
def test_sendto(kind: str, mode: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.bound(kind), kit.bound(kind)
        one.settimeout(MODES[mode])
        address = two.getsockname()
        told = [
            one.sendto(b"first", address),
            one.sendto(b"second", 0, address),
            one.sendto(bytearray(b"third"), address),
            one.sendto(memoryview(b"4"), stdlib.MSG_DONTWAIT, address),
            one.sendmsg([b"fi", b"fth"], [], 0, address),
            one.sendto(b"", address),
        ]
        for _ in range(6):
            data, sender = two.recvfrom(64)
            told.append((data, sender == one.getsockname()))
        return told

    same(scenario)


@pytest.mark.parametrize("kind", DATAGRAMS)
def test_who_sent_it(kind: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.bound(kind), kit.bound(kind)
        nameless = kit.of(kind)
        told = []
        for sender in (one, nameless):
            for _ in range(3):
                sender.sendto(b"x", two.getsockname())
            if kind != "unix-dgram":
                who = (family_host(sender.getsockname()), True)
            answers = [two.recvfrom(9)[1], two.recvfrom_into(bytearray(9))[1], two.recvmsg(9)[3]]
            for answer in answers:
                told.append(
                    answer == sender.getsockname()
                    if kind == "unix-dgram" or sender is one
                    else answer[1] == sender.getsockname()[1] and who[1]
                )
            if kind == "unix-dgram" and sender is nameless:
                told += answers
        return told

    same(scenario)


def family_host(name):
    return name[0]


@both
def test_truncated_datagram_is_cut(net) -> None:
    with Kit(net) as kit:
        for kind in ("unix-dgram", "udp4", "seqpacket"):
            one, two = kit.pair(kind)
            for _ in range(3):
                one.send(b"0123456789")
            assert two.recv(4) == b"0123"
            buffer = bytearray(4)
            assert two.recv_into(buffer) == 4
            data, _, flags, _ = two.recvmsg(4)
            assert data == b"0123"
            assert flags & net.MSG_TRUNC


@pytest.mark.parametrize("kind", ["udp4", "udp6", "unix-dgram", "seqpacket"])
def test_datagram_that_is_too_large(kind: str) -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair(kind)
        data = bytes(65508 if kind.startswith("udp") else 8 << 20)
        if kind == "udp6":
            data += bytes(40)
        return [attempt(SENDERS[name], one, data) for name in ("send", "sendall", "sendmsg")]

    same(scenario)


@pytest.mark.parametrize("kind", ["udp4", "unix-dgram", "seqpacket"])
def test_empty_datagram(kind: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        return one.send(b""), two.recv(10), one.sendmsg([]), two.recvmsg(10)[0]

    same(scenario)


@streams
def test_empty_send_on_a_stream(kind: str) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        two.setblocking(False)
        told = [one.send(b""), one.sendall(b""), one.sendmsg([]), one.sendmsg([b"", b""])]
        return told, attempt(two.recv, 1)

    same(scenario)


@both
def test_sendmsg_with_more_parts_than_the_kernel_takes(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair("unix")
        limit = os.sysconf("SC_IOV_MAX")
        assert one.sendmsg([b"x"] * limit) == limit
        with pytest.raises(OSError, match="too") as info:
            one.sendmsg([b"x"] * (limit + 1))
        assert info.value.errno in (errno.EMSGSIZE, None)
        assert two.recv(9999) == b"x" * limit


@both
def test_parts_may_come_from_a_generator(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair("unix")
        assert one.sendmsg(bytes([65 + i]) for i in range(5)) == 5
        assert two.recv(9) == b"ABCDE"


@both
def test_both_directions_from_two_threads(net) -> None:
    """One thread receives while another sends on the same object."""
    with Kit(net) as kit:
        one, two = kit.pair("unix")
        data = os.urandom(1 << 20)
        reader = Background(take, two, len(data))
        answer = Background(one.recv, 10).until_blocked()
        one.sendall(data)
        assert reader.finish() == data
        two.sendall(b"answer")
        assert answer.finish() == b"answer"


@both
def test_two_threads_receive_from_one_socket(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair("seqpacket")
        readers = [Background(two.recv, 10).until_blocked() for _ in range(3)]
        for letter in b"abc":
            one.send(bytes([letter]))
        assert sorted(reader.finish() for reader in readers) == [b"a", b"b", b"c"]
