"""What the children of test_process.py do: functions with an import name."""

import os
import signal
import sys
import threading
import time

from ipcx import process


def echo(channel, *arguments):
    channel.send(repr(arguments))
    for message in channel:
        channel.send(message)
    return arguments


def through(channel, end, word):
    end.send(word)
    channel.send("sent")


def give(value):
    return value


def raises(channel):
    raise LookupError("nothing here")


def returns_what_cannot_be_sent():
    return object()


def leaves(how):
    how = int(how)
    if how < 0:
        os.kill(os.getpid(), -how)
    sys.exit(how)


def counts(channel):
    return sum(1 for _ in channel)


def sleeps(channel=None):
    if channel is not None:
        channel.send("asleep")
    time.sleep(600)


def stubborn(channel):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel.send("deaf")
    while True:
        time.sleep(600)


def closes_early(channel):
    channel.send("all")
    channel.close()
    time.sleep(600)


def speaks(lines):
    for number in range(lines):
        print("out", number)
        print("err", number, file=sys.stderr)


def about_itself(channel):
    channel.send(
        repr(
            {
                "main": sys.modules["__main__"].__dict__.get("PARENT"),
                "argv": sys.argv,
                "cwd": os.getcwd(),
                "same": process.parent() is channel,
                "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
                "threads": threading.active_count(),
                "stdin": sys.stdin.read(),
                "variable": os.environ.get("IPCX_TEST"),
            }
        )
    )


def makes_a_child_that_shall_die(channel, command):
    """Spawns it and says its pid; then is killed."""
    child = process.spawn(command if command else sleeps, die_with_parent=True)
    if not command:
        child.channel.receive()
    channel.send(str(child.pid))
    time.sleep(600)


class Holder:
    @classmethod
    def maker(cls):
        return cls.__name__

    @staticmethod
    def method():
        return "a static method"

    def bound(self):
        pass
