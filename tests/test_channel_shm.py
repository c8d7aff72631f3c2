"""What only shm:// has: memory between processes, and what is left of it when one is killed."""

import contextlib
import multiprocessing
import os
import random
import select
import signal
import threading
import time

import pytest

import ipcx

NIGHT = bool(os.environ.get("IPCX_NIGHT"))


@pytest.fixture
def ends():
    a, b = ipcx.pair("shm://")
    yield a, b
    a.close(0)
    b.close(0)


def child(work):
    """A forked process that does `work` and leaves, or is killed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def message(number):
    return number.to_bytes(8, "little") * (1 + number % 97)


def open_files():
    return sorted(os.listdir("/proc/self/fd"))


def names_in_memory():
    """Ours: but for those of the lab's recorders, which other programs of this machine may make."""
    names = os.listdir("/dev/shm")
    return sorted(n for n in names if "ipcx" in n and not n.startswith("ipcx-record"))


def until_it_died(ours, pid, last, sends):
    """Talks to a peer that is killed at message `last`; how many went well, and the exception."""
    number = 0
    try:
        while True:
            if number == last:
                os.kill(pid, signal.SIGKILL)
            if sends:
                assert ours.receive() == message(number)
            else:
                ours.send(message(number))
            number += 1
    except ipcx.PeerDied as died:
        return number, died


@pytest.mark.hang_guard(120)
@pytest.mark.parametrize("sends", [True, False], ids=["sender", "receiver"])
def test_killed_at_any_moment(sends):
    """What the dead had sent arrives whole and in order; the living learns of it; nothing stays."""
    before, shared = open_files(), names_in_memory()
    chance = random.Random(7)
    for _ in range(500 if NIGHT else 25):
        ours, theirs = ipcx.pair("shm://")

        def work(end=theirs):
            number = 0
            while True:
                if sends:
                    end.send(message(number))
                else:
                    assert end.receive() == message(number)
                number += 1

        pid = child(work)
        theirs.close()
        last = chance.randrange(2000)
        number, died = until_it_died(ours, pid, last, sends)
        assert number >= last
        if not sends:
            assert 0 <= died.unreceived <= number
        os.waitpid(pid, 0)
        ours.close()
    assert open_files() == before
    assert names_in_memory() == shared


def test_a_sender_learns_what_was_not_received(ends):
    ours, theirs = ends
    for number in range(10):
        ours.send(message(number))

    def work():
        for _ in range(4):
            theirs.receive()
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(child(work), 0)
    number, died = until_it_died(ours, None, None, sends=False)
    assert died.unreceived == 6 + number


def _answer(end):
    end.send(end.receive().upper())
    end.close()


@pytest.mark.hang_guard(60)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_end_as_an_argument_of_a_process(method, ends):
    ours, theirs = ends
    context = multiprocessing.get_context(method)
    process = context.Process(target=_answer, args=(theirs,))
    process.start()
    ours.send("hello")
    assert ours.receive() == "HELLO"
    with pytest.raises(ipcx.PeerClosed):
        ours.receive()
    process.join()
    assert process.exitcode == 0
    process.close()


def test_an_end_over_a_unix_channel(ends):
    ours, theirs = ends
    here, there = ipcx.pair("unix://")
    with here, there:
        here.send(theirs)
        with there.receive() as arrived:
            ours.send(b"through shared memory")
            assert arrived.receive() == b"through shared memory"
            arrived.send("and back")
            assert ours.receive() == "and back"


def test_large_messages_both_ways_at_once(ends):
    """Larger than the ring: each waits for the other, in one process with a child."""
    ours, theirs = ends
    large = random.Random(1).randbytes(9 << 20)

    def work():
        assert theirs.receive() == large
        theirs.send(large[::-1])

    pid = child(work)
    ours.send(large)
    assert ours.receive() == large[::-1]
    assert os.waitpid(pid, 0)[1] == 0


def next_of(end):
    """As a program with its own event loop has it; now and then it is woken in vain."""
    while True:
        assert select.select([end], [], [], 10)[0] == [end]
        with contextlib.suppress(ipcx.WouldBlock):
            return end.receive(timeout=0)


def test_select_and_a_death(ends):
    ours, theirs = ends
    assert select.select([ours], [], [], 0)[0] == []
    pid = child(lambda: (theirs.send(b"x"), os.kill(os.getpid(), signal.SIGKILL)))
    assert next_of(ours) == b"x"
    with pytest.raises(ipcx.PeerDied):
        next_of(ours)
    assert select.select([ours], [], [], 0)[0] == [ours]
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("shm://a/b", "a name, no path"),
        ("shm://..", "dots alone"),
        ("shm://" + "x" * 65, "at most 64"),
        ("shm://a\0b", "NUL in it"),
    ],
)
def test_names_that_are_none(url, why):
    with pytest.raises(ValueError, match=why):
        ipcx.listen(url)
    with pytest.raises(ValueError, match=why):
        ipcx.connect(url)


