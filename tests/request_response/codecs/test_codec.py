from __future__ import annotations

import tracemalloc
from enum import Enum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.errors import Malformed
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.firewall.rules import variant_of
from stronghold_p2p.request_response.codecs import codec
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, Codec, frame, malformed, unframe, weight
from tests.request_response.codecs.kinds import Pair, Say
from tests.support.requests import NOT_MINIMAL

PING = bytes.fromhex("06 22 50 69 6e 67 22")


class Level(Enum):
    LOW = 1


class Mode(StrEnum):
    ON = "on"


def unframed(data: bytes, maximum: int, sizes: list[int]) -> tuple[bytes, bytes]:
    """Feed ``data`` in pieces of ``sizes``, then the rest; the message and what is left over."""
    runner = ExchangeRunner(unframe(maximum))
    assert runner.start() == b""
    for size in sizes:
        assert runner.feed(data[:size]) == b""
        data = data[size:]
    runner.feed(data)
    assert runner.done
    return runner.result, runner.leftover


def test_published_bytes() -> None:
    """The two examples of parity 2."""
    assert frame(JSON.encode("Ping")) == PING
    message = frame(JSON.encode({"Message": "hi"}))
    assert message == b"\x10" + b'{"Message":"hi"}'
    assert JSON.decode(unframed(PING, 100, [])[0]) == "Ping"


@given(st.binary(max_size=300), st.binary(max_size=20), st.data())
def test_frames_in_one_piece_byte_by_byte_and_with_more_behind(body: bytes, more: bytes, data: st.DataObject) -> None:
    framed = frame(body)
    assert unframed(framed + more, 300, []) == (body, more)
    assert unframed(framed + more, 300, [1] * len(framed)) == (body, more)
    sizes = data.draw(st.lists(st.integers(0, 50), max_size=10))
    assert unframed(framed + more, 300, sizes) == (body, more)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1 << 20])
