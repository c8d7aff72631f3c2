# SPDX-License-Identifier: Apache-2.0
"""ipcx.mmap beyond the interpreter's own tests (stdlib/test_interpreter.py runs those over it)."""

import contextlib
import errno
import gc
import mmap as stdlib
import os
import pickle
import resource
import signal
import socket as sockets
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from beside import interrupt_unseen, keeps

import ipcx
from ipcx import mmap

PAGE = mmap.PAGESIZE
SIZE = 4 * PAGE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four pages full of x."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * SIZE)
    return file


def told():
    """What a lost page is: EFAULT, as a system call says it."""
    return pytest.raises(OSError, match=r"\[Errno 14\] Bad address")


@contextlib.contextmanager
def lost(path: Path, mode: str = "r+", keep: int = PAGE):
    """A map of the whole file, of which `keep` bytes are left."""
    with mmap.map_file(path, mode=mode) as m:
        os.truncate(path, keep)
        yield m


def run(path: Path, code: str, *options: str) -> subprocess.CompletedProcess:
    """The code in an interpreter of its own, which may die; sys.argv[1] is the file."""
    begin = (
        "import os, resource, sys; from ipcx import mmap\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    )
    command = [sys.executable, *options, "-c", begin + code, path]
    return subprocess.run(command, capture_output=True, text=True)


# ---- a drop-in


def test_every_name_of_the_stdlib_is_there():
    names = {n for n in vars(stdlib) if not n.startswith("_")}
    assert names <= set(mmap.__all__)
    assert [n for n in names - {"mmap"} if getattr(mmap, n) is not getattr(stdlib, n)] == []
    assert issubclass(mmap.mmap, stdlib.mmap)
    assert mmap.mmap.__module__ == "ipcx.mmap"


def test_a_subclass_keeps_the_guard(path):
    class Mine(mmap.mmap):
        pass

    with path.open("r+b") as file, Mine(file.fileno(), 0) as m:
        m.note = "a dict of its own"
        os.truncate(path, 0)
        with pytest.raises(OSError, match="Bad address"):
            m[0]
    assert repr(Mine(-1, 10)).startswith("<Mine closed=False")


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"length": 0}, ValueError),  # an empty file
        ({"length": 10}, ValueError),  # more than there is
        ({"length": -1}, OverflowError),
        ({"length": 2**70}, OverflowError),
        ({"length": "10"}, TypeError),
        ({"length": 10, "access": 9}, ValueError),
        ({"length": 10, "access": 1, "prot": 1}, ValueError),
        ({"length": 10, "offset": -1}, OverflowError),
        ({"length": 10, "no_such": 1}, TypeError),
    ],
)
def test_bad_arguments_are_the_stdlibs(tmp_path, kwargs, error):
    (tmp_path / "empty").touch()
    with open(tmp_path / "empty", "r+b") as file:
        said = []
        for module in (stdlib, mmap):
            with pytest.raises(error) as raised:
                module.mmap(file.fileno(), **kwargs)
            said.append((type(raised.value), raised.value.args))
    assert said[0] == said[1]


def test_descriptors_that_cannot_be_mapped(tmp_path):
    reader, writer = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    for fd in (reader, folder, -2, 10**6):
        said = []
        for module in (stdlib, mmap):
            with pytest.raises(OSError, match="Errno") as raised:
                module.mmap(fd, 10)
            said.append((type(raised.value), raised.value.args))
        assert said[0] == said[1]
    for fd in (reader, writer, folder):
        os.close(fd)


def test_the_closed_map_is_closed(path):
    m = mmap.map_file(path)
    view = memoryview(m)
    with pytest.raises(BufferError):
        m.close()
    view.release()
    m.close()
    m.close()
    for use in (lambda: m[0], m.read, m.tell, lambda: memoryview(m), m.resident, m.flush):
        with pytest.raises(ValueError, match="closed"):
            use()
    with pytest.raises(ValueError, match="closed"), m.locked():
        pass


