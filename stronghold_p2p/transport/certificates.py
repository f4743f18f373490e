"""Certificates of the Web, for ``wss``: ours as a server, from files, and whom we believe as a client.

Files are looked at when a connection comes or goes, once a second at most: an idle listener has no timer. What cannot
be used leaves in force what was there, and is told to the log once. Both sides are given as ``ssl.SSLContext``.
"""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from os import PathLike
from pathlib import Path
from time import monotonic
from typing import Final

from stronghold_p2p import files
from stronghold_p2p.errors import ConfigError, DialError
from stronghold_p2p.logs import OneLine
from stronghold_p2p.transport.tls_faults import words

LOOK_EVERY: Final = 1.0  # seconds
LARGEST: Final = 1 << 20  # bytes of a file; the certificates of all authorities are 220 KiB
ALPN: Final = ("http/1.1",)  # go offers h2, too, and cannot upgrade what it has chosen then
OTHERWISE: Final = "copy it to where the mode counts"
NO_CERTIFICATE: Final = (
    "secure WebSocket needs a certificate: Network(tls=WebTLS(certificate='fullchain.pem', key='privkey.pem')); or "
    "listen on /ws, behind a server that has one"
)

log = logging.getLogger("stronghold_p2p.network")


@dataclass(frozen=True, kw_only=True)
class WebTLS:
    """The files of secure WebSocket (``/tls/ws``), all in PEM. These certificates are the Web's, and prove no peer id.

    certificate: the chain that we show to who dials us, ours first: what authorities call fullchain.
    key: its private key, which others may not read; None: it stands in the same file.
    ca: authorities, or single self-signed certificates, that we trust when we dial, besides those that the system
        trusts.

    Changed files are read again, when a connection is made, within a second.
    """

    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None
    ca: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        """``ConfigError``: something else than places of files, or a key without a certificate."""
        for name in ("certificate", "key", "ca"):
            given: object = getattr(self, name)
            if given is not None and not isinstance(given, str | PathLike):
                raise ConfigError(f"{name} is {given!r:.100}: take a Path or a text", where=f"WebTLS.{name}")
        if self.key is not None and self.certificate is None:
            raise ConfigError("a key without a certificate: give both", where="WebTLS.certificate")


class Watched:
    """A context made from ``files``, and made anew when they change. ``clock`` tells seconds."""

    def __init__(
        self, paths: tuple[Path, ...], make: Callable[[], ssl.SSLContext], clock: Callable[[], float] = monotonic
    ) -> None:
        self._paths = paths
        self._make = make
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._stamps: tuple[files.Stamp | None, ...] = ()
        self._looked = 0.0

    def context(self) -> ssl.SSLContext:
        """``ConfigError``: the files cannot be used, and could not be before."""
        now = self._clock()
        if self._context is not None and now - self._looked < LOOK_EVERY:
            return self._context
        self._looked = now
        # Before the files are read: what changes meanwhile is seen at the next look.
        stamps = tuple(files.stamp(path) for path in self._paths)
        if self._context is None or stamps != self._stamps:
            self._renew(stamps)
        assert self._context is not None
        return self._context

    def _renew(self, stamps: tuple[files.Stamp | None, ...]) -> None:
        try:
            fresh = self._make()
        except ConfigError as error:
            if self._context is None:
                raise
            log.warning("%s; what was read before stays in use", OneLine(error))
        else:
            if self._context is not None:
                log.info("read again: %s", OneLine(", ".join(map(str, self._paths))))
            self._context = fresh
        self._stamps = stamps


