# SPDX-License-Identifier: Apache-2.0
"""ipcx.shared_memory beyond the interpreter's own tests: who owns, who is killed, what is full."""

import contextlib
import errno
import gc
import json
import os
import pickle
import shutil
import signal
import socket as sockets
import subprocess
import sys
import threading
import weakref
from multiprocessing import shared_memory as stdlib
from pathlib import Path

import pytest
from beside import keeps

from ipcx import _ledger, _segments, mmap, shared_memory
from ipcx.shared_memory import Segment, ShareableList, SharedMemory

SHM = Path("/dev/shm")
NIGHT = os.environ.get("IPCX_NIGHT") == "1"
BEGIN = "import os, sys; from ipcx.shared_memory import *; name = sys.argv[1]\n"


THEIRS = """
from multiprocessing import resource_tracker, shared_memory as s
resource_tracker.register = lambda *_: None
"""


@pytest.fixture
def name(unique_name):
    """A name nobody has; what is left under it is the test's to remove."""
    return unique_name()


def run(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """The code in an interpreter of its own: `name` is the first argument."""
    command = [sys.executable, "-c", BEGIN + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture
def maker(spawn):
    """Starts a process that runs the code, has said so, and waits."""

    def start(code: str, *arguments: str):
        child = spawn("-c", BEGIN + code + "\nprint('made', flush=True); input()", *arguments)
        assert child.stdout.readline() == "made\n"
        return child

    return start


def kill(child: subprocess.Popen) -> None:
    child.kill()
    child.wait()


def ours() -> list[str]:
    """What is left of the ledgers of this run: other runs may be at work beside it."""
    return [
        f"{ledger.pid}: {entry.name}"
        for ledger in _ledger.ledgers()
        for entry in ledger.entries
        if f"ipcx-t{os.getpid()}-" in entry.name or ledger.pid == os.getpid()
    ]


# ---- a drop-in


def test_it_is_the_stdlibs_in_both_directions(name):
    with SharedMemory(name, create=True, size=100) as made:
        made.buf[:5] = b"hello"
        code = "m = s.SharedMemory(name); print(bytes(m.buf[:5])); m.buf[0] = 74; m.close()"
        code = THEIRS + code
        assert run(code, name).stdout == "b'hello'\n"
        assert made.buf[0] == ord("J")
        assert isinstance(made, stdlib.SharedMemory)
        made.unlink()
    theirs = run(THEIRS + "m = s.SharedMemory(name, create=True, size=10); m.buf[0] = 7", name)
    assert theirs.stderr == ""
    with SharedMemory(name) as attached:
        assert (attached.buf[0], attached.size) == (7, 10)
        attached.unlink()
    assert not (SHM / name).exists()


def test_the_names_are_the_stdlibs():
    assert set(stdlib.__all__) < set(shared_memory.__all__)
    assert issubclass(ShareableList, stdlib.ShareableList)


def test_no_tracker_and_no_warnings(name):
    ran = run(
        "import warnings; warnings.simplefilter('error')\n"
        "made = SharedMemory(name, create=True, size=10); SharedMemory(name); ShareableList([1])\n"
        "from multiprocessing.resource_tracker import _resource_tracker as t; print(t._fd)",
        name,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "None\n", "")
    assert not (SHM / name).exists()


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"create": True, "size": 0}, ValueError),
        ({"create": True}, ValueError),
        ({"create": True, "size": -1}, ValueError),
        ({"size": -1}, ValueError),
        ({}, ValueError),
        ({"name": None}, ValueError),
        ({"create": True, "size": 2**64}, OverflowError),
        ({"create": True, "size": "10"}, TypeError),
        ({"create": True, "size": 1.5}, TypeError),
        ({"name": 5, "create": True, "size": 10}, TypeError),
        ({"name": "a/b", "create": True, "size": 10}, OSError),
        ({"name": "", "create": True, "size": 10}, OSError),
        ({"name": "x" * 300, "create": True, "size": 10}, OSError),
        ({"name": "a/b"}, OSError),
        ({"name": ""}, OSError),
        ({"name": "."}, OSError),
        ({"name": ".."}, OSError),
        ({"name": "ipcx-no-such-segment"}, FileNotFoundError),
        ({"create": True, "size": 10, "no_such": 1}, TypeError),
    ],
    ids=str,
)
def test_bad_arguments_are_the_stdlibs(name, kwargs, error):
    kwargs = {"name": name, **kwargs} if kwargs.get("create") else kwargs
    said = []
    for module in (stdlib, shared_memory):
        with pytest.raises(error) as raised:
            module.SharedMemory(**kwargs)
        if module is stdlib:  # it leaves an empty one behind when the size is no number for C
            (SHM / name).unlink(missing_ok=True)
        said.append((type(raised.value), getattr(raised.value, "errno", None)))
    assert said[0] == said[1]
    assert not ours()


