# SPDX-License-Identifier: Apache-2.0
"""Pipes, pipelines, children, files: system call k fails, for every k, with each errno.

That errno's exception, or success; no descriptor, no child and no file is left, and the next call
does what it always does.
"""

import errno
import os

import faults
import pytest
from local_calls import CALLS

ERRORS = ["ENOSPC"]
NIGHTLY = ["EINTR", "EMFILE", "EIO", "EAGAIN", "ENOMEM", "EACCES", "EROFS"]
# Calls that no signal interrupts: the kernel finishes them, or does them again by itself.
NEVER_INTERRUPTED = {"fcntl", "fstat", "mkfifo", "socketpair", "syscall", "eventfd"}
AT_NIGHT = {"child with a guardian", "child with shm://"}  # a tenth of a second each time

PROGRAM = """
import pathlib, tempfile
from beside import children
from local_calls import CALLS


def every_k(name):
    call = CALLS[name](folder)
    call()
    k, told = 0, []
    while True:
        k += 1
        gc.collect()
        before, there = open_descriptors(), children()
        error, failed = attempt(call, k, 30)
        kinds = [kind.__name__ for kind in type(error).__mro__] if error is not None else "done"
        outcome = (failed, kinds, getattr(error, "errno", None), str(error))
        del error  # and what its traceback keeps
        gc.collect()
        left = [os.readlink(f"/proc/self/fd/{fd}") for fd in open_descriptors() if fd not in before]
        left += [f"child {pid}" for pid in children() if pid not in there]
        if not failed:
            return told
        told.append((*outcome, left))
        call()


with tempfile.TemporaryDirectory() as made:
    folder = pathlib.Path(made)
    tell(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> str:
    return faults.build_shim(tmp_path_factory.mktemp("shim"), "-DFAULTS_LOCAL")


@pytest.mark.hang_guard(240)
@pytest.mark.parametrize(
    "error", [*ERRORS, *(pytest.param(name, marks=pytest.mark.night) for name in NIGHTLY)]
)
def test_every_system_call_fails_once(shim: str, error: str) -> None:
    names = [name for name in CALLS if os.environ.get("IPCX_NIGHT") == "1" or name not in AT_NIGHT]
    number = getattr(errno, error)
    wrong, injected = [], 0
    for name, told in faults.run(PROGRAM, shim, error, *names):
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
