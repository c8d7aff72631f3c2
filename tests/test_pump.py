# SPDX-License-Identifier: Apache-2.0
"""ipcx._pump: the thread that reads what children print."""

import contextlib
import os
import threading
import time

import pytest

from ipcx._pump import PIECE, TURNS, Pump, Source

pump = Pump("the pump of a test")


class Reader:
    """A member with one source; it is over at the source's end."""

    def __init__(self, fd):
        self.taken = []
        self.source = Source(fd, self.take)
        self.due = None
        self.rung = 0
        self.ended = threading.Event()

    def take(self, piece):
        self.taken.append(piece)
        if not piece:
            self.ended.set()

    @property
    def _over(self):
        return self.ended.is_set()

    def _descriptors(self):
        return [fd for fd in [self.source.fd] if fd >= 0]

    def _next_due(self):
        return self.due

    def _turn(self, ready):
        if self.source.fd in ready:
            self.source.read()
        if self.due is not None and time.monotonic() >= self.due:
            self.due = None
            self.source.close()
            self.ended.set()

    def _forget(self):
        self.source.close()


@pytest.fixture
def pipe():
    """Both ends; the writing one is to be closed by the test, or is closed at the end."""
    read, write = os.pipe()
    yield read, write
    with contextlib.suppress(OSError):
        os.close(write)
    thread = pump.thread
    if thread is not None:
        thread.join()


def joined():
    thread = pump.thread
    if thread is not None:
        thread.join()


def test_the_thread_is_there_as_long_as_somebody_needs_it(pipe, guard):
    fds = len(os.listdir("/proc/self/fd"))
    one = Reader(pipe[0])
    assert pump.thread is None
    pump.add(one)
    assert pump.thread.name == "the pump of a test"
    assert pump.thread.daemon
    read, write = os.pipe()
    other = Reader(read)
    pump.add(other)  # the thread sleeps, and is rung
    os.write(write, b"second")
    os.close(write)
    other.ended.wait()
    assert other.taken == [b"second", b""]
    os.write(pipe[1], b"first")
    os.close(pipe[1])
    joined()
    assert one.taken == [b"first", b""]
    assert pump.members == []
    assert len(os.listdir("/proc/self/fd")) == fds - 2  # both ends of `pipe`, and nothing else


def test_what_is_due_is_done_though_nothing_is_readable(pipe, guard):
    one = Reader(pipe[0])
    pump.add(one)
    with pump.changed:
        one.due = time.monotonic() + 0.01
        pump.ring()
    joined()
    assert one.taken == []


def test_who_writes_without_an_end_does_not_keep_the_others_waiting(pipe):
    # Each read makes room, which is filled again at once: read() comes back all the same.
    read, write = pipe
    os.set_blocking(write, False)

    def fill(_=None):
        with contextlib.suppress(BlockingIOError):
            os.write(write, bytes(PIECE))

    one = Reader(read)
    one.source.take = lambda piece: (one.taken.append(piece), fill())
    fill()
    one.source.read()
    assert len(one.taken) == TURNS
    one.source.close()
    one.source.close()
    one.source.read()  # nothing is there any more


def test_no_thread_to_be_had(pipe, monkeypatch):
    fds = sorted(os.listdir("/proc/self/fd"))

    def refused(_):
        raise RuntimeError("can't start new thread")

    one = Reader(pipe[0])
    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="can't start"):
        pump.add(one)
    assert pump.members == []
    assert pump.thread is None
    assert sorted(os.listdir("/proc/self/fd")) == fds
    one.source.close()


def test_stop_leaves_what_is_still_open(pipe, guard):
    stopped = Pump("a stopped pump")
    one = Reader(pipe[0])
    stopped.add(one)
    stopped.stop()
    assert stopped.thread is None
    assert stopped.members == [one]
    os.write(pipe[1], b"late")
    one.source.read()
    assert one.taken == [b"late"]
    one.source.close()
    stopped.stop()  # nothing more happens


def test_after_a_fork_the_pump_is_the_parents(pipe, guard):
    one = Reader(pipe[0])
    pump.add(one)
    child = os.fork()
    if child == 0:
        try:
            fine = pump.thread is None and pump.members == [] and one.source.fd == -1
            read, write = os.pipe()
            mine = Reader(read)
            pump.add(mine)
            os.write(write, b"child")
            os.close(write)
            joined()
            os._exit(0 if fine and mine.taken == [b"child", b""] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    os.write(pipe[1], b"parent")
    os.close(pipe[1])
    joined()
    assert one.taken == [b"parent", b""]
