# SPDX-License-Identifier: Apache-2.0
"""ipcx.signals: sent to whom is meant, received whole, and afterwards all is as it was."""

import asyncio
import contextlib
import doctest
import errno
import faulthandler
import multiprocessing
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from beside import Background, in_thread, interrupt, keeps, until_asleep

import ipcx
from ipcx import _core, signals
from ipcx.signals import SignalReceiver, block, on, send, unblocked, wait

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)

ME = os.getpid()
USR1, USR2, RT = signal.SIGUSR1, signal.SIGUSR2, int(signal.SIGRTMIN) + 1
NIGHT = os.environ.get("IPCX_NIGHT") == "1"


@pytest.fixture(autouse=True)
def as_before():
    """Each test leaves handlers and masks as they were."""
    # SIGWINCH is readline's, whenever something imports that.
    numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGWINCH}
    before = [_core.signal_action(number) for number in sorted(numbers)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    assert signals._held_here() == set()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    after = [_core.signal_action(number) for number in sorted(numbers)]
    # The one signal by which close() wakes sleeping threads gets its handler at the first use.
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 1


def test_the_documentation_is_right():
    assert doctest.testmod(signals).failed == 0


# ---- sending


def test_ten_thousand_with_values_none_lost():
    """The sender is another process; the thread beside us knows nothing of signals."""
    count = 100_000 if NIGHT else 10_000
    code = (
        "import sys, time\nfrom ipcx import WouldBlock, signals\n"
        "pid, sig, count = map(int, sys.argv[1:])\n"
        "for value in range(count):\n"
        "    while True:\n"
        "        try:\n            signals.send(pid, sig, value)\n            break\n"
        "        except WouldBlock:\n            time.sleep(0.001)\n"
    )
    stop = threading.Event()
    with SignalReceiver(RT) as receiver:
        beside = in_thread(stop.wait)  # it has what this thread blocks from its start
        sender = subprocess.Popen([sys.executable, "-c", code, str(ME), str(RT), str(count)])
        got = [receiver.receive(timeout=10) for _ in range(count)]
        assert [info.value for info in got] == list(range(count))
        assert {info.pid for info in got} == {sender.pid}
        assert sender.wait() == 0
        with pytest.raises(ipcx.WouldBlock):
            receiver.receive(timeout=0)
        stop.set()
        beside.join()


@pytest.mark.parametrize("value", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_every_value_arrives(value):
    with block([USR1, RT]):
        send(ME, RT, value)
        send(ME, USR1, value)
        info = wait([USR1], timeout=5)
        assert (info.signal, info.value, info.pid, info.uid) == (USR1, value, ME, os.getuid())
        assert wait([RT], 5).value == value
        assert type(info.signal) is signal.Signals


def test_without_a_value():
    with block([USR1, RT]):
        send(ME, RT)
        send(ME, USR1)
        assert wait(USR1, 5).value is None
        assert wait(RT, 5).value == 0  # so that a full queue is told


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**100])
def test_a_value_that_does_not_fit(value):
    with pytest.raises(OverflowError):
        send(ME, USR1, value)


@pytest.mark.parametrize(
    ("pid", "sig", "error"),
    [
        (ME, 0, ValueError), (ME, 65, ValueError), (ME, -1, ValueError),
        (0, signal.SIGTERM, ValueError), (-1, signal.SIGTERM, ValueError),
        (-ME, signal.SIGTERM, ValueError), (ME, "SIGTERM", TypeError),
        ("1", signal.SIGTERM, AttributeError),
    ],
)  # fmt: skip
def test_what_cannot_be_sent(pid, sig, error):
    with pytest.raises(error):
        send(pid, sig)


def test_the_errors_teach():
    with pytest.raises(ValueError, match="many processes"):
        send(0, signal.SIGTERM)
    with pytest.raises(ValueError, match="1 to 64"):
        send(ME, 65)
    with pytest.raises(ProcessLookupError, match=r"it has ended"):
        send(2**22 + 1, signal.SIGTERM)


def test_a_full_queue_would_block():
    limit = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    with block(RT):
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, limit[1]))
        try:
            with pytest.raises(ipcx.WouldBlock, match="ulimit -i") as caught:
                send(ME, RT, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_SIGPENDING, limit)
        assert caught.value.errno == errno.EAGAIN
        send(ME, RT, 2)
        assert wait(RT, 5).value == 2


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_a_process_of_another_user():
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            send(os.getppid(), signal.SIGTERM)
        except PermissionError as exc:
            os._exit(0 if "another user" in str(exc) else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


# ---- objects that stand for processes

SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]


