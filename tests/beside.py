"""A thread beside the test, and knowing, without a sleep of one's own, that a thread waits."""

import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import ipcx

FUTEX = {"x86_64": "202", "aarch64": "98"}.get(os.uname().machine, "")


def in_thread(target, *arguments):
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    return thread


def keeps(call, rounds, most):
    """Whether so many calls keep `most` blocks of memory and more.

    A leak shows whenever one looks; a table of the interpreter's that grows, once.
    """
    for _ in range(3):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(rounds):
            call()
        gc.collect()
        if sys.getallocatedblocks() - before < most:
            return False
    return True


def children():
    """Our children, those that have ended and were not waited for among them.

    To be compared with those of before, never with none: multiprocessing's resource tracker, once
    a test has started it, stays.
    """
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended
            found += (task / "children").read_text().split()
    return sorted(map(int, found))


def alive(pid):
    """Whether that process runs: one that has ended and was not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def small_disk(folder, size):
    """A tmpfs of its own at that folder; skips where we may not mount one."""
    folder.mkdir()
    how = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(how, capture_output=True).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def until_asleep(tid=None):
    """Until that thread of ours (the main one) sleeps in the kernel, and not for the GIL."""
    task = Path(f"/proc/self/task/{tid or os.getpid()}")
    while True:
        asleep = (task / "stat").read_text().rpartition(")")[2].split()[0] == "S"
        if asleep and (task / "syscall").read_text().split()[0] not in ("running", FUTEX):
            return


class Background:
    """A thread that runs `call`."""

    def __init__(self, call):
        self.call, self.result = call, None
        self.thread = in_thread(self.run)

    def asleep(self):
        until_asleep(self.thread.native_id)
        return self

    def run(self):
        try:
            self.result = self.call()
        except BaseException as exc:
            self.result = exc

    def finish(self):
        self.thread.join()
        return self.result


def interrupt(call):
    """Ctrl-C while `call` waits in the main thread."""

    def press():
        until_asleep()
        os.kill(os.getpid(), signal.SIGINT)

    presser = in_thread(press)
    with pytest.raises(KeyboardInterrupt):
        call()
    presser.join()


def interrupt_unseen(call):
    """Ctrl-C that ends no system call of the main thread, as if it had come just before `call`
    went to sleep: another thread gets it.
    """

    def press():
        until_asleep()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    presser = in_thread(press)
    with pytest.raises(KeyboardInterrupt):
        call()
    presser.join()


def readable_whenever_it_would_not_wait(channel, writer):
    """Of a channel that receives what `writer` sends: fileno() says when there is something.

    Returns a function that checks that it is not readable before a call, and is after it.
    """
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.poll(0)  # once may be in vain
    with pytest.raises(ipcx.WouldBlock):
        channel.receive(0)
    writer.send_many([b"1", b"2", b"3"])
    for expected in (b"1", b"2", b"3"):
        assert poll.poll(10_000)
        assert channel.receive(0) == expected
    with pytest.raises(ipcx.WouldBlock):
        channel.receive(0)

    def becomes_readable(then):
        assert poll.poll(0) == []
        waits = Background(lambda: poll.poll(10_000))
        then()
        assert waits.finish()

    becomes_readable(lambda: writer.send(b"4"))
    assert channel.receive(0) == b"4"
    return becomes_readable
