# SPDX-License-Identifier: Apache-2.0
"""close() from another thread ends every call that waits, and shuts nothing down."""

import contextlib
import errno
import os
import select
import signal
import socket as stdlib

import pytest
from socket_waits import NEVER_ANSWERED, NEVER_WITH_TIMEOUT, OURS_ALONE, WAITS

from ipcx import socket as ours
from socket_help import Background, Kit, attempt, open_descriptors, until

ALL = {**WAITS, **NEVER_ANSWERED, **OURS_ALONE}
each_verb = pytest.mark.parametrize(
    ("name", "timeout"),
    [(name, t) for name in ALL for t in (None, 8.0) if t is None or name not in NEVER_WITH_TIMEOUT],
)
each_timeout = pytest.mark.parametrize("timeout", [None, 8.0], ids=["blocking", "timeout"])


@each_verb
def test_close_ends_the_call(name: str, timeout: float | None) -> None:
    with Kit(ours) as kit:
        wait = ALL[name](kit)
        wait.sock.settimeout(timeout)
        thread = Background(wait.call).until_blocked()
        (wait.close or wait.sock.close)()
        if name.startswith("connect_ex"):
            assert thread.finish() == errno.EBADF
        else:
            with pytest.raises(OSError, match=r"^\[Errno 9\] Bad file descriptor$") as info:
                thread.finish()
            assert type(info.value) is OSError
            assert info.value.errno == errno.EBADF
        assert wait.sock.fileno() == -1


@each_timeout
@pytest.mark.parametrize("name", [name for name in ALL if "connect" not in name])
def test_the_copy_of_another_lives_on(name: str, timeout: float | None) -> None:
    """No shutdown(2): whoever has a duplicate of the descriptor can go on."""
    with Kit(ours) as kit:
        wait = ALL[name](kit)
        wait.sock.settimeout(timeout)
        copy = stdlib.socket(fileno=os.dup(wait.sock.fileno()))
        kit.keep(copy)
        thread = Background(wait.call).until_blocked()
        (wait.close or wait.sock.close)()
        with contextlib.suppress(OSError):
            thread.finish()
        poll = select.poll()
        poll.register(copy, select.POLLIN | select.POLLRDHUP)
        assert poll.poll(0) == []
        wait.release()
        copy.settimeout(8.0)
        if "accept" in name:
            copy.accept()[0].close()
        elif name == "sendto":
            assert copy.getsockname() is not None
        elif "send" in name or "write" in name:
            copy.send(b"x")
        else:
            assert copy.recv(9)[:1] == b"1"


@each_timeout
def test_close_ends_all_of_many_waiters(timeout: float | None) -> None:
    with Kit(ours) as kit:
        one, _two = kit.pair()
        one.settimeout(timeout)
        waiters = [Background(one.recv, 1) for _ in range(10)]
        for waiter in waiters:
            waiter.until_blocked()
        one.close()
        for waiter in waiters:
            with pytest.raises(OSError, match="Errno 9"):
                waiter.finish()


def test_reader_and_writer_both_end() -> None:
    with Kit(ours) as kit:
        from socket_help import fill

        one, _two = kit.pair()
        fill(one)
        one.settimeout(None)
        reader = Background(one.recv, 1).until_blocked()
        writer = Background(one.sendall, b"x").until_blocked()
        one.close()
        for thread in (reader, writer):
            with pytest.raises(OSError, match="Errno 9"):
                thread.finish()


def test_only_its_own_waiters_end() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        three, _four = kit.pair()
        copy = kit.keep(one.dup())
        other = Background(copy.recv, 1).until_blocked()
        waiter = Background(one.recv, 1).until_blocked()
        third = Background(three.recv, 1).until_blocked()
        one.close()
        with pytest.raises(OSError, match="Errno 9"):
            waiter.finish()
        other.until_blocked()
        two.send(b"x")
        assert other.finish() == b"x"
        third.until_blocked()
        three.close()
        with pytest.raises(OSError, match="Errno 9"):
            third.finish()


def test_the_number_may_be_taken_at_once() -> None:
    """A descriptor opened right after close() has the old number: nobody reads from it."""
    with Kit(ours) as kit:
        for _ in range(50):
            one, _two = kit.pair()
            number = one.fileno()
            waiter = Background(one.recv, 1).until_blocked()
            one.close()
            new, feed = os.pipe()
            os.write(feed, b"stranger")
            with pytest.raises(OSError, match="Errno 9"):
                waiter.finish()
            assert os.read(new, 99) == b"stranger"
            os.close(new)
            os.close(feed)
            assert number >= 0


def test_with_block_left_by_another_thread() -> None:
    with Kit(ours) as kit:
        one, _two = kit.pair()
        with one:
            waiter = Background(one.recv, 1).until_blocked()
        with pytest.raises(OSError, match="Errno 9"):
            waiter.finish()


def test_close_twice_and_from_two_threads() -> None:
    with Kit(ours) as kit:
        for _ in range(100):
            one, _two = kit.pair()
            waiter = Background(one.recv, 1)
            closers = [Background(one.close) for _ in range(3)]
            for closer in closers:
                assert closer.finish() is None
            with pytest.raises(OSError, match="Errno 9"):
                waiter.finish()


