# SPDX-License-Identifier: Apache-2.0
"""Allocation k fails, for every k, in each API: MemoryError or success, nothing lost, no crash."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from socket_calls import CALLS, LOST_BY_THE_CALLER, OURS_ALONE

PROGRAM = """
import faulthandler, gc, json, sys
sys.path.insert(0, "tests")
import _testcapi
from socket_calls import CALLS, OURS_ALONE
from socket_help import MODULES, Kit, open_descriptors

faulthandler.enable()
net = MODULES[sys.argv[1]]


def attempt(call, k):
    _testcapi.set_nomemory(k, k + 1)
    try:
        call()
    except BaseException as error:
        return type(error)
    finally:
        _testcapi.remove_mem_hooks()


def every_k(name):
    seen, leaks, quiet, k = {}, [], 0, 0
    while quiet < 4 and k < 400:
        with Kit(net) as kit:
            call = CALLS[name](kit)
            call()
            before = open_descriptors()
            kind = attempt(call, k)
            gc.collect()
            leaks += [k for fd in open_descriptors() if fd not in before]
            label = kind.__name__ if kind else "done"
            seen[label] = seen.get(label, 0) + 1
            quiet = quiet + 1 if kind is None else 0
            k += 1
            CALLS["send recv"](kit)()  # what is left is whole: other sockets still work
    return seen, leaks


for name in CALLS:
    if sys.argv[1] == "ipcx" or name not in OURS_ALONE:
        print(json.dumps(["begin", name]), flush=True)
        print(json.dumps([name, *every_k(name)]), flush=True)
"""
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("_testcapi") is None,
    reason="this interpreter has no _testcapi: nothing injects failures of memory",
)


# What a small recv() took gets the spare object when there is no memory for another.
SPARED = {
    "send recv",
    "send recv with a time-out",
    "send recv tcp",
    "recv waitall",
    "recv peek",
    "recvfrom unix",
    "sendall",
}


@pytest.fixture(scope="module")
def seen() -> dict:
    """(module, name) → how often each outcome came, and the k that left a descriptor behind."""
    children = {
        module: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, module],
            cwd=Path(__file__).parent.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for module in ("stdlib", "ipcx")
    }
    told = {}
    for module, child in children.items():
        output, _ = child.communicate(timeout=200)
        assert child.returncode == 0, f"{module} ended with {child.returncode}\n{output[-4000:]}"
        for line in output.splitlines():
            name, *rest = json.loads(line)
            told[module, name] = rest
    return told


@pytest.mark.hang_guard(240)
@pytest.mark.parametrize("name", CALLS)
def test_every_allocation_fails_once(seen: dict, name: str) -> None:
    outcomes, leaks = seen["ipcx", name]
    theirs = {} if name in OURS_ALONE else seen["stdlib", name][0]
    assert set(outcomes) <= {"done", "MemoryError"} | set(theirs), (outcomes, theirs)
    if name in SPARED:
        assert set(outcomes) == {"done"}
    else:
        assert outcomes.get("MemoryError", 0) > 0, "nothing was injected"
    assert not leaks or name in LOST_BY_THE_CALLER, leaks
