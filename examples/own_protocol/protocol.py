"""A protocol of one's own, and clients that break each part of it.

syntax       a message is WORD or WORD NUMBER, in capitals and decimal digits
rules        HELLO comes first, once; then any number of ADD and TAKE; BYE ends it
vocabulary   HELLO  I am here          ADD n   put n on the shelf     BYE  I have done
             OK n   n on the shelf     TAKE n  take n off it          NO why  that was wrong

Every mistake is answered, costs only its own client the connection, and changes nothing.
"""

import re
import threading

import ipcx

SYNTAX = re.compile(r"([A-Z]+)(?: ([0-9]{1,9}))?")


class Broken(Exception):
    """What a client did wrong."""


class Session:
    """What the server knows of one client."""

    shelf = 10

    def __init__(self):
        self.greeted = False

    def answer(self, message):
        if not isinstance(message, str) or not (parts := SYNTAX.fullmatch(message)):
            raise Broken("syntax: WORD or WORD NUMBER")
        word, number = parts[1], int(parts[2] or 0)
        if word not in ("HELLO", "ADD", "TAKE", "BYE"):
            raise Broken(f"vocabulary: no such word as {word}")
        if (word == "HELLO") == self.greeted:
            raise Broken("rules: HELLO first, and once")
        if word == "HELLO":
            self.greeted = True
        elif word == "ADD":
            Session.shelf += number
        elif word == "TAKE":
            if number > Session.shelf:
                raise Broken(f"meaning: there are only {Session.shelf}")
            Session.shelf -= number
        return f"OK {Session.shelf}"


def server(listener):
    for channel in listener:
        with channel:
            session = Session()
            try:
                for message in channel:
                    channel.send(session.answer(message))
            except Broken as why:
                channel.send(f"NO {why}")


def client(url, *messages):
    with ipcx.connect(url) as channel:
        for message in messages:
            channel.send(message)
            print(f"{message!r:<14} -> {channel.receive()}")


with ipcx.listen("tcp://127.0.0.1:0") as listener:
    thread = threading.Thread(target=server, args=(listener,))
    thread.start()
    client(listener.url, "HELLO", "TAKE 3", "BYE")
    client(listener.url, "HELLO", "take 3")
    client(listener.url, "HELLO", "STEAL 3")
    client(listener.url, "TAKE 3")
    client(listener.url, "HELLO", "TAKE 99")
    client(listener.url, "HELLO", "ADD 1", "BYE")
    listener.close()
    thread.join()
