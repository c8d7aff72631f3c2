"""No public name without documentation: Python's, the commands', the C library's."""

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ipcx
from ipcx import _core, socket
from ipcx.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import headers  # noqa: E402

sys.path.pop(0)

MODULES = sorted(
    f"ipcx.{path.stem}"
    for path in (ROOT / "ipcx").glob("*.py")
    if not path.stem.startswith("_") and path.stem != "socket"
)


def says_something(thing: object) -> bool:
    return len((inspect.getdoc(thing) or "").split()) >= 2


def own_functions(module: ModuleType) -> list[str]:
    """Public functions and classes that a module makes itself."""
    return [
        key
        for key in module.__all__
        if getattr(getattr(module, key), "__module__", None) == module.__name__
    ]


@pytest.mark.parametrize("name", sorted(set(ipcx.__all__) - {"__version__"}))
def test_of_ipcx(name: str) -> None:
    assert says_something(getattr(ipcx, name))


@pytest.mark.parametrize("name", sorted(n for n in vars(_core) if not n.startswith("_")))
def test_of_the_core(name: str) -> None:
    assert says_something(getattr(_core, name))


@pytest.mark.parametrize("name", sorted(n for n in vars(socket.socket) if not n.startswith("__")))
def test_of_the_socket(name: str) -> None:
    doc = getattr(socket.socket, name).__doc__ or ""
    assert len(doc.split()) >= 2
    if not name.startswith("_"):
        signature, _, text = doc.partition("\n\n")
        assert signature.startswith(f"{name}("), "the first line is how it is called"
        assert text
        assert max(map(len, doc.splitlines())) <= 90


def test_of_the_socket_module() -> None:
    assert says_something(socket)
    assert says_something(socket.socket)
    functions = [n for n in vars(socket)["__all__"] if inspect.isfunction(getattr(socket, n))]
    assert "create_connection" in functions
    for name in functions:
        assert says_something(getattr(socket, name)), name


@pytest.mark.parametrize("name", MODULES)
def test_of_the_modules(name: str) -> None:
    module = importlib.import_module(name)
    assert says_something(module)
    if name == "ipcx.socketserver":  # the stdlib's own code
        return
    silent = [key for key in own_functions(module) if not says_something(getattr(module, key))]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_of_the_commands(name: str) -> None:
    assert len(COMMANDS[name].help.split()) >= 3
    assert says_something(COMMANDS[name].load())


def test_of_the_c_library() -> None:
    silent = [
        f"{path.name}:{item.line}: {item.name}"
        for path in sorted(headers.HEADERS.glob("*.h"))
        if path.name != "api.h"  # attributes, for the headers themselves
        for item in headers.undocumented(path)
    ]
    assert silent == []


def test_every_header_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "c.rst").read_text()
    # No declarations of their own; the two tables have pages and commands of their own.
    apart = {"api.h", "ipcx.h", "status_table.h", "explain_table.h"}
    for path in headers.HEADERS.glob("*.h"):
        assert f".. c-header:: {path.name}" in page or path.name in apart, path.name


def test_the_reader_finds_whatever_the_library_exports() -> None:
    if shutil.which("nm") is None:
        pytest.skip("no nm (Debian: apt-get install binutils)")
    symbols = subprocess.run(
        ["nm", "--dynamic", "--defined-only", _core.__file__],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    exported = {line.split()[-1] for line in symbols.splitlines() if " T ipcx_" in line}
    declared = {item.name for path in headers.HEADERS.glob("*.h") for item in headers.read(path)[1]}
    assert exported
    assert exported - declared == set()


def test_the_reader_itself(tmp_path: Path) -> None:
    header = tmp_path / "x.h"
    header.write_text(
        "/* SPDX-License-Identifier: Apache-2.0\n * What it is for. */\n"
        "#ifndef IPCX_X_H\n#define IPCX_X_H\n"
        "/* ipcx_x_load16, 32: loads. */\n"
        "static inline int ipcx_x_load16(int at)\n{\n    return at;\n}\n\n"
        "static inline int ipcx_x_load32(int at)\n{\n    return at;\n}\n\n"
        "IPCX_API void ipcx_x_silent(void);\n\n"
        "/* Some other words. */\nIPCX_API void ipcx_x_wrong(void);\n"
        "#endif\n"
    )
    prologue, items = headers.read(header)
    assert prologue == "What it is for."
    assert [item.name for item in items] == [
        "ipcx_x_load16",
        "ipcx_x_load32",
        "ipcx_x_silent",
        "ipcx_x_wrong",
    ]
    assert items[1].text == "ipcx_x_load16, 32: loads."
    assert [item.name for item in headers.undocumented(header)] == ["ipcx_x_silent", "ipcx_x_wrong"]
