"""Messages over UDP: what is lost is known by number, and what must arrive is sent again.

The receiver does not look while far more is sent than a socket's buffer holds. What had no room is
gone, as UDP has it; but each message has a number, so the receiver knows how many it has missed.
"""

import threading

import ipcx

MANY = 20_000

with (
    ipcx.listen("udp://127.0.0.1:0") as listener,
    ipcx.connect(listener.url) as sender,
    listener.accept() as receiver,
):
    sender.send_many([bytes(1000)] * MANY)
    print("Sent", MANY, "messages; send_many() has not complained")
    got = 0
    while receiver.poll():
        got += len(receiver.receive_many())
    sender.send("and one more")
    print("The next one:", receiver.receive())
    lost = receiver.stats().lost
    print("Lost some:", lost > 0, "- and the receiver knows how many:", lost == MANY - got)

    # A rendezvous is sent again until it was received.
    waiting = threading.Thread(target=sender.send, args=("surely",), kwargs={"sync": True})
    waiting.start()
    print("With sync=True:", receiver.receive())
    waiting.join()
    print("Received twice:", receiver.stats().duplicates)
