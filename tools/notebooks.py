"""Notebooks as files: strip what a run leaves in them, check them, make a new one.

    python tools/notebooks.py strip [FILE …]
    python tools/notebooks.py check [FILE …]
    python tools/notebooks.py new 09_tcp "TCP"
    python tools/notebooks.py to-text FILE > TEXT
    python tools/notebooks.py from-text TEXT FILE

Without files all of notebooks/. The text is for editors: `# %% code the-id` or
`# %% markdown the-id`, and then the cell as it is. Needs nothing but the stdlib: `make fmt` runs it
everywhere.
"""

import ast
import copy
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

# The first code cell of each notebook, word for word: where nothing is installed yet (a hosted
# notebook), it installs.
SETUP = """\
# In a hosted notebook ipcx is not there yet. Everywhere else this cell only loads it.
import importlib.util

if importlib.util.find_spec("ipcx") is None:
    %pip install -q "libipcx[lab]"

%load_ext ipcx.lab
from ipcx import lab"""

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TAGS = {"raises-exception"}  # the only thing a cell's metadata may hold
NAME = re.compile(r"\d\d_[a-z0-9_]+\.ipynb")
ID = re.compile(r"[a-z][a-z0-9-]{1,40}")
MARKER = re.compile(r"^\s*### (BEGIN|END) (SOLUTION|HIDDEN TESTS)\s*$")
LIKE_A_MARKER = re.compile(r"^\s*#+\s*(BEGIN|END) +(SOLUTION|HIDDEN)", re.IGNORECASE)
# A cell that checks a solution: no more, so that a grader may run it alone.
CHECKED = """\
verdict = p1.check(…)
### BEGIN HIDDEN TESTS
assert verdict, verdict.show()
### END HIDDEN TESTS
verdict"""
CHECK = re.compile(re.escape(CHECKED).replace("p1", r"p\d+").replace("…", r"[^\n]*"))
NOT_PYTHON = ("bash", "sh", "html", "markdown", "svg", "latex", "javascript", "script", "writefile")
A_PATH_OF_ONE_MACHINE = re.compile(r"(?<![\w.:/])/(home|root|work|Users|usr/local|content)/\S*")
THE_STRANGERS_NAME = re.compile(r"pip3? install\s+(-\S+\s+)*[\"']?ipcx\b")

Notebook = dict[str, Any]
Cell = dict[str, Any]


def read(path: Path) -> Notebook:
    loaded: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def text(notebook: Notebook) -> str:
    """As Jupyter writes it: a notebook saved by hand and stripped differs in what was changed."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def source(cell: Cell) -> str:
    lines = cell["source"]
    return lines if isinstance(lines, str) else "".join(lines)


# ---------------------------------------------------------------- strip


def stripped(notebook: Notebook) -> Notebook:
    """Without outputs, counts and foreign metadata; each cell with an id that stays."""
    return {
        "cells": list(_stripped_cells(notebook["cells"])),
        "metadata": copy.deepcopy(METADATA),
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _stripped_cells(cells: list[Cell]) -> Iterator[Cell]:
    ids: set[str] = set()
    for cell in cells:
        content = source(cell).strip("\n")
        if not content:
            continue
        tags = sorted(TAGS & set(cell.get("metadata", {}).get("tags", ())))
        clean: Cell = {
            "cell_type": cell["cell_type"],
            "id": _stable_id(cell.get("id", ""), content, ids),
            "metadata": {"tags": tags} if tags else {},
            "source": content.splitlines(keepends=True),
        }
        if cell["cell_type"] == "code":
            clean |= {"execution_count": None, "outputs": []}
        yield clean


def _stable_id(old: str, content: str, taken: set[str]) -> str:
    """The one it has; a random one of an editor gives way to one made from the cell's text."""
    new = old if ID.fullmatch(old) and old not in taken and not _is_random(old) else ""
    if not new:
        new = "c" + hashlib.sha256(content.encode()).hexdigest()[:8]
        while new in taken:
            new += "x"
    taken.add(new)
    return new


