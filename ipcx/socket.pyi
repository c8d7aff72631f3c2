"""Types of `ipcx.socket`: every name of the stdlib's `socket` with its own type, except that
whatever makes a socket makes ours.

Our names are imported on both sides of the star on purpose: mypy keeps the first meaning of a name
that a star import brings again, pyright the last. tests/typing/ holds both to it.
"""

# isort: skip_file
# ruff: noqa: F403, F811
from types import ModuleType

from ipcx._core import socket as socket
from ipcx._makers import (
    create_connection as create_connection,
    create_server as create_server,
    fromfd as fromfd,
    socketpair as socketpair,
)
from socket import *  # type: ignore[assignment]
from socket import (
    EAGAIN as EAGAIN,
    EBADF as EBADF,
    EWOULDBLOCK as EWOULDBLOCK,
    AddressInfo as AddressInfo,
    MsgFlag as MsgFlag,
    SocketIO as SocketIO,
)
from ipcx._core import socket as socket
from ipcx._makers import (
    create_connection as create_connection,
    create_server as create_server,
    fromfd as fromfd,
    socketpair as socketpair,
)

_GLOBAL_DEFAULT_TIMEOUT: object
_stdlib: ModuleType
