# SPDX-License-Identifier: Apache-2.0
"""One small use of each way for the processes of one host, to be repeated, for injected faults.

``CALLS[name](folder)`` gives the call. Invariant: a call that succeeds leaves everything as it
found it, so that the thousandth does what the first did.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

import ipcx
from ipcx import files, process
from ipcx.pipes import NamedPipe, Pipeline, pipe


def _pipe(folder: Path) -> Callable:
    def call() -> None:
        with pipe() as fd:
            fd.write_end.write(b"bytes")
            assert fd.read_end.read(timeout=5) == b"bytes"
            fd.write_end.close()
            assert fd.read_end.read_all(5) == b""

    return call


def _named_pipe(folder: Path) -> Callable:
    def call() -> None:
        with (
            NamedPipe(folder / "fifo", create=True, exist_ok=True) as named,
            named.reader() as reads,
            named.writer(5) as writes,
        ):
            writes.write(b"bytes")
            assert reads.read(timeout=5) == b"bytes"
        named.unlink()

    return call


def _pipeline(folder: Path) -> Callable:
    def call() -> None:
        done = (Pipeline("cat") | "cat").run(b"bytes", timeout=30)
        assert done.output == b"bytes"

    return call


def _lines(folder: Path) -> Callable:
    def call() -> None:
        with contextlib.closing(Pipeline("cat").lines(["one\n", "two\n"], timeout=30)) as lines:
            assert next(lines) == "one"

    return call


def _into_a_file(folder: Path) -> Callable:
    def call() -> None:
        (Pipeline("echo bytes") | "cat").run(output=folder / "output", timeout=30)
        assert (folder / "output").stat().st_size == len(b"bytes\n")  # reading may fail, too

    return call


def _captured(folder: Path) -> Callable:
    def call() -> None:
        with process.spawn("echo bytes", channel=None, output="capture") as child:
            assert child.output.read() == b"bytes\n"
            assert child.wait(30).ok

    return call


def _with_a_channel(url: str) -> Callable:
    def prepare(folder: Path) -> Callable:
        def call() -> None:
            with process.spawn("true", channel=url) as child:
                assert child.wait(30).ok

        return call

    return prepare


def _guarded(folder: Path) -> Callable:
    def call() -> None:
        with process.spawn("true", channel=None, die_with_parent=True) as child:
            assert child.wait(30).ok

    return call


def _atomic_write(folder: Path) -> Callable:
    target = folder / "target"
    files.atomic_write(target, b"whole")

    def call() -> None:
        try:
            files.atomic_write(target, b"whole")
        finally:
            assert [p for p in folder.iterdir() if p.name.startswith((".", "target."))] == []

    return call


def _lock(folder: Path) -> Callable:
    def call() -> None:
        with files.FileLock(folder / "lock"):
            pass

    return call


def _log(folder: Path) -> Callable:
    path, told = folder / "log", []

    def call() -> None:
        with files.MessageLog(path) as log:
            log.append(b"message")
            told.append(b"message")
            log.append_many([b"message"] * 2)
            told.extend([b"message"] * 2)

    return call


def _durable_log(folder: Path) -> Callable:
    def call() -> None:
        with files.MessageLog(folder / "durable", durable=True, segment_size=4096, keep=1) as log:
            log.append(bytes(1500))

    return call


def _follow(folder: Path) -> Callable:
    path = folder / "followed"
    with files.MessageLog(path) as log:
        log.append("message")

    def call() -> None:
        with files.Follower(path) as follower:
            assert follower.receive(5) == "message"
            with contextlib.suppress(ipcx.Timeout):
                follower.receive(0.001)

    return call


def _watch(folder: Path) -> Callable:
    def call() -> None:
        with files.watch(folder / "watched") as changes:
            (folder / "watched").touch()
            assert changes.receive(5).path == folder / "watched"

    return call


CALLS: dict[str, Callable[[Path], Callable[[], None]]] = {
    "pipe": _pipe,
    "named pipe": _named_pipe,
    "pipeline": _pipeline,
    "lines of a pipeline": _lines,
    "pipeline into a file": _into_a_file,
    "child, captured": _captured,
    "child with unix://": _with_a_channel("unix://"),
    "child with shm://": _with_a_channel("shm://"),
    "child with a guardian": _guarded,
    "atomic_write": _atomic_write,
    "FileLock": _lock,
    "MessageLog": _log,
    "MessageLog, durable, in segments": _durable_log,
    "Follower": _follow,
    "watch": _watch,
}
