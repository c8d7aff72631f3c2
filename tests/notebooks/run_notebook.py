"""Runs one notebook in a kernel of its own and prints, as JSON, what came of it.

    python run_notebook.py NOTEBOOK FORM TIMES

in an empty folder, in which the kernel works, too. FORM is `solution` or `student`. TIMES is how
often the cells run, in the same kernel. A process of its own, because it adopts whatever the
notebook's processes leave behind: nothing escapes by daemonising.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

from ipcx.lab.student import instructor, student

CELL_SECONDS = 120
GRACE = 5.0  # seconds for what was told to end
# ipykernel gives each thread that prints a socket (an eventfd of ZeroMQ's), and looks every 10 s
# for those whose threads have ended (IOPubThread._event_pipe_gc).
KERNEL_GRACE = {"anon_inode:": 30.0}
PR_SET_CHILD_SUBREAPER = 36

# What the kernel itself holds, asked for by a cell that is not in the notebook. The interpreter's
# collector first: what only waits for it is nobody's leak.
PROBE = """
import gc as _gc, json as _json, os as _os
_gc.collect()
_found = []
for _fd in _os.listdir("/proc/self/fd"):
    try:
        _found.append(_os.readlink("/proc/self/fd/" + _fd))
    except OSError:
        pass
print(_json.dumps(sorted(name.split("[")[0] for name in _found)))
"""


def load(path: Path, form: str) -> Any:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    convert = {"solution": instructor, "student": student}[form]
    return nbformat.reads(json.dumps(convert(notebook)), as_version=4)


def words(cell: Any) -> str:
    """All that the cell shows as text."""
    found = []
    for output in cell.get("outputs", ()):
        found.append(output.get("text", "") or "\n".join(output.get("traceback", ())))
        found += [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(found)


class Run:
    """The cells, their outcomes and the kernel's descriptors after each time."""

    def __init__(self, notebook: Any) -> None:
        self.notebook = notebook
        self.error = ""
        self.descriptors: list[list[str]] = []
        self.first_picture: float | None = None
        self.seconds: dict[str, float] = {}
        # Sockets with names: no port that the notebook might want is taken by its kernel.
        config = Config(KernelManager={"transport": "ipc", "ip": os.environ["TMPDIR"] + "/k"})
        self.client = NotebookClient(notebook, config=config, timeout=CELL_SECONDS)

    def run(self, times: int) -> None:
        with self.client.setup_kernel():
            for _ in range(times):
                self.client.code_cells_executed = 0
                # What still runs of the first time updates outputs that are gone by now.
                self.client._display_id_map.clear()
                start = time.monotonic()
                self._cells(start)
                self.descriptors.append(self._settled())
                if self.error:
                    break

    def _cells(self, start: float) -> None:
        for index, cell in enumerate(self.notebook.cells):
            if cell.cell_type != "code":
                continue
            begun = time.monotonic()
            try:
                self.client.execute_cell(cell, index)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                self.error = f"cell {cell.id}: {error}"
                return
            self.seconds[cell.id] = round(time.monotonic() - begun, 2)
            if self.first_picture is None and pictures(cell):
                self.first_picture = round(time.monotonic() - start, 2)

    def _settled(self) -> list[str]:
        """What is open when those who are closing, in threads of lab and kernel, have closed."""
        begun, found = time.monotonic(), self._ask()
        while self.descriptors:
            more = grown(self.descriptors[-1], found)
            patience = max((KERNEL_GRACE.get(name, GRACE) for name in more), default=0.0)
            if time.monotonic() > begun + patience:
                break
            time.sleep(0.05)
            found = self._ask()
        return found

    def _ask(self) -> list[str]:
        self.notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
        try:
            cell = self.client.execute_cell(self.notebook.cells[-1], len(self.notebook.cells) - 1)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            self.error = self.error or f"the kernel afterwards: {error}"
            return []
        finally:
            self.notebook.cells.pop()
        found: list[str] = json.loads(words(cell))
        return found


def grown(once: list[str], twice: list[str]) -> list[str]:
    """The kinds of descriptors of which the second time added some."""
    return sorted({name for name in twice if twice.count(name) > once.count(name)})


def pictures(cell: Any) -> list[str]:
    return [o.data["image/svg+xml"] for o in cell.outputs if "image/svg+xml" in o.get("data", {})]


def children() -> list[str]:
    """Who still runs below this process, by command, and is killed now."""
    deadline = time.monotonic() + GRACE
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return []
        if time.monotonic() > deadline:
            tasks = Path("/proc/self/task").iterdir()
            pids = " ".join((task / "children").read_text() for task in tasks).split()
            found = [f"{pid} {_command(pid)}" for pid in pids]
            for pid in pids:  # so that nobody waits for the end of their output
                os.kill(int(pid), signal.SIGKILL)
            return found
        time.sleep(0.02)


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return "(gone by now)"


def files(*folders: Path) -> list[str]:
    return sorted(str(path) for folder in folders for path in folder.rglob("*"))


def main(path: str, form: str, times: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    places = [Path.cwd(), Path(os.environ["TMPDIR"]), Path(os.environ["XDG_RUNTIME_DIR"])]
    names = [Path("/dev/shm")] if os.environ.get("IPCX_OWN_DEV_SHM") else []
    before = files(*places, *names)
    run = Run(load(Path(path), form))
    run.run(int(times))
    result = {
        "error": run.error,
        "cells": [
            {"id": c.id, "source": c.source, "words": words(c), "pictures": len(pictures(c))}
            for c in run.notebook.cells
            if c.cell_type == "code"
        ],
        "largest_picture": max(
            (len(p) for c in run.notebook.cells if c.cell_type == "code" for p in pictures(c)),
            default=0,
        ),
        "more_descriptors": grown(run.descriptors[0], run.descriptors[-1]),
        "first_picture": run.first_picture,
        "seconds": run.seconds,
        "processes": children(),
        "files": sorted(set(files(*places, *names)) - set(before)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
