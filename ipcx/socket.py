"""A drop-in for the stdlib's ``socket`` whose hot path is the C core.

``from ipcx import socket`` in place of ``import socket`` is the only change a program needs.

Every name of the running stdlib's module is here. Constants, enums, exceptions, resolvers and
address helpers are the stdlib's own objects. `socket` is a subclass of ``socket.socket``; the
functions that make sockets (``create_connection``, ``create_server``, ``socketpair``, ``fromfd`` …)
are the stdlib's own code running over this module's names, so what they make is ours.
"""

import socket as _stdlib
import types as _types
from socket import *  # noqa: F403

from ipcx import _core, _reduction, _sendfile


def _rebind(function: _types.FunctionType) -> _types.FunctionType:
    """The same code, looking its globals up here: ``socket(...)`` in it makes our sockets."""
    copy = _types.FunctionType(
        function.__code__, globals(), function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__ = function.__doc__
    copy.__annotations__ = dict(function.__annotations__)
    return copy


def _adopt_stdlib() -> None:
    for name, value in vars(_stdlib).items():
        if name.startswith("__"):
            continue
        if isinstance(value, _types.FunctionType) and "socket" in value.__code__.co_names:
            value = _rebind(value)  # it calls socket(...)
        globals()[name] = value


_adopt_stdlib()
__all__ = list(_stdlib.__all__)
socket = _core.socket
SocketType = _stdlib.SocketType


def socketpair(family=None, type=_stdlib.SOCK_STREAM, proto=0):
    # One step of the core: the stdlib's loses a descriptor when it cannot make the second socket.
    return _core.socketpair(_stdlib.AF_UNIX if family is None else family, type, proto)


socketpair.__doc__ = _stdlib.socketpair.__doc__
socketpair.__annotations__ = dict(_stdlib.socketpair.__annotations__)
_core.socket._sendfile_use_sendfile = _sendfile.use_sendfile
_reduction.arm()
