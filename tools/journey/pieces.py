"""Bytes with names: pieces of a segment, and the parts of it that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from tools.journey.sources import Source


class JourneyError(Exception):
    """The wire holds something that these modules have no name for."""


class Layer(Enum):
    """Whose bytes they are; the values are what the document calls them."""

    MULTISTREAM = "multistream-select"
    CIPHERTEXT = "ciphertext"
    FRAMING = "Noise framing"
    KEYS = "Noise keys"
    PAYLOAD = "Noise payload"
    TAG = "Noise tag"
    YAMUX = "Yamux"
    STREAM = "multistream-select (stream)"
    MESSAGE = "request and answer"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that mean one thing. With ``inside`` they are ciphertext, and that is the plaintext."""

    data: bytes
    layer: Layer
    field: str
    meaning: str
    source: Source
    inside: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What both sides compute at a token of the handshake: ``value`` is the new ``name``."""

    token: str
    name: str
    value: str
    how: str
    source: Source


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is said: what it is, why it is said now, its bytes, and what follows from them."""

    title: str
    text: str
    pieces: tuple[Piece, ...]
    steps: tuple[Step, ...] = ()


class Cursor:
    """Takes bytes off the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; ``JourneyError`` if there are fewer."""
        if size > len(self._data):
            raise JourneyError(f"{size} bytes expected, {len(self._data)} left in this segment")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def take_all(self) -> bytes:
        return self.take(self.left)

    def take_varint(self) -> bytes:
        """The bytes of an unsigned varint."""
        size = next((at + 1 for at, byte in enumerate(self._data) if byte < 0x80), self.left + 1)
        return self.take(size)


def leaves(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Each byte of the wire once, under its innermost name: ciphertext gives way to the plaintext in it."""
    for piece in pieces:
        if piece.inside:
            yield from leaves(piece.inside)
        else:
            yield piece


def joined(pieces: Iterable[Piece]) -> bytes:
    """The bytes that the pieces name, in order."""
    return b"".join(piece.data for piece in pieces)


def shown(text: str) -> str:
    """Text of the wire in running text."""
    return f"`{text}`"
