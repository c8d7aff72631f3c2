"""Modularity: a system of parts with messages between them. One part is exchanged for another, and
the others stay as they are."""

import work

import ipcx
from ipcx import process

TEXT = "dividing the system functions into separate processes"

for part in (work.longest, work.how_many):
    one, two = ipcx.pair("pipe://")
    with process.spawn(work.split, one) as splitter, process.spawn(part, two) as last:
        splitter.channel.send(TEXT)
        splitter.channel.close()
        print(f"split, then {part.__name__}: {last.channel.receive()}")
