# SPDX-License-Identifier: Apache-2.0
"""Guardians: a process of its own that ends another one when that one's parent has ended.

PR_SET_PDEATHSIG would fire when the *thread* that started the child ends; a pidfd of the parent
tells of the process, whoever forked from it meanwhile. The guardian is nobody's child (its maker's
maker has ended), holds no descriptor but two pidfds, and ends with the process that it guards.

Run as a program it stands in front of a command: it makes the guardian, and then becomes the
command, which so has the process id that the parent knows. It imports nothing of ipcx: it is run
by ``python -I -S``.
"""

import marshal
import os
import select
import signal
import sys

__all__: list[str] = []

GRACE = 1.0  # seconds between the request to end and the order


def guard(parent: int) -> None:
    """From now on this process ends when the one of the pidfd `parent` has ended; closes that.

    SIGTERM, and `GRACE` seconds later SIGKILL. To be called while there is one thread.
    """
    own = os.pidfd_open(os.getpid())
    between = os.fork()
    if between == 0:
        try:
            if os.fork() == 0:
                _watch(parent, own)
        finally:
            os._exit(0)
    os.waitpid(between, 0)
    os.close(own)
    os.close(parent)


def _watch(parent: int, own: int) -> None:
    os.setsid()  # Ctrl-C is not for us
    low, high = sorted((parent, own))
    os.closerange(0, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
    either = select.poll()
    either.register(parent, select.POLLIN)
    either.register(own, select.POLLIN)
    if own in dict(either.poll()):
        return
    alone = select.poll()
    alone.register(own, select.POLLIN)
    signal.pidfd_send_signal(own, signal.SIGTERM)
    if not alone.poll(GRACE * 1000):
        signal.pidfd_send_signal(own, signal.SIGKILL)


def main() -> None:
    """`order parent told`: the descriptors of the command, of our parent, and for an errno."""
    order, parent, told = map(int, sys.argv[1:])
    os.set_inheritable(told, False)
    with open(order, "rb") as file:  # marshal: from our own parent, and without an import
        program, words, env = marshal.load(file)
    try:
        guard(parent)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        os.execve(program, words, env)
    except OSError as error:
        os.write(told, str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    main()
