# SPDX-License-Identifier: Apache-2.0
"""`fifo:///path`: a named pipe as a channel: many write, one reads."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import uvloop
from beside import Background, in_thread, interrupt, readable_whenever_it_would_not_wait

import ipcx
from ipcx import aio, pipes

MOST = 4096 - 12  # bytes of a message: PIPE_BUF less the header


@pytest.fixture(scope="module", autouse=True)
def first_loop():
    """libuv's first loop makes a pipe that stays as long as the process, by design."""
    uvloop.new_event_loop().close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "orders"


@pytest.fixture
def url(path):
    return f"fifo://{path}"


@pytest.fixture
def listener(url):
    with ipcx.listen(url) as made:
        yield made


@pytest.fixture
def reader(listener):
    with ipcx.connect(listener.url):
        channel = listener.accept(0)
    with channel:
        yield channel


@pytest.fixture
def writer(url, reader):
    with ipcx.connect(url) as channel:
        yield channel


def run(program, *arguments, **options):
    """A Python program beside us."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def fill(writer, send=lambda writer: writer.send(bytes(MOST), timeout=0)):
    """Until there is no room: how often it sent, and the error."""
    sent = 0
    while True:
        try:
            send(writer)
            sent += 1
        except ipcx.WouldBlock as error:
            return sent, error


# ---- messages


def test_bytes_and_texts_in_order(writer, reader):
    writer.send("a text")
    assert writer.send_many([b"bytes", b"", "ü" * 100]) == 3
    assert [reader.receive(5) for _ in range(4)] == ["a text", b"bytes", b"", "ü" * 100]
    with pytest.raises(ipcx.WouldBlock):
        reader.receive(0)
    with pytest.raises(ipcx.Timeout):
        reader.receive(0.01)
    assert (writer.stats().sent, reader.stats().received) == (4, 4)


def test_many_writers_and_one_reader(url, reader):
    def write(number):
        with ipcx.connect(url) as channel:
            for i in range(0, 300, 3):
                channel.send(b"%d %d " % (number, i) + bytes(i))
                channel.send_many([b"%d %d" % (number, i + 1), b"%d %d" % (number, i + 2)])

    threads = [in_thread(write, number) for number in range(4)]
    seen = [reader.receive(10).split(b" ")[:2] for _ in range(1200)]
    for thread in threads:
        thread.join()
    for number in range(4):
        mine = [int(i) for n, i in seen if n == b"%d" % number]
        assert mine == list(range(300))


def test_a_message_that_is_not_written_whole_is_refused(url, writer, reader):
    with pytest.raises(ipcx.MessageTooLarge, match=f"{MOST + 1} bytes.*{MOST} whole"):
        writer.send(bytes(MOST + 1))
    with pytest.raises(ipcx.MessageTooLarge):
        writer.send_many([b"fits", bytes(MOST + 1)])
    with ipcx.connect(url, checksum=True) as checked:
        with pytest.raises(ipcx.MessageTooLarge, match=f"{MOST - 4} whole"):
            checked.send(bytes(MOST - 3))
        checked.send(b"c" * (MOST - 4))
    writer.send(b"w" * MOST)
    assert reader.receive(5) == b"c" * (MOST - 4)
    assert reader.receive(5) == b"w" * MOST
    assert ipcx.channel.TRANSPORTS["fifo"].largest == MOST
    with pytest.raises(ipcx.WouldBlock):
        reader.receive(0)


def test_many_at_once_are_few_writes(writer, reader):
    """As many whole frames as PIPE_BUF holds; what is owed of a full pipe is not begun."""
    assert writer.send_many([b"x" * 20] * 500) == 500
    assert len(reader.receive_many(1000)) == 500
    sent, error = fill(writer, lambda writer: writer.send_many([b"x" * 2000] * 5, timeout=0))
    assert len(reader.receive_many(1000)) == sent * 5 + error.sent


def test_a_full_pipe_makes_its_writers_wait(writer, reader):
    sent, error = fill(writer)
    assert not error.begun
    with pytest.raises(ipcx.Timeout):
        writer.send(b"late", timeout=0.01)
    waits = [Background(lambda: writer.send(bytes(MOST))).asleep() for _ in range(2)]
    assert [len(reader.receive(5)) for _ in range(sent + 2)] == [MOST] * (sent + 2)
    assert [one.finish() for one in waits] == [None, None]
    assert writer.stats().send_waits >= 3


def test_each_end_goes_one_way(url, writer, reader):
    for refused, says in (
        (lambda: writer.receive(0), "who listens receives"),
        (writer.poll, "who listens receives"),
        (writer.fileno, "who listens receives"),
        (lambda: writer.send(b"", sync=True), "one way"),
        (lambda: reader.send(b""), "who connects sends"),
        (lambda: reader.send_many([b""]), "who connects sends"),
        (lambda: ipcx.pair(url), "pipe:// makes a pair"),
        (lambda: ipcx.pair("fifo://"), "pipe:// makes a pair"),
        (lambda: ipcx.listen(f"{url}-2", allow_uids=[os.getuid()]), "does not tell who writes"),
        (lambda: ipcx.listen(f"{url}-2", authkey=b"key"), "authkey"),
    ):
        with pytest.raises(ipcx.Unsupported, match=says):
            refused()
    with pytest.raises(TypeError, match="codec"):
        writer.send({})
    with pytest.raises(TypeError, match="cannot be handed"):
        writer._export()


def test_a_message_that_does_not_fit_stays(writer, reader):
    writer.send(b"four")
    with pytest.raises(ipcx.MessageTooLarge):
        reader.receive_into(bytearray(3))
    assert reader.receive_into(buffer := bytearray(4)) == 4
    assert buffer == b"four"


def test_loans_are_private_memory(writer, reader):
    with writer.reserve(5) as room:
        room[:] = b"lent!"
    with reader.receive_view() as view:
        assert bytes(view) == b"lent!"
    with pytest.raises(ipcx.MessageTooLarge):
        writer.reserve(MOST + 1)


# ---- who is there


def test_nobody_reads(path, url):
    with pytest.raises(ipcx.ConnectRefused, match="start the listener first"):
        ipcx.connect(url)
    os.mkfifo(path)
    with pytest.raises(ipcx.ConnectRefused, match="nobody reads") as caught:
        ipcx.connect(url)
    assert url in str(caught.value)


def test_connect_waits_for_a_reader_if_it_is_told_to(path, url):
    waiting = f"{url}?wait=1"
    with pytest.raises(ipcx.ConnectRefused):
        ipcx.connect(waiting)  # there is no pipe to wait at
    os.mkfifo(path)
    with pytest.raises(ipcx.WouldBlock):
        ipcx.connect(waiting, timeout=0)
    with pytest.raises(ipcx.Timeout):
        ipcx.connect(waiting, timeout=0.01)
    interrupt(lambda: ipcx.connect(waiting, timeout=None))
    connecting = Background(lambda: ipcx.connect(waiting, timeout=None)).asleep()
    with ipcx.listen(url) as listener, connecting.finish() as writer:
        writer.send("at last")
        with listener.accept(0) as channel:
            assert channel.receive(5) == "at last"
    assert not path.exists()


def test_accept_waits_for_the_first_and_gives_the_one_channel(listener):
    """And gives it again when it was closed and there is more to receive."""
    for _ in range(2):
        assert select.select([listener], [], [], 0)[0] == []
        with pytest.raises(ipcx.WouldBlock):
            listener.accept(0)
    with pytest.raises(ipcx.Timeout):
        listener.accept(0.01)
    waits = Background(listener.accept).asleep()
    with ipcx.connect(listener.url) as writer, waits.finish() as one:
        assert select.select([listener], [], [], 0)[0] == []
        assert not one.poll()
        with pytest.raises(ipcx.WouldBlock):
            listener.accept(0)
        writer.send_many(["1", "2", "3"])
        assert one.receive(5) == "1"
        assert one.poll()
        waits = Background(listener.accept).asleep()
        one.close()
        with waits.finish() as other:
            assert [other.receive(0), other.receive(0)] == ["2", "3"]
        assert select.select([listener], [], [], 0)[0] == []
        writer.send("4")
        assert select.select([listener], [], [], 5)[0]
        with listener.accept(0) as other:
            assert other.receive(0) == "4"
    assert listener.stats().accepted == 3


def test_who_has_come_and_gone_before_accept(url):
    with ipcx.listen(url) as listener:
        with ipcx.connect(url) as early:
            early.send("bird")
        with ipcx.connect(url):
            pass
        channel = listener.accept(0)
    with channel:
        assert list(channel) == ["bird"]


def test_the_last_writer_is_not_the_end_before_the_listener_is(url, listener, reader):
    with ipcx.connect(url) as writer:
        writer.send("first")
    assert reader.receive(5) == "first"
    with pytest.raises(ipcx.Timeout):
        reader.receive(0.01)
    with ipcx.connect(url) as writer:
        listener.close()
        with pytest.raises(ipcx.ConnectRefused):
            ipcx.connect(url)
        writer.send("second")
        assert reader.receive(5) == "second"
        waits = Background(lambda: list(reader)).asleep()
        writer.send("third")
    assert waits.finish() == ["third"]
    with pytest.raises(ipcx.PeerClosed) as caught:
        reader.receive()
    assert type(caught.value) is ipcx.PeerClosed
    assert reader.poll()


def test_a_listener_that_closes_ends_who_waits_when_nobody_writes(listener, reader):
    waits = Background(lambda: list(reader)).asleep()
    listener.close()
    assert waits.finish() == []


def test_a_reader_that_goes(url, listener, reader, writer):
    """Who waits for room is told, too; and SIGPIPE is nobody's death."""
    fill(writer)
    waits = Background(lambda: writer.send(bytes(MOST))).asleep()
    reader.close()
    assert waits.thread.is_alive()  # the listener is there yet
    listener.close()
    assert type(waits.finish()) is ipcx.PeerClosed
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with ipcx.listen(url) as again, ipcx.connect(url) as other:
            again.close()
            with pytest.raises(ipcx.PeerClosed, match="nobody reads"):
                other.send(b"x")
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_two_listeners(path, url, listener, writer, reader):
    for _ in range(2):
        with pytest.raises(ipcx.AddressInUse, match=f"process {os.getpid()} reads it"):
            ipcx.listen(url)
    writer.send("undisturbed")
    assert reader.receive(5) == "undisturbed"
    program = "import ipcx, sys\ntry: ipcx.listen(sys.argv[1])\nexcept OSError as e: print(e)"
    with run(program, url) as other:
        assert f"process {os.getpid()} reads it" in other.stdout.read()
    listener.close()
    reader.close()
    with ipcx.listen(url):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_programs_reader(path, url):
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ipcx.AddressInUse, match=f"process {os.getpid()} reads it"):
            ipcx.listen(url)
        with pytest.raises(ipcx.AddressInUse, match=f"process {os.getpid()} reads from it"):
            pipes.NamedPipe(path, create=True)
    finally:
        os.close(fd)


