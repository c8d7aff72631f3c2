# SPDX-License-Identifier: Apache-2.0
"""Pipes and named pipes. Pipelines: test_pipeline.py."""

import doctest
import os
import select
import subprocess
import sys
import threading

import pytest
from beside import Background, interrupt

import ipcx
from ipcx import pipes
from ipcx.pipes import PIPE_BUF, NamedPipe, pipe


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
        with pytest.raises(OSError, match="no named pipe"):
            NamedPipe(other)
        with pytest.raises(OSError, match="no named pipe"):
            NamedPipe(other, create=True, exist_ok=True)
    with pytest.raises(FileNotFoundError):
        NamedPipe(tmp_path / "missing")
    os.unlink(named.path)
    os.symlink("/dev/null", named.path)
    for opens in (named.reader, lambda: named.writer(0)):
        with pytest.raises(OSError, match="symbolic link"):
            opens()
    named.unlink()  # not ours: stays
    assert os.path.islink(named.path)
    os.unlink(named.path)
    assert file.read_text() == "mine"


def test_the_doctests():
    assert doctest.testmod(pipes).failed == 0