class ServerCertificate:
    """What we show to who dials us. ``ConfigError``: the files of ``tls`` cannot be used."""

    def __init__(self, tls: WebTLS, clock: Callable[[], float] = monotonic) -> None:
        if tls.certificate is None:
            raise ConfigError(NO_CERTIFICATE, where="tls")
        self._certificate = files.located(tls.certificate)
        self._key = self._certificate if tls.key is None else files.located(tls.key)
        self._ends: datetime | None = None  # of the certificate in use; None once it was told that it is over
        self._watched = Watched((self._certificate, self._key), self._load, clock)
        self._watched.context()

    def context(self) -> ssl.SSLContext:
        """The one for a connection that has just come."""
        context = self._watched.context()
        if self._ends is not None and datetime.now(UTC) > self._ends:
            log.warning("%s has expired: who dials refuses it; renew it in its place", OneLine(self._certificate))
            self._ends = None
        return context

    def _load(self) -> ssl.SSLContext:
        chain = _read(self._certificate, "certificate")
        _read(self._key, "private key", private=OTHERWISE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # No renegotiation, and no sessions for OpenSSL to keep: every libp2p speaks it, and every browser.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.set_alpn_protocols(list(ALPN))
        try:
            context.load_cert_chain(self._certificate, self._key, password=_nothing)
        except (OSError, ValueError) as error:  # OpenSSL's are of both kinds
            raise _unusable(self._certificate, self._key, error) from error
        self._ends = _end_of(chain, self._certificate)
        return context


class TrustedAuthorities:
    """Whom we believe when we dial: what the system trusts, and ``ca``. The system's are read with the first dial."""

    def __init__(self, ca: str | PathLike[str] | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._ca = None if ca is None else files.located(ca)
        if self._ca is not None:
            _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self._ca)  # a wrong one is told at once
        self._watched = Watched(() if self._ca is None else (self._ca,), self._load, clock)

    def context(self) -> ssl.SSLContext:
        """The one for a dial."""
        return self._watched.context()

    def _load(self) -> ssl.SSLContext:
        if self._ca is None:
            return _of_the_system()
        context = _client_context()
        _trust(context, self._ca)
        return context


@cache
def _of_the_system() -> ssl.SSLContext:
    """One for all networks: to read it takes 30 ms, and it changes with the system."""
    return _client_context()


def _client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(list(ALPN))
    return context


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    text = _read(ca, "file of authorities").decode("ascii", "replace")
    before = context.cert_store_stats()["x509"]
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{ca} holds no certificates in PEM: {words(error)}", where=str(ca)) from error
    if context.cert_store_stats()["x509"] == before and "BEGIN CERTIFICATE" not in text:
        raise ConfigError(f"{ca} holds no certificates in PEM", where=str(ca))


def _read(path: Path, kind: str, *, private: str = "") -> bytes:
    try:
        return files.read(path, LARGEST, kind, private=private)[0]
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: it has to hold the {kind}", where=str(path)) from None


def _nothing() -> str:
    """OpenSSL would ask at the terminal, in the middle of the event loop."""
    raise ValueError("the key is encrypted: openssl pkey -in KEY -out PLAIN makes a plain one, for the mode 600")


def _unusable(certificate: Path, key: Path, error: Exception) -> ConfigError:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        told = f"{key} is not the private key of {certificate}"
    elif isinstance(error, ssl.SSLError):
        told = f"{certificate} and {key} cannot be used: {words(error)}; both have to be PEM"
    else:
        told = f"{key} cannot be used: {error}"
    return ConfigError(told, where=str(certificate))


def _end_of(chain: bytes, path: Path) -> datetime:
    from cryptography import x509  # noqa: PLC0415 - for listeners of wss only

    try:
        return x509.load_pem_x509_certificate(chain).not_valid_after_utc
    except ValueError as error:
        raise ConfigError(f"{path} cannot be used: {error}", where=str(path)) from error


def server_name(host: str) -> str:
    """What a certificate has to be for: ``host``, a name or an IP address, as DNS and TLS have it (RFC 6066, 3)."""
    bare = host.rstrip(".")
    try:
        found = bare if ":" in bare else bare.encode("idna").decode()
    except UnicodeError:  # a label of more than 63 bytes, or an empty one
        found = ""
    if not found or found.startswith("."):
        raise DialError(f"{host} is no name that a certificate can be for")
    return found
