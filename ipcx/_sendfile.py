# SPDX-License-Identifier: Apache-2.0
"""The loop of ``socket.sendfile()`` over our own step, so that close() and Ctrl-C end it.

The stdlib's loop waits in a selector of its own, where nobody can reach it. What it promises is
kept: the file's position is where sending stopped, also after an error, and a file that
sendfile(2) cannot read is sent by ``send()``.
"""

import os
from io import UnsupportedOperation
from socket import _GiveupOnSendfile  # type: ignore[attr-defined]
from typing import Any

# One step's most: bpo-38319, a larger count overflows on 32 bits.
STEP = 2**30


def use_sendfile(sock: Any, file: Any, offset: int = 0, count: int | None = None) -> int:
    """Send a regular file by sendfile(2) and return how many bytes went."""
    sock._check_sendfile_params(file, offset, count)
    try:
        fd = file.fileno()
        size = os.fstat(fd).st_size
    except (AttributeError, UnsupportedOperation, OSError) as error:
        raise _GiveupOnSendfile(error) from None  # not a regular file
    if not size:
        return 0
    if sock.gettimeout() == 0:
        raise ValueError("non-blocking sockets are not supported")
    total = 0
    try:
        while count is None or total < count:
            left = size if count is None else count - total
            try:
                sent = sock._sendfile_step(fd, offset, min(left, STEP))
            except OSError as error:
                if total == 0 and sock.fileno() >= 0 and not isinstance(error, TimeoutError):
                    raise _GiveupOnSendfile(error) from None  # not a file it can map
                raise
            if sent == 0:
                break
            offset += sent
            total += sent
        return total
    finally:
        if total > 0 and hasattr(file, "seek"):
            file.seek(offset)
