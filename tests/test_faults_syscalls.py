# SPDX-License-Identifier: Apache-2.0
"""System call k fails, for every k, with each errno: that errno's exception, and nothing leaks."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from socket_calls import CALLS, LOST_BY_THE_CALLER

HERE = Path(__file__).parent
ERRORS = ["ENOSPC", "EAGAIN", "ECONNRESET", "EINTR"]
NIGHTLY = ["EIO", "EMFILE", "ENOMEM", "EBADF", "ETIMEDOUT", "EPIPE", "ENOTCONN"]

PROGRAM = """
import ctypes, errno, faulthandler, gc, json, signal, sys
sys.path.insert(0, "tests")
from socket_calls import CALLS
from socket_help import Background, Kit, open_descriptors
from ipcx import socket as net

faulthandler.enable()
shim = ctypes.PyDLL(sys.argv[1])
shim.fault_name.restype = ctypes.c_char_p
number = getattr(errno, sys.argv[2])
if sys.argv[3] == "threads":
    one, two = net.socketpair()
    Background(one.recv, 1).until_blocked()


def attempt(call, k):
    error = None
    shim.fault_arm(ctypes.c_long(k), number)
    try:
        call()
    except BaseException as raised:
        error = raised
    finally:
        count = shim.fault_disarm()
    if error is None:
        return count, "done", None
    return count, type(error).__name__, getattr(error, "errno", None)


def every_k(name):
    k, told = 0, []
    while True:
        k += 1
        with Kit(net) as kit:
            call = CALLS[name](kit)
            call()
            before = open_descriptors()
            signal.alarm(5)
            count, kind, code = attempt(call, k)
            signal.alarm(0)
            failed = shim.fault_name().decode()
            gc.collect()
            leaks = len([fd for fd in open_descriptors() if fd not in before])
            CALLS["send recv"](kit)()
        if not failed:
            return told
        told.append((failed, kind, code, leaks))


for name in CALLS:
    print(json.dumps(["begin", name]), flush=True)
    print(json.dumps([name, every_k(name)]), flush=True)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> str:
    library = str(tmp_path_factory.mktemp("shim") / "shim.so")
    build = ["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "fault_shim.c", "-ldl"]
    subprocess.run(build, check=True)
    return library


@pytest.mark.hang_guard(120)
@pytest.mark.parametrize("threads", ["alone", "threads"])
@pytest.mark.parametrize(
    "error", [*ERRORS, *(pytest.param(name, marks=pytest.mark.night) for name in NIGHTLY)]
)
def test_every_system_call_fails_once(shim: str, error: str, threads: str) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, shim, error, threads],
        cwd=HERE.parent,
        env={**os.environ, "LD_PRELOAD": f"{os.environ.get('LD_PRELOAD', '')} {shim}".strip()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    number = getattr(errno, error)
    wrong, injected = [], 0
    for line in run.stdout.splitlines():
        name, told = json.loads(line)
        if name == "begin":
            continue
        for failed, kind, code, leaks in told:
            injected += 1
            expected = type(OSError(number, "")).__name__
            if (kind, code) not in {(expected, number), ("done", None)}:
                wrong.append((name, failed, kind, code))
            if leaks and name not in LOST_BY_THE_CALLER:
                wrong.append((name, failed, f"{leaks} left behind"))
    assert not wrong, wrong
    assert injected > len(CALLS)
