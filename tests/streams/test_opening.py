"""What a call that opens something gives back."""

from __future__ import annotations

import pytest

from stronghold_p2p.streams.opening import Opening


class Door:
    """Knows how it was left."""

    left: list[type[BaseException] | None]

    def __init__(self) -> None:
        self.left = []

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.left.append(kind)


def opening(door: Door) -> Opening[Door]:
    async def opened() -> Door:
        return door

    return Opening(opened)


async def test_awaited_it_is_the_callers_to_close() -> None:
    door = Door()
    assert await opening(door) is door
    assert door.left == []


async def test_entered_it_is_closed_with_the_block() -> None:
    door = Door()
    async with opening(door) as entered:
        assert entered is door
    with pytest.raises(ValueError):
        async with opening(door):
            raise ValueError
    assert door.left == [None, ValueError]
