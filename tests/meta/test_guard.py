"""The guards of tests/conftest.py from outside: each kind of leftover fails a test by name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent.parent / "conftest.py"


def run_pytest(folder: Path, body: str, **environment: str) -> str:
    """pytest's output over one test module guarded by our conftest."""
    tests = folder / "tests"
    tests.mkdir()
    shutil.copy(CONFTEST, tests)
    (tests / "allowed_skips.txt").write_text("*test_one.py::test_fine* | not *\n")
    (tests / "test_one.py").write_text(body)
    markers = "[pytest]\nmarkers =\n  hang_guard(s): x\n  leaves_behind(what): x\n  night: x\n"
    (folder / "pytest.ini").write_text(markers)
    outer = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "IPCX_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests"],
        cwd=folder,
        env={**outer, "TMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    return f"{done.stdout}{done.stderr}\nexit status {done.returncode}"


LEFTOVERS = """
import os, socket, subprocess, tempfile, threading
kept = []
other = os.dup(2)
def test_fd(): kept.append(os.open("/dev/null", 0))
def test_foreign_fd(): os.close(other)
def test_zombie(): os.fork() or os._exit(0)
def test_thread(): threading.Thread(target=threading.Event().wait, daemon=True).start()
def test_child(): kept.append(subprocess.Popen(["sleep", "60"]))
def test_name(unique_name): open("/dev/shm/" + unique_name(), "w").close()
def test_socket_file():
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(tempfile.gettempdir() + "/left.sock")
def test_after_all_of_them(): pass
"""


@pytest.mark.hang_guard(30)
def test_a_leftover_fails_the_test_that_made_it(tmp_path):
    output = run_pytest(tmp_path, LEFTOVERS)
    for test, complaint in (
        ("test_fd", r"left behind in fds: \d+ /dev/null"),
        ("test_foreign_fd", r"closed descriptor \d+, which was not its own"),
        ("test_thread", r"left behind in threads: \d+ "),
        ("test_child", r"left behind in children: \d+ sleep 60"),
        ("test_zombie", r"left behind in children: \d+ \w+ \(ended, never waited for\)"),
        ("test_name", r"left behind in names: /dev/shm/ipcx-t"),
        ("test_socket_file", r"left behind in names: \S+/left.sock"),
    ):
        assert re.search(rf"::{test}\n  {complaint}", output), f"{test}: {output}"
    assert "8 passed, 7 errors" in output


@pytest.mark.hang_guard(30)
def test_what_is_cleaned_up_is_fine(tmp_path):
    body = (
        "import os, subprocess, threading\n"
        "def test(spawn, socket_dir):\n"
        "  (socket_dir / 'x').touch()\n"
        "  child = spawn('-c', 'print(input())')\n"
        "  assert child.communicate('hello')[0] == 'hello\\n'\n"
        "  spawn('-c', 'input()')\n"
        "  thread = threading.Thread(target=int)\n"
        "  thread.start()\n"
        "  thread.join()\n"
    )
    assert "1 passed" in run_pytest(tmp_path, body)


@pytest.mark.hang_guard(30)
def test_a_test_that_hangs_ends_with_a_traceback(tmp_path):
    output = run_pytest(
        tmp_path,
        "import threading\ndef test_stuck(): threading.Event().wait()",
        IPCX_HANG_GUARD="1",
    )
    assert "test_one.py::test_stuck: still running after 1 s" in output
    assert "in test_stuck" in output
    assert output.endswith("exit status -6")


def test_the_guards_leave_the_process_with_one_thread(tmp_path):
    """How a socket waits and whether fork warns depend on it."""
    body = "import os\ndef test(): assert len(os.listdir('/proc/self/task')) == 1"
    assert "1 passed" in run_pytest(tmp_path, body)


SKIPS = (
    "import pytest\n"
    "@pytest.mark.parametrize('n', [1])\n"
    "def test_fine(n): pytest.skip('not today')\n"
)


@pytest.mark.hang_guard(30)
@pytest.mark.parametrize(
    ("body", "strict", "status"),
    [
        (SKIPS, "1", 0),
        (SKIPS + "def test_other(): pytest.skip('not today')\n", "1", 1),
        (SKIPS + "def test_other(): pytest.skip('not today')\n", "0", 0),
        ("import pytest\npytest.skip('all of it', allow_module_level=True)\n" + SKIPS, "1", 1),
    ],
    ids=["allowed", "refused", "not-strict", "refused-module"],
)
def test_only_the_allowed_skips_pass_a_strict_run(tmp_path, body, strict, status):
    body += "def test_passes(): pass\n"
    output = run_pytest(tmp_path, body, IPCX_STRICT_SKIPS=strict)
    refused = "skips that tests/allowed_skips.txt does not name" in output
    assert refused == (status == 1)
    assert ("test_other | not today" in output or "test_one.py | all of it" in output) == refused
    assert output.endswith("exit status 0") == (status == 0)
