# SPDX-License-Identifier: Apache-2.0
"""The command line `ipcx`, and the one constant all install hints are made of."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import ipcx.__main__ as command_line
from ipcx import _install

pytestmark = pytest.mark.hang_guard(60)
GUARD = 50


def ipcx(*arguments, **options):
    options = {"capture_output": True, "text": True, "timeout": GUARD, **options}
    return subprocess.run([sys.executable, "-m", "ipcx", *arguments], **options)


def test_version():
    assert ipcx("--version").stdout == f"ipcx {version('libipcx')}\n"


def test_the_console_script_is_the_same():
    script = Path(sys.executable).with_name("ipcx")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=GUARD)
    assert done.stdout == ipcx("--version").stdout


def test_help_lists_every_command():
    done = ipcx("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for name, command in command_line.COMMANDS.items():
        assert name in done.stdout
        assert command.help in done.stdout


def test_nothing_asked_for():
    done = ipcx()
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: ipcx" in done.stderr


def test_an_unknown_command_gets_the_list_and_a_guess():
    done = ipcx("explian", "EPIPE")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no command `explian`" in done.stderr
    assert "`explain`?" in done.stderr
    for name in command_line.COMMANDS:
        assert name in done.stderr


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_can_be_loaded(name):
    assert callable(command_line.COMMANDS[name].load())


def test_nothing_is_imported_before_a_command_is_chosen():
    code = "import ipcx, sys; before = set(sys.modules); import ipcx.__main__; "
    code += "print(sorted(m for m in set(sys.modules) - before if m.startswith('ipcx')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=GUARD
    )
    assert done.stdout == "['ipcx.__main__']\n"


def test_what_import_ipcx_does_without():
    code = "import ipcx, sys; print({'asyncio', 'json', 'multiprocessing'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=GUARD
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("arguments", [["explain", "EPIPE"], ["--help"], ["doctor", "--json"]])
def test_a_reader_that_goes_away(arguments):
    read, write = os.pipe()
    os.close(read)
    done = ipcx(*arguments, capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_stdout():
    done = ipcx("explain", "EPIPE", capture_output=False, preexec_fn=lambda: os.close(1))
    assert done.returncode == 0


def test_ctrl_c(monkeypatch):
    def interrupted(self):
        def main(argv):
            raise KeyboardInterrupt

        return main

    monkeypatch.setattr(command_line.Command, "load", interrupted)
    assert command_line.main(["doctor"]) == 130


def test_install_hints():
    assert _install.DISTRIBUTION == "libipcx"
    assert _install.install_hint() == "python -m pip install libipcx"
    assert _install.install_hint("mpi") == "python -m pip install 'libipcx[mpi]'"
