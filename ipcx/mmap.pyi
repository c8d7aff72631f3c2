"""Types of `ipcx.mmap`: every name of the stdlib's `mmap`, but the class is ours.

Why a star between the same imports: see ipcx/socket.pyi.
"""

# isort: skip_file
# ruff: noqa: F403, F811
import os
from typing import Any

from ipcx import _core
from ipcx._core import mmap as mmap
from mmap import *  # type: ignore[assignment]
from ipcx._core import mmap as mmap

error = OSError

def map_file(
    path: str | bytes | os.PathLike[Any],
    size: int | None = None,
    *,
    mode: str = "r",
    offset: int = 0,
) -> _core.mmap: ...
def guard(on: bool) -> bool: ...