@pytest.mark.parametrize("bad", [".", "..", "nul\0in it"])
def test_names_that_the_stdlib_misunderstands(bad):
    for create in (True, False):
        with pytest.raises((OSError, ValueError), match=r"Invalid argument|null character"):
            SharedMemory(bad, create=create, size=10)
    with pytest.raises(ValueError, match="readonly"):
        SharedMemory(create=True, size=10, readonly=True)


def test_what_exists_is_not_made_again(name):
    with SharedMemory(name, create=True, size=10) as first:
        first.buf[0] = 1
        with pytest.raises(FileExistsError, match=name):
            SharedMemory(name, create=True, size=10)
        assert first.buf[0] == 1
        first.unlink()
    assert not ours()


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_it_is_for_its_user_alone_whatever_the_umask(name, mask):
    before = os.umask(mask)
    try:
        with SharedMemory(name, create=True, size=10) as made:
            assert (SHM / name).stat().st_mode & 0o777 == 0o600
            assert Path(_ledger.folder()).stat().st_mode & 0o777 == 0o700
            made.unlink()
    finally:
        os.umask(before)


# ---- who owns


def test_attaching_never_destroys(name):
    with SharedMemory(name, create=True, size=10) as made:
        for code in (
            "SharedMemory(name)",
            "SharedMemory(name).close()",
            "SharedMemory(name, track=False)",
            "m = SharedMemory(name); os.kill(os.getpid(), 9)",
            "m = SharedMemory(name); os._exit(0)",
        ):
            run(code, name)
            assert (SHM / name).exists()
        made.unlink()


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(3)",
        "1 / 0",
        "made.close()",
        "import threading; threading.Thread(target=int).start()",
    ],
)
def test_it_goes_when_its_maker_ends(name, end):
    ran = run(f"made = SharedMemory(name, create=True, size=10)\n{end}", name)
    assert not (SHM / name).exists()
    assert not ours()
    assert ran.stderr == "" or "ZeroDivisionError" in ran.stderr


