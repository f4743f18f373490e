"""The memory in which what came is put together: one piece stays where it is, more are joined, whatever their size."""

from __future__ import annotations

from stronghold_p2p.websocket.space import SPACE, Space


def together(space: Space, kept: bytes, *pieces: bytes) -> memoryview:
    space.begin(kept)
    for piece in pieces:
        space.take(piece)
    return space.taken()


def test_one_piece_stays_where_it_is() -> None:
    piece = bytes(1_000)
    assert together(Space(), b"", piece).obj is piece
    assert together(Space(), piece).obj is piece


def test_more_are_joined() -> None:
    space = Space()
    assert bytes(together(space, b"kept", b"one", b"two")) == b"keptonetwo"
    assert bytes(together(space, b"", b"one", b"two", b"three")) == b"onetwothree"
    assert bytes(together(space, b"")) == b""


def test_it_grows() -> None:
    space = Space()
    piece = bytes(range(256)) * (SPACE // 512)
    assert bytes(together(space, b"x", piece, piece, piece)) == b"x" + piece * 3
    assert bytes(together(space, b"", b"a", b"b")) == b"ab"
