# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of a Unix-domain socket: the kernel tells by sock_diag(7).

getpeername(2) has no name for most of them; their inodes are unique.
"""

from __future__ import annotations

import _socket  # not `socket`: ipcx.run has not put ours in its place yet
import contextlib
import struct

__all__ = ["unix_peer"]

_AF_NETLINK, _NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 16, 4, 20, 1
_UDIAG_SHOW_PEER, _UNIX_DIAG_PEER = 4, 2


def unix_peer(inode: int) -> str:
    """The inode of the socket that the one with `inode` is connected to; "" unknown."""
    if not 0 < inode < 1 << 32:
        return ""
    any_cookie = 0xFFFFFFFF
    asked = struct.pack("=BBHIIIII", 1, 0, 0, 0, inode, _UDIAG_SHOW_PEER, any_cookie, any_cookie)
    head = struct.pack("=IHHII", 16 + len(asked), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    answer = b""
    with contextlib.suppress(OSError):  # a sandbox without netlink
        link = _socket.socket(
            _AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        )
        try:
            link.settimeout(1)
            link.send(head + asked)
            answer = link.recv(8192)
        finally:
            link.close()
    return _peer_in(answer)


def _peer_in(answer: bytes) -> str:
    """Walks the attributes behind the header (16) and the fixed part (16)."""
    if len(answer) < 32 or struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        return ""
    at = 32
    while at + 4 <= len(answer):
        size, kind = struct.unpack_from("=HH", answer, at)
        if size < 4:
            break
        if kind == _UNIX_DIAG_PEER and size >= 8 and at + 8 <= len(answer):
            (peer,) = struct.unpack_from("=I", answer, at + 4)
            return str(peer) if peer else ""
        at += (size + 3) & ~3
    return ""
