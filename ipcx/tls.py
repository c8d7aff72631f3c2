# SPDX-License-Identifier: Apache-2.0
"""TLS for channels: ``tls://host:port`` is ``tcp://``, encrypted, and the listener proves its name.

What is agreed on is OpenSSL's, through the stdlib's `ssl`: the contexts are `ssl.SSLContext`.

>>> import ipcx, ipcx.tls
>>> server, client = ipcx.tls.self_signed()
>>> with ipcx.listen("tls://127.0.0.1:0", tls=server) as listener:
...     with ipcx.connect(listener.url, tls=client) as here, listener.accept() as there:
...         here.send("nobody else reads this")
...         there.receive(), there.tls.version()
('nobody else reads this', 'TLSv1.3')

Without ``tls=`` a connecting end trusts whom the system trusts (`ssl.create_default_context`). For
peers that prove themselves, too, the listener's context requires certificates
(``verify_mode = ssl.CERT_REQUIRED``), and `Session.getpeercert` tells whose came.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from ipcx import _core

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Session", "self_signed"]


class Session:
    """What TLS has agreed on for one channel: its attribute `tls`. The names are those of `ssl`."""

    __slots__ = ("_agreed",)

    def __init__(self, agreed: ssl.SSLObject) -> None:
        self._agreed = agreed

    def __repr__(self) -> str:
        return f"<ipcx.tls.Session {self.version() or 'in its handshake'}>"

    def getpeercert(self, binary_form: bool = False) -> dict[str, Any] | bytes | None:
        """The peer's certificate: what is in it, ``{}`` if it was not verified, or its DER bytes.

        None without one. ValueError until the handshake is done.
        """
        found: dict[str, Any] | bytes | None = self._agreed.getpeercert(binary_form)
        return found

    def cipher(self) -> tuple[str, str, int] | None:
        """Name, protocol and secret bits of what encrypts."""
        return self._agreed.cipher()

    def version(self) -> str | None:
        """``'TLSv1.3'`` or ``'TLSv1.2'``, None until the handshake is done."""
        return self._agreed.version()

    def selected_alpn_protocol(self) -> str | None:
        """What both sides' ``set_alpn_protocols()`` have in common."""
        return self._agreed.selected_alpn_protocol()


# ---- what makes sessions for the core


class _Maker:
    """Called by the core for each new channel: an SSLObject, and the BIOs it reads and writes."""

    def __init__(
        self,
        server: ssl.SSLContext | None = None,
        client: ssl.SSLContext | None = None,
        name: str | None = None,
    ) -> None:
        self._server, self._client, self._name = server, client, name
        self.error: BaseException | None = None  # the last that ended a channel's session

    def __call__(self, accepted: bool) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self._server if accepted else self._client
        assert context is not None
        made = context.wrap_bio(
            incoming,
            outgoing,
            server_side=accepted,
            server_hostname=None if accepted else self._name,
        )
        return made, incoming, outgoing


def _allows_old(context: ssl.SSLContext) -> bool:
    """A minimum may be left to OpenSSL, as Debian's CPython 3.13 does: OpenSSL 3 knows versions
    before TLS 1.2 at security level 0 only."""
    least, unset = context.minimum_version, ssl.TLSVersion.MINIMUM_SUPPORTED
    old = ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    if least >= ssl.TLSVersion.TLSv1_2 or context.options & old == old:
        return False
    return least != unset or context.security_level < 1 or ssl.OPENSSL_VERSION_INFO < (3,)


def _check(context: object, side: str, unfit: ssl._SSLMethod) -> ssl.SSLContext:
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"tls= is an ssl.SSLContext, not {type(context).__name__}")
    if context.protocol == unfit:
        raise ValueError(f"tls= of {side} is a context for the other side: {context.protocol.name}")
    if _allows_old(context):
        raise ValueError(
            "tls= allows versions before TLS 1.2: "
            "set context.minimum_version = ssl.TLSVersion.TLSv1_2"
        )
    return context


def _host(url: str) -> str:
    """The name that the listener's certificate must have."""
    host = url.partition("://")[2].rpartition(":")[0].strip("[]").partition("%")[0]
    return host if host not in ("", "*") else "localhost"


def _is_tls(url: object) -> bool:
    return isinstance(url, str) and url[:6].lower() == "tls://"


def _refuse(url: object, given: object) -> None:
    if given is not None:
        raise ValueError(f"tls= and server_hostname= are for tls:// addresses, not {url!r}")


def _to_connect(
    url: str, context: ssl.SSLContext | None, server_hostname: str | None
) -> _Maker | None:
    if not _is_tls(url):
        _refuse(url, context or server_hostname)
        return None
    if context is None:
        context = ssl.create_default_context()
    checked = _check(context, "connect()", ssl.PROTOCOL_TLS_SERVER)
    maker = _Maker(client=checked, name=server_hostname or _host(url))
    maker(False)  # what is wrong with the name is said here
    return maker


