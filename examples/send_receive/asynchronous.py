"""Asynchronous message passing: send() almost never blocks, receive() waits or polls.

The message is buffered. Only when the buffer is full must the sender wait, or give up.
"""

import threading

import ipcx

a, b = ipcx.pair("inproc://", capacity=3)
with a, b:
    sent = 0
    try:
        while True:
            a.send(f"message {sent + 1}", timeout=0)
            sent += 1
    except ipcx.WouldBlock:
        print("Without a receiver,", sent, "messages fit; then send would block")

    print("Polling:", b.poll(), "and the message is", b.receive(timeout=0))
    while b.poll():
        b.receive()
    try:
        b.receive(timeout=0)
    except ipcx.WouldBlock:
        print("Polling: nothing there, go on with something else")

    thread = threading.Timer(0.1, a.send, ("the awaited one",))
    thread.start()
    print("Waiting:", b.receive())
    thread.join()
