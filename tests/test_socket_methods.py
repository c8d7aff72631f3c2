# SPDX-License-Identifier: Apache-2.0
"""The same suite where the base object's own prefix is not trusted: everything through methods."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__)
FILES = sorted(path for path in HERE.parent.glob("test_socket_*.py") if path != HERE)
CHECK = "from ipcx import _core; raise SystemExit(_core.socket_prefix_trusted())"


def without_prefix(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "IPCX_SOCKET_PREFIX": "0"},
        cwd=HERE.parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_variable_is_obeyed() -> None:
    assert without_prefix("-c", CHECK).returncode == 0
    from ipcx import _core

    assert _core.socket_prefix_trusted() is (os.environ.get("IPCX_SOCKET_PREFIX") != "0")


@pytest.mark.hang_guard(300)
def test_the_whole_suite_through_methods() -> None:
    if os.environ.get("IPCX_SOCKET_PREFIX") == "0":
        return  # this is that run
    run = without_prefix("-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, FILES))
    assert run.returncode == 0, run.stdout[-8000:]
