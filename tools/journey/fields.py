"""Names for the bytes of the payload inside the handshake, from the field declarations of its message classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from stronghold_p2p.encoding import varint
from stronghold_p2p.encoding.protobuf import Message
from stronghold_p2p.identity.public_key import KeyMessage, KeyType
from stronghold_p2p.noise.payload import SIGNATURE_PREFIX, NoiseHandshakePayload
from tools.journey import sources
from tools.journey.pieces import Cursor, JourneyError, Layer, Piece, shown
from tools.journey.sources import Source

VARINT, LENGTH_DELIMITED = 0, 2
WIRE_TYPES: Final = {VARINT: "a varint follows", LENGTH_DELIMITED: "a length and that many bytes follow"}

# A field of bytes that is a message in itself.
HOLDS: Final[Mapping[str, type[Message]]] = {"identity_key": KeyMessage}

Words = Callable[[bytes], tuple[str, Source]]

WORDS: Final[Mapping[str, Words]] = {
    "identity_key.type": lambda data: (f"{KeyType(data[0]).name}, the type of the identity key", sources.KEY),
    "identity_key.data": lambda _: ("the identity key itself; the peer id is made of it", sources.ED25519),
    "identity_sig": lambda _: (
        f"Ed25519 signature, by the identity key, over {shown(SIGNATURE_PREFIX.decode())} and the 32 bytes of `s`",
        sources.SIGNED,
    ),
    "extensions.stream_muxers": lambda data: (
        f"{shown(data.decode())}: a muxer that this side speaks",
        sources.EARLY_MUXER,
    ),
}


def payload(data: bytes) -> tuple[Piece, ...]:
    """Every byte of a ``NoiseHandshakePayload``."""
    return tuple(_message(NoiseHandshakePayload, data))


def _message(cls: type[Message], data: bytes, path: str = "") -> list[Piece]:
    pieces: list[Piece] = []
    declared = {spec.number: (name, spec.kind) for name, spec in _specs(cls)}
    cursor = Cursor(data)
    while cursor.left:
        tag = cursor.take_varint()
        number, wire = divmod(varint.decode(tag)[0], 8)
        if number not in declared or wire not in WIRE_TYPES:
            raise JourneyError(f"{cls.__name__} has no field {number} of wire type {wire}")
        name, kind = declared[number]
        where = path + name
        told = f"field {number} of {cls.__name__}; wire type {wire}: {WIRE_TYPES[wire]}"
        pieces.append(Piece(tag, Layer.PAYLOAD, f"{where}: tag", told, sources.FIELD))
        if wire == LENGTH_DELIMITED:
            pieces += _delimited(where, kind, cursor)
        else:
            pieces.append(_value(where, cursor.take_varint()))
    return pieces


def _delimited(where: str, kind: Any, cursor: Cursor) -> list[Piece]:
    length = cursor.take_varint()
    size = varint.decode(length)[0]
    pieces = [Piece(length, Layer.PAYLOAD, f"{where}: length", f"{size} bytes", sources.LENGTH)]
    body = cursor.take(size)
    inner = HOLDS.get(where) if isinstance(kind, str) else kind
    return pieces + (_message(inner, body, where + ".") if inner is not None else [_value(where, body)])


def _value(where: str, data: bytes) -> Piece:
    meaning, source = WORDS[where](data)
    return Piece(data, Layer.PAYLOAD, where, meaning, source)


def _specs(cls: type[Message]) -> list[tuple[str, Any]]:
    return [(item.name, spec) for item in dataclasses.fields(cls) for spec in item.metadata.values()]
