"""pipe(): fd[0] is read from, fd[1] is written to. Buffered, first in, first out, like a file."""

import os

import ipcx
from ipcx.pipes import pipe

with pipe() as fd:
    print("two descriptors, like those of files:", fd[0] != fd[1])
    os.write(fd[1], b"first ")
    os.write(fd[1], b"second")
    print("a stream, first in, first out:", os.read(fd[0], 100))

    try:
        fd.read_end.read(timeout=0)
    except ipcx.WouldBlock:
        print("nothing there: a reader would wait, since somebody may still write")

    try:
        fd.write_end.write(bytes(1 << 20), timeout=0)
    except ipcx.WouldBlock as full:
        written = full.written
        print(f"full after {written} bytes: a writer would wait until somebody reads")

    fd.write_end.close()
    print("closed, so what is there is all:", len(fd.read_end.read_all()) == written)
    print("and then comes the end:", fd.read_end.read())
