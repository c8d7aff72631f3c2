"""What others see of shm:// channels: `ipcx ls`, `ipcx top`, and what trim() gives back."""

import contextlib
import json
import os
import re
import select
import struct
import subprocess
import sys

import pytest
from beside import Background

import ipcx
from ipcx import _channels, _core, _fifos
from ipcx.pipes import NamedPipe

BIG = bytes(1 << 20)


@pytest.fixture
def ends():
    a, b = ipcx.pair("shm://")
    yield a, b
    a.close(0)
    b.close(0)


def _memory():
    """The one channel's memory of this process."""
    (seen,) = _mine()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.fstat(int(fd)).st_ino == seen.inode:
                return int(fd)
    raise AssertionError


def _bytes():
    return os.fstat(_memory()).st_blocks * 512


def _mine():
    return [one for one in _channels.channels() if os.getpid() in one.holders]


def _ipcx(*arguments):
    command = [sys.executable, "-m", "ipcx", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_what_both_ends_count(ends):
    a, b = ends
    assert [one.ends[0].pid for one in _mine()] == [None]
    for _ in range(5):
        a.send(b"x" * 1000)
    assert b.receive() == b"x" * 1000
    with b.receive_view() as view:
        assert view.nbytes == 1000
    with b.reserve(10):
        pass
    (seen,) = _mine()
    one, two = seen.ends
    assert (one.pid, two.pid) == (os.getpid(), os.getpid())
    assert (one.sent, one.sent_bytes) == (5, 5000)
    assert (two.received, two.received_bytes) == (2, 2000)
    assert (two.sent, two.sent_bytes) == (1, 10)
    assert one.queued == 3 * 1008
    assert two.most >= 5 * 1008
    assert seen.memory <= 256 * 1024
    assert seen.since is not None
    stats = a.stats()
    assert (stats.sent, stats.sent_bytes) == (5, 5000)


def test_the_processes_at_both_ends(unique_name):
    url = f"shm://{unique_name()}"
    with ipcx.listen(url) as listener:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with ipcx.connect(url) as channel:
                    channel.send(b"there")
                    channel.receive()
                status = 0
            finally:
                os._exit(status)
        with listener.accept() as channel:
            assert channel.receive() == b"there"
            (seen,) = [one for one in _mine() if one.url == url]
            assert [end.pid for end in seen.ends] == [pid, os.getpid()]
            assert sorted(seen.holders) == sorted([pid, os.getpid()])
            told = json.loads(_ipcx("ls", "--json").stdout)
            (row,) = [one for one in told if one["kind"] == "channel" and one["url"] == url]
            assert [end["pid"] for end in row["ends"]] == [pid, os.getpid()]
            channel.send(b"go")
            assert os.waitpid(pid, 0)[1] == 0
    assert not [one for one in _channels.channels() if one.url == url]


def test_ls_and_top(ends):
    a, b = ends
    for _ in range(7):
        a.send(b"x" * 100)
    assert b.receive() == b"x" * 100
    told = _ipcx("ls")
    assert told.returncode == 0
    assert f"pid {os.getpid()} - pid {os.getpid()}" in told.stdout
    once = _ipcx("top", "--once", "--json")
    assert once.returncode == 0
    rows = [json.loads(line) for line in once.stdout.splitlines()]
    (row,) = [one for one in rows if f" {os.getpid()} - " in one["name"]]
    assert (row["messages"], row["bytes"]) == (7, 700)
    rates = _ipcx("top", "--count", "2", "--interval", "0.05", "--json")
    assert '"messages_per_second": 0.0' in rates.stdout


def test_what_is_no_channel_or_lies():
    """Nothing is believed, and nothing reaches the terminal as it is."""
    fds = [os.memfd_create("ipcx-shm") for _ in range(3)]
    try:
        os.write(fds[0], b"short")
        os.write(fds[1], os.urandom(70_000))
        os.ftruncate(fds[2], 1 << 20)
        assert not _mine()
        a, b = ipcx.pair("shm://")
        with a, b:
            a.send(b"x")
            memory = _memory()
            whole = os.pread(memory, 4096, 0)
            url = whole.rindex(b"shm://")
            os.pwrite(memory, b"\x1b[31m\xff\n" + b"A" * 200, url)
            for at in range(64, 1920, 8):  # every count there is
                if whole[at : at + 8] == struct.pack("Q", 1):
                    os.pwrite(memory, b"\xff" * 8, at)
            _mine()
            told = _ipcx("ls")
            assert told.returncode == 0
            assert "\x1b" not in told.stdout
            assert r"\x1b[31m" in told.stdout
            assert "\x1b" not in _ipcx("top", "--once").stdout
    finally:
        for fd in fds:
            os.close(fd)


def _flood(sender, receiver, times=8):
    for _ in range(times):
        sender.send(BIG)
        assert receiver.receive() == BIG


def test_trim(ends):
    a, b = ends
    small = _bytes()
    for _ in range(3):
        _flood(a, b)
        _flood(b, a)
        full = _bytes()
        assert full > 2 * len(BIG)
        given = a.trim()
        assert given == full - _bytes() > len(BIG)
        assert b.trim() > len(BIG)
        assert _bytes() <= 256 * 1024
        assert a.trim() == b.trim() == 0
        a.send(b"and on")
        assert b.receive() == b"and on"
    assert small <= 256 * 1024


def test_trim_takes_nothing_that_is_under_way(ends):
    a, b = ends
    _flood(a, b)
    a.send(BIG)
    assert a.trim() == 0
    with b.receive_view() as view:
        assert a.trim() == 0
        assert view == BIG
    with a.reserve(len(BIG)) as buffer:
        assert a.trim() == 0
        buffer[:] = BIG
    assert b.receive() == BIG
    assert a.trim() > 0
    assert _bytes() <= 256 * 1024


def test_a_large_loan_in_a_large_ring():
    a, b = ipcx.pair("shm://", ring=64 << 20)
    with a, b:
        size = 20 << 20
        for _ in range(3):
            loan = a.reserve(size)
            assert loan.in_place
            with loan as buffer:
                buffer[-5:] = b"large"
            view = b.receive_view()
            assert view.in_place
            with view as data:
                assert data[-5:] == b"large"
        assert a.trim() > size
        assert _bytes() <= 256 * 1024
        loan = a.reserve(40 << 20)
        assert not loan.in_place
        loan.cancel()


def _send_on(channel):
    while True:
        channel.send(b"third", timeout=10)


@pytest.mark.parametrize("who", ["lender", "borrower"])
@pytest.mark.hang_guard(60)
def test_killed_in_the_middle_of_a_loan(who):
    """What was not committed was never sent; what was viewed counts as not received."""
    for _ in range(10):
        a, b = ipcx.pair("shm://")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if who == "lender":
                    b.send(b"committed")
                    loan = b.reserve(5000)
                    loan.__enter__()[:] = b"x" * 5000
                else:
                    view = b.receive_view()
                    assert view.__enter__() == b"first"
                os.write(writing, b"!")
                select.select([], [], [])
            finally:
                os._exit(1)
        b.close()
        if who == "borrower":
            a.send(b"first")
            a.send(b"second")
        assert os.read(reading, 1) == b"!"
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        if who == "lender":
            assert a.receive() == b"committed"
        with pytest.raises(ipcx.PeerDied):
            a.receive()
        with pytest.raises(ipcx.PeerDied) as died:
            _send_on(a)
        if who == "borrower":
            assert died.value.unreceived == 2
        a.close()
        os.close(reading)
        os.close(writing)


# ---- named pipes


LISTENS = """
import ipcx, sys
listener = ipcx.listen(sys.argv[1])
print("listens", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Notes of our own, in which nobody else's are."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder / "ipcx"


@pytest.fixture
def orders(tmp_path):
    return tmp_path / "orders"


@contextlib.contextmanager
def _listening(path):
    command = [sys.executable, "-c", LISTENS, f"fifo://{path}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        try:
            assert other.stdout.readline() == "listens\n"
            yield other
        finally:
            other.kill()


def _at(path):
    (found,) = [one for one in _fifos.fifos() if one.path == str(path)]
    return found


def test_who_is_at_a_named_pipe(runtime, orders):
    url = f"fifo://{orders}"
    with _listening(orders) as other, ipcx.connect(url):
        seen = _at(orders)
        assert (seen.pid, seen.readers, seen.writers) == (other.pid, (other.pid,), (os.getpid(),))
        assert (seen.state, seen.waiting) == ("alive", ())
        (told,) = [one for one in json.loads(_ipcx("ls", "--json").stdout) if one.get("url") == url]
        assert (told["kind"], told["pid"], told["writers"]) == ("fifo", other.pid, [os.getpid()])
        (line,) = [line for line in _ipcx("ls").stdout.splitlines() if line.startswith(url)]
        assert re.search(rf"pid {other.pid} +pid {os.getpid()} +- +alive$", line)
        # What is alive stays, and who opens it to others is seen, too.
        orders.chmod(0o660)
        assert _at(orders).state == "alive"
        gone = _ipcx("rm", url)
        assert (gone.returncode, gone.stdout) == (1, "")
        assert f"process {other.pid} listens there" in gone.stderr
        assert str(orders) not in _ipcx("gc").stdout
        assert orders.is_fifo()


def test_a_listener_that_ends_leaves_nothing(runtime, orders):
    with ipcx.listen(f"fifo://{orders}"):
        assert [note.name[-5:] for note in runtime.iterdir()] == [".fifo"]
        assert _at(orders).pid == os.getpid()
    assert list(runtime.iterdir()) == []
    assert not [one for one in _fifos.fifos() if one.path == str(orders)]


def test_a_killed_listeners_pipe_stays_as_long_as_somebody_uses_it(runtime, orders):
    url = f"fifo://{orders}"
    with _listening(orders) as other:
        writer = ipcx.connect(url)
        other.kill()
        other.wait()
        with writer:
            assert (_at(orders).state, _at(orders).writers) == ("in use", (os.getpid(),))
            assert _fifos.sweep() == []
            assert _fifos.remove(url) == "somebody uses it"
        waits = Background(lambda: ipcx.connect(f"{url}?wait=1", timeout=30)).asleep()
        assert (_at(orders).state, _at(orders).waiting) == ("in use", (os.getpid(),))
        assert _fifos.sweep() == []
        with ipcx.listen(url) as listener, waits.finish() as late, listener.accept() as channel:
            late.send("taken over")
            assert channel.receive(5) == "taken over"
            assert len(list(runtime.iterdir())) == 1


def test_who_waits_in_open_keeps_what_a_killed_listener_left(runtime, orders):
    """To look whether anybody is there does not look to him like his partner."""
    with _listening(orders) as other:
        other.kill()
        other.wait()
    assert _at(orders).state == "left"
    with subprocess.Popen(["sh", "-c", 'echo an order > "$0"', orders]) as shell:
        while _core.fifo_opener(orders) != shell.pid:
            pass
        assert (_at(orders).state, _at(orders).waiting) == ("in use", (shell.pid,))
        assert _fifos.sweep() == []
        assert _fifos.remove(str(orders)) == "somebody uses it"
        assert shell.poll() is None
        with NamedPipe(orders).reader() as reader:
            assert reader.read(timeout=10) == b"an order\n"
        assert shell.wait() == 0
    assert _fifos.sweep() == [str(orders)]


@pytest.mark.parametrize("how", ["gc", "rm"])
def test_what_a_killed_listener_left_is_removed(runtime, orders, how):
    with _listening(orders):
        pass
    seen = _at(orders)
    assert (seen.state, seen.pid, seen.readers, seen.writers) == ("left", None, (), ())
    gone = _ipcx(*(["gc"] if how == "gc" else ["rm", str(orders)]))
    assert (gone.returncode, gone.stderr) == (0, "")
    assert f"removed {orders}\n" in gone.stdout
    assert not orders.exists()
    assert list(runtime.iterdir()) == []
    again = _ipcx("rm", str(orders))
    assert again.returncode == 1
    assert "no such segment, lock, semaphore or fifo:// pipe" in again.stderr


@pytest.mark.parametrize("what", ["another pipe", "mkfifo's", "a file", "a link"])
def test_what_has_come_to_its_place_is_left_alone(runtime, orders, tmp_path, what):
    with _listening(orders):
        pass
    kept = tmp_path / "kept"
    os.rename(orders, kept)  # so that its inode is not used again
    if what == "another pipe":
        os.mkfifo(orders, 0o600)
    elif what == "mkfifo's":  # the same inode as far as a note can tell, but never a listener's
        os.rename(kept, orders)
        orders.chmod(0o644)
    elif what == "a file":
        orders.write_text("precious")
    else:
        orders.symlink_to(kept)
    before = orders.lstat()
    assert [one for one in _fifos.fifos() if one.path == str(orders)] == []
    assert _fifos.remove(str(orders)) is None
    assert _fifos.sweep() == []
    if what != "mkfifo's":
        assert list(runtime.iterdir()) == []  # the note is of nothing any more
    after = orders.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_a_listener_that_comes_while_it_is_removed(runtime, orders, monkeypatch):
    """Between the two looks of a sweep: whoever has it open by then keeps it."""
    with _listening(orders):
        pass
    looks = []
    look = _fifos._users

    def comes_before_the_second(*arguments):
        found = look(*arguments)
        looks.append(found)
        if len(looks) == 1:
            looks.append(os.open(orders, os.O_RDWR | os.O_NONBLOCK))
        return found

    monkeypatch.setattr(_fifos, "_users", comes_before_the_second)
    assert _fifos.sweep() == []
    os.close(looks[1])
    assert orders.is_fifo()
    assert _fifos.sweep() == [str(orders)]
