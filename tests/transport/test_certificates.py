"""Certificates in files: what cannot be used is told, what has changed is read again, and what was there stays."""

from __future__ import annotations

import logging
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from stronghold_p2p import ConfigError, DialError, WebTLS
from stronghold_p2p.transport.certificates import LOOK_EVERY, ServerCertificate, TrustedAuthorities, server_name
from tests.support.certificates import DAY, Authority, key, private, write


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return found


def test_a_new_certificate_is_read_within_a_second_and_not_sooner(tmp_path: Path) -> None:
    authority, clock = Authority(tmp_path), Clock()
    server = ServerCertificate(authority.issue(), clock)
    first = server.context()
    authority.issue(number=8)
    assert server.context() is first
    clock.now += LOOK_EVERY
    second = server.context()
    assert second is not first
    clock.now += LOOK_EVERY
    assert server.context() is second


def test_a_broken_file_leaves_the_old_one_in_use_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, clock = Authority(tmp_path), Clock()
    tls = authority.issue()
    server = ServerCertificate(tls, clock)
    first = server.context()
    write(tmp_path / "server.key", private(9))  # the certificate for it is still to come
    for _ in range(3):
        clock.now += LOOK_EVERY
        assert server.context() is first
    (line,) = told(caplog)
    assert "is not the private key of" in line
    assert "stays in use" in line
    (tmp_path / "server.key").unlink()
    clock.now += LOOK_EVERY
    assert server.context() is first
    assert "is not there" in told(caplog)[0]
    authority.issue(number=9)
    clock.now += LOOK_EVERY
    assert server.context() is not first
    assert told(caplog) == []


def test_a_certificate_that_has_expired_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority, clock = Authority(tmp_path), Clock()
    server = ServerCertificate(authority.issue(starts=-2 * DAY, ends=timedelta(seconds=-5)), clock)
    for _ in range(2):
        clock.now += LOOK_EVERY
        server.context()
    (line,) = told(caplog)
    assert "has expired" in line
    authority.issue()
    clock.now += LOOK_EVERY
    server.context()
    assert told(caplog) == []


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = authority.issue()
    locked = key(7).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    cases = {
        "is not there": WebTLS(certificate=tmp_path / "none.pem", key=good.key),
        "both have to be PEM": WebTLS(certificate=write(tmp_path / "text", b"hello"), key=good.key),
        "is not the private key": WebTLS(certificate=good.certificate, key=write(tmp_path / "other", private(3))),
        "is encrypted": WebTLS(certificate=good.certificate, key=write(tmp_path / "locked", locked)),
        "needs a certificate": WebTLS(),
    }
    for words, tls in cases.items():
        with pytest.raises(ConfigError, match=words):
            ServerCertificate(tls)
    (tmp_path / "server.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ServerCertificate(good)


def test_certificate_and_key_in_one_file(tmp_path: Path) -> None:
    tls = Authority(tmp_path).issue()
    assert tls.certificate is not None
    both = write(tmp_path / "both.pem", Path(tls.certificate).read_bytes() + private(7))
    ServerCertificate(WebTLS(certificate=both)).context()


def test_what_a_server_does_not_do(tmp_path: Path) -> None:
    """Nothing that OpenSSL would have to keep for clients that come back, and nothing but HTTP/1.1."""
    context = ServerCertificate(Authority(tmp_path).issue()).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_TICKET


def test_authorities(tmp_path: Path) -> None:
    clock = Clock()
    assert TrustedAuthorities().context().verify_mode is ssl.CERT_REQUIRED
    ca = Authority(tmp_path).ca
    trusted = TrustedAuthorities(ca, clock)
    first = trusted.context()
    assert first.check_hostname
    write(ca, Path(Authority(tmp_path, 1).ca).read_bytes())
    clock.now += LOOK_EVERY
    assert trusted.context() is not first
    for words, data in {"no certificates": b"hello", "PEM": b"-----BEGIN CERTIFICATE-----\nx\n"}.items():
        with pytest.raises(ConfigError, match=words):
            TrustedAuthorities(write(tmp_path / "bad", data))
    with pytest.raises(ConfigError, match="is not there"):
        TrustedAuthorities(tmp_path / "none")


def test_what_is_no_place_of_a_file() -> None:
    with pytest.raises(ConfigError, match="certificate is 7: take a Path or a text"):
        WebTLS(certificate=7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a key without a certificate"):
        WebTLS(key="key.pem")


def test_names_of_servers() -> None:
    assert server_name("Example.COM.") == "Example.COM"
    assert server_name("my_relay") == "my_relay"
    assert server_name("bücher.example") == "xn--bcher-kva.example"
    assert server_name("192.0.2.7") == "192.0.2.7"
    assert server_name("2001:db8::1") == "2001:db8::1"
    for wrong in (".", ".example", "a..example", "x" * 64 + ".example"):
        with pytest.raises(DialError):
            server_name(wrong)
