"""`ipcx duel`: one column freezes, the other loses nothing, and nobody is left."""

import json
import os
import signal
import subprocess
import sys
from multiprocessing import get_context

import pytest
from pty_help import on_terminal, processes_of

from ipcx import _duel

DUEL = [sys.executable, "-m", "ipcx", "duel"]
pytestmark = pytest.mark.hang_guard(60)


def duel(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*DUEL, *arguments], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def told():
    """A whole duel. On a machine that is overloaded nobody may be where the strike finds a lock."""
    for _ in range(3):
        done = duel("--json", "--seconds", "5")
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        if found["columns"]["multiprocessing"]["frozen"]:
            break
    return found


def test_ours_is_struck_and_loses_nothing(told):
    ours = told["columns"]["ipcx"]
    assert ours["kills"] >= 1
    assert ours["frozen"] is None
    assert ours["unanswered"] == ours["answered_twice"] == 0
    assert ours["given"] == ours["answered"] > 100


def test_theirs_freezes_and_the_lock_is_named(told):
    theirs = told["columns"]["multiprocessing"]
    assert theirs["kills"] >= 1
    assert theirs["frozen"]["at_kill"] == theirs["kills"]
    assert theirs["frozen"]["lock"] in ("tasks.get()", "results.put()")
    assert theirs["frozen"]["went_on"] in (True, False)
    assert theirs["unanswered"] > 0
    assert theirs["given"] == theirs["answered"] + theirs["unanswered"]
    assert len(told["seen"]) == 3


def test_a_dead_holder_is_what_freezes_a_queue():
    """What the duel says of multiprocessing, without it: the lock stays with the dead."""
    context = get_context("fork")
    queue = context.Queue()

    def waiter():
        queue.get()

    waiting = context.Process(target=waiter)
    waiting.start()
    while not queue._rlock._semlock._is_zero():
        os.sched_yield()
    waiting.kill()
    waiting.join()
    waiting.close()
    queue.put("a task")
    assert queue._reader.poll(10)
    assert not queue._rlock.acquire(timeout=0.1)
    queue._rlock.release()
    assert queue.get() == "a task"
    queue.close()
    queue.join_thread()


def test_plain_lines_where_there_is_no_terminal():
    done = duel("--seconds", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\033" not in done.stdout
    assert "\r" not in done.stdout
    assert " s  kill -9 of multiprocessing: worker " in done.stdout
    text = " ".join(done.stdout.split())
    assert "ipcx: every worker has a channel of its own" in text
    assert "lost: 0." in text
    assert "works" in done.stdout


def test_two_live_columns_on_a_terminal():
    with on_terminal("duel", "--seconds", "2") as shown:
        assert shown.to_the_end() == 0
        assert "\033[J" in shown.said
        assert "│ \033[1mipcx" in shown.said
        assert "of 2 s" in shown.said


def test_a_narrow_terminal_has_one_below_the_other():
    with on_terminal("duel", "--seconds", "1", columns=50, NO_COLOR="1") as shown:
        assert shown.to_the_end() == 0
        assert "│" not in shown.said
        assert "\033[1m" not in shown.said
        assert shown.said.count("workers killed") % 2 == 0


def test_ctrl_c_leaves_nobody():
    with on_terminal("duel", "--seconds", "60") as shown:
        shown.until(lambda said: "kill -9 of" in said)
        assert len(processes_of(shown.child.pid)) == 2 + 2 * _duel.WORKERS
        shown.ctrl_c()
        assert shown.to_the_end() == 130
        assert "ended by Ctrl-C; nothing was left running" in shown.said
        assert "Traceback" not in shown.said
        assert processes_of(shown.child.pid) == []


def test_killed_it_leaves_nobody():
    with on_terminal("duel", "--seconds", "60") as shown:
        shown.until(lambda said: "kill -9 of" in said)
        shown.child.send_signal(signal.SIGKILL)
        shown.child.wait()
        while processes_of(shown.child.pid):  # the nursery is at it; the hang guard is the limit
            os.sched_yield()


@pytest.mark.parametrize("seconds", ["0", "nan", "1e9", "soon"])
def test_a_wrong_command_line(seconds, capsys):
    with pytest.raises(SystemExit) as left:
        _duel.main(["--seconds", seconds])
    assert left.value.code == 2
    assert "--seconds" in capsys.readouterr().err


def test_a_machine_without_shared_memory(monkeypatch, capsys):
    def refused(waits):
        raise ImportError("This platform lacks a functioning sem_open implementation")

    monkeypatch.setattr(_duel, "Multiprocessing", refused)
    assert _duel.main(["--seconds", "1"]) == 1
    assert "does not let it run: This platform lacks" in capsys.readouterr().err


# ---------------------------------------------------------------- the words for each outcome


@pytest.fixture
def ended():
    """A duel that has ended, to be told of: the columns without what they need to work."""
    made = _duel.Duel(3, _duel.Telling(None))
    for kind in (_duel.Multiprocessing, _duel.Ours):
        column = kind.__new__(kind)
        _duel.Column.__init__(column, memoryview(bytearray(24)).cast("d"))
        made.columns.append(column)
    return made


def test_what_is_said_when_nobody_held_a_lock(ended):
    ended.columns[0].open = {7: 0.0}
    assert _duel.explained(ended)[0].endswith("Tasks lost with their workers: 1.")


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        (_duel.Freeze(1, None), "could not be seen"),
        (_duel.Freeze(1, "tasks.get()", 3.0, True), "went on at once: that was it"),
        (_duel.Freeze(1, "results.put()", 3.0, False), "stood still all the same"),
    ],
)
def test_what_is_said_of_a_freeze(ended, freeze, words):
    ended.columns[0].freeze = freeze
    assert words in _duel.explained(ended)[0]


def test_an_answer_ends_a_freeze(ended):
    column = ended.columns[0]
    column.open, column.moved = {1: 0.0}, 1.0
    column.blamed = lambda: None
    assert not column.judge(1.5, giving=True)
    assert not column.judge(2.0, giving=False)  # lost, perhaps, but nobody waits for a lock
    assert column.judge(2.0, giving=True)
    assert not column.judge(3.0, giving=True)
    column.freeze, column.blamed = None, lambda: "tasks.get()"
    assert column.judge(3.0, giving=False)
    column.collect = lambda: [1]
    column.count(3.5)
    assert column.freeze is None
    assert (column.answered, column.doubled) == (1, 0)
    column.count(3.6)
    assert column.doubled == 1