def test_to_a_popen_object():
    with subprocess.Popen(SLEEP) as child:
        send(child, signal.SIGTERM)
        assert child.wait() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError, match="has ended, with status -15"):
            send(child, signal.SIGTERM)


def test_a_child_that_has_ended_unseen_is_seen_now():
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.returncode is None
        with pytest.raises(ProcessLookupError):
            send(child, signal.SIGTERM)


def test_the_process_is_asked_after_the_pidfd_is_open():
    """Else the id could have become another's between the question and the signal."""
    order = []

    class Child:
        pid = ME

        def poll(self):
            order.append(len(os.listdir("/proc/self/fd")))
            return 0

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ProcessLookupError):
        send(Child(), USR1)
    assert order == [before + 1]
    assert len(os.listdir("/proc/self/fd")) == before


def test_to_a_process_of_multiprocessing():
    context = multiprocessing.get_context("fork")
    child = context.Process(target=signal.pause)
    with pytest.raises(ValueError, match="start it first"):
        send(child, signal.SIGTERM)
    child.start()
    send(child, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        send(child, signal.SIGTERM)
    child.close()


def test_to_a_process_of_asyncio():
    async def main():
        child = await asyncio.create_subprocess_exec(*SLEEP)
        send(child, signal.SIGTERM)
        assert await child.wait() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            send(child, signal.SIGTERM)

    asyncio.run(main())


def test_a_kernel_without_pidfds(monkeypatch):
    def refuse(pid):
        raise ipcx.Unsupported("process: no pidfd_open(2)")

    monkeypatch.setattr(_core, "signal_process", refuse)
    with subprocess.Popen(SLEEP) as child:
        send(child, signal.SIGTERM)
        assert child.wait() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            send(child, signal.SIGTERM)


# ---- waiting


def test_wait_polls_waits_and_times_out():
    with block(USR1):
        with pytest.raises(ipcx.WouldBlock):
            wait(USR1, 0)
        begun = time.monotonic()
        with pytest.raises(ipcx.Timeout) as caught:
            wait(USR1, 0.05)
        assert time.monotonic() - begun >= 0.05
        assert not isinstance(caught.value, ipcx.WouldBlock)
        send(ME, USR1)
        assert wait([USR1, USR2]).name == "SIGUSR1"


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_that_is_none(timeout):
    with pytest.raises(ValueError, match="timeout"):
        wait(USR1, timeout)
    with SignalReceiver(USR1) as receiver, pytest.raises(ValueError, match="timeout"):
        receiver.receive(timeout)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([], ValueError), (0, ValueError), (65, ValueError), ([USR1, -1], ValueError),
        (signal.SIGKILL, ValueError), (signal.SIGSTOP, ValueError), (33, ValueError),
        ("SIGTERM", TypeError), ([None], TypeError), (2**70, OverflowError),
    ],
)  # fmt: skip
def test_what_cannot_be_waited_for(given, error):
    with pytest.raises(error):
        wait(given, 0)
    with pytest.raises(error):
        SignalReceiver(given)
    with pytest.raises(error), block(given):
        pass


def test_another_thread_waits():
    with block(USR1):
        sleeper = Background(lambda: wait(USR1)).asleep()
        send(ME, USR1)
        assert sleeper.finish().signal == USR1


def test_another_handler_runs_while_one_waits():
    seen = []
    with on(USR2, lambda *_: seen.append(1)), block(USR1):
        threading.Timer(0.02, send, (ME, USR2)).start()
        threading.Timer(0.04, send, (ME, USR1)).start()
        assert wait(USR1, 5).signal == USR1
    assert seen == [1]


def test_ctrl_c_ends_each_wait():
    with block(USR1), SignalReceiver(USR2) as receiver:
        for timeout in (None, 60):
            interrupt(lambda timeout=timeout: wait(USR1, timeout))
            interrupt(lambda timeout=timeout: receiver.receive(timeout))
        send(ME, USR2)
        assert receiver.receive(5).signal == USR2
        send(ME, USR1)
        assert wait(USR1, 5).signal == USR1


# ---- receiving


