"""What type checkers say about `ipcx.shared_memory`, and that it is so."""

from multiprocessing import shared_memory as stdlib
from typing import assert_type

from ipcx.shared_memory import Segment, ShareableList, SharedMemory


def test_segments_are_ours() -> None:
    with SharedMemory(create=True, size=10, track=True, persist=False) as made:
        assert_type(made, SharedMemory)
        plain: stdlib.SharedMemory = made
        assert plain is made
        assert_type(made.fileno(), int)
        with SharedMemory(made.name, readonly=True) as reader:
            assert_type(reader.readonly, bool)
        made.unlink()
    with Segment.anonymous(10) as segment:
        assert_type(segment, Segment)
        assert_type(segment.buf, memoryview | None)
        assert_type(segment.size, int)


def test_lists_know_what_they_hold() -> None:
    numbers = ShareableList([1, 2, 3])
    assert_type(numbers, ShareableList[int])
    assert_type(numbers[0], int)
    assert_type(numbers.shm, SharedMemory)
    numbers.shm.close()
    numbers.shm.unlink()
