"""ipcx.socket against the stdlib's socket and against the same system calls in C.

Every row is written once and run with either module; floor_socket.c does the same work under the
same row names. In the rows with "timeout" a time-out of 5 s is set and never runs out.
"""

import threading
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import repeat

from contestant import Absent, counterpart, pin
from harness import Bench, Goal, floor, python

SMALL = b"x" * 64
LINE = b"x" * 63 + b"\n"
LINES = 64
BULK = b"x" * (64 * 1024)  # written to: untouched zeros would all be one page in the cache
MEBI = b"x" * (1024 * 1024)

EVEN = Goal(1.0, slack=0.03)  # never slower than the stdlib, within the noise
TRY_FIRST = Goal(1.4)  # a time-out is set and the data is there: no poll first
BIRTH = Goal(1.08)
CONNECTION = Goal(1.15)


def _stdlib():
    import socket

    return socket


def _ipcx():
    try:
        import ipcx.socket
    except ImportError as error:
        raise Absent(f"ipcx cannot be imported ({error}); `make bench` installs it") from None
    return ipcx.socket


bench = Bench(
    "socket",
    __file__,
    {"C": floor("floor_socket.c"), "stdlib": python(_stdlib), "ipcx": python(_ipcx)},
    ours="ipcx",
    floor="C",
)


# What rows are made of. `timeout`: a number of seconds, None (blocking) or 0.0 (non-blocking).


@contextmanager
def pair(socket, timeout=None, kind="SOCK_STREAM"):
    a, b = socket.socketpair(socket.AF_UNIX, getattr(socket, kind))
    with a, b:
        a.settimeout(timeout)
        b.settimeout(timeout)
        yield a, b


