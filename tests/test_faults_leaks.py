# SPDX-License-Identifier: Apache-2.0
"""A thousand calls of each API leave as many objects, bytes and descriptors as there were."""

import gc
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from beside import keeps
from socket_calls import CALLS

from ipcx import _core
from ipcx import socket as ours
from socket_help import Background, Kit, open_descriptors

ROUNDS = 1000
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", CALLS)
def test_thousand_calls_leave_nothing(name: str) -> None:
    with Kit(ours) as kit:
        call = CALLS[name](kit)
        tracemalloc.start()
        try:
            for _ in range(50):
                call()
            gc.collect()
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


def test_reference_counts_of_arguments() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        udp = kit.bound("udp4")
        data, buffer, name = b"payload of its own" * 2, bytearray(64), udp.getsockname()
        timeout, parts = 12345.678, [b"parts", b"of it"]
        objects = [data, buffer, name, name[0], name[1], timeout, parts, parts[0], one, two, udp]
        before = [sys.getrefcount(each) for each in objects]
        for _ in range(ROUNDS):
            one.send(data)
            one.sendmsg(parts)
            one.sendall(data)
            two.recv_into(buffer)
            udp.sendto(data, name)
            udp.recvfrom_into(buffer)
            one.settimeout(timeout)
            one.settimeout(None)
            two.recv(999)
        assert [sys.getrefcount(each) for each in objects] == before


def test_reference_counts_of_singletons_and_types() -> None:
    with Kit(ours) as kit:
        calls = [prepare(kit) for prepare in CALLS.values()]
        objects = [None, True, False, 0, ours.socket, OSError, TimeoutError, bytes, b""]
        for call in calls:
            call()
        before = [sys.getrefcount(each) for each in objects]
        for call in calls:
            for _ in range(100):
                call()
        after = [sys.getrefcount(each) for each in objects]
        assert max(abs(b - a) for a, b in zip(before, after, strict=True)) < 20


def test_waits_and_closes_of_threads_leave_nothing() -> None:
    def once() -> None:
        one, two = ours.socketpair()
        with one, two:
            waiter = Background(one.recv, 1).until_blocked()
            one.close()
            with pytest.raises(OSError, match="Errno 9"):
                waiter.finish()

    for _ in range(100):
        once()
    gc.collect()
    descriptors = open_descriptors()
    grown = []
    for _ in range(3):  # a leak shows in each round, a table of the interpreter's that grows in one
        before = sys.getallocatedblocks()
        for _ in range(100):
            once()
        gc.collect()
        grown.append(sys.getallocatedblocks() - before)
    assert open_descriptors() == descriptors
    assert min(grown) < 50, grown


def test_trace_and_error_hooks_leave_nothing() -> None:
    seen: list[int] = []
    errors: list[int] = []
    with Kit(ours) as kit:
        calls = [CALLS[name](kit) for name in ("send recv", "connect accept", "wrong arguments")]
        _core.set_trace(lambda *event: seen.append(len(event)))
        _core.set_error_hook(lambda *event: errors.append(len(event)))
        try:
            for call in calls:

                def heard(call=call) -> None:
                    call()
                    seen.clear()
                    errors.clear()

                assert not keeps(heard, ROUNDS, ROUNDS / 20)
        finally:
            _core.set_trace(None)
            _core.set_error_hook(None)


# ---- with an interpreter that counts every reference


COUNT = """
import gc, sys
sys.path.insert(0, "tests")
from channel_calls import CALLS as OF_CHANNELS, Ends
from socket_calls import CALLS
from socket_help import Kit
from ipcx import socket as ours
for name, prepare in {**CALLS, **OF_CHANNELS}.items():
    with Ends() if name in OF_CHANNELS else Kit(ours) as kit:
        call = prepare(kit)
        for _ in range(50):
            call()
        gc.collect()
        before = sys.gettotalrefcount()
        for _ in range(1000):
            call()
        gc.collect()
        grown = sys.gettotalrefcount() - before
        if abs(grown) >= 50:
            print(name, grown)
print("counted")
"""


@pytest.mark.hang_guard(240)
def test_total_reference_count_is_flat(tmp_path) -> None:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    debug = shutil.which(f"python{version}-dbg")
    if debug is None:
        pytest.skip(f"python{version}-dbg is not installed: .ci/run installs it")
    setuptools = str(Path(__import__("setuptools").__file__).parent.parent)
    # Compiling is most of the time here, and references are no business of the optimiser's.
    env = {**os.environ, "PYTHONPATH": setuptools, "IPCX_CFLAGS": "-O0 -w", "IPCX_WERROR": "0"}
    build = [debug, "setup.py", "-q", "build_ext", "-b", tmp_path, "-t", tmp_path]
    subprocess.run(build, cwd=ROOT, env=env, check=True, capture_output=True)
    for source in (ROOT / "ipcx").glob("*.py"):
        shutil.copy(source, tmp_path / "ipcx")
    env["PYTHONPATH"] = os.pathsep.join(map(str, (tmp_path, ROOT / "tests", setuptools)))
    count = [debug, "-W", "ignore", "-c", COUNT]
    run = subprocess.run(count, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.stdout == "counted\n", run.stdout + run.stderr[-3000:]
