# SPDX-License-Identifier: Apache-2.0
"""ipcx.process: children, their channels, their ends."""

import asyncio
import contextlib
import errno
import functools
import gc
import itertools
import math
import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time

import process_help as helpers
import pytest
from beside import Background, children, in_thread, interrupt

import ipcx
from ipcx import _parcel, aio, process, signals
from meta.tree import ROOT

GUARD = 10
TALKS = "from ipcx.process import parent\nc = parent()\nfor m in c: c.send(m)"
KINDS = ("unix://", "shm://", "pipe://", "tcp://")


def python(code):
    return [sys.executable, "-c", code]


def open_fds():
    return len(os.listdir("/proc/self/fd"))


def until_gone(pid):
    """Until there is no such process any more, or a zombie of somebody else's."""
    while True:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.002)


# ---------------------------------------------------------------- functions


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_has_a_channel_and_arguments(kind):
    arguments = (1, "zwei", b"\x00\xff", None, [1.5, (True,)], {"a": {3: "x"}})
    with process.spawn(helpers.echo, *arguments, channel=kind) as child:
        assert child.channel.receive(timeout=GUARD) == repr(arguments)
        for message in ("text", b"bytes", bytes(100_000)):
            child.channel.send(message)
            assert child.channel.receive(timeout=GUARD) == message
    assert child.result() == arguments
    assert child.ending == (0, None, False)


def test_a_function_by_its_name():
    assert process.spawn("math:hypot", 3, 4, channel=None).result(GUARD) == 5.0
    assert process.spawn(math.hypot, 3, 4, channel=None).result(GUARD) == 5.0
    static = process.spawn(helpers.Holder.method, channel=None)
    assert static.result(GUARD) == "a static method"
    of_the_class = process.spawn(helpers.Holder.maker, channel=None)
    assert of_the_class.result(GUARD) == "Holder"
    with pytest.raises(ipcx.Closed, match="channel=None"):
        _ = static.channel


