# SPDX-License-Identifier: Apache-2.0
"""fork, exec, kill -9, audit hooks and warnings: what a whole process sees."""

import gc
import os
import select
import signal

import pytest

from ipcx import socket as ours
from socket_help import Background, Kit, both, open_descriptors, until

NIGHT = os.environ.get("IPCX_NIGHT") == "1"


def in_child(work) -> None:
    """Runs `work` in a forked child; an assertion that fails there fails here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(8)
            work()
            status = 0
        except BaseException as error:
            os.write(writing, repr(error).encode()[:4000])
        finally:
            os._exit(status)
    os.close(writing)
    told = os.read(reading, 4096)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    assert status == 0, told.decode() or status


@pytest.mark.parametrize("timeout", [None, 8.0])
def test_fork_while_another_thread_waits(timeout: float | None) -> None:
    """The child may use and close its copy; the parent's waiter does not notice."""
    with Kit(ours) as kit:
        one, two = kit.pair()
        one.settimeout(timeout)
        waiter = Background(one.recv, 99).until_blocked()

        def work() -> None:
            one.settimeout(0.01)
            with pytest.raises(TimeoutError):
                one.recv(1)
            one.settimeout(5)
            one.send(b"from the child")
            one.close()
            assert one.fileno() == -1
            # A new socket, a new wait and a new close in the child work as ever.
            three, four = ours.socketpair()
            waiting = Background(three.recv, 1).until_blocked()
            three.close()
            with pytest.raises(OSError, match="Errno 9"):
                waiting.finish()
            four.close()

        in_child(work)
        assert two.recv(99) == b"from the child"
        waiter.until_blocked()
        two.send(b"for the parent")
        assert waiter.finish() == b"for the parent"


def test_close_in_the_parent_does_not_end_the_childs_wait() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if one.recv(9) == b"still" else 2
            finally:
                os._exit(status)
        until(lambda: _sleeps(child))
        one.close()
        two.send(b"still")
        assert os.waitpid(child, 0)[1] == 0


def _sleeps(pid: int) -> bool:
    with open(f"/proc/{pid}/syscall") as source:
        return source.read().split()[0] in ("45", "47", "7", "271", "232", "281")


def test_child_of_a_child_with_waiters_everywhere() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        waiter = Background(one.recv, 9).until_blocked()

        def work() -> None:
            second = Background(one.recv, 9).until_blocked()
            in_child(lambda: one.close())
            second.until_blocked()
            one.close()
            with pytest.raises(OSError, match="Errno 9"):
                second.finish()

        in_child(work)
        two.send(b"x")
        assert waiter.finish() == b"x"


@both
def test_a_socket_owns_one_descriptor(net) -> None:
    with Kit(net) as kit:
        before = len(open_descriptors())
        sock = kit.socket()
        assert len(open_descriptors()) == before + 1
        for timeout in (1.0, 0.0, None):
            sock.settimeout(timeout)
            assert len(open_descriptors()) == before + 1
        one, two = kit.pair()
        one.settimeout(0.001)
        with pytest.raises(TimeoutError):
            one.recv(1)
        one.settimeout(None)
        waiter = Background(one.recv, 1).until_blocked()
        two.send(b"x")
        waiter.finish()
        assert len(open_descriptors()) == before + 3
        for made in (sock, one, two):
            made.close()
        assert len(open_descriptors()) == before


def test_nothing_of_ours_is_inherited_by_exec(spawn) -> None:
    """Row 28: waiters' own descriptors are closed on exec, too."""
    with Kit(ours) as kit:
        one, two = kit.pair()
        listener = kit.listener("tcp4")
        waiters = [Background(one.recv, 1), Background(listener.accept)]
        for waiter in waiters:
            waiter.until_blocked()
        mine = open_descriptors()
        code = (
            "import os, sys\n"
            "for fd in os.listdir('/proc/self/fd'):\n"
            "    try: print(fd, os.readlink('/proc/self/fd/' + fd))\n"
            "    except OSError: pass"
        )
        out, _ = spawn("-c", code, close_fds=False).communicate(timeout=8)
        theirs = dict(line.split(" ", 1) for line in out.splitlines())
        sockets = {text for text in mine.values() if text.startswith(("socket:", "anon_inode"))}
        assert sockets
        assert not {text for text in theirs.values() if text.startswith("socket:")} & sockets
        eventfds = [text for text in theirs.values() if "eventfd" in text]
        assert eventfds == []
        two.send(b"x")
        kit.of("tcp4").connect(listener.getsockname())
        waiters[0].finish()
        waiters[1].finish()[0].close()


