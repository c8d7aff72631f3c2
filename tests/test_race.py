"""`ipcx race`: who takes part, what is told, and that nobody is left."""

import json
import os
import signal
import subprocess
import sys

import pytest
from pty_help import on_terminal, processes_of

from ipcx import _race
from ipcx._terminal import shown

RACE = [sys.executable, "-m", "ipcx", "race"]
pytestmark = pytest.mark.hang_guard(60)


def race(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*RACE, *arguments], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def told():
    done = race("--json", "--seconds", "0.3")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_all_take_part_that_are_here(told):
    assert told.keys() == {
        *("message_bytes", "rounds", "seconds", "python", "system", "cpus", "load", "contestants")
    }
    assert told["message_bytes"] == 64
    assert told["rounds"] >= _race.LEAST
    names = [each["name"] for each in told["contestants"]]
    assert names == [each.name for each in _race.contestants()]
    assert {"tcp socket", "unix socket", "mp.Pipe", "mp.Queue", "ipcx shm://"} <= set(names)
    absent = {each["name"] for each in told["contestants"] if each["absent"]}
    assert absent <= {"pyzmq ipc"}


def test_each_has_medians_and_spread(told):
    for each in told["contestants"]:
        for what in ("messages_per_second", "there_and_back_us"):
            figures = each[what]
            if each["absent"]:
                assert figures is None
            else:
                assert figures["heats"] >= _race.LEAST
                assert 0 < figures["low"] <= figures["median"] <= figures["high"]


def test_some_may_be_chosen():
    done = race("--only", "ipcx s*", "mp.Pipe", "--seconds", "0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\033" not in done.stdout
    assert "\r" not in done.stdout
    assert done.stdout.count("ipcx shm://") == done.stdout.count("mp.Pipe ") == 2
    assert "tcp" not in done.stdout.partition("Measured:")[0]
    assert "the middle half" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--only", "nobody"], "there is no contestant 'nobody'; there are: tcp socket, "),
        (["--seconds", "0"], "--seconds takes a number above 0"),
        (["--seconds", "nan"], "--seconds takes a number above 0"),
        (["--seconds", "soon"], "invalid float value"),
    ],
)
def test_a_wrong_command_line(arguments, why, capsys):
    try:
        status = _race.main(arguments)
    except SystemExit as left:
        status = left.code
    assert status == 2
    assert why in capsys.readouterr().err


def test_on_a_terminal_there_are_live_bars():
    with on_terminal("race", "--seconds", "0.5", "--only", "mp.Pipe", "ipcx unix*") as shown_on:
        assert shown_on.to_the_end() == 0
        said = shown_on.said
    assert "\033[32m█" in said  # ours
    assert "\033[36m█" in said  # theirs
    assert "\033[J" in said  # painted over
    assert "of 0.5 s, rounds:" in said


def test_a_narrow_terminal_without_colour():
    narrow = {"columns": 60, "NO_COLOR": "1"}
    with on_terminal("race", "--seconds", "0.2", "--only", "mp.Pipe", **narrow) as shown_on:
        assert shown_on.to_the_end() == 0
        rows = shown_on.said.replace("\033[K", "").replace("\033[J", "").replace("\r", "")
        rows = rows.splitlines()
    assert not any("\033[3" in row for row in rows)
    assert max(shown(row) for row in rows if "mp.Pipe" in row) <= 60


def test_ctrl_c_leaves_nobody():
    with on_terminal("race", "--seconds", "60") as shown_on:
        shown_on.until(lambda said: "rounds: 1" in said)
        assert len(processes_of(shown_on.child.pid)) > 10
        shown_on.ctrl_c()
        assert shown_on.to_the_end() == 130
        assert "ended by Ctrl-C; nothing was left running" in shown_on.said
        assert "Traceback" not in shown_on.said
        assert processes_of(shown_on.child.pid) == []


def test_killed_it_leaves_nobody():
    with on_terminal("race", "--seconds", "60") as shown_on:
        shown_on.until(lambda said: "rounds: 1" in said)
        shown_on.child.send_signal(signal.SIGKILL)
        shown_on.child.wait()
        while processes_of(shown_on.child.pid):  # the nursery is at it; the hang guard is the limit
            os.sched_yield()


# ---------------------------------------------------------------- one that fails


def broken(ways) -> _race.Contestant:
    return _race.Contestant("broken", "fails", lambda: (None, None), ways)


def fails(end):
    raise OSError("this way is closed")


def lies(end):
    return (lambda message: None), (lambda: b"something else")


@pytest.mark.parametrize(
    ("ways", "why"), [(fails, "this way is closed"), (lies, "is not what was sent")]
)
def test_who_fails_is_out_and_the_others_go_on(ways, why, monkeypatch, capsys):
    pipe = next(each for each in _race.contestants() if each.name == "mp.Pipe")
    monkeypatch.setattr(_race, "contestants", lambda: [broken(ways), pipe])
    assert _race.main(["--seconds", "0.1"]) == 1
    said = capsys.readouterr().out
    assert "out: broken: " in said
    assert why in said
    assert said.count("mp.Pipe ") == 2


def test_who_cannot_begin_is_out():
    def ends():
        raise OSError("no room for it")

    absent = _race.Contestant("absent", "cannot begin", ends, fails)
    assert _race.run([absent], 0.1, lambda at, rounds: None)[0] < _race.LEAST
    assert absent.out == "no room for it"


def test_one_side_that_fails_is_heard_at_once():
    def half(end):
        if end:
            raise OSError("only this side fails")
        return (lambda message: None), signal.pause

    one = _race.Contestant("half", "half of it fails", lambda: (False, True), half)
    _race.run([one], 0.1, lambda at, rounds: None)
    assert one.out == "OSError: only this side fails"


def test_who_does_not_answer_is_out(monkeypatch):
    monkeypatch.setattr(_race, "PATIENCE", 0.1)
    silent = broken(lambda end: (lambda message: None, signal.pause))
    _race.run([silent], 0.1, lambda at, rounds: None)
    assert silent.out == "no answer within 0.1 s"


def test_the_middle_half():
    assert _race.middle([5]) == (5, 5, 5)
    assert _race.middle([3, 1, 2]) == (2, 1, 3)
    assert _race.middle(range(9)) == (4, 2, 6)


def test_figures_have_three_digits():
    assert [_race._rate(x) for x in (9_812_345, 999_600, 131_234, 4_600)] == [
        "9.81 M", "1.00 M", "131 k", "4.60 k",
    ]  # fmt: skip
    assert [_race._micro(x) for x in (3.654e-6, 36.04e-6, 120.4e-6)] == [
        "3.65 µs", "36.0 µs", "120 µs",
    ]  # fmt: skip
