"""Records for Wireshark and ShiViz, read by others' libraries."""

import json
import re
import socket as stdlib

import dpkt
import pcapng
import pytest

import ipcx
from ipcx import lab, socket
from ipcx.lab import export
from ipcx.lab.model import Event, Message, Record

# The reader's own, in its reader.
pytestmark = pytest.mark.filterwarnings("ignore:Field type should not be:DeprecationWarning")


def blocks(path):
    with path.open("rb") as file:
        return list(pcapng.FileScanner(file))


def packets(path):
    """The packets by interface: (block, frame)."""
    found = {0: [], 1: []}
    for block in blocks(path):
        if isinstance(block, pcapng.blocks.EnhancedPacket):
            found[block.interface_id].append(block)
    return found


def tcp_talk(family=stdlib.AF_INET):
    host = "127.0.0.1" if family == stdlib.AF_INET else "::1"
    with (
        lab.record() as record,
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        conn, _ = server.accept()
        with conn:
            client.sendall(b"hello")
            assert conn.recv(3) == b"hel"
            assert conn.recv(10) == b"lo"
            conn.sendall(bytes(1000))
            assert len(client.recv(4096)) > 0
            client.shutdown(socket.SHUT_WR)
            assert conn.recv(10) == b""
    return record


def checked(ip, transport):
    """The frame's own checksums; dpkt computes those of a packet whose field is 0."""
    was = transport.sum
    transport.sum = 0
    if isinstance(ip, dpkt.ip.IP):
        own, ip.sum = ip.sum, 0
        again = dpkt.ip.IP(bytes(ip))
        assert again.sum == own
    else:
        again = dpkt.ip6.IP6(bytes(ip))
    assert again.data.sum == was
    transport.sum = was


@pytest.mark.parametrize("family", [stdlib.AF_INET, stdlib.AF_INET6], ids=["4", "6"])
def test_a_tcp_conversation(tmp_path, family):
    try:
        stdlib.create_server(("::1", 0), family=stdlib.AF_INET6).close()
    except OSError:
        if family == stdlib.AF_INET6:
            pytest.skip("no IPv6 here")
    path = tcp_talk(family).to_pcapng(tmp_path / "talk.pcapng")
    found = packets(path)
    assert found[1] == []
    streams, flags, next_number = {}, [], {}
    for block in found[0]:
        ip = dpkt.ethernet.Ethernet(block.packet_data).data
        tcp = ip.data
        assert isinstance(tcp, dpkt.tcp.TCP)
        way = (tcp.sport, tcp.dport)
        size = block.packet_len - 14 - (20 if family == stdlib.AF_INET else 40) - 20
        if block.packet_len == block.captured_len:
            checked(ip, tcp)
        # Each begins where the one before ended, and acknowledges what the other has sent.
        assert tcp.seq == next_number.get(way, 0)
        if tcp.flags & dpkt.tcp.TH_ACK:
            assert tcp.ack == next_number[way[::-1]]
        next_number[way] = tcp.seq + size + bool(tcp.flags & 3)
        flags.append(tcp.flags)
        streams[way] = streams.get(way, b"") + tcp.data
    assert flags[:3] == [dpkt.tcp.TH_SYN, dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, dpkt.tcp.TH_ACK]
    assert sum(bool(flag & dpkt.tcp.TH_FIN) for flag in flags) == 2
    assert b"hello" in streams.values()
    long = [block for block in found[0] if block.packet_len > block.captured_len]
    assert [block.packet_len - block.captured_len for block in long] == [1000 - 256]
    times = [block.timestamp for block in found[0]]
    assert times == sorted(times)
    assert "notebook: sendall" in str(found[0][3].options["opt_comment"])


def test_datagrams_those_of_strangers_too(tmp_path):
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger = stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)
    with a, b, stranger, lab.record() as record:
        b.bind(("0.0.0.0", 0))
        stranger.bind(("127.0.0.1", 0))
        to = ("127.0.0.1", b.getsockname()[1])
        a.sendto(b"came", to)
        assert b.recvfrom(10)[0] == b"came"
        a.sendto(b"again", to)
        ports = (a.getsockname()[1], to[1], stranger.getsockname()[1])
        assert b.recv(10) == b"again"
        stranger.sendto(b"strange", to)
        assert b.recvfrom(10)[0] == b"strange"
        a.sendto(b"nobody", stranger.getsockname())
    found = packets(record.to_pcapng(tmp_path / "u.pcapng"))[0]
    seen = []
    for block in found:
        ip = dpkt.ethernet.Ethernet(block.packet_data).data
        checked(ip, ip.data)
        assert ip.data.ulen == 8 + len(ip.data.data)
        assert (ip.src, ip.dst) == (b"\x7f\0\0\1", b"\x7f\0\0\1")
        seen.append((ip.data.sport, ip.data.dport, ip.data.data))
    assert seen == [
        (ports[0], ports[1], b"came"), (ports[0], ports[1], b"again"),
        (ports[2], ports[1], b"strange"), (ports[0], ports[2], b"nobody"),
    ]  # fmt: skip


