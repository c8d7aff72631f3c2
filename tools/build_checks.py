#!/usr/bin/env python3
"""What a build of ipcx needs of the machine, each lack said in one sentence.

setup.py calls `require` before it compiles; the Makefile runs this file before it makes `.venv`.
Invariant: the standard library only, and syntax every Python 3 reads, so the sentence always comes.
"""

import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig

MINIMUM = (3, 11)


class Lack(SystemExit):
    """Ends the program with one sentence on stderr and exit status 1."""


def check_python(version=sys.version_info, implementation=sys.implementation.name):
    if implementation != "cpython" or tuple(version[:2]) < MINIMUM:
        raise Lack(
            "ipcx needs CPython 3.11 or newer, and this is %s %d.%d: install a newer one "
            "(Debian 12: `apt-get install python3`) and name it with PYTHON=/path/to/python3."
            % (implementation, version[0], version[1])
        )


def check_system(platform=sys.platform):
    if not platform.startswith("linux"):
        raise Lack(
            "ipcx runs on Linux only, and this is %s: use WSL 2 (Windows), a Linux container, "
            "or a hosted notebook." % platform
        )


def check_compiler(command=None):
    command = command or os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    program = (shlex.split(command) or ["cc"])[0]
    if shutil.which(program) is None:
        raise Lack(
            "ipcx is compiled here and there is no C compiler `%s`: install one "
            "(Debian: `apt-get install gcc libc6-dev`) or name another with CC=." % program
        )


def check_headers(include=None):
    include = include or sysconfig.get_path("include")
    if not os.path.exists(os.path.join(include, "Python.h")):
        raise Lack(
            "ipcx is compiled against Python.h, which is not in %s: install the headers "
            "(Debian: `apt-get install python3-dev`)." % include
        )


def check_venv(find=importlib.util.find_spec):
    if find("venv") is None or find("ensurepip") is None:
        raise Lack(
            "Making .venv needs Python's venv and ensurepip modules, and this Python lacks them: "
            "install them (Debian: `apt-get install python3-venv`)."
        )


def require():
    """Everything the compilation itself needs."""
    check_python()
    check_system()
    check_compiler()
    check_headers()


if __name__ == "__main__":
    require()
    check_venv()
