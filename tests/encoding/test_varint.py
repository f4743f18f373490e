"""varint.py: minimal, bounded, and the same whole or byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import varint
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.exchange import ExchangeRunner

# multiformats/unsigned-varint, "Spec": the examples of its table.
EXAMPLES = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (255, "ff01"),
    (300, "ac02"),
    (16_384, "808001"),
    ((1 << 63) - 1, "ffffffffffffffff7f"),
]
REFUSED = {
    "empty": "",
    "truncated": "80",
    "truncated later": "ffff",
    "not minimal": "8000",
    "not minimal one": "818000",
    "ten bytes": "ffffffffffffffffff01",
    "nine bytes that go on": "ffffffffffffffffff",
}


def read(data: bytes, *, maximum: int = varint.MAX_VALUE, max_bytes: int = varint.MAX_BYTES) -> ExchangeRunner[int]:
    runner = ExchangeRunner(varint.read(maximum=maximum, max_bytes=max_bytes))
    runner.start()
    for index in range(len(data)):
        runner.feed(data[index : index + 1])
    return runner


@pytest.mark.parametrize(("value", "encoded"), EXAMPLES)
def test_examples(value: int, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert varint.encode(value) == data
    assert varint.decode(data) == (value, len(data))
    assert read(data).result == value


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    data = bytes.fromhex(REFUSED[name])
    with pytest.raises(DecodeError):
        varint.decode(data)
    if "not minimal" in name or "nine" in name:
        with pytest.raises(DecodeError):
            read(data)


@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_numbers_that_do_not_fit(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        varint.encode(value)


def test_maximum_counts_before_the_last_byte() -> None:
    assert varint.decode(b"\xac\x02", maximum=300) == (300, 2)
    assert read(b"\xac\x02", maximum=300).result == 300
    with pytest.raises(DecodeError, match="above 299"):
        varint.decode(b"\xac\x02", maximum=299)
    with pytest.raises(DecodeError, match="above 10"):
        read(b"\xac", maximum=10)


def test_max_bytes() -> None:
    assert read(b"\xff\x7f", max_bytes=2).result == 16_383
    with pytest.raises(DecodeError, match="longer than 2"):
        read(b"\xff\xff", max_bytes=2)


@given(st.integers(0, varint.MAX_VALUE), st.binary(max_size=8), st.binary(max_size=8))
def test_round_trip_between_other_bytes(value: int, before: bytes, after: bytes) -> None:
    data = before + varint.encode(value) + after
    assert varint.decode(memoryview(data), len(before)) == (value, len(data) - len(after))
    runner = read(varint.encode(value) + after)
    assert (runner.result, runner.leftover) == (value, after)


@given(st.binary(max_size=12))
def test_whatever_is_accepted_is_canonical(data: bytes) -> None:
    try:
        value, end = varint.decode(data)
    except DecodeError:
        return
    assert varint.encode(value) == data[:end]
