"""`ipcx tour --step`: the reader's Enter lets each socket call be followed by the next."""

import os
import pty
import re
import select
import subprocess
import sys

import pytest

STEP = [sys.executable, "-m", "ipcx", "tour", "--step", "--only"]
TOUR = [*STEP, "hello_8080"]
pytestmark = pytest.mark.hang_guard(60)


def step(typed: str) -> str:
    """What the command says when that is typed, and no more."""
    done = subprocess.run(TOUR, input=typed, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    return done.stdout


CALLS = ("socket", "connect", "bind", "listen", "accept", "recv", "send", "close")


def test_step_waits_for_enter_after_each_call():
    said = step("\n" * 100)
    steps = re.findall(r"(server|client) ▸ (\w+)", said)
    assert [call for who, call in steps if who == "client"][:4] == [*CALLS[:2], "send", "recv"]
    server = [call for who, call in steps if who == "server"]
    assert server[:4] == ["socket", "bind", "listen", "accept"]
    assert {call for _, call in steps} <= set(CALLS)
    assert "server on ipcx     client on ipcx" in said


@pytest.mark.parametrize("typed", ["", "\nq\n"])
def test_step_goes_on_alone_when_nobody_answers(typed):
    assert "client ▸ connect" in step(typed)


@pytest.mark.parametrize("station", ["many_threaded", "many_forking", "full_duplex", "flags"])
def test_step_goes_through_calls_of_several_threads_and_children(station):
    done = subprocess.run(
        [*STEP, station], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    if station.startswith("many"):
        assert len(re.findall("server ▸ sendall", done.stdout)) == 50


def test_step_in_a_terminal_waits_for_the_reader():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, TOUR)
    said = ""
    try:
        while True:
            ready, _, _ = select.select([terminal], [], [], 0.3)
            if not ready:
                os.write(terminal, b"\n")  # it stands still: Enter
                continue
            try:
                said += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # EIO: the other side has ended
                break
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)
    assert status == 0, said
    plain = re.sub(r"\033\[[0-9;]*[mK]", "", said)
    assert re.search(r"client ▸ connect[^\r\n]*\r\n", plain)
    assert "✓ 1 of 1 station holds" in plain
