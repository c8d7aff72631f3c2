"""Exercises: whatever is handed in, the check ends, says what it saw, and leaves nothing."""

import json
import os
import time
from pathlib import Path

import pytest

from ipcx import lab
from ipcx.lab import _home, _stage
from ipcx.lab.check import Verdict
from ipcx.lab.exercises import Exercise, Finding, Problem, Sources, Wrong, bad, good
from socket_help import until


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "ipcx" / "lab-progress.json"


class Double(Problem):
    """A program and a function, as small as can be."""

    id = "double"
    title = "Twice as much"
    topic = "99"
    roles = ("double",)
    hints = ("add it to itself.", "n + n.")
    seconds = 25.0  # a slow machine takes a while until nothing moves any more

    def variants(self, draw):
        return {"n": draw.randrange(100)}

    def text(self):
        return f"""
            Print the double of {self.given["n"]}, which is the name `n`.
            """

    def check(self, stage):
        program = stage.start("double", n=self.given["n"])
        stage.finish(program)
        wanted = [str(2 * self.given["n"])]
        if program.lines != wanted:
            yield bad(f"it printed {program.lines}, not {wanted}")
        yield good("it printed the double")

    solution = Sources(double="print(2 * n)")
    broken = (Wrong("forgets", "it printed", double="print(n)"),)


class Impatient(Double):
    seconds = 3.0


class Twice(Double):
    """The same, of a function."""

    id = "twice"

    def check(self, stage):
        actor = stage.functions("tell(double(n))", n=self.given["n"])
        stage.finish(actor)
        yield Finding(actor.told == [2 * self.given["n"]], f"it says {actor.told}")


def against(source: str, kind: type[Problem] = Double) -> Verdict:
    """The verdict, which is not a good one."""
    verdict = Exercise(kind(1))._verdict(Exercise(kind(1))._roles((source + "\n",), {}))
    assert not verdict
    return verdict


def said(source: str, kind: type[Problem] = Double) -> str:
    """The last sentence against it."""
    return against(source, kind).findings[-1].text


SENTENCES = {
    "raises": (
        "x = 1\nprint(1 / 0)",
        "double raised ZeroDivisionError: division by zero, in line 2: print(1 / 0)",
    ),
    "no python": ("def f(:\n", "double raised SyntaxError: invalid syntax, in line 1: def f(:"),
    "nothing of the notebook": ("print(2 * m)\n", "NameError: name 'm' is not defined"),
    "exit status": ("import sys\nsys.exit(3)", "double called sys.exit(3)"),
    "ended hard": ("import os\nos._exit(4)", "double ended with exit status 4"),
    "signal": ("import os\nos.kill(os.getpid(), 11)", "double was ended by SIGSEGV"),
    "kills its group": ("import os\nos.killpg(0, 9)", "double was ended by SIGKILL"),
    "a lock": (
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        "double did not end: nothing moves any more; double is at line 4: lock.acquire()",
    ),
    "never returns": (
        "import time\nwhile True:\n    time.sleep(0.01)",
        "double did not end within 3 s: it was stopped; double is at line ",
    ),
    "floods": (
        "while True:\n    print('x' * 100_000)",
        "double has printed more than 1 MB, and was stopped",
    ),
    "floods its stderr": (
        "import os\nwhile True:\n    os.write(2, bytes(100_000))",
        "double has printed more than 1 MB, and was stopped",
    ),
    "sockets": (
        "import socket\nall = [socket.socket() for _ in range(1000)]",
        "double raised OSError: [Errno 24] Too many open files",
    ),
    "its input": ("print(input())", "double raised EOFError: EOF when reading a line"),
    "a daemon": (
        "import os, time\nif os.fork():\n    os._exit(0)\nos.setsid()\nprint(os.getpid())\n"
        "time.sleep(1000)",
        "it printed [",
    ),
    "a thread that waits": (
        "import threading\nthreading.Thread(target=threading.Event().wait).start()\nprint(1)",
        "double did not end: nothing moves any more",
    ),
}


@pytest.mark.hang_guard(30)
@pytest.mark.parametrize("what", SENTENCES)
def test_the_check_ends_and_says_what_it_saw(what):
    source, sentence = SENTENCES[what]
    _home.warden()  # it lives on
    mark = f"ex-{os.getpid()}-{time.monotonic_ns()}"
    os.environ["IPCX_TEST_MARK"] = mark
    try:
        assert sentence in said(source, Impatient if "within 3 s" in sentence else Double)
    finally:
        del os.environ["IPCX_TEST_MARK"]
    until(
        lambda: not [pid for pid in os.listdir("/proc") if pid.isdigit() and marked(pid, mark)],
        "the end of all that it started",
    )


def marked(pid: str, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def test_functions_that_do_not_come_back():
    assert "there is no function double()" in said("def twice(n): return n", Twice)
    assert said("import sys\ndef double(n): sys.exit()", Twice).startswith("double called sys.exit")
    assert "ended the process" in said("import os\ndef double(n): os._exit(0)", Twice)
    assert said("def double(n):\n    return x", Twice).endswith(", in line 2: return x")
    assert said("def double(n):\n    return n", Twice) == f"it says [{Twice(1).given['n']}]"


def test_the_picture_of_the_run_that_failed(capsys):
    p = lab.problem("udp-echo", seed=3)
    forgets = next(w for w in p._problem.broken if w.name == "forgets the suffix")
    verdict = p.check(forgets.roles["server"])
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"{verdict}\n"), "graders take stderr for failed"
    assert verdict.record is not None
    assert set(verdict.record.processes) == {"server", "clients"}
    assert verdict.record.messages[0].data == p.given["words"][0].encode()
    assert "<svg" in verdict._repr_mimebundle_()["image/svg+xml"]
    assert p.check(p.solution()).record is None


