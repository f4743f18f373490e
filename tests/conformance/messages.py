"""The messages of ``harness/crate/src/messages.rs`` in Python: one of each shape of parity 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from stronghold_p2p import STRONGHOLD, RequestProtocol, messages


@dataclass(frozen=True)
class Ping: ...


@dataclass(frozen=True)
class Pong: ...


class Text(NamedTuple):
    text: str


class Bytes(NamedTuple):
    data: bytes


class Pair(NamedTuple):
    number: int
    text: str


@dataclass(frozen=True)
class Named:
    key: bytes
    n: int


class Maybe(NamedTuple):
    data: bytes | None


@dataclass(frozen=True)
class Unit: ...


class Wrapped(NamedTuple):
    data: bytes


@dataclass(frozen=True)
class Point:
    x: int
    label: str | None


@dataclass(frozen=True)
class Nested:
    unit: Unit
    wrapped: Wrapped
    point: Point
    flags: dict[str, bool]


class Ok(NamedTuple):
    value: float


class Err(NamedTuple):
    told: str


class Outcome(NamedTuple):
    result: Ok | Err


Message = Ping | Pong | Text | Bytes | Pair | Named | Maybe | Nested | Outcome
Few = Ping | Pong

LARGE = 8 << 20
"""Bytes of a body: a mebibyte as JSON numbers is less than four."""

TYPED = RequestProtocol(
    *STRONGHOLD.ids, request=messages(Message), response=messages(Message), max_request=LARGE, max_response=LARGE
)
FEW = RequestProtocol(*STRONGHOLD.ids, request=messages(Few), response=messages(Few))
ROOMY = RequestProtocol(
    *STRONGHOLD.ids, request=STRONGHOLD.request, response=STRONGHOLD.response, max_request=LARGE, max_response=LARGE
)

OTHER_ID_FIRST = RequestProtocol(*reversed(STRONGHOLD.ids), request=STRONGHOLD.request, response=STRONGHOLD.response)

EVERY_SHAPE: tuple[Message, ...] = (
    Ping(),
    Text('"quoted" \\ / \u0007 żółw 🐢'),
    Bytes(bytes(range(256))),
    Pair(-(1 << 63), "x"),
    Named(b"\x01", (1 << 64) - 1),
    Maybe(None),
    Maybe(b""),
    Nested(Unit(), Wrapped(b"ping"), Point(-1, None), {"a": True, "b": False}),
    Outcome(Ok(1.0)),
    Outcome(Err("no")),
)
