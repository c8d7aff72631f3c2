# SPDX-License-Identifier: Apache-2.0
"""System call k fails, for every k, with each errno: that errno's exception, and nothing leaks."""

import errno

import faults
import pytest
from socket_calls import CALLS, LOST_BY_THE_CALLER

ERRORS = ["ENOSPC", "EAGAIN", "ECONNRESET", "EINTR"]
NIGHTLY = ["EIO", "EMFILE", "ENOMEM", "EBADF", "ETIMEDOUT", "EPIPE", "ENOTCONN"]

PROGRAM = """
from socket_calls import CALLS
from socket_help import Background, Kit
from ipcx import socket as net

if sys.argv[3] == "threads":
    one, two = net.socketpair()
    Background(one.recv, 1).until_blocked()


def every_k(name):
    k, told = 0, []
    while True:
        k += 1
        with Kit(net) as kit:
            call = CALLS[name](kit)
            call()
            before = open_descriptors()
            error, failed = attempt(call, k, 5)
            kind = "done" if error is None else type(error).__name__
            code = getattr(error, "errno", None)
            del error  # and what its traceback keeps
            gc.collect()
            leaks = len([fd for fd in open_descriptors() if fd not in before])
            CALLS["send recv"](kit)()
        if not failed:
            return told
        told.append((failed, kind, code, leaks))


tell(CALLS)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> str:
    return faults.build_shim(tmp_path_factory.mktemp("shim"))


@pytest.mark.hang_guard(120)
@pytest.mark.parametrize("threads", ["alone", "threads"])
@pytest.mark.parametrize(
    "error", [*ERRORS, *(pytest.param(name, marks=pytest.mark.night) for name in NIGHTLY)]
)
def test_every_system_call_fails_once(shim: str, error: str, threads: str) -> None:
    number = getattr(errno, error)
    wrong, injected = [], 0
    for name, told in faults.run(PROGRAM, shim, error, threads):
        for failed, kind, code, leaks in told:
            injected += 1
            expected = type(OSError(number, "")).__name__
            if (kind, code) not in {(expected, number), ("done", None)}:
                wrong.append((name, failed, kind, code))
            if leaks and name not in LOST_BY_THE_CALLER:
                wrong.append((name, failed, f"{leaks} left behind"))
    assert not wrong, wrong
    assert injected > len(CALLS)
