"""Named pipes: the puzzle of open(), a chat over two of them, many guests and one kitchen."""

import subprocess
import sys

from lecture.scene import EXAMPLES

NAMED = EXAMPLES / "named_pipes"
GUARD = 20  # seconds: these are programs that can hang


def play(name, *arguments, **how):
    """What a program says in its lines; it ends well, and in time."""
    command = [sys.executable, "-X", "dev", NAMED / name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD, **how)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_open_waits_and_two_wait_for_ever(tmp_path):
    assert play("open_blocks.py", cwd=tmp_path) == [
        "open to write, nobody reads: it waits",
        "somebody opens it to read:   it is through",
        "ada waits and bob waits for ever: a deadlock",
        "both take the pipes in the same order: ada is through and bob is through",
        "with a deadline: Timeout",
        "a reader that is there: b'hello'",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_chat_over_two_pipes(tmp_path, spawn):
    ada = spawn(NAMED / "chat.py", "ada", "bob", "hello", "how are you?", cwd=tmp_path)
    assert ada.stdout.readline() == "bob is not there yet\n"
    said = play("chat.py", "bob", "ada", input="fine\n", cwd=tmp_path)
    assert said == ["ada: hello", "ada: how are you?", "ada has gone"]
    assert ada.communicate(timeout=GUARD)[0] == "bob: fine\nbob has gone\n"
    assert list(tmp_path.iterdir()) == []


def test_many_guests_and_one_kitchen(tmp_path, spawn):
    assert play("guest.py", cwd=tmp_path) == ["nobody is in the kitchen: ConnectRefused"]
    kitchen = spawn(NAMED / "kitchen.py", cwd=tmp_path)
    assert kitchen.stdout.readline() == "the kitchen is open\n"
    assert (tmp_path / "kitchen").is_fifo()
    assert play("guest.py", "ada", cwd=tmp_path)[1:] == ["ordered"]
    assert kitchen.communicate(timeout=GUARD)[0].splitlines() == [
        "ada: two teas",
        "ada: a coffee",
        "the last guest has gone",
    ]
    assert not (tmp_path / "kitchen").exists()
