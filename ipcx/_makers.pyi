"""Types of the functions of `ipcx.socket` that make sockets.

A file for type checkers only: at run time these are the stdlib's own functions running over the
names of `ipcx.socket`. ipcx/socket.pyi imports them and says why they are not written there.
"""

from typing import Any, TypeAlias

from _typeshed import ReadableBuffer

from ipcx._core import socket

_Address: TypeAlias = tuple[Any, ...] | str | ReadableBuffer

def create_connection(
    address: tuple[str | None, bytes | str | int | None],
    timeout: float | None = ...,
    source_address: _Address | None = None,
    *,
    all_errors: bool = False,
) -> socket: ...
def create_server(
    address: _Address,
    *,
    family: int = ...,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket: ...
def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket: ...
def socketpair(
    family: int | None = None, type: int = ..., proto: int = 0
) -> tuple[socket, socket]: ...