def _to_listen(url: str, context: ssl.SSLContext | None) -> _Maker | None:
    if not _is_tls(url):
        _refuse(url, context)
        return None
    if context is None:
        raise TypeError(
            "listening at tls:// needs tls=, an ssl.SSLContext with a certificate: "
            "ipcx.tls.self_signed() makes one for a lab"
        )
    return _Maker(server=_check(context, "listen()", ssl.PROTOCOL_TLS_CLIENT))


def _to_serve(urls: tuple[str, ...], context: ssl.SSLContext | None) -> _Maker | None:
    secure = [url for url in urls if _is_tls(url)]
    return _to_listen(secure[0] if secure else " ".join(map(str, urls)), context)


def _to_pair(url: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> _Maker | None:
    if not _is_tls(url):
        _refuse(url, contexts)
        return None
    server, client = contexts or self_signed()
    return _Maker(
        server=_check(server, "pair()", ssl.PROTOCOL_TLS_CLIENT),
        client=_check(client, "pair()", ssl.PROTOCOL_TLS_SERVER),
        name="localhost",
    )


# ---- what OpenSSL's errors mean

_CURES = {
    9: "is this machine's clock right?",
    10: "it must be renewed",
    18: "trust it: context.load_verify_locations()",
    19: "trust its root: context.load_verify_locations()",
    20: "trust its issuer: context.load_verify_locations()",
    62: "server_hostname= is the name it is to have",
    64: "server_hostname= is the name it is to have",
}
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer has shown no certificate; one is required here",
    "CERTIFICATE_REQUIRED": "the peer requires a certificate: context.load_cert_chain()",
    "UNKNOWN_CA": "the peer does not trust our certificate's issuer",
    "BAD_CERTIFICATE": "the peer refuses our certificate",
    "CERTIFICATE_UNKNOWN": "the peer refuses our certificate",
    "UNSUPPORTED_CERTIFICATE": "the peer refuses our certificate",
    "CERTIFICATE_REVOKED": "the peer says that our certificate is revoked",
    "CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "DECRYPT_ERROR": "the peer cannot verify our certificate's signature",
    "ACCESS_DENIED": "the peer refuses our certificate",
}
_NOT_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE", "BAD_RECORD_TYPE",
    }
)  # fmt: skip


def _judge(error: BaseException, shaking: bool) -> tuple[bool, str]:
    """(whether it is about who the peer is, one sentence)."""
    if isinstance(error, ssl.SSLCertVerificationError):
        cure = _CURES.get(error.verify_code, "")
        what = error.verify_message.rstrip(".").partition(", certificate is not valid for")[0]
        return True, f"the peer's certificate: {what}" + (f"; {cure}" if cure else "")
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    alert = reason.partition("_ALERT_")[2]
    for known in (reason, alert):
        if known in _REASONS:
            return True, _REASONS[known]
    if shaking and reason in _NOT_TLS:
        return False, "the peer does not speak TLS: is it tls:// on both sides?"
    if reason == "NO_SHARED_CIPHER":
        return False, "no cipher in common, or the listener has no certificate: load_cert_chain()"
    if reason in ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"):
        return False, "no version of TLS in common"
    return False, f"TLS: {(alert or reason).replace('_', ' ').lower()}"


_core._set_tls(_judge, ssl.SSLError, ssl.SSLWantReadError, Session)


# ---- certificates for a lab


def self_signed(
    names: Iterable[str] = ("localhost", "127.0.0.1", "::1"),
    days: float = 30,
    *,
    mutual: bool = False,
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts for a listener and for those who connect to it, of a certificate made now.

    It is for `names`, hosts or addresses, and `days`. The connecting side's context trusts it and
    nothing else. With `mutual` that side has one, too, named "client", and the listener's requires
    it. For a lab, a lesson, a test: the key is in this process alone, so both contexts
    must be used there, or in its children. Needs the package ``cryptography``.
    """
    try:
        import ipcx._certificates as made
    except ImportError:
        raise ModuleNotFoundError(
            "ipcx.tls.self_signed() needs the package cryptography: "
            "python -m pip install cryptography",
            name="cryptography",
        ) from None
    certificate, key = made.self_signed(tuple(names), days)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load(server, certificate, key)
    client.load_verify_locations(cadata=certificate.decode())
    if mutual:
        certificate, key = made.self_signed(("client",), days)
        made.load(client, certificate, key)
        server.load_verify_locations(cadata=certificate.decode())
        server.verify_mode = ssl.CERT_REQUIRED
    return server, client
