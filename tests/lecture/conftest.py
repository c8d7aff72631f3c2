"""What the tests of the lecture share."""

import pytest

from lecture.scene import BOTH, Scene


@pytest.fixture(params=BOTH)
def scene(request, spawn, tmp_path):
    """`scene(folder, *ports)`: its programs by plain Python, and by `python -m ipcx.run`."""
    made = []

    def make(folder: str, *ports: int) -> Scene:
        made.append(Scene(spawn, tmp_path, folder, request.param, *ports))
        return made[-1]

    yield make
    assert all(one.is_left_clean() for one in made)
