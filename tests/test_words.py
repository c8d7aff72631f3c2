# SPDX-License-Identifier: Apache-2.0
"""The lecture's words for each call, and who writes them."""

import doctest
import errno
import io
import os
import re

import pytest

import ipcx
from ipcx import _core, _install, _words, socket
from ipcx._words import Teller, channel_sentence

HERE, THERE = ("127.0.0.1", 53122), ("127.0.0.1", 65432)
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


@pytest.mark.parametrize(
    ("op", "detail", "more", "expected"),
    [
        ("socket", None, {}, "TCP socket (a stream, IPv4)"),
        ("socket", None, {"kind": "datagram", "family": "IPv6"}, "UDP socket (datagrams, IPv6)"),
        ("socket", None, {"kind": "seqpacket", "family": "Unix"}, "Unix socket (a seqpacket)"),
        ("socket", None, {"kind": "datagram", "family": "Unix"}, "Unix socket (datagrams)"),
        ("bind", ("", 0), {"local": THERE}, "the address 127.0.0.1:65432"),
        ("bind", ("", 80), {}, "the address *:80"),
        ("bind", "/tmp/s", {"local": "/tmp/s"}, "the address /tmp/s"),
        ("bind", b"\0name", {}, "the address @name"),
        ("bind", ("::1", 80, 0, 0), {}, "the address [::1]:80"),
        ("listen", 5, {"local": THERE}, "passive socket, port 65432"),
        ("listen", None, {"local": "/tmp/s"}, "passive socket, at /tmp/s"),
        ("accept", None, {"peer": HERE}, "new socket for 127.0.0.1:53122"),
        ("accept", None, {"peer": ""}, "new socket for a socket without a name"),
        (
            "connect",
            THERE,
            {"local": HERE, "peer": THERE},
            "active socket, 127.0.0.1:53122 to 127.0.0.1:65432",
        ),
        ("connect", "/tmp/s", {"local": ""}, "active socket, to /tmp/s"),
        (
            "connect",
            THERE,
            {"kind": "datagram"},
            "datagrams go to 127.0.0.1:65432 and come from there only",
        ),
        ("connect_ex", 0, {"peer": THERE}, "active socket, to 127.0.0.1:65432"),
        ("connect_ex", errno.ECONNREFUSED, {}, "ECONNREFUSED: Connection refused"),
        ("recv", 5, {}, "5 bytes"),
        ("recv_into", 1, {}, "1 byte"),
        ("recv", 0, {}, "0 bytes: the peer has closed its end"),
        ("recv", 0, {"kind": "datagram"}, "an empty datagram"),
        ("recvfrom", (5, HERE), {"kind": "datagram"}, "5 bytes from 127.0.0.1:53122"),
        ("recvfrom", (0, HERE), {"kind": "datagram"}, "an empty datagram from 127.0.0.1:53122"),
        ("recvmsg", (5, None), {}, "5 bytes"),
        ("send", 5, {}, "5 bytes"),
        ("sendall", 1, {}, "1 byte"),
        ("sendto", (5, THERE), {}, "5 bytes to 127.0.0.1:65432"),
        ("sendmsg", (5, None), {}, "5 bytes"),
        ("shutdown", 1, {}, "sends no more: the peer will read to the end"),
        ("shutdown", 7, {}, "7"),
        ("close", 4, {}, "descriptor 4 given back"),
        ("detach", 4, {}, "descriptor 4 is the program's own now"),
        ("settimeout", None, {}, "calls wait as long as it takes"),
        ("settimeout", 0.0, {}, "calls never wait"),
        ("settimeout", 2.5, {}, "calls wait at most 2.5 s"),
        ("setblocking", True, {}, "calls wait as long as it takes"),
        ("setblocking", False, {}, "calls never wait"),
        ("later", None, {}, "done"),
        ("later", 3, {}, "3"),
        ("connect", None, {"error": REFUSED}, "ECONNREFUSED: Connection refused"),
        ("recv", None, {"error": TimeoutError("timed out")}, "timed out"),
        (
            "recv",
            None,
            {"error": BlockingIOError(errno.EAGAIN, "x")},
            "EAGAIN: not now, and this socket does not wait",
        ),
        (
            "connect",
            None,
            {"error": BlockingIOError(errno.EINPROGRESS, "x")},
            "EINPROGRESS: the connection is being made",
        ),
        ("connect", None, {"error": socket.gaierror(-2, "unknown")}, "gaierror: unknown"),
        ("recv", None, {"error": ValueError("bad")}, "ValueError: bad"),
        ("recv", None, {"error": KeyboardInterrupt()}, "KeyboardInterrupt"),
    ],
)
def test_sentences(op, detail, more, expected):
    assert _words.sentence(op, detail, **more) == f"{op} → {expected}"


