"""The puzzle of open(2): it waits for the other side of a named pipe. Two who wait for each other
do so for ever, and there is no time-out. The cures: the same order, or a deadline.
"""

import os
import threading

import ipcx
from ipcx.pipes import NamedPipe


def in_thread(*opening):
    """A program that opens these ends, one after the other: (path, flags) …"""

    def program():
        ends = [os.open(path, flags) for path, flags in opening]
        for end in ends:
            os.close(end)

    thread = threading.Thread(target=program)
    thread.start()
    thread.join(0.2)
    return thread


def waits(thread):
    return "waits" if thread.is_alive() else "is through"


for path in ("to_ada", "to_bob"):
    os.mkfifo(path)

print("open to write, nobody reads: it", waits(writer := in_thread(("to_ada", os.O_WRONLY))))
os.close(os.open("to_ada", os.O_RDONLY))
writer.join()
print("somebody opens it to read:   it", waits(writer))

# Each first opens what it reads from, and waits for the other, who does the same.
ada = in_thread(("to_ada", os.O_RDONLY), ("to_bob", os.O_WRONLY))
bob = in_thread(("to_bob", os.O_RDONLY), ("to_ada", os.O_WRONLY))
print("ada", waits(ada), "and bob", waits(bob), "for ever: a deadlock")
help_out = [os.open(path, os.O_RDWR) for path in ("to_ada", "to_bob")]  # a way out, by a third one
ada.join()
bob.join()
for end in help_out:
    os.close(end)

# The cure: one opens in the other order, so that both are at the same pipe at the same time.
ada = in_thread(("to_ada", os.O_RDONLY), ("to_bob", os.O_WRONLY))
bob = in_thread(("to_ada", os.O_WRONLY), ("to_bob", os.O_RDONLY))
ada.join()
bob.join()
print("both take the pipes in the same order: ada", waits(ada), "and bob", waits(bob))

# The other cure needs no order: a reader opens at once, and a writer has a deadline.
try:
    NamedPipe("to_ada").writer(timeout=0.1)
except ipcx.Timeout as error:
    print("with a deadline:", type(error).__name__)
with NamedPipe("to_ada").reader() as reads, NamedPipe("to_ada").writer(timeout=5) as writes:
    writes.write(b"hello")
    print("a reader that is there:", reads.read())

for path in ("to_ada", "to_bob"):
    os.unlink(path)
