"""What the slides state of TCP, addresses, ports and buffers: each program says what it should."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ipcx.tour import stations_slides as stations
from lecture.scene import EXAMPLES

ADDRESS = r"\('127\.0\.0\.1', (\d+)\)"


def numbers(pattern: str, text: str) -> list[int]:
    found = re.fullmatch(pattern, text)
    assert found, text
    return [int(group) for group in found.groups()]


def test_a_socket_pair_identifies_a_session(scene):
    stage = scene("socket_pair", 8084)
    port = stage.ports[8084]
    server = stage.serve("server.py", 8084)
    assert server.stdout.readline() == f"Listening at ('127.0.0.1', {port})\n"
    clients, sessions = [], []
    for number in (1, 2):
        clients.append(stage.start("client.py"))
        line = server.stdout.readline().rstrip()
        here, there = numbers(rf"Session {number}: {ADDRESS} \+ {ADDRESS}", line)
        assert here == port  # the listener's, not a new one
        sessions.append(there)
    assert len(set(sessions)) == 2
    for number, (client, own) in enumerate(zip(clients, sessions, strict=True), 1):
        assert stage.end(client) == [
            f"I am ('127.0.0.1', {own}) and talk to ('127.0.0.1', {port})",
            f"Received 'You are session {number}'",
        ]
    assert stage.end(server) == ["Three different sockets: True", f"All three have port {port}"]


def test_an_empty_host_is_every_address(scene):
    stage = scene("any_host", 8085)
    port = stage.ports[8085]
    server = stage.serve("server.py", 8085)
    assert stage.play("client.py") == [
        "127.0.0.1 is 127.0.0.1 and says 'Welcome!'",
        "127.0.0.2 is 127.0.0.2 and says 'Welcome!'",
        "localhost is 127.0.0.1 and says 'Welcome!'",
    ]
    assert stage.end(server) == [
        f"Listening at ('0.0.0.0', {port})",
        *(f"Somebody came to ('127.0.0.{n}', {port})" for n in (1, 2, 1)),
    ]


@pytest.mark.skipif(stations.lacks_ipv6() is not None, reason="no IPv6 loopback on this machine")
def test_ipv6(scene):
    stage = scene("ipv6", 8086)
    port = stage.ports[8086]
    server = stage.start("server.py")
    assert server.stdout.readline() == f"Listening at ('::1', {port}, 0, 0)\n"
    assert stage.play("client.py") == [
        f"Connected to ('::1', {port}, 0, 0)",
        "Received 'Hello over IPv6!'",
    ]
    (line,) = stage.end(server)
    numbers(r"Connected by \('::1', (\d+), 0, 0\)", line)


def test_without_ipv6_the_tour_says_so(monkeypatch):
    def refuse(*_):
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(
        stations, "socket", SimpleNamespace(AF_INET6=10, SOCK_STREAM=1, socket=refuse)
    )
    station = next(s for s in stations.SLIDES if s.name == "ipv6")
    assert station.missing() == (
        "this machine has no IPv6 (Address family not supported by protocol)"
    )


def test_how_much_fits_before_send_waits(scene):
    *lines, verdict = scene("buffers").play("how_much_fits.py")
    pattern = r"(\d+) bytes fitted before send\(\) had to wait; (\d+) were read afterwards"
    (small, small_read), (usual, usual_read) = (numbers(pattern, line) for line in lines)
    assert 0 < small == small_read < usual == usual_read
    assert verdict == "Smaller buffers hold less: True"


def test_the_backlog(scene):
    assert scene("backlog").play("backlog.py") == [
        "listen(2): 3 are connected, and nobody has called accept()",
        "The next one gets no answer",
        "After one accept() another one is connected: True",
    ]


def test_the_flags(scene):
    assert scene("flags").play("flags.py") == [
        "MSG_PEEK     b'hello'",
        "once more    b'hello'",
        "MSG_PEEK     b'one half,'",
        "MSG_WAITALL  b'one half, the other'",
        "MSG_OOB      b'!'",
        "after it     b'in order'",
    ]


def test_sockets_mimic_files(scene):
    stage = scene("like_files")
    assert stage.play("as_a_file.py") == [
        r"A line of the file: 'first line\n'",
        r"A line of the file: 'second line\n'",
        "os.write() wrote 26 bytes",
        "os.read() read b'straight to the descriptor'",
        "os.lseek(): Illegal seek",
    ]
    assert stage.play("in_parts.py") == [
        "sendmsg() sent 13 bytes of three parts; received b'head|and body'",
        "From the client: True",
        "recvmsg_into() filled two buffers: b'head' b'and body'",
        "Only 4 bytes were asked for: b'too ' - cut off: True",
    ]


def test_full_duplex(scene):
    stage = scene("full_duplex", 8087)
    server = stage.serve("server.py", 8087)
    assert stage.play("client.py") == ["The client has received 8388608 bytes meanwhile"]
    assert stage.end(server) == ["The server has received 8388608 bytes meanwhile"]


def test_one_socket_is_shared_by_threads(scene):
    stage = scene("shared_socket", 8088)
    server = stage.serve("server.py", 8088)
    assert stage.play("client.py") == ["4 threads have shared one socket"]
    assert stage.end(server) == [f"Thread {name} sent 100 lines, in order: True" for name in "ABCD"]


def test_port_ranges(scene):
    http, https, eighty, zero, *wrong = scene("port_ranges").play("ports.py")
    assert re.fullmatch(r"getservbyname: http(: .*| is port 80, well-known)", http)
    assert re.fullmatch(r"getservbyname: https(: .*| is port 443, well-known)", https)
    assert re.fullmatch(
        r"bind to port 80: (got 80, well-known|PermissionError: .*|OSError: .*)", eighty
    )
    (port,) = numbers(r"bind to port 0: got (\d+), (?:registered|dynamic)", zero)
    assert 1024 <= port < 65536
    assert wrong == [f"bind to port {n}: a port is a number of 16 bits" for n in (-1, 65536)]


WITHOUT_PRIVILEGE = """
import os, socket, sys  # socket now: later the library may not be readable
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.argv = sys.argv[1:]
exec(compile(sys.stdin.read(), "ports.py", "exec"))
"""


def test_below_1024_not_everybody_may_bind():
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        free_for_all = int(file.read())
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PRIVILEGE],
        input=(EXAMPLES / "port_ranges" / "ports.py").read_text(),
        capture_output=True,
        text=True,
        cwd=os.sep,
    )
    assert done.stderr == ""
    line = done.stdout.splitlines()[2]
    if free_for_all > 80:
        assert line == "bind to port 80: PermissionError: Permission denied"
    else:  # a machine that lets everybody
        assert line.startswith("bind to port 80: ")
