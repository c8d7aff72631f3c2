# SPDX-License-Identifier: Apache-2.0
"""Channels under faults: a thousand calls leave nothing, and each allocation may fail once."""

import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from beside import keeps
from channel_calls import CALLS, LOST_BY_THE_CALLER, Ends

import ipcx
from socket_help import open_descriptors

ROUNDS = 500
ROOT = Path(__file__).parent.parent


def use(call) -> None:
    for _ in range(50):
        call()
    gc.collect()


@pytest.mark.parametrize("name", CALLS)
def test_many_calls_leave_nothing(name: str) -> None:
    with Ends() as ends:
        call = CALLS[name](ends)
        tracemalloc.start()
        try:
            use(call)
            descriptors = open_descriptors()
            # What is lost at every call, or at every tenth, is far above this.
            assert not keeps(call, ROUNDS, ROUNDS / 20)
            size = tracemalloc.get_traced_memory()[0]
            for _ in range(ROUNDS):
                call()
            gc.collect()
            size = tracemalloc.get_traced_memory()[0] - size
        finally:
            tracemalloc.stop()
        assert size < ROUNDS * 8, f"{size} bytes"
        assert open_descriptors() == descriptors


@pytest.mark.parametrize("url", ["unix://", "inproc://"])
def test_reference_counts_of_arguments(url: str) -> None:
    with Ends() as ends:
        a, b = ends.pair(url)
        data, buffer, text = b"payload of its own" * 2, bytearray(64), "a text" * 3
        timeout, parts = 12345.678, [b"parts", "of it"]
        objects = [data, text, timeout, parts, *parts, a, b, buffer]

        def use() -> None:
            a.send(data)
            a.send(text, timeout=timeout)
            a.send_many(parts, timeout)
            assert b.receive(timeout) == data
            assert b.receive_into(buffer) == len(text)
            assert b.receive() == b"parts"
            assert b.receive_many(timeout=timeout) == ["of it"]
            with pytest.raises(ipcx.WouldBlock):
                b.receive_into(buffer, 0)

        use()
        before = [sys.getrefcount(each) for each in objects]
        for _ in range(100):
            use()
        assert [sys.getrefcount(each) for each in objects] == before


def test_reference_counts_of_singletons_and_types() -> None:
    with Ends() as ends:
        calls = [prepare(ends) for prepare in CALLS.values()]
        objects = [None, True, False, 0, NotImplemented, b"", "", type(ends.pair("unix://")[0])]
        for call in calls:
            call()
        gc.collect()
        before = [sys.getrefcount(each) for each in objects]
        for call in calls:
            for _ in range(50):
                call()
        gc.collect()
        after = [sys.getrefcount(each) for each in objects]
        assert max(abs(b - a) for a, b in zip(before, after, strict=True)) < 20


PROGRAM = """
import faulthandler, gc, json, sys
sys.path.insert(0, "tests")
import _testcapi
import ipcx
from channel_calls import CALLS, Ends
from socket_help import open_descriptors

faulthandler.enable()


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
        with Ends() as ends:
            call = CALLS[name](ends)
            call()
            before = open_descriptors()
            kind = attempt(call, k)
            gc.collect()
            leaks += [k for fd in open_descriptors() if fd not in before]
            label = kind.__name__ if kind else "done"
            seen[label] = seen.get(label, 0) + 1
            quiet = quiet + 1 if kind is None else 0
            k += 1
            CALLS["send receive"](ends)()  # what is left is whole: other channels still work
    return seen, leaks


for name in CALLS:
    print(json.dumps(["begin", name]), flush=True)
    print(json.dumps([name, *every_k(name)]), flush=True)
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="CPython 3.13 crashes without memory")
@pytest.mark.hang_guard(120)
def test_every_allocation_fails_once() -> None:
    pytest.importorskip("_testcapi", reason="no _testcapi in this Python")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr[-4000:]
    told = dict((name, rest) for name, *rest in map(json.loads, ran.stdout.splitlines()))
    for name in CALLS:
        outcomes, leaks = told[name]
        assert set(outcomes) <= {"done", "MemoryError"}, name
        assert leaks == [] or name in LOST_BY_THE_CALLER, name
    assert sum("MemoryError" in outcomes for outcomes, _ in (told[n] for n in CALLS)) > 10
