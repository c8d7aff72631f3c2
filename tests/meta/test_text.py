"""What no file of the project says, and where some things may be said only."""

import ast
import re

import pytest

from meta.tree import ROOT, files, name

# Broken up, so that this file does not say it either.
FORBIDDEN = {
    "the name on the index belongs to somebody else; the distribution is libipcx": "pip3? install "
    + r"(-\S+ )*ipcx\b",
    "a path of one machine": r"(?<![\w.])/(work|root" + r"|home/\w+)/",
    "settings of one machine's package index": r"--(extra-)?index" + "-url|PIP_(EXTRA_)?INDEX"
    "|--trusted" + "-host|--find" + "-links",
    "a TODO without its issue, as in TODO(#12)": r"\b(TODO|FIXME)\b" + r"(?!\(#\d+\))",
}
GIL_MACROS = re.compile(
    r"\b(Py_(BEGIN|END)_ALLOW_THREADS|Py_(UN)?BLOCK_THREADS|PyEval_(Save|Restore)Thread|PyGILState_\w+)"
)
RULE_OF_TODO = {"tests/meta/test_text.py", "CONTRIBUTING.md"}  # they quote the rule


def texts():
    for path in files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a corpus entry


@pytest.mark.parametrize("reason", FORBIDDEN)
def test_nothing_forbidden_is_said(reason):
    pattern = re.compile(FORBIDDEN[reason])
    excused = RULE_OF_TODO if "TODO" in reason else set()
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        if name(path) not in excused
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], reason


def test_every_c_file_begins_with_licence_and_purpose():
    for path in files(".c", ".h", under="csrc"):
        first, second = path.read_text().splitlines()[:2]
        assert first == "/* SPDX-License-Identifier: Apache-2.0", name(path)
        assert second.startswith(" * "), name(path)
        assert len(second) > 20, name(path)


def test_only_call_h_releases_the_gil():
    found = [
        name(path)
        for path in files(".c", ".h", under="csrc")
        if name(path) != "csrc/py/call.h" and GIL_MACROS.search(path.read_text())
    ]
    assert found == []


def skips_without_reason(source: str) -> list[int]:
    """The lines of `skip`, `skipif`, `xfail` and `skipUnless` that do not say why."""
    lines = []
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail"):
            if id(node) not in called and ast.unparse(node.value) in ("pytest.mark", "mark"):
                lines.append(node.lineno)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {k.arg: k.value for k in node.keywords}
            reason: ast.expr | None = words.get("reason")
            match ast.unparse(node.func):
                case "pytest.skip" | "pytest.xfail" | "pytest.mark.skip" | "unittest.skip":
                    reason = reason or (node.args[0] if node.args else None)
                case "unittest.skipIf" | "unittest.skipUnless":
                    reason = reason or (node.args[1] if len(node.args) > 1 else None)
                case "pytest.mark.skipif" | "pytest.mark.xfail":
                    pass
                case _:
                    continue
            if reason is None or (isinstance(reason, ast.Constant) and not reason.value):
                lines.append(node.lineno)
    return lines


def test_every_skip_says_why():
    found = {name(p): skips_without_reason(p.read_text()) for p in files(".py", under="tests")}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_the_check_of_skips_itself():
    bad = (
        "pytest.skip()\n@pytest.mark.skip\ndef f(): pass\npytest.mark.skipif(True)\npytest.skip('')"
    )
    good = "pytest.skip('x')\npytest.mark.skipif(True, reason='y')\npytest.mark.skip(reason=r)"
    assert sorted(skips_without_reason(bad)) == [1, 2, 4, 5]
    assert skips_without_reason(good) == []


def test_no_test_folder_is_a_package():
    assert [name(p) for p in files(".py", under="tests") if p.name == "__init__.py"] == []
    assert (ROOT / "tests" / "conftest.py").exists()
