# SPDX-License-Identifier: Apache-2.0
"""Pipes and named pipes. Pipelines: test_pipeline.py."""

import contextlib
import doctest
import errno
import os
import resource
import select
import subprocess
import sys
import threading

import pytest
from beside import Background, interrupt, small_disk

import ipcx
from ipcx import _core, pipes, process
from ipcx.pipes import PIPE_BUF, NamedPipe, Pipeline, pipe


@pytest.fixture(autouse=True)
def no_descriptor_left():
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def named(tmp_path):
    with NamedPipe(tmp_path / "orders", create=True) as made:
        yield made
    assert not (tmp_path / "orders").exists()


def test_the_two_ends():
    with pipe() as fd:
        assert os.write(fd[1], b"as in C") == 7
        assert os.read(fd[0], 100) == b"as in C"
        assert not os.get_inheritable(fd[0])
        assert len(fd) == 2
        assert fd.write_end.write(b"a") + fd.write_end.write(bytearray(b"b")) == 2
        assert fd.read_end.read() == b"ab"  # a pipe has no messages
        with pytest.raises(ipcx.WouldBlock):
            fd.read_end.read(timeout=0)
        with pytest.raises(ipcx.Timeout):
            fd.read_end.read(timeout=0.01)
        fd.write_end.write(b"rest")
        fd.write_end.close()
        assert fd.read_end.read_all(5) == b"rest"
        assert fd.read_end.read() == b""
        with pytest.raises(ipcx.Closed):
            fd[1]
        with pytest.raises(ValueError, match="at least 1"):
            fd.read_end.read(0)
        assert "closed" in repr(fd)
    assert fd.read_end.closed
    fd.close()


def test_the_descriptors_wait_as_in_c():
    """Also in a program that has one of them as its stdout, however much that writes."""
    with pipe() as fd:
        waits = Background(lambda: os.read(fd[0], 100)).asleep()
        fd.write_end.write(b"late")
        assert waits.finish() == b"late"
        os.write(fd[1], b"-")
        for wait in (0, 0.01):  # the objects' own calls keep to their time-outs all the same
            with pytest.raises(ipcx.Timeout) as caught:
                fd.write_end.write(bytes(1_000_000), timeout=wait)
            assert caught.value.written < 1_000_000
        while fd.read_end.read(1_000_000, timeout=5) and select.select([fd.read_end], [], [], 0)[0]:
            pass
        with pytest.raises(ipcx.WouldBlock):
            fd.read_end.read(timeout=0)
        program = subprocess.Popen(["seq", "100000"], stdout=fd.write_end)
        fd.write_end.close()
        assert fd.read_end.read_all().endswith(b"99999\n100000\n")
        assert program.wait() == 0
    with pipe() as fd:
        os.set_blocking(fd[0], False)
        with pytest.raises(BlockingIOError):
            os.read(fd[0], 1)  # who wants it otherwise has it


def test_closed_by_its_number(tmp_path):
    """As the lecture's programs do it; what has the number by then is not closed for it."""
    with pipe() as fd:
        number = fd[1]
        os.close(fd[1])
        assert os.read(fd[0], 1) == b""
        other = open(tmp_path / "other", "w")
        os.dup2(other.fileno(), number)
    os.fstat(number)
    if number != other.fileno():
        os.close(number)
    other.close()


def test_no_descriptor_is_left():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        for makes in (pipe, Pipeline("true").run, lambda: process.spawn("true", output="capture")):
            with pytest.raises(ipcx.ResourceExhausted) as caught:
                makes()
            assert caught.value.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_full_pipe():
    with pipe() as fd:
        with pytest.raises(ipcx.Timeout) as caught:
            fd.write_end.write(b"x" * 1_000_000, timeout=0.01)
        assert 0 < caught.value.written < 1_000_000
        with pytest.raises(ipcx.WouldBlock) as caught:
            fd.write_end.write(b"x" * 1_000_000, timeout=0)
        assert caught.value.written == 0
        taker = Background(lambda: len(fd.read_end.read_all()))
        fd.write_end.write(b"y" * 1_000_000)
        fd.write_end.close()
        assert taker.finish() > 1_000_000


def test_nobody_reads_any_more():
    program = """
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
import ipcx
from ipcx.pipes import pipe
with pipe() as fd:
    fd.read_end.close()
    try:
        fd.write_end.write(b"x")
    except ipcx.PeerClosed as error:
        print(isinstance(error, EOFError))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"True\n"), done.stderr


def test_closed_while_another_thread_waits(named):
    """It ends at once, and before the descriptor's number can be anything else."""
    reads = named.reader()
    waits = Background(reads.read).asleep()
    reads.close()
    assert isinstance(waits.finish(), ipcx.Closed)
    with pipe() as fd:
        waits = Background(lambda: fd.write_end.write(bytes(1 << 20))).asleep()
        fd.write_end.close()
        assert isinstance(waits.finish(), ipcx.Closed)
        assert fd.read_end.read_all(5)