@pytest.mark.parametrize(
    "value",
    [
        None, True, 7, -(2**63), 2**64, 10**5000, math.inf, "grüß \ud800 \0", b"", bytearray(b"x"),
        [], (), {}, set(), [[1], (2, [3])], {"a": 1}, {1: 2, (3,): b"4"}, {"\0": 1},
        {"\0": ("bytes", "00")}, frozenset({1}), [True, 1, 1.0],
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_what_can_be_sent_comes_out_the_same(value):
    out = _parcel.unpack(_parcel.pack(value, "it"))
    assert out == value
    if type(value) is not int:  # a long one cannot be shown
        assert repr(out) == repr(value)


def test_large_arguments():
    large = [b"\x00\xff" * 10**6, bytearray(10**6), "grüß" * 10**5]
    with process.spawn("process_help:give", large, channel=None) as child:
        assert child.result(60) == large
    with pytest.raises(OSError, match="128 KiB") as caught:
        process.spawn(["true", "x" * (1 << 17)], channel=None)
    assert caught.value.errno == errno.E2BIG


def test_what_cannot_be_sent_is_named():
    class Str(str):
        pass

    one, two = ipcx.pair()
    loop = []
    loop.append(loop)
    for value in (object(), Str("x"), [1, {2: len}], 1j, range(3), memoryview(b"x")):
        with pytest.raises(TypeError, match=r"spawn: an argument of .*give: .* cannot be sent"):
            process.spawn(helpers.give, value)
    with pytest.raises(ValueError, match="a part of itself"):
        process.spawn(helpers.give, loop)
    with pytest.raises(ValueError, match="twice"):
        process.spawn(helpers.give, one, one)
    one.send("used")
    with pytest.raises(TypeError, match="handed"):
        process.spawn(helpers.give, one)
    assert two.receive(timeout=GUARD) == "used"
    one.close()
    two.close()
    for text in ('{"\\u0000": ["code", ""]}', '{"\\u0000": 1}', "[", '{"\\u0000": ["bytes", "x"]}'):
        with pytest.raises(ValueError, match=r"."):
            _parcel.unpack(text)


@pytest.mark.parametrize("kind", ["unix://", "shm://", "pipe://", "tcp://", "udp://"])
def test_an_end_as_an_argument(kind):
    near, far = ipcx.pair(kind)
    with process.spawn(helpers.through, far, "through") as child, near:
        assert near.receive(timeout=GUARD) == "through"
        assert child.channel.receive(timeout=GUARD) == "sent"
    with pytest.raises((ipcx.Closed, ipcx.ForkedError)):
        far.send("mine no more")


def test_what_the_child_is_like(tmp_path):
    with process.spawn(
        helpers.about_itself, cwd=tmp_path, env={**os.environ, "IPCX_TEST": "yes"}
    ) as child:
        told = eval(child.channel.receive(timeout=GUARD))
    assert told["argv"] == ["process_help:about_itself"]
    assert told["main"] is None
    assert told["cwd"] == str(tmp_path)
    assert told["same"]
    assert told["threads"] == 1
    assert told["stdin"] == ""
    assert told["variable"] == "yes"
    assert told["fds"] == [0, 1, 2, 3, 4, 5]  # the order, the channel, the listing itself


def test_an_exception_comes_back_in_words(capfd):
    with process.spawn(helpers.raises) as child:
        with pytest.raises(ipcx.PeerClosed):
            child.channel.receive(timeout=GUARD)
        with pytest.raises(process.ProcessFailed, match="LookupError: nothing here") as raised:
            child.result(GUARD)
        assert raised.value.ending.status == 1
        assert "in raises" in raised.value.remote_traceback
        assert "In the child:" in raised.value.__notes__[0]
        with pytest.raises(process.ProcessFailed, match="exit status 1"):
            child.wait(check=True)
        assert child.wait().status == 1  # as often as one likes
    printed = capfd.readouterr().err
    assert "Process raises:" in printed
    assert "nothing here" in printed
    assert "_child.py" not in printed


def test_what_returns_something_that_cannot_be_sent_has_not_failed():
    child = process.spawn(helpers.returns_what_cannot_be_sent, channel=None)
    with pytest.raises(TypeError, match="the function's result: <object"):
        child.result(GUARD)
    assert child.wait(check=True).ok


def test_a_large_result_needs_no_reader():
    big = bytes(3_000_000)
    child = process.spawn(helpers.give, big, channel=None)
    assert child.wait(GUARD).ok
    assert child.result() == big


@pytest.mark.parametrize(
    ("how", "said"), [(0, None), (3, "exit status 3"), (-9, "ended by SIGKILL")]
)
def test_the_ending(how, said):
    child = process.spawn(helpers.leaves, how, channel=None)
    ending = child.wait(GUARD)
    assert (ending.status, ending.signal) == ((how, None) if how >= 0 else (None, -how))
    if said is None:
        assert child.result() is None
    else:
        assert said in repr(child)
        with pytest.raises(process.ProcessFailed, match=said):
            child.result()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("process_help:no_such", "process_help has no no_such"),
        ("process_help:GUARDIAN.x", "has no GUARDIAN.x"),
        ("sys:path", "is no function"),
    ],
)
def test_a_function_that_the_child_cannot_import(target, says, capfd):
    with process.spawn(target) as child, pytest.raises(process.ProcessFailed, match=says):
        child.result(GUARD)


def test_functions_without_an_import_name():
    def nested():
        pass

    for function, says in (
        (lambda: 1, "a lambda"),
        (nested, "inside of a function"),
        (functools.partial(helpers.give, 1), "has no name"),
        (helpers.Holder().bound, "another object"),
    ):
        with pytest.raises(ValueError, match=f"{says}.* put it into a module"):
            process.spawn(function)


def test_one_of_main_is_refused(spawn):
    code = (
        "from ipcx import process\ndef f(): pass\n"
        "try: process.spawn(f)\nexcept ValueError as e: print(e)"
    )
    assert "f is defined in __main__" in spawn("-c", code).communicate()[0]


