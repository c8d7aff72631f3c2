# SPDX-License-Identifier: Apache-2.0
"""Whom tls:// trusts in these tests, in every process: a certificate made for this run.

Connecting ends need nothing: SSL_CERT_FILE is what `ssl.create_default_context` reads. Who listens
asks `listening(url)`.
"""

import functools
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ipcx import _certificates

KEY = "IPCX_TEST_TLS_KEY"
TRUST = "SSL_CERT_FILE"


@contextmanager
def opened() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="lab") as folder:
        certificate, key = _certificates.self_signed(("localhost", "127.0.0.1", "::1"), 1)
        files = {TRUST: certificate, KEY: certificate + key}
        before = {name: os.environ.get(name) for name in files}
        for name, content in files.items():
            path = Path(folder, name)
            path.write_bytes(content)
            os.environ[name] = str(path)
        yield
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@functools.cache
def _server(key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key)
    return context


def listening(url: str) -> dict:
    """What listen() needs beside the URL."""
    return {"tls": _server(os.environ[KEY])} if url.startswith("tls://") else {}
