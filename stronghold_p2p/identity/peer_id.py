"""Peer ids: the name of a peer is the multihash of its public key (peer-ids/peer-ids.md, "Peer Ids").

A key whose protobuf has at most 42 bytes is its own hash (the identity multihash), so that the key can be taken out
of the id again; of a longer one the id is the SHA-256. A key has exactly one id: the SHA-256 of a short key names
nobody, and an identity multihash of anything but a key in its canonical form is no peer id.
"""

import base64
import hashlib
from functools import total_ordering
from typing import Final

from stronghold_p2p.arguments import kind_of
from stronghold_p2p.encoding import base58
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import verify
from stronghold_p2p.identity.public_key import PublicKey

MAX_INLINE: Final = 42

_IDENTITY, _SHA2_256 = 0x00, 0x12  # multicodec table, "multihash"
_ED25519: Final = bytes.fromhex("002408011220")  # how the id of every Ed25519 key begins, in 38 bytes
CID_PREFIX: Final = b"\x01\x72"  # CIDv1, multicodec libp2p-key


@total_ordering
class PeerId:
    """A peer's name, from its text (base58btc, or CIDv1 in base32, base36 or base58btc) or its multihash bytes.

    ``str()`` is base58btc, ``bytes()`` the multihash. Immutable, hashable, ordered by bytes.
    ``DecodeError`` if the value is no peer id.
    """

    __slots__ = ("_text", "multihash")

    def __init__(self, value: str | bytes) -> None:
        try:
            self.multihash = _check(_from_text(value) if isinstance(value, str) else bytes(value))
        except TypeError:
            raise DecodeError(f"peer id: take its text or its bytes, not {kind_of(value)}") from None
        self._text = ""

    @staticmethod
    def from_public_key(key: PublicKey) -> "PeerId":
        """The one id of ``key``."""
        encoded = key.encode()
        if len(encoded) <= MAX_INLINE:
            return PeerId(bytes((_IDENTITY, len(encoded))) + encoded)
        return PeerId(bytes((_SHA2_256, 32)) + hashlib.sha256(encoded).digest())

    def public_key(self) -> PublicKey | None:
        """The key inside the id; ``None`` if the id is a hash."""
        return PublicKey.decode(self.multihash[2:]) if self.multihash[0] == _IDENTITY else None

    def matches(self, key: PublicKey) -> bool:
        """True if this is the canonical id of ``key``, not another hash of it."""
        return PeerId.from_public_key(key) == self

    def to_cid(self) -> str:
        """The other text form: a CIDv1 with multicodec ``libp2p-key`` in base32."""
        return _base32(CID_PREFIX + self.multihash)

    def __bytes__(self) -> bytes:
        return self.multihash

    def __str__(self) -> str:
        if not self._text:
            self._text = base58.encode(self.multihash)
        return self._text

    def __repr__(self) -> str:
        return f"PeerId({str(self)!r})"

    def __hash__(self) -> int:
        return hash(self.multihash)  # which bytes remember

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, PeerId) and self.multihash == other.multihash)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, PeerId):
            return NotImplemented
        return self.multihash < other.multihash


def _check(multihash: bytes) -> bytes:
    """Only the two hash functions of peer ids, with the lengths that they have; nothing behind them.

    What is inlined has to be a key: peer ids are of keys ("Peer Ids"), which "Keys" wants encoded deterministically.
    """
    if len(multihash) < 2 or len(multihash) != 2 + multihash[1]:
        raise DecodeError("peer id: the length is not that of its multihash")
    code, size = multihash[0], multihash[1]
    if not (code == _IDENTITY and 0 < size <= MAX_INLINE) and not (code == _SHA2_256 and size == 32):
        raise DecodeError(f"peer id: hash 0x{code:02x} of {size} bytes is not allowed")
    if multihash.startswith(_ED25519):
        if not verify.is_sound(multihash[len(_ED25519) :]):
            raise DecodeError("peer id: an Ed25519 key of small order, or not in its canonical form")
    elif code == _IDENTITY:
        inlined = multihash[2:]
        if PublicKey.decode(inlined).encode() != inlined:
            raise DecodeError("peer id: the key in it is not in its canonical form")
    return multihash


def _from_text(text: str) -> bytes:
    """peer-ids/peer-ids.md, "Decoding"."""
    if text.startswith("/"):
        raise DecodeError("peer id: that is an address: take what stands behind its last /p2p/")
    if len(text) > base58.MAX_TEXT:
        raise DecodeError(f"peer id of {len(text)} characters, {base58.MAX_TEXT} allowed")
    if text.startswith(("1", "Qm")):
        return base58.decode(text)
    cid = _from_multibase(text)
    if not cid.startswith(CID_PREFIX):
        raise DecodeError("peer id: not a CIDv1 of a libp2p key")
    return cid[len(CID_PREFIX) :]


def _from_multibase(text: str) -> bytes:
    base, body = text[:1], text[1:]
    if base in ("k", "z"):
        return base58.decode(body, base58.BASE36 if base == "k" else base58.BASE58BTC)
    if base != "b":
        raise DecodeError("peer id: starts with neither 1, Qm nor a known multibase prefix")
    try:
        data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except ValueError:
        data = b""
    if _base32(data) != text:
        raise DecodeError("peer id: not base32")
    return data


def _base32(data: bytes) -> str:
    return "b" + base64.b32encode(data).decode("ascii").rstrip("=").lower()
