"""A server of ipcx that answers each message with itself."""

import contextlib
import threading

from ipcx.server import Server
from socket_help import GUARD


@contextlib.contextmanager
def echoing(*urls, **options):
    """It answers in a thread, which has ended afterwards."""
    with Server(*urls, **options) as server:

        def loop() -> None:
            for peer, message in server:
                peer.send(message)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield server
        finally:
            server.close()
            thread.join(GUARD)
            assert not thread.is_alive()
