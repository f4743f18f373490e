"""What a file looks like that holds no key in PKCS#8 PEM, and the call that reads it: people bring keys of other tools.

Nothing of a key is in what is said here. Each call is one that works as it stands, where ``data`` are the bytes of the
file and ``text`` is what ``data.decode()`` gives; the tests make each of them.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity.keys import pkcs8
from stronghold_p2p.identity.public_key import KeyMessage, KeyType

NO_KEY: Final = "not a private key in PKCS#8 PEM"
PUBLIC: Final = "a public key: the private one is needed, which stands in another file"
OTHER_TYPE: Final = "holds a key of another type: only Ed25519 is supported"

_OPENSSH: Final = (
    "an OpenSSH key: Identity.from_seed(load_ssh_private_key(data, None).private_bytes_raw()) reads it, with "
    "load_ssh_private_key of cryptography.hazmat.primitives.serialization"
)
# By what stands in the file, in any of its lines.
_NAMED: Final[tuple[tuple[bytes, str], ...]] = (
    (b"-----BEGIN OPENSSH PRIVATE KEY-----", _OPENSSH),
    (b"-----BEGIN PUBLIC KEY-----", PUBLIC),
    (b"-----BEGIN CERTIFICATE-----", "a certificate, which has a public key only: the private one is needed"),
    (b"PuTTY-User-Key-File", "a PuTTY key: puttygen FILE -O private-openssh -o NEW makes an OpenSSH key of it"),
    (b"ssh-ed25519 AAAA", PUBLIC),
)
_PUBLIC_DER: Final = bytes.fromhex("302a") + pkcs8.ALGORITHM + bytes.fromhex("032100")
_PRINTED: Final = re.compile(rb"[\t\n\r -~]*")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_HEX: Final = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2})+)")


def told(data: bytes) -> str:
    """What ``data`` looks like, and which call reads it; ``NO_KEY`` where that is not known."""
    stripped = data.strip()
    if not stripped:
        return "it is empty: copy the key once more, or take another name for a new one"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00-\x00-\x00-" in data:
        return "text in UTF-16: save it as UTF-8, or Identity.from_pem(data.decode('utf-16')) reads it"
    for words, what in _NAMED:
        if words in data:
            return what
    return _of_bytes(data) or _of_text(stripped) or NO_KEY


def _of_bytes(data: bytes, how: str = "data") -> str | None:
    """What binary ``data`` is; ``how`` is the expression that has it."""
    if pkcs8.decode(data) is not None:
        at = pkcs8.SEED_AT
        return f"PKCS#8 in DER, not PEM: Identity.from_seed({how}[{at}:{at + 32}]) reads it"
    if data.startswith(_PUBLIC_DER):
        return PUBLIC
    if (found := _of_protobuf(data, how)) is not None:
        return found
    if len(data) == 32 and _PRINTED.fullmatch(data) is None:
        return f"32 bytes, perhaps a seed: Identity.from_seed({how}) reads it"
    if len(data) == 64 and Ed25519PrivateKey.from_private_bytes(data[:32]).public_key().public_bytes_raw() == data[32:]:
        return f"a seed and its public key: Identity.from_seed({how}[:32]) reads it"
    return None


def _of_protobuf(data: bytes, how: str) -> str | None:
    with suppress(DecodeError, ValueError):
        message = protobuf.decode(KeyMessage, data)
        if message.data is not None and message.type in set(KeyType):
            if message.type != KeyType.ED25519:
                return OTHER_TYPE
            if len(message.data) == 32:
                return PUBLIC
            if len(message.data) in (64, 96):
                return f"the PrivateKey protobuf of libp2p: Identity.from_private_protobuf({how}) reads it"
    return None


def _of_text(text: bytes) -> str | None:
    """What ``text`` is, whose spaces at both ends are gone: a JSON object, hexadecimal digits, or base64."""
    if text.startswith(b"{"):
        return _of_json(text)
    if (digits := _HEX.fullmatch(text)) is not None:
        prefix = "" if digits[1] == text else ".strip()[2:]"
        return _decoded(bytes.fromhex(digits[1].decode()), f"bytes.fromhex(text{prefix})", "in hexadecimal digits")
    return _of_base64(text, "base64.b64decode(text)")


def _of_base64(text: bytes, how: str) -> str | None:
    if _BASE64.fullmatch(text) is None:
        return None
    with suppress(binascii.Error):
        return _decoded(base64.b64decode(text), how, "in base64")
    return None


def _of_json(text: bytes) -> str | None:
    """What kubo has in its ``config``, what rust's and other tools write: some field is the key in base64; or a JWK."""
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
        if isinstance(document, dict) and document.get("kty") == "OKP":
            call = "Identity.from_seed(base64.urlsafe_b64decode(json.loads(text)['d'] + '='))"
            return f"a JSON Web Key: {call} reads it" if "d" in document else PUBLIC
        where, found = _search(document, "json.loads(text)", lambda one: _of_base64(one, ""))
        if found is not None:
            return _of_base64(found, f"base64.b64decode({where})")
    return None


def _search(value: object, how: str, wanted: Callable[[bytes], object]) -> tuple[str, bytes | None]:
    """The first text inside ``value`` that is ``wanted``, and the expression that finds it there."""
    if isinstance(value, str):
        text = value.encode(errors="replace")
        return how, text if wanted(text) else None
    if isinstance(value, dict):
        for name, inner in value.items():
            where, found = _search(inner, f"{how}[{name!r}]", wanted)
            if found is not None:
                return where, found
    return how, None


def _decoded(data: bytes, how: str, form: str) -> str | None:
    found = _of_bytes(data, how)
    return found if found is None or found in (PUBLIC, OTHER_TYPE) else f"{form}, {found}"