def serve(port: int, tell: int) -> None:
    """In a child: serves on `port`, says which, and never ends by itself."""
    held = []
    with ours.create_server(("127.0.0.1", port)) as server:
        os.write(tell, str(server.getsockname()[1]).encode())
        while True:
            conn, _ = server.accept()
            conn.sendall(b"served")
            held.append(conn)


@pytest.mark.hang_guard(300)
def test_rebind_after_kill() -> None:
    """Row 35: the address is free again after kill -9, live connections and all."""
    port = 0
    for _ in range(1000 if NIGHT else 100):
        hear, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                serve(port, tell)
            finally:
                os._exit(1)
        os.close(tell)
        try:
            port = int(os.read(hear, 9) or 0)
            assert port, "the server did not start"
            with ours.create_connection(("127.0.0.1", port), 8) as client:
                assert client.recv_exactly(6) == b"served"
                with pytest.raises(OSError, match="Errno 98"):
                    ours.create_server(("127.0.0.1", port))
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                child = 0
                assert client.recv(1) == b""
        finally:
            os.close(hear)
            if child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def test_unix_path_of_the_dead_stays_and_says_so(socket_dir) -> None:
    """As with the stdlib: the path must be unlinked by whoever binds again."""
    path = str(socket_dir / "s")
    in_child(lambda: ours.socket(ours.AF_UNIX).bind(path))
    with ours.socket(ours.AF_UNIX) as sock:
        with pytest.raises(ConnectionRefusedError):
            sock.connect(path)
        with pytest.raises(OSError, match="Errno 98"):
            sock.bind(path)
        os.unlink(path)
        sock.bind(path)


# ---- what an auditor sees


AUDIT = """
import sys
sys.path.insert(0, "tests")
from socket_help import MODULES, Kit, stdlib
net = MODULES[sys.argv[1]]
seen = []
on = False

def hook(event, args):
    if on and event.startswith("socket."):
        shown = [type(a).__mro__[-3].__name__ if isinstance(a, stdlib.socket) else a for a in args]
        seen.append((event, [str(a) if isinstance(a, bytes) else a for a in shown]))

sys.addaudithook(hook)
with Kit(net) as kit:
    listener = kit.listener("tcp4")
    unix = kit.listener("unix")
    name, path = listener.getsockname(), unix.getsockname()
    on = True
    kit.socket()
    kit.socket(net.AF_UNIX, net.SOCK_DGRAM, 0)
    kit.keep(net.socket(type=net.SOCK_DGRAM))
    kit.keep(net.socket(proto=17, type=net.SOCK_DGRAM))
    client = kit.of("tcp4")
    client.connect(name)
    kit.of("tcp4").connect_ex(name)
    kit.keep(listener.accept()[0])
    kit.of("unix").connect(path)
    kit.of("udp4").bind(("127.0.0.1", 0))
    kit.of("udp6").bind(("::1", 0))
    udp = kit.bound("udp4")
    kit.of("udp4").sendto(b"x", udp.getsockname())
    kit.of("udp4").sendto(b"x", 0, udp.getsockname())
    kit.of("udp4").sendmsg([b"x"], [], 0, udp.getsockname())
    one, two = kit.pair()
    one.sendmsg([b"x"])
    one.send(b"x")
    two.recv(9)
    kit.keep(one.dup())
    kit.keep(net.fromfd(one.fileno(), one.family, one.type))
    kit.keep(net.create_connection(name))
    kit.keep(net.create_server(("127.0.0.1", 0)))
    kit.keep(net.socket(fileno=kit.net.socket().detach()))
    for wrong in (None, "x", ("127.0.0.1",), ("127.0.0.1", 70000), ("a", "b")):
        for verb in ("bind", "connect", "connect_ex"):
            try:
                getattr(kit.of("tcp4"), verb)(wrong)
            except Exception:
                pass
    on = False
    ports = {name[1]: "PORT", udp.getsockname()[1]: "UDP"}
for event in seen:
    print(event[0], *[tuple(ports.get(p, p) for p in a) if isinstance(a, tuple) else
                      "ABSTRACT" if "ipcx-" in str(a) else ports.get(a, a) for a in event[1]])
"""


