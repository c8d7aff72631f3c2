"""A command on a terminal: what it writes to one, and the keys that are typed there."""

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from meta.tree import ROOT


class OnTerminal:
    """`python -m ipcx …` with a terminal of its own, of 100 columns unless told otherwise."""

    def __init__(self, *arguments: str, columns: int = 100, rows: int = 40, **env: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "ipcx", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env={**kept, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **env},
            preexec_fn=lambda: (os.setsid(), os.close(os.open(os.ttyname(1), os.O_RDWR)))[0],
        )
        os.close(slave)
        self.said = ""

    def read(self) -> bool:
        try:
            self.said += os.read(self.master, 65536).decode(errors="replace")
        except OSError:  # nobody has the terminal open any more
            return False
        return True

    def until(self, seen: Callable[[str], bool]) -> str:
        while not seen(self.said) and self.read():
            pass
        return self.said

    def to_the_end(self) -> int:
        self.until(lambda said: False)
        return self.child.wait()

    def ctrl_c(self) -> None:
        os.write(self.master, b"\x03")

    def close(self) -> None:
        os.close(self.master)
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()


@contextmanager
def on_terminal(*arguments: str, **how) -> Iterator[OnTerminal]:
    shown = OnTerminal(*arguments, **how)
    try:
        yield shown
    finally:
        shown.close()


def processes_of(session: int) -> list[int]:
    """The processes of a session that live: what a command on a terminal has started."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    rest = file.read().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if int(rest[3]) == session and rest[0] != "Z":
                found.append(int(entry))
    return found
