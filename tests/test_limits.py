# SPDX-License-Identifier: Apache-2.0
"""A limit of this process or user is hit: OSError with its errno, nothing is left, all goes on.

The kernel's own limits, at each place in a call at which they can be hit; what other errors do at
each system call is in test_faults_local.py.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from local_calls import CALLS

ROOT = Path(__file__).parent.parent
# Tenths of a second each time, with less of their own.
AT_NIGHT = {"child with a guardian", "child with shm://", "pipeline into a file"}
NEEDS_PROCESSES = {name for name in CALLS if "child" in name or "pipeline" in name}

PRELUDE = """
import gc, json, os, pathlib, resource, signal, sys
sys.path.insert(0, "tests")
from beside import children
from local_calls import CALLS
from socket_help import open_descriptors

folder = pathlib.Path(sys.argv[1])


def limited(call, limit, most):
    '''The call's exception under that limit, and what it has left behind.'''
    gc.collect()
    before, there = open_descriptors(), children()
    soft, hard = resource.getrlimit(limit)
    error = None
    signal.alarm(30)
    resource.setrlimit(limit, (most, hard))
    try:
        call()
    except BaseException as raised:
        error = raised
    finally:
        resource.setrlimit(limit, (soft, hard))
        signal.alarm(0)
    kinds = [kind.__name__ for kind in type(error).__mro__] if error is not None else []
    told = kinds, getattr(error, "errno", None), str(error)
    del error  # and what its traceback keeps
    gc.collect()
    left = [what for fd, what in open_descriptors().items() if fd not in before]
    left += [f"child {pid}" for pid in children() if pid not in there]
    call()
    return *told, left


def lowest_free():
    fd = os.open("/dev/null", os.O_RDONLY)
    os.close(fd)
    return fd


def tell(name, call, limit, first):
    '''With ever more room, until there is enough of it.'''
    call()
    for room in range(100):
        told = limited(call, limit, first + room)
        print(json.dumps([name, room, *told]), flush=True)
        if not told[0]:
            return


"""


def told(program, *arguments, **options):
    """What `tell` has told, once the program has ended well."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRELUDE + program, *arguments],
        cwd=ROOT, capture_output=True, text=True, **options,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-2000:]
    return list(map(json.loads, done.stdout.splitlines()))


def check(rows, names, number):
    """Each of `names` hit the limit at least once, and ended as it should each time."""
    wrong, hit = [], set()
    for name, room, kinds, code, text, left in rows:
        if kinds:
            hit.add(name)
            if "OSError" not in kinds or code != number:
                wrong.append((name, room, kinds[0], code, text))
        if left:
            wrong.append((name, room, "left behind:", *left))
    assert not wrong, "\n".join(map(str, wrong))
    assert hit == set(names)


@pytest.mark.hang_guard(120)
def test_no_descriptor_is_left_to_be_had(tmp_path):
    names = [name for name in CALLS if os.environ.get("IPCX_NIGHT") == "1" or name not in AT_NIGHT]
    program = """
for name in sys.argv[2:]:
    tell(name, CALLS[name](folder), resource.RLIMIT_NOFILE, lowest_free())
"""
    check(told(program, str(tmp_path), *names), names, errno.EMFILE)


@pytest.mark.hang_guard(120)
def test_no_process_is_left_to_be_had(tmp_path):
    """Another user's limit where we are root, to whom it does not apply."""
    program = """
if os.geteuid() == 0:
    os.setgid(54321)
    os.setuid(54321)
for name in sys.argv[2:]:
    tell(name, CALLS[name](folder), resource.RLIMIT_NPROC, 1)
"""
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        if folder.owner() == tmp_path.owner() and folder.stat().st_mode & 0o77 == 0:
            folder.chmod(0o711)
    names = sorted(NEEDS_PROCESSES - AT_NIGHT)  # a guardian must not begin to fail afterwards
    check(told(program, str(tmp_path), *names), names, errno.EAGAIN)


def test_files_may_grow_no_further(tmp_path):
    """RLIMIT_FSIZE, as a quota that is used up: what was there stays whole, and goes on later."""
    program = """
import ipcx
from ipcx import files, process
from ipcx.pipes import Pipeline

whole, log, url = folder / "whole", folder / "log", f"file://{folder}/channel"
files.atomic_write(whole, b"old" * 100)
mine, channel = files.MessageLog(log), ipcx.connect(url)
mine.append(b"old" * 100)
channel.send(b"old" * 100)
calls = {
    "atomic_write": lambda: files.atomic_write(whole, bytes(5000)),
    "append": lambda: mine.append(bytes(5000)),
    "append_many": lambda: mine.append_many([b"1" * 600] * 9),
    "send": lambda: channel.send(bytes(5000)),
}
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for name, call in calls.items():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    kinds, code = [], None
    try:
        call()
    except OSError as error:
        kinds, code = [kind.__name__ for kind in type(error).__mro__], error.errno
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(json.dumps([name, 0, kinds, code, "", []]))
assert whole.read_bytes() == b"old" * 100
assert [path.name for path in folder.iterdir() if "whole" in path.name] == ["whole"]
mine.append(b"new")
channel.send(b"new")
for path in (log, folder / "channel"):
    found = list(files.MessageLog(path))
    assert (found[0], found[-1]) == (b"old" * 100, b"new"), found
    assert set(found[1:-1]) <= {b"1" * 600}, found
"""
    rows = told(program, str(tmp_path))
    check(rows, {"atomic_write", "append", "append_many", "send"}, errno.EFBIG)


def test_no_inotify_is_left_to_be_had(tmp_path):
    """A user namespace's own limit, so that nobody else meets it."""
    limits = "echo 0 > /proc/sys/user/max_inotify_instances"
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", f'{limits}; exec "$@"', "-"]
    if subprocess.run([*command, "true"], capture_output=True, text=True).stderr:
        pytest.skip("no user namespace can be made here")
    program = """
import ipcx
from ipcx import files
from ipcx.pipes import NamedPipe

log = files.MessageLog(folder / "log")
log.append("message")
before = open_descriptors()
def connect():
    ipcx.connect(f"fifo://{folder}/fifo?wait=1", timeout=5)
def follow():
    with files.Follower(folder / "log") as follower:
        assert follower.receive(5) == "message"  # what is there needs no watch
        follower.receive(0.01)
os.mkfifo(folder / "fifo")
for call in (lambda: files.watch(folder), follow, connect,
             lambda: NamedPipe(folder / "fifo").writer(5)):
    try:
        call()
        print("nothing")
    except OSError as error:
        print(type(error).__name__, error.errno)
assert open_descriptors().keys() == before.keys()
"""
    done = subprocess.run(
        [*command, sys.executable, "-c", PRELUDE + program, tmp_path],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert [line.split()[1] for line in done.stdout.splitlines()] == [str(errno.EMFILE)] * 4
