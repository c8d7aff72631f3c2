"""What type checkers say about `ipcx.files`, and that it is so."""

from pathlib import Path
from typing import assert_type

from ipcx import files


def test_replaced_and_locked(tmp_path: Path) -> None:
    files.atomic_write(tmp_path / "file", b"bytes", durable=False)
    files.atomic_write(str(tmp_path / "file"), "text", encoding="utf-8")
    with files.atomic_write(tmp_path / "file", encoding="utf-8") as file:
        file.write("text")
    lock = files.FileLock(tmp_path / "lock", shared=True)
    with lock as held:
        assert_type(held, files.FileLock)
        assert_type(held.locked, bool)
    assert_type(lock.try_acquire(shared=False), bool)
    lock.release()
    assert (tmp_path / "file").read_text() == "text"


def test_a_log(tmp_path: Path) -> None:
    with files.MessageLog(tmp_path / "log", segment_size=10_000, keep=3, timeout=None) as log:
        assert_type(log.append("text"), int)
        assert_type(log.append_many([b"a", "b"], timeout=1), int)
        assert_type(log.stats(), files.LogStats)
        assert_type(list(log), list[bytes | str])
        with log.follow("start") as follower:
            assert_type(follower, files.Follower)
            assert_type(follower.receive(timeout=0), bytes | str)
            assert_type(follower.position, int)
            assert_type(follower.lost, int)
            assert follower.receive(0) == b"a"


def test_a_watch(tmp_path: Path) -> None:
    with files.watch(tmp_path) as watch:
        assert_type(watch, files.Watch)
        (tmp_path / "new").mkdir()
        change = watch.receive(5)
        assert_type(change, files.Change)
        assert_type(change.kind, files.ChangeKind)
        assert_type(change.path, Path)
        assert change.directory


async def awaited(follower: files.Follower, watch: files.Watch) -> None:
    assert_type(await follower, bytes | str)
    assert_type(await watch, files.Change)
    async for message in follower:
        assert_type(message, bytes | str)
