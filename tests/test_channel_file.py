# SPDX-License-Identifier: Apache-2.0
"""`file:///path`: a log as a channel. What a log is and survives is in test_files.py."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from beside import Background, interrupt, readable_whenever_it_would_not_wait

import ipcx
from ipcx import aio, files


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/app.log"


@pytest.fixture
def writer(url):
    with ipcx.connect(url) as channel:
        yield channel


def reader(url):
    with ipcx.listen(url) as listener:
        return listener.accept()


def test_what_was_sent_is_read_from_the_beginning_by_everybody(url, writer):
    writer.send("a text")
    assert writer.send_many([b"bytes", b""]) == 2
    for _ in range(2):
        with reader(url) as channel:
            assert [channel.receive(5) for _ in range(3)] == ["a text", b"bytes", b""]
            with pytest.raises(ipcx.WouldBlock):
                channel.receive(0)
            with pytest.raises(ipcx.Timeout):
                channel.receive(0.01)
            assert channel.stats().received == 3
    assert writer.stats().sent == 3
    assert list(files.MessageLog(url.removeprefix("file://"))) == ["a text", b"bytes", b""]


def test_from_the_end_on(url, writer):
    writer.send("before")
    with reader(f"{url}?from=end") as channel:
        assert not channel.poll()
        writer.send("after")
        assert channel.poll(5)
        assert channel.receive(0) == "after"


def test_a_reader_may_come_first_and_waits(url):
    with reader(url) as channel:
        waits = Background(channel.receive).asleep()
        with ipcx.connect(f"{url}?durable=1") as writer:
            writer.send(b"x" * 100_000)
        assert waits.finish() == b"x" * 100_000
        assert channel.stats().receive_waits == 1


def test_many_writers_and_many_readers(url):
    def write(number):
        with ipcx.connect(url) as channel:
            for i in range(100):
                channel.send(b"%d %d" % (number, i))

    with reader(url) as one, reader(url) as other:
        threads = [threading.Thread(target=write, args=[n]) for n in range(4)]
        for thread in threads:
            thread.start()
        seen = [one.receive(10) for _ in range(400)]
        for thread in threads:
            thread.join()
        assert [other.receive(10) for _ in range(400)] == seen
    for number in range(4):
        mine = [m for m in seen if m.startswith(b"%d " % number)]
        assert mine == [b"%d %d" % (number, i) for i in range(100)]


def test_readable_whenever_a_receive_would_not_wait(url, writer):
    with reader(url) as channel:
        readable_whenever_it_would_not_wait(channel, writer)


def test_each_end_goes_one_way(url, writer):
    with pytest.raises(ipcx.Unsupported, match="who accepts receives"):
        writer.receive(0)
    with pytest.raises(ipcx.Unsupported, match="durable"):
        writer.send(b"", sync=True)
    with pytest.raises(ipcx.Unsupported):
        writer.fileno()
    with reader(url) as channel, pytest.raises(ipcx.Unsupported, match="who connects sends"):
        channel.send(b"")
    with pytest.raises(ipcx.Unsupported, match="one path"):
        ipcx.pair(url)
    with pytest.raises(TypeError, match="codec"):
        writer.send({})


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("file://", "path is missing"),
        ("file://relative", "absolute"),
        ("file:///tmp/", "directory"),
        ("file:///tmp/x?from=middle", "from=start|end"),
        ("file:///tmp/x?durable", "durable=0|1"),
        ("file:///" + "x" * 300, "at most 255"),
    ],
)
def test_what_is_no_such_address(address, says):
    for make in (ipcx.connect, ipcx.listen):
        with pytest.raises(ipcx.InvalidURL) as caught:
            make(address)
        assert says in str(caught.value)


def test_what_is_no_log_is_refused_and_untouched(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a log, and longer than the head of one would be: mine\n")
    for make in (ipcx.connect, ipcx.listen):
        with pytest.raises(ipcx.ProtocolError):
            make(f"file://{path}")
    assert path.read_text().endswith("mine\n")
    with pytest.raises(OSError, match="No such file"):
        ipcx.connect(f"file://{tmp_path}/missing/app.log")


def test_too_long_a_message_is_not_begun(url):
    with ipcx.connect(url, max_message=4096) as writer:
        with pytest.raises(ipcx.MessageTooLarge):
            writer.send(b"x" * 4097)
        with pytest.raises(ipcx.MessageTooLarge):
            writer.send_many([b"fits", b"x" * 4097])
        writer.send(b"x" * 4096)
    with reader(url) as channel:
        assert channel.receive(5) == b"x" * 4096


def test_close_wakes_who_waits_and_leaves_no_descriptor(url):
    before = os.listdir("/proc/self/fd")
    channel = reader(url)
    channel.fileno()
    waits = Background(channel.receive).asleep()
    channel.close()
    assert isinstance(waits.finish(), ipcx.Closed)
    with pytest.raises(ipcx.Closed):
        channel.receive(0)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_ctrl_c_while_it_waits(url, writer):
    with reader(url) as channel:
        interrupt(channel.receive)
        writer.send(b"still there")
        assert channel.receive(5) == b"still there"


def test_a_message_that_fits_not_stays(url, writer):
    writer.send(b"four")
    with reader(url) as channel:
        with pytest.raises(ipcx.MessageTooLarge):
            channel.receive_into(bytearray(3))
        assert channel.receive_into(buffer := bytearray(4)) == 4
        assert buffer == b"four"


def test_a_log_that_is_removed_ends(url, writer):
    with reader(url) as channel:
        os.unlink(url.removeprefix("file://"))
        assert list(channel) == []


def test_a_child_has_nothing_of_it(url, writer):
    with reader(url) as channel:
        with pytest.raises(ipcx.WouldBlock):
            channel.receive(0)
        writer.send(b"1")
        pid = os.fork()
        if pid == 0:
            try:
                writer.send(b"2")
            except ipcx.ForkedError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert channel.receive(5) == b"1"
        assert not channel.poll()


def test_what_a_killed_writer_had_sent_is_there(url):
    program = """
import ipcx, signal, sys
channel = ipcx.connect(sys.argv[1])
channel.send("sent")
signal.raise_signal(signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, url], check=False)
    assert done.returncode == -signal.SIGKILL
    with reader(url) as channel:
        assert channel.receive(5) == "sent"
        with pytest.raises(ipcx.WouldBlock):
            channel.receive(0)


def test_with_await(url):
    async def main():
        async with await aio.listen(url) as listener:
            channel = await listener.accept()
        async with channel, await aio.connect(url) as writer:
            waits = asyncio.create_task(channel.receive())
            await asyncio.sleep(0)
            await writer.send_many(["a", "b"])
            assert await waits == "a"
            assert await channel.receive() == "b"
            with pytest.raises(ipcx.Timeout):
                await channel.receive(0.01)

    asyncio.run(main())
