# SPDX-License-Identifier: Apache-2.0
"""shm:// and a peer that is none: it speaks the rendezvous and then does what it likes.

The peer is a process of its own, in plain Python: it makes the memory, passes it, and writes random
bytes over all of it, punches holes, rings without end or never, clears O_NONBLOCK, hangs up. Our
end may raise what the outcome table names; it must come back, and never crash (`make asan` runs
this file too)."""

import array
import contextlib
import fcntl
import mmap
import os
import random
import select
import signal
import socket
import struct
import threading

import pytest

import ipcx

NIGHT = bool(os.environ.get("IPCX_NIGHT"))
VISITS = 400 if NIGHT else 6  # connections of each kind of peer
CALLS = 150  # on each connection

HEAD, RING = 65536, 65536
SIZE = HEAD + 2 * RING
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
HELLO = struct.Struct("=8sIIQQ")
GOOD = (b"ipcxshm\0", 1, 0x01020304, RING, 1 << 20)

pytestmark = pytest.mark.hang_guard(120)


@pytest.fixture
def place(tmp_path_factory, monkeypatch):
    """A runtime directory with a short name; where shm://there is in it."""
    folder = tmp_path_factory.mktemp("run")
    folder.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return str(folder / "ipcx" / "there.sock")


def memory(size=SIZE, seals=SEALS):
    fd = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def offer(path, hello, fds):
    """Connects and passes that; the socket."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    peer.sendmsg([hello], rights)
    return peer


class Peer:
    """A rendezvous as it should be, and the means to spoil everything after it."""

    def __init__(self, path, chance):
        self.chance = chance
        self.fd = memory()
        self.bells = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2)]
        self.map = mmap.mmap(self.fd, SIZE)
        self.socket = offer(path, HELLO.pack(*GOOD), [self.fd, *self.bells])
        self.socket.setblocking(False)
        self.hung_up = select.poll()
        self.hung_up.register(self.socket, select.POLLRDHUP)
        with contextlib.suppress(OSError):
            self.socket.sendmsg([b"P"])

    def scribble(self):
        """Over the shared words, the headers of records, or all there is."""
        kind = self.chance.randrange(4)
        if kind == 0:
            self.map[:] = self.chance.randbytes(SIZE)
        elif kind == 1:
            self.map[:2048] = self.chance.randbytes(2048)
        else:
            at = self.chance.randrange(0, 2048 if kind == 2 else SIZE, 8)
            value = self.chance.choice([0, 8, 64, RING, 2**32 - 1, 2**63, 2**64 - 8])
            self.map[at : at + 8] = value.to_bytes(8, "little")

    def punch(self):
        keep_size_punch_hole = 3
        at = self.chance.randrange(0, SIZE, 4096)
        _libc().fallocate(self.fd, keep_size_punch_hole, at, 4096 * self.chance.randrange(1, 9))
        self.scribble()

    def ring(self):
        for bell in self.bells:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_write(bell, 1)
        with contextlib.suppress(BlockingIOError):
            self.socket.send(b"B" * self.chance.randrange(1, 4096))

    def block(self):
        """Whoever writes to these bells now sleeps for ever: we are not to be the first."""
        for bell in self.bells if self.map[0] != 7 else ():
            with contextlib.suppress(BlockingIOError):
                os.eventfd_write(bell, 2**64 - 2)
            fcntl.fcntl(bell, fcntl.F_SETFL, os.O_RDWR)
        self.map[:1024] = b"\x07" * 1024  # all its sides sleep, and want to be rung

    def wrong_process(self):
        """What it says is its pidfd is something else, again and again."""
        read, write = os.pipe()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))]
        with contextlib.suppress(BlockingIOError, OSError):
            self.socket.sendmsg([self.chance.choice([b"P", b"N", b"x"])], rights)
        os.close(read)
        os.close(write)

    def nothing(self):
        """Neither rings nor reads."""

    def close(self):
        self.map.close()
        self.socket.close()
        for fd in (self.fd, *self.bells):
            os.close(fd)


def _libc():
    import ctypes

    libc = ctypes.CDLL(None)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return libc


def misbehave(path, deed, seed):
    """In a child: one connection after the other, until it is killed."""
    chance = random.Random(seed)
    while True:
        peer = Peer(path, chance)
        with contextlib.suppress(ConnectionError):
            while not peer.hung_up.poll(0):
                getattr(peer, deed)()
        peer.close()


@contextlib.contextmanager
def child(work, *args):
    pid = os.fork()
    if pid == 0:
        try:
            work(*args)
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def anything(end, chance):
    """One call, of any kind; whatever it raises is in the outcome table."""
    timeout = chance.choice([0, 0, 0.0005, 0.002])
    kind = chance.randrange(5)
    if kind == 0:
        end.send(chance.randbytes(chance.choice([0, 8, 300, 30_000, 100_000])), timeout=timeout)
    elif kind == 1:
        end.send_many([b"one", b"two" * 100, "three"], timeout)
    elif kind == 2:
        end.send("a text", timeout=timeout, sync=True)
    elif kind == 3:
        end.receive_many(timeout=timeout)
    else:
        end.receive(timeout)
    end.stats()


DEEDS = ["scribble", "punch", "ring", "wrong_process", "nothing"]


# A process of the same user could stop this one altogether, so only "none" withstands `block`.
@pytest.mark.parametrize(
    ("deed", "trust"),
    [*((deed, trust) for deed in DEEDS for trust in ("same-uid", "none")), ("block", "none")],
)
def test_a_peer_that_does_what_it_likes(place, deed, trust):
    chance = random.Random(3)
    before = sorted(os.listdir("/proc/self/fd"))
    with ipcx.listen("shm://there", trust=trust) as listener, child(misbehave, place, deed, 5):
        for _ in range(VISITS):
            end = listener.accept(10)
            with contextlib.suppress(ipcx.ProtocolError, ipcx.PeerClosed, ipcx.ForkedError), end:
                end.fileno()
                for _ in range(CALLS):
                    with contextlib.suppress(ipcx.Timeout, ipcx.MessageTooLarge):
                        anything(end, chance)
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("trust", ["same-uid", "none"])
def test_a_peer_that_rings_keeps_nobody_from_a_signal(place, trust):
    """A wait without a deadline ends by Ctrl-C, though it is woken all the time."""
    with (
        ipcx.listen("shm://there", trust=trust) as listener,
        child(misbehave, place, "ring", 1),
        listener.accept(10) as end,
    ):
        waiting = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
        waiting.start()
        with pytest.raises(KeyboardInterrupt):
            end.receive()
        with pytest.raises(ipcx.Timeout):
            end.receive(0.05)
        waiting.join()


def hello(**other):
    fields = dict(zip(["magic", "version", "order", "ring", "most"], GOOD, strict=True)) | other
    return HELLO.pack(*fields.values())


def bells():
    return [os.eventfd(0), os.eventfd(0)]


OFFERS = {
    "another version": lambda: (hello(version=2), [memory(), *bells()]),
    "another byte order": lambda: (hello(order=0x04030201), [memory(), *bells()]),
    "no magic": lambda: (hello(magic=b"IPCXSHM\0"), [memory(), *bells()]),
    "half a hello": lambda: (hello()[:20], [memory(), *bells()]),
    "no descriptors": lambda: (hello(), []),
    "no memory": lambda: (hello(), bells()),
    "a file": lambda: (hello(), [os.open("/proc/self/exe", os.O_RDONLY), *bells()]),
    "a device": lambda: (hello(), [os.open("/dev/zero", os.O_RDWR), *bells()]),
    "no bells": lambda: (hello(), [memory(), memory(), memory()]),
    "too many": lambda: (hello(), [memory(), *bells(), *bells(), *bells()]),
    "not sealed": lambda: (hello(), [memory(seals=0), *bells()]),
    "can shrink": lambda: (hello(), [memory(seals=SEALS & ~fcntl.F_SEAL_SHRINK), *bells()]),
    "read-only": lambda: (hello(), [memory(seals=SEALS | fcntl.F_SEAL_WRITE), *bells()]),
    "too small": lambda: (hello(), [memory(SIZE - 4096), *bells()]),
    "too large": lambda: (hello(), [memory(SIZE + 4096), *bells()]),
    "over max_segment": lambda: (hello(ring=1 << 20), [memory(HEAD + (2 << 20)), *bells()]),
    "rings of no size": lambda: (hello(ring=0), [memory(), *bells()]),
    "crooked rings": lambda: (hello(ring=RING - 8), [memory(), *bells()]),
    "endless rings": lambda: (hello(ring=1 << 63), [memory(), *bells()]),
}


@pytest.mark.parametrize("what", OFFERS)
def test_what_is_offered_is_checked(place, what):
    """It is dropped, costs no descriptor, and who comes next is served."""
    before = sorted(os.listdir("/proc/self/fd"))
    text, fds = OFFERS[what]()
    with ipcx.listen("shm://there", max_segment=1 << 20) as listener:
        peer = offer(place, text, fds)
        with pytest.raises(ipcx.WouldBlock):
            listener.accept(0)
        assert listener.stats().dropped == 1
        assert peer.recv(1) == b""  # hung up
        peer.close()
        with ipcx.connect("shm://there", ring=RING) as ours, listener.accept(10) as theirs:
            ours.send("served")
            assert theirs.receive() == "served"
    for fd in fds:
        os.close(fd)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_huge_pages_are_no_memory_for_a_channel(place):
    """There may be none left when one is touched: that would be SIGBUS."""
    try:
        fd = os.memfd_create("huge", os.MFD_HUGETLB | os.MFD_ALLOW_SEALING)
    except OSError:
        return  # nor can a peer have any here
    fds = [fd, *bells()]
    os.ftruncate(fd, 4 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    with ipcx.listen("shm://there") as listener:
        for ring in (1 << 20, 2 << 20):
            peer = offer(place, hello(ring=ring), fds)
            with pytest.raises(ipcx.WouldBlock):
                listener.accept(0)
            peer.close()
    for each in fds:
        os.close(each)