@pytest.mark.hang_guard(30)
def test_who_waits_for_whom_when_nothing_moves_any_more():
    source = """
import os, socket
ours, theirs = socket.socketpair()
if os.fork() == 0:
    ours.close()
    theirs.sendall(b"a question")
    theirs.recv(1)
theirs.close()
os.wait()
"""
    verdict = against(source)
    told, last = verdict.findings
    circle = "double waits for double's child 1, double's child 1 waits for double"
    assert told.text == f"Deadlock: {circle}. Neither of them can go on"
    assert last.text.startswith(
        "double did not end: nothing moves any more; double is at line 9: os.wait()"
    )
    assert {edge.waiter: edge.what for edge in verdict.waits.edges}["double"] == "wait"
    shown = verdict._repr_mimebundle_()
    assert shown["image/svg+xml"] == verdict.waits.svg()
    assert shown["text/plain"].startswith(verdict.waits.text())
    # What was sent is in a second picture.
    assert verdict.record.messages[0].data == b"a question"
    assert "a question" in shown["text/plain"]
    assert shown["text/html"].count("<svg") == 2


@pytest.mark.hang_guard(30)
def test_a_loop_that_never_ends_makes_a_small_record(monkeypatch):
    monkeypatch.setattr(_stage, "CALLS", 50)
    source = """
import socket
one, two = socket.socketpair()
for _ in range(100):
    one.send(b"x")
    two.recv(1)
raise SystemExit(1)
"""
    record = against(source).record
    assert 10 < len(record.events) <= 50
    (note,) = record.notes
    assert note.startswith("double did more than is kept: ")


def triple(n):
    return 3 * n


def same(n):
    print(2 * n)


def test_what_may_be_handed_in(tmp_path, capsys):
    p = Exercise(Double(2))
    path = tmp_path / "mine.py"
    path.write_text("print(n + n)\n")
    assert p.check("print(n * 2)\n")
    assert p.check(path)
    assert p.check(str(path))
    assert p.check(double=path)
    assert p.check(same)
    assert p.check(p.solution())
    assert capsys.readouterr().out == "✓ it printed the double\n" * 6
    verdict = Exercise(Twice(2)).check(triple)
    assert not verdict
    assert repr(verdict) == "<Verdict: not solved yet, 0 of 1 findings are good>"
    assert verdict._repr_mimebundle_() == {"text/plain": repr(verdict)}
    assert verdict.show() == str(verdict)
    for wrong, words in [
        (("nowhere",), "no cell 'nowhere'"),
        (("print(1)",), "a source ends with a newline"),
        ((lambda n: n,), "has none"),
        ((3,), "is a cell's name, a function, a path or a source, not 3"),
        (("a\n", "b\n"), "2 are too many"),
    ]:
        with pytest.raises((LookupError, TypeError), match=words):
            p.check(*wrong)
    with pytest.raises(TypeError, match="not 'triple'"):
        p.check(triple="x\n")
    with pytest.raises(TypeError, match="twice"):
        p.check("x\n", double="x\n")


def test_what_a_student_sees(capsys):
    p = Exercise(Double(2))
    n = p.given["n"]
    assert p.text == f"Print the double of {n}, which is the name `n`."
    assert p._repr_markdown_() == f"### Twice as much\n\n{p.text}"
    assert str(p).startswith("Twice as much\n\nPrint")
    assert repr(p) == "<problem double, seed 2>"
    for _ in range(3):
        p.hint()
    assert capsys.readouterr().out.splitlines() == [
        "Hint 1 of 2: add it to itself.",
        "Hint 2 of 2: n + n.",
        "That was the last one; solution() shows a way.",
        "Hint 2 of 2: n + n.",
        "That was the last one; solution() shows a way.",
    ]
    assert str(p.solution()) == "# ---- double\nprint(2 * n)\n"
    assert "```python\nprint(2 * n)\n```" in p.solution()._repr_markdown_()


def test_the_problems_there_are():
    assert "udp-echo" in lab.problems("08")
    assert "udp-echo" not in lab.problems(9)
    assert set(lab.problems(8)) <= set(lab.problems())
    assert "08  udp-echo" in repr(lab.problems())
    with pytest.raises(LookupError, match="did you mean 'udp-echo'"):
        lab.problem("upd-echo")
    assert lab.problem("udp-echo", seed=1).given["port"] > 1023


def test_progress_is_kept_in_a_small_file(state, capsys):
    assert lab.progress().solved == []
    p = lab.problem("udp-echo", seed=3)
    assert not p.check("x\n")
    assert lab.progress().solved == []
    assert p.check(p.solution())
    assert p.check(p.solution())
    assert lab.progress().solved == ["udp-echo"]
    kept = json.loads(state.read_text())["udp-echo"]
    assert (kept["checks"], kept["seeds"]) == (3, [3])
    assert "✓ 08  udp-echo" in str(lab.progress())
    assert "| ✓ | 08 | udp-echo | 3 |" in lab.progress()._repr_markdown_()
    state.write_text("[nonsense")
    assert lab.progress().solved == []


def test_where_nothing_can_be_written_nothing_is_noted(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert Exercise(Double(2)).check("print(n * 2)\n")
    assert lab.progress().solved == []