CHILDREN = """
import multiprocessing, sys
from ipcx.shared_memory import Segment, SharedMemory

def make(name):
    SharedMemory(name, create=True, size=10)

def fill(segment, value):
    assert type(segment) is Segment
    segment.buf[0] = value
    segment.close()

def run(context, *arguments, target):
    child = context.Process(target=target, args=arguments)
    child.start()
    child.join()
    return child.exitcode

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    assert run(context, sys.argv[2], target=make) == 0
    try:
        SharedMemory(sys.argv[2])
    except FileNotFoundError:
        print("gone")
    with Segment.anonymous(10) as segment:
        assert run(context, segment, 8, target=fill) == 0
        print(segment.buf[0])
        there, here = context.Pipe()
        there.send(segment)
        with here.recv() as other:
            other.buf[1] = 9
        print(segment.buf[1])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.hang_guard(60)
def test_with_multiprocessing(name, method, tmp_path):
    """What a child made goes with it; a segment without a name is an argument."""
    program = tmp_path / "children.py"
    program.write_text(CHILDREN)
    command = [sys.executable, program, method, name]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("gone\n8\n9\n", "")
    assert not (SHM / name).exists()


@pytest.mark.parametrize("kept", [{"persist": True}, {"track": False}], ids=str)
def test_what_is_kept_outlives_its_maker(name, kept):
    run(f"made = SharedMemory(name, create=True, size=10, **{kept}); made.buf[0] = 5", name)
    SharedMemory(create=True, size=1).unlink()  # sweeps
    assert [(s.state, s.pid) for s in _segments.segments() if s.name == name] == [("kept", None)]
    with SharedMemory(name) as again:
        assert again.buf[0] == 5
    if "persist" in kept:
        assert _segments.main_rm([name]) == 0
    else:
        SharedMemory(name).unlink()  # anybody may
    assert not (SHM / name).exists()
    assert not ours()


def test_a_child_by_fork_owns_nothing(name):
    with SharedMemory(name, create=True, size=10) as made:
        pid = os.fork()
        if pid == 0:
            _ledger.own.finish()
            made.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert (SHM / name).exists()
        made.unlink()


def test_unlinked_once_and_only_its_own(name):
    with SharedMemory(name, create=True, size=10) as made, SharedMemory(name) as attached:
        attached.unlink()
        with pytest.raises(FileNotFoundError, match=name):
            made.unlink()
        with SharedMemory(name, create=True, size=20) as another:
            with pytest.raises(FileNotFoundError):
                attached.unlink()
            assert SharedMemory(name).size == 20
            another.unlink()
    assert not ours()


# ---- killed


def test_what_a_killed_maker_left_goes_with_the_next(name, unique_name, maker):
    kill(maker("made = SharedMemory(name, create=True, size=10)", name))
    assert (SHM / name).exists()
    with SharedMemory(unique_name(), create=True, size=1) as other:
        assert not (SHM / name).exists()
        other.unlink()
    assert not ours()


def test_the_same_name_can_be_made_again(name, maker):
    kill(maker("made = SharedMemory(name, create=True, size=10)", name))
    with SharedMemory(name, create=True, size=20) as again:
        assert again.size == 20
        again.unlink()


def test_what_is_used_stays_until_it_is_not(name, maker):
    child = maker("made = SharedMemory(name, create=True, size=10); made.buf[0] = 9", name)
    user = SharedMemory(name)
    kill(child)
    _ledger.sweep()
    assert SharedMemory(name).buf[0] == 9
    gc.collect()
    user.close()
    assert name in [entry.name for entry in _ledger.sweep()]
    assert not ours()


def test_a_live_maker_is_never_swept(name, maker):
    child = maker("made = SharedMemory(name, create=True, size=10); made.close()", name)
    _ledger.sweep()
    assert SharedMemory(name).size == 10
    child.communicate("\n")
    assert not (SHM / name).exists()


def test_a_strangers_segment_of_the_same_name_is_never_swept(name, maker):
    child = maker("made = SharedMemory(name, create=True, size=10)", name)
    (SHM / name).unlink()
    (SHM / name).write_bytes(b"a stranger's")
    kill(child)
    assert name not in [entry.name for entry in _ledger.sweep()]
    assert (SHM / name).read_bytes() == b"a stranger's"
    (SHM / name).unlink()


def test_two_sweeps_at_once_remove_each_once(unique_name, maker):
    names = [unique_name() for _ in range(20)]
    code = "made = [SharedMemory(n, create=True, size=1) for n in sys.argv[1:]]"
    kill(maker(code, *names))
    found, barrier = [], threading.Barrier(4)

    def sweep():
        barrier.wait()
        found.extend(entry.name for entry in _ledger.sweep())

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(names)
    assert not ours()


CHURN = """
import random
print("made", flush=True)
mine, n = [], 0
while True:
    i = random.randrange(4)
    if i == 0:
        n += 1
        size = random.randrange(1, 20000)
        mine.append(SharedMemory(f"{name}{os.getpid()}-{n}", create=True, size=size))
        mine[-1].buf[0] = 1
    elif i == 1 and mine:
        SharedMemory(mine[-1].name).close()
    elif i == 2 and mine:
        mine.pop().unlink()
    elif mine:
        mine[0].close()
    if len(mine) > 5:
        mine.pop(0).unlink()