def test_lengths_are_minimal(size: int) -> None:
    framed = frame(bytes(size))
    prefix = framed[: len(framed) - size]
    assert len(prefix) == max(1, (size.bit_length() + 6) // 7)
    assert unframed(framed, size, [])[0] == bytes(size)


@pytest.mark.parametrize(
    "prefix",
    [
        *NOT_MINIMAL,
        b"\xff" * 9,
        b"\xff" * 10 + b"\x01",
        b"\x0b",  # 11 of at most 10
        b"\xe8\x07",
        b"\xff\xff\xff\xff\x7f",
    ],
)
def test_bad_lengths_are_refused_at_the_prefix(prefix: bytes) -> None:
    runner = ExchangeRunner(unframe(10))
    runner.start()
    with pytest.raises(Malformed, match="length"):
        for byte in prefix:
            runner.feed(bytes((byte,)))


@pytest.mark.parametrize(
    ("value", "variant"),
    [
        ("Ping", "Ping"),
        ({"Message": "hi"}, "Message"),
        ({"Ping": None}, "Ping"),
        ("", ""),
        ({}, None),
        ({"a": 1, "b": 2}, None),
        ({1: 2}, None),
        ([1], None),
        (None, None),
        (7, None),
        (b"Ping", None),
        ((1, 2), None),
        (True, None),
        (1.5, None),
        (Pair(1), "Pair"),
        (Say("x"), "Say"),
        (Level.LOW, "LOW"),
        (Mode.ON, "on"),
    ],
)
def test_the_class_tag_of_a_message(value: Any, variant: str | None) -> None:
    assert variant_of(value) == variant


def test_d15_bytes_are_themselves() -> None:
    assert BYTES.decode(BYTES.encode(b"\x00\xff")) == b"\x00\xff"
    assert BYTES.encode(bytearray(b"a")) == b"a"  # type: ignore[arg-type]
    assert type(BYTES.encode(memoryview(b"a"))) is bytes  # type: ignore[arg-type]
    assert repr(BYTES) == "BYTES"
    assert repr(JSON) == "JSON"


class Numbers:
    """What a user writes: its ValueErrors say what is wrong."""

    def encode(self, value: int, /) -> bytes:
        if value < 0:
            raise ValueError("below zero")
        return str(value).encode()

    def decode(self, body: bytes, /) -> int:
        value = int(body.decode())
        if value < 0:
            raise ValueError("below zero")
        return value


def test_a_users_codec() -> None:
    numbers: Codec[int] = Numbers()
    assert codec.decode(numbers, numbers.encode(5)) == 5
    for body in (b"x", b"\xff"):
        with pytest.raises(Malformed):
            codec.decode(numbers, body)
    with pytest.raises(Malformed, match="below zero") as caught:
        codec.decode(numbers, b"-1")
    assert isinstance(caught.value.__cause__, ValueError)


def test_malformed_of_a_codec_keeps_its_path() -> None:
    with pytest.raises(Malformed) as caught:
        JSON.encode({"a": object()})
    assert caught.value.path == "a"
    assert str(caught.value).startswith("a: not JSON: ")
    sending = codec.malformed(caught.value, "request", "bob")
    assert (sending.path, sending.peer) == ("request.a", "bob")
    assert str(sending).startswith("request.a: not JSON: ")


@pytest.mark.parametrize(
    ("kind", "body", "part", "path", "told"),
    [
        (JSON, b'{"a":1,"a":2}', (), "a", "a: duplicate key"),
        (JSON, b'{"a":1,"a":2}', ("response",), "response.a", "response.a: duplicate key"),
        (JSON, b"", ("response",), "response", "response: not JSON: "),
        (Numbers(), b"-1", ("response",), "response", "response: below zero"),
    ],
)
def test_the_part_of_an_exchange_begins_the_path(
    kind: Codec[Any], body: bytes, part: tuple[str, ...], path: str, told: str
) -> None:
    with pytest.raises(Malformed) as caught:
        codec.decode(kind, body, *part)
    assert caught.value.path == path
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"{}"] * 20_000) + b"]",
        b"[" + b",".join([b"[]"] * 20_000) + b"]",
        b"[" + b",".join([b'{"":1}'] * 10_000) + b"]",
        b"[" + b",".join([b'{"a":{"b":{"c":[]}}}'] * 5_000) + b"]",
        b"[" + b",".join([b'"ab"'] * 20_000) + b"]",
        b"[" + b",".join([b"1.5"] * 20_000) + b"]",
        b"[" + b",".join([b"1" * 30] * 5_000) + b"]",
        b"{" + b",".join(b'"%d":%d000' % (number, number) for number in range(1, 10_000)) + b"}",
        b'"' + b"a" * 100_000 + "\U0001f600".encode() + b'"',
        b'"' + b"a" * 100_000 + b'\\ud83d\\ude00"',
        b'"' + b"a" * 100_000 + b'"',
    ],
    ids=lambda body: body[:12].decode(),
)
def test_the_weight_of_a_message_is_what_it_takes_at_most(body: bytes) -> None:
    tracemalloc.start()
    message = JSON.decode(body)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message
    assert taken <= weight(JSON, body) + 1_000
    assert weight(JSON, body) <= 8 * taken


def test_the_weight_of_a_short_message() -> None:
    assert weight(JSON, b'"Ping"') == 6


def test_what_stands_inside_strings_is_text() -> None:
    """Hostile row 132."""
    text = b"[{,:" * 30_000
    assert weight(JSON, b'"' + text + b'"') == len(text) + 2
    assert weight(JSON, b'["\\"' + text + b'",{"a":1}]') == len(text) + 14 + 64 + 134 + 2 * 58
    assert weight(JSON, text) > 70 * 30_000  # it is none
    assert weight(BYTES, text) == len(text)  # it is not looked at


def test_what_a_codec_says_is_kept_short() -> None:
    assert len(str(malformed(ValueError("x" * 1_000_000), "request"))) < 1_100
