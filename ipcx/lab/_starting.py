# SPDX-License-Identifier: Apache-2.0
"""The one way a process of the lab is started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ipcx import _core, process

if TYPE_CHECKING:
    from _typeshed import StrPath

__all__: list[str] = []


def child(
    words: Sequence[str],
    fds: Sequence[tuple[int, int]],
    *,
    reads: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: StrPath | None = None,
) -> tuple[_core.Child, list[int]]:
    """Starts a program in a session of its own, and comes back at once.

    It has the descriptors `fds`, each its number there and ours, and a pipe to us at each number of
    `reads`: the ends to read from are returned. All others are closed there.
    """
    with process._starting, contextlib.ExitStack() as passing, contextlib.ExitStack() as ours:
        given, mine = list(fds), []
        for number in reads:
            read, write = os.pipe()
            ours.callback(os.close, read)
            passing.callback(os.close, write)
            mine.append(read)
            given.append((number, write))
        made = _core.Child(
            [os.fsencode(word) for word in words],
            None if env is None else [os.fsencode(f"{k}={v}") for k, v in env.items()],
            None if cwd is None else os.fsencode(cwd),
            given,
            -1,
            True,
        )
        ours.pop_all()
    return made, mine
