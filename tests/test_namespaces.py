# SPDX-License-Identifier: Apache-2.0
"""A peer in another namespace: it works, by descriptors handed over, or says what is wrong.

A pid means another process there, a path another file, a name of shared memory nothing. What is
asked of the kernel is who holds a lock, and whether a descriptor's other end is closed.
"""

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

import ipcx
from ipcx import files, process, sync

ROOT = Path(__file__).parent.parent
KINDS = {
    "pid": ["--pid", "--fork", "--kill-child", "--mount-proc"],
    "mount": ["--mount"],
    "ipc": ["--ipc"],
    "uts": ["--uts"],
    "net": ["--net"],
    "cgroup": ["--cgroup"],
    "user": ["--user", "--map-root-user"],
    "all": ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc",
            "--net", "--uts"],
}  # fmt: skip


# The others differ less from none; CI has little time.
IN_CI = {"pid", "all"}


@pytest.fixture(
    params=[
        kind if kind in IN_CI else pytest.param(kind, marks=pytest.mark.night) for kind in KINDS
    ]
)
def unshared(request):
    """The words that run a program in another namespace of that kind."""
    words = ["unshare", *KINDS[request.param], "--"]
    if subprocess.run([*words, "true"], capture_output=True).returncode != 0:
        pytest.skip(f"no {request.param} namespace can be made here")
    return words


def program(text):
    return [sys.executable, "-c", "import os, sys, ipcx\n" + text]


@contextlib.contextmanager
def running(unshared, text, *arguments):
    """A program there; it ends at the end of its standard input."""
    command = [*unshared, *program(text), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as other:
        try:
            yield other
        finally:
            other.stdin.close()


ECHO = """
from ipcx.process import parent
channel = parent()
for message in channel:
    channel.send(message)
"""


@pytest.mark.parametrize("url", ["unix://", "shm://", "pipe://"])
def test_a_channel_that_is_handed_over(unshared, url):
    """Of shm:// the memory is handed over as a descriptor; no name, no pid is needed."""
    with process.spawn([*unshared, *program(ECHO)], channel=url) as child:
        for message in ("text", b"bytes", bytes(100_000)):
            child.channel.send(message)
            assert child.channel.receive(30) == message
        child.channel.close()
        assert child.wait(30).ok


DIES = """
import signal
from ipcx.process import parent
channel = parent()
channel.send("alive")
os.kill(os.getpid(), signal.SIGKILL) if os.getpid() != 1 else os._exit(9)
"""


@pytest.mark.parametrize("url", ["unix://", "shm://"])
def test_a_death_there_is_seen_here(unshared, url):
    with process.spawn([*unshared, *program(DIES)], channel=url) as child:
        assert child.channel.receive(30) == "alive"
        with pytest.raises(ipcx.PeerDied):
            child.channel.receive(30)
        assert not child.wait(30).ok


CONNECTS = """
for url in sys.argv[1:]:
    try:
        with ipcx.connect(url) as channel:
            channel.send("from there")
            print("sent", flush=True)
    except OSError as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.mark.parametrize("scheme", ["unix", "fifo", "shm", "tcp"])
def test_a_listener_here(unshared, scheme, tmp_path):
    """By path and by port: it works, or the error says that nobody listens, or who must not."""
    url = {"tcp": "tcp://127.0.0.1:0", "shm": "shm://"}.get(scheme, f"{scheme}://{tmp_path}/there")
    with ipcx.listen(url) as listener, running(unshared, CONNECTS, listener.url) as other:
        said = []
        while not said:
            with contextlib.suppress(ipcx.Timeout), listener.accept(0.05) as channel:
                assert channel.receive(30) == "from there"
            if select.select([other.stdout], [], [], 0)[0]:
                said.append(other.stdout.readline())
    if scheme == "tcp" and ({"--net"} & set(unshared)):
        assert said[0].startswith("ConnectRefused") or "unreachable" in said[0]
    else:
        assert said == ["sent\n"]


HOLDS = """
from ipcx import files, sync
made = [files.FileLock(sys.argv[1]), sync.Mutex(sys.argv[2])]
for one in made:
    one.acquire()
print("holds", flush=True)
sys.stdin.read()
os._exit(1)
"""


def test_locks_are_seen_and_end_with_their_holder(unshared, tmp_path):
    """Whatever its pid is there: the kernel says who holds a file's lock, and lets it go."""
    name = f"namespaces-{os.getpid()}"
    lock = files.FileLock(tmp_path / "lock")
    with sync.Mutex(name) as mutex:
        pass
    with running(unshared, HOLDS, str(tmp_path / "lock"), name) as other:
        assert other.stdout.readline() == "holds\n"
        for one in (lock, mutex):
            with pytest.raises(ipcx.WouldBlock):
                one.acquire(timeout=0)
        other.stdin.close()
        other.wait()
        lock.acquire(timeout=30)
        mutex.acquire(timeout=30)
        assert mutex.recovered
        lock.release()
        mutex.release()
    mutex.close()
