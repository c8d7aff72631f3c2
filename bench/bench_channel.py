"""Channels over Unix sockets and TCP, against what programs use today: struct and recv by hand,
multiprocessing.connection, pyzmq, asyncio streams and uvloop; and the same bytes from C."""

import asyncio
import contextlib
import os
from contextlib import contextmanager
from itertools import repeat

import by_hand
from contestant import Absent, counterpart
from harness import Bench, Goal, floor, python

SMALL = b"x" * 64
BULK = b"x" * (64 * 1024)
LARGE = b"x" * (1024 * 1024)
BATCH = [SMALL] * 100
ASK, END = b"?", b"!!"


def _socket_pair(socket, family):
    if family == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        a = socket.create_connection(server.getsockname())
        b, _ = server.accept()
    for end in (a, b):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return a, b


class Struct(by_hand.Struct):
    @classmethod
    def pair(cls, family):
        return map(cls, _socket_pair(cls.socket, family))


class Socket(Struct):
    """No messages at all: 64 bytes, and luck that they come in one piece."""

    def send(self, message):
        self.sock.sendall(message)

    def receive(self):
        return self.sock.recv(64)


class Multiprocessing(by_hand.Multiprocessing):
    @classmethod
    def pair(cls, family):
        return map(cls, _socket_pair(cls.socket, family))


def _pyzmq():
    try:
        import zmq
    except ImportError as error:
        raise Absent(f"pyzmq is not installed ({error})") from None

    class Pyzmq:
        """Made where it is first used: a ZeroMQ socket does not survive fork."""

        def __init__(self, url, bind):
            self.url, self.bind, self.made = url, bind, None

        @classmethod
        def pair(cls, family):
            if family == "unix":
                url = f"ipc://@ipcx-bench-{os.getpid()}-{os.urandom(4).hex()}"
            else:
                with by_hand.Struct.socket.create_server(("127.0.0.1", 0)) as probe:
                    url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
            return cls(url, True), cls(url, False)

        def __getattr__(self, name):
            if self.made is None:
                self.context = zmq.Context()
                self.made = self.context.socket(zmq.PAIR)
                if self.bind:
                    self.made.bind(self.url)
                else:
                    self.made.connect(self.url)
                self.send, self.receive = self.made.send, self.made.recv
            return self.__dict__[name]

        def send_many(self, messages):
            for message in messages:
                self.send(message)

        def receive_some(self):
            return [self.receive()]

        def close(self):
            if self.made is not None:
                self.made.close(1000)
                self.context.term()

    return Pyzmq


def _ipcx():
    try:
        import ipcx
    except ImportError as error:
        raise Absent(f"ipcx cannot be imported ({error}); `make bench` installs it") from None

    class Ours:
        ended = ipcx.PeerClosed

        def __init__(self, channel):
            self.channel = channel
            self.send, self.receive = channel.send, channel.receive
            self.receive_into = channel.receive_into
            self.send_many, self.receive_some = channel.send_many, channel.receive_many

        @classmethod
        def pair(cls, family):
            return map(cls, ipcx.pair(f"{family}://"))

        def close(self):
            with contextlib.suppress(ipcx.PeerClosed):
                self.channel.close()

    return Ours


class Streams:
    """asyncio's streams, with a length of 4 bytes in front."""

    @staticmethod
    def runner():
        return asyncio.Runner()

    @classmethod
    async def pair(cls, family):
        ends = _socket_pair(by_hand.Struct.socket, family)
        opened = [await asyncio.open_connection(sock=end) for end in ends]
        return [cls(*pair) for pair in opened]

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def send(self, message):
        self.writer.write(len(message).to_bytes(4, "big") + message)
        await self.writer.drain()

    async def receive(self):
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        return await self.reader.readexactly(size)

    async def close(self):
        self.writer.close()
        await self.writer.wait_closed()


def _uvloop():
    try:
        import uvloop
    except ImportError as error:
        raise Absent(f"uvloop is not installed ({error})") from None

    class Uvloop(Streams):
        @staticmethod
        def runner():
            return asyncio.Runner(loop_factory=uvloop.new_event_loop)

    return Uvloop


def _aio():
    try:
        from ipcx import aio
    except ImportError as error:
        raise Absent(f"ipcx cannot be imported ({error}); `make bench` installs it") from None

    class Aio:
        @staticmethod
        def runner():
            return asyncio.Runner()

        @classmethod
        async def pair(cls, family):
            return await aio.pair(f"{family}://")

    return Aio


