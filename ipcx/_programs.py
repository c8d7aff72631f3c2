# SPDX-License-Identifier: Apache-2.0
"""Programs that are to be started: their environment, and why one could not be."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

__all__ = ["environment", "searched", "why_not"]


def environment(given: Mapping[str, str] | None) -> dict[bytes, bytes]:
    """As the system wants it; None is ours. ValueError: a name that it would take for another."""
    if given is None:
        return os.environb.copy()
    made = {os.fsencode(name): os.fsencode(value) for name, value in given.items()}
    for name in made:
        if not name or b"=" in name:
            raise ValueError(f"{os.fsdecode(name)!r} is no name of an environment variable")
    return made


def searched(env: Mapping[bytes, bytes] | None) -> str:
    """The PATH in which a program is searched."""
    found = (os.environb if env is None else env).get(b"PATH")
    return os.defpath if found is None else os.fsdecode(found)


def why_not(program: str, number: int, path: str) -> str:
    """In words, what it was that did not start: the core's own text holds a part of a long PATH."""
    if "/" not in program:
        why = "not executable" if number == errno.EACCES else "not found"
        return f"{program or 'an empty word'}: {why}, PATH is {path}"
    if number == errno.EACCES:
        why = "a directory" if os.path.isdir(program) else "not executable"
    else:
        why = "its interpreter (#!) is not there" if os.path.exists(program) else "not found"
    return f"{program}: {why}"
