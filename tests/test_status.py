"""The one table of outcomes: its rows, the exceptions made from it, and every program in it."""

import builtins
import errno
import gc
import importlib
import io
import pickle
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import ipcx
from ipcx import _core

ROOT = Path(__file__).resolve().parent.parent
ROWS = _core.status_table()
KEYS = {
    "name": str, "value": int, "errno": str, "exception": str, "bases": tuple,
    "text": str, "what": str, "causes": tuple, "cure": str, "program": str,
}  # fmt: skip
OURS = {row["exception"]: row for row in ROWS if row["bases"]}
# What no program can show yet, or should.
NO_PROGRAM = {
    ("OK", ""),
    ("MORE", ""),
}
# Programs that end without an exception: they show something.
SHOWS = {("EOF", ""), ("EXHAUSTED", "ENFILE")}


def find_class(name):
    if hasattr(ipcx, name):
        return getattr(ipcx, name)
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module) if module else builtins, attribute)


def expected(row):
    """The exception with which a row's program ends: ours, or the stdlib's own for an errno."""
    if (row["name"], row["errno"]) == ("INTR", "EINTR"):
        return KeyboardInterrupt
    if row["name"] == "NOMEM":
        return MemoryError
    if row["errno"]:
        return type(OSError(getattr(errno, row["errno"]), ""))
    if row["name"] == "TIMEOUT":
        return TimeoutError
    return find_class(row["exception"])


def row_id(row):
    return f"{row['name']}-{row['errno']}" if row["errno"] else row["name"]


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_row(row):
    assert {key: type(value) for key, value in row.items()} == KEYS
    assert re.fullmatch("[A-Z][A-Z_]*", row["name"])
    assert row["text"]
    assert not row["text"].endswith(".")
    assert row["what"].endswith((".", "b''."))
    assert row["cure"].endswith((".", "`."))
    assert all(isinstance(cause, str) and cause for cause in row["causes"])
    assert row["causes"] or row["name"] == "OK"
    if row["errno"]:
        assert getattr(errno, row["errno"])
    assert bool(row["program"]) == ((row["name"], row["errno"]) not in NO_PROGRAM)


def test_every_status_has_a_row_and_no_errno_two():
    header = (ROOT / "csrc/include/ipcx/status_table.h").read_text()
    statuses = re.findall(r"^    X\((\w+), (-?\d+),", header, re.M)
    assert {name: int(value) for name, value in statuses} == {
        row["name"]: row["value"] for row in ROWS
    }
    assert len({value for _, value in statuses}) == len(statuses)
    keys = [(row["name"], row["errno"]) for row in ROWS]
    assert len(set(keys)) == len(keys)
    errnos = [row["errno"] for row in ROWS if row["errno"]]
    assert len(set(errnos)) == len(errnos)


def test_only_failures_and_waiting_have_exceptions():
    for row in ROWS:
        assert bool(row["exception"]) == (row["value"] < 0 or row["name"] in ("AGAIN", "TIMEOUT"))


@pytest.mark.parametrize("name", OURS)
def test_exception(name):
    made = getattr(_core, name)
    assert getattr(ipcx, name) is made
    assert name in ipcx.__all__
    assert made.__module__ == "ipcx"
    assert made.__qualname__ == name
    assert made.__doc__ == OURS[name]["text"]
    assert made.__bases__ == tuple(find_class(base) for base in OURS[name]["bases"])
    assert issubclass(made, ipcx.Error)
    assert issubclass(ipcx.Error, Exception)
    copy = pickle.loads(pickle.dumps(made("what happened")))
    assert type(copy) is made
    assert copy.args == ("what happened",)


@pytest.mark.parametrize(
    "name", [name for name in OURS if issubclass(getattr(ipcx, name), OSError)]
)
def test_oserror_carries_errno(name):
    exc = getattr(ipcx, name)(errno.EPERM, "text")
    assert (exc.errno, exc.strerror, str(exc)) == (1, "text", "[Errno 1] text")


