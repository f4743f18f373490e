"""Records: what is written is read again, what is no record is refused, and a reason is cut and escaped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.errors import Malformed, Rejected
from stronghold_p2p.request_response.codecs import records
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, frame
from stronghold_p2p.request_response.codecs.records import END, MAX_REASON, THE_END, RecordReader

BODIES = st.lists(st.binary(max_size=300), max_size=20)


@given(bodies=BODIES, cuts=st.lists(st.integers(1, 400), max_size=40))
def test_records_come_out_whole_however_their_bytes_arrive(bodies: list[bytes], cuts: list[int]) -> None:
    wire, reader, found = b"".join(map(frame, bodies)), RecordReader(300), list[bytes]()
    for size in (*cuts, len(wire)):
        reader.feed(wire[:size])
        wire = wire[size:]
        while (body := reader.next()) is not None:
            found.append(body)
    assert found == bodies
    assert reader.next() is None


@given(piece=st.binary(max_size=60))
def test_whatever_comes_is_records_or_malformed(piece: bytes) -> None:
    reader = RecordReader(16)
    reader.feed(piece)
    try:
        while (body := reader.next()) is not None:
            assert len(body) <= 16
    except Malformed as error:
        assert "max_part" in str(error)


def test_a_record_may_come_byte_by_byte() -> None:
    reader, wire = RecordReader(300), frame(b"x" * 200) + frame(b"") + frame(b"yz")
    found = []
    for byte in wire:
        reader.feed(bytes((byte,)))
        while (body := reader.next()) is not None:
            found.append(body)
    assert found == [b"x" * 200, b"", b"yz"]


def test_a_length_beyond_the_maximum_is_refused_before_the_body() -> None:
    reader = RecordReader(100)
    reader.feed(b"\x65")
    with pytest.raises(Malformed, match="above 100"):
        reader.next()


def test_the_wire_forms() -> None:
    """docs/requests.md, "On the wire"."""
    codec = records.InRecords(JSON)
    assert codec.encode("Ping") == b'\x00"Ping"'
    assert codec.decode(b'\x00"Ping"') == "Ping"
    assert records.refusal(Rejected("no"), 100) == b"\x01no"
    assert bytes((1, END)) == THE_END
    assert repr(codec) == "JSON in records"


@pytest.mark.parametrize("body", [b"", b"\x02", b"\x03x", b"\xff"])
def test_another_kind_of_record_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="a record of kind"):
        records.read(BYTES, body)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", ""),
        ("ausverkauft: Brötchen".encode(), "ausverkauft: Brötchen"),
        (b"one\nline\x1b[2J\r", "one\\nline\\x1b[2J\\r"),
        ("\u202egnihton".encode(), "\\u202egnihton"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 5_000, "x" * MAX_REASON),
    ],
)
def test_what_a_peer_gives_as_reason_is_cut_and_escaped(content: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        records.read(JSON, b"\x01" + content)
    assert caught.value.reason == reason
    assert str(caught.value) == f"the peer refused the request: {reason or 'ask its owner'}"
    assert not caught.value.local


@pytest.mark.parametrize("maximum", [0, 1, 2, 3, 4, 100, 5_000])
def test_a_reason_is_cut_to_whole_characters(maximum: int) -> None:
    body = records.refusal(Rejected("ü" * 2_000), maximum)
    assert len(body) <= min(maximum, MAX_REASON + 1)
    assert body[1:].decode() == "ü" * (min(max(maximum - 1, 0), MAX_REASON) // 2)


def test_a_reason_may_be_any_text() -> None:
    assert records.refusal(Rejected("\ud800 alone"), 100) == b"\x01\\ud800 alone"


@pytest.mark.parametrize(
    "error",
    [
        Rejected(),
        Rejected(""),
        Rejected("12D3 refused the request: ask its owner", peer="12D3", reason=""),
        Rejected("what another peer has said", peer="12D3"),
        Rejected("see firewall.rules()", local=True, reason=""),
    ],
)
def test_what_the_handler_has_not_said_itself_is_not_told(error: Rejected) -> None:
    assert records.refusal(error, 100) == b""


def test_a_reason_is_the_message() -> None:
    assert (str(Rejected()), Rejected().reason) == ("rejected", "")
    assert (str(Rejected("why")), Rejected("why").reason) == ("why", "why")
