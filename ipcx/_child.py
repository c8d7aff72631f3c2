# SPDX-License-Identifier: Apache-2.0
"""The child's half of `ipcx.process`: what a Python function's process does, and who its parent is.

A function's child reads one order, which its parent has written into a memory file that is its
descriptor 3; there it leaves the answer. So neither waits for the other, and what a killed child
has half written is no JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from ipcx import _core, _parcel

__all__: list[str] = []

ORDER = 3  # the descriptor
URL = "IPCX_PARENT"
END = "IPCX_PARENT_END"
# What `python -P -c` runs: our own modules are found once the parent's sys.path is there. The order
# is a line, and the arguments, which may be large, are all that is behind it.
BOOT = f"""\
import json, sys
with open({ORDER}, "rb", closefd=False) as file:
    order, arguments = json.loads(file.readline()), file.read().decode()
sys.path[:] = order["path"]
from ipcx._child import live
live(order, arguments)
"""

_parent: _core.Channel | None = None
_lock = threading.Lock()


def live(order: dict[str, Any], packed: str) -> None:
    """A function's whole life in its process."""
    global _parent
    os.ftruncate(ORDER, 0)
    os.set_inheritable(ORDER, False)
    target = sys.argv[1]
    sys.argv = [target]
    if order["guard"] is not None:
        from ipcx._guardian import guard

        guard(order["guard"])
    ends: list[_core.Channel] = []
    try:
        ends += [
            _core._import_channel(tuple(fds), bytes.fromhex(note)) for fds, note in order["ends"]
        ]
        arguments = _parcel.unpack(packed, ends.__getitem__)
        function = find(target)
        if order["channel"]:
            _parent = ends[0]
            arguments = [_parent, *arguments]
        value = function(*arguments)
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        for end in ends:
            end.close()
    except Exception as error:
        for end in ends:
            with contextlib.suppress(_core.Error):
                end.close(1)
        _fail(order["name"], error)
    else:
        _answer(_result(value))


def find(target: str) -> Callable[..., Any]:
    """What ``module:qualname`` names. ImportError, in words, if it is not there."""
    module, _, qualname = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{target} cannot be imported: {error}; the child looks in the parent's sys.path, "
            "where the module must be a file of its own"
        ) from error
    for name in qualname.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ImportError(f"{target} cannot be imported: {module} has no {qualname}") from None
    if not callable(found):
        raise TypeError(f"{target} is no function: {found!r:.60}")
    return found  # type: ignore[no-any-return]


def _result(value: Any) -> dict[str, str]:
    try:
        return {"value": _parcel.pack(value, "the function's result")}
    except (TypeError, ValueError) as error:
        return {"unsendable": str(error)}


def _fail(name: str, error: Exception) -> None:
    at = error.__traceback__.tb_next if error.__traceback__ is not None else None  # without ours
    text = "".join(traceback.format_exception(type(error), error, at))
    last = "".join(traceback.format_exception_only(type(error), error)).strip()
    _answer({"error": last, "traceback": text})
    print(f"Process {name}:\n{text}", end="", file=sys.stderr, flush=True)
    sys.exit(1)


def _answer(answer: dict[str, str]) -> None:
    import json

    os.lseek(ORDER, 0, os.SEEK_SET)
    with open(ORDER, "w", encoding="ascii") as file:
        json.dump(answer, file)


# ---- any program's parent


def described(fds: tuple[int, ...], note: bytes) -> str:
    """An end of a channel, for the environment."""
    return f"{','.join(map(str, fds))}:{note.hex()}"


def parent() -> _core.Channel:
    """The channel to the process that has spawned this one; the same one each time."""
    global _parent
    with _lock:
        if _parent is not None:
            return _parent
        end = os.environ.pop(END, None)
        url = os.environ.pop(URL, None)  # not for our own children
        if end is not None:
            numbers, _, note = end.partition(":")
            fds = tuple(map(int, numbers.split(",")))
            for fd in fds:
                os.set_inheritable(fd, False)
            _parent = _core._import_channel(fds, bytes.fromhex(note))
        elif url is not None:
            from ipcx import connect

            _parent = connect(url)
        else:
            raise RuntimeError(
                "this process has no channel to its parent: it was not started by "
                f"ipcx.process.spawn, or without a channel ({URL} is not set)"
            )
        return _parent
