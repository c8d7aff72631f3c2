# SPDX-License-Identifier: Apache-2.0
"""Pipes, named pipes, pipelines: bytes in one direction, from one process to the next.

>>> from ipcx.pipes import Pipeline, pipe
>>> fd = pipe()
>>> fd.write_end.write(b"bytes")
5
>>> fd.read_end.read()
b'bytes'
>>> fd.close()
>>> words = Pipeline("sort") | ["head", "-2"]
>>> words.run(input="pear\\napple\\nfig\\n").lines
['apple', 'fig']

A pipe carries bytes, not messages: for those there is ``ipcx.pair("pipe://")``.
"""

from ipcx._pipe_ends import PIPE_BUF, NamedPipe, Pipe, ReadEnd, WriteEnd, pipe
from ipcx._pipeline import Completed, Pipeline, StageEnding, StageFailed

__all__ = [
    "PIPE_BUF",
    "Completed",
    "NamedPipe",
    "Pipe",
    "Pipeline",
    "ReadEnd",
    "StageEnding",
    "StageFailed",
    "WriteEnd",
    "pipe",
]