def test_of_a_kind_one_is_kept_of_real_time_all():
    with SignalReceiver([USR1, RT]) as receiver:
        for value in range(5):
            send(ME, USR1, value)
            send(ME, RT, value)
        got = [receiver.receive(5) for _ in range(6)]
        assert [(info.signal, info.value) for info in got] == [
            (USR1, 0), *((RT, value) for value in range(5)),
        ]  # fmt: skip
        with pytest.raises(ipcx.WouldBlock):
            receiver.receive(0)


def test_the_kernel_tells_of_a_child():
    with SignalReceiver(signal.SIGCHLD) as receiver:
        child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
        info = receiver.receive(timeout=10)
        assert (info.name, info.pid, info.status) == ("SIGCHLD", child.pid, 7)
        assert info.code > 0
        assert child.wait() == 7


def test_the_kernel_itself_has_no_pid():
    with SignalReceiver(signal.SIGALRM) as receiver:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        info = receiver.receive(timeout=5)
        assert (info.name, info.pid, info.uid, info.value) == ("SIGALRM", None, None, None)


def test_it_is_selectable():
    with SignalReceiver(USR1) as receiver:
        assert select.select([receiver], [], [], 0)[0] == []
        send(ME, USR1)
        assert select.select([receiver], [], [], 5)[0] == [receiver]
        receiver.receive(0)
        assert select.select([receiver], [], [], 0)[0] == []


def test_its_descriptor_is_not_inherited():
    with SignalReceiver(USR1) as receiver:
        assert not os.get_inheritable(receiver.fileno())


def test_a_second_receiver_is_refused():
    with SignalReceiver([USR1, USR2]):
        with pytest.raises(ValueError, match=f"has signal {int(USR2)}"):
            SignalReceiver([USR2, signal.SIGALRM])
        with SignalReceiver(signal.SIGALRM):
            pass
    SignalReceiver(USR2).close()


def test_closing():
    receiver = SignalReceiver(USR1)
    assert not receiver.closed
    assert repr(receiver) == "<SignalReceiver of SIGUSR1>"
    receiver.close()
    receiver.close()
    assert receiver.closed
    assert "closed" in repr(receiver)
    for call in (receiver.receive, receiver.fileno, lambda: receiver.receive(0)):
        with pytest.raises(ipcx.Closed):
            call()
    assert list(receiver) == []


def test_close_wakes_other_threads():
    with SignalReceiver(USR1) as receiver:
        sleepers = [Background(receiver.receive), Background(lambda: list(receiver))]
        for sleeper in sleepers:
            sleeper.asleep()
        receiver.close()
        assert isinstance(sleepers[0].finish(), ipcx.Closed)
        assert sleepers[1].finish() == []


def test_another_thread_closes_while_this_one_waits():
    with SignalReceiver(USR1) as receiver:

        def close():
            until_asleep()
            receiver.close()

        closer = in_thread(close)
        assert list(receiver) == []
        closer.join()
        assert USR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_each_signal_goes_to_one_of_the_threads():
    with SignalReceiver(RT) as receiver:
        sleepers = [Background(lambda: [info.value for info in receiver]) for _ in range(3)]
        for value in range(300):
            send(ME, RT, value)
        while select.select([receiver], [], [], 0)[0]:
            time.sleep(0.001)
        receiver.close()
        got = [value for sleeper in sleepers for value in sleeper.finish()]
        assert sorted(got) == list(range(300))