def test_channels_are_user0(tmp_path):
    with lab.record() as record:
        a, b = ipcx.pair("unix://")
        with a, b:
            a.send(b"message")
            b.receive()
        left, right = socket.socketpair()
        with left, right:
            left.sendall(b"x" * 300)
            right.recv(300)
    path = record.to_pcapng(tmp_path / "c.pcapng")
    links = [b.link_type for b in blocks(path) if isinstance(b, pcapng.blocks.InterfaceDescription)]
    assert links == [export.ETHERNET, export.USER0]
    found = packets(path)
    assert found[0] == []
    assert [(block.packet_len, block.packet_data[:7]) for block in found[1]] == [
        (7, b"message"), (300, b"xxxxxxx"),
    ]  # fmt: skip
    assert "notebook: send unix://" in str(found[1][0].options["opt_comment"])


def made_up(local, peer, size, op="sendall", kind="stream"):
    event = Event(
        "a b", 1, 0, 1.0, 0.5, op, kind, local, peer, "", size, b"data"[:size], "",
        lamport=1, clock=(1,),
    )  # fmt: skip
    return Record(["a b"], [event], [Message(0, None, 0, size, b"")])


@pytest.mark.parametrize("size", [0, 1, 65483, 65484, 200_000])
def test_sizes_of_a_segment(tmp_path, size):
    record = made_up("[::ffff:127.0.0.1]:5", "some.host:80", size)
    found = packets(record.to_pcapng(tmp_path / "s.pcapng"))[0]
    assert sum(block.packet_len - 54 for block in found) == size
    assert all(block.packet_len <= 65535 + 14 for block in found)


def test_rubbish_addresses_make_no_packet(tmp_path):
    for local, peer in (("x:y", "a:b"), ("1.2.3.4:99999", ":"), ("[::", "::]:1")):
        found = packets(made_up(local, peer, 5).to_pcapng(tmp_path / "r.pcapng"))
        assert found[0] == []


def test_shiviz_reads_its_own_regular_expression(tmp_path):
    record = tcp_talk()
    text = record.to_shiviz(tmp_path / "log")
    assert (tmp_path / "log").read_text() == text
    expression, delimiter, log = text.split("\n", 2)
    assert delimiter == ""
    pattern = re.compile(expression.replace("(?<", "(?P<"))
    found = list(pattern.finditer(log))
    assert len(found) == len(record.events)
    assert "".join(match.group(0) + "\n" for match in found) == log
    ticks = {}
    for match in found:
        clock = json.loads(match["clock"])
        host = match["host"]
        assert clock[host] == ticks.get(host, 0) + 1  # what ShiViz insists on
        ticks[host] = clock[host]
    assert made_up("", "", 1).to_shiviz().splitlines()[2].startswith("a_b {")