def test_data_that_came_before_close_is_not_lost_for_a_copy() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        copy = kit.keep(one.dup())
        waiter = Background(one.recv, 4, stdlib.MSG_WAITALL).until_blocked()
        one.close()
        with pytest.raises(OSError, match="Errno 9"):
            waiter.finish()
        two.send(b"1234")
        assert copy.recv(4) == b"1234"


def test_subclass_that_overrides_close_and_real_close() -> None:
    class Mine(ours.socket):
        closed = 0

        def _real_close(self, *args: object) -> None:
            Mine.closed += 1
            super()._real_close(*args)

    one, two = ours.socketpair()
    with Mine(fileno=one.detach()) as mine, two:
        waiter = Background(mine.recv, 1).until_blocked()
        mine.close()
        with pytest.raises(OSError, match="Errno 9"):
            waiter.finish()
    assert Mine.closed == 1


def test_a_waiting_socket_gives_back_what_it_borrowed() -> None:
    """Whatever descriptor a wait needs besides the socket's is gone when nobody waits."""
    with Kit(ours) as kit:
        one, two = kit.pair()
        before = open_descriptors()
        waiters = [Background(one.recv, 1).until_blocked() for _ in range(3)]
        extra = set(open_descriptors()) - set(before)
        assert len(extra) <= 3
        for _ in waiters:
            two.send(b"x")
        assert [waiter.finish() for waiter in waiters] == [b"x"] * 3
        until(lambda: open_descriptors() == before)


def test_detach_hands_the_descriptor_on() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        waiter = Background(one.recv, 1).until_blocked()
        number = one.detach()
        assert one.fileno() == -1
        two.send(b"x")
        waiter.join(8)
        assert waiter.result == b"x" or (waiter.error and waiter.error.errno == errno.EBADF)
        with ours.socket(fileno=number) as again:
            two.send(b"y")
            assert again.recv(2)[-1:] == b"y"


@each_timeout
def test_shutdown_ends_a_reader_as_everywhere(timeout: float | None) -> None:
    with Kit(ours) as kit:
        one, _two = kit.pair()
        one.settimeout(timeout)
        waiter = Background(one.recv, 1).until_blocked()
        one.shutdown(ours.SHUT_RD)
        assert waiter.finish() == b""


# With a time-out send and sendmsg take what fits and do not wait for the rest.
@pytest.mark.parametrize(
    ("verb", "timeout"), [("send", None), ("sendmsg", None), ("sendall", None), ("sendall", 8.0)]
)
def test_close_in_the_middle_of_a_large_send(verb: str, timeout: float | None) -> None:
    """A part is out already: the call ends all the same, and what is out stays out."""
    data = bytes(8 << 20)
    with Kit(ours) as kit:
        one, two = kit.pair()
        one.settimeout(timeout)
        thread = Background(getattr(one, verb), [data] if verb == "sendmsg" else data)
        thread.until_blocked()
        one.close()
        with pytest.raises(OSError, match="Errno 9"):
            thread.finish()
        two.setblocking(False)
        assert two.recv(1 << 20)


@pytest.mark.parametrize("peek", [0, stdlib.MSG_PEEK])
def test_close_in_the_middle_of_waitall(peek: int) -> None:
    with Kit(ours) as kit:
        one, two = kit.pair("tcp4")
        thread = Background(one.recv, 8, stdlib.MSG_WAITALL | peek).until_blocked()
        two.send(b"1234")
        thread.until_blocked()
        one.close()
        with pytest.raises(OSError, match="Errno 9"):
            thread.finish()


@each_timeout
def test_close_reaches_a_thread_that_blocks_all_signals(timeout: float | None) -> None:
    """However a waiter is woken, its signal mask is not in the way, and is the same afterwards."""
    masks = []

    def call(sock) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        try:
            sock.recv(1)
        finally:
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    with Kit(ours) as kit:
        one, _two = kit.pair()
        one.settimeout(timeout)
        thread = Background(call, one).until_blocked()
        one.close()
        with pytest.raises(OSError, match="Errno 9"):
            thread.finish()
        assert masks[0] == masks[1]


def test_close_leaves_no_trace_in_python_signals() -> None:
    """No handler of the program runs, no wake-up descriptor is written, no disposition changes."""
    numbers = sorted(signal.valid_signals())
    before = [signal.getsignal(number) for number in numbers]
    with Kit(ours) as kit:
        wake, woken = kit.pair()
        wake.setblocking(False)
        woken.setblocking(False)
        old = signal.set_wakeup_fd(wake.fileno())
        try:
            for _ in range(20):
                one, _two = kit.pair()
                thread = Background(one.recv, 1).until_blocked()
                one.close()
                with pytest.raises(OSError, match="Errno 9"):
                    thread.finish()
        finally:
            signal.set_wakeup_fd(old)
        with pytest.raises(BlockingIOError):
            woken.recv(1)
    assert [signal.getsignal(number) for number in numbers] == before


def test_close_races_with_the_call() -> None:
    """Whenever close() falls: the call ends, with data or with EBADF, and nothing else is read."""
    with Kit(ours) as kit:
        for round_ in range(300):
            one, two = kit.pair()
            thread = Background(one.recv, 1)
            if round_ % 3 == 0:
                two.send(b"x")
            one.close()
            two.close()
            told = attempt(thread.finish)
            assert told[1] in (b"x", b"", "builtins.OSError")
            assert told[0] == "returned" or told[2] == (errno.EBADF, "Bad file descriptor")