@pytest.mark.parametrize("way", ["-c", "-m", "script", "stdin"])
def test_however_the_parent_was_started(way, tmp_path, spawn):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "helper_of_it.py").write_text("def f():\n    return 'found'\n")
    code = (
        "import helper_of_it\nfrom ipcx import process\n"
        "print(process.spawn(helper_of_it.f, channel=None, cwd='/').result(20))\n"
    )
    (folder / "program.py").write_text("PARENT = 1\n" + code)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = {"-c": ["-c", code], "-m": ["-m", "program"], "script": ["program.py"], "stdin": ["-"]}
    parent = spawn(*words[way], cwd=folder, env=env)
    assert parent.communicate(code if way == "stdin" else "")[0] == "found\n"


def test_without_an_interpreter(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"sys\.executable is empty"):
        process.spawn(helpers.give, 1)
    monkeypatch.setattr(sys, "executable", "/opt/app")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(RuntimeError, match="/opt/app is a program with Python inside"):
        process.spawn(helpers.give, 1)
    assert process.spawn("true", channel=None).wait(GUARD).ok


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_has_a_channel(kind, dies):
    with process.spawn(python(TALKS), channel=kind, die_with_parent=dies) as child:
        child.channel.send("hello")
        assert child.channel.receive(timeout=GUARD) == "hello"
    assert child.ending.ok


@pytest.mark.parametrize("kind", ["unix://", "pipe://", "tcp://"])
def test_a_program_of_any_language_knows_a_url(kind):
    code = "import os, ipcx; ipcx.connect(os.environ['IPCX_PARENT']).send('hello')"
    with process.spawn(python(code), channel=kind) as child:
        assert child.channel.receive(timeout=GUARD) == "hello"


