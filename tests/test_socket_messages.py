# SPDX-License-Identifier: Apache-2.0
"""Ancillary data: descriptors, credentials, control messages, what is cut, what is refused."""

import array
import errno
import os
import resource
import socket as stdlib
import struct

import pytest

from socket_help import Kit, attempt, both, open_descriptors, same

RIGHTS = (stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS)
INT = struct.calcsize("i")


def rights(*fds: int) -> list:
    return [(*RIGHTS, array.array("i", fds))]


def take_away(ancillary) -> list[int]:
    """Closes what came and says how many there were in each item."""
    counts = []
    for level, kind, data in ancillary:
        if (level, kind) == RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % INT])
            counts.append(len(fds))
            for fd in fds:
                os.close(fd)
    return counts


@pytest.mark.parametrize("kind", ["unix", "unix-dgram", "seqpacket"])
@pytest.mark.parametrize("count", [1, 2, 16, 253])
def test_descriptors_travel(kind: str, count: int) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        sent = one.sendmsg([b"with ", b"rights"], rights(*[0] * count))
        data, ancillary, flags, address = two.recvmsg(64, stdlib.CMSG_SPACE(count * INT))
        inheritable = [os.get_inheritable(fd) for fd in _numbers(ancillary)]
        return sent, data, take_away(ancillary), flags, address, set(inheritable)

    same(scenario)


def _numbers(ancillary) -> list[int]:
    return [fd for _, _, data in ancillary for fd in array.array("i", data)]


@pytest.mark.parametrize("room", [0, 1, 15, 16, 17, 20, 23, 24, 25, 28, 32, 40])
def test_ancillary_data_that_does_not_fit_is_cut(room: int) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("unix")
        one.sendmsg([b"x"], rights(0, 0, 0))
        before = len(open_descriptors())
        data, ancillary, flags, _ = two.recvmsg(64, room)
        lengths = [len(item[2]) for item in ancillary]
        told = [data, flags, lengths, take_away(ancillary)]
        return [*told, len(open_descriptors()) - before]

    same(scenario)


@pytest.mark.parametrize("room", [0, 16, 24, 32])
def test_recvmsg_into_cuts_as_well(room: int) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("unix")
        one.sendmsg([b"message"], rights(0, 0, 0))
        before = len(open_descriptors())
        buffers = [bytearray(2), bytearray(3)]
        count, ancillary, flags, address = two.recvmsg_into(buffers, room)
        told = [count, buffers, flags, address, take_away(ancillary)]
        return [*told, len(open_descriptors()) - before]

    same(scenario)


