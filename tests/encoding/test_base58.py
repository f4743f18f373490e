"""encoding/base58.py against the ``base58`` package, and its cap."""

from __future__ import annotations

import time

import base58 as theirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.encoding import base58
from stronghold_p2p.encoding.base58 import BASE36
from stronghold_p2p.errors import DecodeError

# draft-msporny-base58, "Test Vectors"
VECTORS = [
    (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
    (b"The quick brown fox jumps over the lazy dog.", "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z"),
    (bytes.fromhex("0000287fb4cd"), "11233QC4"),
]


@pytest.mark.parametrize(("data", "text"), VECTORS)
def test_vectors(data: bytes, text: str) -> None:
    assert base58.encode(data) == text
    assert base58.decode(text) == data


@given(st.binary(max_size=60))
def test_like_the_package(data: bytes) -> None:
    text = base58.encode(data)
    assert text == theirs.b58encode(data).decode()
    assert base58.decode(text) == data


@given(st.binary(max_size=60))
def test_base36_round_trip(data: bytes) -> None:
    text = base58.encode(data, BASE36)
    assert base58.decode(text, BASE36) == data
    assert int(text or "0", 36) == int.from_bytes(data, "big")


@given(st.text(max_size=20))
def test_any_text(text: str) -> None:
    try:
        data = base58.decode(text)
    except DecodeError:
        return
    assert base58.encode(data) == text


@pytest.mark.parametrize("text", ["0", "O", "I", "l", "1 ", " 1", "é", "1\0", "１"])
def test_foreign_characters(text: str) -> None:
    with pytest.raises(DecodeError, match="not in the alphabet"):
        base58.decode(text)


def test_cap() -> None:
    assert base58.decode("1" * 128) == bytes(128)
    with pytest.raises(DecodeError, match="allowed"):
        base58.decode("1" * 129)


def test_a_megabyte_costs_nothing() -> None:
    text = "z" * (1 << 20)
    start = time.process_time()
    with pytest.raises(DecodeError):
        base58.decode(text)
    assert time.process_time() - start < 0.01