def test_the_environment_of_a_program():
    code = (
        "import os; from ipcx import process; process.parent().send('x'); "
        "print(sorted(n for n in os.environ if 'IPCX_PARENT' in n), os.environ.get('A'))"
    )
    env = {"A": "b", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with process.spawn(python(code), env=env, output="capture") as child:
        assert list(child.output) == ["[] b"]
    with process.spawn("env", env={}, output="capture", channel=None) as child:
        assert list(child.output) == []
    with process.spawn("pwd", cwd="/", output="capture") as child:
        assert list(child.output) == ["/"]
    for name in ("", "A=B"):
        with pytest.raises(ValueError, match="no name of an environment variable"):
            process.spawn("true", env={name: "x"})


def test_parent_without_a_parent(spawn):
    code = "from ipcx import process\ntry: process.parent()\nexcept RuntimeError as e: print(e)"
    assert "was not started by ipcx.process.spawn" in spawn("-c", code).communicate()[0]


@pytest.mark.parametrize("dies", [False, True])
def test_commands_that_cannot_be_run(dies, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("text")
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF?")
    broken.chmod(0o755)
    before = open_fds()
    start = functools.partial(process.spawn, die_with_parent=dies)
    path = os.pathsep.join(f"/nowhere/{i}" for i in range(100))
    with pytest.raises(FileNotFoundError, match=f"no-such-command: not found, PATH is {path}"):
        start("no-such-command", env={"PATH": path})
    with pytest.raises(FileNotFoundError, match="no-such"):
        start([tmp_path / "no-such"])
    with pytest.raises(PermissionError, match="plain"):
        start([plain], output="stream")
    with pytest.raises(OSError, match="broken"):
        start([broken], output="capture")
    assert open_fds() == before


def test_what_is_no_command():
    for wrong in ("", [], "a | b", "a > b", "'a"):
        with pytest.raises(ValueError, match=r"."):
            process.spawn(wrong)
    for wrong in (7, [7], None):
        with pytest.raises(TypeError):
            process.spawn(wrong)
    with pytest.raises(TypeError, match="words of its command"):
        process.spawn("true", 1)
    with pytest.raises(ValueError, match="output is"):
        process.spawn("true", output="prefix")
    with pytest.raises(ipcx.Unsupported, match="inproc"):
        process.spawn("true", channel="inproc://")
    with pytest.raises(ipcx.InvalidURL):
        process.spawn("true", channel="nothing://")


def test_a_child_that_never_opens_its_channel():
    with process.spawn("true") as child:
        with pytest.raises(ipcx.PeerClosed):
            child.channel.receive(timeout=GUARD)
        assert child.wait(GUARD).ok


def test_a_channel_that_the_child_closes_early():
    with process.spawn(helpers.closes_early) as child:
        assert list(child.channel) == ["all"]
        assert child.ending is None
        child.kill()


def test_the_death_of_a_child_is_told_on_its_channel():
    with process.spawn(helpers.sleeps) as child:
        assert child.channel.receive(timeout=GUARD) == "asleep"
        child.kill()
        with pytest.raises(ipcx.PeerDied):
            child.channel.receive(timeout=GUARD)
    assert child.ending.signal == signal.SIGKILL


# ---------------------------------------------------------------- the end as an event


def test_waiting_in_every_way():
    with (
        open("/dev/zero") as zeros,
        open("/dev/null", "w") as null,
        process.spawn("cat", input=zeros, output=null) as child,
    ):
        assert child.poll() is None
        assert "runs" in repr(child)
        with pytest.raises(ipcx.WouldBlock):
            child.wait(0)
        with pytest.raises(ipcx.Timeout):
            child.wait(0.01)
        with pytest.raises(ValueError, match="timeout"):
            child.wait(-1)
        assert select.select([child], [], [], 0)[0] == []
        waiter = Background(child.wait).asleep()
        child.terminate()
        assert select.select([child], [], [], GUARD)[0] == [child]
        assert waiter.finish() == child.wait() == child.poll() == child.ending
    assert str(child.ending) == "ended by SIGTERM"
    child.terminate()
    child.kill()
    with pytest.raises(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    with pytest.raises(ProcessLookupError):
        signals.send(child, signal.SIGTERM)
    with pytest.raises(ipcx.Closed):
        child.fileno()


def test_ctrl_c_ends_a_wait_and_nothing_else():
    with process.spawn(helpers.sleeps) as child:
        interrupt(child.wait)
        interrupt(lambda: process.wait_any([child]))
        assert child.ending is None
        child.kill()


def test_wait_any():
    children = [process.spawn("sleep 600", output="capture") for _ in range(3)]
    with pytest.raises(ipcx.WouldBlock):
        process.wait_any(children, 0)
    with pytest.raises(ipcx.Timeout, match="all 3 still run"):
        process.wait_any(children, 0.05)
    waiter = Background(lambda: process.wait_any(children))
    children[1].kill()
    assert waiter.finish() is children[1]
    assert process.wait_any(children) is children[1]
    with pytest.raises(ValueError, match="no process"):
        process.wait_any([])
    for child in children:
        child.close(0)


def test_awaiting():
    async def main():
        with process.spawn(helpers.echo, "a") as child:
            channel = aio.Channel(child.channel)
            assert await channel.receive() == repr(("a",))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(child, 0.01)
            both = [asyncio.ensure_future(child._ended()) for _ in range(2)]
            await channel.close()
            assert [ending.ok for ending in await asyncio.gather(*both)] == [True, True]
            assert (await child).ok
            assert child.result(0) == ("a",)
        with process.spawn("seq 100000", output="capture") as child:
            assert (await child).ok
            assert len([line async for line in child.output]) == 100_000
        with process.spawn("seq 3", output="capture") as child:
            assert [line async for line in child.output] == ["1", "2", "3"]

    asyncio.run(main())


def test_the_end_of_a_with_block():
    with process.spawn(helpers.stubborn) as child:
        assert child.channel.receive(timeout=GUARD) == "deaf"
        child.close(grace=0)
    assert child.ending.signal == signal.SIGKILL
    with pytest.raises(KeyError), process.spawn(helpers.sleeps) as child:
        raise KeyError
    assert child.ending.signal == signal.SIGTERM
    with process.spawn(helpers.counts) as child:
        child.channel.send("one")
    assert child.result() == 1  # its loop ended with the channel


def test_one_that_is_forgotten_is_told_and_waited_for():
    child = process.spawn(helpers.sleeps, channel=None)
    pid = child.pid
    held = [child]
    del child
    with pytest.warns(ResourceWarning, match="still runs"):
        held.clear()
    os.kill(pid, signal.SIGKILL)
    until_gone(pid)
    process.spawn("true").wait()
    assert not os.path.exists(f"/proc/{pid}")
    done = process.spawn("true", channel=None)
    select.select([done], [], [], GUARD)
    del done  # and no warning: it has ended


def test_after_a_fork():
    with process.spawn(helpers.sleeps) as child:
        pid = os.fork()
        if pid == 0:
            said = 0
            for call in (child.wait, child.poll, child.fileno, child.kill, child.terminate):
                try:
                    call()
                except ipcx.ForkedError:
                    said += 1
            child.close()
            os._exit(said + 10 * ("a child of process" in repr(child)))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 15
        assert child.ending is None
        child.kill()


# ---------------------------------------------------------------- output


def test_the_output_is_printed_with_names(capsys):
    children = [
        process.spawn(helpers.speaks, 200, name=name, channel=None, output="stream")
        for name in ("one", "two")
    ]
    for child in children:
        child.wait(GUARD)
    print("afterwards")
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "afterwards"
    for name in ("one", "two"):
        for text, what in ((out, "out"), (err, "err")):
            lines = [line for line in text.splitlines() if line.startswith(name)]
            assert lines == [f"{name} | {what} {number}" for number in range(200)]
    assert len(out.splitlines()) == 401
    for thread in threading.enumerate():
        if thread.name == "ipcx-output":
            thread.join()  # it ends by itself


def test_colour_is_for_terminals_alone(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    process.spawn("echo plain", name="it", output="stream").wait()
    assert capsys.readouterr().out == "it | plain\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    process.spawn("printf 'coloured'", name="it", output="stream").wait()
    assert re.fullmatch(r"\x1b\[\d+mit \|\x1b\[0m coloured\n", capsys.readouterr().out)


def test_the_output_is_collected():
    with process.spawn("seq 3", output="capture") as child:
        assert list(child.output) == ["1", "2", "3"]
        assert list(child.output) == []
    with process.spawn(["printf", "a\\nb\\n\\377"], output="capture") as child:
        assert child.wait().ok
        assert next(iter(child.output)) == "a"
        assert child.output.read() == b"b\n\xff"
    with process.spawn("true") as child, pytest.raises(ValueError, match="not captured"):
        _ = child.output


@pytest.mark.filterwarnings("ignore:.*still runs:ResourceWarning")
def test_the_output_outlives_its_process():
    output = process.spawn("seq 3", output="capture", channel=None).output
    assert output.read() == b"1\n2\n3\n"
    assert [*process.spawn("seq 3", output="capture", channel=None).output] == ["1", "2", "3"]
    while process._left:
        process._reap()


def test_waiting_takes_in_what_nobody_reads():
    with process.spawn("seq 200000", output="capture") as child:
        assert child.wait(GUARD).ok
        assert len(child.output.read()) > 1_000_000
    with process.spawn("seq 200000", output="capture") as child:
        assert process.wait_any([child], GUARD) is child


class Counting(bytearray):
    """Counts the bytes that are searched."""

    searched = 0

    def find(self, what, start=0):
        self.searched += len(self) - start
        return super().find(what, start)


def test_a_long_line_is_searched_once():
    writes = "import os\nfor _ in range(256): os.write(1, bytes(1 << 16))\nos.write(1, b'\\nb\\n')"
    with process.spawn([sys.executable, "-c", writes], output="capture") as child:
        held = child.output._held = Counting()
        child.output._source.take = held.extend
        assert [len(line) for line in child.output] == [256 << 16, 1]
    # Once all that came, and of what held no line's end, nothing again.
    assert 256 << 16 <= held.searched <= (256 << 16) + 16


def test_the_end_of_the_program_while_output_is_streamed(spawn):
    code = (
        "from ipcx import process\n"
        "p = process.spawn(['sh', '-c', 'echo first; exec sleep 600'], output='stream', name='it',"
        " die_with_parent=True)\n"
        "import select, sys; from ipcx import _relay\n"
        "import time\n"
        "while not shown: time.sleep(0.001)\n"
    )
    code = "shown = []\n" + code.replace(
        "p = ",
        "from ipcx import _relay\nshow = _relay.Stream.show\n"
        "_relay.Stream.show = lambda *a: (show(*a), shown.append(a))\np = ",
        1,
    )
    ended = spawn("-W", "ignore", "-c", code)
    assert ended.communicate(timeout=GUARD)[0] == "it | first\n"
    assert ended.returncode == 0


# ---------------------------------------------------------------- the death of the parent


@pytest.mark.parametrize("command", [[], ["sleep", "600"]], ids=["function", "program"])
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_dies_with_its_parent(command, sig):
    with process.spawn(helpers.makes_a_child_that_shall_die, command) as maker:
        pid = int(maker.channel.receive(timeout=GUARD))
        maker.send_signal(sig)
        maker.wait(GUARD)
        until_gone(pid)


def test_a_thread_that_spawned_may_end():
    made = Background(lambda: process.spawn(helpers.sleeps, die_with_parent=True))
    with made.finish() as child:
        assert child.channel.receive(timeout=GUARD) == "asleep"
        assert child.ending is None
        child.kill()


def test_the_guardian_ends_with_the_child():
    code = f"import os; os.write(1, b'x'); input()  # {os.getpid()}: nobody else's on this machine"
    with process.spawn(python(code), die_with_parent=True, output="capture") as child:
        found = child.wait(GUARD)
        assert found.status == 1  # EOFError: its stdin is empty
    out = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert code not in out


# ---------------------------------------------------------------- the examples


@pytest.mark.hang_guard(60)
def test_the_examples_say_what_they_should(spawn):
    def said(program):
        child = spawn("-X", "dev", ROOT / f"examples/process/{program}.py", stderr=subprocess.PIPE)
        out, err = child.communicate()
        assert (child.returncode, err) == (0, "")
        return out.splitlines()

    assert said("independent") == [
        "one says all is well",
        "one: ended by SIGKILL",
        "the other has counted to 1000",
        "the other: exit status 0",
    ]
    assert said("sharing")[1] == "e is there 11000 times"
    measured = said("speed_up")
    assert all(": 6057 primes in " in line for line in measured[:-1])
    assert said("modular") == ["split, then longest: functions", "split, then how_many: 7"]
    tasks = said("convenience")
    assert len(tasks) == 9
    assert sum(line.startswith("done with ") for line in tasks) == 3


# ---------------------------------------------------------------- stress


@pytest.mark.hang_guard(60)
def test_two_hundred_in_eight_threads_leave_nothing():
    with process.spawn("true"):
        pass
    gc.collect()
    before, there, errors = open_fds(), children(), []

    def work():
        try:
            for number in range(25):
                with process.spawn(["sh", "-c", f"exit {number}"], output="capture") as child:
                    assert child.wait(30).status == number
        except BaseException as error:
            errors.append(error)

    for thread in [in_thread(work) for _ in range(8)]:
        thread.join()
    gc.collect()
    assert errors == []
    assert open_fds() == before
    assert children() == there  # a zombie would be one, too


@pytest.mark.hang_guard(60)
def test_children_killed_at_any_time():
    for _ in range(12):
        with process.spawn(helpers.echo, "x" * 1000) as child:
            timer = threading.Timer(random.random() * 0.2, child.kill)
            timer.start()
            with contextlib.suppress(ipcx.PeerClosed):
                while True:
                    child.channel.send("a message")
                    child.channel.receive(timeout=GUARD)
            timer.join()
            assert child.wait(GUARD).signal == signal.SIGKILL
            with pytest.raises(process.ProcessFailed, match="SIGKILL"):
                child.result()


@pytest.mark.hang_guard(60)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_spawning_while_other_threads_fork():
    """A forked process inherits nothing that would keep a child's channel or output open."""
    stop, forked = threading.Event(), []

    def forks():
        while not stop.is_set():
            pid = os.fork()
            if pid == 0:
                signal.pause()
            forked.append(pid)
            time.sleep(0.002)

    forker = in_thread(forks)
    try:
        for _ in range(15):
            with process.spawn("true", output="capture") as child:
                with pytest.raises(ipcx.PeerClosed):
                    child.channel.receive(timeout=GUARD)
                assert child.output.read() == b""
    finally:
        stop.set()
        forker.join()
        for pid in forked:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
