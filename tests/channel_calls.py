# SPDX-License-Identifier: Apache-2.0
"""Each call of ipcx.channel, to be made a thousand times or with failing memory.

``CALLS[name](ends)`` prepares and gives a function to call; it leaves things as they were.
"""

import contextlib
import os
import select
import tempfile
import warnings
from collections.abc import Callable

import ipcx
from ipcx import _core, channel


class Ends(contextlib.ExitStack):
    """Makes channels and closes them."""

    def keep(self, thing):
        self.callback(thing.close)
        return thing

    def pair(self, url: str, **options):
        return tuple(map(self.keep, ipcx.pair(url, **options)))


CALLS: dict[str, Callable] = {}
LOST_BY_THE_CALLER = {"export import"}  # descriptors of its own, when it has no memory for a tuple


def call(name: str):
    def add(prepare):
        CALLS[name] = prepare
        return prepare

    return add


def suppressed(kind, function, *args, **kwargs):
    with contextlib.suppress(kind):
        function(*args, **kwargs)
        raise AssertionError(f"no {kind}")


for _url in ("unix://", "tcp://", "pipe://", "inproc://"):

    @call(f"send receive {_url}")
    def _(ends, url=_url):
        a, b = ends.pair(url)

        def use():
            a.send(b"x" * 100)
            a.send("text")
            b.receive()
            b.receive(timeout=5)

        return use

    @call(f"many {_url}")
    def _(ends, url=_url):
        a, b = ends.pair(url)

        def use():
            a.send_many([b"x"] * 20)
            got = 0
            while got < 20:
                got += len(b.receive_many())

        return use


CALLS["send receive"] = CALLS["send receive unix://"]


@call("rendezvous")
def _(ends):
    a, b = ends.pair("inproc://", copy=True)

    def use():
        token = a._send_now("met", True, None)
        b.receive()
        assert a._send_now("met", True, token) is None

    return use


@call("receive_into")
def _(ends):
    a, b = ends.pair("unix://")

    def use():
        a.send(bytearray(50))
        suppressed(ipcx.MessageTooLarge, b.receive_into, bytearray(10))
        b.receive_into(bytearray(50))

    return use


@call("poll, time-outs")
def _(ends):
    a, b = ends.pair("unix://")

    def use():
        b.poll()
        suppressed(ipcx.WouldBlock, b.receive, timeout=0)
        suppressed(ipcx.Timeout, b.receive, timeout=1e-6)
        b._receive_now()
        a.flush()
        select.select([b], [], [], 0)

    return use


@call("wrong arguments")
def _(ends):
    a, b = ends.pair("unix://")

    def use():
        suppressed(TypeError, a.send, {})
        suppressed(TypeError, a.send, "x", False, None, 3)
        suppressed(ValueError, a.receive, -1)
        suppressed(UnicodeEncodeError, a.send, "\ud800")
        suppressed(TypeError, a.send_many, ["one", None])
        # Through another Python function: CPython 3.11 has a SystemError for no memory.
        rest = (5, 4096, False, None, None, "same-uid", 4096, 15, None)
        suppressed(ipcx.InvalidURL, _core._connect, "tpc://", *rest)
        b.receive()

    return use


@call("pair")
def _(ends):
    def use():
        for url in ("unix://", "pipe://", "inproc://"):
            a, b = ipcx.pair(url)
            with a, b:
                a.send("x")

    return use


@call("listen connect accept")
def _(ends):
    def use():
        with (
            ipcx.listen("unix://") as listener,
            ipcx.connect(listener.url) as a,
            listener.accept() as b,
        ):
            a.send("x")
            b.receive()
            listener.stats()

    return use


@call("named pipe")
def _(ends):
    folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="c"))

    def use():
        with ipcx.listen(f"fifo://{folder}/pipe") as listener, ipcx.connect(listener.url) as a:
            a.send_many(["x", b"y"])
            with listener.accept() as b:
                b.fileno()
                b.receive()
            with listener.accept() as b:
                assert b.receive() == b"y"
                listener.close()
                a.close()
                suppressed(ipcx.PeerClosed, b.receive)

    return use


@call("accept")
def _(ends):
    listener = ends.keep(ipcx.listen("unix://"))

    def use():
        suppressed(ipcx.WouldBlock, listener.accept, timeout=0)
        with ipcx.connect(listener.url), listener.accept():
            pass

    return use


@call("objects that nobody receives")
def _(ends):
    def use():
        a, b = ipcx.pair("inproc://")
        with a, b:
            a.send([])
            a.send_many([{}, {}])
            assert not a._send_now((), True, None).begun or b.poll()

    return use


@call("the end")
def _(ends):
    def use():
        a, b = ipcx.pair("unix://")
        with b:
            a.send("x")
            a.close()
            list(b)
            suppressed(ipcx.PeerClosed, b.receive)
            suppressed(ipcx.PeerClosed, b.send, "x")
            suppressed(ipcx.Closed, a.send, "x")

    return use


@call("hand over")
def _(ends):
    a, b = ends.pair("unix://")

    def use():
        one, other = ipcx.pair("unix://")
        with one, other:
            a.send(other)
            b.receive().close()

    return use


@call("export import")
def _(ends):
    def use():
        one, other = ipcx.pair("unix://")
        with one, other:
            fds, note = other._export()
            _core._import_channel(tuple(map(os.dup, fds)), note).close()

    return use


@call("unclosed")
def _(ends):
    def use():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a, b = ipcx.pair("unix://")
            a.send("x")
            del a, b
            listener = ipcx.listen("inproc://unclosed")
            del listener

    return use


@call("what it tells")
def _(ends):
    a, _ = ends.pair("unix://")

    def use():
        repr(a)
        assert a.url == "unix://"
        assert a.max_message == channel.MAX_MESSAGE
        assert not a.closed
        a.stats()
        a.fileno()
        a._send_fileno()

    return use
