"""Types of `ipcx.socketserver`: the stdlib's, whose code it runs over `ipcx.socket`."""

from socketserver import *  # noqa: F403