def test_it_is_collected_and_never_pickled(path):
    m = mmap.map_file(path)
    seen = weakref.ref(m)
    with pytest.raises(TypeError):
        pickle.dumps(m)
    del m
    gc.collect()
    assert seen() is None


# ---- map_file


def test_made_grown_and_never_shortened(tmp_path):
    path = tmp_path / "new"
    with mmap.map_file(path, 10, mode="a+") as m:
        m[:5] = b"hello"
    assert path.read_bytes() == b"hello" + bytes(5)
    with mmap.map_file(str(path), 3 * PAGE, mode="r+") as m:
        assert (len(m), m[:5]) == (3 * PAGE, b"hello")
    with mmap.map_file(os.fsencode(path), 5, mode="a+") as m:
        assert m[:] == b"hello"
    assert path.stat().st_size == 3 * PAGE
    assert path.stat().st_blocks * 512 >= 3 * PAGE  # it has its place


def test_a_part_of_a_file(path):
    with mmap.map_file(path, offset=PAGE) as m:
        assert len(m) == 3 * PAGE
    with mmap.map_file(path, 10, offset=3 * PAGE) as m:
        assert len(m) == 10
    with mmap.map_file(path, 2 * PAGE, mode="r+", offset=SIZE) as m:
        m[-1] = 1
    assert path.stat().st_size == 6 * PAGE


def test_read_only_and_copy_on_write(path):
    os.chmod(path, 0o400)
    with mmap.map_file(path) as m:
        assert m[:3] == b"xxx"
        with pytest.raises(TypeError):
            m[0] = 1
        with memoryview(m) as view:
            assert view.readonly
    with mmap.map_file(path, mode="c") as m:
        m[:3] = b"abc"
        assert m[:4] == b"abcx"
    assert path.read_bytes() == b"x" * SIZE


@pytest.mark.parametrize(
    ("name", "kwargs", "error", "text"),
    [
        ("missing", {}, FileNotFoundError, "missing"),
        ("missing", {"mode": "r+", "size": 5}, FileNotFoundError, "missing"),
        ("missing", {"mode": "a+"}, FileNotFoundError, "missing"),  # all of nothing
        ("no/such/folder", {"mode": "a+", "size": 5}, FileNotFoundError, "folder"),
        ("file", {"mode": "x+", "size": 5}, FileExistsError, "file"),
        ("empty", {}, ValueError, "empty"),
        ("file", {"size": SIZE + 1}, ValueError, "ends before"),
        ("file", {"size": SIZE + 1, "mode": "c"}, ValueError, "ends before"),
        ("file", {"offset": SIZE}, ValueError, "past the file's end"),
        ("file", {"offset": 100}, ValueError, str(PAGE)),
        ("file", {"offset": -PAGE}, ValueError, str(PAGE)),
        ("file", {"size": 0}, ValueError, "positive"),
        ("file", {"size": -1}, ValueError, "positive"),
        ("file", {"size": 2**62, "mode": "r+"}, OSError, "file"),
        ("file", {"size": 2**63 - 1, "offset": PAGE, "mode": "r+"}, ValueError, "large"),
        ("file", {"size": 2**64}, OverflowError, ""),
        ("file", {"mode": "w"}, ValueError, "mode must be one of"),
        ("file", {"size": 1.5}, TypeError, ""),
        (".", {"size": 5}, IsADirectoryError, ""),
        ("pipe", {"size": 5}, OSError, "No such device"),
        ("pipe", {"size": 5, "mode": "r+"}, OSError, "No such device"),
        ("socket", {"size": 5}, OSError, "No such device"),
        ("nul\0", {}, ValueError, "null"),
        ("x" * 300, {"size": 5, "mode": "a+"}, OSError, "too long"),
        ("loop", {"size": 5, "mode": "a+"}, OSError, "symbolic links"),
    ],
)
def test_what_cannot_be_mapped_says_why(path, name, kwargs, error, text):
    folder = path.parent
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    with sockets.socket(sockets.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)
        listener.bind("socket")
        os.chdir(here)
        before = sorted(os.listdir(folder))
        with pytest.raises(error, match=text or None):
            mmap.map_file(f"{folder}/{name}", **kwargs)
    assert sorted(os.listdir(folder)) == before
    assert path.stat().st_size == SIZE