@contextmanager
def listening(socket, family, timeout=None):
    """A listener whose accepted connections reset when closed, so that none stays in TIME_WAIT."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if family == socket.AF_INET:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            listener.bind(("127.0.0.1", 0))
        else:
            listener.bind("")  # an abstract name of the kernel's choice
        listener.listen(16)
        listener.settimeout(timeout)
        yield listener


@contextmanager
def tcp_pair(socket, timeout=None):
    with listening(socket, socket.AF_INET) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with near, far:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                end.settimeout(timeout)
            yield near, far


def sends_and_receives(a, b):
    """The loop of many rows: 64 B there, in one thread."""
    data = SMALL

    def run(n):
        for _ in repeat(None, n):
            a.send(data)
            b.recv(4096)

    return run


# Small messages in one thread: the data is there before it is asked for.


@bench.row("unix", "send + recv of 64 B on a Unix pair, blocking", EVEN)
def _(socket, cpus):
    with pair(socket) as ends:
        yield sends_and_receives(*ends)


@bench.row("unix-timeout", "the same with a time-out set", TRY_FIRST)
def _(socket, cpus):
    with pair(socket, 5.0) as ends:
        yield sends_and_receives(*ends)


@bench.row("unix-nonblocking", "the same, non-blocking", EVEN)
def _(socket, cpus):
    with pair(socket, 0.0) as ends:
        yield sends_and_receives(*ends)


@bench.row("unix-threaded", "the same, blocking, while another thread of the process sleeps", EVEN)
def _(socket, cpus):
    with another_thread(), pair(socket) as ends:
        yield sends_and_receives(*ends)


@bench.row("recv-into", "send + recv_into of 64 B on a Unix pair, blocking", EVEN)
def _(socket, cpus):
    with pair(socket) as ends:
        yield sends_and_receives_into(*ends)


@bench.row("recv-into-timeout", "the same with a time-out set", TRY_FIRST)
def _(socket, cpus):
    with pair(socket, 5.0) as ends:
        yield sends_and_receives_into(*ends)


def sends_and_receives_into(a, b):
    data, room = SMALL, bytearray(4096)

    def run(n):
        for _ in repeat(None, n):
            a.send(data)
            b.recv_into(room)

    return run


@bench.row("msg", "sendmsg of 8 + 56 B and recvmsg on a Unix pair, blocking", EVEN)
def _(socket, cpus):
    with pair(socket) as ends:
        yield sends_and_receives_messages(*ends)


@bench.row("msg-timeout", "the same with a time-out set", EVEN)
def _(socket, cpus):
    with pair(socket, 5.0) as ends:
        yield sends_and_receives_messages(*ends)


def sends_and_receives_messages(a, b):
    pieces = [SMALL[:8], SMALL[8:]]

    def run(n):
        for _ in repeat(None, n):
            a.sendmsg(pieces)
            b.recvmsg(4096)

    return run


@bench.row("seqpacket", "send + recv of 64 B on a Unix pair that keeps message boundaries", EVEN)
def _(socket, cpus):
    with pair(socket, kind="SOCK_SEQPACKET") as ends:
        yield sends_and_receives(*ends)


@bench.row("dgram", "sendto + recvfrom of 64 B, Unix datagrams, both ends named", EVEN)
def _(socket, cpus):
    with datagrams(socket, socket.AF_UNIX, "") as run:
        yield run


@bench.row("udp", "sendto + recvfrom of 64 B, UDP over loopback", EVEN)
def _(socket, cpus):
    with datagrams(socket, socket.AF_INET, ("127.0.0.1", 0)) as run:
        yield run


@bench.row("udp-timeout", "the same with a time-out set", EVEN)
def _(socket, cpus):
    with datagrams(socket, socket.AF_INET, ("127.0.0.1", 0), 5.0) as run:
        yield run


@contextmanager
def datagrams(socket, family, name, timeout=None):
    with socket.socket(family, socket.SOCK_DGRAM) as a, socket.socket(family, a.type) as b:
        a.bind(name)
        b.bind(name)
        a.settimeout(timeout)
        b.settimeout(timeout)
        data, to = SMALL, b.getsockname()

        def run(n):
            for _ in repeat(None, n):
                a.sendto(data, to)
                b.recvfrom(4096)

        yield run


@bench.row("tcp", "send + recv of 64 B, TCP over loopback, blocking", EVEN)
def _(socket, cpus):
    with tcp_pair(socket) as ends:
        yield sends_and_receives(*ends)


@bench.row("tcp-timeout", "the same with a time-out set", EVEN)
def _(socket, cpus):
    with tcp_pair(socket, 5.0) as ends:
        yield sends_and_receives(*ends)


# Bulk.


@bench.row("sendall-64k", "sendall of 64 KiB on a Unix pair, then recv until all is there", EVEN)
def _(socket, cpus):
    with pair(socket) as ends:
        yield sends_all(*ends)


@bench.row("sendall-64k-timeout", "the same with a time-out set", EVEN)
def _(socket, cpus):
    with pair(socket, 5.0) as ends:
        yield sends_all(*ends)


def sends_all(a, b):
    data, size = BULK, len(BULK)

    def run(n):
        for _ in repeat(None, n):
            a.sendall(data)
            got = 0
            while got < size:
                got += len(b.recv(65536))

    return run


@bench.row(
    "bulk-send",
    "sendall of 1 MiB to another process, which takes it with recv_into and answers one byte",
    EVEN,
    unit="GB/s",
    size=len(MEBI),
    cpus=2,
)
def _(socket, cpus):
    with across(socket, cpus, drains) as end:
        yield gives(end)


@bench.row(
    "bulk-send-one-cpu",
    "the same with both processes on one CPU (with --pin)",
    EVEN,
    unit="GB/s",
    size=len(MEBI),
)
def _(socket, cpus):
    with across(socket, cpus[:1], drains) as end:
        yield gives(end)


def drains(end):
    room = bytearray(len(MEBI))
    view = memoryview(room)
    while True:
        got = 0
        while got < len(room):
            more = end.recv_into(view[got:])
            if more == 0:
                return
            got += more
        end.send(b".")


def gives(end):
    data = MEBI

    def run(n):
        for _ in repeat(None, n):
            end.sendall(data)
            end.recv(1)

    return run


@bench.row(
    "bulk-recv",
    "recv(1 MiB) until 1 MiB is there, which another process sends on a byte's demand",
    EVEN,
    unit="GB/s",
    size=len(MEBI),
    cpus=2,
)
def _(socket, cpus):
    def supply(end):
        while end.recv(1):
            end.sendall(MEBI)

    with across(socket, cpus, supply) as end:
        size = len(MEBI)

        def run(n):
            for _ in repeat(None, n):
                end.send(b".")
                got = 0
                while got < size:
                    got += len(end.recv(size))

        yield run


# Birth, connection, death.


@bench.row("socket-unix", "socket() + close() of a Unix socket", BIRTH)
def _(socket, cpus):
    yield makes_and_closes(socket, socket.AF_UNIX)


@bench.row("socket-tcp", "socket() + close() of a TCP socket", BIRTH)
def _(socket, cpus):
    yield makes_and_closes(socket, socket.AF_INET)


def makes_and_closes(socket, family):
    make, stream = socket.socket, socket.SOCK_STREAM

    def run(n):
        for _ in repeat(None, n):
            make(family, stream).close()

    return run


@bench.row("socketpair", "socketpair() + close() of both ends", BIRTH)
def _(socket, cpus):
    make = socket.socketpair

    def run(n):
        for _ in repeat(None, n):
            a, b = make()
            a.close()
            b.close()

    yield run


@bench.row("dup", "dup() + close()", EVEN)
def _(socket, cpus):
    with pair(socket) as (a, _b):

        def run(n):
            for _ in repeat(None, n):
                a.dup().close()

        yield run


@bench.row("connect-unix", "socket, connect, accept, both closed; Unix, blocking", CONNECTION)
def _(socket, cpus):
    with listening(socket, socket.AF_UNIX) as listener:
        yield connects(socket, listener)


@bench.row("connect-unix-timeout", "the same with a time-out set on both sides", CONNECTION)
def _(socket, cpus):
    with listening(socket, socket.AF_UNIX, 5.0) as listener:
        yield connects(socket, listener, 5.0)


@bench.row("connect-unix-threaded", "blocking, while another thread sleeps", CONNECTION)
def _(socket, cpus):
    with another_thread(), listening(socket, socket.AF_UNIX) as listener:
        yield connects(socket, listener)


@bench.row("connect-tcp", "socket, connect, accept, both closed; TCP, blocking", CONNECTION)
def _(socket, cpus):
    with listening(socket, socket.AF_INET) as listener:
        yield connects(socket, listener)


@bench.row("connect-tcp-timeout", "the same with a time-out set on both sides", CONNECTION)
def _(socket, cpus):
    with listening(socket, socket.AF_INET, 5.0) as listener:
        yield connects(socket, listener, 5.0)


def connects(socket, listener, timeout=None):
    make, stream = socket.socket, socket.SOCK_STREAM
    family, to = listener.family, listener.getsockname()

    def run(n):
        for _ in repeat(None, n):
            near = make(family, stream)
            if timeout is not None:
                near.settimeout(timeout)
            near.connect(to)
            far, _address = listener.accept()
            far.close()
            near.close()

    return run


@bench.row("create-connection", "create_connection, accept, both closed; TCP", EVEN)
def _(socket, cpus):
    with listening(socket, socket.AF_INET) as listener:
        make, to = socket.create_connection, listener.getsockname()

        def run(n):
            for _ in repeat(None, n):
                near = make(to)
                far, _address = listener.accept()
                far.close()
                near.close()

        yield run


@bench.row("settimeout", "settimeout(5.0) where it is 5.0 already", EVEN)
def _(socket, cpus):
    with pair(socket, 5.0) as (a, _b):

        def run(n):
            for _ in repeat(None, n):
                a.settimeout(5.0)

        yield run


@bench.row("settimeout-switch", "settimeout(None) + settimeout(5.0)", EVEN)
def _(socket, cpus):
    with pair(socket) as (a, _b):

        def run(n):
            for _ in repeat(None, n):
                a.settimeout(None)
                a.settimeout(5.0)

        yield run


# Round trips: both sides sleep until the other has sent.


@bench.row("pingpong", "64 B there and back between two processes, blocking", EVEN, cpus=2)
def _(socket, cpus):
    with across(socket, cpus, echoes) as end:
        yield asks(end)


@bench.row("pingpong-timeout", "the same with a time-out set on both sides", EVEN, cpus=2)
def _(socket, cpus):
    with across(socket, cpus, echoes, 5.0) as end:
        yield asks(end)


@bench.row("pingpong-one-cpu", "blocking, both processes on one CPU (with --pin)", EVEN)
def _(socket, cpus):
    with across(socket, cpus[:1], echoes) as end:
        yield asks(end)


@bench.row("pingpong-threads", "64 B there and back between two threads, blocking", EVEN, cpus=2)
def _(socket, cpus):
    with between_threads(socket, cpus) as end:
        yield asks(end)


@bench.row("pingpong-threads-one-cpu", "blocking, both threads on one CPU (with --pin)", EVEN)
def _(socket, cpus):
    with between_threads(socket, cpus[:1]) as end:
        yield asks(end)


@bench.row("pingpong-threads-timeout", "the same with a time-out set", EVEN, cpus=2)
def _(socket, cpus):
    with between_threads(socket, cpus, 5.0) as end:
        yield asks(end)


def echoes(end):
    while data := end.recv(4096):
        end.send(data)


def asks(end):
    data = SMALL

    def run(n):
        for _ in repeat(None, n):
            end.send(data)
            end.recv(4096)

    return run


@contextmanager
def across(socket, cpus, work, timeout=None):
    """One end of a Unix pair; `work` runs with the other in a second process, until EOF."""
    a, b = socket.socketpair()
    a.settimeout(timeout)
    b.settimeout(timeout)

    def other_side():
        a.close()
        work(b)

    with counterpart(other_side, cpus), closing(a):
        b.close()
        yield a


@contextmanager
def between_threads(socket, cpus, timeout=None):
    with pair(socket, timeout) as (a, b):

        def other_side():
            pin(cpus, 1)
            with suppress(OSError):
                echoes(b)

        thread = threading.Thread(target=other_side)
        thread.start()
        try:
            yield a
        finally:
            a.close()
            thread.join()


@contextmanager
def another_thread():
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join()


# Lines and exact sizes.


@bench.row("readline", "sendall of a 64 B line + readline of makefile('rb')", EVEN)
def _(socket, cpus):
    with pair(socket) as (a, b), b.makefile("rb") as lines:
        data = LINE

        def run(n):
            for _ in repeat(None, n):
                a.sendall(data)
                lines.readline()

        yield run


@bench.row("readline-64", "64 such lines in one sendall, 64 × readline", EVEN)
def _(socket, cpus):
    with pair(socket) as (a, b), b.makefile("rb") as lines:
        data = LINE * LINES

        def run(n):
            for _ in repeat(None, n):
                a.sendall(data)
                for _ in repeat(None, LINES):
                    lines.readline()

        yield run


@bench.row("exactly", "1 KiB sent; recv_exactly, or the usual loop in Python", EVEN)
def _(socket, cpus):
    with pair(socket) as (a, b):
        take = extra(b, "recv_exactly", loop_exactly)
        data, size = bytes(1024), 1024

        def run(n):
            for _ in repeat(None, n):
                a.send(data)
                take(size)

        yield run


@bench.row("until", "a 64 B line; recv_until, or peek + recv in a loop in Python", EVEN)
def _(socket, cpus):
    with pair(socket) as (a, b):
        take = extra(b, "recv_until", loop_until)
        data = LINE

        def run(n):
            for _ in repeat(None, n):
                a.send(data)
                take(b"\n")

        yield run


def extra(sock, name, loop):
    """ipcx's own method, or for the stdlib the loop that programs write in its place."""
    if type(sock).__module__ == "socket":
        return partial(loop, sock)
    if not hasattr(sock, name):
        raise Absent(f"{name} is not there yet")
    return getattr(sock, name)


def loop_exactly(sock, size):
    pieces = []
    while size:
        piece = sock.recv(size)
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def loop_until(sock, delimiter, limit=65536):
    """Takes nothing past the delimiter: looks first (MSG_PEEK), then takes what belongs to it."""
    taken = b""
    while len(taken) < limit:
        seen = sock.recv(4096, 2)
        if not seen:
            raise EOFError
        keep = len(taken)
        at = (taken + seen).find(delimiter)
        if at >= 0:
            return taken + sock.recv(at + len(delimiter) - keep)
        taken += sock.recv(len(seen))
    raise ValueError("no delimiter within the limit")


if __name__ == "__main__":
    bench.main()
