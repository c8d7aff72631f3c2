# SPDX-License-Identifier: Apache-2.0
"""Pipelines: what comes out, how each stage ends, and that nothing is left."""

import asyncio
import errno
import gc
import io
import os
import random
import re
import select
import shlex
import signal
import sys
import threading
from pathlib import Path

import pytest
from beside import children, interrupt

import ipcx
from ipcx import _pipeline
from ipcx._lines import Cutter
from ipcx._pipeline import _Run
from ipcx.pipes import Completed, Pipeline, StageEnding, StageFailed

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def nothing_left():
    fds, there = sorted(os.listdir("/proc/self/fd")), children()
    yield
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == fds
    assert children() == there  # a zombie is one, too


@pytest.mark.parametrize("seed", range(3))
def test_words_are_split_as_shlex_does(seed):
    """But for the time, which grows with the square of a word's length there."""
    dice = random.Random(seed)

    def outcome(split, text):
        try:
            return split(text)
        except ValueError as error:
            return str(error).partition(":")[0]

    for _ in range(5000):
        text = "".join(dice.choices(" \t\n'\"\\ab|é$#\v\u2003\0", k=dice.randrange(14)))
        assert outcome(_pipeline.split, text) == outcome(shlex.split, text), text
    assert _pipeline.split("true '" + "é" * 10**6 + "'") == ["true", "é" * 10**6]


def test_the_lectures_sort():
    done = (Pipeline("sort") | ["head", "-2"]).run(input="pear\napple\nfig\n")
    assert done.output == b"apple\nfig\n"
    assert done.text == "apple\nfig\n"
    assert done.lines == ["apple", "fig"]
    assert done.endings == (
        StageEnding(("sort",), 0, None),
        StageEnding(("head", "-2"), 0, None),
    )
    assert done.ok
    assert done.check() is done


def test_processes_that_match():
    done = (Pipeline("ps -e") | ["grep", "python"] | "wc -l").run()
    assert int(done.text) >= 1


@pytest.mark.parametrize(
    ("given", "arrives"),
    [
        (None, b""),
        (b"", b""),
        (b"bytes", b"bytes"),
        (bytearray(b"more"), b"more"),
        ("gr\u00fc\u00df", "gr\u00fc\u00df".encode()),
        ([b"a", "b", memoryview(b"c")], b"abc"),
        ((f"{i}\n" for i in range(1000)), b"".join(b"%d\n" % i for i in range(1000))),
        (b"x" * 3_000_000, b"x" * 3_000_000),
        (io.BytesIO(b"a\nb"), b"a\nb"),
        (io.StringIO("a\nü"), "a\nü".encode()),
    ],
    ids=[
        "none",
        "empty",
        "bytes",
        "bytearray",
        "text",
        "list",
        "generator",
        "long",
        "BytesIO",
        "StringIO",
    ],
)
def test_every_kind_of_input(given, arrives):
    assert (Pipeline("cat") | "cat").run(given).output == arrives


