"""The life of a connection, without a wire: every event that can happen in every state, and those that cannot."""

from __future__ import annotations

import asyncio
import math
from itertools import product
from unittest.mock import MagicMock

import pytest

from stronghold_p2p.config import Limits, Timeouts
from stronghold_p2p.connection.live import LIFE, Event, Life, LiveConnection
from stronghold_p2p.errors import ConnectionClosed
from tests.transport.ends import identity

ERROR = ConnectionClosed("the end")


class Table:
    """A connection that was brought to a state; its muxer and its owner note what they are told."""

    def __init__(self, life: Life) -> None:
        self.owner, self.muxer = MagicMock(), MagicMock(streams=(), round_trip=0.0)
        self.muxer.due.return_value = math.inf
        upgraded = MagicMock(peer=identity(2).peer_id)
        upgraded.start.return_value = self.muxer
        self.connection = LiveConnection(upgraded, self.owner, direction="out", limits=Limits(), timeouts=Timeouts())
        self.face = self.connection.face
        for event in {Life.OPEN: (), Life.CLOSING: (Event.END,), Life.GONE: (Event.END, Event.LOSE)}[life]:
            self.play(event)
        assert self.connection.life is life
        self.owner.reset_mock()

    def play(self, event: Event) -> None:
        if event is Event.END:
            self.connection.ended(ERROR)
        else:
            self.connection.gone()


@pytest.mark.parametrize(("life", "event"), list(product(Life, Event)))
async def test_each_event_in_each_state(life: Life, event: Event) -> None:
    table = Table(life)
    connection = table.connection
    if (life, event) in LIFE:
        table.play(event)
        assert connection.life is LIFE[life, event]
        assert (table.owner.ended.called, table.owner.gone.called) == (event is Event.END, event is Event.LOSE)
    else:
        with pytest.raises(KeyError):
            table.play(event)
        assert connection.life is life
        assert table.owner.mock_calls == []
    assert connection.closed == table.face.closed == (connection.life is not Life.OPEN)
    assert table.face.error is connection.error is (ERROR if connection.closed else None)
    assert connection.face is table.face  # whatever becomes of it
    connection.deadlines.end()


@pytest.mark.parametrize("life", Life)
async def test_what_is_asked_of_it_in_each_state(life: Life) -> None:
    table = Table(life)
    connection = table.connection
    connection.shut(7)
    assert table.muxer.close.called == (life is Life.OPEN)  # who closes it again changes nothing
    if life is not Life.OPEN:
        with pytest.raises(ConnectionClosed, match="the end"):
            await connection.open_stream("/x")
    closing = asyncio.ensure_future(table.face.close())
    await asyncio.sleep(0)
    assert closing.done() == (life is Life.GONE)
    if life is not Life.GONE:
        if life is Life.OPEN:
            connection.ended(ERROR)
        connection.gone()
    await closing
    assert table.owner.gone.call_count == (life is not Life.GONE)
    assert not table.muxer.abort.called
