# SPDX-License-Identifier: Apache-2.0
"""Pipes, pipelines, children, files: system call k fails, for every k, with each errno.

That errno's exception, or success; no descriptor, no child and no file is left, and the next call
does what it always does.
"""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from local_calls import CALLS

HERE = Path(__file__).parent
ERRORS = ["ENOSPC"]
NIGHTLY = ["EINTR", "EMFILE", "EIO", "EAGAIN", "ENOMEM", "EACCES", "EROFS"]
# Calls that no signal interrupts: the kernel finishes them, or does them again by itself.
NEVER_INTERRUPTED = {"fcntl", "fstat", "mkfifo", "socketpair", "syscall", "eventfd"}
AT_NIGHT = {"child with a guardian", "child with shm://"}  # a tenth of a second each time

PROGRAM = """
import ctypes, errno, faulthandler, gc, json, os, pathlib, signal, sys, tempfile, warnings
sys.path.insert(0, "tests")
from beside import children
from local_calls import CALLS
from socket_help import open_descriptors

faulthandler.enable()
shim = ctypes.PyDLL(sys.argv[1])
shim.fault_name.restype = ctypes.c_char_p
number = getattr(errno, sys.argv[2])


def attempt(call, k):
    error = None
    shim.fault_arm(ctypes.c_long(k), number)
    try:
        call()
    except BaseException as raised:
        error = raised
    finally:
        shim.fault_disarm()
    if error is None:
        return "done", None, ""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return kinds, getattr(error, "errno", None), str(error)


def every_k(name, folder):
    call = CALLS[name](folder)
    call()
    k, told = 0, []
    while True:
        k += 1
        gc.collect()
        before, there = open_descriptors(), children()
        signal.alarm(30)
        kinds, code, text = attempt(call, k)
        signal.alarm(0)
        failed = shim.fault_name().decode()
        gc.collect()
        left = [os.readlink(f"/proc/self/fd/{fd}") for fd in open_descriptors() if fd not in before]
        left += [f"child {pid}" for pid in children() if pid not in there]
        if not failed:
            return told
        told.append((failed, kinds, code, text, left))
        call()


with tempfile.TemporaryDirectory() as folder:
    for name in sys.argv[3:]:
        print(json.dumps(["begin", name]), flush=True)
        print(json.dumps([name, every_k(name, pathlib.Path(folder))]), flush=True)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> str:
    library = str(tmp_path_factory.mktemp("shim") / "shim.so")
    build = ["cc", "-shared", "-fPIC", "-O1", "-DFAULTS_LOCAL", "-o", library]
    subprocess.run([*build, HERE / "fault_shim.c", "-ldl"], check=True)
    return library


@pytest.mark.hang_guard(240)
@pytest.mark.parametrize(
    "error", [*ERRORS, *(pytest.param(name, marks=pytest.mark.night) for name in NIGHTLY)]
)
def test_every_system_call_fails_once(shim: str, error: str) -> None:
    names = [name for name in CALLS if os.environ.get("IPCX_NIGHT") == "1" or name not in AT_NIGHT]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, shim, error, *names],
        cwd=HERE.parent,
        env={**os.environ, "LD_PRELOAD": f"{os.environ.get('LD_PRELOAD', '')} {shim}".strip()},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout[-200:]
    number = getattr(errno, error)
    wrong, injected = [], 0
    for line in run.stdout.splitlines():
        name, told = json.loads(line)
        if name == "begin":
            continue
        for failed, kinds, code, text, left in told:
            injected += 1
            if error in ("EINTR", "EAGAIN") and failed in NEVER_INTERRUPTED:
                continue
            told_so = code == number or (error == "ENOMEM" and "MemoryError" in kinds)
            if kinds != "done" and not told_so:
                wrong.append((name, failed, kinds[0], code, text))
            if left:
                wrong.append((name, failed, "left behind:", *left))
    assert not wrong, "\n".join(map(str, wrong))
    assert injected > 5 * len(names)
