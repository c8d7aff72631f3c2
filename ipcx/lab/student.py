# SPDX-License-Identifier: Apache-2.0
"""A notebook as its author writes it, turned into what a student gets and what a grader reads.

What stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION`` gives way to a line that raises
NotImplementedError, what stands between ``### BEGIN HIDDEN TESTS`` and ``### END HIDDEN TESTS`` is
left out: the spelling of nbgrader, whose cell metadata `instructor` and `student` add. `student`
also adds the tests that otter-grader reads in a notebook; `otter` writes what ``otter assign``
takes. Works on the plain JSON of a notebook: needs neither of them, and no Jupyter.
"""

import copy
import re
from typing import Any

__all__ = ["Notebook", "instructor", "otter", "student", "without_solutions"]

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


def otter(notebook: Notebook) -> Notebook:
    """What ``otter assign`` takes: each answer and the test of its check are a question.

    ValueError when a check has no answer before it.
    """
    made = copy.deepcopy(notebook)
    config = "ASSIGNMENT CONFIG\nname: ipcx\ninit_cell: true\nexport_cell: false"
    cells = [_raw("otter-config", config)]
    answers: list[dict[str, Any]] = []
    for cell in made["cells"]:
        source = _source(cell)
        code = cell["cell_type"] == "code"
        if code and "### BEGIN SOLUTION" in source:
            answers.append(cell | {"source": source.replace("### ", "# ")})
        elif code and "### BEGIN HIDDEN TESTS" in source:
            if not answers:
                raise ValueError(f"cell {cell['id']} checks no answer")
            check = without_solutions(source)
            cells += _question(cell["id"].replace("-", "_"), answers, check)
            cells.append(cell | {"source": check})
            answers = []
        else:
            cells.append(cell)
    made["cells"] = cells
    return made


def _question(name: str, answers: list[dict[str, Any]], check: str) -> list[dict[str, Any]]:
    """The cells between ``# BEGIN QUESTION`` and ``# END QUESTION``."""
    value: dict[str, Any] = {
        "output_type": "execute_result",
        "execution_count": None,
        "metadata": {},
    }
    test: dict[str, Any] = {
        "cell_type": "code",
        "id": f"{name}-test",
        "metadata": {},
        "execution_count": None,
        "outputs": [value | {"data": {"text/plain": "True"}}],
        "source": "\n".join([*_quietly(check), "bool(verdict)"]),
    }
    return [
        _raw(f"{name}-1", f"BEGIN QUESTION\nname: {name}\npoints: 1"),
        _raw(f"{name}-2", "BEGIN SOLUTION"),
        *answers,
        _raw(f"{name}-3", "END SOLUTION"),
        _raw(f"{name}-4", "BEGIN TESTS"),
        test,
        _raw(f"{name}-5", "END TESTS"),
        _raw(f"{name}-6", "END QUESTION"),
    ]


def _raw(name: str, words: str) -> dict[str, Any]:
    return {"cell_type": "raw", "id": name, "metadata": {}, "source": f"# {words}"}


def _source(cell: dict[str, Any]) -> str:
    source: str | list[str] = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _nbgrader(name: str, *, solution: bool) -> dict[str, Any]:
    cell = {"schema_version": 3, "grade_id": name, "solution": solution, "task": False}
    if solution:
        return cell | {"grade": False, "locked": False}
    return cell | {"grade": True, "locked": True, "points": 1}


def _otter(name: str, check: str) -> dict[str, Any]:
    """One test: a doctest of the check."""
    lines = [
        (">>> " if line[0] != " " else "... ") + line
        for line in [*_quietly(check), "bool(verdict)"]
    ]
    case = {"code": "\n".join([*lines, "True"]), "hidden": False, "locked": False}
    suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
    return {"name": name, "points": 1, "suites": [suite]}


def _quietly(check: str) -> list[str]:
    """A check whose own words are caught: its verdict counts."""
    return [
        "import contextlib as c, io",
        "with c.redirect_stdout(io.StringIO()), c.redirect_stderr(io.StringIO()):",
        *(f"    {line}" for line in check.splitlines() if line.startswith("verdict =")),
    ]