def test_ctrl_c_while_waiting(named):
    with pipe() as fd:
        interrupt(fd.read_end.read)
        interrupt(lambda: fd.write_end.write(b"x" * 1_000_000))
    interrupt(named.writer)


def test_a_named_pipe_between_processes(named):
    program = "import sys; open(sys.argv[1], 'w').write('an order')"
    with named.reader() as reads:
        child = subprocess.Popen([sys.executable, "-c", program, named.path])
        assert reads.read_all() == b"an order"
        assert child.wait() == 0


def test_nobody_waits_for_ever_for_the_other_side(named):
    with pytest.raises(ipcx.WouldBlock):
        named.writer(timeout=0)
    with pytest.raises(ipcx.Timeout):
        named.writer(timeout=0.01)
    with named.reader() as reads:
        with pytest.raises(ipcx.Timeout):
            reads.read(timeout=0.01)  # not the end: nobody has begun
        with named.writer(timeout=0) as writes:
            writes.write(b"x")
        assert reads.read() == b"x"
        assert reads.read() == b""
    waits = Background(named.writer).asleep()
    with named.reader() as reads, waits.finish() as writes:
        writes.write(b"at last")
        assert select.select([reads], [], [], 5)[0] == [reads]
        assert reads.read() == b"at last"


def test_writes_up_to_pipe_buf_are_whole(named):
    def write(letter):
        with named.writer() as end:
            for _ in range(200):
                end.write(letter * PIPE_BUF, atomic=True)

    with named.reader() as reads:
        keeps = named.writer()  # so that no writer's end is the end
        threads = [threading.Thread(target=write, args=[b"%d" % n]) for n in range(4)]
        for thread in threads:
            thread.start()
        got = b""
        while len(got) < 800 * PIPE_BUF:
            got += reads.read()
        for thread in threads:
            thread.join()
        with pytest.raises(ipcx.MessageTooLarge, match=str(PIPE_BUF)):
            keeps.write(b"x" * (PIPE_BUF + 1), atomic=True)
        keeps.close()
    for start in range(0, len(got), PIPE_BUF):
        piece = got[start : start + PIPE_BUF]
        assert piece == piece[:1] * PIPE_BUF


def until_opening(path, pid):
    while _core.fifo_opener(path) != pid:
        pass


@pytest.mark.parametrize("how", ["absolute", "relative", "from a folder"])
def test_who_waits_in_open_is_seen_and_not_disturbed(named, tmp_path, how):
    """`cat` would meet the end of the file if we opened the pipe to see whether somebody reads."""
    folder = os.open(tmp_path, os.O_PATH)
    try:
        if how == "from a folder":
            opens = f"import os; print(os.read(os.open('orders', 0, dir_fd={folder}), 99).decode())"
            command = [sys.executable, "-c", opens]
        else:
            command = ["cat", named.path if how == "absolute" else "orders"]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, pass_fds=[folder], text=True
        ) as cat:
            assert cat.stdout is not None
            until_opening(named.path, cat.pid)
            with pytest.raises(ipcx.AddressInUse, match=f"process {cat.pid} reads"):
                NamedPipe(named.path, create=True)
            with pytest.raises(ipcx.AddressInUse, match=f"process {cat.pid} reads"):
                ipcx.listen(f"fifo://{named.path}")
            assert _core.fifo_opener(named.path) == cat.pid
            with named.writer(10) as writer:
                writer.write(b"for the cat")
            assert cat.stdout.read().rstrip() == "for the cat"
        assert _core.fifo_opener(named.path) == 0
    finally:
        os.close(folder)


def test_who_reads_is_not_told_an_end(named):
    with named.reader() as reader:
        with pytest.raises(ipcx.AddressInUse, match=f"process {os.getpid()} reads"):
            NamedPipe(named.path, create=True)
        with pytest.raises(ipcx.WouldBlock):  # and no end of the file, for nobody has come
            reader.read(timeout=0)


def test_what_is_there_already(named, tmp_path):
    with pytest.raises(FileExistsError, match="left behind"):
        NamedPipe(named.path, create=True)
    again = NamedPipe(named.path, create=True, exist_ok=True)
    assert not again.created
    with named.reader(), pytest.raises(ipcx.AddressInUse):
        NamedPipe(named.path, create=True)
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("mine")
    link.symlink_to(named.path)
    for other in (file, link):
        with pytest.raises(PermissionError, match="no named pipe"):
            NamedPipe(other)
        with pytest.raises(OSError, match="no named pipe"):
            NamedPipe(other, create=True, exist_ok=True)
    with pytest.raises(FileNotFoundError):
        NamedPipe(tmp_path / "missing")
    os.unlink(named.path)
    os.symlink("/dev/null", named.path)
    for opens in (named.reader, lambda: named.writer(0)):
        with pytest.raises(PermissionError, match="symbolic link"):
            opens()
    named.unlink()  # not ours: stays
    assert os.path.islink(named.path)
    os.unlink(named.path)
    assert file.read_text() == "mine"


