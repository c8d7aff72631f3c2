# SPDX-License-Identifier: Apache-2.0
"""Runs one of the interpreter's own test modules over the stdlib's modules or over ipcx's drop-ins.

Child (``runner.py MODULE OVER RESULTS [ID …]``): puts the wanted module in place of ``socket``, or
of what DROP_INS says, before anything imports it, runs the tests and writes one JSON line per
event, so that a crash or a hang still names the test that was running. Parent (`run_module`,
`compare`): starts children, reads their lines and says which tests pass over the stdlib only.
Invariant: nothing but the standard library and ipcx is imported here, and in the child nothing
that imports ``socket`` before `install` ran.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PASSED = ("ok", "expected failure")
# Not run over either: a VM may have vsock without a peer, where this one waits for ever on a
# fixed port of the host.
NOT_RUN = ("ThreadedVSOCKSocketStreamTest",)
# They ask for the network and use the loopback only.
LOOPBACK_ONLY = ("test.test_socketserver",)
# Test modules of other drop-ins than the socket: what the stdlib's name is to mean.
DROP_INS = {
    "test.test_mmap": {"mmap": "ipcx.mmap"},
    "test.shared_memory_fork": {"multiprocessing.shared_memory": "ipcx.shared_memory"},
    "test.shared_memory_spawn": {"multiprocessing.shared_memory": "ipcx.shared_memory"},
}
# Modules made here of one class of test._test_multiprocessing, whose own take minutes; the name
# ends with the way children are started.
MADE = {
    "test.shared_memory_fork": "_TestSharedMemory",
    "test.shared_memory_spawn": "_TestSharedMemory",
}


def install(over: str, module: str) -> None:
    """Makes ``import socket`` mean what `over` says, for every module loaded from here on."""
    if over == "ipcx" and module in DROP_INS:
        for name, ours in DROP_INS[module].items():
            package, _, attribute = name.rpartition(".")
            sys.modules[name] = importlib.import_module(ours)
            if package:
                setattr(importlib.import_module(package), attribute, sys.modules[name])
    elif over == "ipcx":
        from ipcx.run import install as install_ipcx

        install_ipcx()


def make(module: str) -> None:
    """Makes the module of MADE importable, as CPython's own test_multiprocessing_fork is made."""
    import types

    import test
    from test import _test_multiprocessing as source

    made = types.ModuleType(module)
    source.install_tests_in_module_dict(vars(made), module.rpartition("_")[2])
    wanted = MADE[module].removeprefix("_")
    for name, value in list(vars(made).items()):
        if isinstance(value, type) and not name.endswith(wanted):
            delattr(made, name)
    sys.modules[module] = made
    setattr(test, module.rpartition(".")[2], made)


def _child(module: str, over: str, results: str, only: list[str]) -> int:
    # ``python runner.py`` put this folder first: a test module must not find our files.
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
    install(over, module)
    if module in MADE:
        make(module)
    import faulthandler
    import unittest

    from test import support

    faulthandler.enable()
    # Neither network, largefile nor cpu: regrtest's default.
    support.use_resources = ["network"] if module in LOOPBACK_ONLY else []
    support.verbose = False
    with open(results, "a", encoding="utf-8", buffering=1) as out:

        def say(**event: object) -> None:
            out.write(json.dumps(event) + "\n")

        class Recorder(unittest.TestResult):
            def startTest(self, test):
                super().startTest(test)
                self.worst = "ok"
                say(start=test.id())

            def note(self, test, outcome, text=""):
                say(id=test.id(), outcome=outcome, text=text)

            def addSuccess(self, test):
                super().addSuccess(test)
                self.note(test, "ok")

            def addSkip(self, test, reason):
                super().addSkip(test, reason)
                self.note(test, "skip", reason)

            def addFailure(self, test, err):
                super().addFailure(test, err)
                self.note(test, "fail", self._exc_info_to_string(err, test))

            def addError(self, test, err):
                super().addError(test, err)
                text = err[1].__class__.__name__
                if hasattr(test, "_testMethodName"):
                    text = self._exc_info_to_string(err, test)
                self.note(test, "error", text + "\n" + str(err[1]))

            def addSubTest(self, test, subtest, err):
                super().addSubTest(test, subtest, err)
                if err is not None:
                    self.note(test, "fail", self._exc_info_to_string(err, test))

            def addExpectedFailure(self, test, err):
                super().addExpectedFailure(test, err)
                self.note(test, "expected failure")

            def addUnexpectedSuccess(self, test):
                super().addUnexpectedSuccess(test)
                self.note(test, "unexpected success")

        # regrtest's own order: load, then run as one suite so that fixtures of modules work.
        loader = unittest.TestLoader()
        suite = loader.loadTestsFromNames(only) if only else loader.loadTestsFromName(module)
        for trouble in loader.errors:
            say(id=module, outcome="error", text=trouble)
        _drop(suite)
        suite.run(Recorder())
        say(end=True)
    return 0


def _drop(suite) -> None:
    """Takes the tests of NOT_RUN out of `suite`."""
    suite._tests = [
        test for test in suite._tests if not any(name in NOT_RUN for name in _names(test))
    ]
    for test in suite._tests:
        if hasattr(test, "_tests"):
            _drop(test)


