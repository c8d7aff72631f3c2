# SPDX-License-Identifier: Apache-2.0
"""Descriptors of our own that are closed whatever happens."""

import contextlib
import errno
import os

from ipcx._core import ResourceExhausted

__all__ = ["close_quietly", "new_pipe"]


def new_pipe(flags: int = os.O_CLOEXEC) -> tuple[int, int]:
    """pipe2(2). `ResourceExhausted`: no descriptors are left."""
    try:
        return os.pipe2(flags)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        why = f"pipe: {error.strerror}: see ulimit -n"
        raise ResourceExhausted(error.errno, why) from None


def close_quietly(fd: int) -> None:
    """close(2). It has closed also when it tells of an error, which is not ours to report: what
    was written through the descriptor was written by a child."""
    with contextlib.suppress(OSError):
        os.close(fd)
