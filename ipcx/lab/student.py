# SPDX-License-Identifier: Apache-2.0
"""A notebook as its author writes it, turned into what a student gets and what a grader reads.

What stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION`` gives way to a line that raises
NotImplementedError, what stands between ``### BEGIN HIDDEN TESTS`` and ``### END HIDDEN TESTS`` is
left out: the spelling of nbgrader, whose cell metadata `instructor` and `student` add. `student`
also adds the tests that otter-grader reads. Works on the plain JSON of a notebook: needs neither of
them, and no Jupyter.
"""

import copy
import re
from typing import Any

__all__ = ["Notebook", "instructor", "student", "without_solutions"]

Notebook = dict[str, Any]  # what json.load gives

STUB = ("# your code here", "raise NotImplementedError")
_BEGIN = re.compile(r"^(?P<indent>\s*)### BEGIN (?P<what>SOLUTION|HIDDEN TESTS)\s*$")
_END = re.compile(r"^\s*### END (SOLUTION|HIDDEN TESTS)\s*$")
_CHECK = re.compile(r"\b\w+\.check\(")


def without_solutions(source: str) -> str:
    """A cell's text without its solutions and hidden tests.

    ValueError when a BEGIN has no END, or the other way round: better no notebook than one that
    gives the solution away.
    """
    kept: list[str] = []
    inside = ""
    for line in source.splitlines():
        begin = _BEGIN.match(line)
        if begin and not inside:
            inside = begin["what"]
            if inside == "SOLUTION":
                kept += [begin["indent"] + text for text in STUB]
        elif begin or bool(_END.match(line)) > bool(inside):
            raise ValueError(f"`{line.strip()}` has no partner")
        elif inside and _END.match(line):
            inside = ""
        elif not inside:
            kept.append(line)
    if inside:
        raise ValueError(f"`### BEGIN {inside}` has no END")
    return "\n".join(kept)


def instructor(notebook: Notebook) -> Notebook:
    """The same notebook, solutions and all, with the metadata ``nbgrader generate`` works from."""
    made = copy.deepcopy(notebook)
    for cell in made["cells"]:
        source = _source(cell)
        if cell["cell_type"] != "code":
            continue
        if "### BEGIN SOLUTION" in source:
            cell["metadata"]["nbgrader"] = _nbgrader(cell["id"], solution=True)
        elif _CHECK.search(source):
            cell["metadata"]["nbgrader"] = _nbgrader(cell["id"], solution=False)
    return made


def student(notebook: Notebook) -> Notebook:
    """The notebook without solutions; a grader's cells are locked, as nbgrader locks them."""
    made = instructor(notebook)
    tests: dict[str, Any] = {}
    for cell in made["cells"]:
        cell["source"] = without_solutions(_source(cell)).splitlines(keepends=True)
        if cell["metadata"].get("nbgrader", {}).get("grade"):
            cell["metadata"] |= {"deletable": False, "editable": False}
            name = cell["id"].replace("-", "_")
            tests[name] = _otter(name, _source(cell))
    made["metadata"]["otter"] = {"OK_FORMAT": True, "tests": tests}
    return made


def _source(cell: dict[str, Any]) -> str:
    source: str | list[str] = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _nbgrader(name: str, *, solution: bool) -> dict[str, Any]:
    cell = {"schema_version": 3, "grade_id": name, "solution": solution, "task": False}
    if solution:
        return cell | {"grade": False, "locked": False}
    return cell | {"grade": True, "locked": True, "points": 1}


def _otter(name: str, check: str) -> dict[str, Any]:
    """One test: the check's own words are caught, its verdict counts."""
    lines = [
        ">>> import contextlib, io",
        ">>> with contextlib.redirect_stdout(io.StringIO()):",
        *(f"...     {line}" for line in check.splitlines()),
        ">>> bool(verdict)",
        "True",
    ]
    case = {"code": "\n".join(lines), "hidden": False, "locked": False}
    suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
    return {"name": name, "points": 1, "suites": [suite]}
