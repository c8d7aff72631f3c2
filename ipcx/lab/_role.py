# SPDX-License-Identifier: Apache-2.0
"""The child's half of a check: runs sources as a program of their own, and tells what came of it.

The order comes in a file that our parent has written; what is told goes into another one, record by
record, so that what a killed program has told is there up to its end.
"""

from __future__ import annotations

import faulthandler
import linecache
import marshal
import os
import resource
import signal
import sys
import traceback
import types
from typing import Any, NoReturn

__all__: list[str] = []

# What `python -P -c` runs: ipcx is found once the parent's sys.path is there.
BOOT = """\
import marshal, sys
with open(sys.argv[1], "rb") as file: order = marshal.load(file)
sys.path[:] = order["path"]
from ipcx.lab._role import live
live(order)
"""
ASK = signal.SIGXCPU  # "where are you?": a signal that no exercise is about
DESCRIPTORS = 512  # that a program may have open: who opens sockets for ever learns it soon


def live(order: dict[str, Any]) -> None:
    """A role's whole life."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    where = open(order["where"], "a")  # open as long as we live
    faulthandler.register(ASK, file=where, all_threads=False)
    _record(order)
    if order["socket"] == "ipcx":
        from ipcx.run import install

        install()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    sys.argv = [order["name"], *order["args"]]
    tell = Tell(order["told"])
    main = types.ModuleType("__main__")
    main.__dict__.update(order["given"])
    sys.modules["__main__"] = main
    for file, source, judges in order["sources"]:
        if judges:
            main.__dict__.update(tell=tell.value, fail=tell.fail)
        _run(file, source, main, tell, judges)
    tell.write("end", None)


def _run(file: str, source: str, main: types.ModuleType, tell: Tell, judges: bool) -> None:
    """A source, as a module's code, with its own lines in tracebacks."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    try:
        exec(compile(source, file, "exec", dont_inherit=True), main.__dict__)
    except Exception as error:
        at = error.__traceback__
        at = at.tb_next if at is not None else None  # without ours
        shown = traceback.TracebackException(type(error), error, at)
        print("".join(shown.format()), end="", file=sys.stderr)
        frames = [frame for frame in shown.stack if frame.filename.startswith("<")]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        own = frames[-1].filename if frames else file
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        what = ": ".join(filter(None, (type(error).__name__, said.partition("\n")[0])))
        tell.write("raised", (own, line, what[:300]))
        sys.stderr.flush()
        sys.exit(1)
    except SystemExit as asked:
        tell.write("exit", None if asked.code is None else str(asked.code)[:300])
        raise


class Tell:
    """What a program of the check says to it: values, or that something is wrong."""

    def __init__(self, path: str) -> None:
        self.path = path

    def write(self, kind: str, value: Any) -> None:
        with open(self.path, "ab") as file:
            file.write(marshal.dumps((kind, value)))

    def value(self, value: Any) -> None:
        self.write("value", value)

    def fail(self, sentence: str) -> NoReturn:
        """The check fails with this sentence; nothing more is run."""
        self.write("fail", sentence)
        sys.stdout.flush()
        os._exit(1)


def _record(order: dict[str, Any]) -> None:
    if order["record"]:
        from ipcx.lab import recorder

        recorder.begin(order["record"], order["name"])
