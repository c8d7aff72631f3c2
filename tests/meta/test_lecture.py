"""docs/lecture.md: each row leads somewhere, and each example is in a row."""

import ast
import importlib.util
import re
from functools import cache
from itertools import groupby

import pytest

from meta.tree import ROOT

PAGE = ROOT / "docs" / "lecture.md"
TEXTS = ("000", "001", "002", "003", "004")
TO_COME = re.compile(r"later|issue [5-9]|issue 9: \d\d(, \d\d)*")
COLUMNS = ("module", "example", "notebook", "test")


def rows() -> list[list[str]]:
    """The cells of each row of the tables, without the heads."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d{3}-", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def is_there(column: str, target: str) -> bool:
    if column == "module":
        return importlib.util.find_spec(target) is not None
    if column == "example":
        return (ROOT / "examples" / target).exists()
    if column == "test":
        path, _, function = target.partition("::")
        return (ROOT / "tests" / path).is_file() and (not function or function in functions(path))
    if column == "notebook":
        return len(list((ROOT / "notebooks").glob(f"{target}_*.ipynb"))) == 1
    return False


def wrong(column: str, cell: str) -> list[str]:
    """The parts of a cell that are neither a target that is there, nor said to come, nor a dash."""
    if cell == "—" or TO_COME.fullmatch(cell):
        return []
    found = []
    for part in cell.split(", "):
        target = re.fullmatch(r"`([^`]+)`", part)
        if not (is_there(column, target[1]) if target else TO_COME.fullmatch(part)):
            found.append(part)
    return found


def test_every_target_is_there():
    assert [
        f"{name}: {column}: {part}"
        for name, _, *cells in rows()
        for column, cell in zip(COLUMNS, cells, strict=True)
        for part in wrong(column, cell)
    ] == []


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("module", "`ipcx.nothing`"),
        ("example", "`hello_8080/no_such.py`"),
        ("example", "hello_8080"),
        ("test", "`test_no_such.py`"),
        ("test", "`test_examples.py::test_no_such`"),
        ("notebook", "`99`"),
        ("notebook", "issue 3"),
        ("test", ""),
        ("module", "`ipcx.socket`, soon"),
    ],
)
def test_a_target_that_is_missing_is_noticed(column, cell):
    assert wrong(column, cell) != []


def test_the_ids_count_from_one_in_each_text():
    ids = [row[0] for row in rows()]
    counted = {text: len(list(group)) for text, group in groupby(ids, lambda name: name[:3])}
    assert tuple(counted) == TEXTS
    assert ids == [f"{text}-{n:02}" for text in TEXTS for n in range(1, counted[text] + 1)]


def test_every_row_says_something_once():
    statements = [(row[0][:3], row[1]) for row in rows()]
    assert all(statement for _, statement in statements)
    assert len(set(statements)) == len(statements)


def test_every_example_is_in_a_row():
    named = {
        part.strip("`").partition("/")[0]
        for _, _, _, cell, *_ in rows()
        for part in cell.split(", ")
    }
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    assert folders - named == set()
