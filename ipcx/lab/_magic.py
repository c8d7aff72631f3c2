# SPDX-License-Identifier: Apache-2.0
"""``%%process NAME``: the cell runs in a process of its own."""

from __future__ import annotations

import asyncio
import shlex
import signal
import threading
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NoReturn

from ipcx._install import install_hint
from ipcx.lab import _processes, _show
from ipcx.lab._processes import LabProcess
from ipcx.lab._sending import CannotSend, Parcel

__all__: list[str] = []

USAGE = (
    "%%process NAME [--background] [--until TEXT] [--socket ipcx|stdlib] [--send x,y] "
    "[--timeout SECONDS]"
)


@dataclass
class Options:
    """The magic's line."""

    name: str = ""
    background: bool = False
    until: str | None = None
    socket: str = "ipcx"
    send: list[str] = field(default_factory=list)
    timeout: float | None = None


def parse(line: str) -> Options:
    """ValueError, in a sentence, unless the line is as in USAGE."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"%%process {line}: {error}. Usage: {USAGE}") from None
    options = Options()
    while words:
        word, equals, given = words.pop(0).partition("=")
        if not word.startswith("-"):
            if options.name:
                raise ValueError(
                    f"a process has one name; this line has {options.name} and {word}. "
                    f"Usage: {USAGE}"
                )
            options.name = word + equals + given
            continue
        if word == "--background" and not equals:
            options.background = True
            continue
        if word not in ("--until", "--socket", "--send", "--timeout"):
            raise ValueError(f"%%process has no option {word}. Usage: {USAGE}")
        if not equals:
            if not words:
                raise ValueError(f"{word} needs a value. Usage: {USAGE}")
            given = words.pop(0)
        _set(options, word, given)
    if not options.name:
        raise ValueError(f"the process needs a name. Usage: {USAGE}")
    return options


def _set(options: Options, word: str, given: str) -> None:
    if word == "--until":
        options.until, options.background = given, True
    elif word == "--send":
        options.send += [name for name in given.replace(",", " ").split() if name]
    elif word == "--socket":
        if given not in _processes.STREAMS:
            raise ValueError(f"--socket is ipcx or stdlib, not {given}")
        options.socket = given
    else:
        try:
            options.timeout = float(given)
        except ValueError:
            options.timeout = 0.0
        if not options.timeout > 0:
            raise ValueError(f"--timeout is a number of seconds above 0, not {given}")


class Interrupted(KeyboardInterrupt):
    """The cell was interrupted; "run all" stops here, as it does for any other cell."""

    def _render_traceback_(self) -> list[str]:
        return ["KeyboardInterrupt: all processes of the lab were ended"]


def load(shell: Any) -> None:
    """What ``%load_ext ipcx.lab`` does. ImportError: there is no IPython, and what to do."""
    try:
        import_module("IPython")
    except ImportError:
        raise ImportError(f"%%process needs IPython: {install_hint('lab')}") from None
    shell.register_magic_function(process, "cell", "process")
    shell.events.register("pre_run_cell", _before_cell)
    shell.events.register("post_run_cell", _after_cell)
    kernel: Any = getattr(shell, "kernel", None)
    # Between two cells the kernel ignores an interrupt; its handler of then, while a cell runs:
    if getattr(kernel, "saved_sigint_handler", None) is signal.SIG_IGN:
        kernel.saved_sigint_handler = _between_cells


_told: list[str] = []  # processes that an interrupt of this cell has told to end already


def _before_cell(info: Any) -> None:
    """A cell with an `await` of its own is a task, which an interrupt has to cancel.

    ipykernel's handler of such a cell has another thread do that, by a loop that is not the task's:
    one that sleeps hears of it when something else wakes it, after an hour perhaps. Ours does the
    same at once; ipykernel puts its own of the time before in its place when the cell has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler or not callable(before):
        return
    try:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
    except RuntimeError:
        return
    if task is None or "_cancel_on_sigint" not in getattr(before, "__qualname__", ""):
        return

    def interrupted(number: int, frame: Any) -> None:
        _told.extend(_processes.end())
        loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, interrupted)


def _after_cell(result: Any) -> None:
    """A cell that was interrupted: whatever it was, the processes of the lab end with it."""
    if _told or isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt):
        ended = dict.fromkeys([*_told, *(done.name for done in _processes.stop())])
        _told.clear()
        if ended:
            print(f"interrupted: all processes of the lab were ended ({', '.join(ended)})")


def _between_cells(number: int, frame: Any) -> None:
    _processes.end()


def process(line: str, cell: str) -> None:
    """Run the cell in a process of its own.

    %%process NAME [--background] [--until TEXT] [--socket ipcx|stdlib] [--send x,y]
    [--timeout SECONDS]

    It is a new Python interpreter, which has nothing of the notebook but copies of what --send
    names. --background comes back when the process listens, or has printed TEXT, or after 5 s.
    An interrupt of this or any other cell, or between two of them, ends all processes.
    """
    shell = _show.shell()
    try:
        options = parse(line)
        parcel = Parcel(shell.user_ns)
        for name in options.send:
            if name not in shell.user_ns:
                raise CannotSend(f"--send {name}: the notebook has no {name}")
            parcel.add(name, shell.user_ns[name])
    except ValueError as error:
        _refuse(str(error))
    _processes.cells[options.name] = cell
    hidden = getattr(shell, "user_ns_hidden", {})
    names = [n for n in shell.user_ns if n not in hidden and not n.startswith("_")]
    one = _processes.launch(
        cell,
        name=options.name,
        timeout=options.timeout,
        socket=options.socket,
        names=names,
        shown=True,
        parcel=parcel,
    )
    try:
        if options.background:
            _in_background(one, options.until)
        else:
            _in_foreground(one)
    except KeyboardInterrupt:
        raise Interrupted from None


def _in_foreground(one: LabProcess) -> None:
    shown = _show.Printed(one.name)
    try:
        done = _processes.follow(one, shown.show)
    except KeyboardInterrupt:
        shown.note(str(one._finished()).removeprefix(f"{one.name}: "))
        raise
    shown.note(str(done).removeprefix(f"{one.name}: "))


def _in_background(one: LabProcess, until: str | None) -> None:
    shown = _show.attach(one)
    _processes.await_ready(one, until, _processes.SOON)
    if one.running:
        shown.note(f"{one.ready} (pid {one.pid})")


def _refuse(why: str) -> NoReturn:
    raise import_module("IPython.core.error").UsageError(why) from None