# ---- what is at the path


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("fifo://", "path is missing"),
        ("fifo://relative", "absolute"),
        ("fifo:///tmp/", "directory"),
        ("fifo:///tmp/x?wait=2", "wait=0|1"),
        ("fifo:///tmp/x?from=end", "wait=0|1"),
        ("fifo:///" + "x" * 300, "at most 255"),
        ("fifa:///tmp/x", "fifo://"),
    ],
)
def test_what_is_no_such_address(address, says):
    for make in (ipcx.connect, ipcx.listen):
        with pytest.raises(ipcx.InvalidURL) as caught:
            make(address)
        assert says in str(caught.value)


def put_file(path):
    path.write_text("precious")


def put_link(path):
    os.mkfifo(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def put_socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


THINGS = {"file": put_file, "link": put_link, "directory": Path.mkdir, "socket": put_socket}


@pytest.mark.parametrize("what", THINGS)
def test_what_is_no_named_pipe_is_left_alone(path, url, what):
    THINGS[what](path)
    before = path.lstat()
    for make in (ipcx.listen, ipcx.connect):
        with pytest.raises(OSError, match=r"named pipe|symbolic link|directory"):
            make(url)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (
        before.st_ino, before.st_mode, before.st_size,
    )  # fmt: skip
    with pytest.raises(OSError, match="No such file"):
        ipcx.listen(f"{url}-missing/orders")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file away")
def test_another_users_pipe(path, url):
    os.mkfifo(path)
    os.chown(path, 12345, -1)
    with pytest.raises(PermissionError, match="another user's: left alone"):
        ipcx.listen(url)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ipcx.connect(url).close()  # root talks to everybody,
        with pytest.raises(ipcx.AuthError, match="12345"):
            ipcx.connect(url, allow_uids=[1])  # unless told to whom
        ipcx.connect(url, allow_uids=[12345]).close()
    finally:
        os.close(fd)


def test_one_that_was_left_behind_is_taken_over(path, url):
    """Of a killed listener, or mkfifo(1)'s: for this user alone from then on."""
    os.mkfifo(path, 0o666)
    with ipcx.listen(url) as listener, ipcx.connect(url) as writer:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        writer.send("taken over")
        with listener.accept() as channel:
            assert channel.receive(5) == "taken over"
    assert not path.exists()


def test_close_removes_its_own_pipe_alone(path, url):
    listener = ipcx.listen(url)
    path.unlink()
    path.write_text("precious")
    listener.close()
    assert path.read_text() == "precious"


SWAPS = """
import os, sys
path, what = sys.argv[1:]
parent = os.getppid()
print(flush=True)
while os.getppid() == parent and os.path.exists(os.path.dirname(path) + "/go on"):
    other = path + ".other"
    if what == "file":
        open(other, "w").close()
    else:
        os.symlink("/dev/null", other)
    os.replace(other, path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
"""


@pytest.mark.parametrize("what", ["file", "symlink"])
def test_swapped_between_making_and_opening(path, url, what):
    """Whoever puts something else there meanwhile: a listener reads a named pipe, or is told."""
    (path.parent / "go on").touch()
    with run(SWAPS, path, what) as swapping:
        swapping.stdout.readline()
        outcomes = set()
        until = time.monotonic() + 1
        while time.monotonic() < until and len(outcomes) < 2:
            try:
                with ipcx.listen(url) as listener, ipcx.connect(url) as writer:
                    writer.send("it is one")
                    with listener.accept(5) as channel:
                        assert channel.receive(5) == "it is one"
                outcomes.add("listened")
            except ipcx.Timeout:
                raise
            except OSError as error:
                outcomes.add(type(error).__name__)
        (path.parent / "go on").unlink()
    assert outcomes <= {
        "listened", "OSError", "PermissionError", "AddressInUse", "ConnectRefused",
    }  # fmt: skip


# ---- what is no message


def test_a_stranger_spoils_one_channel(path, listener, reader, writer):
    """Its bytes end the channel that met them; the next goes on with the next message."""
    writer.send("before")
    with open(path, "wb") as stranger:
        stranger.write(b"hello, IX there? IX\x01 again\n")
    writer.send("after")
    assert reader.receive(5) == "before"
    assert reader.poll()
    for _ in range(2):
        with pytest.raises(ipcx.ProtocolError, match="at byte") as caught:
            reader.receive(5)
        assert caught.value.offset == 12 + 12 + 12 + len("before")  # behind two greetings
    with pytest.raises(ipcx.ProtocolError):
        list(reader)
    reader.close()
    with listener.accept(0) as other:
        assert other.receive(5) == "after"
        assert not other.poll()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"IX\x02" + bytes(9), ipcx.VersionMismatch),
        (b"IX\x01\x0b" + bytes(8), ipcx.ProtocolError),  # HELLO: nobody greets here
        (b"IX\x01\x01\x00\x0a" + bytes(14), ipcx.ProtocolError),  # SYNC: nobody answers
        (b"IX\x01\x01\x00\x00\x00\x00\x00\x00\x10\x00", ipcx.MessageTooLarge),
        (b"IX\x01\x01\x80\x04\x00\x00\x00\x00\x00\x00wrng", ipcx.CorruptData),
        (b"IX\x01\x01\x00\x01\x00\x00\x00\x00\x00\x01\xff", ipcx.ProtocolError),
    ],
    ids=["version", "hello", "sync", "too large", "checksum", "utf-8"],
)
def test_frames_that_do_not_belong_here(path, listener, writer, reader, data, error):
    with open(path, "wb") as stranger:
        stranger.write(data)
    writer.send("next")
    with pytest.raises(error):
        reader.receive(5)
    reader.close()
    with listener.accept(0) as other:
        assert other.receive(5) == "next"


