# SPDX-License-Identifier: Apache-2.0
"""Descriptors of our own that are closed whatever happens."""

import contextlib
import os

__all__ = ["close_quietly"]


def close_quietly(fd: int) -> None:
    """close(2). It has closed also when it tells of an error, which is not ours to report: what
    was written through the descriptor was written by a child."""
    with contextlib.suppress(OSError):
        os.close(fd)
