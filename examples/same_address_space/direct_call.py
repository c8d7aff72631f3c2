"""Same address space, three ways to hand something over: a direct call, a channel, a copy.

A direct procedure call takes its argument as it is, and the caller waits for the answer. Over
`inproc://` the caller need not wait, and the object itself changes hands. With `copy=True` it
becomes a message, as between processes: bytes, and the receiver has its own.
"""

import threading

import ipcx


def append(names):
    names.append("called")
    return names


names = []
print("Direct call: the same object:", append(names) is names)


def receiver(channel):
    with channel:
        for received in channel:
            received.append("received")


a, b = ipcx.pair("inproc://")
thread = threading.Thread(target=receiver, args=(b,))
thread.start()
with a:
    a.send(names)  # goes on at once
thread.join()
print("Over inproc:// the object itself:", names)

a, b = ipcx.pair("inproc://", copy=True)
with a, b:
    data = bytearray(b"a message")
    a.send(data)
    data[:] = b"changed!!"
    print("With copy=True the receiver's own:", b.receive())
    try:
        a.send(names)
    except TypeError as error:
        print("An object is no message:", type(error).__name__)
