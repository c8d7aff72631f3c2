"""The C tests: each tests/c/test_*.c is a program of its own, each fuzz corpus is replayed."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = sorted(path.stem for path in (ROOT / "tests/c").glob("test_*.c"))
TARGETS = sorted(path.stem for path in (ROOT / "tests/fuzz").glob("fuzz_*.c"))


def make(*arguments):
    """make without the flags and the job server of a make that may have started us."""
    quiet = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", "-s", "--no-print-directory", *arguments],
        cwd=ROOT, env=quiet, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def built():
    done = make("-j2", "ctests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr, done.stderr


@pytest.mark.usefixtures("built")
@pytest.mark.hang_guard(60)
@pytest.mark.parametrize("name", TESTS)
def test_module(name, tmp_path):
    ran = subprocess.run(
        [ROOT / "build/c/plain" / name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith(", 0 failed\n"), ran.stdout


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name):
    corpus = sorted((ROOT / "tests/fuzz/corpus" / name.removeprefix("fuzz_")).iterdir())
    ran = subprocess.run(
        [ROOT / "build/fuzz/replay" / name, *corpus], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, f"{len(corpus)} inputs\n"), ran.stderr


def test_every_module_has_a_test():
    headers = {path.stem for path in (ROOT / "csrc/include/ipcx").glob("*.h")}
    # Without code of their own: macros, tables (walked by test_status), and the list of all.
    headers -= {"api", "ipcx", "status_table", "explain_table"}
    assert {f"test_{name}" for name in headers} <= set(TESTS)
