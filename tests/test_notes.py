# SPDX-License-Identifier: Apache-2.0
"""The notes on errors: real errors, made on free ports, and what is said about each."""

import contextlib
import errno
import os
import re
import subprocess
import sys
import time
import traceback

import pytest

from ipcx import _core, _procnet, notes, socket

pytestmark = pytest.mark.hang_guard(60)
GUARD = 50


@pytest.fixture
def hook():
    """The hook as ipcx.run sets it, for the length of a test; the budget starts anew."""
    notes._budget = notes._Budget()
    _core.set_error_hook(notes.add_note)
    yield
    _core.set_error_hook(None)


def failing(function, *arguments):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - any of them
        function(*arguments)
    return caught.value


def told(error):
    return "\n".join(getattr(error, "__notes__", []))


@contextlib.contextmanager
def listener(*address):
    with socket.create_server(address or ("127.0.0.1", 0)) as server:
        yield server


def unused_port():
    """A port bound by nobody who listens: held, so that it stays unused."""
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    return holder


def test_type_errno_text_and_args_stay_the_stdlibs(hook):
    with unused_port() as nobody:
        ours = failing(socket.create_connection, nobody.getsockname())
        _core.set_error_hook(None)
        plain = failing(socket.create_connection, nobody.getsockname())
    assert told(ours) != told(plain) == ""
    assert type(ours) is type(plain) is ConnectionRefusedError
    assert (ours.args, ours.errno, str(ours)) == (plain.args, plain.errno, str(plain))


def test_a_caught_error_printed_by_the_program_has_it(hook):
    with unused_port() as nobody:
        error = failing(socket.create_connection, nobody.getsockname())
        host, port = nobody.getsockname()
    lines = traceback.format_exception_only(error)
    assert lines[0] == "ConnectionRefusedError: [Errno 111] Connection refused\n"
    assert lines[1].startswith(f"Nobody listens at {host}:{port}. Start the server first.")
    assert lines[-1] == "(More: ipcx explain ECONNREFUSED)\n"


def test_refused_names_what_listens_nearby(hook):
    with listener() as server, socket.socket() as client:
        port = server.getsockname()[1]
        other = port + 1 if port < 65535 else port - 1
        if client.connect_ex(("127.0.0.1", other)) == 0:
            return  # somebody listens there, too
        error = failing(client.connect, ("127.0.0.1", other))
        assert f"port {port} (this program itself)" in told(error)


def test_refused_names_the_address_that_does_listen(hook):
    with listener("127.0.0.2", 0) as server:
        port = server.getsockname()[1]
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
            error = failing(client.connect, ("127.0.0.1", port))
    assert f"Port {port} is listened on at 127.0.0.2 only" in told(error)


def test_refused_by_udp_comes_late(hook):
    with unused_port() as nobody:
        address = nobody.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(GUARD)
            client.connect(address)
            client.send(b"x")
            error = failing(client.recv, 1)
    assert "An earlier datagram to" in told(error)


def test_refused_at_a_path(hook, socket_dir):
    path = str(socket_dir / "s")
    with socket.socket(socket.AF_UNIX) as old, socket.socket(socket.AF_UNIX) as client:
        assert "There is no such path" in told(failing(client.connect, path))
        old.bind(path)
        old.close()
        assert "a server that has ended left it behind" in told(failing(client.connect, path))
        os.unlink(path)
        (socket_dir / "s").touch()
        assert "is a file, not a socket" in told(failing(client.connect, path))
        assert "Nobody listens at @ipcx" in told(failing(client.connect, "\0ipcx-nobody"))


def test_in_use_by_this_program(hook):
    with listener() as server, socket.socket() as second:
        error = failing(second.bind, server.getsockname())
        assert error.errno == errno.EADDRINUSE
        assert f"held by this program itself, descriptor {server.fileno()}" in told(error)
        assert "which listens there" in told(error)


def test_in_use_by_another_program(hook, spawn):
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])"
    child = spawn("-c", code + "; input()")
    port = int(child.stdout.readline())
    with socket.socket() as second:
        error = failing(second.bind, ("127.0.0.1", port))
    assert f"pid {child.pid}" in told(error)
    assert "import socket" in told(error)
    child.communicate("\n", timeout=GUARD)


