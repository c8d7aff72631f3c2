"""Pipes: the lecture's `who | sort` in C, its two classic bugs, and the programs with ipcx."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from lecture.scene import EXAMPLES

PIPES = EXAMPLES / "pipes"
GUARD = 20  # seconds: two of these programs show what hangs
USERS = "zoe\nada\nbob\n"
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]


@pytest.fixture
def users(tmp_path, monkeypatch):
    """A `who` that knows three users, and none in the file it is given."""
    who = tmp_path / "bin" / "who"
    who.parent.mkdir()
    who.write_text(f"#!/bin/sh\n[ $# = 0 ] && printf '{USERS}' || true\n")
    who.chmod(0o700)
    monkeypatch.setenv("PATH", f"{who.parent}{os.pathsep}{os.environ['PATH']}")


def compiled(text, folder):
    """That program in C, without a warning."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (Debian: apt-get install gcc libc6-dev)")
    (folder / "program.c").write_text(text)
    command = ["cc", *WARNINGS, folder / "program.c", "-o", folder / "program"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [folder / "program"]


def play(command, **how):
    """What a program says in its lines; it ends well, and in time."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD, **how)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def source(name):
    return (PIPES / name).read_text()


@pytest.mark.usefixtures("users")
def test_who_sort_in_c(tmp_path):
    text = source("who_sort.c")
    main = text[text.index("int main") :]
    child = ["fork", "dup2", "execlp"]
    calls = re.findall(r"\b(pipe|fork|dup2|execlp)\(", main.replace("execlp()", ""))
    assert calls == ["pipe", *child, *child]  # the lecture's, in its order
    said = play(compiled(text, tmp_path))
    assert said == ["ada", "bob", "zoe", "who: exit status 0", "sort: exit status 0"]


def test_a_program_that_is_not_there(tmp_path):
    command = compiled(source("who_sort.c"), tmp_path)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=GUARD, env={"PATH": str(tmp_path)}
    )
    assert done.stdout.splitlines() == ["who: exit status 1", "sort: exit status 1"]
    assert "who: No such file or directory\n" in done.stderr


@pytest.mark.usefixtures("users")
def test_ends_that_are_not_closed(tmp_path):
    text = source("unclosed_ends.c")
    waits = "sort waits for more: I have a writing end open"
    first, last = "who has ended, so all is written", "closed it: sort has ended"
    assert play(compiled(text, tmp_path)) == [first, waits, "ada", "bob", "zoe", last]
    bug = re.search(r"/\* BUG: .*? \*/", text)[0]
    cured = text.replace(bug, "close(fd[0]); close(fd[1]);").replace(
        "close(fd[1]); /* the cure */", ""
    )
    said = play(compiled(cured, tmp_path))
    assert waits not in said
    assert said[-1] == last


@pytest.mark.usefixtures("users")
def test_nobody_waits(tmp_path):
    text = source("zombie.c")
    assert play(compiled(text, tmp_path)) == [
        "who has ended, its state is Z: a zombie",
        "its number is taken: yes",
        "waited for it: exit status 0",
        "its number is taken: no",
    ]


def python(name, *arguments):
    return [sys.executable, "-X", "dev", PIPES / name, *arguments]


@pytest.mark.usefixtures("users")
def test_who_sort_with_ipcx():
    assert play(python("who_sort.py")) == [
        "ada",
        "bob",
        "zoe",
        "who: exit status 0",
        "sort: exit status 0",
    ]


@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps (Debian: apt-get install procps)")
def test_lines_of_one_program_filtered_by_another():
    *lines, last = play(python("ps_grep.py", "python"))
    assert last == "ps -e | grep python: found"
    assert lines
    assert all("python" in line for line in lines)
    assert play(python("ps_grep.py", "no such program")) == [
        "ps -e | grep 'no such program': nothing"
    ]


def test_two_ends():
    said = play(python("ends.py"))
    full = re.fullmatch(r"full after (\d+) bytes: a writer would wait until .*", said.pop(3))
    assert int(full[1]) >= 4096
    assert said == [
        "two descriptors, like those of files: True",
        "a stream, first in, first out: b'first second'",
        "nothing there: a reader would wait, since somebody may still write",
        "closed, so what is there is all: True",
        "and then comes the end: b''",
    ]


def test_a_named_pipe_is_found_by_its_path(tmp_path, spawn):
    assert play(python("named_writer.py"), cwd=tmp_path) == [
        "there is no pipe: start named_reader.py first"
    ]
    reader = spawn(PIPES / "named_reader.py", cwd=tmp_path)
    assert reader.stdout.readline() == "waiting for orders\n"
    assert (tmp_path / "orders").is_fifo()
    assert play(python("named_writer.py"), cwd=tmp_path) == [
        f"sent; up to {os.pathconf(tmp_path, 'PC_PIPE_BUF')} bytes go in whole"
    ]
    assert reader.stdout.read() == "two teas\none coffee\nall who wrote have closed it\n"
    assert reader.wait() == 0
    assert not (tmp_path / "orders").exists()