"""


@pytest.mark.hang_guard(3600 if NIGHT else 60)
def test_killed_at_any_moment_nothing_is_left(name, spawn):
    """1 000 kills by night, 50 in CI: after the next sweep /dev/shm is as it was."""
    rounds = 1000 if NIGHT else 50
    many = 10
    for _ in range(rounds // many):
        children = [spawn("-c", BEGIN + CHURN, name, stderr=subprocess.PIPE) for _ in range(many)]
        for child in children:
            assert child.stdout.readline() == "made\n"
        for i, child in enumerate(children):
            # How far it comes differs from child to child: each is given the time of some calls.
            for _ in range(i):
                SharedMemory(name, create=True, size=1).unlink()
            child.kill()
        for child in children:
            assert child.communicate()[1] == ""
        _ledger.sweep()
        assert [found for found in os.listdir(SHM) if found.startswith(name)] == []
        assert not ours()


def test_a_torn_or_foreign_ledger_is_survived(name):
    with SharedMemory(name, create=True, size=10) as made:
        folder = Path(_ledger.folder())
        (folder / "garbage").write_bytes(os.urandom(5000))
        (folder / "1-torn").write_bytes(b"1 2 3")
        (folder / "a folder").mkdir()
        _ledger.sweep()
        assert [s.name for s in _segments.segments() if s.name == name] == [name]
        assert (SHM / name).exists()
        (folder / "a folder").rmdir()
        made.unlink()
    assert not ours()


# ---- memory


def test_a_full_dev_shm_is_told_when_it_is_made():
    """For real: a small tmpfs in a mount namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root may mount a small /dev/shm")
    code = (
        "import errno, signal\n"
        "free = os.statvfs('/dev/shm').f_bavail\n"
        "for size in (2 << 20, 1 << 40, 2**62):\n"
        "    try: SharedMemory('full', create=True, size=size)\n"
        "    except OSError as error: assert error.errno in (errno.ENOSPC, errno.EFBIG), error\n"
        "    else: raise AssertionError(size)\n"
        "assert os.listdir('/dev/shm') == [], os.listdir('/dev/shm')\n"
        "assert os.statvfs('/dev/shm').f_bavail == free\n"
        "most = SharedMemory('fits', create=True, size=900 << 10)\n"
        "most.buf[:] = bytes(most.size)\n"
        "try: ShareableList(range(100000))\n"
        "except OSError as error: assert error.errno == errno.ENOSPC\n"
        "most.unlink(); most.close()\n"
        "assert os.listdir('/dev/shm') == []\n"
        "print('done')\n"
    )
    mount = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", BEGIN + code, ""]
    ran = subprocess.run(command, capture_output=True, text=True)
    if "mount:" in ran.stderr or "unshare:" in ran.stderr:
        pytest.skip("only root may mount a small /dev/shm")
    assert ran.stdout == "done\n", ran.stderr


def test_memory_is_reserved(name):
    with SharedMemory(name, create=True, size=1 << 20) as made:
        assert (SHM / name).stat().st_blocks * 512 >= 1 << 20
        made.unlink()


def test_a_truncated_segment_raises(name):
    with SharedMemory(name, create=True, size=8 * mmap.PAGESIZE) as made:
        os.truncate(SHM / name, mmap.PAGESIZE)
        view = made.buf
        assert view[4 * mmap.PAGESIZE] == 0
        with pytest.raises(OSError, match="Bad address"):
            made.buf  # noqa: B018
        made.unlink()


