# SPDX-License-Identifier: Apache-2.0
"""``ipcx examples DIR``: the example programs, copied to where they can be read and changed."""

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import ipcx


def folder() -> Path:
    """Where the examples lie: in the installed package, else beside it in the source tree."""
    package = Path(ipcx.__file__).resolve().parent
    installed = package / "examples"
    return installed if installed.is_dir() else package.parent / "examples"


def copy_out(target: str | Path) -> Path:
    """Copies the examples to the new folder *target* and returns it.

    FileExistsError when there is something at *target* already: nothing is ever overwritten. An
    empty folder will do.
    """
    target = Path(target)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{target} exists already; name a new folder")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(folder(), target, ignore=ignore, dirs_exist_ok=True)
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """The command: returns 0, or 1 when the folder could not be written."""
    parser = argparse.ArgumentParser(prog="ipcx examples", description=__doc__)
    parser.add_argument("folder", metavar="DIR", help="a folder that does not exist yet")
    target = parser.parse_args(argv).folder
    try:
        made = copy_out(target)
    except OSError as error:
        print(f"ipcx examples: {error}", file=sys.stderr)
        return 1
    print(f"Copied to {made}. Read {made / 'README.md'}, or begin with these, in two terminals:")
    for program in ("server.py", "client.py"):
        print(f"  python {shlex.quote(str(made / 'hello_8080' / program))}")
    return 0
