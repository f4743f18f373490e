"""Frames of the peer and ours: the examples of RFC 6455, 5.7, every split, every fault, and what random bytes do."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.speedups import apply_mask
from websockets.streams import StreamReader

from stronghold_p2p.websocket import frames
from stronghold_p2p.websocket.closing import NO_CODE, PROTOCOL_ERROR, TOO_BIG, VIOLATION, Close
from stronghold_p2p.websocket.frames import LARGE, MAX_FRAME, MAX_FRAMES, NOTHINGS, FrameReader, FrameWriter, Opcode
from tests.websocket.by_the_book import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    KEY,
    PING,
    PONG,
    TEXT,
    Heard,
    masked,
    raw,
)


def server(data: bytes) -> Heard:
    """What a client of ours hears."""
    return Heard(of_client=False).hear(data)


def client(data: bytes) -> Heard:
    """What a server of ours hears."""
    return Heard().hear(data)


# ------------------------------------------------------------------------------ RFC 6455, 5.7


def test_the_examples_of_the_rfc() -> None:
    assert server(bytes.fromhex("810548656c6c6f")).data == b"Hello"
    assert client(bytes.fromhex("818537fa213d7f9f4d5158")).data == b"Hello"
    assert server(bytes.fromhex("010348656c80026c6f")).data == b"Hello"
    assert server(bytes.fromhex("890548656c6c6f")).pings == [b"Hello"]
    assert client(bytes.fromhex("8a8537fa213d7f9f4d5158")).pings == []
    assert server(bytes.fromhex("827e0100") + bytes(range(256))).data == bytes(range(256))
    assert server(bytes.fromhex("827f0000000000010000") + bytes(65_536)).data == bytes(65_536)


# ------------------------------------------------------------------------------ what is read


TALK = (
    raw(FIN | BINARY, b"one", key=KEY)
    + raw(FIN | TEXT, b"tw\xff", key=KEY)  # no text, and read all the same
    + raw(FIN | BINARY, b"", key=KEY)  # js sends one in each handshake: it is no end
    + raw(BINARY, b"th", key=b"\1\2\3\4")
    + raw(FIN | PING, b"between", key=KEY)
    + raw(CONTINUATION, b"re", key=b"abcd")
    + raw(FIN | PONG, b"", key=KEY)
    + raw(FIN | CONTINUATION, b"e" * 300, key=KEY)
    + raw(FIN | CLOSE, b"\x03\xe8closed", key=KEY)
)


def test_every_split_is_the_same() -> None:
    for at in range(len(TALK) + 1):
        heard = client(TALK[:at]).hear(TALK[at:] + b"whatever is behind a close")
        assert heard.data == b"onetw\xffthre" + b"e" * 300
        assert heard.pings == [b"between"]
        assert heard.close == Close(1_000, "closed")
        assert heard.fault is None
        assert heard.rest == b"whatever is behind a close"
        assert not heard.reader.inside


def test_byte_by_byte() -> None:
    heard = Heard()
    for byte in TALK:
        heard.hear(bytes([byte]))
    assert heard.data == b"onetw\xffthre" + b"e" * 300
    assert heard.close == Close(1_000, "closed")


def test_a_part_of_a_frame_is_handed_on_at_once() -> None:
    whole = raw(FIN | BINARY, bytes(range(100)), key=KEY)
    heard = client(whole[:50])
    assert (heard.data, heard.reader.inside) == (bytes(range(44)), True)
    heard.hear(whole[50:])
    assert (heard.data, heard.reader.inside) == (bytes(range(100)), False)


def test_what_is_not_masked_is_not_copied() -> None:
    view = memoryview(raw(FIN | BINARY, b"abc"))
    taken: list[object] = []
    FrameReader(masked, masked=False).receive(view, taken.append, 0.0)
    (piece,) = taken
    assert isinstance(piece, memoryview)
    assert piece.obj is view.obj


def test_it_is_within_a_message_between_its_fragments() -> None:
    heard = server(raw(BINARY, b"x"))
    assert heard.reader.inside
    assert not heard.hear(raw(FIN | CONTINUATION, b"")).reader.inside


def test_a_call_takes_so_many_frames_and_no_more() -> None:
    data = raw(FIN | BINARY, b"x") * (MAX_FRAMES + 1)
    reader, taken = FrameReader(masked, masked=False), bytearray()
    used = reader.receive(memoryview(data), taken.extend, 0.0)
    assert (len(taken), reader.more) == (MAX_FRAMES, True)
    assert reader.receive(memoryview(data)[used:], taken.extend, 0.0) == len(data) - used
    assert (len(taken), reader.more) == (MAX_FRAMES + 1, False)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200), st.integers(0, 2)), max_size=12), st.data())
def test_whatever_is_said_arrives_however_it_is_cut(said: list[tuple[bool, bytes, int]], cuts: st.DataObject) -> None:
    """Messages in fragments, with control frames between these, in pieces of any size, from both sides."""
    for of_client in (True, False):
        wire, expected, pings, within = b"", b"", [], False
        for last, payload, kind in said:
            key = os.urandom(4) if of_client else b""
            if kind == 2:
                wire += raw(FIN | PING, payload[:125], key=key)
                pings.append(payload[:125])
                continue
            opcode = CONTINUATION if within else BINARY if kind else TEXT
            wire += raw(opcode | (FIN if last else 0), payload, key=key)
            expected, within = expected + payload, not last
        heard = Heard(of_client=of_client)
        while wire:
            size = cuts.draw(st.integers(1, len(wire)))
            heard.hear(wire[:size])
            wire = wire[size:]
        assert (heard.data, heard.fault, heard.reader.inside) == (expected, None, within)
        assert set(heard.pings) <= set(pings)


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_read_or_a_fault(data: bytes, of_client: bool) -> None:
    heard = Heard(of_client=of_client).hear(data)
    assert len(heard.data) <= len(data)
    if heard.fault is not None:
        assert heard.fault in {PROTOCOL_ERROR, TOO_BIG, VIOLATION}
        before = heard.data
        heard.hear(raw(FIN | BINARY, b"more", key=KEY if of_client else b""))
        assert heard.data == before  # nothing behind a fault is read


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [
        (raw(FIN | BINARY, b"x"), PROTOCOL_ERROR, "without a mask"),
        (raw(FIN | 0x40 | BINARY, b"x", key=KEY), PROTOCOL_ERROR, "reserved"),
        (raw(FIN | 0x20 | BINARY, b"x", key=KEY), PROTOCOL_ERROR, "reserved"),
        (raw(FIN | 0x10 | PING, b"x", key=KEY), PROTOCOL_ERROR, "reserved"),
        (raw(FIN | 3, b"x", key=KEY), PROTOCOL_ERROR, "unknown kind 3"),
        (raw(FIN | 11, b"x", key=KEY), PROTOCOL_ERROR, "unknown kind 11"),
        (raw(PING, b"x", key=KEY), PROTOCOL_ERROR, "fragment of a control frame"),
        (raw(FIN | PING, bytes(126), key=KEY), PROTOCOL_ERROR, "more than 125"),
        (raw(FIN | CLOSE, b"", key=KEY, length=1 << 40)[:14], PROTOCOL_ERROR, "more than 125"),
        (raw(CONTINUATION, b"x", key=KEY), PROTOCOL_ERROR, "continuation of nothing"),
        (raw(BINARY, b"x", key=KEY) + raw(FIN | BINARY, b"y", key=KEY), PROTOCOL_ERROR, "within another"),
        (raw(FIN | BINARY, b"x" * 5, key=KEY, size=2), PROTOCOL_ERROR, "more bytes than it needs"),
        (raw(FIN | BINARY, b"x" * 300, key=KEY, size=8), PROTOCOL_ERROR, "more bytes than it needs"),
        (raw(FIN | BINARY, b"", key=KEY, length=MAX_FRAME + 1), TOO_BIG, "more than 1048576"),
        (raw(FIN | BINARY, b"", key=KEY, length=1 << 63), TOO_BIG, "more than 1048576"),
        (raw(FIN | CLOSE, b"\x03", key=KEY), PROTOCOL_ERROR, "code"),
        (raw(FIN | CLOSE, b"\x03\xed", key=KEY), PROTOCOL_ERROR, "code"),  # 1005 is never sent
        (raw(FIN | CLOSE, b"\x03\xe8\xff", key=KEY), PROTOCOL_ERROR, "no text"),
    ],
)
def test_what_breaks_the_rules(data: bytes, code: int, told: str) -> None:
    heard = client(data)
    assert heard.fault == code
    assert heard.reader.fault is not None
    assert told in heard.reader.fault.reason
    assert len(heard.reader.fault.payload()) <= 125


def test_a_server_does_not_mask() -> None:
    assert server(raw(FIN | BINARY, b"x", key=KEY)).fault == PROTOCOL_ERROR


def test_what_came_before_a_fault_counts() -> None:
    assert client(raw(FIN | BINARY, b"good", key=KEY) + raw(FIN | BINARY, b"x")).data == b"good"


def test_the_longest_frame_is_taken() -> None:
    assert server(raw(FIN | BINARY, bytes(MAX_FRAME))).data == bytes(MAX_FRAME)


@pytest.mark.parametrize("frame", [raw(FIN | PING, b"x"), raw(FIN | PONG, b""), raw(FIN | BINARY, b"")])
def test_frames_with_nothing_in_them_are_counted(frame: bytes) -> None:
    """So many at once, and then so many a second."""
    heard = server(frame * NOTHINGS)
    assert heard.fault is None
    assert Heard(of_client=False).hear(frame * (NOTHINGS + 1)).fault == VIOLATION
    heard.now = 1.0
    assert heard.hear(frame * 10).fault is None
    assert heard.hear(frame).fault == VIOLATION


def test_messages_with_something_in_them_are_not_counted() -> None:
    assert server(raw(FIN | BINARY, b"x") * 10_000).fault is None


# ------------------------------------------------------------------------------ ours


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, LARGE - 1, LARGE, LARGE + 1, 100_000])
@pytest.mark.parametrize("of_client", [True, False])
def test_the_package_reads_what_we_write(size: int, of_client: bool) -> None:
    payload = os.urandom(size)
    writer = FrameWriter(apply_mask, os.urandom if of_client else None, memoryview(bytearray(70_000)))
    written = bytes(writer.frame(memoryview(payload)))
    reader = StreamReader()
    reader.feed_data(written)
    parser = Frame.parse(reader.read_exact, mask=of_client)
    with pytest.raises(StopIteration) as done:
        next(parser)
    read = done.value.value
    assert (read.opcode, read.fin, bytes(read.data)) == (TheirOpcode.BINARY, True, payload)
    assert Heard(of_client=of_client).hear(written).data == payload


def test_no_two_frames_of_a_client_have_one_key() -> None:
    """RFC 6455, 5.3: the key of each is fresh, and comes from the system."""
    writer = FrameWriter(apply_mask, os.urandom, memoryview(bytearray()))
    assert len({bytes(writer.frame(b"same")) for _ in range(20)}) > 18


def test_a_frame_in_reused_memory_is_as_good() -> None:
    writer = FrameWriter(apply_mask, None, memoryview(bytearray(1 << 17)))
    first = bytes(writer.frame(b"a" * LARGE))
    second = bytes(writer.frame(b"b" * 2 * LARGE))
    assert (server(first).data, server(second).data) == (b"a" * LARGE, b"b" * 2 * LARGE)


@pytest.mark.parametrize("opcode", Opcode)
def test_control_frames_of_ours(opcode: Opcode) -> None:
    assert FrameWriter(masked, lambda _: KEY, memoryview(b"")).frame(b"hi", opcode) == raw(FIN | opcode, b"hi", key=KEY)


def test_no_control_frame_is_longer_than_it_may_be() -> None:
    assert frames.MAX_CONTROL == 125
    assert client(raw(FIN | PING, bytes(125), key=KEY)).pings == [bytes(125)]
    assert client(raw(FIN | CLOSE, b"", key=KEY)).close == Close(NO_CODE)