@pytest.mark.parametrize("module", [_words, _install])
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.fixture
def told():
    stream = io.StringIO()
    _core.set_trace(_words.Teller(stream).tell)
    yield stream
    _core.set_trace(None)


def test_the_teller_asks_the_socket_for_the_rest(told):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            mine = client.getsockname()[1]
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"hello")
                client.recv(100)
            client.recv(100)
    fds = [int(text) for text in re.findall(r"\(fd (\d+)\)", told.getvalue())]
    lines = [line.partition("   (")[0] for line in told.getvalue().splitlines()]
    assert lines[:4] == [
        "socket → TCP socket (a stream, IPv4)",
        f"bind → the address 127.0.0.1:{port}",
        f"listen → passive socket, port {port}",
        "socket → TCP socket (a stream, IPv4)",
    ]
    assert lines[4:9] == [
        f"connect → active socket, 127.0.0.1:{mine} to 127.0.0.1:{port}",
        f"accept → new socket for 127.0.0.1:{mine}",
        "sendall → 5 bytes",
        "recv → 5 bytes",
        f"close → descriptor {fds[-4]} given back",
    ]
    assert lines[9] == "recv → 0 bytes: the peer has closed its end"
    assert len(lines) == 12


def test_errors_and_other_processes_are_told(told):
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
        sock.connect("/nonexistent/s")
    assert "connect → ENOENT: No such file or directory   (fd " in told.getvalue()
    teller = _words.Teller(told)
    teller._pid = 0
    with socket.socket() as sock:
        teller.tell("listen", sock, 1, None)
    assert f", process {os.getpid()})" in told.getvalue()


def test_a_stream_that_goes_away_is_no_error(told):
    teller = _words.Teller(told)
    told.close()
    with socket.socket() as sock:
        teller.tell("recv", sock, 1, None)
        teller.tell("recv", sock, 1, None)
        _words.Teller(None).tell("recv", sock, 1, None)
    _core.set_trace(None)


def test_colour_is_for_terminals(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    with socket.socket() as sock:
        for colour, terminal in ((True, Terminal()), (False, io.StringIO())):
            _words.Teller(terminal).tell("recv", sock, 1, None)
            assert ("\033[" in terminal.getvalue()) is colour
        monkeypatch.setenv("NO_COLOR", "1")
        terminal = Terminal()
        _words.Teller(terminal).tell("recv", sock, None, REFUSED)
        assert "\033[" not in terminal.getvalue()


def test_channels_speak_too():
    assert channel_sentence("send", 5) == "send → a message of 5 bytes"
    assert channel_sentence("receive", 0) == "receive → an empty message"
    assert channel_sentence("send_many", 3) == "send_many → 3 messages"
    assert channel_sentence("accept", object()) == "accept → a channel to one peer"
    assert channel_sentence("flush") == "flush → done"
    gone = channel_sentence("receive", error=BlockingIOError())
    assert gone == "receive → not now, and this call does not wait"
    assert channel_sentence("receive", error=ValueError("bad")) == "receive → ValueError: bad"


def test_a_program_with_channels_is_told():
    out = io.StringIO()
    a, b = ipcx.pair("unix://")
    with a, b:
        before = _core.set_trace(Teller(out).tell)
        try:
            a.send("hello")
            b.receive()
        finally:
            _core.set_trace(before)
    assert out.getvalue().splitlines() == [
        "send → a message of 5 bytes   (unix://)",
        "receive → a message of 5 bytes   (unix://)",
    ]
