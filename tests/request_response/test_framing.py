"""One message on a stream, whole and in pieces."""

from __future__ import annotations

import pytest

from stronghold_p2p.errors import LimitExceeded, Malformed
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, frame
from stronghold_p2p.request_response.framing import receive, whole, write
from tests.peers import ECHO, saying, swarms

PEER = Identity.from_seed(bytes(32)).peer_id


async def received(maximum: int, *pieces: bytes) -> bytes | None:
    """What ``receive`` makes of a stream that brings ``pieces`` and ends."""

    async with swarms(saying(*pieces)) as (_, _, connection), await connection.open_stream(ECHO) as stream:
        return await receive(stream, maximum)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 1_000, 300_000])
async def test_a_message_is_read_whole_and_in_pieces(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    data = frame(body)
    assert await received(size, data) == body
    step = max(size // 100, 1)
    assert await received(size, *(data[at : at + step] for at in range(0, len(data), step))) == body


async def test_an_end_instead_of_a_message() -> None:
    assert await received(10) is None


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (frame(b"x" * 11), "message length"),
        (b"\xff" * 8 + b"\x7f", "message length"),
        (b"\x80" * 20, "message length"),
        (b"\x81\x00x", "message length"),
        (b"\x80", "ended inside"),
        (frame(b"x" * 10)[:-1], "ended inside"),
        (b"\x05", "ended inside"),
        (frame(b"x") + b"y", "behind"),
        (frame(b"x") + frame(b"y"), "behind"),
    ],
)
async def test_anything_else_is_malformed(data: bytes, about: str) -> None:
    with pytest.raises(Malformed, match=about):
        await received(10, data)


@pytest.mark.parametrize("part", ["request", "response"])
def test_what_has_no_form_or_is_too_long_is_not_written(part: str) -> None:
    with pytest.raises(Malformed, match=part) as malformed:
        write(JSON, {"a": float("nan")}, 1_000, part, PEER)
    assert (malformed.value.path, malformed.value.peer) == (f"{part}.a", PEER)
    with pytest.raises(LimitExceeded, match=f"max_{part} 10/9") as caught:
        write(BYTES, bytes(10), 9, part, PEER)
    limit = caught.value
    assert (limit.limit, limit.current, limit.maximum, limit.peer) == (f"max_{part}", 10, 9, PEER)


@pytest.mark.parametrize("size", [1, 126, 127])
def test_a_short_message_in_one_piece_needs_no_parser(size: int) -> None:
    assert whole(frame(bytes(size)), 127) == bytes(size)


@pytest.mark.parametrize(
    "piece", [b"", b"\x00", b"\x02x", b"\x01xy", frame(bytes(11)), frame(bytes(128)), b"\x80" + bytes(128)]
)
def test_anything_else_is_left_to_the_parser(piece: bytes) -> None:
    assert whole(piece, 10 if len(piece) == 12 else 1_000) == b""
