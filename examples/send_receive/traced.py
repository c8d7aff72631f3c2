"""Seeing what passes: ipcx.trace() collects every call on channels and sockets, in order."""

import contextlib

import ipcx
from ipcx import socket

with ipcx.trace() as seen:
    a, b = ipcx.pair("unix://")
    with a, b:
        a.send("grüß dich")
        b.receive()
        with contextlib.suppress(ipcx.WouldBlock):
            b.receive(timeout=0)
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"bytes")
        right.recv(100)

for event in seen:
    if event.bytes is not None:
        print(event.op, event.bytes, "bytes")
    elif event.error is not None:
        print(event.op, "raised", type(event.error).__name__)