def test_closing_under_a_live_view_is_deferred(name):
    made = SharedMemory(name, create=True, size=10)
    view, part = made.buf, made.buf[2:5]
    seen = weakref.ref(made._mmap)
    made.close()
    made.close()
    assert made.buf is None
    view[2] = 7
    assert part[0] == 7
    assert seen() is not None
    del view
    part.release()
    del part
    assert seen() is None
    made.unlink()


def test_read_only(name):
    with SharedMemory(name, create=True, size=10) as made:
        made.buf[0] = 5
        with SharedMemory(name, readonly=True) as reader:
            assert (reader.buf[0], reader.buf.readonly) == (5, True)
            with pytest.raises(TypeError):
                reader.buf[0] = 6
            again = pickle.loads(pickle.dumps(reader))
            assert (again.readonly, again.name) == (True, name)
            again.close()
        made.unlink()


def test_arrays():
    """In an interpreter of its own: importing NumPy starts threads."""
    code = """
import numpy as np
made = SharedMemory(create=True, size=100)
a = made.as_array("i4", (5, 5)); a[:] = 3
assert a.sum() == 75 and bytes(made.buf[:4]) == b"\\3\\0\\0\\0"
assert made.as_array().shape == (100,) and made.as_array("f8").shape == (12,)
assert made.as_array("u1", 7).shape == (7,) and made.as_array(np.int16, [3]).dtype == "i2"
for dtype, shape in (("i4", (5, 6)), ("i4", (-1,)), ("f8", 13), ("u1", (2**40, 2**40)), ("O", 1)):
    try: made.as_array(dtype, shape)
    except ValueError: pass
    else: raise AssertionError((dtype, shape))
try: made.as_array("no such type")
except TypeError: pass
reader = SharedMemory(made.name, readonly=True)
assert not reader.as_array().flags.writeable
b = np.ndarray((10,), "u1", buffer=made.buf)
made.close(); reader.close()
a[0, 0] = 7; b[1] = 8  # both keep the memory
assert a[0, 0] == 7 + (8 << 8)
try: made.as_array()
except ValueError: pass
s = Segment.anonymous(16)
c = s.as_array("f8"); s.close(); c += 1.5; assert c.sum() == 3
print("done")
"""
    ran = run(code, "")
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_without_numpy_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    no_array = pytest.raises(ModuleNotFoundError, match="needs NumPy")
    with Segment.anonymous(10) as segment, no_array:
        segment.as_array()


# ---- what stands there already


def test_links_pipes_and_foreign_owners_are_refused(name, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"untouched")
    (SHM / name).symlink_to(target)
    for use in ({"name": name}, {"name": name, "create": True, "size": 10}):
        with pytest.raises(OSError, match=name):
            SharedMemory(**use)
    assert target.read_bytes() == b"untouched"
    (SHM / name).unlink()
    os.mkfifo(SHM / name)
    with pytest.raises(OSError, match="No such device"):
        SharedMemory(name)
    (SHM / name).unlink()
    (SHM / name).touch()
    with pytest.raises(ValueError, match="empty"):
        SharedMemory(name)
    assert (SHM / name).exists()
    (SHM / name).unlink()


def test_a_foreign_owner_is_refused(name):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    (SHM / name).write_bytes(b"x" * 10)
    os.chown(SHM / name, 65534, 65534)
    with pytest.raises(PermissionError, match=name) as raised:
        SharedMemory(name)
    assert "65534" in raised.value.__notes__[0]
    (SHM / name).unlink()


