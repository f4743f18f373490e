"""DNS packets, built by hand: what they say can be wrong in any field."""

from __future__ import annotations

import struct
from collections.abc import Sequence

IN, PTR, TXT, SRV = 1, 12, 16, 33


def name(text: str) -> bytes:
    labels = [label.encode() for label in text.rstrip(".").split(".")]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\x00"


def strings(*texts: str) -> bytes:
    return b"".join(bytes((len(text),)) + text for text in (text.encode() for text in texts))


def record(owner: str, kind: int, data: bytes, ttl: int, of: int = IN) -> bytes:
    return name(owner) + struct.pack(">HHIH", kind, of, ttl, len(data)) + data


def packet(
    flags: int,
    *,
    question: tuple[str, int, int] | None = None,
    answers: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
    raw: bytes | None = None,
    number: int = 0,
) -> bytes:
    """``raw`` is a question, whatever stands there."""
    asked = (
        raw if raw is not None else b"" if question is None else name(question[0]) + struct.pack(">HH", *question[1:])
    )
    counts = (int(bool(asked)), len(answers), 0, len(additional))
    return struct.pack(">HHHHHH", number, flags, *counts) + asked + b"".join([*answers, *additional])