def test_a_path_of_a_wrong_type():
    with pytest.raises(TypeError):
        mmap.map_file(3)  # a descriptor goes to mmap()


def test_a_foreign_file_is_refused(path):
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.chmod(path, 0o600)
    os.chmod(path.parent, 0o755)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            mmap.map_file(path)
        except PermissionError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_full_disk_is_told_when_it_is_grown(path):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * SIZE, 2 * SIZE))
        try:
            mmap.map_file(path, 3 * SIZE, mode="r+")
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EFBIG
    assert path.stat().st_size == SIZE


def test_no_descriptors_left():
    fds = [os.dup(0) for _ in range(3)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for fd in fds:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (fds[0], hard))
    try:
        with pytest.raises(OSError, match="/dev/zero"):
            mmap.map_file("/dev/zero", 10)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fds[1], hard))
        with pytest.raises(OSError, match="Too many open files"):
            mmap.map_file("/dev/zero", 10)  # one to open it, none for the map's own
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_device_is_mapped():
    with mmap.map_file("/dev/zero", 2 * PAGE) as m:
        assert m[:] == bytes(2 * PAGE)
    with pytest.raises(ValueError, match="how much"):
        mmap.map_file("/dev/zero")


# ---- lost pages

USES = {
    "index": lambda m: m[2 * PAGE],
    "slice": lambda m: m[:],
    "step": lambda m: m[:: PAGE // 2],
    "assign": lambda m: m.__setitem__(2 * PAGE, 1),
    "assign slice": lambda m: m.__setitem__(slice(0, 3 * PAGE), bytes(3 * PAGE)),
    "delete nothing": lambda m: m[-1],
    "read": lambda m: m.read(),
    "read some": lambda m: m.read(2 * PAGE),
    "read_byte": lambda m: (m.seek(2 * PAGE), m.read_byte()),
    "readline": lambda m: m.readline(),
    "find": lambda m: m.find(b"y"),
    "rfind": lambda m: m.rfind(b"y"),
    "write": lambda m: m.write(bytes(2 * PAGE)),
    "write_byte": lambda m: (m.seek(2 * PAGE), m.write_byte(1)),
    "move": lambda m: m.move(0, 2 * PAGE, PAGE),
    "iterate": lambda m: list(m),
    "contains": lambda m: 1 in m,
    "reversed": lambda m: next(reversed(m)),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_each_method_raises(path, use):
    with lost(path) as m:
        for _ in range(2):
            m.seek(0)
            with told() as raised:
                use(m)
            assert raised.value.errno == errno.EFAULT
            assert any("it has 4096 bytes now" in note for note in raised.value.__notes__)
        assert m[:3] in (b"xxx", b"\0\0\0")  # what is there can be used
        os.truncate(path, SIZE)
        m.seek(0)
        m[2 * PAGE] = 5
        assert m[:][2 * PAGE] == 5  # the file is back, and so is the map


def test_a_read_that_failed_has_read_nothing(path):
    with lost(path) as m:
        m.seek(10)
        with told():
            m.read()
        assert m.tell() == 10
        assert m.read(5) == b"xxxxx"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_through_a_view_zeros_and_the_next_call_raises(path, mode):
    with lost(path, mode) as m:
        with memoryview(m) as view:
            assert bytes(view[PAGE:]) == bytes(3 * PAGE)
            assert view[0] == ord("x")
            if mode != "r":
                view[2 * PAGE] = 1
            with told():
                m.tell()
        if mode == "c":  # what was written beside the lost pages would go with them
            with told():
                m.tell()
        else:
            m.tell()
        assert (len(m), m.size(), m.closed) == (SIZE, PAGE, False)


def test_numpy_sees_zeros(path):
    """In an interpreter of its own: importing NumPy starts threads."""
    code = (
        "import numpy; m = mmap.map_file(sys.argv[1]); os.truncate(sys.argv[1], 4096)\n"
        "array = numpy.frombuffer(m, dtype='u1'); print(array.sum(dtype=int)); del array\n"
        "try: m[0]\n"
        "except OSError as error: print(error.errno)"
    )
    ran = run(path, code)
    assert ran.stdout == f"{4096 * ord('x')}\n{errno.EFAULT}\n", ran.stderr


def test_the_system_is_refused_too(path):
    """write(2) from a lost page: the kernel says so itself, and nothing is noted."""
    with lost(path) as m, open(os.devnull, "wb") as _, memoryview(m) as view:
        reader, writer = os.pipe()
        with told() as raised:
            os.write(writer, view[2 * PAGE : 2 * PAGE + 10])
        os.close(reader)
        os.close(writer)
        assert raised.value.errno == errno.EFAULT


def test_resize_brings_the_file_back(path):
    with lost(path) as m:
        with told():
            m[3 * PAGE]
        m.resize(2 * SIZE)
        assert m[SIZE:] == bytes(SIZE)
        m[-1] = 1
    assert path.stat().st_size == 2 * SIZE


def test_many_maps(path):
    maps = [mmap.map_file(path) for _ in range(200)]
    os.truncate(path, 0)
    for m in maps:
        with told():
            m[0]
        m.close()


def test_after_a_fork_both_are_guarded(path):
    with lost(path) as m:
        pid = os.fork()
        if pid == 0:
            try:
                m[2 * PAGE]
            except OSError as error:
                os._exit(error.errno)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EFAULT
        with told():
            m[2 * PAGE]


# ---- who else gets the signal

LOSE = "m = mmap.map_file(sys.argv[1]); os.truncate(sys.argv[1], 0)\n"


@pytest.mark.parametrize("when", ["before", "after", "after a view"])
def test_faulthandler_beside_it(path, when):
    enable = "import faulthandler; faulthandler.enable()\n"
    view = "view = memoryview(m)\n"
    code = {
        "before": enable + LOSE + view,
        "after": LOSE + enable + view,
        "after a view": LOSE + view + enable,
    }[when]
    ran = run(path, code + "print(view[0])\ntry: m[0]\nexcept OSError: print('raised')")
    assert (ran.returncode, ran.stdout) == (0, "0\nraised\n"), ran.stderr
    if when != "after a view":  # then it has the first word
        assert ran.stderr == ""


@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")])
def test_a_fault_elsewhere_ends_the_process_as_ever(path, options):
    code = (
        "import mmap as plain; kept = mmap.map_file('/dev/zero', 1)\n"
        "m = plain.mmap(os.open(sys.argv[1], os.O_RDWR), 0)\n"
        "os.truncate(sys.argv[1], 0); m[0]"
    )
    ran = run(path, code, *options)
    assert ran.returncode == -signal.SIGBUS
    assert ("Bus error" in ran.stderr) == bool(options)


def test_a_signal_that_somebody_sends_is_not_ours(path):
    send = "import signal; signal.raise_signal(signal.SIGBUS); print('alive')"
    assert run(path, LOSE + send).returncode == -signal.SIGBUS
    catch = "import signal; signal.signal(signal.SIGBUS, lambda *_: print('mine'))\n"
    path.write_bytes(b"x" * SIZE)
    ran = run(path, LOSE + catch + send)
    assert (ran.returncode, ran.stdout) == (0, "mine\nalive\n")


def test_switched_off(path):
    ran = run(path, LOSE + "print(mmap.guard(False), mmap.guard(False), flush=True); m[0]")
    assert (ran.returncode, ran.stdout) == (-signal.SIGBUS, "True False\n")
    path.write_bytes(b"x" * SIZE)
    ran = run(path, LOSE + "mmap.guard(False); mmap.guard(True); m[0]")
    assert ran.returncode == 1
    assert "Bad address" in ran.stderr


# ---- resident


def test_demand_paging_is_seen():
    with mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as m:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            with contextlib.suppress(OSError):
                m.madvise(mmap.MADV_NOHUGEPAGE)
        assert m.resident() == [False] * 8
        m[3 * PAGE] = 1
        assert m.resident() == [i == 3 for i in range(8)]
        assert m.resident(3 * PAGE + 5, 1) == [True]
        assert m.resident(4 * PAGE - 1, 2) == [True, False]
        assert m.resident(7 * PAGE) == [False]
        assert m.resident(8 * PAGE) == m.resident(0, 0) == []
        assert len(m.resident(length=100 * PAGE)) == 8
        for bad in ((-1,), (8 * PAGE + 1,), (0, -1)):
            with pytest.raises(ValueError, match="out of bounds"):
                m.resident(*bad)


def test_the_page_cache_is_seen(path):
    with mmap.map_file(path) as m:
        m.read()
        assert m.resident() == [True] * 4


# ---- locked ranges


def test_a_locked_range_excludes_other_maps(path):
    with mmap.map_file(path, mode="r+") as m, mmap.map_file(path, mode="r+") as other:
        with m.locked(0, 10):
            with pytest.raises(ipcx.WouldBlock), other.locked(5, timeout=0):
                pass
            with pytest.raises(ipcx.Timeout), other.locked(9, 1, timeout=0.01):
                pass
            with other.locked(10, timeout=0), m.locked(0, 10, timeout=0):
                pass
            # The same owner: what it has becomes shared.
            with m.locked(0, 10, shared=True), other.locked(0, 10, shared=True, timeout=0):
                pass
        with other.locked(timeout=0):
            pass


def test_a_locked_range_excludes_a_child_that_has_the_map(path):
    with mmap.map_file(path, mode="r+") as m, m.locked(0, 10):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with pytest.raises(ipcx.WouldBlock), m.locked(5, 1, timeout=0):
                    pass
                with m.locked(10, timeout=0):
                    status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        with (
            mmap.map_file(path, mode="r+") as other,
            pytest.raises(ipcx.WouldBlock),
            other.locked(0, 10, timeout=0),
        ):
            pass


def test_a_killed_parents_range_is_free(path, spawn):
    code = """
import os, signal, sys
from ipcx import mmap
m = mmap.map_file(sys.argv[1], mode="r+")
with m.locked(0, 10):
    if os.fork() == 0:
        sys.stdin.read()  # it has the map, and lives on
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    child = spawn("-c", code, path)
    assert child.wait() == -signal.SIGKILL
    with mmap.map_file(path, mode="r+") as m, m.locked(0, 10, timeout=10):
        pass


def test_a_locked_range_is_let_go_whatever_happens(path):
    with mmap.map_file(path, mode="r+") as other:
        with pytest.raises(ZeroDivisionError), mmap.map_file(path, mode="r+") as m, m.locked():
            raise ZeroDivisionError
        with other.locked(timeout=0):
            pass
        with other.locked():
            other.resize(PAGE)
        with mmap.map_file(path, mode="r+") as m, m.locked():
            m.close()
        with other.locked(timeout=0):
            pass


def test_a_locked_range_that_is_none(path):
    with mmap.map_file(path, mode="r+") as m:
        for start, length in ((-1, 5), (SIZE, 1), (0, SIZE + 1), (0, 0), (5, -1)):
            with pytest.raises(ValueError, match="out of bounds"), m.locked(start, length):
                pass
        for timeout in (-1, float("nan")):
            with pytest.raises(ValueError, match="timeout"), m.locked(timeout=timeout):
                pass
    with mmap.mmap(-1, 10) as m, pytest.raises(ValueError, match="no file"), m.locked():
        pass
    with mmap.map_file(path) as m:  # read-only: only shared
        with m.locked(shared=True):
            pass
        with pytest.raises(OSError, match="Bad file descriptor"), m.locked():
            pass


@pytest.mark.parametrize("timeout", [None, 60])
def test_ctrl_c_ends_the_wait(path, timeout, spawn):
    code = (
        "import sys; from ipcx import mmap; m = mmap.map_file(sys.argv[1], mode='r+')\n"
        "print('now', flush=True)\n"
        f"with m.locked(timeout={timeout}): pass"
    )
    with mmap.map_file(path, mode="r+") as m, m.locked():
        child = spawn("-c", code, str(path), stderr=subprocess.PIPE)
        assert child.stdout.readline() == "now\n"
        child.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in child.communicate()[1]
    assert child.returncode == -signal.SIGINT


@pytest.mark.parametrize("timeout", [None, 60])
def test_ctrl_c_just_before_the_wait_sleeps(path, timeout):
    def wait():
        with other.locked(timeout=timeout):
            pass

    with mmap.map_file(path, mode="r+") as m, mmap.map_file(path, mode="r+") as other:
        with m.locked():
            interrupt_unseen(wait)
        wait()


def test_a_killed_holder_leaves_no_lock(path, spawn):
    code = (
        "import sys; from ipcx import mmap; m = mmap.map_file(sys.argv[1], mode='r+')\n"
        "with m.locked(): print('mine', flush=True); input()"
    )
    with mmap.map_file(path, mode="r+") as m:
        child = spawn("-c", code, str(path))
        assert child.stdout.readline() == "mine\n"
        with pytest.raises(ipcx.WouldBlock), m.locked(timeout=0):
            pass
        child.kill()
        with m.locked(timeout=8):
            pass


# ---- the examples

EXAMPLES = Path(__file__).parent.parent / "examples" / "mmap"


def said(program: str, folder: Path) -> list[str]:
    command = [sys.executable, "-X", "dev", EXAMPLES / program]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_the_examples_say_what_they_should(tmp_path):
    lines = said("demand_paging.py", tmp_path)
    assert [line.split()[-1] for line in lines[:4]] == ["." * 8, ".....#..", "#....#..", "#" * 8]
    mapped, one, every = (int(line.partition(" ")[0]) for line in lines[4:])
    assert 0 <= mapped <= one <= every == 4096
    found = [line.partition(": ")[2] for line in said("device_and_file.py", tmp_path)]
    zeros, hello = "b'\\x00\\x00\\x00\\x00\\x00'", "b'hello'"
    assert found == [
        f"found {zeros}, wrote {hello}",
        f"found {zeros}, wrote {hello}",
        f"found {hello}, wrote {hello}",
        f"found {zeros}, wrote {hello}",
        hello,
    ]


# ---- nothing is left


def test_nothing_is_left_behind(path):
    def use():
        with lost(path) as m:
            with contextlib.suppress(OSError):
                m.read()
            with contextlib.suppress(OSError):
                m[3 * PAGE]
            m.resident()
            with m.locked(0, 10):
                m.resize(SIZE)
        with contextlib.suppress(OSError):
            mmap.map_file("/no/such/file")
        with contextlib.suppress(OSError):
            mmap.mmap(-1, 0)

    for _ in range(50):
        use()
    assert not keeps(use, 500, 250)  # half a block a round
    assert "ipcx-learn" not in Path("/proc/self/maps").read_text()


def test_in_a_sub_interpreter(path):
    new = sys.version_info >= (3, 13)
    interpreters = pytest.importorskip("_interpreters" if new else "_xxsubinterpreters")
    inner = interpreters.create()
    code = (
        "import os; from ipcx import mmap\n"
        f"m = mmap.map_file({str(path)!r}, mode='r+'); os.truncate({str(path)!r}, 0)\n"
        "try: m[0]\n"
        "except OSError as error: assert error.errno == 14\n"
        "else: raise AssertionError\n"
        "m.close()\n"
    )
    try:
        assert interpreters.run_string(inner, code) is None
    finally:
        interpreters.destroy(inner)
