# SPDX-License-Identifier: Apache-2.0
"""``python -m ipcx.tour.step prog.py``: as ``ipcx.run``, standing still after each socket call.

The tour's --step starts programs with it. Each call is written to the descriptor that the variable
IPCX_TOUR_STEP names, and the program goes on when a byte comes back. Nothing here imports a module
that imports the stdlib's ``socket``, which would then stay the stdlib's.
"""

import io
import os
import sys
import threading
from typing import TextIO, cast


class Gate(io.TextIOBase):
    """A stream for one line at a time: writing a whole line waits for a byte from the tour.

    Threads come through one by one. Children share the descriptor: each line is a message of its
    own, and for each one byte comes back, whoever takes it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.text = ""
        self.one = threading.Lock()

    def write(self, text: str, /) -> int:
        with self.one:
            self.text += text
            *lines, self.text = self.text.split("\n")
            for line in lines:
                os.write(self.fd, line.encode(errors="backslashreplace") or b" ")
                os.read(self.fd, 1)
        return len(text)


def main() -> int:
    """Runs the program named on the command line."""
    from ipcx import _core
    from ipcx._words import Teller
    from ipcx.run import main as run

    fd = int(os.environ.pop("IPCX_TOUR_STEP"))
    os.set_inheritable(fd, False)
    _core.set_trace(Teller(cast(TextIO, Gate(fd))).tell)
    return run(sys.argv[1:])


if __name__ == "__main__":
    from ipcx.tour.step import main as _main

    sys.exit(_main())
