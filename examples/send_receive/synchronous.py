"""Synchronous message passing, the rendezvous: send() returns when the receiver has received.

Both block at every message. You see the order of events: without `sync` the sender is done before
the receiver has begun; with it, never.
"""

import threading

import ipcx

events = []
ready = threading.Event()


def sender(channel, sync):
    channel.send("message", sync=sync)
    events.append("sent")
    ready.set()


def show(sync):
    events.clear()
    ready.clear()
    a, b = ipcx.pair("unix://")
    with a, b:
        thread = threading.Thread(target=sender, args=(a, sync))
        thread.start()
        waits = not ready.wait(0.1)  # does it go on although nobody has received?
        events.append("receiving")
        b.receive()
        thread.join()
    print(
        "synchronous: " if sync else "asynchronous:",
        "waits," if waits else "does not wait,",
        *events,
    )


show(sync=False)
show(sync=True)

a, b = ipcx.pair("unix://")
with a, b:
    try:
        a.send("nobody receives", sync=True, timeout=0.1)
    except ipcx.Timeout as error:
        print("Nobody came within 0.1 s; is the message on its way all the same?", error.begun)
