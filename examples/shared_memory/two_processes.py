"""Memory in two address spaces: what one process writes, the other reads. And who takes it away.

Whoever attaches owns nothing: it may end, or be killed, and the segment stays. What a killed maker
has left goes when the next segment is made.
"""

import os
import signal
from multiprocessing import Pipe, Process

from ipcx.shared_memory import SharedMemory


def other(name):
    with SharedMemory(name) as memory:
        print("the other process reads", bytes(memory.buf[:5]), flush=True)
        memory.buf[:5] = b"HELLO"


def killed_attached(name):
    memory = SharedMemory(name)
    memory.buf[:5] = b"Hello"
    os.kill(os.getpid(), signal.SIGKILL)


def killed_maker(told):
    told.send(SharedMemory(create=True, size=4096).name)
    os.kill(os.getpid(), signal.SIGKILL)


def run(target, *arguments):
    process = Process(target=target, args=arguments)
    process.start()
    process.join()


def is_there(name):
    try:
        SharedMemory(name).close()
    except FileNotFoundError:
        return False
    return True


if __name__ == "__main__":
    with SharedMemory(create=True, size=4096) as memory:
        memory.buf[:5] = b"hello"
        run(other, memory.name)
        print("and here it is", bytes(memory.buf[:5]))
        run(killed_attached, memory.name)
        print("after the kill -9 of one that had it, too:", bytes(memory.buf[:5]))
        memory.unlink()
    print("unlinked, is it there?", is_there(memory.name))

    hears, told = Pipe()
    run(killed_maker, told)
    left = hears.recv()
    print("its maker was killed, is it there?", is_there(left))
    with SharedMemory(create=True, size=4096) as memory:
        print("another one was made, is it there?", is_there(left))
        memory.unlink()
