"""What a network shows of itself, before it is open, while it is, and afterwards."""

from __future__ import annotations

import pytest

from stronghold_p2p import AddressBook, ConfigError, Event, Firewall, Network, UsageError
from stronghold_p2p.shown import Shown
from tests.peers import LOOPBACK


async def test_what_is_seen_and_when() -> None:
    firewall, book = Firewall(), AddressBook()
    shown: Shown = Network(listen=[LOOPBACK], firewall=firewall, book=book)
    assert (shown.firewall, shown.book) == (firewall, book)
    assert (shown.listeners, shown.observed, shown.connections()) == ((), (), ())
    seen: list[Event] = []
    shown.on_event(seen.append)
    assert isinstance(shown, Network)
    async with shown as alice, Network() as bob:
        connection = await bob.connect(alice.addresses[0])
        assert len(alice.listeners) == 1
        assert bob.connections() == bob.connections(alice.peer_id) == (connection,)
        assert bob.is_connected(alice.peer_id)
        assert not bob.is_connected(bob.peer_id)
        bob.protected.add(alice.peer_id)
        with pytest.raises(ConfigError):
            bob.is_connected("nobody")  # type: ignore[arg-type]
        with pytest.raises(ConfigError):
            bob.connections("nobody")  # type: ignore[arg-type]
    assert seen
    assert bob.connections() == ()
    with pytest.raises(UsageError):
        bob.events()