def test_the_outcome_table():
    assert issubclass(ipcx.ConnectRefused, ConnectionRefusedError)
    assert issubclass(ipcx.AddressInUse, OSError)
    assert issubclass(ipcx.PeerClosed, ConnectionError)
    assert issubclass(ipcx.PeerClosed, EOFError)
    assert issubclass(ipcx.Timeout, TimeoutError)
    assert issubclass(ipcx.WouldBlock, ipcx.Timeout)
    assert issubclass(ipcx.WouldBlock, BlockingIOError)
    assert issubclass(ipcx.Closed, ValueError)
    assert issubclass(ipcx.MessageTooLarge, ValueError)
    assert issubclass(ipcx.ResourceExhausted, OSError)
    assert issubclass(ipcx.Unsupported, io.UnsupportedOperation)


CHANNELS = ("Channel", "Listener", "connect", "listen", "pair", "trace")


def test_public_names():
    assert sorted(ipcx.__all__, key=str) == sorted([*OURS, *CHANNELS, "Error", "__version__"])


def test_version_is_the_distribution_s():
    assert ipcx.__version__ == version("libipcx")


def may_bind_80():
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80


@pytest.mark.parametrize("row", [row for row in ROWS if row["program"]], ids=row_id)
def test_program(row, tmp_path):
    program = row["program"]
    if row["errno"] == "EACCES":
        # As somebody without privileges, also where the tests run as root.
        drop = "import os\nfrom ipcx import socket\nif os.getuid() == 0: os.setuid(65534)\n"
        program = drop + program
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    if (row["name"], row["errno"]) in SHOWS:
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout
        return
    if row["errno"] == "EACCES" and may_bind_80():
        # This machine lets anybody have port 80: then it works, or somebody has it.
        assert ran.returncode == 0 or f"[Errno {errno.EADDRINUSE}]" in ran.stderr
        return
    assert ran.returncode != 0, ran.stdout
    last = [line for line in ran.stderr.splitlines() if re.match(r"[A-Za-z_.]+(:|$)", line)][-1]
    raised = last.split(":")[0]
    if raised.startswith("ipcx."):
        raised = raised.removeprefix("ipcx.")
    assert find_class(raised) is expected(row), ran.stderr
    if row["errno"] and row["name"] not in ("INTR", "NOMEM"):
        assert f"[Errno {getattr(errno, row['errno'])}]" in last


NO_MEMORY = """
import importlib.util
import sys
import _testcapi
from ipcx import _core

def module():
    made = importlib.util.module_from_spec(_core.__spec__)
    _core.__spec__.loader.exec_module(made)

def walk(function):
    function()
    failed = fine = 0
    for k in range(1, 5000):
        try:
            _testcapi.set_nomemory(k, k + 1)
            try:
                function()
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError:
            failed, fine = failed + 1, 0
        else:
            fine += 1
        if fine == 50:
            break
    return failed

# CPython 3.13.5 itself crashes when a class of any extension module (_json, _queue) is made without
# memory: its dict loses an entry in the middle of a resize.
print(walk(_core.status_table) > 100, sys.version_info >= (3, 13) or walk(module) > 100)
"""


@pytest.mark.hang_guard(60)
def test_every_allocation_of_the_module_fails_once():
    """Creating the module and the table: with the k-th allocation refused, for every k."""
    pytest.importorskip("_testcapi", reason="no _testcapi in this Python")
    ran = subprocess.run([sys.executable, "-c", NO_MEMORY], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("True True\n", "")


def test_reference_counts_are_flat():
    _core.status_table()
    before = sys.getrefcount(None), len(gc.get_objects())
    for _ in range(1000):
        _core.status_table()
    after = sys.getrefcount(None), len(gc.get_objects())
    assert abs(after[0] - before[0]) < 50
    assert abs(after[1] - before[1]) < 50