def test_nobody_there_and_taken(unique_name):
    url = f"shm://{unique_name()}"
    with pytest.raises(ipcx.ConnectRefused, match="start the listener first"):
        ipcx.connect(url)
    with ipcx.listen(url) as listener:
        with pytest.raises(ipcx.AddressInUse, match=str(os.getpid())):
            ipcx.listen(url)
        with ipcx.connect(listener.url) as client, listener.accept() as server:
            client.send("hello")
            assert server.receive() == "hello"
    with pytest.raises(ipcx.ConnectRefused):
        ipcx.connect(url)


def test_an_idle_channel_is_small(ends):
    """Memory is held in blocks; the address space does not count."""
    held = {
        os.stat(f"/proc/self/fd/{fd}").st_ino: os.stat(f"/proc/self/fd/{fd}").st_blocks * 512
        for fd in open_files()
        if "memfd:ipcx-shm" in _target(fd)
    }
    assert len(held) == 1
    assert max(held.values()) <= 256 * 1024


def _target(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ring": 0}, "at least 1"),
        ({"ring": -1}, "at least 1"),
        ({"ring": 65535}, "65536 to 1073741824"),
        ({"ring": (1 << 30) + 1}, "65536 to 1073741824"),
        ({"trust": "all"}, "'same-uid' or 'none'"),
        ({"trust": None}, "'same-uid' or 'none'"),
    ],
    ids=str,
)
def test_options_that_are_none(options, why):
    with pytest.raises(ValueError, match=why):
        ipcx.pair("shm://", **options)
    with pytest.raises(TypeError):
        ipcx.pair("shm://", ring="large")


def test_a_peer_with_too_much_is_dropped(unique_name):
    with ipcx.listen(f"shm://{unique_name()}", max_segment=1 << 20) as listener:
        with ipcx.connect(listener.url) as client:
            with pytest.raises(ipcx.WouldBlock):
                listener.accept(0)
            with pytest.raises(ipcx.PeerDied):
                client.receive(10)
        assert listener.stats().dropped == 1


@pytest.mark.parametrize("trust", ["same-uid", "none"])
def test_an_idle_channel_takes_no_cpu(trust):
    """Two that wait for each other for a while have run for a small part of it."""
    ours, theirs = ipcx.pair("shm://", trust=trust)
    with ours, theirs:
        ours.send(b"awake")
        theirs.receive()
        with pytest.raises(ipcx.Timeout):
            theirs.receive(0.01)
        before = time.process_time(), time.monotonic()
        with pytest.raises(ipcx.Timeout):
            theirs.receive(0.5)
        used, passed = time.process_time() - before[0], time.monotonic() - before[1]
        assert passed >= 0.5
        assert used < passed / 10


# ---- large messages, which are read while they are written

LARGE = 4 << 20


@pytest.mark.parametrize("into", [False, True], ids=["receive", "receive_into"])
def test_a_large_message_whose_sender_is_stopped_in_the_middle(into):
    """Wherever a sender stands still: nothing is lost, nothing is torn, and its death is seen."""
    ours, theirs = ipcx.pair("shm://", ring=4 * LARGE)
    room = bytearray(LARGE)

    def work():
        for number in range(12):
            theirs.send(bytes([number]) * LARGE)
        theirs.send(b"end")
        theirs.receive()

    pid = child(work)
    for number in range(12):
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        if into:
            assert ours.receive_into(room) == LARGE
            assert room == bytes([number]) * LARGE
        else:
            assert ours.receive() == bytes([number]) * LARGE
    assert ours.receive() == b"end"
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ipcx.PeerDied):
        ours.receive_into(room)
    os.waitpid(pid, 0)
    ours.close()


def test_a_large_message_that_does_not_fit_stays(ends):
    """Refused before it is whole, or after: the same."""
    a, b = ends
    small = bytearray(10)
    sender = threading.Thread(target=lambda: [a.send(bytes([n]) * (1 << 20)) for n in range(20)])
    sender.start()
    for number in range(20):
        with pytest.raises(ipcx.MessageTooLarge, match="1048576 bytes and the buffer 10"):
            b.receive_into(small)
        assert b.receive() == bytes([number]) * (1 << 20)
    sender.join()
    assert small == bytes(10)


def test_a_large_message_that_comes_too_late(ends):
    """A deadline that passes while its front is there: the message stays for the next call."""
    a, b = ends
    message = bytes(range(256)) * (1 << 12)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            a.send(message, timeout=None)
            a.send(b"!")

    sender = threading.Thread(target=work)
    sender.start()
    got = 0
    while got < 60:
        with contextlib.suppress(ipcx.Timeout):
            assert b.receive(timeout=1e-5) == (message if got % 2 == 0 else b"!")
            got += 1
    stop.set()
    while sender.is_alive() or b.poll(0):
        with contextlib.suppress(ipcx.Timeout):
            b.receive(timeout=0.01)
    sender.join()
