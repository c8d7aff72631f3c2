"""STYLE: a .c file is about 500 lines, a header 150, a function 50; past that a concept hides."""

import re
from pathlib import Path

from meta.tree import files, name

LIMITS = {".c": 500, ".h": 150}
FUNCTION = 50

# What may be longer, and why. A path for a file, path:function for a function.
ALLOWED: dict[str, str] = {
    "csrc/include/ipcx/explain_table.h": "one table of texts, a paragraph for each status",
    "csrc/py/py_socket_doc.h": "the docstrings of one type, a paragraph for each method",
}


def functions(path: Path) -> dict[str, int]:
    """Name and length of each function: in our form its braces stand alone in the first column."""
    lines, found, start = path.read_text().splitlines(), {}, None
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            head = " ".join(lines[max(0, start - 6) : start])
            names = re.findall(r"(\w+)\s*\(", head.rpartition("}")[2].rpartition(";")[2])
            found[names[0] if names else f"line {start}"] = number - start + 1
            start = None
    return found


def too_long() -> dict[str, int]:
    long = {}
    for path in files(".c", ".h", under="csrc"):
        length = len(path.read_text().splitlines())
        if length > LIMITS[path.suffix]:
            long[name(path)] = length
        for function, lines in functions(path).items():
            if lines > FUNCTION:
                long[f"{name(path)}:{function}"] = lines
    return long


def test_files_and_functions_stay_readable():
    assert {what: lines for what, lines in too_long().items() if what not in ALLOWED} == {}


def test_the_list_of_longer_ones_is_short_and_current():
    assert ALLOWED.keys() - too_long().keys() == set()
    assert all(len(reason) > 20 for reason in ALLOWED.values())
    assert len(ALLOWED) <= 12


def test_the_check_itself(tmp_path):
    source = tmp_path / "x.c"
    source.write_text("static int f(int a,\n             int b)\n{\n" + "    a++;\n" * 60 + "}\n")
    assert functions(source) == {"f": 62}
