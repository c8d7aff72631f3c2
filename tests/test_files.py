# SPDX-License-Identifier: Apache-2.0
"""ipcx.files: whole or not at all, one at a time, none torn, nothing left behind."""

import asyncio
import contextlib
import doctest
import errno
import itertools
import multiprocessing
import os
import random
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from beside import Background, in_thread, interrupt, interrupt_unseen, keeps, small_disk

import ipcx
from ipcx import files
from ipcx.files import ChangeKind, FileLock, Follower, MessageLog, atomic_write, watch

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)

NIGHT = os.environ.get("IPCX_NIGHT") == "1"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def test_the_documentation_is_right():
    assert doctest.testmod(files).failed == 0


# ---- atomic_write


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("data", "there"), [("té", "té".encode()), (b"b", b"b"), (bytearray(3), bytes(3)), ("", b"")]
)
def test_replaced(path, data, there, durable):
    atomic_write(path, b"the old content")
    atomic_write(str(path), data, durable=durable)
    assert path.read_bytes() == there
    assert os.listdir(path.parent) == ["log"]


def test_the_mode_is_kept(path):
    before = os.umask(0o027)
    try:
        atomic_write(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        atomic_write(path, b"newer", permissions=0o777)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_as_a_context(path):
    with atomic_write(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with atomic_write(path, encoding="utf-8") as file:
        file.writelines(["zwei\n", "drei\n"])
    assert path.read_text() == "zwei\ndrei\n"

    def fail():
        with atomic_write(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "zwei\ndrei\n"
    assert os.listdir(path.parent) == ["log"]


def test_who_has_the_old_one_keeps_it(path):
    atomic_write(path, "old")
    with path.open() as reader:
        atomic_write(path, "new")
        assert reader.read() == "old"


def test_what_is_no_file_is_refused(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dir").mkdir()
    for name, error in (
        ("link", PermissionError), ("fifo", PermissionError), ("dir", IsADirectoryError),
        ("none/x", FileNotFoundError), ("target/x", NotADirectoryError), ("a\0b", ValueError),
    ):  # fmt: skip
        for call in (
            lambda path: atomic_write(path, "x"),
            lambda path: FileLock(path).acquire(0),
            MessageLog,
            Follower,
        ):
            with pytest.raises(error):
                call(tmp_path / name)
    with pytest.raises(PermissionError, match="a symbolic link"):
        atomic_write(tmp_path / "link", "x")
    assert target.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["dir", "fifo", "link", "target"]


def test_a_reader_never_sees_a_mixture(path):
    contents = [bytes([letter]) * 100_000 for letter in b"abc"]
    atomic_write(path, contents[0])
    stop = threading.Event()

    def write(content):
        while not stop.is_set():
            atomic_write(path, content, durable=False)

    writers = [in_thread(write, content) for content in contents]
    seen = {path.read_bytes() for _ in range(300)}
    stop.set()
    for writer in writers:
        writer.join()
    assert seen <= set(contents)
    assert os.listdir(path.parent) == ["log"]


def test_a_full_and_a_read_only_file_system(tmp_path):
    with small_disk(tmp_path / "disk", "128k") as disk:
        atomic_write(disk / "file", b"old")
        with MessageLog(disk / "log") as log:
            log.append("first")
            with pytest.raises(ipcx.ResourceExhausted) as caught:
                atomic_write(disk / "file", bytes(1 << 20))
            assert caught.value.errno == errno.ENOSPC
            assert "no space left: file" in str(caught.value)
            with pytest.raises(ipcx.ResourceExhausted):
                log.append(bytes(1 << 20))
            assert list(log) == ["first"]
            log.append("second")
            with contextlib.suppress(OSError), open(disk / "full", "wb", 0) as full:
                while True:
                    full.write(bytes(4096))
            with pytest.raises(ipcx.ResourceExhausted, match=r"no space left: .*other"):
                MessageLog(disk / "other")
            os.unlink(disk / "full")
        assert sorted(os.listdir(disk)) == ["file", "log", "log.lock"]
        assert (disk / "file").read_bytes() == b"old"
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for call in (
            lambda: atomic_write(disk / "file", b"x"),
            lambda: FileLock(disk / "file").acquire(0),
            lambda: MessageLog(disk / "log"),
        ):
            with pytest.raises(OSError, match="Read-only file system"):
                call()
        with FileLock(disk / "file", shared=True), Follower(disk / "log") as follower:
            assert follower.receive(0) == "first"


# ---- FileLock


def test_one_at_a_time(path):
    lock, other = FileLock(path), FileLock(path)
    assert repr(lock) == f"<FileLock {os.fspath(path)!r}, free>"
    with lock:
        assert lock.locked
        assert not other.try_acquire()
        assert not lock.try_acquire()  # a thread's second time, too
        with pytest.raises(ipcx.WouldBlock):
            other.acquire(0)
        begun = time.monotonic()
        with pytest.raises(ipcx.Timeout):
            other.acquire(0.05)
        assert time.monotonic() - begun >= 0.05
    assert not lock.locked
    assert other.try_acquire()
    other.release()
    with pytest.raises(RuntimeError, match="not held"):
        other.release()
    assert path.exists()


def test_shared(path):
    readers = [FileLock(path, shared=True) for _ in range(3)]
    for reader in readers:
        reader.acquire(0)
    writer = FileLock(path)
    assert not writer.try_acquire()
    assert writer.try_acquire(shared=True)
    writer.release()
    for reader in readers:
        reader.release()
    with writer:
        assert not readers[0].try_acquire()


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_is_none(path, timeout):
    with pytest.raises(ValueError, match="timeout"):
        FileLock(path).acquire(timeout)


def test_between_threads(path):
    lock, count = FileLock(path), 0

    def work():
        nonlocal count
        for _ in range(200):
            with lock:
                seen = count
                time.sleep(0)
                count = seen + 1

    threads = [in_thread(work) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert count == 800


def test_between_processes(path):
    counter = path.with_suffix(".count")
    counter.write_text("0")

    def work():
        for _ in range(100):
            with FileLock(path):
                counter.write_text(str(int(counter.read_text()) + 1))

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
        child.close()
    assert counter.read_text() == "400"


def test_it_ends_with_its_holder(path, spawn):
    code = (
        "import sys, signal\nfrom ipcx.files import FileLock\n"
        "lock = FileLock(sys.argv[1])\nlock.acquire()\nprint('held', flush=True)\nsignal.pause()"
    )
    holder = spawn("-c", code, path)
    assert holder.stdout.readline() == "held\n"
    lock = FileLock(path)
    assert not lock.try_acquire()
    waiting = Background(lock.acquire).asleep()
    holder.kill()
    assert waiting.finish() is None
    lock.release()


def test_a_forked_child_does_not_hold_it(path):
    lock = FileLock(path)
    with lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if not lock.locked and not lock.try_acquire() else 1)
        assert os.waitpid(child, 0)[1] == 0
    # It ends with the parent although a child lives on.
    ready, go = os.pipe()
    with lock:
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(ready, 1)
            os._exit(0)
    assert lock.try_acquire()
    lock.release()
    os.close(go)
    os.close(ready)
    os.waitpid(child, 0)


def test_close_and_ctrl_c(path):
    holder, lock = FileLock(path), FileLock(path)
    with holder:
        interrupt(lock.acquire)
        interrupt(lambda: lock.acquire(60))
        waiting = Background(lambda: lock.acquire(60)).asleep()
        lock.close()
        assert isinstance(waiting.finish(), ipcx.Closed)
        with pytest.raises(ipcx.Closed):
            lock.acquire(0)
        assert "closed" in repr(lock)


@pytest.mark.parametrize("timeout", [None, 60])
def test_ctrl_c_just_before_it_sleeps(path, timeout):
    lock = FileLock(path)
    with FileLock(path):
        interrupt_unseen(lambda: lock.acquire(timeout))
    with lock:
        pass


def test_a_forgotten_lock_warns(path):
    lock = FileLock(path)
    lock.acquire()
    with pytest.warns(ResourceWarning, match="is forgotten"):
        lock.__del__()
    with FileLock(path) as other:
        assert other.locked


def test_a_storm_of_signals_loses_no_lock(path):
    """A handler may raise between any two instructions: what was taken is given back."""

    class Struck(Exception):
        pass

    def strike(number, frame):
        raise Struck

    lock, struck, before = FileLock(path), 0, signal.signal(signal.SIGALRM, strike)
    try:
        while struck < 500:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + struck * 1e-7)
                while True:
                    with lock:
                        pass
            except Struck:
                struck += 1
                assert not lock.locked
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with FileLock(path) as other:
        assert other.locked


# ---- MessageLog

MESSAGES = [
    b"",
    "",
    b"bytes",
    "text, häßlich",
    bytes(range(256)) * 300,
    bytearray(b"ba"),
    "x" * 70_000,
]
READ = [bytes(m) if isinstance(m, bytearray) else m for m in MESSAGES]


def test_what_is_appended_is_read(path):
    with MessageLog(path) as log:
        positions = [log.append(message) for message in MESSAGES]
        assert positions == sorted(set(positions))
        assert list(log) == READ
        assert log.append_many([]) == log.stats().end
        first = log.append_many(message for message in MESSAGES)
        assert list(log) == READ * 2
        for position, message in zip(positions, READ, strict=True):
            with log.follow(position) as follower:
                assert follower.position == position
                assert follower.receive(0) == message
        with Follower(path, first) as follower:
            assert [follower.receive(0) for _ in MESSAGES] == READ
            kept = follower.position
        with Follower(path, "end") as follower:
            assert follower.position == kept == log.stats().end
            with pytest.raises(ipcx.WouldBlock):
                follower.receive(0)
            with pytest.raises(ipcx.Timeout):
                follower.receive(timeout=0.01)
        assert log.stats() == (0, kept, 0)
        log.sync()
        assert repr(log) == f"<MessageLog {os.fspath(path)!r}, COMMITTED>"
    assert repr(log).endswith("closed>")
    with MessageLog(path, durable=True) as log:
        assert list(log) == READ * 2
        log.append("synced")
        assert "DURABLE" in repr(log)
    assert sorted(os.listdir(path.parent)) == ["log", "log.lock"]


def test_numpy_and_other_buffers(path):
    with MessageLog(path) as log:
        log.append(memoryview(b"abcdef")[1:3])
        with pytest.raises(BufferError):
            log.append(memoryview(b"abcdef")[::2])
        for wrong in (5, None, {"a": 1}, [b"x"]):
            with pytest.raises(TypeError):
                log.append(wrong)
            with pytest.raises(TypeError):
                log.append_many([b"fine", wrong])
        with pytest.raises(TypeError, match="append\\(\\)"):
            log.append_many("text")
        with pytest.raises(UnicodeEncodeError):
            log.append("\ud800")
        assert list(log) == [b"bc"]


def test_limits(path):
    with MessageLog(path, max_message=100) as log:
        log.append(bytes(100))
        with pytest.raises(ipcx.MessageTooLarge):
            log.append(bytes(101))
        with pytest.raises(ipcx.MessageTooLarge):
            log.append_many([b"", bytes(101)])
        assert len(list(log)) == 1
    with Follower(path, max_message=10) as follower, pytest.raises(ipcx.MessageTooLarge) as caught:
        follower.receive(0)
    assert caught.value.offset == 48
    for wrong in ({"segment_size": 0}, {"keep": 0}, {"damaged": "x"}, {"timeout": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MessageLog(path, **wrong)
    for position in ("middle", -1, 2**64, 1, 49, 10**9):
        with pytest.raises(ValueError):  # noqa: PT011
            Follower(path, position)


def test_closed(path):
    log = MessageLog(path)
    follower = log.follow()
    log.close()
    log.close()
    follower.close()
    follower.close()
    for call in (
        lambda: log.append(b""), lambda: log.append_many([b""]), log.sync, log.stats,
        follower.receive, follower.fileno, lambda: follower.receive(0),
    ):  # fmt: skip
        with pytest.raises(ipcx.Closed):
            call()
    assert list(follower) == []
    assert (log.closed, follower.closed) == (True, True)


def test_followers_each_at_its_own_pace(path):
    with MessageLog(path) as log, log.follow() as slow, log.follow() as fast:
        log.append_many(str(n) for n in range(100))
        assert [fast.receive(0) for _ in range(100)] == [str(n) for n in range(100)]
        assert slow.receive() == "0"
        waiting = Background(fast.receive).asleep()
        log.append("new")
        assert waiting.finish() == "new"
        assert slow.receive() == "1"


def test_select_tells_of_a_message(path):
    with MessageLog(path) as log, log.follow() as follower:
        fd = follower.fileno()
        with pytest.raises(ipcx.WouldBlock):
            follower.receive(0)
        assert not select.select([fd], [], [], 0)[0]
        log.append("one")
        assert select.select([fd], [], [], 5)[0]
        assert follower.receive(0) == "one"


def test_await_and_async_for(path):
    async def main():
        with MessageLog(path) as log, log.follow() as follower:
            loop = asyncio.get_running_loop()
            loop.call_soon(log.append, "one")
            assert await follower == "one"
            for n in range(20):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(follower, 0.001)
                log.append(str(n))
                assert await asyncio.wait_for(follower, 5) == str(n)
            log.append_many(["a", "b"])
            seen = []
            async for message in follower:
                seen.append(message)
                if message == "b":
                    loop.call_soon(follower.close)
            assert seen == ["a", "b"]

    asyncio.run(main())


def test_close_and_ctrl_c_while_following(path):
    with MessageLog(path) as log, log.follow() as follower:
        interrupt(follower.receive)
        interrupt(lambda: follower.receive(60))
        waiting = Background(lambda: list(follower)).asleep()
        follower.close()
        assert waiting.finish() == []


def test_a_log_that_is_removed(path):
    with MessageLog(path) as log, log.follow() as follower:
        log.append("last")
        waiting = Background(lambda: list(follower))
        path.unlink()
        assert waiting.finish() == ["last"]
        with pytest.raises(ipcx.PeerClosed, match="removed"):
            follower.receive()


def test_segments(path):
    with MessageLog(path, segment_size=2000, keep=2) as log, log.follow() as follower:
        late = log.follow()
        for n in range(300):
            log.append(f"{n:090}")
            assert int(follower.receive(0)) == n
        names = sorted(os.listdir(path.parent))
        assert len(names) == 4  # the newest, its lock, two older ones
        assert int(names[1].rpartition(".")[2]) == log.stats().start
        assert follower.lost == 0
        rest = [int(message) for message in itertools.islice(late, 20)]
        assert rest == list(range(rest[0], rest[0] + 20)) or late.lost > 0
        late.close()
        with Follower(path, 100) as early:
            assert early.lost == log.stats().start - 100
            assert int(early.receive(0)) > 200


def test_somebody_elses_file(path):
    for content in (b"x", b"text of some other program, longer than a head of ours", b"IX\x02"):
        path.write_bytes(content)
        for call in (MessageLog, Follower):
            with pytest.raises(ipcx.ProtocolError):
                call(path)
        assert path.read_bytes() == content
        assert os.listdir(path.parent) == ["log"]
    path.write_bytes(b"")
    with pytest.raises(ipcx.ProtocolError, match="nobody has begun"):
        Follower(path)
    MessageLog(path).close()


def test_cut_at_every_byte(tmp_path):
    """A torn end is cut off and told; what was whole is there, and the log goes on."""
    whole = tmp_path / "whole"
    with MessageLog(whole) as log:
        ends = [log.stats().end]
        for n in range(8):
            log.append(bytes([n]) * (n * 2))
            ends.append(log.stats().end)
    content = whole.read_bytes()
    for cut in range(len(content) + 1):
        path = tmp_path / f"cut{cut}"
        path.write_bytes(content[:cut])
        expected = [bytes([n]) * (n * 2) for n in range(8) if ends[n + 1] <= cut]
        with MessageLog(path) as log:
            assert list(log) == expected
            begun = max((end for end in ends if end <= cut), default=cut)
            assert log.stats().cut == cut - begun
            log.append("more")
        with MessageLog(path) as log:
            assert list(log) == [*expected, "more"]
            assert log.stats().cut == 0


def test_cut_by_somebody_else_while_it_is_open(path):
    """The next append says so, once, and appends nothing; the one after it goes on at the end."""
    with MessageLog(path) as log, MessageLog(path) as other:
        ends = [log.stats().end]
        for n in range(3):
            (other if n % 2 else log).append(f"message {n}")
            ends.append(log.stats().end)
        for size in [0, 20, *ends[:-1], ends[1] + 5, ends[-1] - 1]:
            whole = path.read_bytes()
            there, lost = list(log), len(whole)
            os.truncate(path, size)
            kept = sum(end <= size for end in ends[1:])
            new_end = max([end for end in ends if end <= size], default=ends[0])
            with pytest.raises(ipcx.CorruptData, match=f"positions {new_end} to {lost} are lost"):
                log.append("not appended")
            assert list(other) == there[:kept]
            assert other.append("next") == new_end
            assert list(log) == [*there[:kept], "next"]
            os.truncate(path, new_end)
            with pytest.raises(ipcx.CorruptData):
                other.sync()
            other.sync()
            log.append_many(there[kept:])
            assert list(other) == there


@pytest.mark.parametrize("grown", [False, True], ids=["cut", "and-grown-again"])
@pytest.mark.parametrize("back", [1, 40, 5000, 70_000])
def test_cut_behind_the_back_of_a_busy_writer(path, back, grown):
    """Who appends one after the other looks at memory, also where it is gone."""
    with MessageLog(path) as log:
        log.append_many([f"{n:0100}" for n in range(1000)])
        for n in range(1000, 1010):
            log.append(f"{n:0100}")
        end = path.stat().st_size
        os.truncate(path, end - back)
        if grown:
            os.truncate(path, end)
        with pytest.raises(ipcx.CorruptData, match=f"to {end} are lost"):
            log.append("not appended")
        kept = [int(message) for message in log]
        assert kept == list(range(len(kept)))
        assert len(kept) >= 1010 - back // 100 - 1
        log.append("next")
        assert len(list(log)) == len(kept) + 1


def test_cut_by_somebody_else_in_a_log_of_many_files(path):
    with MessageLog(path, segment_size=200) as log:
        for n in range(20):
            log.append(f"{n:050}")
        end, start = log.stats().end, int(sorted(os.listdir(path.parent))[-2].rpartition(".")[2])
        os.truncate(path, 0)
        with pytest.raises(ipcx.CorruptData, match=f"to {end} are lost"):
            log.append_many(["not", "appended"])
        rest = [int(message) for message in log]
        assert rest == list(range(len(rest)))
        assert len(rest) < 20
        assert log.append("next") > start
        assert list(log)[-1] == "next"


@pytest.mark.parametrize("content", [b"[[package]]\n" * 1000, b"4711\n"])
def test_another_programs_lock_file_is_left_alone(path, content):
    lock = path.with_name("log.lock")
    lock.write_bytes(content)
    with pytest.raises(ipcx.ProtocolError, match="another program's file"):
        MessageLog(path)
    assert (lock.read_bytes(), path.exists()) == (content, False)
    for ours in (b"", bytes(4096), b"ipcx log lock 1"):  # of a FileLock; half made; of before
        lock.write_bytes(ours)
        with MessageLog(path) as log:
            log.append("one")
    assert len(list(log)) == 3


def test_arguments_that_are_none(path):
    MessageLog(path).close()
    for size in (0, -1):
        with pytest.raises(ValueError, match="max_message"):
            MessageLog(path, max_message=size)
        with pytest.raises(ValueError, match="max_message"):
            Follower(path, max_message=size)
    with pytest.raises(TypeError):
        Follower(path, 1.5)


def test_damage_is_told_and_cut_off_only_if_asked(path):
    with MessageLog(path) as log:
        log.append_many(["one", "two", "three"])
        second = log.append("four")
        log.append("five")
    content = bytearray(path.read_bytes())
    content[second + 13] ^= 1
    path.write_bytes(content)
    path.with_name("log.lock").unlink()
    with pytest.raises(ipcx.CorruptData, match=f"byte {second}"):
        MessageLog(path)
    with Follower(path) as follower:
        assert [follower.receive(0) for _ in range(3)] == ["one", "two", "three"]
        with pytest.raises(ipcx.CorruptData) as caught:
            follower.receive()
        assert caught.value.offset == second == follower.position
    assert path.read_bytes() == content
    with MessageLog(path, damaged="cut") as log:
        assert list(log) == ["one", "two", "three"]
        assert log.stats().cut == len(content) - second


WRITER = """
import sys
from ipcx.files import MessageLog
path, who = sys.argv[1:]
with MessageLog(path, segment_size=int(1e6)) as log:
    for n in range(10**9):
        batch = [f"{who} {n} {i} " + "x" * (i * 37 % 9000) for i in range(3)]
        if n % 2:
            log.append_many(batch)
        else:
            for message in batch:
                log.append(message)
        print(n, flush=True)
"""


@pytest.mark.hang_guard(600 if NIGHT else 60)
def test_writers_killed_at_random(path, spawn):
    """None torn, none that was acknowledged lost, none twice."""
    rounds, chance = (40 if NIGHT else 4), random.Random(8)
    told: dict[str, int] = {}
    with MessageLog(path) as log:
        for turn in range(rounds):
            writers = {
                f"{turn}-{who}": spawn("-c", WRITER, path, f"{turn}-{who}") for who in range(4)
            }
            for name, writer in writers.items():
                for _ in range(chance.randrange(2, 30)):
                    told[name] = int(writer.stdout.readline())
                writer.kill()
            for name, writer in writers.items():
                for line in writer.stdout.read().splitlines():
                    told[name] = int(line)
                writer.wait()
        seen: dict[str, list[tuple[int, int]]] = {}
        for message in log:
            who, n, i, text = message.split(" ")
            assert text == "x" * (int(i) * 37 % 9000)
            seen.setdefault(who, []).append((int(n), int(i)))
        for who, pairs in seen.items():
            assert pairs == [(k // 3, k % 3) for k in range(len(pairs))]
            assert len(pairs) >= 3 * (told[who] + 1)
        assert seen.keys() == told.keys()


def test_the_lock_that_writers_share(path):
    with MessageLog(path) as log:
        path.with_name("log.lock").unlink()
        with pytest.raises(OSError, match="removed or replaced") as caught:
            MessageLog(path)
        assert caught.value.errno == errno.EBUSY
        log.append("still")
    with MessageLog(path) as log:
        assert list(log) == ["still"]


def test_a_stopped_writer_holds_the_others_up_and_no_longer(path, spawn):
    """A time-out, Ctrl-C; and once it is killed the log goes on."""
    code = (
        "import sys\nfrom ipcx.files import MessageLog\n"
        "log = MessageLog(sys.argv[1])\nprint('open', flush=True)\n"
        "while True: log.append_many([b'x' * 1000] * 3000)"
    )
    with MessageLog(path) as log:
        writer = spawn("-c", code, path)
        assert writer.stdout.readline() == "open\n"
        while True:  # until it is stopped inside
            time.sleep(0.002)
            writer.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)
            try:
                log.append("mine", timeout=0)
            except ipcx.WouldBlock:
                break
            writer.send_signal(signal.SIGCONT)
        with pytest.raises(ipcx.Timeout):
            log.append("mine", timeout=0.05)
        writer.kill()
        assert log.append("mine", timeout=5) > 0
        assert {message for message in log} == {"mine", b"x" * 1000}


def test_a_forked_child_appends_and_follows(path):
    with MessageLog(path) as log, log.follow() as follower:
        with pytest.raises(ipcx.WouldBlock):
            follower.receive(0)
        child = os.fork()
        if child == 0:
            log.append("child")
            os._exit(0 if follower.receive(5) == "child" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert follower.receive(5) == "child"
        log.append("parent")
        assert follower.receive(5) == "parent"


def test_threads_append_side_by_side(path):
    with MessageLog(path, segment_size=5000) as log:
        threads = [
            in_thread(lambda who=who: [log.append(f"{who} {n}") for n in range(200)])
            for who in range(4)
        ]
        for thread in threads:
            thread.join()
        seen = [message.split() for message in log]
        for who in range(4):
            assert [int(n) for w, n in seen if w == str(who)] == list(range(200))


def test_many_leave_nothing(path):
    def once():
        with MessageLog(path) as log, log.follow("end") as follower, FileLock(path):
            log.append("x")
            follower.receive(0)
        atomic_write(path.with_name("other"), b"x", durable=False)

    for _ in range(10):
        once()
    assert not keeps(once, 200, 50)


# ---- watch


def kinds(watching, count):
    return [(change.kind.value, change.path.name) for change in itertools.islice(watching, count)]


def test_a_watch_is_readable_as_long_as_there_is_a_change(tmp_path):
    """One receive for each time that select says so is enough."""
    with watch(tmp_path) as changes:
        names = ["short", "long" * 60, "x"]
        for name in names:
            (tmp_path / name).touch()
        seen = []
        while select.select([changes], [], [], 0)[0]:
            seen.append(changes.receive(0))
        with pytest.raises(ipcx.WouldBlock):
            changes.receive(0)
    created = [change.path.name for change in seen if change.kind == ChangeKind.CREATED]
    assert created == names


def test_a_directory(tmp_path):
    with watch(tmp_path) as watching:
        assert repr(watching) == f"<Watch of {os.fspath(tmp_path)!r}>"
        (tmp_path / "one").write_text("x")
        assert kinds(watching, 3) == [("created", "one"), ("modified", "one"), ("written", "one")]
        (tmp_path / "one").rename(tmp_path / "two")
        old, new = watching.receive(), watching.receive()
        assert (old.kind, new.kind) == (ChangeKind.MOVED_FROM, ChangeKind.MOVED_TO)
        assert old.cookie == new.cookie != 0
        assert new.path == tmp_path / "two"
        (tmp_path / "dir").mkdir()
        assert watching.receive() == (ChangeKind.CREATED, tmp_path / "dir", True, 0)
        (tmp_path / "two").unlink()
        assert watching.receive().kind == "deleted"
        with pytest.raises(ipcx.WouldBlock):
            watching.receive(0)
        with pytest.raises(ipcx.Timeout):
            watching.receive(0.01)


def test_a_file_that_is_replaced_stays_watched(path):
    with watch(path) as watching:
        path.with_name("another").write_text("x")
        for text in ("one", "two"):
            atomic_write(path, text)
            assert watching.receive(5)[:2] == (ChangeKind.MOVED_TO, path)
        path.unlink()
        assert watching.receive(5).kind == "deleted"


def test_the_end_of_a_directory(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with watch(folder) as watching:
        folder.rmdir()
        assert [change.kind for change in watching] == ["gone"]
        with pytest.raises(ipcx.PeerClosed):
            watching.receive()


def test_closing_a_watch(tmp_path):
    with watch(tmp_path) as watching:
        waiting = Background(lambda: list(watching)).asleep()
        interrupting = Background(lambda: watching.receive(60)).asleep()
        watching.close()
        assert waiting.finish() == []
        assert isinstance(interrupting.finish(), ipcx.Closed)
        with pytest.raises(ipcx.Closed):
            watching.fileno()
    with watch(tmp_path) as watching:
        interrupt(watching.receive)
    with pytest.raises(FileNotFoundError):
        watch(tmp_path / "none" / "x")


def test_a_watch_is_its_process(tmp_path):
    with watch(tmp_path) as watching:
        child = os.fork()
        if child == 0:
            try:
                watching.receive(0)
            except ipcx.ForkedError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0


def test_watching_with_asyncio(tmp_path):
    async def main():
        with watch(tmp_path) as watching:
            asyncio.get_running_loop().call_soon((tmp_path / "new").mkdir)
            assert (await watching).kind == "created"
            asyncio.get_running_loop().call_soon(watching.close)
            assert [change async for change in watching] == []

    asyncio.run(main())


def test_too_many_watches(tmp_path):
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if limit > 1000:
        pytest.skip("this machine has no small limit")
    made = []
    try:
        with pytest.raises(ipcx.ResourceExhausted, match=r"sysctl fs\.inotify"):
            made.extend(watch(tmp_path) for _ in range(limit + 1))
    finally:
        for one in made:
            one.close()


# ---- the examples

EXAMPLES = Path(__file__).parent.parent / "examples" / "files"


@pytest.mark.hang_guard(60)
def test_a_plain_file_is_torn_and_the_cures_are_not(tmp_path):
    said = subprocess.run(
        [sys.executable, EXAMPLES / "torn.py"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    assert said == [
        "a plain file: lines were torn",
        "under a FileLock: torn lines: 0",
        "a MessageLog: messages: 600, torn: 0",
        "left in the folder: events.log, events.log.lock, locked.txt, locked.txt.lock, plain.txt",
    ]


def test_a_writer_and_a_reader_that_is_started_twice(tmp_path, spawn):
    reader = spawn(EXAMPLES / "reader.py", cwd=tmp_path)
    writer = spawn(EXAMPLES / "writer.py", cwd=tmp_path)
    writer.stdin.write("one\ntwo\n")
    writer.stdin.flush()
    assert [reader.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
    while not (tmp_path / "reader.position").exists():
        time.sleep(0.001)
    reader.kill()
    reader.wait()
    said, _ = writer.communicate("three\nend\n")
    assert len(said.splitlines()) == 4
    again = spawn(EXAMPLES / "reader.py", cwd=tmp_path)
    assert again.communicate()[0].endswith("three\nend\n")
    assert again.returncode == 0


def test_the_watching_example(tmp_path, spawn):
    watching = spawn(EXAMPLES / "watch.py", tmp_path)
    assert watching.stdout.readline() == f"watching {tmp_path}\n"
    (tmp_path / "stop").mkdir()
    assert watching.communicate()[0] == "created stop\n"