@both
def test_recv_without_room_closes_what_came(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        before = open_descriptors()
        for receive in (two.recv, two.recvfrom, lambda n: two.recv_into(bytearray(n))):
            one.sendmsg([b"x"], rights(one.fileno()))
            receive(9)
        assert open_descriptors() == before


@both
def test_too_many_descriptors(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        with pytest.raises(OSError, match="Errno 22") as info:
            one.sendmsg([b"x"], rights(*[0] * 254))
        assert info.value.errno == errno.EINVAL
        with pytest.raises(OSError, match="Errno 9"):
            one.sendmsg([b"x"], rights(-1))
        two.setblocking(False)
        with pytest.raises(BlockingIOError):
            two.recv(1)


def test_descriptor_limit_of_the_receiver(spawn) -> None:
    """RLIMIT_NOFILE hit while descriptors arrive: cut, not lost, nothing leaks."""
    code = """
import array, os, resource, sys
sys.path.insert(0, "tests")
from socket_help import MODULES
for net in MODULES.values():
    one, two = net.socketpair()
    one.sendmsg([b"x"], [(1, 1, array.array("i", [0, 0, 0, 0]))])
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, resource.getrlimit(7)[1]))
    data, ancillary, flags, _ = two.recvmsg(9, 64)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(7)[1]))
    print(data, [len(a[2]) for a in ancillary], bool(flags & net.MSG_CTRUNC))
    for item in ancillary:
        for fd in array.array("i", item[2]):
            os.close(fd)
    one.close(), two.close()
"""
    out, _ = spawn("-c", code).communicate(timeout=10)
    first, second = out.splitlines()
    assert first == second
    assert "True" in first


@both
def test_send_fds_and_recv_fds(net, tmp_path) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        path = tmp_path / "f"
        path.write_bytes(b"content")
        with path.open("rb") as file:
            assert net.send_fds(one, [b"here"], [file.fileno()]) == 4
        data, fds, flags, address = net.recv_fds(two, 64, 4)
        assert (data, len(fds), flags & ~net.MSG_CMSG_CLOEXEC, address) == (b"here", 1, 0, None)
        with open(fds[0], "rb") as file:
            assert file.read() == b"content"
        assert net.send_fds(one, [b"none"], []) == 4
        assert net.recv_fds(two, 64, 4)[:2] == (b"none", [])


def test_credentials() -> None:
    def scenario(kit: Kit):
        one, two = kit.pair()
        passcred, credentials = stdlib.SO_PASSCRED, stdlib.SCM_CREDENTIALS
        two.setsockopt(stdlib.SOL_SOCKET, passcred, 1)
        mine = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
        told = []
        one.send(b"implicit")
        told.append(two.recvmsg(64, 64))
        one.sendmsg([b"explicit"], [(stdlib.SOL_SOCKET, credentials, mine)])
        told.append(two.recvmsg(64, 64))
        one.sendmsg([b"both"], [(stdlib.SOL_SOCKET, credentials, mine), *rights(0)])
        data, ancillary, _, _ = two.recvmsg(64, 128)
        told.append((data, [item[:2] for item in ancillary], take_away(ancillary)))
        return told

    same(scenario)


def test_wrong_control_messages() -> None:
    def scenario(kit: Kit):
        told = []
        for ancillary in [
            [(1, 99, b"")], [(1, 1, b"")], [(1, 1, b"123")], [(99, 1, b"1234")],
            [(1, 1, b"\xff" * 4)], [(1, 1, bytes(4)), (1, 1, bytes(4))], [(1, 2, b"short")],
            [(1, 1, bytes(1 << 20))], ((1, 1, b""),), iter([(1, 99, b"")]),
        ]:  # fmt: skip
            one, two = kit.pair()
            told.append(attempt(one.sendmsg, [b"x"], ancillary))
            two.setblocking(False)
            got = attempt(two.recvmsg, 9, 64)
            told.append(got if got[0] == "raised" else take_away(got[1][1]))
        return told

    same(scenario)


def test_packet_info() -> None:
    def scenario(kit: Kit):
        one, two = kit.bound("udp4"), kit.bound("udp4")
        two.setsockopt(stdlib.IPPROTO_IP, getattr(stdlib, "IP_PKTINFO", 8), 1)
        two.setsockopt(stdlib.IPPROTO_IP, getattr(stdlib, "IP_RECVTOS", 13), 1)
        one.sendto(b"x", two.getsockname())
        data, ancillary, flags, _ = two.recvmsg(9, 128)
        return data, sorted((item[0], item[1], len(item[2])) for item in ancillary), flags

    same(scenario)


def test_kernel_timestamp_is_passed_on() -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("udp4")
        two.setsockopt(stdlib.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP
        one.send(b"x")
        ancillary = two.recvmsg(9, 128)[1]
        return [(item[0], item[1], len(item[2])) for item in ancillary]

    same(scenario)


@both
def test_cmsg_cloexec_may_be_asked_for_and_is_the_default_of_nobody(net) -> None:
    """The stdlib's leaves received descriptors inheritable unless asked: so does ours."""
    with Kit(net) as kit:
        one, two = kit.pair()
        for flag, inheritable in [(0, True), (net.MSG_CMSG_CLOEXEC, False)]:
            one.sendmsg([b"x"], rights(0))
            (item,) = two.recvmsg(9, 64, flag)[1]
            (fd,) = array.array("i", item[2])
            assert os.get_inheritable(fd) is inheritable
            os.close(fd)


@both
def test_a_socket_in_flight_is_a_socket_on_arrival(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        three, four = kit.pair("tcp4")
        net.send_fds(one, [b"s"], [three.fileno()])
        three.close()
        (fd,) = net.recv_fds(two, 9, 1)[1]
        arrived = kit.keep(net.socket(fileno=fd))
        assert (arrived.family, arrived.type) == (net.AF_INET, net.SOCK_STREAM)
        four.send(b"through")
        assert arrived.recv(9) == b"through"


@both
def test_limits_of_this_process_are_left_alone(net) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Kit(net) as kit:
        kit.pair()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
