# SPDX-License-Identifier: Apache-2.0
"""Notebook 06: anonymous pipes and pipelines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, bad, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["BrokenPipe", "EndOfFile", "WhoSort"]

USERS = ("ada", "alan", "barbara", "donald", "edsger", "grace", "john", "ken", "leslie", "niklaus")


class WhoSort(Problem):
    """``who | sort``, by hand."""

    id = "pipe-who-sort"
    title = "who | sort, with os.pipe, os.fork and os.exec"
    topic = "06"
    roles = ("pipeline",)
    hints = (
        "one os.pipe(), two os.fork(): in each child os.dup2() puts an end of the pipe where the "
        "program expects its input or output, then os.execvp(words[0], words).",
        "whoever does not use an end closes it: in both children and in the parent. `sort` waits "
        "for the end of its input, and that comes when *nobody* has the write end open.",
        "the parent waits for both children, and closes its two ends before.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        users = [f"{draw.choice(USERS)} tty{draw.randrange(9)}" for _ in range(12)]
        script = "printf '%s\\n' " + " ".join(f"'{user}'" for user in users)
        options = draw.choice((["-r"], ["-u"], ["-k", "2"], []))
        return {"left": ["sh", "-c", script], "right": ["sort", *options]}

    def text(self) -> str:
        shown = " ".join(self.given["right"])
        return f"""
            Write the program `pipeline`. It finds the names `left` and `right`, each a command as a
            list of words (`right` is `{shown}`), and does what a shell does for `left | right`: two
            processes, the output of the first one is the input of the second one, whose output is
            printed. It ends when both have ended. Make pipe and processes yourself, by `os.pipe`,
            `os.fork`, `os.dup2` and `os.execvp`.
            """

    SHELL = """
import subprocess
left = subprocess.run(left, stdout=subprocess.PIPE, check=True).stdout
print(subprocess.run(right, input=left, stdout=subprocess.PIPE, check=True).stdout.decode(), end="")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        source = stage.roles["pipeline"].source
        ready_made = re.search(r"\bsubprocess\b|os\.system\b|popen\b|\bpty\b|ipcx\.pipes", source)
        if ready_made:
            yield bad(f"{ready_made[0]} makes pipe and processes for you: make them yourself")
        shell = stage.play("shell", self.SHELL, **self.given)
        stage.finish(shell)
        pipeline = stage.start("pipeline", **self.given)
        stage.finish(pipeline)
        yield good("the pipeline has ended")
        if pipeline.output == shell.output:
            yield good(f"its {len(shell.lines)} lines are the shell's")
        elif not pipeline.output:
            yield bad(f"nothing was printed; the shell prints {len(shell.lines)} lines")
        elif sorted(pipeline.lines) == sorted(shell.lines):
            yield bad("the lines are there, but not in the shell's order")
        else:
            yield bad(f"it begins with {pipeline.lines[0]!r}, the shell's with {shell.lines[0]!r}")

    solution = Sources(
        pipeline="""
            import os

            read_end, write_end = os.pipe()
            if os.fork() == 0:
                os.dup2(write_end, 1)
                os.close(read_end)
                os.close(write_end)
                os.execvp(left[0], left)
            if os.fork() == 0:
                os.dup2(read_end, 0)
                os.close(read_end)
                os.close(write_end)
                os.execvp(right[0], right)
            os.close(read_end)
            os.close(write_end)
            os.wait()
            os.wait()
            """
    )
    broken = (
        Wrong(
            "the parent keeps the write end",
            "pipeline did not end: nothing moves any more; pipeline is at line 15: os.wait()",
            pipeline="""
                import os

                read_end, write_end = os.pipe()
                if os.fork() == 0:
                    os.dup2(write_end, 1)
                    os.close(read_end)
                    os.close(write_end)
                    os.execvp(left[0], left)
                if os.fork() == 0:
                    os.dup2(read_end, 0)
                    os.close(read_end)
                    os.close(write_end)
                    os.execvp(right[0], right)
                os.wait()
                os.wait()
                """,
        ),
        Wrong(
            "the left one writes to the screen",
            "the shell's",
            pipeline="""
                import os

                read_end, write_end = os.pipe()
                if os.fork() == 0:
                    os.execvp(left[0], left)
                os.wait()
                if os.fork() == 0:
                    os.dup2(read_end, 0)
                    os.close(write_end)
                    os.execvp(right[0], right)
                os.close(write_end)
                os.wait()
                """,
        ),
        Wrong(
            "lets somebody else do it",
            "makes pipe and processes for you",
            pipeline="""
                import subprocess

                first = subprocess.Popen(left, stdout=subprocess.PIPE)
                subprocess.run(right, stdin=first.stdout)
                first.wait()
                """,
        ),
    )


