# SPDX-License-Identifier: Apache-2.0
"""What each test of the contract gets: connected pairs, listeners, peers and raw ends, all closed.

`Kit.pair()` is a connected pair over the transport under test, both ends here; `peer()` another
process at the other end; `raw()` a plain stream at the other end, on which the test may say
anything. Invariant: when the `with` block ends, channels are closed before threads are joined.
"""

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ipcx
from contract import lab, wire
from contract.drivers import NIGHT as NIGHT
from contract.peers import raw_connection
from contract.transports import Transport
from socket_help import GUARD, on_its_way

CHUNK = bytes(range(256)) * 1024  # 256 KiB: larger than what a pipe or a Unix socket holds
LARGE = CHUNK * 4
LAST = CHUNK + b"last"  # for which there is no room either
_serial = itertools.count()


class Kit(contextlib.ExitStack):
    def __init__(self, driver, transport: Transport, zygote: "Zygote") -> None:
        super().__init__()
        self.driver, self.transport, self._zygote = driver, transport, zygote
        self.threads: list[Background] = []
        self.callback(self._join)
        self._folder: str | None = None

    def _join(self) -> None:
        for thread in self.threads:
            thread.join(GUARD)

    def close_later(self, thing, **how):
        """`how` is for close(); one that is broken may say so again."""

        def close() -> None:
            with contextlib.suppress(ipcx.Error):
                thing.close(**how)

        self.callback(close)
        return thing

    def keep(self, channel):
        return self.close_later(channel, timeout=0)

    def folder(self) -> str:
        if self._folder is None:
            # Left before everything that was made later, so the paths in it are closed by then.
            folder = tempfile.TemporaryDirectory(prefix="c")
            self._folder = folder.name
            self.callback(folder.cleanup)
        return self._folder

    # ---- both ends here

    def pair(self, **options) -> tuple:
        """Two connected ends; the first one is the connector's."""
        options = {**self.transport.options, **options}
        if not self.transport.listens:
            return tuple(map(self.keep, self.driver.pair(self.transport.url, **options)))
        listener = self.listener(**options)
        one = self.connect(listener.url, **_of_connect(options))
        two = self.accept(listener)
        listener.close()
        if self._key():
            one.flush(timeout=GUARD)  # reads the listener's proof
        return one, two

    def narrow(self) -> tuple:
        """A pair that is soon full."""
        return self.pair(**self.transport.narrow)

    # ---- listeners

    def address(self) -> str:
        """Where one may listen without asking anybody."""
        name = f"ct{os.getpid()}-{next(_serial)}"
        return {
            "inproc://": f"inproc://{name}",
            "shm://": f"shm://{name}",
            "unix://": f"unix://{self.folder()}/{name}",
            "fifo://": f"fifo://{self.folder()}/{name}",
            "tcp://": "tcp://127.0.0.1:0",
            "tls://": "tls://127.0.0.1:0",
            "udp://": "udp://127.0.0.1:0",
        }[self.transport.url]

    def listener(self, url: str | None = None, **options):
        url = url or self.address()
        options = {**self.transport.options, **lab.listening(url), **options}
        return self.close_later(self.driver.listen(url, **options))

    def connect(self, url: str, **options):
        return self.keep(self.driver.connect(url, **{**self._key(), **options}))

    def _key(self) -> dict:
        """What every connector needs, too."""
        options = self.transport.options
        return {"authkey": options["authkey"]} if "authkey" in options else {}

    def accept(self, listener, timeout: float = GUARD):
        return self.keep(listener.accept(timeout=timeout))

    def connected(self, listener) -> tuple:
        """One more pair through a listener."""
        return self.connect(listener.url), self.accept(listener)

    # ---- the other end elsewhere

    def run(self, function: str, *arguments, url: str | None = None, fds=()) -> "Peer":
        """A process that runs peers.FUNCTION."""
        return self.enter_context(self._zygote.fork(function, arguments, url, fds, self._key()))

    def peer(self, function: str, *arguments) -> tuple:
        """(our end, the peer): its end is in a process that runs peers.FUNCTION."""
        if not self.transport.can("listen"):
            theirs, ours = self._pipes()
            peer = self.run(function, *arguments, url="pipe://{0},{1}", fds=theirs)
            for fd in theirs:
                os.close(fd)
            return self._connect_pipe(*ours), peer
        listener = self.listener()
        peer = self.run(function, *arguments, url=listener.url)
        channel = self.accept(listener)
        listener.close()
        return channel, peer

    def raw(self, greeting: bytes | None = None, **options) -> tuple:
        """(our end, a plain stream): it has sent `greeting`, a HELLO unless told otherwise."""
        greeting = wire.hello() if greeting is None else greeting
        if self._key():
            raise ValueError("no stream that anybody may write")
        if not self.transport.can("listen"):
            theirs, ours = self._pipes()
            raw = self.close_later(Raw(*theirs))
            raw.send(greeting)
            return self._connect_pipe(*ours, **options), raw
        listener = self.listener(**options)
        raw = self.raw_to(listener.url)
        raw.send(greeting)
        channel = self.accept(listener)
        listener.close()
        return channel, raw

    def raw_to(self, url: str) -> "Raw":
        sock = raw_connection(url)
        fd = sock.detach()
        return self.close_later(Raw(fd, fd))

    def _pipes(self) -> tuple:
        (r1, w1), (r2, w2) = os.pipe(), os.pipe()
        return (r1, w2), (r2, w1)

    def _connect_pipe(self, reading: int, writing: int, **options):
        return self.connect(f"pipe://{reading},{writing}", **options)  # they are its own now

    # ---- other threads

    def background(self, call: Callable, *args, **kwargs) -> "Background":
        thread = Background(self.driver, call, args, kwargs)
        self.threads.append(thread)
        return thread

    def waiting(self, call: Callable, *args, **kwargs) -> "Background":
        """A thread in which the call already waits."""
        return self.background(call, *args, **kwargs).until_waiting()

    # ---- what many tests do

    def fill(self, channel, message: bytes = CHUNK) -> int:
        """Sends copies until there is no room for more of them; how many will arrive."""
        count = 0
        while True:
            # Over TCP what is on its way makes room once it has arrived.
            moving = on_its_way()
            try:
                channel.send(message, timeout=0)
                count += 1
            except ipcx.WouldBlock as error:
                count += error.begun
                moving |= error.begun and self.transport.url in ("tcp://", "tls://")
                if not error.begun and not moving:
                    return count
            try:
                channel.flush(timeout=0.003)
            except ipcx.Timeout:
                if not moving:
                    return count

    def owe(self, sender, receiver, message=LARGE) -> int:
        """Sends until a rest is owed that stays; how many messages are on the way, it included."""
        count = 0
        while True:
            try:
                sender.send(message, timeout=0)
                count += 1
            except ipcx.WouldBlock as error:
                count += error.begun
                if error.begun and self._stays(sender):
                    return count
                if not error.begun:
                    # It was full at a message's end: another try.
                    receiver.receive(timeout=GUARD)
                    count -= 1

    def _stays(self, sender) -> bool:
        """Whether its rest is still owed once nothing is on its way any more: no whole segment then
        fits into the peer's window, and what is left of it takes less than one of a LARGE rest.
        """
        moves = self.transport.url in ("tcp://", "tls://")
        while True:
            moving, owed = moves and on_its_way(), sender.stats().owed
            try:
                sender.flush(timeout=0)
            except ipcx.WouldBlock:
                if not moving and sender.stats().owed == owed:
                    return True
            else:
                return False

    def drain(self, sender, receiver, count: int) -> list:
        """Receives `count` messages, the sender's rest pushed on in between, in one thread."""
        got = []
        deadline = time.monotonic() + GUARD
        while len(got) < count:
            with contextlib.suppress(ipcx.Timeout, ipcx.Closed):
                sender.flush(timeout=0)
            with contextlib.suppress(ipcx.Timeout):
                got.append(receiver.receive(timeout=0 if len(got) % 2 else 0.002))
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(got)} of {count} messages came")
        return got

    def receive_all(self, channel) -> tuple[list, Exception]:
        """The messages that came, and the exception at their end."""
        got: list = []
        try:
            while True:
                got.append(channel.receive(timeout=GUARD))
        except Exception as error:
            return got, error

    def send_on(self, channel, message: bytes = CHUNK, **how) -> None:
        """Sends until that fails: the first ones may still go into what the kernel holds."""
        message = message if self.transport.can("large") else message[:50_000]
        for _ in range(10_000):
            channel.send(message, timeout=GUARD, **how)

    def still_works(self, one, two) -> None:
        """Both directions, if there are two, and nothing older is in the way."""
        ways = ((one, two), (two, one)) if self.transport.can("duplex") else ((one, two),)
        for sender, receiver in ways:
            with contextlib.suppress(ipcx.WouldBlock):
                sender.send("still", timeout=0)
            assert self.drain(sender, receiver, 1) == ["still"]


