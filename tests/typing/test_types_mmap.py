"""What type checkers say about `ipcx.mmap`, and that it is so."""

import mmap as stdlib
from pathlib import Path
from typing import assert_type

from ipcx import mmap


def test_whatever_maps_makes_ours(tmp_path: Path) -> None:
    with mmap.map_file(tmp_path / "file", 100, mode="a+") as one:
        assert_type(one, mmap.mmap)
        assert_type(one.resident(), list[bool])
        assert_type(one[0], int)
        assert_type(one[:2], bytes)
        with one.locked(0, 10, shared=True, timeout=1):
            one.write(b"hello")
    with mmap.mmap(-1, mmap.PAGESIZE, access=mmap.ACCESS_WRITE) as other:
        assert_type(other, mmap.mmap)
        plain: stdlib.mmap = other
        assert plain is other
    assert_type(mmap.guard(True), bool)
