"""The values that components of an address have: from text to bytes, what bytes may be, and from bytes to text.

The ``multiaddr`` package has the same, but it refuses names that are in use (``my_relay``, ``r3---sn-1``), and loads
what it needs for each kind when it meets the first, which fails where no file can be opened any more.
"""

import base64
import binascii
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from typing import Final, TypeAlias

from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import DecodeError

MAX_NAME: Final = 253  # bytes of a domain (RFC 1035)
MAX_LABEL: Final = 63  # characters between two of its dots, in the form in which they are looked up
IP4_MAPPED: Final = bytes(10) + b"\xff\xff"
"""How the IPv6 form of an IPv4 address begins (RFC 4291, 2.5.5.2)."""

Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Letters, digits and hyphens (RFC 1123, 2.1), and the underscore, which names of services have (RFC 2181, 11).
_NAME: Final = re.compile(rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.(?!\Z)|\.?\Z))+")
_PATH: Final = re.compile(rb"/[\w.~-](?:[\w.~/-]*[\w.~-])?", re.ASCII)
_ONION: Final = re.compile("([a-z2-7]{56}):([1-9][0-9]{0,4})", re.ASCII)
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_RESERVED: Final = re.compile(rb"[^A-Za-z0-9_.~-]")  # RFC 3986, 2.3
_ESCAPED: Final = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})+", re.DOTALL)


def none(text: str) -> bytes:
    """Of a component that has no value."""
    return text.encode()


def uint_to_bytes(bits: int) -> Callable[[str], bytes]:
    """Decimal numbers in their one form: no sign, no leading zero."""

    def to_bytes(text: str) -> bytes:
        if not (text.isascii() and text.isdigit() and len(text) <= 20) or str(int(text)) != text or int(text) >> bits:
            raise DecodeError(f"{text[:20]!r} is no number of {bits} bits")
        return int(text).to_bytes(bits // 8, "big")

    return to_bytes


def uint_to_text(value: bytes) -> str:
    """Decimal."""
    return str(int.from_bytes(value, "big"))


def ip_to_bytes(kind: type[Ip]) -> Callable[[str], bytes]:
    """Without a zone, which is a component of its own."""

    def to_bytes(text: str) -> bytes:
        try:
            if "%" not in text:
                return kind(text).packed
        except ValueError:
            pass
        raise DecodeError(f"{text[:64]!r} is no IP{'v4' if kind is ipaddress.IPv4Address else 'v6'} address")

    return to_bytes


def ip4_to_text(value: bytes) -> str:
    """Dotted."""
    return f"{value[0]}.{value[1]}.{value[2]}.{value[3]}"


def ip6_to_text(value: bytes) -> str:
    """In its shortest form (RFC 5952)."""
    return str(ipaddress.IPv6Address(value))


def utf8(text: str) -> bytes:
    """``DecodeError`` for what is no Unicode."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DecodeError("text that is not Unicode") from None


def ensure_name(value: bytes) -> None:
    """A name that somebody may look up; one that is not ASCII is looked at more closely when that is done."""
    if len(value) > MAX_NAME or not (_NAME.fullmatch(value) or _is_international(value)):
        raise DecodeError(f"{_shown(value)} is no name of a host")


def _is_international(value: bytes) -> bool:
    """Letters, digits and marks of any script, as a U-label has (RFC 5890, 2.3.2.1), in their composed form.

    Of what else IDNA wants, the resolver knows.
    """
    if value.isascii():
        return False
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    labels = text.removesuffix(".").split(".")
    return unicodedata.is_normalized("NFC", text) and all(map(_is_label, labels))


def _is_label(label: str) -> bool:
    if not label or label[0] == "-" or label[-1] == "-" or len(label) > MAX_LABEL:
        return False
    return all(char in "-_" or unicodedata.category(char)[0] in "LMN" for char in label)


def ensure_zone(value: bytes) -> None:
    """What a system calls one of its links: printable UTF-8 without spaces or separators (RFC 4007, 11.2)."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(value) > MAX_NAME or not text.isprintable() or any(char in "/ %" for char in text):
        raise DecodeError(f"{_shown(value)} is no zone")


def to_text(value: bytes) -> str:
    """Of a value that is text, and was checked."""
    return value.decode()


def unix_to_bytes(text: str) -> bytes:
    """The separator is the first slash of the path."""
    return utf8("/" + text)


def ensure_unix(value: bytes) -> None:
    """A path of such characters as need no escape."""
    if not _PATH.fullmatch(value):
        raise DecodeError(f"{_shown(value)} is no path that an address can hold")


def unix_to_text(value: bytes) -> str:
    """Without its first slash, which the separator is."""
    return value[1:].decode()


def path_to_bytes(text: str) -> bytes:
    """A path of HTTP has its slashes escaped (multiaddr, ``http-path``)."""
    if not _ESCAPED.fullmatch(text):
        raise DecodeError(f"{text[:64]!r} is no escaped path")
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), utf8(text))


def ensure_path(value: bytes) -> None:
    """Printable UTF-8: it becomes part of a request's first line."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise DecodeError(f"{_shown(value)} is no path")


def path_to_text(value: bytes) -> str:
    """Escaped."""
    return _RESERVED.sub(lambda found: b"%%%02X" % found[0][0], value).decode()


def onion3_to_bytes(text: str) -> bytes:
    """Base32, a colon, and a port."""
    found = _ONION.fullmatch(text.replace(".onion:", ":", 1).lower())
    if found is None or int(found[2]) >= 1 << 16:
        raise DecodeError(f"{text[:64]!r} is no address of an onion service")
    return base64.b32decode(found[1].upper()) + int(found[2]).to_bytes(2, "big")


def ensure_onion3(value: bytes) -> None:
    """The port is one that can be dialed."""
    if value[35:] == b"\0\0":
        raise DecodeError("an onion service has no port 0")


def onion3_to_text(value: bytes) -> str:
    """Base32, a colon, and a port."""
    return f"{base64.b32encode(value[:35]).decode().lower()}:{uint_to_text(value[35:])}"


def certhash_to_bytes(text: str) -> bytes:
    """A multihash in multibase, of which all use base64url."""
    try:
        value = base64.b64decode(text[1:] + "=" * (-len(text[1:]) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or certhash_to_text(value) != text:
        raise DecodeError(f"{text[:64]!r} is no hash of a certificate")
    return value


def ensure_certhash(value: bytes) -> None:
    """A multihash, whatever its function."""
    _, offset = varint.decode(value)
    size, offset = varint.decode(value, offset)
    if not size or offset + size != len(value):
        raise DecodeError("the hash of a certificate has another length than it says")


def certhash_to_text(value: bytes) -> str:
    """Multibase."""
    return "u" + base64.urlsafe_b64encode(value).decode().rstrip("=")


def _shown(value: bytes) -> str:
    return repr(value[:64].decode(errors="replace"))
