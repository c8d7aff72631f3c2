"""Independent processes cannot affect each other: one crashes, the other does not notice.

They share nothing with each other. What a child tells its parent makes those two cooperate.
"""

import work

import ipcx
from ipcx import process

with process.spawn(work.crashes) as one, process.spawn(work.counts_alone, 1000) as other:
    print("one says", one.channel.receive())
    try:
        one.channel.receive()
    except ipcx.PeerDied:
        print("one:", one.wait())
    print("the other has counted to", other.channel.receive())
    print("the other:", other.wait())
