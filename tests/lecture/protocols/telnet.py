"""telnetlib over ipcx, where Python still has it (3.13 has not)."""

import sys
import warnings

from scripted import Scripted, is_ours

if sys.version_info < (3, 13):
    warnings.simplefilter("ignore", DeprecationWarning)
    import telnetlib

    with (
        Scripted(b"login: ", (b"me", b"welcome\r\n")) as server,
        telnetlib.Telnet("127.0.0.1", server.port, timeout=5) as there,
    ):
        is_ours(there.sock)
        there.read_until(b"login: ")
        there.write(b"me\r\n")
        print(there.read_until(b"\n"))