def _names(test) -> tuple:
    return () if hasattr(test, "_tests") else (type(test).__name__, test.id())


def run_module(module: str, over: str, only: list[str] | None = None, guard: float = 600) -> dict:
    """Runs `module` over `over` in a child; returns outcomes by test id.

    A test's worst event counts. A test that was started and never finished (crash, hang past the
    `guard`) has the outcome "died". The key "" says how the child ended.
    """
    if only is None:
        only = []
    with tempfile.TemporaryDirectory(prefix="ipcx-stdlib-") as folder:
        results = os.path.join(folder, "results.jsonl")
        work = os.path.join(folder, "work")
        os.mkdir(work)
        env = dict(os.environ, TMPDIR=work, PYTHONFAULTHANDLER="1")
        env.pop("PYTHONWARNINGS", None)
        command = [sys.executable, os.path.abspath(__file__), module, over, results, *only]
        output = os.path.join(folder, "output")
        started = time.monotonic()
        with open(output, "wb") as sink:
            child = subprocess.Popen(
                command,
                cwd=work,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
            try:
                status = child.wait(timeout=guard)
            except subprocess.TimeoutExpired:
                status = "hang"
            finally:
                # The tests' own children, if one was left, end with their session's group.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, 9)
                child.wait()
        outcomes = _read(results)
        with open(output, errors="replace") as source:
            tail = source.read()[-4000:]
        outcomes[""] = {
            "outcome": str(status),
            "text": tail,
            "seconds": time.monotonic() - started,
        }
        return outcomes


def _read(results: str) -> dict:
    order = ("ok", "expected failure", "skip", "unexpected success", "fail", "error", "died")
    outcomes: dict = {}
    running = None
    try:
        lines = open(results, encoding="utf-8")
    except FileNotFoundError:
        return outcomes
    with lines:
        for line in lines:
            event = json.loads(line)
            if "start" in event:
                running = event["start"]
            elif "id" in event:
                running = None if event["id"] == running else running
                known = outcomes.get(event["id"])
                if known is None or order.index(event["outcome"]) > order.index(known["outcome"]):
                    outcomes[event["id"]] = event
            elif event.get("end"):
                running = None
    if running is not None:
        outcomes[running] = {"outcome": "died", "text": "the child ended while this test ran"}
    return outcomes


def exceptions() -> dict:
    """Test id → reason, from exceptions.txt (``ID  # reason``, a reason is compulsory)."""
    known = {}
    with open(os.path.join(HERE, "exceptions.txt"), encoding="utf-8") as source:
        for line in source:
            name, _, reason = line.partition("#")
            if name.strip():
                if not reason.strip():
                    raise ValueError(f"no reason given: {line!r}")
                known[name.strip()] = reason.strip()
    return known


def passes(outcomes: dict) -> set:
    return {name for name, event in outcomes.items() if name and event["outcome"] in PASSED}


def compare(module: str, guard: float = 600, retries: int = 2) -> dict:
    """Runs `module` over both, at the same time; returns what was seen.

    "lost": id → text for each test that passes over the stdlib and not over ipcx. Such a test is
    run again alone, over both, up to `retries` times: one that fails alone over the stdlib as
    well, or passes alone over ipcx, is flaky and not lost.
    """
    from concurrent.futures import ThreadPoolExecutor

    def both(only: list[str]) -> list[dict]:
        with ThreadPoolExecutor(2) as pool:
            return list(
                pool.map(lambda over: run_module(module, over, only, guard), ("stdlib", "ipcx"))
            )

    stdlib, ipcx = both([])
    lost = passes(stdlib) - passes(ipcx) - exceptions().keys()
    texts = {name: ipcx.get(name, ipcx[""]) for name in lost}
    flaky = set()
    for _ in range(retries):
        again = sorted(name for name in lost if name.startswith(module + "."))[:40]
        if not again:
            break
        alone_stdlib, alone_ipcx = both(again)
        settled = {
            name for name in again if name in passes(alone_ipcx) or name not in passes(alone_stdlib)
        }
        flaky |= settled
        lost -= settled
    return {
        "module": module,
        "stdlib": len(passes(stdlib)),
        "ipcx": len(passes(ipcx)),
        "seconds": max(stdlib[""]["seconds"], ipcx[""]["seconds"]),
        "ends": (stdlib[""]["outcome"], ipcx[""]["outcome"]),
        "lost": {name: texts[name]["outcome"] + ": " + texts[name]["text"] for name in lost},
        "flaky": sorted(flaky),
    }


def main(arguments: list[str]) -> int:
    """``runner.py --compare MODULE …``: the comparison by hand, without pytest."""
    worst = 0
    for module in arguments:
        seen = compare(module)
        print(
            f"{module}: {seen['stdlib']} pass over stdlib, {seen['ipcx']} over ipcx, "
            f"{len(seen['lost'])} lost, {len(seen['flaky'])} flaky, {seen['seconds']:.1f} s, "
            f"ends {seen['ends']}",
            flush=True,
        )
        for name, text in sorted(seen["lost"].items()):
            print(f"  {name}\n    " + text[-1500:].replace("\n", "\n    "), flush=True)
            worst = 1
    return worst


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        sys.exit(main(sys.argv[2:]))
    sys.exit(_child(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
