# SPDX-License-Identifier: Apache-2.0
"""``ipcx notebooks DIR``: the exercises as notebooks, copied to where they can be worked on.

A notebook that is there already and differs is somebody's work: it is kept, and said so.
"""

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import ipcx
from ipcx.lab.student import Notebook, instructor, otter, student


class Copied(NamedTuple):
    """What became of each notebook: the paths in the target folder."""

    written: list[Path]
    kept: list[Path]  # there already, and not as we would write it
    moved: list[tuple[Path, Path]]  # there already, renamed to make room


def folder() -> Path:
    """Where the notebooks lie: in the installed package, else beside it in the source tree."""
    package = Path(ipcx.__file__).resolve().parent
    installed = package / "notebooks"
    return installed if installed.is_dir() else package.parent / "notebooks"


# A student's, a teacher's with nbgrader's metadata, otter-grader's master.
FORMS: dict[str, Callable[[Notebook], Notebook]] = {
    "student": student,
    "solutions": instructor,
    "otter": otter,
}


def copy_out(target: str | Path, *, form: str = "student", replace: bool = False) -> Copied:
    """Writes each notebook into the folder *target*, which is made where needed.

    In the student's *form* each solution gives way to ``raise NotImplementedError``. What is there
    already and differs is kept; with *replace* it is renamed first. Nothing is ever overwritten.
    """
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    convert = FORMS[form]
    copied = Copied([], [], [])
    for original in sorted(folder().glob("*.ipynb")):
        path = target / original.name
        notebook = convert(json.loads(original.read_text(encoding="utf-8")))
        text = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            if not replace:
                copied.kept.append(path)
                continue
            aside = _free_name(path)
            path.rename(aside)
            copied.moved.append((path, aside))
        path.write_text(text, encoding="utf-8")
        copied.written.append(path)
    return copied


def _free_name(path: Path) -> Path:
    """09_tcp.ipynb → 09_tcp.mine.ipynb, 09_tcp.mine-2.ipynb, …"""
    for n in itertools.count(1):
        aside = path.with_name(f"{path.stem}.mine{f'-{n}' if n > 1 else ''}.ipynb")
        if not aside.exists():
            return aside
    raise AssertionError("count() does not end")


def main(argv: Sequence[str] | None = None) -> int:
    """The command: returns 0, or 1 when the folder could not be written."""
    parser = argparse.ArgumentParser(prog="ipcx notebooks", description=__doc__)
    parser.add_argument("folder", metavar="DIR", help="made where it does not exist")
    form = parser.add_mutually_exclusive_group()
    for name, words in (
        ("solutions", "with the solutions, for teachers and nbgrader"),
        ("otter", "with the solutions, as `otter assign` takes them"),
    ):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=words)
    parser.set_defaults(form="student")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="write every notebook anew; one that differs is renamed to NAME.mine.ipynb first",
    )
    options = parser.parse_args(argv)
    try:
        copied = copy_out(options.folder, form=options.form, replace=options.replace)
    except OSError as error:
        print(f"ipcx notebooks: {error}", file=sys.stderr)
        return 1
    for path in copied.kept:
        print(f"kept   {path}: it is there already and differs from ours (--replace renames it)")
    for path, aside in copied.moved:
        print(f"moved  {path} to {aside}")
    print(f"{len(copied.written)} notebooks in {options.folder}. Open them with:")
    print(f"  jupyter lab {shlex.quote(str(options.folder))}")
    print("(which `pip install 'libipcx[lab]'` brings)")
    return 0