def test_files_at_both_ends(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("b\na\n")
    with source.open() as file:
        done = Pipeline("sort").run(file, output=target)
    assert (done.output, target.read_text()) == (b"", "a\nb\n")
    with target.open("wb") as file:
        Pipeline("echo written").run(output=file)
    assert target.read_text() == "written\n"


def test_lines_come_as_they_are_written():
    program = "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)"
    asked = []

    def questions():
        for i in range(3):
            asked.append(i)
            yield f"{i}\n"

    lines = Pipeline([PYTHON, "-c", program]).lines(questions())
    assert next(lines) == "got 0"
    assert list(lines) == ["got 1", "got 2"]
    assert asked == [0, 1, 2]
    assert list(Pipeline(["printf", "no end"])) == ["no end"]
    assert list(Pipeline(["printf", r"\377"])) == [r"\xff"]


def test_lines_are_cut_wherever_the_pieces_end():
    text = b"one\n\ntwo \xc3\xbc\nlast"
    for a in range(len(text) + 1):
        for b in range(a, len(text) + 1):
            lines = Cutter()
            got = [line for piece in (text[:a], text[a:b], text[b:]) for line in lines.cut(piece)]
            assert got + lines.end() == [b"one", b"", "two ü".encode(), b"last"]
    assert lines.end() == []


def test_a_line_that_is_too_long_is_cut_into_parts():
    lines = Cutter(longest=4)
    assert [lines.cut(piece) for piece in (b"12", b"34", b"5", b"6\n7", b"8\n")] == [
        [], [], [b"12345"], [b"6"], [b"78"]
    ]  # fmt: skip
    assert lines.cut(b"a\n12345") == [b"a", b"12345"]
    assert lines.end() == []


def test_a_very_long_line():
    done = list(Pipeline(["sh", "-c", "head -c 64M /dev/zero | tr '\\0' x; echo; echo end"]))
    assert [len(line) for line in done] == [64 << 20, 3]


def test_a_loop_that_is_left_ends_all_stages():
    before = children()
    for line in Pipeline("yes") | "cat":
        assert line == "y"
        assert len(children()) == len(before) + 2
        break
    gc.collect()
    assert children() == before  # of other tests: multiprocessing's helpers stay


def test_who_reads_enough_lets_the_others_end():
    done = (Pipeline("yes") | "head -3").run()
    assert done.lines == ["y"] * 3
    assert done.endings[0].signal == signal.SIGPIPE
    assert done.ok
    ended = []

    def endless():
        try:
            while True:
                yield "y\n"
        finally:
            ended.append(True)

    assert Pipeline("head -1").run(endless()).output == b"y\n"
    assert ended == [True]


def test_how_each_stage_ended():
    done = (Pipeline("sh -c 'exit 3'") | "sh -c 'kill -9 $$'" | "true").run()
    assert [e.status for e in done.endings] == [3, None, 0]
    assert done.endings[1].signal == signal.SIGKILL
    assert not done.ok
    with pytest.raises(StageFailed, match=r"stage 1 of 3, sh -c 'exit 3': exit status 3") as caught:
        done.check()
    assert caught.value.completed is done
    with pytest.raises(StageFailed, match="ended by SIGKILL"):
        Pipeline("sh -c 'kill -9 $$'").run(check=True)
    assert isinstance(caught.value, ipcx.Error)


def test_a_stage_in_the_middle_dies():
    done = (Pipeline("yes") | "sh -c 'read a; kill -9 $$'" | "cat").run(timeout=20)
    assert done.endings[0].signal == signal.SIGPIPE
    assert done.endings[1].signal == signal.SIGKILL
    assert done.endings[2].status == 0


def test_a_time_out_ends_all_stages_and_what_they_started():
    script = "echo began; sleep 1000 & sleep 1000"
    with pytest.raises(ipcx.Timeout, match="cat: not done after") as caught:
        (Pipeline(["sh", "-c", script]) | "cat").run(timeout=0.2)
    assert caught.value.completed.output == b"began\n"
    assert [e.signal for e in caught.value.completed.endings] == [signal.SIGKILL] * 2
    with pytest.raises(ipcx.Timeout):
        Pipeline("sleep 1000").run(timeout=0)
    with pytest.raises(ipcx.Timeout):
        Pipeline("sleep 1000").run(output="/dev/null", timeout=0.05)
    with pytest.raises(ValueError, match="timeout"):
        Pipeline("true").run(timeout=-1)


def test_a_time_out_when_all_stages_have_ended():
    """What they started has the output open, so its end never comes."""
    with _Run(Pipeline(["sh", "-c", "sleep 1000 & echo ended"]), None, None, 600) as run:
        select.select(run.children, [], [])
        error = run.timed_out()
        assert "something that they started has the output open" in str(error)
        assert [ending.status for ending in error.completed.endings] == [0]


def endless():
    return iter(lambda: b"", None)  # gives nothing, and never ends


def test_a_time_out_while_there_is_always_something_to_do():
    with pytest.raises(ipcx.Timeout, match="ended by us: cat") as caught:
        Pipeline("cat").run(endless(), timeout=0.1)
    assert caught.value.completed.output == b""
    with pytest.raises(ipcx.Timeout, match="ended by us: cat"):
        asyncio.run(Pipeline("cat").complete(endless(), timeout=0.1))


def test_ctrl_c_ends_it():
    interrupt(lambda: Pipeline("sleep 1000").run())
    interrupt(lambda: Pipeline("sleep 1000").run(output="/dev/null"))


@pytest.mark.parametrize(
    ("command", "kind", "number"),
    [
        ("no-such-command", FileNotFoundError, errno.ENOENT),
        ("/etc/passwd", PermissionError, errno.EACCES),
        ("/tmp", PermissionError, errno.EACCES),
    ],
)
def test_what_cannot_be_started_is_named(command, kind, number):
    with pytest.raises(kind, match="stage 2 of 3") as caught:
        (Pipeline("yes") | command | "cat").run()
    assert caught.value.errno == number
    assert caught.value.filename == command
    with pytest.raises(kind) as caught:
        Pipeline(command).run()
    assert "stage" not in str(caught.value)
    if number == errno.ENOENT:
        assert "PATH is" in str(caught.value)


def test_why_it_cannot_be_started(tmp_path):
    """All of a long PATH; and of a path, what is wrong with what is there."""
    path = os.pathsep.join(f"/nowhere/{i}" for i in range(100))
    with pytest.raises(FileNotFoundError, match=f"missing: not found, PATH is {path}"):
        Pipeline("missing", env={"PATH": path}).run()
    script, plain = tmp_path / "script", tmp_path / "plain"
    script.write_text("#!/nowhere/interpreter\n")
    script.chmod(0o755)
    plain.write_text("#!/bin/sh\n")
    for program, says in (
        (script, "interpreter (#!) is not there"),
        (plain, "not executable"),
        (tmp_path, "a directory"),
        (tmp_path / "missing", "not found"),
    ):
        with pytest.raises(OSError, match=re.escape(f"{program}: ") + ".*" + re.escape(says)):
            Pipeline([program]).run()
    for name in ("", "A=B"):
        with pytest.raises(ValueError, match="no name of an environment variable"):
            Pipeline("true", env={name: "x"}).run()


@pytest.mark.parametrize("command", ["ls | wc", "ls > file", "a; b", "a && b", "echo (a)", "a &"])
def test_there_is_no_shell(command):
    with pytest.raises(ValueError, match="for a shell"):
        Pipeline(command)


def test_words_are_split_as_a_shell_would():
    assert Pipeline("""grep "a | b" 'c d' e\\ f""").commands == (("grep", "a | b", "c d", "e f"),)
    assert Pipeline(["a b", Path("c")]).commands == (("a b", "c"),)
    assert Pipeline("echo $HOME *").run().text == "$HOME *\n"
    for nothing in ("", "  ", []):
        with pytest.raises(ValueError, match="a command, not nothing"):
            Pipeline(nothing)
    joined = Pipeline("a") | (Pipeline("b") | "c d")
    assert str(joined) == "a | b | c d"
    assert repr(joined) == "<Pipeline a | b | c d>"


def test_environment_and_directory(tmp_path):
    env = {"PATH": os.environ["PATH"], "COLOUR": "blue"}
    done = (Pipeline(["sh", "-c", "echo $COLOUR $HOME; pwd"], env=env, cwd=tmp_path) | "cat").run()
    assert done.lines == ["blue", str(tmp_path)]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Pipeline("true", cwd="/nowhere").run()


def test_wrong_input():
    for wrong in ({"a": 1}, [1]):
        if isinstance(wrong, dict):
            assert Pipeline("cat").run(wrong).output == b"a"
            continue
        with pytest.raises(TypeError, match="bytes or text, not int"):
            Pipeline("cat").run(wrong)
    with pytest.raises(TypeError):
        Pipeline("cat").run(3)
    for wrong in (None, 5, b"echo hi"):
        with pytest.raises(TypeError, match="a text or a list of words"):
            Pipeline(wrong)
    with pytest.raises(FileNotFoundError, match="an empty word: not found"):
        Pipeline("''").run()
    with pytest.raises(ValueError, match="NUL"):
        Pipeline(["echo", "a\0b"]).run()


def failing():
    yield "a\n"
    raise LookupError("the input failed")


def test_an_input_that_raises():
    with pytest.raises(LookupError, match="the input failed"):
        Pipeline("cat").run(failing())


def test_when_the_input_raises_the_stages_are_asked_to_end(tmp_path, monkeypatch):
    """With SIGTERM, as soon as that is known; not after half a second, and not only killed."""
    monkeypatch.setattr(_pipeline, "BRIEF", 60)
    monkeypatch.setattr(_pipeline, "GRACE", 600)
    ready, asked = tmp_path / "ready", tmp_path / "asked"
    script = f"trap 'touch {asked}; exit' TERM; touch {ready}; while :; do sleep 0.01; done"

    def given():
        while not ready.exists():
            yield b""
        raise LookupError("the input failed")

    with pytest.raises(LookupError, match="the input failed"):
        Pipeline(["sh", "-c", script]).run(given())
    assert asked.exists()


def test_sigpipe_never_kills_us():
    program = """
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from ipcx.pipes import Pipeline
done = Pipeline("head -c 1").run(b"x" * 10_000_000)
print(done.output.decode(), done.ok)
"""
    assert Pipeline([PYTHON, "-c", program]).run().text == "x True\n"


def test_a_child_gets_its_own_descriptors_only():
    loose = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(loose, True)
    done = (Pipeline(["sh", "-c", "ls /proc/$$/fd"]) | "sort -n").run()
    os.close(loose)
    assert set(map(int, done.lines)) <= {0, 1, 2, 10}  # 10: where dash keeps a script


def test_from_many_threads_at_once():
    wrong = []

    def work(number):
        for i in range(25):
            text = f"{number} {i}\n"
            done = (Pipeline("cat") | "cat" | "cat").run(text)
            if done != Completed(
                text.encode(), tuple(StageEnding(("cat",), 0, None) for _ in "123")
            ):
                wrong.append(done)

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_in_asyncio():
    async def main():
        done = await (Pipeline("echo a b c") | "wc -w")
        assert done.text.strip() == "3"
        assert [line async for line in Pipeline("seq 3")] == ["1", "2", "3"]
        done = await Pipeline("cat").complete(["x" * 1_000_000] * 3)
        assert len(done.output) == 3_000_000
        with pytest.raises(StageFailed):
            await Pipeline("false").complete(check=True)
        with pytest.raises(ipcx.Timeout):
            await Pipeline("sleep 1000").complete(timeout=0.05)
        task = asyncio.create_task(Pipeline("sleep 1000").complete())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        both = await asyncio.gather(*(Pipeline(f"echo {i}").complete() for i in range(10)))
        assert [done.text for done in both] == [f"{i}\n" for i in range(10)]

    asyncio.run(main())


def test_other_tasks_have_their_turns():
    """However much there is to be taken, or to be given."""
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main():
        nonlocal turns
        task = asyncio.create_task(other())
        async for line in Pipeline("yes"):
            assert line == "y"
            if turns > 3:
                break
        turns = 0
        fed = asyncio.create_task(Pipeline("cat").complete(endless()))
        while turns < 30:
            await asyncio.sleep(0)
        fed.cancel()
        task.cancel()
        await asyncio.gather(task, fed, return_exceptions=True)

    asyncio.run(main())


def test_a_status_that_somebody_else_took():
    program = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from ipcx.pipes import Pipeline
from ipcx import _core
started = _core.Child
def child(*arguments):  # each has ended, and its group with it, before the next one is started
    made = started(*arguments)
    if arguments[0] != [b"cat"]:
        made.wait(None)
    return made
for _core.Child in (started, child):
    done = (Pipeline("echo a") | "true" | "true" | "echo b" | "cat").run()
    print(done.output, [str(e) for e in done.endings], done.ok)
"""
    done = Pipeline([PYTHON, "-c", program]).run(timeout=30)
    assert done.lines[0].startswith("b'b\\n'")
    assert done.lines[1].startswith("b'b\\n'")
    assert "how is not known" in done.lines[1]


def test_a_long_output_comes_in_pieces():
    total = 0
    for piece in (Pipeline("head -c 256M /dev/zero") | "cat").chunks():
        total += len(piece)
    assert total == 256 << 20
