# SPDX-License-Identifier: Apache-2.0
"""A program in which system call k fails: what its two tests share.

`fault_shim.c` is loaded in front of the C library; the program arms it for one call of `CALLS`, and
prints what became of that as lines of JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

# Followed by a program with `every_k(name)`, which tells what each k has led to.
PRELUDE = """
import ctypes, errno, faulthandler, gc, json, os, signal, sys
sys.path.insert(0, "tests")
from socket_help import open_descriptors

faulthandler.enable()
shim = ctypes.PyDLL(sys.argv[1])
shim.fault_name.restype = ctypes.c_char_p
number = getattr(errno, sys.argv[2])


def attempt(call, k, seconds):
    '''The call's exception, if it raised one, and which system call failed.'''
    error = None
    signal.alarm(seconds)
    shim.fault_arm(ctypes.c_long(k), number)
    try:
        call()
    except BaseException as raised:
        error = raised
    finally:
        shim.fault_disarm()
        signal.alarm(0)
    return error, shim.fault_name().decode()


def tell(names):
    for name in names:
        print(json.dumps(["begin", name]), flush=True)
        print(json.dumps([name, every_k(name)]), flush=True)


"""


def build_shim(folder, *flags):
    """The library to be loaded."""
    library = str(folder / "shim.so")
    build = ["cc", "-shared", "-fPIC", "-O1", *flags, "-o", library, HERE / "fault_shim.c", "-ldl"]
    subprocess.run(build, check=True)
    return library


def run(program, shim, *arguments):
    """What `tell` has told, of each name, once the program has ended well."""
    preload = f"{os.environ.get('LD_PRELOAD', '')} {shim}".strip()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRELUDE + program, shim, *arguments],
        cwd=HERE.parent,
        env={**os.environ, "LD_PRELOAD": preload},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-4000:]
    told = map(json.loads, done.stdout.splitlines())
    return [(name, what) for name, what in told if name != "begin"]