bench = Bench(
    "channel",
    __file__,
    {
        "C": floor("floor_framing.c"),
        "socket": python(lambda: Socket),
        "stdlib": python(lambda: Struct),
        "multiprocessing": python(lambda: Multiprocessing),
        "pyzmq": python(_pyzmq),
        "asyncio": python(lambda: Streams),
        "uvloop": python(_uvloop),
        "aio": python(_aio),
        "ipcx": python(_ipcx),
    },
    ours="ipcx",
    floor="C",
)


@contextmanager
def pair(kind, family):
    left, right = kind.pair(family)
    try:
        yield left, right
    finally:
        left.close()
        right.close()


def coroutines(kind, family, message):
    """Both ends in one loop: what a call costs with await."""
    with kind.runner() as runner:
        left, right = runner.run(kind.pair(family))

        async def work(n):
            for _ in repeat(None, n):
                await left.send(message)
                await right.receive()

        yield lambda n: runner.run(work(n))

        async def close():
            await left.close()
            with contextlib.suppress(ConnectionError):
                await right.close()

        runner.run(close())


def one_by_one(kind, family, message):
    if kind is Socket and len(message) > 64:
        raise Absent("has no messages to tell apart")
    if hasattr(kind, "runner"):
        yield from coroutines(kind, family, message)
        return
    with pair(kind, family) as (left, right):
        send, receive = left.send, right.receive

        def run(n):
            for _ in repeat(None, n):
                send(message)
                receive()

        yield run


def _only_synchronous(kind):
    if hasattr(kind, "runner"):
        raise Absent("a row of the synchronous calls")


def pingpong(kind, cpus, family, message=SMALL):
    _only_synchronous(kind)
    left, right = kind.pair(family)

    def answer():
        left.close()
        while (message := right.receive()) != END:
            right.send(message)
        right.close()

    with counterpart(answer, cpus):
        right.close()

        def run(n):
            for _ in repeat(None, n):
                left.send(message)
                left.receive()

        yield run
        left.send(END)
        left.close()


def flood(kind, cpus, family, message, batch=0):
    """One process sends as fast as it can, another takes it in."""
    _only_synchronous(kind)
    if kind is Socket:
        raise Absent("has no messages to tell apart")
    left, right = kind.pair(family)

    def take():
        left.close()
        some = getattr(right, "receive_some", None) or (lambda: (right.receive(),))
        got = b""
        while got != END:
            for got in some():
                if len(got) == 1:
                    right.send(got)
        right.close()

    with counterpart(take, cpus):
        right.close()

        def run(n):
            if batch:
                many = [message] * batch
                for _ in repeat(None, n):
                    left.send_many(many)
            else:
                send = left.send
                for _ in repeat(None, n):
                    send(message)
            left.send(ASK)
            left.receive()

        yield run
        left.send(END)
        left.close()


@bench.row("unix", "send and receive a message of 64 B on a Unix pair", Goal(1.5))
def _(kind, cpus):
    yield from one_by_one(kind, "unix", SMALL)


@bench.row("unix-async", "the same, with await at most twice as long", Goal(0.5, peer="aio"))
def _(kind, cpus):
    yield from one_by_one(kind, "unix", SMALL)


@bench.row("tcp", "the same, TCP over loopback", Goal(1.5))
def _(kind, cpus):
    yield from one_by_one(kind, "tcp", SMALL)


@bench.row("64k", "send and receive a message of 64 KiB on a Unix pair")
def _(kind, cpus):
    yield from one_by_one(kind, "unix", BULK)


@bench.row("flood", "64 B to another process, one call each, Unix", Goal(1.5), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, "unix", SMALL)


@bench.row("flood-tcp", "the same, TCP over loopback", Goal(1.5), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, "tcp", SMALL)


@bench.row("flood-batch", "100 of 64 B at once, Unix", Goal(2, peer="pyzmq"), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, "unix", SMALL, len(BATCH))


@bench.row("flood-batch-tcp", "the same, TCP over loopback", Goal(3, peer="pyzmq"), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, "tcp", SMALL, len(BATCH))


@bench.row("flood-64k", "64 KiB to another process, Unix", unit="GB/s", size=len(BULK), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, "unix", BULK)


@bench.row("flood-1m", "1 MiB to another process, Unix", unit="GB/s", size=len(LARGE), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, "unix", LARGE)


@bench.row("flood-1m-tcp", "the same, TCP over loopback", unit="GB/s", size=len(LARGE), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, "tcp", LARGE)


@bench.row("pingpong", "64 B to another process and back, Unix", Goal(1.0, 0.03, "socket"), cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus, "unix")


@bench.row("pingpong-tcp", "the same, TCP over loopback", Goal(1.0, 0.03, "socket"), cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus, "tcp")


if __name__ == "__main__":
    bench.main()
