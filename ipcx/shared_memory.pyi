"""Types of `ipcx.shared_memory`: the stdlib's, and what is there beyond them."""

import multiprocessing.shared_memory as _stdlib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

__all__ = ["Segment", "ShareableList", "SharedMemory"]

_T = TypeVar("_T", int, float, bool, str, bytes, None)

class SharedMemory(_stdlib.SharedMemory):
    readonly: bool
    def __init__(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        persist: bool = False,
        readonly: bool = False,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def fileno(self) -> int: ...
    def as_array(self, dtype: Any = "u1", shape: int | Sequence[int] | None = None) -> Any: ...

class Segment:
    name: None
    readonly: bool
    @classmethod
    def anonymous(cls, size: int) -> Self: ...
    @classmethod
    def from_fd(cls, fd: int, *, readonly: bool = False) -> Self: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    @property
    def buf(self) -> memoryview | None: ...
    @property
    def size(self) -> int: ...
    def fileno(self) -> int: ...
    def as_array(self, dtype: Any = "u1", shape: int | Sequence[int] | None = None) -> Any: ...
    def close(self) -> None: ...

class ShareableList(_stdlib.ShareableList[_T]):
    shm: SharedMemory  # pyright: ignore[reportIncompatibleVariableOverride]
    @overload
    def __init__(self, sequence: None = None, *, name: str | None = None) -> None: ...
    @overload
    def __init__(self, sequence: Iterable[_T], *, name: str | None = None) -> None: ...

# For ipcx.doctor: bytes that the machine, that the cgroup still has.
def _available() -> int | None: ...
def _cgroup_left() -> int | None: ...
