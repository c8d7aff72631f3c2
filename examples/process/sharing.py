"""Information sharing: several processes look at the same data, which are there once."""

import work

from ipcx import process
from ipcx.shared_memory import SharedMemory

TEXT = b"several users may be interested in the same piece of information " * 1000

shared = SharedMemory(create=True, size=len(TEXT))
shared.buf[: len(TEXT)] = TEXT
children = [process.spawn(work.letters, shared.name, letter) for letter in "aei"]
for child in children:
    with child:
        print(child.channel.receive())
shared.close()
shared.unlink()