def test_a_named_pipe_that_is_swapped(named, tmp_path):
    """Whoever may write to the folder may put something else there: it is not written to."""
    file = tmp_path / "file"
    file.write_text("mine")
    os.unlink(named.path)
    os.link(file, named.path)
    for opens in (named.reader, lambda: named.writer(0)):
        with pytest.raises(OSError, match="no named pipe"):
            opens()
    os.unlink(named.path)
    os.mkdir(named.path)
    for opens in (named.reader, lambda: named.writer(0)):
        with pytest.raises(OSError, match=r"no named pipe|directory"):
            opens()
    os.rmdir(named.path)
    with pytest.raises(FileNotFoundError):
        named.writer(0)
    assert file.read_text() == "mine"


def test_a_named_pipe_that_is_made_anew_while_a_writer_waits(named, tmp_path):
    """By a server that starts again: the writer finds the new one's reader."""
    waits = Background(lambda: named.writer(60)).asleep()
    NamedPipe(tmp_path / "new", create=True)
    os.rename(tmp_path / "new", named.path)
    waits.asleep()
    with named.reader() as reads:
        with waits.finish() as writes:
            writes.write(b"found")
        assert reads.read_all(60) == b"found"


def test_a_named_pipe_that_is_swapped_while_a_writer_waits(named, tmp_path):
    waits = Background(lambda: named.writer(60)).asleep()
    (tmp_path / "link").symlink_to("/dev/null")
    os.rename(tmp_path / "link", named.path)
    assert "symbolic link" in str(waits.finish())
    os.unlink(named.path)


def test_ends_that_come_and_go_at_once(named):
    """Writers and readers open and close as they like: nobody hangs, nothing is torn or twice."""
    messages, wrong = 150 if os.environ.get("IPCX_NIGHT") != "1" else 20_000, []
    got, all_sent = [], threading.Event()

    def write(who):
        number = 0
        while number < messages:
            with named.writer(timeout=60) as end:
                for _ in range(3):
                    try:
                        end.write(b"%c%07d" % (who, number), atomic=True)
                    except ipcx.PeerClosed:  # the reader went away, and another one comes
                        break
                    number += 1

    def read():
        over = False
        while not over:
            over = all_sent.is_set()
            with named.reader() as end, contextlib.suppress(ipcx.Timeout):
                for _ in range(20):
                    piece = end.read(8 * 50, timeout=0.2)
                    got.append(piece)
                    if not piece:
                        break
                while piece:  # what is in the pipe when its last end closes is gone
                    got.append(piece := end.read(8 * 50, timeout=0))

    reader = Background(read)
    writers = [Background(lambda who=who: write(who)) for who in b"abc"]
    for writer in writers:
        assert writer.finish() is None
    all_sent.set()
    assert reader.finish() is None
    last = dict.fromkeys(b"abc", -1)
    for piece in got:
        wrong += [] if len(piece) % 8 == 0 else [piece]
        for at in range(0, len(piece), 8):
            who, number = piece[at], int(piece[at + 1 : at + 8])
            wrong += [] if number > last[who] else [piece[at : at + 8]]
            last[who] = number
    assert wrong == []
    assert min(last.values()) > 0


def test_a_read_only_and_a_full_file_system(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        named = NamedPipe(disk / "pipe", create=True)
        (disk / "full").write_bytes(bytes(65536 - 4096))
        with named.reader() as reads, named.writer(5) as writes:  # needs no room there
            writes.write(bytes(60_000))
            assert len(reads.read(60_000, timeout=5)) > 0
        done = (Pipeline("head -c 1M /dev/zero") | "cat").run(output=disk / "output")
        assert not done.ok
        assert done.endings[1].status == 1  # what cat says of it is on our stderr
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with named.reader() as reads, named.writer(5) as writes:
            writes.write(b"x")
            assert reads.read(timeout=5) == b"x"
        for call in (
            lambda: NamedPipe(disk / "other", create=True),
            lambda: NamedPipe(disk / "other", create=True, exist_ok=True),
            lambda: Pipeline("true").run(output=disk / "another"),
        ):
            with pytest.raises(OSError, match="Read-only file system"):
                call()


def test_the_doctests():
    assert doctest.testmod(pipes).failed == 0