def test_a_squatted_folder_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(_ledger, "SHM", str(tmp_path))
    os.mkdir(_ledger.folder(), 0o777)
    os.chmod(_ledger.folder(), 0o777)
    with pytest.raises(PermissionError):
        SharedMemory(name, create=True, size=10)
    os.rmdir(_ledger.folder())
    os.symlink("/tmp", _ledger.folder())
    with pytest.raises(NotADirectoryError):
        SharedMemory(name, create=True, size=10)
    assert os.listdir(tmp_path) == [os.path.basename(_ledger.folder())]


def test_memory_that_fails_leaves_no_segment(name):
    """Each allocation in turn: MemoryError, and once the process has ended, nothing is there."""
    pytest.importorskip("_testcapi", reason="this interpreter has no _testcapi")
    code = """
import _testcapi
for k in range(0, 400, 3):
    _testcapi.set_nomemory(k, k + 1)
    try:
        made = SharedMemory(name + str(k), create=True, size=10)
        made.unlink()
        made.close()
    except (MemoryError, SystemError):  # CPython forgets to say which, here and there
        pass
    finally:
        _testcapi.remove_mem_hooks()
"""
    assert run(code, name).returncode == 0
    _ledger.sweep()
    assert [found for found in os.listdir(SHM) if found.startswith(name)] == []
    assert not ours()


@pytest.mark.parametrize("content", [b"", b"\xff" * 4096, bytes(8), b"\x7f" * 7 + b"\x7f" * 100])
def test_a_segment_that_holds_no_list(name, content):
    (SHM / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"holds no ShareableList|empty"):
        ShareableList(name=name)
    (SHM / name).unlink()


# ---- without a name


def test_a_sealed_segment_cannot_be_truncated():
    with Segment.anonymous(10000) as segment:
        assert (segment.size, segment.name, segment.readonly) == (10000, None, False)
        assert bytes(segment.buf) == bytes(10000)
        for size in (0, 20000):
            with pytest.raises(PermissionError):
                os.ftruncate(segment.fileno(), size)
        with Segment.from_fd(segment.fileno(), readonly=True) as other:
            segment.buf[5] = 5
            assert other.buf[5] == 5
            with pytest.raises(TypeError):
                other.buf[5] = 6
            assert repr(other) == "Segment(size=10000, readonly)"
    assert repr(segment) == "Segment(closed)"
    assert (segment.buf, segment.fileno()) == (None, -1)


def test_it_goes_over_a_unix_socket():
    left, right = sockets.socketpair()
    with left, right, Segment.anonymous(10) as segment:
        sockets.send_fds(left, [b"x"], [segment.fileno()])
        fd = sockets.recv_fds(right, 1, 1)[1][0]
        with Segment.from_fd(fd) as other:
            os.close(fd)
            other.buf[0] = 9
        assert segment.buf[0] == 9


def test_it_is_not_pickled_for_nobody():
    with Segment.anonymous(10) as segment, pytest.raises(TypeError, match="child of multiproc"):
        pickle.dumps(segment)


def test_what_is_no_segment(tmp_path):
    unsealed = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    sealed_later = os.memfd_create("x")
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    reader, writer = os.pipe()
    for fd in (unsealed, sealed_later, file, reader):
        with pytest.raises(ValueError, match=r"sealed"):
            Segment.from_fd(fd)
    for fd in (unsealed, sealed_later, file, reader, writer):
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Segment.from_fd(unsealed)
    for size, error in ((0, ValueError), (-1, ValueError), ("1", TypeError), (1.5, TypeError)):
        with pytest.raises(error):
            Segment.anonymous(size)
    with pytest.raises(OSError, match="Cannot allocate") as raised:
        Segment.anonymous(1 << 50)
    assert "are left" in raised.value.__notes__[0]
    assert raised.value.errno == errno.ENOMEM
    with pytest.raises(TypeError, match="anonymous"):
        Segment()


# ---- ipcx ls, gc, rm


