"""Certificates of the Web, made for one test: an authority, and what it signs, in files."""

from __future__ import annotations

import atexit
import ipaddress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from stronghold_p2p import WebTLS

DAY = timedelta(days=1)
NAME = "peer.example"


@cache
def key(number: int) -> ec.EllipticCurvePrivateKey:
    """The same ones in each test: they are secret to nobody."""
    return ec.derive_private_key(number + 1_000, ec.SECP256R1())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def private(number: int) -> bytes:
    return key(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def titled(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def write(path: Path, data: bytes) -> Path:
    """As an owner would leave a secret."""
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Authority:
    """Signs with the key ``number``; ``folder`` is where files are made."""

    folder: Path
    number: int = 0

    @property
    def name(self) -> x509.Name:
        return titled(f"authority {self.number}")

    @property
    def ca(self) -> Path:
        """Its own certificate."""
        made = self.sign(self.name, self.number, x509.BasicConstraints(ca=True, path_length=None), usage=True)
        return write(self.folder / f"ca{self.number}.pem", pem(made))

    def sign(
        self,
        name: x509.Name,
        number: int,
        *extensions: x509.ExtensionType,
        starts: timedelta = -DAY,
        ends: timedelta = 9 * DAY,
        usage: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(
            self.name, name, key(number).public_key(), x509.random_serial_number(), now + starts, now + ends
        )
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(key(self.number).public_key())
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key(number).public_key()), critical=False)
        made = made.add_extension(ours, critical=False)
        if usage:  # what Python 3.13 wants of an authority
            made = made.add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return made.sign(key(self.number), hashes.SHA256())

    def issue(
        self,
        *names: str,
        number: int = 7,
        file: str = "server",
        starts: timedelta = -DAY,
        ends: timedelta = 9 * DAY,
    ) -> WebTLS:
        """A server's certificate for ``names``, IP addresses among them, and its key, as a network takes them."""
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names or (NAME,)])
        made = self.sign(titled("server"), number, alternatives, starts=starts, ends=ends)
        certificate = write(self.folder / f"{file}.pem", pem(made))
        return WebTLS(certificate=certificate, key=write(self.folder / f"{file}.key", private(number)))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@cache
def certified() -> WebTLS:
    """A certificate for loopback and for whom both ends trust, in files that last as long as the tests do."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    authority = Authority(Path(folder.name))
    return replace(authority.issue("127.0.0.1", "::1", "localhost"), ca=authority.ca)
