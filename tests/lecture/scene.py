"""A folder of examples/ copied out, with free ports in its text, and its programs at work.

Invariant: `Scene.end` accepts only a program that ended well by itself, said nothing on stderr, and
left no process of its group behind.
"""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ipcx.tour import engine, ports
from meta.tree import ROOT

EXAMPLES = ROOT / "examples"
BOTH = ("stdlib", "ipcx")


class Scene:
    """One folder's programs, all run on the same sockets."""

    def __init__(
        self, spawn: Callable[..., subprocess.Popen], to: Path, folder: str, on: str, *old: int
    ) -> None:
        self.spawn = spawn
        self.on = on
        self.folder = to / folder
        self.folder.mkdir()
        self.ports: dict[int, int] = {}
        for port in old:
            self.ports[port] = ports.free_port(self.ports.values())
        for program in (EXAMPLES / folder).glob("*.py"):
            text = program.read_text()
            assert program.parent.name == folder
            (self.folder / program.name).write_text(ports.renumbered(text, self.ports))

    def edit(self, program: str, old: str, new: str) -> None:
        """Changes a constant of the copy."""
        path = self.folder / program
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))

    def start(self, program: str, *arguments: str) -> subprocess.Popen:
        """By hand, as a reader does it; in development mode what is not closed is complained of."""
        through = ["-m", "ipcx.run"] if self.on == "ipcx" else []
        return self.spawn(
            *("-u", "-X", "dev", *through, program, *arguments),
            cwd=self.folder,
            env=engine.environment(),
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def serve(self, program: str, port: int) -> subprocess.Popen:
        """Starts a TCP server and waits until it listens."""
        server = self.start(program)
        while not ports.listens(self.ports[port]):
            assert server.poll() is None, server.communicate()
            time.sleep(engine.LOOK_AGAIN)
        return server

    def end(self, process: subprocess.Popen, status: int = 0) -> list[str]:
        """What it has said, once it has ended."""
        # Not communicate(): it would miss what readline() has read ahead.
        said, complaints = process.stdout.read(), process.stderr.read()
        process.wait()
        assert (process.returncode, complaints) == (status, "")
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return said.splitlines()
        raise AssertionError("a process of its group is left behind")

    def play(self, program: str, *arguments: str) -> list[str]:
        """A program from its start to its end."""
        return self.end(self.start(program, *arguments))

    def is_left_clean(self) -> bool:
        """Nobody listens any more, and no file has come."""
        came = {p.name for p in self.folder.iterdir()} - {"__pycache__"}
        ours = {p.name for p in (EXAMPLES / self.folder.name).glob("*.py")}
        return came == ours and not any(map(ports.listens, self.ports.values()))
