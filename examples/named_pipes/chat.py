"""A chat over named pipes. One goes one way, so there are two: each reads its own.

`python chat.py ada bob`, and in another terminal `python chat.py bob ada`; who comes first waits.
What follows the names is said; without it, what you type is, up to Ctrl-D.
"""

import os
import sys
import threading

import ipcx

me, you, *words = sys.argv[1:] if len(sys.argv) > 2 else ("ada", "bob")


def mailbox(name):
    return f"fifo://{os.path.abspath(name + '.mailbox')}"


def listen():
    for line in incoming:  # until the other one has gone: nobody else may come any more
        print(f"{you}: {line}", flush=True)


with ipcx.listen(mailbox(me)) as listener:
    try:
        outgoing = ipcx.connect(mailbox(you))
    except ipcx.ConnectRefused:
        print(f"{you} is not there yet", flush=True)
        incoming = listener.accept()  # waits for it
        outgoing = ipcx.connect(mailbox(you))
    else:
        incoming = listener.accept()

with incoming:
    listener_thread = threading.Thread(target=listen)
    listener_thread.start()
    with outgoing:
        for line in words or map(str.rstrip, sys.stdin):
            outgoing.send(line)
    listener_thread.join()
print(f"{you} has gone")
