"""A guest of the chat room: sends each line it reads, prints what it hears.

python chat_client.py URL
"""

import sys
import threading

import ipcx


def listen(room):
    for message in room:
        print(message, flush=True)


with ipcx.connect(sys.argv[1]) as room:
    threading.Thread(target=listen, args=(room,), daemon=True).start()
    for line in sys.stdin:
        room.send(line.rstrip("\n"))