def test_half_a_message_and_the_end(path, listener, reader):
    with open(path, "wb") as stranger:
        stranger.write(b"IX\x01\x01\x00\x00\x00\x00\x00\x00\x00\x05hel")
        stranger.flush()
        assert not reader.poll()
        listener.close()
    with pytest.raises(ipcx.PeerDied, match="middle of a message"):
        reader.receive(5)


# ---- threads, signals, forks


def test_close_wakes_who_waits_and_leaves_no_descriptor(url):
    before = len(os.listdir("/proc/self/fd"))
    listener = ipcx.listen(url)
    writer = ipcx.connect(url)
    channel = listener.accept()
    channel.fileno()
    fill(writer)
    sending = Background(lambda: writer.send(bytes(MOST))).asleep()
    writer.close()
    assert isinstance(sending.finish(), ipcx.Closed)
    while channel.poll():
        channel.receive()
    waits = [Background(channel.receive).asleep(), Background(listener.accept).asleep()]
    listener.close()
    assert isinstance(waits[1].finish(), ipcx.Closed)
    channel.close()
    assert isinstance(waits[0].finish(), (ipcx.Closed, ipcx.PeerClosed))
    with pytest.raises(ipcx.Closed):
        channel.receive(0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_ctrl_c_while_it_waits(listener, writer, reader):
    interrupt(reader.receive)
    interrupt(listener.accept)
    writer.send(b"still there")
    assert reader.receive(5) == b"still there"
    sent, _ = fill(writer)
    interrupt(lambda: writer.send(bytes(MOST)))
    assert [len(reader.receive(5)) for _ in range(sent)] == [MOST] * sent
    assert not reader.poll()


def test_readable_whenever_a_receive_would_not_wait(listener, writer, reader):
    becomes_readable = readable_whenever_it_would_not_wait(reader, writer)

    def end():
        listener.close()
        writer.close()

    becomes_readable(end)
    with pytest.raises(ipcx.PeerClosed):
        reader.receive(0)


def test_a_child_has_nothing_of_it(url, listener, writer, reader):
    """Neither the use, nor a descriptor that would keep the others waiting."""
    unused = ipcx.connect(url)
    assert not reader.poll()
    writer.send(b"1")
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        refused = 0
        for use in (lambda: writer.send(b"2"), lambda: reader.receive(0), listener.accept,
                    lambda: unused.send(b"2")):  # fmt: skip
            with contextlib.suppress(ipcx.ForkedError):
                use()
                refused -= 1
            refused += 1
        os.write(tell, b"%d" % refused)
        signal.pause()
    try:
        assert os.read(told, 1) == b"4"
        assert reader.receive(5) == b"1"
        assert not reader.poll()
        listener.close()
        unused.close()
        writer.close()
        assert list(reader) == []  # though the child lives
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(told)
        os.close(tell)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_with_await(url, loop):
    async def main():
        async with await aio.listen(url) as listener:
            with pytest.raises(ipcx.Timeout):
                await listener.accept(0.01)
            accepting = asyncio.create_task(listener.accept())
            await asyncio.sleep(0)
            writer = await aio.connect(url)
            channel = await accepting
        async with channel, writer:
            waits = asyncio.create_task(channel.receive())
            await asyncio.sleep(0)
            await writer.send_many(["a", "b"])
            assert await waits == "a"
            assert await channel.receive() == "b"
            with pytest.raises(ipcx.Timeout):
                await channel.receive(0.01)
            with contextlib.suppress(ipcx.WouldBlock):
                while True:
                    await writer.send(bytes(MOST), timeout=0)
            full = asyncio.create_task(writer.send(b"at the end"))
            await asyncio.sleep(0)
            got = None
            while got != b"at the end":
                got = await channel.receive()
            await full
            await writer.close()
            assert [message async for message in channel] == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_it_is_traced(url):
    with ipcx.trace() as seen, ipcx.listen(url) as listener, ipcx.connect(url) as writer:
        writer.send("seen")
        with listener.accept() as channel:
            channel.receive()
    told = {(event.op, event.where) for event in seen}
    assert {(op, url) for op in ("listen", "connect", "send", "accept", "receive")} <= told


# ---- other processes


def test_from_the_command_line(path, url):
    ipc = [sys.executable, "-m", "ipcx"]
    with subprocess.Popen([*ipc, "receive", url], stdout=subprocess.PIPE) as receiving:
        while not path.exists():
            assert receiving.poll() is None
        data = b"one\ntwo\n" + bytes(100_000)  # in pieces that are written whole
        subprocess.run([*ipc, "send", f"{url}?wait=1"], input=data, check=True, timeout=30)
        assert receiving.stdout.read() == data
        assert receiving.wait() == 0


WRITES = """
import ipcx, signal, sys
url, number = sys.argv[1], int(sys.argv[2])
with ipcx.connect(url) as channel:
    for i in range(250):
        channel.send(bytes([number]) * (i * 16) + b"%d %d" % (number, i))
        if i == int(sys.argv[3]):
            signal.raise_signal(signal.SIGKILL)
"""


def test_writers_that_are_killed_tear_nothing(url, listener, reader):
    """1 000 messages by 4 writers, three of them killed on their way."""
    ends = {1: 249, 2: 7, 3: 100, 4: 180}
    writers = [run(WRITES, url, n, last if n > 1 else -1) for n, last in ends.items()]
    expected = sum(last + 1 for last in ends.values())
    got = {n: 0 for n in ends}
    for _ in range(expected):
        message = reader.receive(30)
        n, i = map(int, message.lstrip(b"\1\2\3\4").split())
        assert message == bytes([n]) * (i * 16) + b"%d %d" % (n, i)
        assert i == got[n]
        got[n] += 1
    assert got == {n: last + 1 for n, last in ends.items()}
    for one in writers:
        one.wait()
        one.stdout.close()
    listener.close()
    assert list(reader) == []


READS = """
import ipcx, os, signal, sys
listener = ipcx.listen(sys.argv[1])
print("listening", flush=True)
with listener.accept() as channel:
    print("ready", flush=True)
    for i in range(int(sys.argv[2])):
        print(channel.receive().decode().split(" ")[0], flush=True)
    signal.pause()
"""


def test_a_killed_reader_leaves_the_next_whole_messages(path, url):
    """Writers that stay go on when another listens; what the dead one had read is gone with it."""
    with run(READS, url, 3) as first:
        assert first.stdout.readline() == "listening\n"
        with ipcx.connect(url) as writer:
            assert first.stdout.readline() == "ready\n"
            for i in range(3):
                writer.send(b"%d " % i + bytes(4000))
            assert first.stdout.read(6) == "0\n1\n2\n"
            writer.send(b"lost or not")
            first.kill()
            first.wait()
            with pytest.raises(ipcx.PeerClosed):
                writer.send(b"nobody")
            with ipcx.listen(url) as listener:
                writer.send(b"somebody again")
                channel = listener.accept(5)
            with channel:
                got = channel.receive(5)
                assert got in (b"lost or not", b"somebody again")
                assert got == b"somebody again" or channel.receive(5) == b"somebody again"
    assert not path.exists()


COMES_AND_GOES = """
import ipcx, sys
sent, url = 0, sys.argv[1]
while sent < 250:
    try:
        with ipcx.connect(url, timeout=None) as channel:
            for _ in range(7):
                channel.send(sys.argv[2].encode() * 100, timeout=None)
                sent += 1
    except ipcx.PeerClosed:
        pass
    except ipcx.ConnectRefused:
        pass
    except ipcx.Error as error:
        print(type(error).__name__, error)
        raise
"""


def test_readers_and_writers_that_come_and_go(path, url):
    """Opening against closing, in five processes: every message is whole, no call hangs."""
    writers = [run(COMES_AND_GOES, f"{url}?wait=1", name) for name in "abcd"]
    got = turns = 0
    try:
        while any(one.poll() is None for one in writers):
            turns += 1
            with (
                contextlib.suppress(ipcx.Timeout),
                ipcx.listen(url) as listener,
                listener.accept(0.2) as channel,
            ):
                for _ in range(turns % 9 * 20):
                    message = channel.receive(0.05)
                    assert message == message[:1] * 100
                    got += 1
    finally:
        for one in writers:
            one.kill()
            one.wait()
            assert one.stdout.read() == ""
            one.stdout.close()
    assert got
    assert [one.returncode for one in writers] == [0] * 4


@pytest.mark.hang_guard(60)
def test_readers_killed_at_random(path, url):
    """The next one never meets half a message."""
    program = """
import ipcx, sys
while True:
    try:
        listener = ipcx.listen(sys.argv[1])
        break
    except ipcx.AddressInUse:
        pass
with listener.accept() as channel:
    print("ready", flush=True)
    for message in channel:
        assert message == message[:1] * 1000, message
        print("got", flush=True)
"""
    stop = threading.Event()

    def write(name):
        while not stop.is_set():
            with contextlib.suppress(ipcx.ConnectRefused, ipcx.Timeout), ipcx.connect(url) as end:
                while not stop.is_set():
                    with contextlib.suppress(ipcx.PeerClosed):  # until another one reads
                        end.send(name * 1000, timeout=0.1)

    threads = [in_thread(write, name) for name in (b"a", b"b")]
    try:
        for turn in range(5):
            with run(program, url, stderr=subprocess.PIPE) as reading:
                for _ in range(1 + 17 * turn):
                    assert reading.stdout.readline(), reading.stderr.read()
                reading.kill()
                assert "Error" not in reading.stderr.read()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    path.unlink(missing_ok=True)