def _of_connect(options: dict) -> dict:
    return {name: options[name] for name in ("max_message", "checksum") if name in options}


class Background(threading.Thread):
    """Runs a call in a thread and keeps what came of it."""

    def __init__(self, driver, call: Callable, args: tuple, kwargs: dict) -> None:
        super().__init__(daemon=True)
        self.driver, self.call, self.args, self.kwargs = driver, call, args, kwargs
        self.result = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.call(*self.args, **self.kwargs)
        except BaseException as error:
            self.error = error

    def until_waiting(self) -> "Background":
        """Returns once the call waits; fails if it ended instead."""
        deadline = time.monotonic() + GUARD
        while self.is_alive() and not (self.native_id and self.driver.waits(self.native_id)):
            assert time.monotonic() < deadline, "the call neither waits nor ends"
        assert self.is_alive(), f"it did not wait: {self.result!r:.200} {self.error!r:.200}"
        return self

    def finish(self):
        """Its result, or its exception raised here."""
        self.join(GUARD)
        assert not self.is_alive(), "the call did not end"
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # the traceback's frames hold channels
        return self.result


class Raw:
    """The two descriptors of a stream, or twice the one of a socket."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.writing, data) :]

    def receive(self, size: int = 1 << 16) -> bytes:
        """What is there, after a wait; b"" at the end."""
        ready, _, _ = select.select([self.reading], [], [], GUARD)
        assert ready, "the raw end got nothing"
        try:
            return os.read(self.reading, size)
        except ConnectionResetError:
            return b""

    def frames_until(self, kind: int) -> list:
        """The frames up to the first one of this type."""
        stream = b""
        while not any(one[0] == kind for one in wire.frames(stream)):
            piece = self.receive()
            assert piece, f"the end came before a frame of type {kind}: {stream!r:.200}"
            stream += piece
        return list(wire.frames(stream))

    def until_end(self) -> bytes:
        got = b""
        while piece := self.receive():
            got += piece
        return got

    def socket(self) -> socket.socket:
        return socket.socket(fileno=os.dup(self.writing))

    def close(self) -> None:
        for fd in {self.reading, self.writing} - {-1}:
            os.close(fd)
        self.reading = self.writing = -1


# ---- other processes


class Peer:
    """A process of the zygote's: told and telling lines of JSON."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(GUARD)
        self.sock = sock
        self.file = sock.makefile("rw", newline="\n")
        self.pid = self.told()
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # over already
            self.pidfd = -1

    def told(self):
        line = self.file.readline()
        assert line, "the peer ended without a word"
        return json.loads(line)

    def tell(self, what: object = "go") -> None:
        self.file.write(json.dumps(what) + "\n")
        self.file.flush()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends the signal and, if it is one that ends, waits for the end."""
        if self.pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)
        if number == signal.SIGKILL:
            self.until_gone()

    def until_gone(self) -> None:
        if self.pidfd >= 0:
            ready, _, _ = select.select([self.pidfd], [], [], GUARD)
            assert ready, "the peer goes on"

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.file.close()
        self.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Zygote:
    """Our side of zygote.py."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        tests = Path(__file__).parent.parent
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "contract.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(tests)},
            )

    def fork(self, function: str, arguments: tuple, url: str | None, fds, key: dict) -> Peer:
        ours, theirs = socket.socketpair()
        with theirs:
            request = {"function": function, "arguments": arguments, "url": url, "key": key}
            data = json.dumps(request).encode()
            socket.send_fds(self.control, [data], [theirs.fileno(), *fds])
        return Peer(ours)

    def close(self) -> None:
        self.control.close()
        self.process.wait(GUARD)
