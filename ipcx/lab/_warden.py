# SPDX-License-Identifier: Apache-2.0
"""Who belongs to a lab, and a process of its own that ends them all when their kernel has ended.

Every process of a lab carries a mark in its environment, and so does whatever it starts, however
often it forks and whatever session it moves to: the mark finds it. The warden is nobody's child and
waits for the end of the kernel's process (a pidfd), which a kill -9 cannot keep from it; then it
ends whoever carries the mark, and removes the lab's folder.

It is run as a file, by ``python -I -S``: it imports nothing of ipcx.
"""

import os
import select
import signal
import sys
import time

__all__: list[str] = []

MARK = "IPCX_LAB"  # the variable: TOKEN.NUMBER, the lab and the process in it
GRACE = 1.0  # seconds between the request to end and the order


def members(token: str, session: int = -1) -> list[int]:
    """The processes that carry a mark that begins with `token`, or are of this session; no zombie.

    A process that has emptied its environment *and* left its session is not found.
    """
    wanted = b"\0" + f"{MARK}={token}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if fields[0] in (b"Z", b"X"):
                continue
            if int(fields[3]) == session:
                found.append(int(entry))
                continue
            with open(f"/proc/{entry}/environ", "rb") as file:
                environment = b"\0" + file.read() + b"\0"
        except OSError:  # ended meanwhile, or another user's
            continue
        at = environment.find(wanted)
        # "7.1" must not find "7.12"; "7." finds all of the lab.
        if at >= 0 and (token[-1] == "." or environment[at + len(wanted)] == 0):
            found.append(int(entry))
    return found


def end(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def sweep(token: str, session: int = -1) -> int:
    """Kills them until none is left, and says how many there were."""
    killed = set()
    for _ in range(50):
        found = members(token, session)
        if not found:
            break
        killed.update(found)
        end(found, signal.SIGKILL)
        time.sleep(0.002)
    return len(killed)


def main() -> None:
    """`kernel bell token folder`: a pidfd; a pipe with a word when nothing is to be done."""
    kernel, bell, token, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    if os.fork():
        os._exit(0)
    os.setsid()  # Ctrl-C is not for us
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    either = select.poll()
    either.register(kernel, select.POLLIN)
    either.register(bell, select.POLLIN)
    if kernel not in dict(either.poll()) and os.read(bell, 1):
        return  # all is done; without a word it was closed by the kernel's own end
    either.unregister(bell)
    either.poll()
    found = members(token)
    end(found, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while found and time.monotonic() < until:
        time.sleep(0.02)
        found = members(token)
    sweep(token)
    if folder:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
