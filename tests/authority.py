# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests of tls://, right and wrong."""

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ipcx import _certificates

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """One that signs, to make certificates that are wrong in one way."""

    def __init__(self, name: str = "the lab's authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.own = self._sign(self.name, self.key, (), NOW - DAY, NOW + DAY, ca=True)

    def _sign(self, subject, key, names, begin, end, ca=False):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(
                x509.SubjectAlternativeName([*map(_certificates._alternative, names)])
                if names
                else x509.BasicConstraints(ca=ca, path_length=None),
                critical=not names,
            )
            .sign(self.key, hashes.SHA256())
        )

    def identity(self, names=("localhost", "127.0.0.1"), begin=NOW - DAY, end=NOW + DAY):
        """(certificate, key) as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        return (
            self._sign(subject, key, names, begin, end).public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def server(self, **how) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _certificates.load(context, *self.identity(**how))
        return context

    def strict(self) -> ssl.SSLContext:
        """A server's that wants certificates of this authority."""
        return self.trusted_by(self.server(), required=True)

    def client(self, **how) -> ssl.SSLContext:
        return self.trusted_by(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def known(self, **how) -> ssl.SSLContext:
        """A client's with a certificate."""
        context = self.client()
        _certificates.load(context, *self.identity(**how))
        return context

    def trusted_by(self, context: ssl.SSLContext, required: bool = False) -> ssl.SSLContext:
        pem = self.own.public_bytes(serialization.Encoding.PEM)
        context.load_verify_locations(cadata=pem.decode())
        if required:
            context.verify_mode = ssl.CERT_REQUIRED
        return context
