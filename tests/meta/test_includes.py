"""The include arrows of csrc/ only point downwards (docs/architecture.md)."""

import re
from pathlib import Path

import pytest

from meta.tree import ROOT, files, name

CSRC = ROOT / "csrc"
PUBLIC = CSRC / "include" / "ipcx"
MAY_SEE = {
    "base": {"base"},
    "os": {"base", "os"},
    "wire": {"base", "wire"},  # sans I/O: it cannot reach a socket, so it can be fuzzed and reused
    "link": {"base", "os", "wire", "link"},
    "pattern": {"base", "wire", "link", "pattern"},  # sees chan, never a socket
    "py": {"base", "os", "wire", "link", "pattern", "py"},
}
UMBRELLA = "ipcx.h"  # for users of the library; nothing in csrc/ includes it
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def layer(path: Path) -> str:
    """A public header lives in the layer that has its .c; one without, as high as what it needs."""
    if path.parent != PUBLIC:
        return path.relative_to(CSRC).parts[0]
    layers = list(MAY_SEE)
    homes = [known for known in layers if any((CSRC / known).rglob(f"{path.stem}.c"))]
    if homes:
        return homes[0]
    needed = [PUBLIC.parent / written for _, written in INCLUDE.findall(path.read_text())]
    return max((layer(n) for n in needed if n.exists()), key=layers.index, default="base")


def resolve(source: Path, written: str) -> Path | None:
    for folder in (source.parent, CSRC / "include", CSRC):
        if (folder / written).exists():
            return (folder / written).resolve()
    return None


def complaints_about(source: Path) -> list[str]:
    own, text, lines = layer(source), source.read_text(), []
    for quote, written in INCLUDE.findall(text):
        where = f'{name(source)} includes "{written}"'
        if quote == "<":
            if written == "Python.h" and own != "py":
                lines.append(f"{where}: only csrc/py may")
            continue
        if written == "Python.h" or ".." in written:
            lines.append(f"{where}: written <Python.h>, and without `..`")
            continue
        target = resolve(source, written)
        if target is None:
            lines.append(f"{where}: no such header")
        elif target.name == UMBRELLA:
            lines.append(f"{where}: name the module's own header")
        elif source.parent == PUBLIC and target.parent != PUBLIC:
            lines.append(f"{where}: a public header cannot need a private one")
        elif layer(target) not in MAY_SEE[own]:
            lines.append(f"{where}: {own} must not see {layer(target)}")
    return lines


def test_every_folder_is_a_known_layer():
    folders = {path.relative_to(CSRC).parts[0] for path in files(".c", ".h", under="csrc")}
    assert folders <= {*MAY_SEE, "include"}


def test_no_include_points_upwards():
    sources = [p for p in files(".c", ".h", under="csrc") if p != PUBLIC / UMBRELLA]
    assert len(sources) > 10
    assert [line for path in sources for line in complaints_about(path)] == []


@pytest.mark.skipif(not (PUBLIC / UMBRELLA).exists(), reason="comes with the C library")
def test_the_umbrella_includes_every_public_header():
    included = {written for _, written in INCLUDE.findall((PUBLIC / UMBRELLA).read_text())}
    headers = {f"ipcx/{path.name}" for path in PUBLIC.glob("*.h")} - {f"ipcx/{UMBRELLA}"}
    assert headers - included == set()


@pytest.mark.parametrize(
    ("folder", "line", "complaint"),
    [
        ("base", '#include "os/gate.h"', "base must not see os"),
        ("wire", '#include "os/gate.h"', "wire must not see os"),
        ("base", "#include <Python.h>", "only csrc/py may"),
        ("os", '#include "../py/state.h"', "without `..`"),
        ("include/ipcx", '#include "os/gate.h"', "a public header cannot need a private one"),
        ("base", '#include "nowhere.h"', "no such header"),
        ("link", '#include "os/gate.h"', None),
    ],
)
def test_the_check_itself(monkeypatch, tmp_path, folder, line, complaint):
    monkeypatch.setitem(globals(), "CSRC", tmp_path)
    monkeypatch.setitem(globals(), "PUBLIC", tmp_path / "include" / "ipcx")
    monkeypatch.setitem(globals(), "name", str)
    for path in ("os/gate.h", "py/state.h", f"{folder}/x.h"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    source = tmp_path / folder / "x.h"
    source.write_text(line + "\n")
    found = complaints_about(source)
    assert (complaint is None and found == []) or (len(found) == 1 and complaint in found[0])
