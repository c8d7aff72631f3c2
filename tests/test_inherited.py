# SPDX-License-Identifier: Apache-2.0
"""A program that is started while everything of ours is open inherits none of it."""

import contextlib
import os
import signal
import subprocess

import pytest

import ipcx
from ipcx import files, mmap, pipes, process, shared_memory, signals, sync


def channel(url):
    def make(opened, folder):
        with ipcx.listen(url.format(folder)) as listener:
            if "{}" in url:
                opened.enter_context(ipcx.listen(f"{url}-2".format(folder)))
            one = opened.enter_context(ipcx.connect(listener.url))
            with contextlib.suppress(ipcx.Unsupported):
                one.fileno()
            other = opened.enter_context(listener.accept())
            other.fileno()

    return make


def pair(url):
    def make(opened, folder):
        for end in ipcx.pair(url):
            opened.enter_context(end).fileno()

    return make


def all_files(opened, folder):
    opened.enter_context(files.FileLock(folder / "lock"))
    opened.enter_context(files.MessageLog(folder / "log", durable=True)).append("message")
    opened.enter_context(files.Follower(folder / "log")).receive(5)
    opened.enter_context(files.watch(folder))


def all_pipes(opened, folder):
    opened.enter_context(pipes.pipe())
    named = opened.enter_context(pipes.NamedPipe(folder / "fifo", create=True))
    opened.enter_context(named.reader())
    opened.enter_context(named.writer(5))
    lines = pipes.Pipeline("cat").lines(["one\n", "two\n"])
    assert next(lines) == "one"
    opened.callback(lines.close)


def children(opened, folder):
    for output in ("stream", "capture"):
        child = process.spawn("sleep 600", output=output, die_with_parent=True)
        opened.callback(child.close, 0)
        child.fileno()


def all_signals(opened, folder):
    opened.enter_context(signals.SignalReceiver([signal.SIGUSR1]))
    opened.enter_context(signals.on(signal.SIGUSR2, lambda info: None))


def memory(opened, folder):
    opened.callback(shared_memory.SharedMemory(create=True, size=10).unlink)
    opened.enter_context(shared_memory.Segment.anonymous(4096))
    (folder / "mapped").write_bytes(bytes(10))
    with open(folder / "mapped", "r+b") as file:
        opened.enter_context(mmap.mmap(file.fileno(), 0))
    opened.enter_context(sync.Mutex(f"inherited-{os.getpid()}"))


OPENED = {
    "unix": channel("unix://{}/s"), "tcp": channel("tcp://127.0.0.1:0"), "fifo": channel("fifo://{}/f"),
    "file": channel("file://{}/l"), "udp": channel("udp://127.0.0.1:0"), "shm": channel("shm://"),
    "pairs of shm": pair("shm://"), "pairs of pipe": pair("pipe://"), "pairs of unix": pair("unix://"),
    "files": all_files, "pipes": all_pipes, "children": children, "signals": all_signals,
    "memory": memory,
}  # fmt: skip


def found_open():
    """What a program has open that asks for everything, beside its own three: number → what."""
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["cat"], close_fds=False, bufsize=0, **piped) as program:
        program.stdin.write(b"x")
        assert program.stdout.read(1) == b"x"  # it is past what it opens to begin with
        folder = f"/proc/{program.pid}/fd"
        return {fd: os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder) if int(fd) > 2}


@pytest.mark.parametrize("what", OPENED)
def test_exec_finds_nothing_of(what, tmp_path):
    before = found_open()  # what the tests themselves have inherited
    with contextlib.ExitStack() as opened:
        OPENED[what](opened, tmp_path)
        assert found_open() == before