def test_in_use_for_udp_and_ipv6(hook):
    for family, kind, host in (
        (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"),
        (socket.AF_INET6, socket.SOCK_STREAM, "::1"),
        (socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
    ):
        with socket.socket(family, kind) as first, socket.socket(family, kind) as second:
            try:
                first.bind((host, 0))
            except OSError:
                continue  # no IPv6 here
            if kind == socket.SOCK_STREAM:
                first.listen()
            error = failing(second.bind, first.getsockname())
            assert f"descriptor {first.fileno()}" in told(error), (family, kind)


def test_in_use_by_a_bound_socket_that_does_not_listen(hook):
    # The kernel's tables do not show it: neither do we pretend to know.
    with unused_port() as first, socket.socket() as second:
        error = failing(second.bind, first.getsockname())
        assert "cannot be seen from here" in told(error)


def test_in_use_for_time_wait_says_how_long(hook):
    with listener() as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            connection, _ = server.accept()
            server.close()
            connection.close()  # closes first, so the server's port waits
            assert client.recv(1) == b""
    with socket.socket() as second:
        error = failing(second.bind, address)
    seconds = re.search(r"TIME_WAIT keeps it for another (\d+) s", told(error))
    assert 0 < int(seconds[1]) <= 60
    assert "SO_REUSEADDR" in told(error)


def test_in_use_at_a_path(hook, socket_dir):
    path = str(socket_dir / "s")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.bind(path)
        error = failing(second.bind, path)
        assert f"{path} is held by this program itself" in told(error)
        first.close()
        assert "left behind by a program that has ended" in told(failing(second.bind, path))
        first = socket.socket(socket.AF_UNIX)
        with first:
            first.bind("\0ipcx-" + str(os.getpid()))
            error = failing(second.bind, first.getsockname())
        assert f"@ipcx-{os.getpid()} is held by this program" in told(error)


def test_a_low_port(hook):
    error = PermissionError(errno.EACCES, "Permission denied")
    with socket.socket() as sock:
        notes.add_note(error, "bind", sock, (("127.0.0.1", 80),))
    assert "80 is one of them" in told(error)
    assert "0 and let the system choose" in told(error)


def test_not_permitted_elsewhere(hook):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        error = failing(sock.sendto, b"x", ("255.255.255.255", 9))
        assert (error.errno, "SO_BROADCAST" in told(error)) == (errno.EACCES, True)
    error = PermissionError(errno.EACCES, "Permission denied")
    with socket.socket(socket.AF_UNIX) as sock:
        notes.add_note(error, "connect", sock, ("/secret/s",))
    assert "You may not write to /secret/s" in told(error)


def test_a_path_in_no_directory_and_one_too_long(hook, socket_dir):
    with socket.socket(socket.AF_UNIX) as sock:
        error = failing(sock.bind, str(socket_dir / "no" / "s"))
        assert f"The directory {socket_dir}/no does not exist" in told(error)
        error = failing(sock.bind, "/" + 200 * "x")
        assert str(error) == "AF_UNIX path too long"
        assert "201 bytes; the kernel takes 107" in told(error)


def test_too_large(hook):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        error = failing(sock.sendto, bytes(65508), ("127.0.0.1", 9))
        assert "datagram of 65508 bytes is larger than UDP carries: 65507" in told(error)
        sock.connect(("127.0.0.1", 9))
        error = failing(sock.sendmsg, [bytes(40000), bytearray(40000)])
        assert "80000 bytes" in told(error)
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        buffer = a.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        error = failing(a.send, bytes(buffer + 1))
        assert f"SO_SNDBUF is {buffer}" in told(error)


def test_a_peer_that_has_gone(hook):
    a, b = socket.socketpair()
    b.close()
    with a:
        assert "Nobody will read the 3 bytes you sent" in told(failing(a.sendall, b"abc"))
    with listener() as server, socket.create_connection(server.getsockname()) as client:
        connection, _ = server.accept()
        client.sendall(b"never read")
        assert connection.recv(1, socket.MSG_PEEK)
        connection.close()
        error = failing(client.recv, 1)
        assert (error.errno, "broke the connection off" in told(error)) == (errno.ECONNRESET, True)


def test_timeouts(hook):
    a, b = socket.socketpair()
    with a, b, listener() as server:
        for sock in (a, server):
            sock.settimeout(0.01)
        error = failing(a.recv, 1)
        assert (error.args, error.errno) == (("timed out",), None)
        assert "waited 0.01 s, as settimeout() told it, and the peer sent nothing" in told(error)
        assert "nobody connected" in told(failing(server.accept))
        assert "did not take what was sent" in told(failing(a.sendall, bytes(1 << 24)))


def test_names_that_cannot_be_resolved(hook):
    with socket.socket() as sock:
        error = failing(sock.connect, ("no-such-host.invalid", 80))
    assert isinstance(error, socket.gaierror)
    assert "host name 'no-such-host.invalid'" in told(error)


def test_uncaught_names_get_theirs_where_they_are_reported(tmp_path):
    program = tmp_path / "prog.py"
    program.write_text(
        "import socket\n"
        "try:\n    socket.getaddrinfo('no-such-host.invalid', 80)\n"
        "except OSError as error:\n    raise RuntimeError('no server') from error\n"
    )
    command = [sys.executable, "-m", "ipcx.run", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD)
    assert done.returncode == 1
    assert "No address could be found for this host name." in done.stderr
    assert done.stderr.endswith("RuntimeError: no server\n")


@pytest.mark.parametrize(
    "start",
    [
        "socket.create_server(ADDRESS)",
        "asyncio.run(asyncio.start_server(print, *ADDRESS))",
    ],
)
def test_what_is_raised_anew_after_bind_keeps_who_holds_the_port(tmp_path, start):
    with listener() as server:
        address = server.getsockname()
        program = tmp_path / "prog.py"
        program.write_text(f"import asyncio, socket\nADDRESS = {address}\n{start}\n")
        command = [sys.executable, "-m", "ipcx.run", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD)
    assert done.returncode == 1
    assert f"Port {address[1]} is held by " in done.stderr
    assert done.stderr.count("(More: ipcx explain EADDRINUSE)") == 1


def test_the_rest_comes_from_the_table(hook):
    with socket.socket() as sock:
        error = failing(sock.recv, 1)
        assert told(error).startswith("The socket is not connected to anyone.")
    assert "closed already" in told(failing(sock.recv, 1))


def test_what_a_program_that_does_not_wait_meets_gets_no_note(hook):
    a, b = socket.socketpair()
    with a, b, listener() as server:
        a.setblocking(False)
        assert told(failing(a.recv, 1)) == ""
        server.setblocking(False)
        assert told(failing(server.accept)) == ""


def test_an_error_the_table_does_not_know_gets_no_note(hook):
    error = OSError(errno.EXDEV, "Invalid cross-device link")
    with socket.socket() as sock:
        notes.add_note(error, "recv", sock, ())
    assert told(error) == ""


def test_a_note_is_added_once_and_none_of_the_programs_is_lost(hook):
    error = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    error.add_note("the program's own")
    with socket.socket() as sock:
        notes.add_note(error, "connect", sock, (("127.0.0.1", 9),))
    assert error.__notes__ == ["the program's own"]


@pytest.mark.parametrize("number", sorted(notes.MAKERS))
@pytest.mark.parametrize("op", ["bind", "connect", "send", "sendto", "sendmsg", "recv", "odd"])
def test_it_never_raises(hook, number, op):
    """Whatever the program passed, and whatever it passes for a socket."""
    for arguments in (
        (),
        (None,),
        (b"x",),
        (("host",),),
        (("host", "port"), 3),
        ([], [], 0, ("x", 1)),
    ):
        for sock in (None, object(), socket.socket.__new__(socket.socket)):
            error = OSError(number, "text")
            notes.add_note(error, op, sock, arguments)
            assert error.args == (number, "text")


def test_looking_is_bounded(hook, monkeypatch):
    """A program that fails in a loop does not pay for each failure."""
    looks = []

    def slow(protocol):
        looks.append(protocol)
        time.sleep(0.2)
        return []

    monkeypatch.setattr(_procnet, "entries", slow)
    with unused_port() as nobody:
        for _ in range(20):
            error = failing(socket.create_connection, nobody.getsockname())
            assert "Nobody listens" in told(error)
    assert len(looks) <= 3
    assert _procnet.holder_of(0) is None


def test_tables_of_the_kernel_are_read_as_they_are_written(tmp_path, monkeypatch):
    ticks = os.sysconf("SC_CLK_TCK")
    line = (
        "   0: 0100007F:1F90 0100007F:C350 06 00000000:00000000 03:{:08X} 00000000     0     0 0 3"
    )
    entry = _procnet._parse("tcp", line.format(43 * ticks))
    assert entry == ("tcp", "127.0.0.1", 8080, _procnet.TIME_WAIT, 43.0, 0, 0)
    six = "0: B80D0120000000000000000001000000:0050 {} 0A 0:0 00:0 0 1000 0 77 1".format("0" * 37)
    entry = _procnet._parse("tcp6", six)
    assert (entry.host, entry.port, entry.uid, entry.inode) == ("2001:db8::1", 80, 1000, 77)
    assert _procnet._parse("tcp", "nonsense") is None
    assert _procnet.table(str(tmp_path / "nothing")) == []
    assert _procnet.command_of(0) == "?"


def test_a_holder_of_another_user_is_named_by_user(hook, monkeypatch):
    def entries(protocol):
        return [
            _procnet.Entry(protocol, "0.0.0.0", 8080, _procnet.LISTEN, 0.0, uid, 0x7FFFFFFF)
            for uid in (0, 2**31 - 7)
        ]

    monkeypatch.setattr(_procnet, "entries", entries)
    monkeypatch.setattr(_procnet, "holder_of", lambda inode: None)
    text = notes._port_in_use(8080, "tcp")
    assert text.startswith("Port 8080 is held by a program of user root that cannot be seen")
    assert "which listens there" in text
    assert notes._user(2**31 - 7) == str(2**31 - 7)


def test_late_notes_look_into_groups_and_causes(hook):
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")
    unresolved = socket.gaierror(-2, "Name or service not known")
    not_ours = BrokenPipeError(errno.EPIPE, "Broken pipe")  # print() has it, too
    top = ExceptionGroup("several", [refused, ValueError(1)])
    top.__cause__ = unresolved
    unresolved.__context__ = not_ours
    notes.add_late_note(top)
    assert told(refused).startswith("The machine answered that nobody listens")
    assert told(unresolved).startswith("No address could be found")
    assert told(not_ours) == told(top) == ""
    top.__context__ = top.__cause__ = top  # a ring ends, too
    notes.add_late_note(top)