def command(*arguments: str) -> tuple[int, str, str]:
    ran = subprocess.run([sys.executable, "-m", "ipcx", *arguments], capture_output=True, text=True)
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.hang_guard(30)
def test_ls_gc_rm(unique_name, maker):
    alive, kept, left, used, foreign = names = [unique_name() for _ in range(5)]
    made = SharedMemory(alive, create=True, size=100)
    SharedMemory(kept, create=True, size=100, persist=True).close()
    (SHM / foreign).write_bytes(b"x")
    code = "made = [SharedMemory(n, create=True, size=100) for n in sys.argv[1:]]"
    child = maker(code, left, used)
    user = SharedMemory(used)
    kill(child)
    told = json.loads(command("ls", "--json")[1])
    listed = {row["name"]: row for row in told if row["kind"] == "segment"}
    states = [(listed[n]["state"], listed[n]["in_use"], listed[n]["pid"]) for n in names]
    assert states == [
        ("alive", True, os.getpid()),
        ("kept", False, None),
        ("left", False, child.pid),
        ("left", True, child.pid),
        ("foreign", False, None),
    ]
    assert f"{used} stays" in command("gc")[1]
    assert [(SHM / n).exists() for n in names] == [True, True, False, True, True]
    status, out, err = command("rm", alive, kept, used, foreign, "nothing-at-all")
    assert (status, out) == (1, f"removed {kept}\n")
    for text in ("is alive", "somebody uses it", "not made by ipcx", "no such segment"):
        assert text in err
    user.close()
    assert used in json.loads(command("gc", "--json")[1])["removed"]
    text = command("ls")[1]
    assert f"pid {os.getpid()}" in text
    assert "alive: its maker runs, in use" in text
    assert "foreign: not made by ipcx" in text
    made.unlink()
    made.close()
    (SHM / foreign).unlink()
    assert command("gc")[0] == 0
    assert not ours()


def test_rm_of_what_was_left(name, maker, capsys):
    kill(maker("made = SharedMemory(name, create=True, size=10)", name))
    assert _segments.main_rm([name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [name], "stayed": []}
    assert not (SHM / name).exists()
    _ledger.sweep()


def test_a_name_that_would_speak_to_the_terminal(unique_name, capsys):
    name = unique_name() + "\x1b[2J\n"
    (SHM / name).touch()
    _segments.main_ls([])
    assert "\x1b" not in capsys.readouterr().out
    (SHM / name).unlink()


# ---- nothing is left


def test_nothing_is_left_behind(name):
    def use():
        with SharedMemory(name, create=True, size=10) as made, SharedMemory(name):
            made.unlink()
        with Segment.anonymous(10) as segment, Segment.from_fd(segment.fileno()):
            pass
        with contextlib.suppress(FileNotFoundError):
            SharedMemory(name)

    for _ in range(20):
        use()
    assert not keeps(use, 200, 100)


def test_threads_make_and_unlink(unique_name):
    names = [[unique_name() for _ in range(30)] for _ in range(4)]

    def work(mine):
        for name in mine:
            with SharedMemory(name, create=True, size=10) as made:
                made.unlink()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not ours()


def test_ctrl_c_leaves_nothing(name, spawn):
    code = "made = SharedMemory(name, create=True, size=1)\nprint(1, flush=True); input()"
    child = spawn("-c", BEGIN + code, name, stderr=subprocess.PIPE)
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in child.communicate()[1]
    assert not (SHM / name).exists()


def test_in_a_sub_interpreter(name):
    new = sys.version_info >= (3, 13)
    interpreters = pytest.importorskip("_interpreters" if new else "_xxsubinterpreters")
    inner = interpreters.create()
    code = (
        "from ipcx.shared_memory import SharedMemory\n"
        f"with SharedMemory({name!r}, create=True, size=10) as made:\n"
        "    made.buf[0] = 1; made.unlink()\n"
    )
    try:
        assert interpreters.run_string(inner, code) is None
    finally:
        interpreters.destroy(inner)
