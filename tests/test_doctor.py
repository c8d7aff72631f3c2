# SPDX-License-Identifier: Apache-2.0
"""`ipcx doctor`: its keys are stable, its exit status says whether something needed is missing."""

import json
import resource
import subprocess
import sys

import pytest

from ipcx import doctor

KEYS = [
    "python",
    "headers",
    "compiler",
    "core",
    "fast_prefix",
    "kernel",
    "ipv4",
    "ipv6",
    "unix",
    "abstract",
    "seqpacket",
    "peercred",
    "pass_fds",
    "accept4",
    "eventfd",
    "memfd",
    "pidfd",
    "membarrier",
    "rseq",
    "cpus",
    "nofile",
    "processes",
    "signals",
    "pipes",
    "inotify",
    "shm",
    "memory",
    "memlock",
    "maps",
    "backlog",
    "tcp_buffers",
    "socket_buffers",
    "ports",
    "container",
    "round_trip",
]


@pytest.fixture(scope="module")
def findings():
    return doctor.report()


def test_the_keys_are_stable(findings):
    assert list(findings) == KEYS
    assert all(key in doctor.__doc__ for key in KEYS)


def test_everything_needed_is_here(findings):
    assert doctor.to_do(findings) == []
    needed = {name for name, entry in doctor.CHECKS.items() if entry.needed}
    assert all(findings[name].ok for name in needed)


def test_each_finding_says_something(findings):
    for name, found in findings.items():
        assert found.ok in (True, False, None), name
        assert found.text, name
        assert "cannot be found out" not in found.text, found.text


def test_values_are_the_machines(findings):
    assert findings["python"].value["version"] == sys.version.split()[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert findings["nofile"].value == {"soft": soft, "hard": hard}
    assert findings["memlock"].value["soft"] == resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    assert findings["memory"].value["left"] > 0
    assert findings["maps"].value["most"] > findings["maps"].value["used"] > 10
    assert findings["cpus"].value["allowed"] >= 1
    assert findings["round_trip"].value["microseconds"] > 0


def test_text(capsys):
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert "✓ python" in out
    assert out.endswith("Everything ipcx needs is here.\n")
    assert {
        line.split()[1] for line in out.splitlines() if line[:3] in ("  ✓", "  ✗", "  ·")
    } == set(KEYS)


def test_json(capsys):
    assert doctor.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"ok", "to_do", "findings"}
    assert (report["ok"], report["to_do"]) == (True, [])
    assert list(report["findings"]) == KEYS
    for found in report["findings"].values():
        assert set(found) == {"ok", "needed", "value", "text"}


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_something_needed_is_missing(capsys, monkeypatch, arguments):
    def missing():
        return doctor.Finding(False, None, "no sockets", "Allow sockets.")

    monkeypatch.setitem(doctor.CHECKS, "unix", doctor.Check("Kernel", True, missing))
    assert doctor.main(arguments) == 1
    out = capsys.readouterr().out
    if arguments:
        report = json.loads(out)
        assert (report["ok"], report["to_do"]) == (False, ["Allow sockets."])
    else:
        assert "✗ unix" in out
        assert out.endswith("\nAllow sockets.\n")


def test_something_missing_that_is_not_needed(monkeypatch):
    def no_memfd(name, flags=0):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(doctor.os, "memfd_create", no_memfd)
    found = doctor.memfd()
    assert found.ok is False
    assert "no memfd" in found.text
    assert "Function not implemented" in found.text
    assert doctor.main(["--json"]) == 0


def test_a_check_that_fails_itself_is_said_not_raised(monkeypatch):
    def broken():
        raise RuntimeError("odd machine")

    assert doctor._found(broken).text == "cannot be found out (RuntimeError: odd machine)"


def test_one_cpu_and_few_descriptors(tmp_path):
    code = (
        "import os, resource; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from ipcx import doctor\n"
        "print(doctor.cpus().ok, doctor.nofile().ok, doctor.cpus().value['allowed'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.stdout == "False False 1\n"


def test_a_terminal_without_unicode():
    done = subprocess.run(
        [sys.executable, "-m", "ipcx", "doctor"],
        capture_output=True,
        timeout=50,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"? python" in done.stdout