def test_audit_events_are_the_same(spawn) -> None:
    children = [spawn("-W", "ignore", "-c", AUDIT, module) for module in ("stdlib", "ipcx")]
    theirs, mine = (child.communicate(timeout=8)[0].splitlines() for child in children)
    assert len(theirs) > 30
    assert mine == theirs


REFUSED = """
import sys
sys.path.insert(0, "tests")
from socket_help import MODULES, Kit, attempt
net = MODULES[sys.argv[1]]
with Kit(net) as kit:
    listener = kit.listener("tcp4")
    sock, bound = kit.of("tcp4"), kit.of("udp4")
    client = kit.of("tcp4")
    client.connect(listener.getsockname())

    def hook(event, args):
        if event.startswith("socket."):
            raise RuntimeError("not allowed: " + event)

    sys.addaudithook(hook)
    for call, args in [
        (sock.connect, (listener.getsockname(),)), (sock.connect_ex, (listener.getsockname(),)),
        (sock.bind, (("127.0.0.1", 0),)), (bound.sendto, (b"x", ("127.0.0.1", 9))),
        (bound.sendmsg, ([b"x"], [], 0, ("127.0.0.1", 9))), (net.socket, ()), (net.socketpair, ()),
        (listener.accept, ()), (sock.dup, ()), (net.create_connection, (("127.0.0.1", 1),)),
    ]:
        print(attempt(call, *args))
"""


def test_an_auditor_can_refuse(spawn) -> None:
    children = [spawn("-W", "ignore", "-c", REFUSED, module) for module in ("stdlib", "ipcx")]
    theirs, mine = (child.communicate(timeout=8)[0].splitlines() for child in children)
    assert len(theirs) == 10
    assert mine == theirs


# ---- the interpreter's end


AT_EXIT = """
import sys, threading, time
sys.path.insert(0, "tests")
from ipcx import socket
from socket_help import Background
one, two = socket.socketpair()
listener = socket.create_server(("127.0.0.1", 0))
Background(one.recv, 1).until_blocked()
Background(listener.accept).until_blocked()
print("end", flush=True)
"""


def test_interpreter_ends_with_threads_that_wait(spawn) -> None:
    """Row 54: daemon threads inside a verb do not keep the process or crash it."""
    child = spawn("-W", "ignore", "-c", AT_EXIT)
    assert child.communicate(timeout=8)[0] == "end\n"
    assert child.returncode == 0


SUBINTERPRETERS = """
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
code = "from ipcx import socket; one, two = socket.socketpair(); one.sendall(b'x'); "
code += "assert two.recv(1) == b'x'; one.close(); two.close()"
for _ in range(3):
    ident = interpreters.create()
    failed = interpreters.run_string(ident, code)
    assert not failed, failed
    interpreters.destroy(ident)
from ipcx import socket
socket.socket().close()
print("end")
"""


def test_more_than_one_interpreter(spawn) -> None:
    child = spawn("-W", "ignore", "-c", SUBINTERPRETERS)
    assert child.communicate(timeout=8)[0] == "end\n"
    assert child.returncode == 0


def test_collected_socket_closes_its_descriptor(recwarn) -> None:
    before = open_descriptors()
    sock = ours.socket()
    del sock
    gc.collect()
    assert open_descriptors() == before
    assert [type(w.message) for w in recwarn.list] == [ResourceWarning]


def test_poll_of_a_socket_in_use() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        waiter = Background(one.recv, 1).until_blocked()
        poll = select.poll()
        poll.register(one, select.POLLIN)
        assert poll.poll(0) == []
        two.send(b"x")
        assert waiter.finish() == b"x"
