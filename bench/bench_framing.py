"""Framed messages: ipcx.framing, the loop with struct and recv that programs write, and
multiprocessing.connection, against the same bytes from C. Every message has its length in 4 bytes
in front of it (multiprocessing's own format is the same)."""

from contextlib import contextmanager
from itertools import repeat

from by_hand import Multiprocessing, Struct
from contestant import Absent, counterpart
from harness import Bench, Goal, floor, python

SMALL = b"x" * 64
BULK = b"x" * (64 * 1024)
BATCH = [SMALL] * 100

SINGLE = Goal(1.5)
MANY = Goal(2.0)


def _ipcx():
    try:
        import ipcx.socket
        from ipcx.framing import Framed, Prefix
    except ImportError as error:
        raise Absent(f"ipcx cannot be imported ({error}); `make bench` installs it") from None

    class Ours(Framed):
        socket = ipcx.socket

        def __init__(self, sock):
            super().__init__(sock, Prefix(4))

        def receive_count(self, count):
            while count > 0:
                count -= len(self.receive_many(count))

    return Ours


bench = Bench(
    "framing",
    __file__,
    {
        "C": floor("floor_framing.c"),
        "stdlib": python(lambda: Struct),
        "multiprocessing": python(lambda: Multiprocessing),
        "ipcx": python(_ipcx),
    },
    ours="ipcx",
    floor="C",
)


@contextmanager
def pair(kind, family):
    socket = kind.socket
    if family == "unix":
        a, b = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            a = socket.create_connection(server.getsockname())
            b, _ = server.accept()
        for end in (a, b):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    left, right = kind(a), kind(b)
    try:
        yield left, right
    finally:
        left.close()
        right.close()


def one_by_one(kind, family, message):
    with pair(kind, family) as (left, right):
        send, receive = left.send, right.receive

        def run(n):
            for _ in repeat(None, n):
                send(message)
                receive()

        yield run


def streams(kind, family):
    """A hundred sent one by one, then received one by one: they come many at a time."""
    with pair(kind, family) as (left, right):
        send, receive = left.send, right.receive

        def run(n):
            for _ in repeat(None, n):
                for message in BATCH:
                    send(message)
                for _ in BATCH:
                    receive()

        yield run


def batches(kind, family):
    with pair(kind, family) as (left, right):

        def run(n):
            for _ in repeat(None, n):
                left.send_many(BATCH)
                right.receive_count(len(BATCH))

        yield run


def pingpong(kind, cpus, family):
    with pair(kind, family) as (left, right):

        def answer():
            left.close()
            try:
                while True:
                    right.send(right.receive())
            except EOFError:
                pass

        with counterpart(answer, cpus):
            right.close()

            def run(n):
                for _ in repeat(None, n):
                    left.send(SMALL)
                    left.receive()

            yield run
            left.close()


@bench.row("unix", "send and receive a message of 64 B on a Unix pair", SINGLE)
def _(kind, cpus):
    yield from one_by_one(kind, "unix", SMALL)


# No goal: most of it is the kernel's, C is only 1.4 times as fast as the loop.
@bench.row("tcp", "the same, TCP over loopback", SINGLE)
def _(kind, cpus):
    yield from one_by_one(kind, "tcp", SMALL)


@bench.row("stream", "100 messages of 64 B, sent one by one, then received one by one", SINGLE)
def _(kind, cpus):
    yield from streams(kind, "unix")


@bench.row("stream-tcp", "the same, TCP over loopback", SINGLE)
def _(kind, cpus):
    yield from streams(kind, "tcp")


@bench.row("batch", "100 messages of 64 B at once: send_many, receive_many", MANY)
def _(kind, cpus):
    yield from batches(kind, "unix")


@bench.row("batch-tcp", "the same, TCP over loopback", MANY)
def _(kind, cpus):
    yield from batches(kind, "tcp")


@bench.row("64k", "send and receive a message of 64 KiB on a Unix pair")
def _(kind, cpus):
    yield from one_by_one(kind, "unix", BULK)


@bench.row("pingpong", "64 B to another process and back, Unix", cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus, "unix")


@bench.row("pingpong-tcp", "the same, TCP over loopback", cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus, "tcp")


if __name__ == "__main__":
    bench.main()