def test_off_the_main_thread():
    """The main thread, which knows nothing of it, hands on what it gets."""

    def work():
        with SignalReceiver(RT) as receiver:
            for value in range(100):
                send(ME, RT, value)
            return sorted(receiver.receive(5).value for _ in range(100))

    result = []
    thread = in_thread(lambda: result.append(work()))
    thread.join()
    assert result == [list(range(100))]
    assert RT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_afterwards_it_ends_the_process_again():
    """Not only the thread that received it has it unblocked then."""
    program = """
import os, signal, threading, time
from ipcx import signals

def work():
    with signals.SignalReceiver(signal.SIGTERM) as receiver:
        for _ in range(10):
            signals.send(os.getpid(), signal.SIGTERM)
            receiver.receive()

for _ in range(3):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print("received", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"received\n")


def test_closed_by_another_thread():
    receiver = SignalReceiver([USR1, RT])
    in_thread(receiver.close).join()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()).isdisjoint({USR1, RT})


def test_what_was_not_taken_takes_its_usual_course():
    seen = []
    with on(USR1, lambda *_: seen.append("handler")):
        with SignalReceiver(USR1):
            send(ME, USR1)
            assert seen == []
        assert seen == ["handler"]
        with block(USR1):
            send(ME, USR1)
        assert seen == ["handler"] * 2


def test_what_only_the_receiver_understands_is_dropped():
    with SignalReceiver([USR1, USR2, RT]), block(USR1):
        for sig in (USR1, USR2, RT, RT):
            send(ME, sig)
    with block([USR1, RT]):
        send(ME, RT)
        with pytest.raises(ipcx.WouldBlock):
            wait(USR1, 0)


def test_a_request_to_end_is_not():
    code = (
        "import os, signal\nfrom ipcx import signals\n"
        "with signals.SignalReceiver(signal.SIGTERM):\n"
        "    signals.send(os.getpid(), signal.SIGTERM)\n"
        "print('not reached')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (ran.returncode, ran.stdout) == (-signal.SIGTERM, b"")


def test_one_that_is_forgotten_is_closed_with_a_warning():
    with pytest.warns(ResourceWarning, match="unclosed <SignalReceiver of SIGUSR1>"):
        SignalReceiver(USR1).__del__()


def test_a_thousand_leave_nothing():
    def once():
        with SignalReceiver([USR1, RT]) as receiver, block(USR2):
            send(ME, RT, 1)
            receiver.receive(0)
            with contextlib.suppress(ipcx.WouldBlock):
                wait(USR2, 0)

    for _ in range(20):
        once()
    assert not keeps(once, 1000, 50)


# ---- children


def test_a_forked_child_has_its_own():
    with SignalReceiver([USR1, RT]) as receiver:
        send(ME, RT, 5)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                receiver.receive(0)
            except ipcx.ForkedError as exc:
                blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
                code = 0 if str(ME) in str(exc) and USR1 not in blocked else 2
                with SignalReceiver(USR1) as own:
                    send(os.getpid(), USR1)
                    code = code or own.receive(5).pid != os.getpid()
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert receiver.receive(0).value == 5


MASK = "import signal; raise SystemExit(signal.SIGTERM in signal.pthread_sigmask(0, ()))"


def test_a_program_inherits_what_is_blocked_unless_told():
    with SignalReceiver(signal.SIGTERM) as receiver:
        assert subprocess.run([sys.executable, "-c", MASK]).returncode == 1
        with unblocked():
            assert subprocess.run([sys.executable, "-c", MASK]).returncode == 0
            send(ME, signal.SIGTERM)  # does not end us
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert receiver.receive(5).name == "SIGTERM"


# ---- asyncio


def test_await_and_async_for():
    async def main():
        loop = asyncio.get_running_loop()
        with SignalReceiver([USR1, RT]) as receiver:
            loop.call_soon(send, ME, USR1)
            assert (await receiver).signal == USR1
            for value in range(3):
                send(ME, RT, value)
            seen = []
            async for info in receiver:
                seen.append(info.value)
                if len(seen) == 3:
                    break
            assert seen == [0, 1, 2]
            loop.call_soon(receiver.close)
            assert [info async for info in receiver] == []
            with pytest.raises(ipcx.Closed):
                await receiver

    asyncio.run(main())


def test_a_cancelled_await_loses_nothing():
    async def main():
        with SignalReceiver(RT) as receiver:
            for value in range(20):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(receiver, 0.001)
                send(ME, RT, value)
                assert (await asyncio.wait_for(receiver, 5)).value == value

    asyncio.run(main())


def test_several_tasks_and_a_close_from_a_thread():
    async def main():
        async def take():
            return [info.value async for info in receiver]

        with SignalReceiver(RT) as receiver:
            tasks = [asyncio.create_task(take()) for _ in range(3)]
            await asyncio.sleep(0)
            for value in range(10):
                send(ME, RT, value)
            while select.select([receiver], [], [], 0)[0]:
                await asyncio.sleep(0)
            await asyncio.to_thread(receiver.close)
            got = [value for values in await asyncio.gather(*tasks) for value in values]
            assert sorted(got) == list(range(10))

    asyncio.run(main())


def test_beside_handlers_of_asyncio_and_of_the_stdlib():
    async def main():
        loop, arrived, handled = asyncio.get_running_loop(), asyncio.Event(), []
        loop.add_signal_handler(USR2, arrived.set)
        with on(signal.SIGALRM, lambda *_: handled.append(1)), SignalReceiver(USR1) as receiver:
            for sig in (USR2, USR1, signal.SIGALRM):
                send(ME, sig)
            assert (await receiver).signal == USR1
            await asyncio.wait_for(arrived.wait(), 5)
        loop.remove_signal_handler(USR2)
        assert handled == [1]

    asyncio.run(main())


# ---- handlers


def test_a_handler_and_what_was_there_before():
    seen = []
    with on(USR1, lambda number, frame: seen.append(("outer", number))):
        with on([USR1, USR2], lambda number, frame: seen.append(("inner", number))) as inner:
            send(ME, USR1)
            send(ME, USR2)
            assert inner.signals == (USR1, USR2)
        send(ME, USR1)
    assert seen == [("inner", USR1), ("inner", USR2), ("outer", USR1)]


def test_it_is_put_back_after_an_error_too():
    before = signal.getsignal(USR1)
    with pytest.raises(ZeroDivisionError), on(USR1, print):
        1 / 0  # noqa: B018
    assert signal.getsignal(USR1) == before


def test_one_object_twice():
    seen = []
    handler = on(USR1, lambda *_: seen.append(1))
    with handler, handler:
        send(ME, USR1)
    with handler:
        send(ME, USR1)
    assert seen == [1, 1]


def test_what_somebody_else_has_set_stays():
    before = signal.getsignal(USR1)
    with on(USR1, lambda *_: None):
        signal.signal(USR1, signal.SIG_IGN)
    assert signal.getsignal(USR1) == signal.SIG_IGN
    signal.signal(USR1, before)


def test_a_handler_in_c_is_put_back():
    faulthandler.register(USR2, file=sys.__stderr__)
    try:
        before = _core.signal_action(USR2)
        with on(USR2, signal.SIG_IGN):
            send(ME, USR2)
            assert _core.signal_action(USR2) != before
        assert _core.signal_action(USR2) == before
    finally:
        faulthandler.unregister(USR2)


def test_an_unfinished_entry_is_undone():
    before = signal.getsignal(USR1)
    with pytest.raises(OSError, match="Invalid argument"), on([USR1, signal.SIGKILL], print):
        pass
    assert signal.getsignal(USR1) == before


def test_handlers_are_for_the_main_thread():
    def enter():
        with pytest.raises(ipcx.Unsupported, match="SignalReceiver"), on(USR1, print):
            pass
        return "refused"

    assert Background(enter).finish() == "refused"


@pytest.mark.parametrize("handler", [None, 5, "stop"])
def test_what_is_no_handler(handler):
    with pytest.raises(TypeError, match="a handler is"):
        on(USR1, handler)


def test_a_saved_action_is_checked():
    with pytest.raises(ValueError, match="signal_action"):
        _core.signal_action_restore(USR1, b"short")
    with pytest.raises(OSError, match="Invalid argument"):
        _core.signal_action(99)


# ---- names


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (15, "SIGTERM"), (int(signal.SIGRTMIN), "SIGRTMIN"), (RT, "SIGRTMIN+1"),
        (int(signal.SIGRTMAX), "SIGRTMAX"), (0, "signal 0"), (32, "signal 32"),
    ],
)  # fmt: skip
def test_names(number, text):
    assert signals.name(number) == text


# ---- the examples

EXAMPLES = Path(__file__).parent.parent / "examples" / "signals"


def say(program):
    ran = subprocess.run(
        [sys.executable, EXAMPLES / program], stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout.splitlines()


def test_the_examples_say_what_they_should():
    boss = say("boss.py")
    assert boss[0].startswith("worker: ")
    custom = [line.split()[1] for line in boss if line.startswith("custom")]
    assert custom == [str(number) for number in range(1, 21)]
    assert boss[-5:-2] == [
        "exceptional condition: the time is over; the work goes on",
        "terminate: putting things in order, then the end",
        "the worker's exit status: 0",
    ]
    assert boss[-2].endswith("has ended, with status 0")
    assert boss[-1] == "signals have names: SIGINT, SIGKILL, SIGTERM, SIGRTMIN+1"
    assert say("coalesce.py") == [
        "SIGUSR1  sent 1000 times, arrived 1 times",
        "SIGRTMIN sent 1000 times, arrived 1000 times",
    ]
    handler = say("handler.py")
    assert handler[0].startswith("SIGXFSZ in line ")
    assert handler[1:3] == ["and the write says EFBIG", "afterwards as before: SIG_IGN"]
    # A sanitizer has a handler of its own for what the child does.
    ended = "signal -1" if "asan" in os.environ.get("LD_PRELOAD", "") else "SIGSEGV"
    assert handler[3:] == [f"a child that read address 0 was ended by {ended}"]
