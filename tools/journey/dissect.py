"""Names for every byte of a recording: the layers of a connection, from the outside in."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stronghold_p2p import multistream
from stronghold_p2p.codes import GoAway
from stronghold_p2p.encoding import varint
from stronghold_p2p.noise.cipher import TAGLEN, CipherState
from stronghold_p2p.noise.handshake import XX
from stronghold_p2p.noise.libp2p import NOISE
from stronghold_p2p.yamux.header import (
    DATA,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    INITIAL_WINDOW,
    VERSION,
    WINDOW_UPDATE,
)
from tools.journey import sources, words
from tools.journey.handshake import WRITERS, Handshake, encrypted
from tools.journey.pieces import Cursor, JourneyError, Layer, Part, Piece, shown
from tools.journey.recording import PROTOCOL, Recording
from tools.journey.wire import Segment, Side

FIELDS: Final = ("Version", "Type", "Flags", "StreamID", "Length")
WIDTHS: Final = tuple(struct.calcsize(">" + code) for code in HEADER.format.lstrip(">"))


@dataclass(frozen=True, slots=True)
class Dissected:
    """A segment and its parts, which hold every byte of it in order."""

    segment: Segment
    parts: tuple[Part, ...]


def dissect(recording: Recording) -> tuple[Dissected, ...]:
    """Name every byte; ``JourneyError`` if something on the wire has no name."""
    dissector = _Dissector(recording)
    return tuple(Dissected(segment, dissector.parts(segment)) for segment in recording.segments)


class _Dissector:
    def __init__(self, recording: Recording) -> None:
        self._handshake = Handshake(recording.keys)
        self._ciphers: dict[Side, CipherState] = {}
        self._greeted: set[tuple[Side, int]] = set()
        # What each side says in the clear and in the handshake; after that, records.
        self._agenda: dict[Side, deque[Callable[[Side, Cursor], Part]]] = {
            side: deque([self._negotiation]) for side in WRITERS
        }
        for row in range(len(XX)):
            self._agenda[WRITERS[row % 2]].append(self._message)

    def parts(self, segment: Segment) -> tuple[Part, ...]:
        cursor = Cursor(segment.data)
        parts = []
        while cursor.left:
            agenda = self._agenda[segment.sender]
            parts.append(agenda.popleft()(segment.sender, cursor) if agenda else self._record(segment.sender, cursor))
        return tuple(parts)

    # ------------------------------------------------------------------ the connection

    def _negotiation(self, sender: Side, cursor: Cursor) -> Part:
        pieces = _line(sender, cursor, Layer.MULTISTREAM) + _line(sender, cursor, Layer.MULTISTREAM)
        what = "proposal of" if sender is Side.DIALER else "agreement on"
        return Part(f"multistream-select: {what} `{NOISE}`", words.NEGOTIATIONS[sender], tuple(pieces))

    def _message(self, _: Side, cursor: Cursor) -> Part:
        part = self._handshake.message(cursor)
        if any(self._agenda.values()):
            return part
        self._ciphers, steps = self._handshake.split()
        return Part(part.title, part.text, part.pieces, part.steps + steps)

    def _record(self, sender: Side, cursor: Cursor) -> Part:
        if not self._ciphers:
            raise JourneyError("a record before the end of the handshake")
        prefix = cursor.take(2)
        size = int.from_bytes(prefix, "big")
        ciphertext = cursor.take(size)
        cipher = self._ciphers[sender]
        nonce = cipher.n
        plaintext = Cursor(cipher.DecryptWithAd(b"", ciphertext))
        titles, texts, inside = [], [], []
        while plaintext.left:
            title, text, pieces = self._frame(sender, plaintext)
            titles.append(title)
            texts.append(text)
            inside += pieces
        how = encrypted(f"the `k of the {sender.value}`", nonce, "none")
        outside = (
            Piece(prefix, Layer.FRAMING, "noise_message_len", f"{size} bytes follow", sources.FRAMING),
            Piece(ciphertext[:-TAGLEN], Layer.CIPHERTEXT, "record, encrypted", how, sources.TRANSPORT, tuple(inside)),
            Piece(ciphertext[-TAGLEN:], Layer.TAG, "tag", "authenticates the record and its turn", sources.CIPHER),
        )
        return Part(f"Noise record {nonce} of the {sender.value}: {'; '.join(titles)}", " ".join(texts), outside)

    # ------------------------------------------------------------------ inside

    def _frame(self, sender: Side, cursor: Cursor) -> tuple[str, str, list[Piece]]:
        header = cursor.take(HEADER_SIZE)
        _, kind, flags, stream, length = HEADER.unpack(header)
        if (kind, flags) not in words.FRAMES:
            raise JourneyError(f"a frame of type {kind} with flags {flags:#x}")
        title, text = words.FRAMES[words.Type(kind), words.Flag(flags)]
        cells, pieces = Cursor(header), []
        for name, width, meaning in zip(FIELDS, WIDTHS, _meanings(kind, flags, stream, length), strict=True):
            pieces.append(Piece(cells.take(width), Layer.YAMUX, name, meaning, sources.YAMUX[name]))
        if kind == DATA:
            pieces += self._body(sender, stream, Cursor(cursor.take(length)))
        return title, text, pieces

    def _body(self, sender: Side, stream: int, cursor: Cursor) -> list[Piece]:
        pieces: list[Piece] = []
        if (sender, stream) not in self._greeted:
            self._greeted.add((sender, stream))
            pieces += _line(sender, cursor, Layer.STREAM) + _line(sender, cursor, Layer.STREAM)
        while cursor.left:
            pieces += _message(sender, cursor)
        return pieces


def _line(sender: Side, cursor: Cursor, layer: Layer) -> list[Piece]:
    """One multistream message: its length, its text, its newline."""
    length = cursor.take_varint()
    size = varint.decode(length)[0]
    text, newline = cursor.take(size - 1), cursor.take(1)
    name = text.decode()
    if multistream.message(name) != length + text + newline:
        raise JourneyError(f"{name!r} is no multistream message")
    if length + text + newline == multistream.HEADER:
        field, meaning, source = "header", f"{shown(name)}: this is multistream-select 1.0", sources.MULTISTREAM
    else:
        verb = "shall we speak it?" if sender is Side.DIALER else "yes, the same"
        field, meaning = "proposal" if sender is Side.DIALER else "echo", f"{shown(name)}: {verb}"
        source = sources.NEW_STREAM if layer is Layer.STREAM else sources.NEGOTIATION
    return [
        Piece(length, layer, "length", f"{size} bytes follow, newline included", sources.UVARINT),
        Piece(text, layer, field, meaning, source),
        Piece(newline, layer, "newline", "`\\n` ends the message", sources.MULTISTREAM),
    ]


def _message(sender: Side, cursor: Cursor) -> list[Piece]:
    """One message of the request protocol."""
    length = cursor.take_varint()
    size = varint.decode(length)[0]
    body = cursor.take(size)
    codec = PROTOCOL.request if sender is Side.DIALER else PROTOCOL.response
    codec.decode(body)
    what = "request" if sender is Side.DIALER else "answer"
    return [
        Piece(length, Layer.MESSAGE, "length", f"{size} bytes follow", sources.MESSAGE),
        Piece(body, Layer.MESSAGE, what, f"JSON: {shown(body.decode())}", sources.JSON),
    ]


def _meanings(kind: int, flags: int, stream: int, length: int) -> tuple[str, ...]:
    names = [name for flag in words.Flag if flag & flags and (name := flag.name)]
    opener = "odd: opened by the dialer" if stream % 2 else "even: opened by the listener"
    meaning = {
        DATA: f"{length} bytes follow; they use up that much of the stream's window, {INITIAL_WINDOW} at first",
        WINDOW_UPDATE: f"the window grows by {length}: the frame is here for its flag",
        GO_AWAY: f"reason {length}: {GoAway(length).name.lower()}" if kind == GO_AWAY else "",
    }[kind]
    return (
        f"{VERSION} is the only version",
        f"{words.Type(kind).name.replace('_', ' ').title()}",
        " ".join(names) or "none",
        f"stream {stream}; {opener}" if stream else "0: the session as a whole",
        meaning,
    )
