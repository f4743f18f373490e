"""A certificate of the Web for a host, signed by an authority that exists for it alone."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAYS = 365


def issue(host: str) -> tuple[bytes, bytes, bytes]:
    """The certificate for an IP address or a name, its key, and the certificate of the authority; all in PEM."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _unsigned("an authority", "an authority", authority).add_extension(x509.BasicConstraints(True, None), True)
    signed = _unsigned(host, "an authority", own).add_extension(x509.SubjectAlternativeName([_name(host)]), False)
    pem = serialization.Encoding.PEM
    key = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificates = (one.sign(authority, hashes.SHA256()).public_bytes(pem) for one in (signed, ca))
    return next(certificates), key, next(certificates)


def _unsigned(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_titled(subject))
        .issuer_name(_titled(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )


def _titled(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
