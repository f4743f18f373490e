"""yamux/state.py: both tables are complete, and a stream goes exactly the ways that they allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import pytest

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.yamux import session as module
from stronghold_p2p.yamux.session import YamuxStream
from stronghold_p2p.yamux.state import RECEIVING, SENDING, Event, Receiving, Sending
from tests.yamux.wire import FIN, RST, Side, update

ACTS: list[tuple[Event, Callable[[Side, YamuxStream], object]]] = [
    (Event.FINISH, lambda _, stream: stream.finish()),
    (Event.DISCARD, lambda _, stream: stream.discard()),
    (Event.FIN, lambda side, _: side.hear(update(1, 0, FIN))),
    (Event.RESET, lambda _, stream: stream.reset()),
    (Event.RESET, lambda side, _: side.hear(update(1, 0, RST))),
    (Event.RESET, lambda side, _: side.session.fail(ConnectionClosed("lost"))),
]


class Asked(dict[Any, Any]):
    """Takes note of the pairs that are looked up."""

    def __init__(self, table: Mapping[Any, Any]) -> None:
        super().__init__(table)
        self.pairs: set[Any] = set()

    def __getitem__(self, pair: Any) -> Any:
        self.pairs.add(pair)
        return super().__getitem__(pair)


def test_every_pair_of_the_tables_happens_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in whatever order, up to five times, to a stream that the peer has opened."""
    sending, receiving = Asked(SENDING), Asked(RECEIVING)
    monkeypatch.setattr(module, "SENDING", sending)
    monkeypatch.setattr(module, "RECEIVING", receiving)
    for acts in product(ACTS, repeat=5):
        side = Side()
        stream = side.given(1)
        happened: list[Event] = []
        for event, act in acts:
            over = stream.gone
            act(side, stream)
            if not over:
                happened.append(event)
            side.check()
            assert stream.gone == (1 not in side.session.streams)
        assert stream.finished == (stream.sending is not Sending.OPEN)
        if Event.RESET in happened:
            assert (stream.sending, stream.receiving) == (Sending.RESET, Receiving.RESET)
        else:
            finished = Sending.FINISHED if Event.FINISH in happened else Sending.OPEN
            quiet = Receiving.DISCARDING if Event.DISCARD in happened else Receiving.OPEN
            came = Receiving.FINISHED if Event.FIN in happened else quiet
            assert (stream.sending, stream.receiving) == (finished, came)
            assert stream.gone == (finished is Sending.FINISHED and came is Receiving.FINISHED)
        assert side.sinks[1].events.count("end") == (Event.FIN in happened)
    assert (sending.pairs, receiving.pairs) == (set(SENDING), set(RECEIVING))


@pytest.mark.parametrize(("table", "halves"), [(SENDING, Sending), (RECEIVING, Receiving)])
def test_a_pair_that_cannot_happen_is_in_no_table(table: Mapping[Any, Any], halves: Any) -> None:
    assert {half for half, _ in table} | set(table.values()) == set(halves)
    for pair in set(product(halves, Event)) - set(table):
        with pytest.raises(KeyError):
            table[pair]