class EndOfFile(Problem):
    """When does a pipe end?"""

    id = "pipe-end"
    title = "The end of a pipe, and who holds it open"
    topic = "06"
    roles = ("parent",)
    hints = (
        "os.read() returns b'' when the pipe is empty and no process has its write end open: not "
        "the parent, and none of the other children.",
        "a child that is forked later has copies of all ends that are open in the parent then: "
        "close each write end in the parent right after the fork of its child.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        texts = [draw.randbytes(draw.randrange(1, 400) * 500).hex() for _ in range(4)]
        return {"texts": texts}

    def text(self) -> str:
        return """
            Write the program `parent`. It finds the name `texts`, a list of str. For each text it
            makes a pipe and a child process (`os.fork`) that writes the text into its pipe, closes
            it, and *lives on* until the parent closes a second pipe, from parent to child. The
            parent reads each pipe to its end and prints how many bytes came, a line for each text,
            in their order. Then it lets all children end, waits for them, and prints `done`.

            A text may be larger than what a pipe holds.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        texts = self.given["texts"]
        parent = stage.start("parent", texts=texts)
        stage.finish(parent)
        yield good("it has ended")
        wanted = [str(len(text)) for text in texts]
        for number, (size, got) in enumerate(zip(wanted, parent.lines, strict=False)):
            if size != got:
                yield bad(f"of text {number} it counted {got} of {size} bytes")
        if parent.lines != [*wanted, "done"]:
            yield bad(f"it printed {parent.lines}, not {[*wanted, 'done']}")
        yield good(f"{len(texts)} pipes were read to their end")

    solution = Sources(
        parent="""
            import os

            reads, ends = [], []
            for text in texts:
                read_end, write_end = os.pipe()
                end_read, end_write = os.pipe()
                if os.fork() == 0:
                    os.close(read_end)
                    for fd in (*reads, *ends, end_write):
                        os.close(fd)
                    with open(write_end, "wb") as pipe:
                        pipe.write(text.encode())
                    os.read(end_read, 1)  # lives on
                    os._exit(0)
                os.close(write_end)
                os.close(end_read)
                reads.append(read_end)
                ends.append(end_write)
            for read_end in reads:
                count = 0
                while data := os.read(read_end, 65536):
                    count += len(data)
                print(count)
            for end_write in ends:
                os.close(end_write)
            for _ in texts:
                os.wait()
            print("done")
            """
    )
    broken = (
        Wrong(
            "keeps its own write ends",
            "nothing moves any more; parent is at line 17: while data := os.read(read_end, 65536):",
            parent="""
                import os

                reads, ends = [], []
                for text in texts:
                    read_end, write_end = os.pipe()
                    end_read, end_write = os.pipe()
                    if os.fork() == 0:
                        with open(write_end, "wb") as pipe:
                            pipe.write(text.encode())
                        os.close(end_write)
                        os.read(end_read, 1)
                        os._exit(0)
                    reads.append(read_end)
                    ends.append(end_write)
                for read_end in reads:
                    count = 0
                    while data := os.read(read_end, 65536):
                        count += len(data)
                    print(count)
                """,
        ),
        Wrong(
            "one read for all of it",
            "of text 0 it counted",
            parent="""
                import os

                for text in texts:
                    read_end, write_end = os.pipe()
                    end_read, end_write = os.pipe()
                    if os.fork() == 0:
                        os.close(end_write)
                        os.close(read_end)
                        try:
                            with open(write_end, "wb") as pipe:
                                pipe.write(text.encode())
                        except BrokenPipeError:
                            pass
                        os.read(end_read, 1)
                        os._exit(0)
                    os.close(write_end)
                    os.close(end_read)
                    print(len(os.read(read_end, 1000)))
                    os.close(read_end)
                    os.close(end_write)
                    os.wait()
                print("done")
                """,
        ),
        Wrong(
            "children hold the ends of those before them",
            "nothing moves any more; parent is at line 25: os.wait()",
            parent="""
                import os

                reads, ends = [], []
                for text in texts:
                    read_end, write_end = os.pipe()
                    end_read, end_write = os.pipe()
                    if os.fork() == 0:
                        os.close(end_write)
                        with open(write_end, "wb") as pipe:
                            pipe.write(text.encode())
                        os.read(end_read, 1)
                        os._exit(0)
                    os.close(write_end)
                    os.close(end_read)
                    reads.append(read_end)
                    ends.append(end_write)
                for read_end in reads:
                    count = 0
                    while data := os.read(read_end, 65536):
                        count += len(data)
                    print(count)
                ends.reverse()
                while ends:
                    os.close(ends.pop())
                    os.wait()
                print("done")
                """,
        ),
    )


class BrokenPipe(Problem):
    """``yes | head``: what becomes of the one who writes."""

    id = "pipe-reader-gone"
    title = "When nobody reads any more"
    topic = "06"
    roles = ("produce",)
    hints = (
        "Python ignores SIGPIPE, so that write() raises BrokenPipeError: catch it.",
        "what print() still has in its buffer is written at the end of the program, and fails once "
        "more: os.write(1, …), or sys.stdout closed inside of the try, or the signal's default "
        "action: signal.signal(signal.SIGPIPE, signal.SIG_DFL).",
    )
    seconds = 10.0

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"count": draw.randrange(5, 2000), "word": draw.choice(USERS)}

    def text(self) -> str:
        return """
            `yes | head -n 3` ends, although `yes` alone never would. Write the function
            `produce(word)`: it prints lines to the standard output for ever, `word` and a number
            that counts from 1: `ada 1`, `ada 2` … When nobody reads them any more, the process ends
            quietly: nothing on its standard error, and exit status 0, or ended by SIGPIPE as `yes`
            is.
            """

    DRIVER = """
import os, sys
out, out_write = os.pipe()
err, err_write = os.pipe()
pid = os.fork()
if pid == 0:
    os.dup2(out_write, 1)
    os.dup2(err_write, 2)
    for fd in (out, out_write, err, err_write):
        os.close(fd)
    sys.stdout = open(1, "w", closefd=False)
    try:
        produce(word)
    except SystemExit as end:
        os._exit(end.code or 0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        os.write(2, b"Exception ignored in sys.stdout: BrokenPipeError\\n")
        os._exit(120)
    os._exit(0)
os.close(out_write)
os.close(err_write)
with open(out) as file:
    for number in range(1, count + 1):
        line = file.readline()
        if line != f"{word} {number}\\n":
            fail(f"line {number} is {line!r}, not {word} {number}")
tell("lines")
with open(err) as file:
    said = file.read()
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if said:
    fail(f"it wrote to its standard error: {said.splitlines()[-1]}")
if status not in (0, -13):
    fail(f"it ended with exit status {status}, not with 0 or by SIGPIPE")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        actor = stage.functions(self.DRIVER, **self.given)
        stage.finish(actor)
        yield good(f"{self.given['count']} lines were read")
        yield good("when the reader had gone, the process ended without a word")

    solution = Sources(
        produce="""
            import signal

            def produce(word):
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                number = 0
                while True:
                    number += 1
                    print(word, number)
            """
    )
    broken = (
        Wrong(
            "does not care",
            "it wrote to its standard error: BrokenPipeError: [Errno 32] Broken pipe",
            produce="""
                def produce(word):
                    number = 0
                    while True:
                        number += 1
                        print(word, number)
                """,
        ),
        Wrong(
            "gives up",
            "it ended with exit status 1, not with 0 or by SIGPIPE",
            produce="""
                import sys

                def produce(word):
                    number = 0
                    try:
                        while True:
                            number += 1
                            print(word, number)
                    except BrokenPipeError:
                        sys.exit(1)
                """,
        ),
        Wrong(
            "counts from 0",
            "line 1 is",
            produce="""
                import itertools
                import signal

                def produce(word):
                    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                    for number in itertools.count():
                        print(word, number)
                """,
        ),
        Wrong(
            "never learns it",
            "did not end within 10 s",
            night=True,
            produce="""
                def produce(word):
                    number = 0
                    while True:
                        number += 1
                        try:
                            print(word, number, flush=True)
                        except BrokenPipeError:
                            pass
                """,
        ),
    )