def _is_random(name: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", name))


# ---------------------------------------------------------------- check


def complaints(path: Path) -> list[str]:
    """What keeps this notebook out of a commit, one sentence each."""
    raw = path.read_text(encoding="utf-8")
    notebook = json.loads(raw)
    found = [] if NAME.fullmatch(path.name) else ["its name is not NN_topic.ipynb"]
    if text(stripped(notebook)) != raw:
        found.append(
            "it has outputs, execution counts, random ids or metadata: `make fmt` strips it"
        )
    cells = notebook["cells"]
    if not cells or cells[0]["cell_type"] != "markdown" or not source(cells[0]).startswith("# "):
        found.append("it does not begin with a title")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    if not code or source(code[0]) != SETUP:
        found.append("its first code cell is not the set-up cell of tools/notebooks.py")
    for cell in cells:
        found += [f"cell {cell.get('id')}: {what}" for what in _about_cell(cell)]
    return found


def _about_cell(cell: Cell) -> Iterator[str]:
    content = source(cell)
    if path := A_PATH_OF_ONE_MACHINE.search(content):
        yield f"{path[0]} is a path of one machine"
    if THE_STRANGERS_NAME.search(content):
        yield "the distribution is called libipcx"
    if cell["cell_type"] != "code":
        return
    yield from _about_markers(content)
    yield from _about_check(content)
    yield from _about_python(content)


def _about_check(content: str) -> Iterator[str]:
    """What nbgrader and otter-grader take a check's result from."""
    if re.search(r"^\w+ = lab\.problem\(", content, re.MULTILINE) and ".check(" in content:
        yield "a problem and its check are two cells"
    elif re.search(r"\bp\d+\.check\(", content) and not CHECK.fullmatch(content):
        yield "a check is: " + " / ".join(CHECKED.splitlines())


def _about_markers(content: str) -> Iterator[str]:
    """Each BEGIN has its END, none lies in another, and what is taken out can be taken out."""
    opened, indent, in_process = "", "", content.startswith("%%process")
    for line in content.splitlines():
        marker = MARKER.match(line)
        if not marker:
            if LIKE_A_MARKER.match(line):
                yield f"`{line.strip()}` is not spelled as nbgrader wants it"
            continue
        verb, what = marker.groups()
        if verb == "BEGIN":
            if opened:
                yield f"BEGIN {what} within {opened}"
            opened, indent = what, line[: len(line) - len(line.lstrip())]
            if what == "SOLUTION" and not in_process and not indent:
                yield "a solution outside a %%process cell or a function: without it all would stop"
        elif opened != what:
            yield f"END {what} without its BEGIN"
        else:
            opened = ""
    if opened:
        yield f"BEGIN {opened} without its END"


def _about_python(content: str) -> Iterator[str]:
    """Syntax errors. Magics are left out; `await` may stand anywhere."""
    first, _, rest = content.partition("\n")
    if first.startswith("%%"):
        if first[2:].split()[0] in NOT_PYTHON:
            return
        content = "\n" + rest
    lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in content.splitlines()]
    try:
        compile(
            "\n".join(lines), "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
    except SyntaxError as error:
        yield f"line {error.lineno} is no Python: {error.msg}"


# ---------------------------------------------------------------- new


def skeleton(title: str) -> Notebook:
    """The parts every notebook has, in their order, with words to replace."""

    def markdown(name: str, content: str) -> Cell:
        return {"cell_type": "markdown", "id": name, "metadata": {}, "source": content}

    def code(name: str, content: str) -> Cell:
        return {"cell_type": "code", "id": name, "metadata": {}, "source": content}

    cells = [
        markdown("title", f"# {title}\n\nWhat you know when you are through, in two sentences."),
        code("set-up", SETUP),
        markdown("story", "## The story\n\nWho wants to tell what to whom, and what goes wrong."),
        markdown("run", "## The lecture's program\n\nUnchanged; where it is in the lecture."),
        code("run-server", '%%process server --background\nprint("the server")'),
        code("run-client", '%%process client\nprint("the client")'),
        markdown("picture", "## What happened\n\nWhat to look for in the picture."),
        code("picture-record", "with lab.record() as r:\n    pass\nr"),
    ]
    for n in (1, 2, 3):
        cells += [
            markdown(
                f"exercise-{n}", f"## Exercise {n}\n\nOne sentence; the problem says the rest."
            ),
            code(f"problem-{n}", f'p{n} = lab.problem("the-id", seed=7)\np{n}'),
            code(
                f"answer-{n}",
                "%%process worker\n### BEGIN SOLUTION\nprint(42)\n### END SOLUTION",
            ),
            code(
                f"check-{n}",
                f'verdict = p{n}.check("worker")\n'
                "### BEGIN HIDDEN TESTS\nassert verdict, verdict.show()\n"
                "### END HIDDEN TESTS\nverdict",
            ),
        ]
    cells.append(markdown("break-it", "## Break it\n\nWhat to change, what happens then, and why."))
    return stripped({"cells": cells})


# ---------------------------------------------------------------- as a text

HEAD = re.compile(r"^# %% (code|markdown) (\S+)$", re.MULTILINE)


def to_text(notebook: Notebook) -> str:
    parts = (
        f"# %% {cell['cell_type']} {cell['id']}\n{source(cell)}\n" for cell in notebook["cells"]
    )
    return "\n".join(parts)


def from_text(written: str) -> Notebook:
    _, *parts = HEAD.split(written)
    cells: list[Cell] = [
        {"cell_type": kind, "id": name, "metadata": {}, "source": content}
        for kind, name, content in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
    return stripped({"cells": cells})


# ---------------------------------------------------------------- the commands


def main(arguments: list[str]) -> int:
    command, rest = (arguments or ["help"])[0], arguments[1:]
    paths = [Path(name) for name in rest] or sorted(NOTEBOOKS.glob("*.ipynb"))
    if command == "strip":
        for path in paths:
            new = text(stripped(read(path)))
            if new != path.read_text(encoding="utf-8"):
                path.write_text(new, encoding="utf-8")
    elif command == "check":
        found = [f"{path.name}: {what}" for path in paths for what in complaints(path)]
        print("\n".join(found), end="\n" if found else "", file=sys.stderr)
        return bool(found)
    elif command == "new" and len(rest) == 2:
        path = NOTEBOOKS / f"{rest[0]}.ipynb"
        with path.open("x", encoding="utf-8") as file:
            file.write(text(skeleton(rest[1])))
        print(path)
    elif command == "to-text" and len(rest) == 1:
        print(to_text(read(paths[0])), end="")
    elif command == "from-text" and len(rest) == 2:
        paths[1].write_text(text(from_text(paths[0].read_text(encoding="utf-8"))), encoding="utf-8")
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
